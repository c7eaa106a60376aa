//! From what the sources say to a valid [`Config`].

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use crate::auth::{Secret, parse_userlist};

use super::context::{Context, Ways, join};
use super::env::Environment;
use super::error::ConfigError;
use super::layers::Layers;
use super::model::{
    AdminConfig, AuthConfig, AuthMethod, AuthQuery, ChannelBindingMode, ClientTls, ClientTlsMode,
    Config, Database, Limits, ListenAddr, OnClientGone, PinsConfig, ServerTls, ServerTlsMode, User,
};
use super::raw::{Raw, RawAdmin, RawAuth, RawDatabase, RawPins, RawTls, RawUser};
use super::secret::Password;
use super::source::Loaded;
use super::trusted::{is_system, trusted, usual_mode};
use super::units::Share;
use super::{classes, validate, warm};
use crate::session::pins::{PinReason, Pins};

/// Where clients connect by default: PgBouncer's port, which tools know, on this machine only, since
/// who may reach it from elsewhere is for the operator to say.
pub const DEFAULT_LISTEN: &str = "127.0.0.1:6432";
/// Where operators look by default, on this machine only: it has no password.
pub const DEFAULT_HTTP_LISTEN: &str = "127.0.0.1:9632";
/// PostgreSQL's port.
const DEFAULT_PORT: u16 = 5432;
/// Wrong passwords from one address until its answers are delayed: more than a fleet that was given an old one sends at
/// once by mistake.
const DEFAULT_DELAY_AFTER: u32 = 30;
/// Long enough to spare PostgreSQL a look-up per login of a burst, short enough that nobody notices
/// a changed password being believed.
const DEFAULT_CACHE_TTL: Duration = Duration::from_secs(1);
/// What PostgreSQL itself goes by. Only superusers may read `pg_authid`; where pgweir should have less,
/// `auth.query` names a SECURITY DEFINER function. Names are written out in full, so that no object of
/// another schema can stand in for them.
pub const DEFAULT_AUTH_QUERY: &str = "SELECT rolname, rolpassword, rolvaliduntil, rolcanlogin \
     FROM pg_catalog.pg_authid WHERE rolname OPERATOR(pg_catalog.=) $1::pg_catalog.text";

/// Builds and checks.
pub(super) fn config(layers: &Layers, env: &Environment) -> Result<Loaded, ConfigError> {
    let mut context = Context { layers, env, warnings: Vec::new(), files: Vec::new() };
    let raw = layers.merged()?;
    let config = assemble(&mut context, raw)?;
    validate::config(&mut context, &config)?;
    Ok(Loaded { config, warnings: context.warnings, files: context.files })
}

fn assemble(context: &mut Context<'_>, raw: Raw) -> Result<Config, ConfigError> {
    let limits = limits(context, raw.limits);
    let mut databases = databases(context, raw.databases)?;
    Ok(Config {
        listen: listen(context, raw.listen)?,
        client_tls: client_tls(raw.tls),
        users: users(context, raw.users, raw.auth.userlist.as_ref())?,
        auth: auth(context, raw.auth)?,
        fallback: databases.remove("*"),
        databases,
        classes: classes::build(context, raw.classes, raw.timeouts.checkout)?,
        warm: warm::build(context, raw.warm)?,
        limits,
        timeouts: raw.timeouts,
        pins: pins(context, &raw.pins)?,
        admin: admin(context, raw.admin)?,
        http_listen: http_listen(context, raw.http_listen.as_deref())?,
        on_client_gone: raw.on_client_gone.unwrap_or(OnClientGone::Cancel),
        pooling: raw.pooling,
        observe: raw.observe,
        log: raw.log,
        workers: raw.workers.map_or(0, |count| count.0),
        reuse_port: raw.reuse_port,
    })
}

fn admin(context: &mut Context<'_>, raw: RawAdmin) -> Result<AdminConfig, ConfigError> {
    let http_token = context.password(Ways {
        table: &["admin"],
        key: "http_token",
        text: raw.http_token,
        env: raw.http_token_env,
        file: raw.http_token_file,
    })?;
    Ok(AdminConfig { users: raw.users, readers: raw.readers, http_token })
}

fn limits(context: &Context<'_>, mut limits: Limits) -> Limits {
    let (layers, all) = (context.layers, limits.max_servers);
    limits.idle_follows = !layers.has(&["limits", "max_idle"]);
    if limits.idle_follows {
        limits.max_idle = all;
    }
    // Whoever makes the pools smaller for a while need not say so three times.
    let is_smaller = layers.is_changed(&["limits", "max_servers"]);
    if let (true, Share::Count(all)) = (is_smaller, all) {
        if let Share::Count(idle) = limits.max_idle
            && !layers.is_changed(&["limits", "max_idle"])
        {
            limits.max_idle = Share::Count(idle.min(all));
        }
        if !layers.is_changed(&["limits", "min_idle"]) {
            limits.min_idle = limits.min_idle.min(all);
        }
    }
    limits
}

