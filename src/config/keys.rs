//! The list of settings: names, kinds, and what a reload does with each.
//!
//! Invariant: a key is here exactly if the file takes it; the tests hold both to it, and
//! `docs/configuration.md` as well.

/// How the text of an environment variable becomes a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Taken as it is.
    Text,
    /// Taken as it is and shown nowhere.
    Secret,
    /// Taken as it is; `30s`, `5min`, ...
    Duration,
    /// A whole number.
    Number,
    /// `true` or `false`.
    Switch,
    /// Texts between commas.
    List,
}

/// What a reload does with a changed setting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reload {
    /// It holds from then on.
    Live,
    /// It needs a restart; the old value stays.
    Restart,
}

/// One setting outside the named tables.
#[derive(Debug, Clone, Copy)]
pub struct Key {
    /// Section, empty for the top level.
    pub section: &'static str,
    /// Name in the section.
    pub name: &'static str,
    /// Kind of value.
    pub kind: Kind,
    /// What a reload does with it.
    pub reload: Reload,
    /// The flag that sets it, if there is one.
    pub flag: Option<&'static str>,
}

impl Key {
    /// The environment variable that sets it: `PGWEIR_<SECTION>_<KEY>`.
    pub fn variable(&self) -> String {
        match self.section {
            "" => format!("PGWEIR_{}", self.name),
            section => format!("PGWEIR_{section}_{}", self.name),
        }
        .to_ascii_uppercase()
    }

    /// Its name with its section: `timeouts.checkout`.
    pub fn path(&self) -> String {
        match self.section {
            "" => self.name.to_owned(),
            section => format!("{section}.{}", self.name),
        }
    }

    const fn new(section: &'static str, name: &'static str, kind: Kind) -> Self {
        Self { section, name, kind, reload: Reload::Live, flag: None }
    }

    const fn restart(mut self) -> Self {
        self.reload = Reload::Restart;
        self
    }

    const fn flag(mut self, flag: &'static str) -> Self {
        self.flag = Some(flag);
        self
    }
}

/// The key of a path such as `limits.max_servers`, if there is one.
pub(super) fn by_path(path: &str) -> Option<&'static Key> {
    let (section, name) = path.split_once('.').unwrap_or(("", path));
    find(section, name)
}

/// The key of `section` and `name`, if there is one.
pub(super) fn find(section: &str, name: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.section == section && key.name == name)
}

