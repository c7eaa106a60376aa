//! The statements of pgweir's own, prepared on each server under names of its own.
//!
//! All names in them are qualified: they run under whatever `search_path` the client has. What stands beside an
//! operator is of exactly the types of PostgreSQL's own: of others, one in a schema of the path would be called
//! (`typeconv-oper.html`).

/// A statement of pgweir's own, prepared once on each server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Own {
    /// Sets values, one after the other, and tells each in a row of its own.
    Set,
    /// Sets one value, and tells it.
    SetOne,
    /// Sets two values, one after the other, and tells both in one row.
    SetTwo,
    /// Sets three in one row.
    SetThree,
    /// Sets four in one row.
    SetFour,
    /// Sets those of some values that stand in the place of one that was reset, and tells each.
    Restore,
    /// Tells one value.
    Get,
    /// Tells one value, and whether it is the server's default.
    Weigh,
    /// Tells one custom value, and of an empty one whether it is the server's default.
    Custom,
    /// Tells the role and which one a reset gives.
    Role,
    /// Tells one timeout and whether it is the server's default, and spares the statements behind it, up
    /// to the Sync, that timeout.
    Lift,
    /// Tells which state there is that ties a session to its server.
    Probe,
    /// Tells which channels are listened to.
    Channels,
    /// Tells the code of functions and tables.
    Catalogue,
    /// Spares the statements behind it, up to the Sync, compilation that takes longer than they do, and
    /// the client's `statement_timeout`.
    Calm,
    /// Discards the numbers that were drawn from sequences.
    Forget,
}

impl Own {
    /// What sets so many values: mostly there are few, and a server has half the work with them if they are parameters of
    /// one row. `apart`: each has a row of its own, since those ahead of one that is refused are to be told, or all in one
    /// would be too long to be read.
    pub(crate) fn setting(count: usize, apart: bool) -> Self {
        match count {
            1 => Self::SetOne,
            2 if !apart => Self::SetTwo,
            3 if !apart => Self::SetThree,
            4 if !apart => Self::SetFour,
            _ => Self::Set,
        }
    }

    /// Its name on the server.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Set => "__pgweir_set",
            Self::SetOne => "__pgweir_set_1",
            Self::SetTwo => "__pgweir_set_2",
            Self::SetThree => "__pgweir_set_3",
            Self::SetFour => "__pgweir_set_4",
            Self::Restore => "__pgweir_restore",
            Self::Get => "__pgweir_get",
            Self::Weigh => "__pgweir_weigh",
            Self::Custom => "__pgweir_custom",
            Self::Role => "__pgweir_role",
            Self::Lift => "__pgweir_lift",
            Self::Probe => "__pgweir_probe",
            Self::Channels => "__pgweir_channels",
            Self::Catalogue => "__pgweir_catalogue",
            Self::Calm => "__pgweir_calm",
            Self::Forget => "__pgweir_forget",
        }
    }

    pub(crate) const fn sql(self) -> &'static str {
        match self {
            Self::Set => SET,
            Self::SetOne => "SELECT pg_catalog.set_config($1, $2, false)",
            Self::SetTwo => {
                "SELECT pg_catalog.set_config($1, $2, false), pg_catalog.set_config($3, $4, false)"
            }
            Self::SetThree => {
                "SELECT pg_catalog.set_config($1, $2, false), pg_catalog.set_config($3, $4, false), \
                 pg_catalog.set_config($5, $6, false)"
            }
            Self::SetFour => {
                "SELECT pg_catalog.set_config($1, $2, false), pg_catalog.set_config($3, $4, false), \
                 pg_catalog.set_config($5, $6, false), pg_catalog.set_config($7, $8, false)"
            }
            Self::Restore => RESTORE,
            Self::Get => GET,
            Self::Weigh => WEIGH,
            Self::Custom => CUSTOM,
            Self::Role => ROLE,
            Self::Lift => LIFT,
            Self::Probe => PROBE,
            Self::Channels => "SELECT pg_catalog.pg_listening_channels()",
            Self::Catalogue => CATALOGUE,
            Self::Calm => CALM,
            Self::Forget => "DISCARD SEQUENCES",
        }
    }
}

/// Names and values; NULL takes the server's own. Rows come in the order of the arrays.
const SET: &str = "SELECT pg_catalog.set_config(name, value, false) FROM ROWS FROM (\
    pg_catalog.unnest($1::pg_catalog.text[]), pg_catalog.unnest($2::pg_catalog.text[])) AS change (name, value)";

/// Names and values. What a session has reset has the source that it began with (`view-pg-settings.html`). Roles
/// and most custom settings are not shown there: they are back at what no session sets by itself.
const RESTORE: &str = "SELECT name, CASE WHEN CASE WHEN source IS NOT NULL THEN source <> 'session' \
    WHEN pg_catalog.lower(name) = 'role' THEN pg_catalog.current_setting(name) = 'none' \
    ELSE pg_catalog.strpos(name, '.') > 0 AND COALESCE(pg_catalog.current_setting(name, true), '') = '' END \
    THEN pg_catalog.set_config(name, value, false) ELSE pg_catalog.current_setting(name, true) END \
    FROM ROWS FROM (pg_catalog.unnest($1::pg_catalog.text[]), pg_catalog.unnest($2::pg_catalog.text[])) \
    AS change (name, value) LEFT JOIN (SELECT pg_catalog.lower(name) AS folded, source \
    FROM pg_catalog.pg_settings) AS shown ON folded = pg_catalog.lower(name)";

/// When this server has read its configuration tells whether the default is still what it was.
const GET: &str = "SELECT pg_catalog.current_setting($1, true), NULL, NULL, NULL, \
    (pg_catalog.date_part('epoch', pg_catalog.pg_conf_load_time()) * 1000000)::pg_catalog.int8";