fn listen(
    context: &Context<'_>,
    texts: Option<Vec<String>>,
) -> Result<Vec<ListenAddr>, ConfigError> {
    let texts = texts.unwrap_or_else(|| vec![DEFAULT_LISTEN.to_owned()]);
    let mut addrs = Vec::with_capacity(texts.len());
    for text in &texts {
        let addr = match text.strip_prefix('/') {
            Some(_) => ListenAddr::Unix(PathBuf::from(text)),
            None => ListenAddr::Tcp(tcp(context, "listen", text)?),
        };
        // Port 0 means any free one, which two addresses may both ask for.
        let is_any = matches!(&addr, ListenAddr::Tcp(addr) if addr.port() == 0);
        if addrs.contains(&addr) && !is_any {
            let problem = format!("{text} stands there twice");
            return Err(context.bad(&["listen"], problem, "each address once"));
        }
        addrs.push(addr);
    }
    if addrs.is_empty() {
        return Err(context.bad(&["listen"], "the list is empty", "at least one address"));
    }
    Ok(addrs)
}

fn tcp(context: &Context<'_>, key: &str, text: &str) -> Result<SocketAddr, ConfigError> {
    text.parse().map_err(|_| {
        let expected = match key {
            "listen" => "address:port, [IPv6 address]:port or the /path of a Unix socket",
            _ => "address:port, [IPv6 address]:port or \"off\"",
        };
        context.bad(&[key], format!("{text:?} is no address"), expected)
    })
}

fn http_listen(
    context: &Context<'_>,
    text: Option<&str>,
) -> Result<Option<SocketAddr>, ConfigError> {
    match text.unwrap_or(DEFAULT_HTTP_LISTEN) {
        "off" => Ok(None),
        text => tcp(context, "http_listen", text).map(Some),
    }
}

fn pins(context: &Context<'_>, raw: &RawPins) -> Result<PinsConfig, ConfigError> {
    let mut refuse = Pins::NONE;
    for name in &raw.refuse {
        let known = refusable().find(|reason| reason.text() == name);
        refuse.set(known.ok_or_else(|| unknown_reason(context, name))?, true);
    }
    Ok(PinsConfig {
        listen: raw.listen.unwrap_or(PinsConfig::default().listen),
        max_pinned: raw.max_pinned.unwrap_or(PinsConfig::default().max_pinned),
        refuse,
        suspicion: raw.suspicion,
        sequences: raw.sequences,
        dynamic_set: raw.dynamic_set,
    })
}

/// Numbers of sequences have a setting of their own; what could not be found out is nobody's wish.
fn refusable() -> impl Iterator<Item = PinReason> {
    let others = [PinReason::Sequence, PinReason::Unproven];
    PinReason::ALL.into_iter().filter(move |reason| !others.contains(reason))
}

fn unknown_reason(context: &Context<'_>, name: &str) -> ConfigError {
    let names: Vec<_> = refusable().map(PinReason::text).collect();
    let problem = format!("{name:?} is no reason that can be refused");
    context.bad(&["pins", "refuse"], problem, format!("some of {}", names.join(", ")))
}

fn client_tls(raw: RawTls) -> ClientTls {
    // Who gives a certificate wants it used; who gives none cannot.
    let default = match raw.cert {
        Some(_) => ClientTlsMode::Allow,
        None => ClientTlsMode::Disable,
    };
    ClientTls { mode: raw.mode.unwrap_or(default), cert: raw.cert, key: raw.key }
}

fn auth(context: &mut Context<'_>, raw: RawAuth) -> Result<AuthConfig, ConfigError> {
    let password = context.password(Ways {
        table: &["auth"],
        key: "query_password",
        text: raw.query_password,
        env: raw.query_password_env,
        file: raw.query_password_file,
    })?;
    let query = raw.query_user.map(|user| AuthQuery {
        query: raw.query.unwrap_or_else(|| DEFAULT_AUTH_QUERY.to_owned()),
        user,
        password,
        dbname: raw.query_dbname,
    });
    Ok(AuthConfig {
        method: raw.method.unwrap_or(AuthMethod::ScramSha256),
        userlist: raw.userlist,
        query,
        cache_ttl: raw.cache_ttl.map_or(DEFAULT_CACHE_TTL, |span| span.0),
        delay_after: raw.delay_after.unwrap_or(DEFAULT_DELAY_AFTER),
        trust_remote: raw.trust_remote,
    })
}

