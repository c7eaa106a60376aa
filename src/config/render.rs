//! The effective settings as a file, for people: no secret is in it.

use std::time::Duration;

use serde::Serialize;
use toml::{Table, Value};

use super::keys::{KEYS, Key};
use super::model::{
    AdminConfig, AuthConfig, ClientTls, Config, Database, Limits, LogConfig, PinsConfig, Timeouts,
    User,
};
use super::secret::{Password, SecretKind};
use super::units::{Share, format_duration};
use super::warm::Warm;
use crate::class::{Class, Glob};

/// Every setting as it holds, in the format of the file, each secret replaced by what kind it is.
pub fn render(config: &Config) -> String {
    toml::to_string_pretty(&table(config)).unwrap_or_else(|error| format!("# {error}\n"))
}

/// The same as a table; `reload` compares two of them.
pub(super) fn table(config: &Config) -> Table {
    let mut databases = named(&config.databases, database);
    if let Some(fallback) = &config.fallback {
        databases.insert("*".to_owned(), database(fallback).into());
    }
    let listen = config.listen.iter().map(|addr| addr.to_string().into());
    let http_listen = config.http_listen.map_or("off".to_owned(), |addr| addr.to_string());
    Section::new()
        .set("listen", Value::Array(listen.collect()))
        .set("http_listen", http_listen)
        .count("workers", config.workers)
        .set("reuse_port", config.reuse_port)
        .name("on_client_gone", config.on_client_gone)
        .name("pooling", config.pooling)
        .set("observe", config.observe)
        .set("tls", tls(&config.client_tls))
        .set("auth", auth(&config.auth))
        .set("users", named(&config.users, user))
        .set("databases", databases)
        .set("classes", Value::Array(config.classes.iter().map(|c| class(c).into()).collect()))
        .set("warm", Value::Array(config.warm.iter().map(|w| warm(w).into()).collect()))
        .set("limits", limits(&config.limits))
        .set("timeouts", timeouts(&config.timeouts))
        .set("pins", pins(&config.pins))
        .set("admin", admin(&config.admin))
        .set("log", log(&config.log))
        .0
}

/// The settings outside of lists and named tables by key, secrets not shown.
pub fn settings(config: &Config) -> Vec<(String, String)> {
    let table = table(config);
    let shown = |key: &Key| {
        let section = match key.section {
            "" => &table,
            section => table.get(section)?.as_table()?,
        };
        let value = match section.get(key.name)? {
            Value::String(text) => text.clone(),
            value => value.to_string(),
        };
        Some((key.path(), value))
    };
    KEYS.iter().filter_map(shown).collect()
}

fn named<T>(
    entries: &std::collections::BTreeMap<String, T>,
    render: impl Fn(&T) -> Table,
) -> Table {
    let pairs = entries.iter();
    pairs.map(|(name, entry)| (name.clone(), render(entry).into())).collect()
}

fn tls(tls: &ClientTls) -> Table {
    Section::new()
        .name("mode", tls.mode)
        .path("cert", tls.cert.as_ref())
        .path("key", tls.key.as_ref())
        .0
}

fn auth(auth: &AuthConfig) -> Table {
    let section = Section::new()
        .name("method", auth.method)
        .path("userlist", auth.userlist.as_ref())
        .span("cache_ttl", auth.cache_ttl)
        .set("delay_after", auth.delay_after)
        .set("trust_remote", auth.trust_remote);
    let Some(query) = &auth.query else {
        return section.0;
    };
    section
        .set("query", query.query.clone())
        .set("query_user", query.user.clone())
        .secret("query_password", query.password.as_ref())
        .text("query_dbname", query.dbname.as_ref())
        .0
}

fn user(user: &User) -> Table {
    Section::new()
        .secret("secret", user.secret.as_ref())
        .secret("server_password", user.server_password.as_ref())
        .0
}

fn database(database: &Database) -> Table {
    let section = Section::new()
        .set("host", database.host.clone())
        .set("port", i64::from(database.port))
        .text("dbname", database.dbname.as_ref())
        .text("user", database.user.as_ref())
        .secret("password", database.password.as_ref())
        .name("tls", database.tls.mode)
        .path("ca", database.tls.ca.as_ref())
        .name("channel_binding", database.tls.channel_binding)
        .text("init_query", database.init_query.as_ref());
    let section = match database.listen {
        Some(mode) => section.name("listen", mode),
        None => section,
    };
    let section = match database.pooling {
        Some(mode) => section.name("pooling", mode),
        None => section,
    };
    let section = match database.observe {
        Some(observe) => section.set("observe", observe),
        None => section,
    };
    match database.max_servers {
        Some(size) => section.share("max_servers", size).0,
        None => section.0,
    }
}

fn class(class: &Class) -> Table {
    let Class { name, rules, limits } = class;
    let section = Section::new()
        .set("name", name.to_string())
        .text("user", rules.user.as_ref())
        .text("database", rules.database.as_ref())
        .text("application_name", rules.application_name.as_ref().map(Glob::to_string).as_ref())
        .text("source", rules.source.map(|net| net.to_string()).as_ref())
        .text("option", rules.option.as_ref())
        .set("weight", i64::from(limits.weight))
        .count("guaranteed", limits.guaranteed)
        .span("queue_timeout", limits.queue_timeout)
        .span("queue_target", limits.queue_target)
        .set("lazy_begin", limits.lazy_begin);
    let optional = [("max_servers", limits.max_servers), ("queue_limit", limits.queue_limit)];
    let there = optional.into_iter().filter_map(|(key, count)| Some((key, count?)));
    there.fold(section, |section, (key, count)| section.count(key, count)).0
}

