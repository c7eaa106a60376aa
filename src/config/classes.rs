//! `[[classes]]`: what they say, and what of it cannot be.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;

use super::context::Context;
use super::error::ConfigError;
use super::model::{AuthMethod, Config, ListenAddr};
use super::raw::RawClass;
use super::units::{Count, format_duration};
use super::validate::{self, MAX_SERVERS};
use crate::class::{Class, ClassLimits, Classes, DEFAULT, Glob, Rules};

/// Classes at most: each login goes through the list.
const MOST: usize = 64;
/// The largest weight: beside it, a class of weight 1 has next to nothing.
const MAX_WEIGHT: usize = 1000;
/// Clients that may be told to wait at most.
const MAX_QUEUE: usize = 1_000_000;

/// The list in its order; a class that says nothing of its queue waits for `checkout`.
pub(super) fn build(
    context: &Context<'_>,
    raw: Vec<RawClass>,
    checkout: Duration,
) -> Result<Vec<Class>, ConfigError> {
    if raw.len() > MOST {
        let problem = format!("there are {} of them", raw.len());
        return Err(context.bad(&["classes"], problem, format!("at most {MOST}")));
    }
    let numbered = raw.into_iter().enumerate();
    numbered.map(|(at, raw)| class(context, &at.to_string(), raw, checkout)).collect()
}

fn class(
    context: &Context<'_>,
    at: &str,
    raw: RawClass,
    checkout: Duration,
) -> Result<Class, ConfigError> {
    let path = |key| ["classes", at, key];
    let name = raw.name.ok_or_else(|| {
        context.bad(&["classes", at], "it has no name", "`name`, which errors and tables show")
    })?;
    validate::text(context, &path("name"), &name)?;
    let weight = count(context, &path("weight"), raw.weight, 1..=MAX_WEIGHT)?;
    let queue_timeout = raw.queue_timeout.map_or(checkout, |span| span.0);
    let guaranteed = count(context, &path("guaranteed"), raw.guaranteed, 0..=MAX_SERVERS)?;
    let limits = ClassLimits {
        weight: weight.and_then(|weight| weight.try_into().ok()).unwrap_or(1),
        max_servers: count(context, &path("max_servers"), raw.max_servers, 1..=MAX_SERVERS)?,
        guaranteed: guaranteed.unwrap_or(0),
        queue_limit: count(context, &path("queue_limit"), raw.queue_limit, 0..=MAX_QUEUE)?,
        queue_timeout,
        queue_target: raw.queue_target.map_or(queue_timeout / 2, |span| span.0),
        lazy_begin: raw.lazy_begin.unwrap_or(false),
    };
    let rules = Rules {
        user: raw.user,
        database: raw.database,
        application_name: raw.application_name.as_deref().map(Glob::new),
        source: raw.source.map(|text| network(context, &path("source"), &text)).transpose()?,
        option: raw.option,
    };
    Ok(Class { name: Arc::from(name), rules, limits })
}

fn count(
    context: &Context<'_>,
    path: &[&str],
    count: Option<Count>,
    range: std::ops::RangeInclusive<usize>,
) -> Result<Option<usize>, ConfigError> {
    count.map(|count| validate::range(context, path, count.0, range).map(|()| count.0)).transpose()
}

/// `10.0.0.0/8`, or an address alone.
fn network(context: &Context<'_>, path: &[&str], text: &str) -> Result<IpNet, ConfigError> {
    let alone = || text.parse::<IpAddr>().map(IpNet::from);
    text.parse().or_else(|_| alone()).map_err(|_| {
        let expected = "a network or an address, such as 10.1.0.0/16 or 2001:db8::/32";
        context.bad(path, format!("{text:?} is none"), expected)
    })
}

/// Checks what classes and the rest say of each other.
pub(super) fn check(context: &Context<'_>, config: &Config) -> Result<(), ConfigError> {
    for (at, class) in config.classes.iter().enumerate() {
        let position = at.to_string();
        let table = ["classes", &position];
        let before = &config.classes[..at];
        own(context, &table, class)?;
        reachable(context, &table, class, before)?;
        matches(context, &table, class, config)?;
    }
    guarantees(context, config)
}

fn own(context: &Context<'_>, table: &[&str; 2], class: &Class) -> Result<(), ConfigError> {
    let [list, at] = *table;
    let ClassLimits { max_servers, guaranteed, queue_timeout, queue_target, .. } = class.limits;
    if let Some(max) = max_servers.filter(|max| guaranteed > *max) {
        let problem = format!("{guaranteed} is more than the class may have");
        let expected = format!("at most its max_servers, {max}");
        return Err(context.bad(&[list, at, "guaranteed"], problem, expected));
    }
    if queue_timeout.is_zero() {
        let expected = "a duration above zero";
        return Err(context.bad(&[list, at, "queue_timeout"], "nobody could wait", expected));
    }
    if queue_target.is_zero() || queue_target > queue_timeout {
        let problem = format!("{} is out of range", format_duration(queue_target));
        let most = format_duration(queue_timeout);
        let expected = format!("a duration above zero, at most its queue_timeout, {most}");
        return Err(context.bad(&[list, at, "queue_target"], problem, expected));
    }
    Ok(())
}