/// `pg_settings` shows values in their base units, so that they compare with each other only. It costs
/// ten times what the value alone does, and is asked until the default is known.
const WEIGH: &str = "SELECT pg_catalog.current_setting($1, true), (SELECT setting = reset_val \
    FROM pg_catalog.pg_settings WHERE pg_catalog.lower(name) = $1), NULL, NULL, \
    (pg_catalog.date_part('epoch', pg_catalog.pg_conf_load_time()) * 1000000)::pg_catalog.int8";

/// `pg_settings` does not show custom settings. What was set and reset is empty (`runtime-config-custom.html`), unless
/// the role, the database or the configuration has a value for it, which a reset for the transaction shows.
const CUSTOM: &str = "SELECT value, CASE WHEN value = ''::pg_catalog.text \
    THEN value = pg_catalog.set_config($1, NULL, true) END \
    FROM (SELECT pg_catalog.current_setting($1, true) AS value OFFSET 0) AS before";

/// `pg_settings` does not show the role, and a user may have one from the start (`sql-alterrole.html`). It is as before
/// for what is asked behind this.
const ROLE: &str = "SELECT value, NULL, pg_catalog.set_config($1, NULL, true), \
    pg_catalog.set_config($1, value, true) FROM (SELECT pg_catalog.current_setting($1) AS value OFFSET 0) AS before";

/// What is set for the transaction holds up to the Sync. The columns are made in their order, so that the
/// first shows what was set before. A timeout that this server does not have is NULL.
const LIFT: &str = "SELECT value, \
    CASE WHEN value IS NOT NULL THEN value = pg_catalog.set_config($1, NULL, true) END, \
    CASE WHEN value IS NOT NULL THEN pg_catalog.set_config($1, '0', true) END \
    FROM (SELECT pg_catalog.current_setting($1, true) AS value OFFSET 0) AS before";

/// As long as the catalogue may take.
const CALM: &str = "SELECT pg_catalog.set_config('jit', 'off', true), \
    pg_catalog.set_config('statement_timeout', '60s', true)";

/// Which state there is. Objects of the temporary schema are found by what depends on it; the lock table
/// is only read when it is asked for, since reading it takes locks of its own
/// (`catalog-pg-depend.html`, `view-pg-locks.html`). Prepared statements are told as `t 12`: whether some are of
/// SQL's PREPARE, and how many are not. Who has no role may have one from the start (`sql-alterrole.html`), which a
/// reset for the transaction shows; nothing behind this depends on it.
const PROBE: &str = "SELECT pg_catalog.pg_my_temp_schema() <> 0::pg_catalog.oid AND EXISTS (\
    SELECT FROM pg_catalog.pg_depend WHERE refclassid = 'pg_catalog.pg_namespace'::pg_catalog.regclass::pg_catalog.oid \
    AND refobjid = pg_catalog.pg_my_temp_schema()), \
    EXISTS (SELECT FROM pg_catalog.pg_cursors WHERE is_holdable), \
    (SELECT pg_catalog.concat(pg_catalog.bool_or(from_sql), ' ', pg_catalog.count(*) FILTER (WHERE NOT from_sql)) \
    FROM pg_catalog.pg_prepared_statements), \
    EXISTS (SELECT FROM pg_catalog.pg_listening_channels()), \
    pg_catalog.current_setting('role'), \
    CASE WHEN $1::pg_catalog.bool THEN EXISTS (SELECT FROM pg_catalog.pg_locks \
    WHERE locktype = 'advisory' AND pid = pg_catalog.pg_backend_pid()) END, \
    CASE WHEN pg_catalog.current_setting('role') = 'none' THEN pg_catalog.set_config('role', NULL, true) END";

/// The code of functions, and what runs when they or a table are used: triggers, defaults, rules and views,
/// policies, constraints, indexes, keys of partitions, statistics, children and referencing tables (`catalogs.html`). Functions in C are taken to
/// do what they are made for; of PostgreSQL's own, those that may have effects are suspect.
///
/// Expressions are read as the trees that are stored, in which functions and tables stand by their
/// numbers: what shows them as text (`ruleutils.c`) locks the tables that they name, and so waits for
/// whoever alters one, and makes others wait. Only what calls `set_config` is shown as text, since the
/// name of the setting matters. Trees tell INSERT and MERGE by `commandType`.
///
/// Each kind is asked for in one table alone, since clients of a cold pool wait for the answer, and to plan joins takes a
/// new server longer than all the rest. What `initdb` has made has numbers below 16384, and the same ones in each
/// version (`system-catalog-initial-data.html#SYSTEM-CATALOG-OID-ASSIGNMENT`): 2078 is `set_config`, 1574 `nextval`, 480
/// and 714 casts of its number, 12 to 14 languages, 1247 `pg_type`, 1255 `pg_proc`, 1259 `pg_class`, 2604 `pg_attrdef`.
///
/// `held` are the types that code runs for where a value becomes one of theirs: domains whose conditions call functions
/// in doubt and types with casts of one's own, and whatever is made with these: arrays, rows, ranges, and functions and
/// expressions that have them (`catalog-pg-depend.html`). Mostly there are none, and then nothing else is looked up.
/// A relation of which an expression has such a type counts as its own rows' type, which has its name.
///
/// Up to 14, the triggers of partitions that come from the partitioned table are marked as internal. A `search_path` that
/// ends at `pg_temp` is good practice for those who define functions (`sql-createfunction.html#SQL-CREATEFUNCTION-SECURITY`):
/// what such a function makes is only temporary where it makes something, or the path has no other schema.
const CATALOGUE: &str = include_str!("catalogue.sql");