fn users(
    context: &mut Context<'_>,
    raw: BTreeMap<String, RawUser>,
    userlist: Option<&PathBuf>,
) -> Result<BTreeMap<String, User>, ConfigError> {
    let mut users = BTreeMap::new();
    for (name, raw) in raw {
        let user = user(context, &name, raw)?;
        users.insert(name, user);
    }
    if let Some(file) = userlist {
        let path = ["auth", "userlist"];
        let text = Password::new(context.read(&path, file)?);
        let entries = parse_userlist(text.reveal()).map_err(|error| {
            let problem = format!("{}: {error}", file.display());
            context.bad(&path, problem, "\"name\" \"secret\" on each line")
        })?;
        context.warn_if_open(file);
        for entry in entries {
            users.entry(entry.name).or_insert(User {
                secret: entry.secret.map(|secret| Password::new(secret.format().as_str())),
                server_password: None,
            });
        }
    }
    Ok(users)
}

fn user(context: &mut Context<'_>, name: &str, raw: RawUser) -> Result<User, ConfigError> {
    let table = ["users", name];
    if raw.secret.is_some()
        && (raw.password.is_some() || raw.password_env.is_some() || raw.password_file.is_some())
    {
        let expected = "either secret or one of password, password_env and password_file";
        return Err(context.bad(&join(&table, "secret"), "given in two ways", expected));
    }
    let secret = context.password(Ways {
        table: &table,
        key: "secret",
        text: raw.secret,
        env: None,
        file: None,
    })?;
    let password = context.password(Ways {
        table: &table,
        key: "password",
        text: raw.password,
        env: raw.password_env,
        file: raw.password_file,
    })?;
    let server_password = context.password(Ways {
        table: &table,
        key: "server_password",
        text: raw.server_password,
        env: raw.server_password_env,
        file: raw.server_password_file,
    })?;
    let secret = secret.or(password);
    if let Some(Err(error)) = secret.as_ref().map(|secret| Secret::parse(secret.reveal())) {
        let expected = "a plain text, a SCRAM verifier or an md5 hash, as in pg_authid";
        return Err(context.bad(&join(&table, "secret"), error.to_string(), expected));
    }
    Ok(User { secret, server_password })
}

fn databases(
    context: &mut Context<'_>,
    raw: BTreeMap<String, RawDatabase>,
) -> Result<BTreeMap<String, Database>, ConfigError> {
    let mut databases = BTreeMap::new();
    for (alias, raw) in raw {
        let database = database(context, &alias, raw)?;
        databases.insert(alias, database);
    }
    Ok(databases)
}

fn database(
    context: &mut Context<'_>,
    alias: &str,
    raw: RawDatabase,
) -> Result<Database, ConfigError> {
    let table = ["databases", alias];
    let password = context.password(Ways {
        table: &table,
        key: "password",
        text: raw.password,
        env: raw.password_env,
        file: raw.password_file,
    })?;
    let tls = server_tls(context, &table, (raw.tls, raw.ca, raw.channel_binding))?;
    let host = raw.host.ok_or_else(|| {
        let expected = "a name, an address, or the directory of a Unix socket";
        context.bad(&join(&table, "host"), "it is missing", expected)
    })?;
    Ok(Database {
        host,
        port: raw.port.map_or(DEFAULT_PORT, |port| port.0),
        dbname: raw.dbname,
        user: raw.user,
        password,
        tls,
        init_query: raw.init_query,
        max_servers: raw.max_servers,
        listen: raw.listen,
        pooling: raw.pooling,
        observe: raw.observe,
    })
}

fn server_tls(
    context: &Context<'_>,
    table: &[&str],
    (mode, ca, binding): (Option<ServerTlsMode>, Option<PathBuf>, Option<ChannelBindingMode>),
) -> Result<ServerTls, ConfigError> {
    let mode = mode.unwrap_or_else(|| usual_mode(ca.as_deref()));
    if ca.as_deref().is_some_and(is_system) && mode != ServerTlsMode::VerifyFull {
        let problem = "it does not check the name, and `ca` is what this system trusts";
        return Err(context.bad(&join(table, "tls"), problem, "verify-full"));
    }
    let channel_binding = binding.unwrap_or_default();
    if channel_binding == ChannelBindingMode::Require && mode == ServerTlsMode::Disable {
        let problem = "there is nothing to bind to: `tls` is disable";
        return Err(context.bad(&join(table, "channel_binding"), problem, "prefer, or TLS"));
    }
    Ok(ServerTls { mode, ca: ca.map(trusted), channel_binding })
}