fn reachable(
    context: &Context<'_>,
    table: &[&str; 2],
    class: &Class,
    before: &[Class],
) -> Result<(), ConfigError> {
    let [list, at] = *table;
    if before.iter().any(|other| other.name == class.name) {
        let problem = format!("two classes are called {:?}", &*class.name);
        return Err(context.bad(&[list, at, "name"], problem, "a name for each"));
    }
    if *class.name == *DEFAULT && !class.rules.are_none() {
        let problem = "\"default\" is the class of those whom no other takes";
        return Err(context.bad(&[list, at, "name"], problem, "another name, or no rules"));
    }
    let hides = |other: &&Class| other.rules.cover(&class.rules);
    if let Some(other) = before.iter().find(hides) {
        let (own, other) = (&class.name, &other.name);
        let problem = format!("class {own:?} takes nobody: {other:?} before it takes them all");
        return Err(context.bad(table, problem, "other rules, or another order"));
    }
    Ok(())
}

fn matches(
    context: &Context<'_>,
    table: &[&str; 2],
    class: &Class,
    config: &Config,
) -> Result<(), ConfigError> {
    let [list, at] = *table;
    let nobody = |key, what: &str, expected: &str| {
        let problem = format!("class {:?} takes nobody: {what}", &*class.name);
        Err(context.bad(&[list, at, key], problem, expected))
    };
    let rules = &class.rules;
    if let Some(name) = rules.database.as_ref().filter(|name| config.database(name).is_none()) {
        return nobody("database", &format!("there is no database {name:?}"), "one of [databases]");
    }
    let knows_all = config.auth.query.is_some() || config.auth.method == AuthMethod::Trust;
    if let Some(name) = rules.user.as_ref().filter(|name| !config.users.contains_key(*name))
        && !knows_all
    {
        return nobody("user", &format!("there is no user {name:?}"), "one of [users]");
    }
    let is_unix = |addr: &ListenAddr| matches!(addr, ListenAddr::Unix(_));
    if rules.source.is_some() && config.listen.iter().all(is_unix) {
        return nobody("source", "clients on Unix sockets have no address", "no source");
    }
    let is_v4 = |addr: &ListenAddr| matches!(addr, ListenAddr::Tcp(addr) if addr.is_ipv4());
    let is_v6 = |net: IpNet| matches!(net, IpNet::V6(_));
    if rules.source.is_some_and(is_v6) && config.listen.iter().all(|a| is_unix(a) || is_v4(a)) {
        return nobody(
            "source",
            "nobody can come by IPv6",
            "an IPv4 network, or to listen on IPv6",
        );
    }
    Ok(())
}

/// What is kept for classes must be there in each pool that they can come to, and leave something to those for whom
/// nothing is kept. The reserve comes on top of a pool's own limit, but not of those that it shares.
fn guarantees(context: &Context<'_>, config: &Config) -> Result<(), ConfigError> {
    let named = config.classes.iter().filter_map(|class| class.rules.database.as_deref());
    let mut databases = config.databases.keys().map(String::as_str).chain(["*"]).chain(named);
    databases.try_for_each(|alias| guarantees_in(context, config, alias))
}

fn guarantees_in(context: &Context<'_>, config: &Config, alias: &str) -> Result<(), ConfigError> {
    let kept = guaranteed(config, alias, None);
    let Some(database) = config.database(alias).filter(|_| kept > 0) else { return Ok(()) };
    let is_there = |class: &Class| {
        let elsewhere = class.rules.database.as_ref().is_some_and(|name| name != alias);
        class.limits.guaranteed > 0 && !elsewhere
    };
    let first = config.classes.iter().position(is_there).unwrap_or_default().to_string();
    let path = ["classes", &first, "guaranteed"];
    let problem = format!("{kept} servers are guaranteed to classes together");
    let key = if config.databases.contains_key(alias) { alias } else { "*" };
    let least = validate::least_servers_of(config, key, database);
    if let Some((key, least)) = least.filter(|(_, least)| kept >= *least) {
        let expected = format!("fewer than {key}, {least}: others need one");
        return Err(context.bad(&path, problem, expected));
    }
    let reserve = config.limits.reserve;
    match validate::least_shared(config).filter(|(_, least)| kept + reserve >= *least) {
        Some((key, least)) if reserve > 0 => {
            let left = least.saturating_sub(reserve);
            let expected = format!(
                "fewer than what limits.reserve, {reserve}, leaves of {key}, {least}, which is {left}: others need one"
            );
            Err(context.bad(&path, problem, expected))
        }
        _ => Ok(()),
    }
}

/// Servers that are kept for classes in the pool of a database and a user; where none is named, in the one of the
/// database's pools where they are most.
pub fn guaranteed(config: &Config, alias: &str, user: Option<&str>) -> usize {
    let classes = Arc::new(Classes::new(&config.classes, config.timeouts.checkout, None));
    let kept = |user| classes.in_pool(alias, user).guaranteed();
    if config.database(alias).is_none_or(|database| database.user.is_some()) {
        // Clients of all names share one pool.
        return kept(None);
    }
    match user {
        Some(user) => kept(Some(user)),
        None => {
            let named = config.classes.iter().filter_map(|class| class.rules.user.as_deref());
            // No user has an empty name.
            named.chain([""]).map(|user| kept(Some(user))).max().unwrap_or(0)
        }
    }
}