fn warm(warm: &Warm) -> Table {
    let section = Section::new()
        .set("database", warm.database.clone())
        .text("user", warm.user.as_ref())
        .count("servers", warm.servers);
    let Some(schedule) = &warm.schedule else { return section.0 };
    let days = schedule.day_names().into_iter().map(Value::from);
    section
        .set("at", schedule.at_text())
        .set("for", schedule.time_text())
        .set("days", Value::Array(days.collect()))
        .0
}

fn limits(limits: &Limits) -> Table {
    Section::new()
        .count("max_clients", limits.max_clients)
        .count("max_clients_database", limits.max_clients_database)
        .count("max_clients_user", limits.max_clients_user)
        .count("max_clients_source", limits.max_clients_source)
        .count("max_logins", limits.max_logins)
        .count("max_logins_source", limits.max_logins_source)
        .share("max_servers", limits.max_servers)
        .share("max_servers_database", limits.max_servers_database)
        .share("max_servers_user", limits.max_servers_user)
        .share("max_servers_host", limits.max_servers_host)
        .count("connects_at_once", limits.connects_at_once)
        .count("connects_per_second", limits.connects_per_second)
        .count("min_idle", limits.min_idle)
        .share("max_idle", limits.max_idle)
        .count("reserve", limits.reserve)
        .0
}

fn timeouts(timeouts: &Timeouts) -> Table {
    Section::new()
        .span("login", timeouts.login)
        .span("checkout", timeouts.checkout)
        .span("reserve", timeouts.reserve)
        .span("wait_notice", timeouts.wait_notice)
        .span("server_connect", timeouts.server_connect)
        .span("server_idle", timeouts.server_idle)
        .span("server_lifetime", timeouts.server_lifetime)
        .span("server_check", timeouts.server_check)
        .span("client_dead", timeouts.client_dead)
        .span("server_dead", timeouts.server_dead)
        .span("server_close", timeouts.server_close)
        .span("cancel", timeouts.cancel)
        .span("client_gone", timeouts.client_gone)
        .span("drain", timeouts.drain)
        .span("drain_delay", timeouts.drain_delay)
        .span("drain_clients", timeouts.drain_clients)
        .span("idle_client", timeouts.idle_client)
        .span("idle_in_transaction", timeouts.idle_in_transaction)
        .span("transaction", timeouts.transaction)
        .span("query", timeouts.query)
        .span("pin_idle", timeouts.pin_idle)
        .0
}

fn pins(pins: &PinsConfig) -> Table {
    let refuse = pins.refuse.iter().map(|reason| reason.text().into());
    Section::new()
        .name("listen", pins.listen)
        .set("max_pinned", pins.max_pinned.to_string())
        .set("refuse", Value::Array(refuse.collect()))
        .name("suspicion", pins.suspicion)
        .name("sequences", pins.sequences)
        .name("dynamic_set", pins.dynamic_set)
        .0
}

fn admin(admin: &AdminConfig) -> Table {
    let names = |users: &[String]| Value::Array(users.iter().cloned().map(Value::from).collect());
    Section::new()
        .set("users", names(&admin.users))
        .set("readers", names(&admin.readers))
        .secret("http_token", admin.http_token.as_ref())
        .0
}

fn log(log: &LogConfig) -> Table {
    Section::new().set("level", log.level.clone()).set("json", log.json).0
}

/// A table under construction; what is not set is left out.
struct Section(Table);

impl Section {
    fn new() -> Self {
        Self(Table::new())
    }

    fn set(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.0.insert(key.to_owned(), value.into());
        self
    }

    fn count(self, key: &str, count: usize) -> Self {
        self.set(key, i64::try_from(count).unwrap_or(i64::MAX))
    }

    fn share(self, key: &str, share: Share) -> Self {
        match share {
            Share::Count(count) => self.count(key, count),
            Share::Percent(_) => self.set(key, share.to_string()),
        }
    }

    fn span(self, key: &str, duration: Duration) -> Self {
        self.set(key, format_duration(duration))
    }

    fn name(self, key: &str, choice: impl Serialize) -> Self {
        match Value::try_from(choice) {
            Ok(name) => self.set(key, name),
            Err(_) => self,
        }
    }

    fn text(self, key: &str, text: Option<&String>) -> Self {
        match text {
            Some(text) => self.set(key, text.clone()),
            None => self,
        }
    }

    fn path(self, key: &str, path: Option<&std::path::PathBuf>) -> Self {
        match path {
            Some(path) => self.set(key, path.display().to_string()),
            None => self,
        }
    }

    fn secret(self, key: &str, secret: Option<&Password>) -> Self {
        match secret.map(Password::kind) {
            Some(SecretKind::Plain) => self.set(key, "*** (plain text)"),
            Some(SecretKind::ScramVerifier) => self.set(key, "*** (SCRAM verifier)"),
            Some(SecretKind::Md5) => self.set(key, "*** (md5 hash)"),
            None => self,
        }
    }
}
