//! What a value's type cannot say: ranges, files that must be there, settings that need each other.

use std::path::Path;
use std::time::Duration;

use rustls::pki_types::pem::{Error as PemError, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tracing_subscriber::EnvFilter;

use super::classes;
use super::context::{Context, join};
use super::error::ConfigError;
use super::model::{
    AdminConfig, AuthMethod, CONSOLE, ClientTlsMode, Config, Database, ListenAddr, PoolingMode,
    ServerTlsMode, Timeouts,
};
use super::secret::{Password, SecretKind};
use super::units::Share;
use super::warm;
use super::watched::Watched;

/// A million sockets are more than one process can hold.
const MAX_CLIENTS: usize = 1_000_000;
/// PostgreSQL's own highest `max_connections`.
pub const MAX_SERVERS: usize = 262_143;
/// More threads than any machine has cores.
const MAX_WORKERS: usize = 1024;

/// Checks everything; the first fault found is the error.
pub(super) fn config(context: &mut Context<'_>, config: &Config) -> Result<(), ConfigError> {
    limits(context, config)?;
    timeouts(context, &config.timeouts)?;
    client_tls(context, config)?;
    auth(context, config)?;
    users(context, config)?;
    admin(context, config)?;
    classes::check(context, config)?;
    warm::check(context, config)?;
    observe(context, &["observe"], config.observe, config.pooling)?;
    let fallback = config.fallback.iter().map(|entry| ("*", entry));
    let named = config.databases.iter().map(|(alias, entry)| (alias.as_str(), entry));
    for (alias, entry) in named.chain(fallback) {
        database(context, alias, entry)?;
        let observes = entry.observe.unwrap_or(false);
        let pooling = entry.pooling.unwrap_or(config.pooling);
        observe(context, &["databases", alias, "observe"], observes, pooling)?;
    }
    let filter = EnvFilter::try_new(&config.log.level).ok();
    filter.filter(|_| names_levels(&config.log.level)).ok_or_else(|| {
        let problem = format!("{:?} is no filter", config.log.level);
        let expected =
            "error, warn, info, debug, trace, or a filter such as info,pgweir::pool=debug";
        context.bad(&["log", "level"], problem, expected)
    })?;
    if config.databases.is_empty() && config.fallback.is_none() {
        return Err(ConfigError::NoDatabase);
    }
    Ok(())
}

/// The filter takes a word that is no level for a module, of which it then shows everything, and nothing of others.
fn names_levels(filter: &str) -> bool {
    let bare = filter.split(',').filter(|part| !part.contains('='));
    bare.map(str::trim).all(|part| {
        part.is_empty()
            || part.starts_with("pgweir")
            || part.contains('[')
            || part.parse::<tracing_subscriber::filter::LevelFilter>().is_ok()
    })
}

fn limits(context: &mut Context<'_>, config: &Config) -> Result<(), ConfigError> {
    let limits = &config.limits;
    let ranges = [
        ("max_clients", limits.max_clients, 1, MAX_CLIENTS),
        ("max_clients_database", limits.max_clients_database, 0, MAX_CLIENTS),
        ("max_clients_user", limits.max_clients_user, 0, MAX_CLIENTS),
        ("max_clients_source", limits.max_clients_source, 0, MAX_CLIENTS),
        ("max_logins", limits.max_logins, 0, MAX_CLIENTS),
        ("max_logins_source", limits.max_logins_source, 0, MAX_CLIENTS),
        ("reserve", limits.reserve, 0, MAX_SERVERS),
        ("connects_at_once", limits.connects_at_once, 0, MAX_SERVERS),
        ("connects_per_second", limits.connects_per_second, 0, MAX_SERVERS),
        ("min_idle", limits.min_idle, 0, most(limits.max_idle)),
    ];
    for (key, value, least, most) in ranges {
        range(context, &["limits", key], value, least..=most)?;
    }
    let shares = [
        ("max_servers", limits.max_servers, 1),
        ("max_servers_database", limits.max_servers_database, 0),
        ("max_servers_user", limits.max_servers_user, 0),
        ("max_servers_host", limits.max_servers_host, 0),
    ];
    for (key, value, least) in shares {
        share(context, &["limits", key], value, least..=MAX_SERVERS)?;
    }
    max_idle(context, config)?;
    min_idle(context, config)?;
    range(context, &["workers"], config.workers, 0..=MAX_WORKERS)?;
    if limits.max_servers_host == Share::Count(1) {
        context.warn(
            "limits.max_servers_host is 1: while the control plane uses that one connection, \
             clients wait"
                .to_owned(),
        );
    }
    Ok(())
}

/// Of two shares of the same, or two numbers, the one must not be the larger.
fn max_idle(context: &Context<'_>, config: &Config) -> Result<(), ConfigError> {
    let (idle, all) = (config.limits.max_idle, config.limits.max_servers);
    let is_more = match (idle, all) {
        (Share::Count(idle), Share::Count(all)) => idle > all,
        (Share::Percent(idle), Share::Percent(all)) => idle > all,
        _ => false,
    };
    if !is_more {
        return Ok(());
    }
    let expected = format!("at most {all} (limits.max_servers)");
    Err(context.bad(&["limits", "max_idle"], format!("{idle} is out of range"), expected))
}

/// What is kept open in each pool must be there in each.
fn min_idle(context: &Context<'_>, config: &Config) -> Result<(), ConfigError> {
    let idle = config.limits.min_idle;
    match least_servers(config).filter(|(_, least)| idle > *least) {
        None => Ok(()),
        Some((key, least)) => {
            let expected = format!("at most {least} ({key})");
            Err(context.bad(&["limits", "min_idle"], format!("{idle} is out of range"), expected))
        }
    }
}

/// The least number of servers that some pool may have, alone or with others, and the key that says so; what is in
/// per cent may come to anything.
fn least_servers(config: &Config) -> Option<(String, usize)> {
    let fallback = config.fallback.iter().map(|entry| ("*", entry));
    let named = config.databases.iter().map(|(alias, entry)| (alias.as_str(), entry));
    let pools = named.chain(fallback);
    pools
        .filter_map(|(alias, entry)| least_servers_of(config, alias, entry))
        .chain(least_shared(config))
        .min_by_key(|(_, count)| *count)
}

/// The same of the pools of one database.
pub(super) fn least_servers_of(
    config: &Config,
    alias: &str,
    database: &Database,
) -> Option<(String, usize)> {
    let (key, own) = match database.max_servers {
        Some(own) => (format!("databases.{alias}.max_servers"), own),
        None => ("limits.max_servers".to_owned(), config.limits.max_servers),
    };
    let own = number(own).map(|own| (key, own));
    own.into_iter().chain(least_shared(config)).min_by_key(|(_, count)| *count)
}

/// The same of the limits that a pool shares with others, which hold for its reserve too.
pub(super) fn least_shared(config: &Config) -> Option<(String, usize)> {
    let limits = &config.limits;
    let shared = [
        ("max_servers_database", limits.max_servers_database),
        ("max_servers_user", limits.max_servers_user),
        ("max_servers_host", limits.max_servers_host),
    ];
    let numbers = shared
        .into_iter()
        .filter_map(|(key, share)| Some((format!("limits.{key}"), number(share)?)));
    numbers.min_by_key(|(_, count)| *count)
}

fn number(limit: Share) -> Option<usize> {
    match limit {
        // No limit.
        Share::Count(0) | Share::Percent(_) => None,
        Share::Count(count) => Some(count),
    }
}

/// The largest number that a limit can come to.
fn most(limit: Share) -> usize {
    match limit {
        Share::Count(count) => count,
        Share::Percent(_) => MAX_SERVERS,
    }
}

fn share(
    context: &Context<'_>,
    path: &[&str],
    share: Share,
    numbers: std::ops::RangeInclusive<usize>,
) -> Result<(), ConfigError> {
    match share {
        Share::Count(count) => range(context, path, count, numbers),
        Share::Percent(_) => Ok(()),
    }
}

pub(super) fn range(
    context: &Context<'_>,
    path: &[&str],
    value: usize,
    range: std::ops::RangeInclusive<usize>,
) -> Result<(), ConfigError> {
    if range.contains(&value) {
        return Ok(());
    }
    let bound = match path.last() {
        Some(&"min_idle") => " (limits.max_idle)",
        _ => "",
    };
    let expected = format!("a number from {} to {}{bound}", range.start(), range.end());
    Err(context.bad(path, format!("{value} is out of range"), expected))
}

fn timeouts(context: &Context<'_>, timeouts: &Timeouts) -> Result<(), ConfigError> {
    // Without these a wait could last for ever, or none would be long enough.
    let needed = [
        ("login", timeouts.login),
        ("checkout", timeouts.checkout),
        ("server_connect", timeouts.server_connect),
        ("server_idle", timeouts.server_idle),
        ("server_lifetime", timeouts.server_lifetime),
        ("client_dead", timeouts.client_dead),
        ("server_dead", timeouts.server_dead),
        ("server_close", timeouts.server_close),
        ("cancel", timeouts.cancel),
        ("client_gone", timeouts.client_gone),
    ];
    match needed.iter().find(|(_, value)| *value == Duration::ZERO) {
        None => Ok(()),
        Some((key, _)) => {
            let path = ["timeouts", *key];
            Err(context.bad(&path, "it cannot be switched off", "a duration above zero"))
        }
    }
}

fn client_tls(context: &mut Context<'_>, config: &Config) -> Result<(), ConfigError> {
    let tls = &config.client_tls;
    for (key, there, other) in [("cert", &tls.cert, &tls.key), ("key", &tls.key, &tls.cert)] {
        let is_needed = other.is_some() || tls.mode != ClientTlsMode::Disable;
        if there.is_none() && is_needed {
            let expected = "tls.cert and tls.key together, the paths of PEM files";
            return Err(context.bad(&["tls", key], "it is missing", expected));
        }
    }
    if let Some(cert) = &tls.cert {
        certificates(context, &["tls", "cert"], cert)?;
    }
    if let Some(key) = &tls.key {
        private_key(context, key)?;
        context.warn_if_open(key);
    }
    Ok(())
}

fn certificates(context: &mut Context<'_>, path: &[&str], file: &Path) -> Result<(), ConfigError> {
    context.files.push(Watched::new(file));
    let first = CertificateDer::pem_file_iter(file)
        .and_then(|mut certs| certs.next().unwrap_or(Err(PemError::NoItemsFound)));
    let expected = "certificates in PEM (-----BEGIN CERTIFICATE-----)";
    first.map(drop).map_err(|error| pem_fault(context, path, file, (&error, expected)))
}

fn private_key(context: &mut Context<'_>, file: &Path) -> Result<(), ConfigError> {
    context.files.push(Watched::new(file));
    let expected = "an unencrypted key in PEM (-----BEGIN PRIVATE KEY-----)";
    PrivateKeyDer::from_pem_file(file)
        .map(drop)
        .map_err(|error| pem_fault(context, &["tls", "key"], file, (&error, expected)))
}

fn pem_fault(
    context: &Context<'_>,
    path: &[&str],
    file: &Path,
    (error, expected): (&PemError, &str),
) -> ConfigError {
    // The parser's other errors quote the file, and a key is no text for a log.
    if let PemError::Io(error) = error {
        return context.unreadable(path, file, error);
    }
    let problem = format!("{} holds nothing of the kind", file.display());
    context.bad(path, problem, expected)
}

fn auth(context: &mut Context<'_>, config: &Config) -> Result<(), ConfigError> {
    let auth = &config.auth;
    let has_query = auth.query.is_some();
    for key in
        ["query", "query_password", "query_password_env", "query_password_file", "query_dbname"]
    {
        if !has_query && context.layers.has(&["auth", key]) {
            let problem = format!("{key} without query_user does nothing");
            return Err(context.bad(&["auth", key], problem, "auth.query_user beside it"));
        }
    }
    if let Some(query) = &auth.query {
        text(context, &["auth", "query"], &query.query)?;
        text(context, &["auth", "query_user"], &query.user)?;
        let dbname = query.dbname.as_deref();
        if let Some(name) = dbname.filter(|name| config.database(name).is_none()) {
            let problem = format!("{name:?} is none of [databases]");
            return Err(context.bad(&["auth", "query_dbname"], problem, "one of their names"));
        }
    }
    if let Some(query) = auth.query.as_ref().filter(|query| query.password.is_none()) {
        let user = &query.user;
        context.warn(format!(
            "no password is given for {user:?}, who looks users up: that works only where PostgreSQL \
             asks it for none"
        ));
    }
    match auth.method {
        AuthMethod::Trust => trust(context, config),
        AuthMethod::Cleartext => cleartext(context, config),
        AuthMethod::ScramSha256 | AuthMethod::Md5 => {
            if config.users.is_empty() && !has_query && auth.userlist.is_none() {
                context.warn(
                    "no client can log in: there are no [users], no auth.userlist and no \
                     auth.query_user"
                        .to_owned(),
                );
            }
            Ok(())
        }
    }
}

fn trust(context: &Context<'_>, config: &Config) -> Result<(), ConfigError> {
    let open = config.listen.iter().find(|addr| !addr.is_local());
    match open {
        Some(addr) if !config.auth.trust_remote => {
            let problem = format!("trust on {addr} would let in everyone who can reach it");
            let expected = "another method, loopback addresses only, or auth.trust_remote = true \
                 beside it to say that this is meant";
            Err(context.bad(&["auth", "method"], problem, expected))
        }
        _ => Ok(()),
    }
}

fn cleartext(context: &Context<'_>, config: &Config) -> Result<(), ConfigError> {
    let is_tcp = |addr: &ListenAddr| matches!(addr, ListenAddr::Tcp(_));
    if config.client_tls.mode == ClientTlsMode::Disable && config.listen.iter().all(is_tcp) {
        let problem = "cleartext passwords are taken on TLS and Unix sockets only";
        return Err(context.bad(&["auth", "method"], problem, "[tls] with cert and key, too"));
    }
    Ok(())
}

/// A stored hash of one method proves nothing in another.
fn users(context: &mut Context<'_>, config: &Config) -> Result<(), ConfigError> {
    let method = config.auth.method;
    for (name, user) in &config.users {
        text(context, &["users", name], name)?;
        let unusable = match (method, user.secret.as_ref().map(Password::kind)) {
            (AuthMethod::Md5, Some(SecretKind::ScramVerifier)) => "a SCRAM verifier",
            (AuthMethod::ScramSha256, Some(SecretKind::Md5)) => "an md5 hash",
            _ => continue,
        };
        let method = method_name(method);
        let problem = format!("{unusable} cannot answer for auth.method = \"{method}\"");
        if context.layers.has(&["users", name]) {
            let path = ["users", name, "secret"];
            return Err(context.bad(&path, problem, "a secret of that method or a plain text"));
        }
        context.warn(format!("auth.userlist: user {name:?} cannot log in: {problem}"));
    }
    Ok(())
}

fn admin(context: &Context<'_>, config: &Config) -> Result<(), ConfigError> {
    let AdminConfig { users, readers, .. } = &config.admin;
    for (key, names) in [("users", users), ("readers", readers)] {
        for name in names {
            text(context, &["admin", key], name)?;
        }
    }
    if config.admin.is_on() && config.databases.contains_key(CONSOLE) {
        let problem = "with admin.users or admin.readers, this is the name of the console";
        let expected = "another name, or neither of them";
        return Err(context.bad(&["databases", CONSOLE], problem, expected));
    }
    Ok(())
}

/// Where servers are lent by transaction there is nothing to find out.
fn observe(
    context: &Context<'_>,
    path: &[&str],
    observes: bool,
    pooling: PoolingMode,
) -> Result<(), ConfigError> {
    if !observes || pooling == PoolingMode::Session {
        return Ok(());
    }
    let problem = "clients are observed while they are pooled by session";
    Err(context.bad(path, problem, "pooling = \"session\" beside it, or false"))
}

fn method_name(method: AuthMethod) -> &'static str {
    match method {
        AuthMethod::Trust => "trust",
        AuthMethod::ScramSha256 => "scram-sha-256",
        AuthMethod::Md5 => "md5",
        AuthMethod::Cleartext => "cleartext",
    }
}