/// Every setting outside `[users]` and `[databases]`.
pub const KEYS: &[Key] = &[
    Key::new("", "listen", Kind::List).restart().flag("--listen"),
    Key::new("", "http_listen", Kind::Text).restart().flag("--http-listen"),
    Key::new("", "workers", Kind::Number).restart(),
    Key::new("", "reuse_port", Kind::Switch).restart(),
    Key::new("", "on_client_gone", Kind::Text),
    Key::new("", "pooling", Kind::Text),
    Key::new("", "observe", Kind::Switch),
    Key::new("tls", "mode", Kind::Text),
    Key::new("tls", "cert", Kind::Text),
    Key::new("tls", "key", Kind::Text),
    Key::new("auth", "method", Kind::Text),
    Key::new("auth", "userlist", Kind::Text),
    Key::new("auth", "query", Kind::Text),
    Key::new("auth", "query_user", Kind::Text),
    Key::new("auth", "query_password", Kind::Secret),
    Key::new("auth", "query_password_env", Kind::Text),
    Key::new("auth", "query_password_file", Kind::Text),
    Key::new("auth", "query_dbname", Kind::Text),
    Key::new("auth", "cache_ttl", Kind::Duration),
    Key::new("auth", "delay_after", Kind::Number),
    Key::new("auth", "trust_remote", Kind::Switch),
    Key::new("limits", "max_clients", Kind::Number),
    Key::new("limits", "max_clients_database", Kind::Number),
    Key::new("limits", "max_clients_user", Kind::Number),
    Key::new("limits", "max_clients_source", Kind::Number),
    Key::new("limits", "max_logins", Kind::Number),
    Key::new("limits", "max_logins_source", Kind::Number),
    Key::new("limits", "max_servers", Kind::Text).flag("--max-servers"),
    Key::new("limits", "max_servers_database", Kind::Text),
    Key::new("limits", "max_servers_user", Kind::Text),
    Key::new("limits", "max_servers_host", Kind::Text),
    Key::new("limits", "connects_at_once", Kind::Number),
    Key::new("limits", "connects_per_second", Kind::Number),
    Key::new("limits", "min_idle", Kind::Number),
    Key::new("limits", "max_idle", Kind::Text),
    Key::new("limits", "reserve", Kind::Number),
    Key::new("timeouts", "login", Kind::Duration),
    Key::new("timeouts", "checkout", Kind::Duration),
    Key::new("timeouts", "reserve", Kind::Duration),
    Key::new("timeouts", "wait_notice", Kind::Duration),
    Key::new("timeouts", "server_connect", Kind::Duration),
    Key::new("timeouts", "server_idle", Kind::Duration),
    Key::new("timeouts", "server_lifetime", Kind::Duration),
    Key::new("timeouts", "server_check", Kind::Duration),
    Key::new("timeouts", "client_dead", Kind::Duration),
    Key::new("timeouts", "server_dead", Kind::Duration),
    Key::new("timeouts", "server_close", Kind::Duration),
    Key::new("timeouts", "cancel", Kind::Duration),
    Key::new("timeouts", "client_gone", Kind::Duration),
    Key::new("timeouts", "drain", Kind::Duration),
    Key::new("timeouts", "drain_delay", Kind::Duration),
    Key::new("timeouts", "drain_clients", Kind::Duration),
    Key::new("timeouts", "idle_client", Kind::Duration),
    Key::new("timeouts", "idle_in_transaction", Kind::Duration),
    Key::new("timeouts", "transaction", Kind::Duration),
    Key::new("timeouts", "query", Kind::Duration),
    Key::new("timeouts", "pin_idle", Kind::Duration),
    Key::new("pins", "listen", Kind::Text),
    Key::new("pins", "max_pinned", Kind::Text),
    Key::new("pins", "refuse", Kind::List),
    Key::new("pins", "suspicion", Kind::Text),
    Key::new("pins", "sequences", Kind::Text),
    Key::new("pins", "dynamic_set", Kind::Text),
    Key::new("admin", "users", Kind::List),
    Key::new("admin", "readers", Kind::List),
    Key::new("admin", "http_token", Kind::Secret),
    Key::new("admin", "http_token_env", Kind::Text),
    Key::new("admin", "http_token_file", Kind::Text),
    Key::new("log", "level", Kind::Text).flag("--log-level"),
    Key::new("log", "json", Kind::Switch).restart().flag("--log-json"),
];

/// The settings of one user, in `[users.NAME]`.
pub const USER_KEYS: &[&str] = &[
    "secret",
    "password",
    "password_env",
    "password_file",
    "server_password",
    "server_password_env",
    "server_password_file",
];

/// The settings of one class, in a `[[classes]]`.
pub const CLASS_KEYS: &[&str] = &[
    "name",
    "user",
    "database",
    "application_name",
    "source",
    "option",
    "weight",
    "max_servers",
    "guaranteed",
    "queue_limit",
    "queue_timeout",
    "queue_target",
    "lazy_begin",
];

/// The settings of one pool that is kept warm, in a `[[warm]]`.
pub const WARM_KEYS: &[&str] = &["database", "user", "servers", "at", "for", "days"];

/// The settings of one database, in `[databases.ALIAS]`.
pub const DATABASE_KEYS: &[&str] = &[
    "host",
    "port",
    "dbname",
    "user",
    "password",
    "password_env",
    "password_file",
    "tls",
    "ca",
    "channel_binding",
    "init_query",
    "max_servers",
    "listen",
    "pooling",
    "observe",
];
