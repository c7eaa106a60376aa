//! The statements of pgweir's own, prepared on each server under names of its own.
//!
//! All names in them are qualified: they run under whatever `search_path` the client has.

/// A statement of pgweir's own, prepared once on each server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Own {
    /// Sets one value.
    Set,
    /// Tells one value.
    Get,
    /// Tells one value, and whether it is the server's default.
    Weigh,
    /// Tells which state there is that ties a session to its server.
    Probe,
    /// Tells which channels are listened to.
    Channels,
    /// Tells the code of functions and tables.
    Catalogue,
}

impl Own {
    /// Its name on the server.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Set => "__pgweir_set",
            Self::Get => "__pgweir_get",
            Self::Weigh => "__pgweir_weigh",
            Self::Probe => "__pgweir_probe",
            Self::Channels => "__pgweir_channels",
            Self::Catalogue => "__pgweir_catalogue",
        }
    }

    pub(crate) fn sql(self) -> &'static str {
        match self {
            Self::Set => "SELECT pg_catalog.set_config($1, $2, false)",
            Self::Get => "SELECT pg_catalog.current_setting($1, true)",
            Self::Weigh => WEIGH,
            Self::Probe => PROBE,
            Self::Channels => "SELECT pg_catalog.pg_listening_channels()",
            Self::Catalogue => CATALOGUE,
        }
    }
}

/// `pg_settings` shows values in their base units, so that they compare with each other only. It costs
/// ten times what the value alone does, and is asked until the default is known.
const WEIGH: &str = "SELECT pg_catalog.current_setting($1, true), (SELECT setting = reset_val \
    FROM pg_catalog.pg_settings WHERE pg_catalog.lower(name) = $1)";

/// Which state there is. Objects of the temporary schema are found by what depends on it; the lock table
/// is only read when it is asked for, since reading it takes locks of its own
/// (`catalog-pg-depend.html`, `view-pg-locks.html`).
const PROBE: &str = "SELECT pg_catalog.pg_my_temp_schema() <> 0 AND EXISTS (\
    SELECT FROM pg_catalog.pg_depend WHERE refclassid = 'pg_catalog.pg_namespace'::pg_catalog.regclass \
    AND refobjid = pg_catalog.pg_my_temp_schema()), \
    EXISTS (SELECT FROM pg_catalog.pg_cursors WHERE is_holdable), \
    EXISTS (SELECT FROM pg_catalog.pg_prepared_statements WHERE from_sql), \
    EXISTS (SELECT FROM pg_catalog.pg_listening_channels()), \
    pg_catalog.current_setting('role'), \
    CASE WHEN $1::pg_catalog.bool THEN EXISTS (SELECT FROM pg_catalog.pg_locks \
    WHERE locktype = 'advisory' AND pid = pg_catalog.pg_backend_pid()) END";

/// The code of functions, and what runs when a table is used: triggers, defaults, rules and views,
/// policies, constraints, children and referencing tables (`catalogs.html`). Functions in C are taken to
/// do what they are made for; of PostgreSQL's own, those that may have effects are suspect.
const CATALOGUE: &str = "WITH code (subject, name, code) AS (\
    SELECT CASE WHEN l.lanname IN ('sql', 'plpgsql', 'c') OR p.prokind = 'a' THEN 'f' \
        WHEN l.lanname = 'internal' THEN 'o' ELSE 'x' END, p.proname, \
        CASE WHEN p.prokind = 'a' THEN (SELECT a.aggtransfn::text || '() ' || a.aggfinalfn::text || '()' \
            FROM pg_catalog.pg_aggregate a WHERE a.aggfnoid = p.oid) \
        WHEN l.lanname IN ('c', 'internal') THEN '' WHEN p.prosrc <> '' THEN p.prosrc \
        ELSE pg_catalog.pg_get_functiondef(p.oid) END \
    FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_language l ON l.oid = p.prolang \
    JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace \
    WHERE CASE WHEN n.nspname IN ('pg_catalog', 'information_schema') \
        THEN l.lanname = 'internal' AND p.provolatile = 'v' ELSE true END \
    UNION ALL SELECT 'r', c.relname, pg_catalog.quote_ident(f.proname) || '()' \
    FROM pg_catalog.pg_trigger t JOIN pg_catalog.pg_class c ON c.oid = t.tgrelid \
    JOIN pg_catalog.pg_proc f ON f.oid = t.tgfoid WHERE NOT t.tgisinternal \
    UNION ALL SELECT 'r', c.relname, pg_catalog.pg_get_expr(d.adbin, d.adrelid) \
    FROM pg_catalog.pg_attrdef d JOIN pg_catalog.pg_class c ON c.oid = d.adrelid \
    UNION ALL SELECT 'r', c.relname, pg_catalog.pg_get_ruledef(r.oid) \
    FROM pg_catalog.pg_rewrite r JOIN pg_catalog.pg_class c ON c.oid = r.ev_class \
    JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
    WHERE n.nspname NOT IN ('pg_catalog', 'information_schema') \
    UNION ALL SELECT 'r', c.relname, coalesce(pg_catalog.pg_get_expr(p.polqual, p.polrelid), '') || ' ' \
        || coalesce(pg_catalog.pg_get_expr(p.polwithcheck, p.polrelid), '') \
    FROM pg_catalog.pg_policy p JOIN pg_catalog.pg_class c ON c.oid = p.polrelid \
    UNION ALL SELECT 'r', c.relname, pg_catalog.pg_get_constraintdef(k.oid) \
    FROM pg_catalog.pg_constraint k JOIN pg_catalog.pg_class c ON c.oid = k.conrelid \
    JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
    WHERE k.contype = 'c' AND n.nspname <> 'information_schema' \
    UNION ALL SELECT 'r', t.typname, pg_catalog.pg_get_constraintdef(k.oid) \
    FROM pg_catalog.pg_constraint k JOIN pg_catalog.pg_type t ON t.oid = k.contypid \
    JOIN pg_catalog.pg_namespace n ON n.oid = t.typnamespace WHERE n.nspname <> 'information_schema' \
    UNION ALL SELECT 'r', parent.relname, pg_catalog.quote_ident(child.relname) \
    FROM pg_catalog.pg_constraint k JOIN pg_catalog.pg_class parent ON parent.oid = k.confrelid \
    JOIN pg_catalog.pg_class child ON child.oid = k.conrelid WHERE k.contype = 'f' \
    UNION ALL SELECT 'r', parent.relname, pg_catalog.quote_ident(child.relname) \
    FROM pg_catalog.pg_inherits i JOIN pg_catalog.pg_class parent ON parent.oid = i.inhparent \
    JOIN pg_catalog.pg_class child ON child.oid = i.inhrelid) \
    SELECT CASE WHEN pg_catalog.length(code) > 15000 THEN 'o' ELSE subject END, name, \
    CASE WHEN pg_catalog.length(code) > 15000 THEN '' ELSE code END FROM code";