fn database(context: &mut Context<'_>, alias: &str, entry: &Database) -> Result<(), ConfigError> {
    let table = ["databases", alias];
    text(context, &table, alias)?;
    let texts = [
        ("host", Some(&entry.host)),
        ("dbname", entry.dbname.as_ref()),
        ("user", entry.user.as_ref()),
        ("init_query", entry.init_query.as_ref()),
    ];
    for (key, value) in texts {
        value.map_or(Ok(()), |value| text(context, &join(&table, key), value))?;
    }
    if entry.port == 0 {
        return Err(context.bad(&join(&table, "port"), "0 is no port", "1 to 65535"));
    }
    if entry.password.is_some() && entry.user.is_none() {
        let problem = "it is the password of `user`, which is missing";
        return Err(context.bad(&join(&table, "password"), problem, "`user` beside it"));
    }
    if let Some(size) = entry.max_servers {
        share(context, &join(&table, "max_servers"), size, 1..=MAX_SERVERS)?;
    }
    server_tls(context, &table, entry)
}

fn server_tls(
    context: &mut Context<'_>,
    table: &[&str],
    entry: &Database,
) -> Result<(), ConfigError> {
    let verifies = matches!(entry.tls.mode, ServerTlsMode::VerifyCa | ServerTlsMode::VerifyFull);
    match &entry.tls.ca {
        Some(ca) => certificates(context, &join(table, "ca"), ca),
        None if verifies => {
            let problem = "it is missing, and `tls` asks for a verified certificate";
            let expected =
                "the path of a PEM file with the trusted certificates (sslrootcert), or system";
            Err(context.bad(&join(table, "ca"), problem, expected))
        }
        None => Ok(()),
    }
}

/// Names and statements go into messages that a zero byte would cut short.
pub(super) fn text(context: &Context<'_>, path: &[&str], text: &str) -> Result<(), ConfigError> {
    if text.trim().is_empty() || text.contains('\0') {
        return Err(context.bad(path, "it is empty or has a zero byte", "a text"));
    }
    Ok(())
}
