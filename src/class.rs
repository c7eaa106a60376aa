//! Classes of clients: who belongs to which, and what holds for each (sans-IO).
//!
//! A class is the first of the list whose rules all say so of a client at its login; one that none
//! takes is of the class [`DEFAULT`]. Classes are numbered once and for ever by name, so that a
//! client keeps its class over a reload.

use core::net::IpAddr;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use wildmatch::WildMatch;

/// One class of clients, by its place in the list of all that ever were.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct ClassId(pub u16);

/// The class of clients that are of no other.
pub const DEFAULT: &str = "default";

/// What holds for one class in each pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClassLimits {
    /// Its share of the servers' time beside other classes that wait, 1 or more.
    pub weight: u32,
    /// Servers at most; `None` is no limit but the pool's.
    pub max_servers: Option<usize>,
    /// Servers that no other class can have.
    pub guaranteed: usize,
    /// Clients that wait at most; `None` is no limit.
    pub queue_limit: Option<usize>,
    /// How long a client waits at most.
    pub queue_timeout: Duration,
    /// The delay that the queue may have for long.
    pub queue_target: Duration,
    /// Whether a BEGIN takes no server before the first statement does.
    pub lazy_begin: bool,
}

impl ClassLimits {
    /// No limit but a time.
    pub fn none(queue_timeout: Duration) -> Self {
        Self {
            weight: 1,
            max_servers: None,
            guaranteed: 0,
            queue_limit: None,
            queue_timeout,
            queue_target: queue_timeout / 2,
            lazy_begin: false,
        }
    }
}

/// Whom a class takes: each rule that is there must say so.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Rules {
    /// The name of the user.
    pub user: Option<String>,
    /// The database's alias.
    pub database: Option<String>,
    /// `application_name` at the login, with `*` and `?`.
    pub application_name: Option<Glob>,
    /// The network of the client's address.
    pub source: Option<IpNet>,
    /// The startup option `pgweir.class`.
    pub option: Option<String>,
}

impl Rules {
    /// Whether they take everybody.
    pub fn are_none(&self) -> bool {
        *self == Self::default()
    }

    /// Whether they surely take everybody whom these others take.
    pub fn cover(&self, others: &Self) -> bool {
        fn is<T: PartialEq>(rule: Option<&T>, other: Option<&T>) -> bool {
            rule.is_none_or(|rule| other == Some(rule))
        }
        let names = |rule: &Glob| others.application_name.as_ref().is_some_and(|o| rule.covers(o));
        let networks = |net: IpNet| others.source.is_some_and(|other| net.contains(&other));
        is(self.user.as_ref(), others.user.as_ref())
            && is(self.database.as_ref(), others.database.as_ref())
            && is(self.option.as_ref(), others.option.as_ref())
            && self.application_name.as_ref().is_none_or(|rule| rule.is_any() || names(rule))
            && self.source.is_none_or(networks)
    }

    /// Whether they take this client.
    pub fn take(&self, client: &Traits<'_>) -> bool {
        let is = |rule: &Option<String>, value: &str| rule.as_deref().is_none_or(|r| r == value);
        let option = self.option.as_deref();
        is(&self.user, client.user)
            && is(&self.database, client.database)
            && option.is_none_or(|name| client.option == Some(name))
            && self.application_name.as_ref().is_none_or(|glob| glob.takes(client.application_name))
            && self.source.is_none_or(|net| client.source.is_some_and(|ip| net.contains(&ip)))
    }
}

/// A pattern of names: `*` for any text, `?` for any one letter.
#[derive(Debug, Clone, PartialEq)]
pub struct Glob(WildMatch);

// It is compared by the letters it is made of.
impl Eq for Glob {}

impl Glob {
    /// Every text is one.
    pub fn new(pattern: &str) -> Self {
        Self(WildMatch::new(pattern))
    }

    /// Whether a name is of the pattern.
    pub fn takes(&self, name: &str) -> bool {
        self.0.matches(name)
    }

    /// Every text is of the pattern.
    fn is_any(&self) -> bool {
        let pattern = self.0.pattern();
        !pattern.is_empty() && pattern.bytes().all(|byte| byte == b'*')
    }

    /// Every text of the other pattern surely is of this one, too: as a text, the other is, and a letter of it that
    /// stands for any text is none that `?` may stand for.
    fn covers(&self, other: &Self) -> bool {
        let (own, other) = (self.0.pattern(), other.0.pattern());
        self.takes(&other) && !(own.contains('?') && other.contains('*'))
    }
}

impl fmt::Display for Glob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.pattern())
    }
}

/// What a client is known by at its login.
#[derive(Debug, Clone, Copy)]
pub struct Traits<'a> {
    /// Who it has proved to be.
    pub user: &'a str,
    /// The database's alias.
    pub database: &'a str,
    /// What it calls itself.
    pub application_name: &'a str,
    /// Its address; `None` on a Unix socket.
    pub source: Option<IpAddr>,
    /// What it says of its class.
    pub option: Option<&'a str>,
}

/// One class.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Class {
    /// Its name.
    pub name: Arc<str>,
    /// Whom it takes.
    pub rules: Rules,
    /// What holds for it.
    pub limits: ClassLimits,
}

/// All classes.
#[derive(Debug, Clone)]
pub struct Classes {
    /// By [`ClassId`], those of earlier configurations included; the first is [`DEFAULT`].
    names: Vec<Arc<str>>,
    limits: Vec<ClassLimits>,
    /// In the order of the configuration.
    rules: Vec<(Rules, ClassId)>,
}

impl Classes {
    /// Those of a list; clients of no class wait for `queue_timeout`. Names that `before` has keep
    /// their numbers.
    pub fn new(list: &[Class], queue_timeout: Duration, before: Option<&Self>) -> Self {
        let names = before.map_or_else(|| vec![DEFAULT.into()], |before| before.names.clone());
        // What no longer is in the list goes on without limits, for those who are of it.
        let limits = vec![ClassLimits::none(queue_timeout); names.len()];
        let mut classes = Self { names, limits, rules: Vec::new() };
        for class in list {
            let at = classes.place(&class.name, list);
            classes.limits[at] = class.limits;
            let id = ClassId(at.try_into().unwrap_or_default());
            classes.rules.push((class.rules.clone(), id));
        }
        classes
    }

    /// Where a name is, or is put: after so many that no more are kept, in the place of one that is not of
    /// the `list` any more, whose clients are then of its class.
    fn place(&mut self, name: &Arc<str>, list: &[Class]) -> usize {
        if let Some(known) = self.names.iter().position(|known| known == name) {
            return known;
        }
        if self.names.len() >= MOST {
            let is_old = |old: &Arc<str>| list.iter().all(|class| class.name != *old);
            if let Some(at) = self.names.iter().skip(1).position(is_old) {
                self.names[at + 1] = Arc::clone(name);
                return at + 1;
            }
        }
        self.names.push(Arc::clone(name));
        self.limits.push(ClassLimits::none(Duration::ZERO));
        self.names.len() - 1
    }

    /// The class of a client.
    pub fn of(&self, client: &Traits<'_>) -> ClassId {
        let taken = self.rules.iter().find(|(rules, _)| rules.take(client));
        taken.map_or(ClassId::default(), |(_, id)| *id)
    }

    /// What a class is called.
    pub fn name(&self, id: ClassId) -> &Arc<str> {
        self.names.get(usize::from(id.0)).unwrap_or(&self.names[0])
    }

    /// The same for the pool of a database, and of a user if that is who its clients are: what is guaranteed to
    /// classes none of whose clients come to it is not kept there.
    #[must_use]
    pub fn in_pool(self: &Arc<Self>, database: &str, user: Option<&str>) -> Arc<Self> {
        let excludes = |rule: &Option<String>, value: Option<&str>| match (rule, value) {
            (Some(rule), Some(value)) => rule != value,
            _ => false,
        };
        let mut classes = Arc::clone(self);
        for (rules, id) in &self.rules {
            let is_out = excludes(&rules.database, Some(database)) || excludes(&rules.user, user);
            if is_out
                && self.limits_of(*id).guaranteed > 0
                && let Some(limits) = Arc::make_mut(&mut classes).limits.get_mut(usize::from(id.0))
            {
                limits.guaranteed = 0;
            }
        }
        classes
    }

    /// Servers that are guaranteed to classes together.
    pub fn guaranteed(&self) -> usize {
        self.limits.iter().map(|class| class.guaranteed).sum()
    }

    /// What holds for one.
    pub fn limits_of(&self, id: ClassId) -> ClassLimits {
        *self.limits.get(usize::from(id.0)).unwrap_or(&self.limits[0])
    }

    /// What holds for each, by number.
    pub fn limits(&self) -> &[ClassLimits] {
        &self.limits
    }

    /// Numbers and names of all, those included that clients cannot come to be of any more.
    pub fn named(&self) -> impl Iterator<Item = (ClassId, &Arc<str>)> {
        (0..).map(ClassId).zip(&self.names)
    }

    /// Numbers and names of the classes that clients can come to be of.
    pub fn in_use(&self) -> impl Iterator<Item = (ClassId, &Arc<str>)> {
        let named = self.rules.iter().map(|(_, id)| *id);
        let default = Some(ClassId::default()).filter(|id| self.rules.iter().all(|(_, n)| n != id));
        named.chain(default).map(|id| (id, self.name(id)))
    }
}

/// Names of classes that are kept, most of them for clients that are of no class of the list any more: a
/// pool has a record for each.
const MOST: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    const TIMEOUT: Duration = Duration::from_secs(10);

    fn class(name: &str, rules: Rules) -> Class {
        Class { name: name.into(), rules, limits: ClassLimits::none(TIMEOUT) }
    }

    fn client() -> Traits<'static> {
        Traits {
            user: "app",
            database: "shop",
            application_name: "resize-images",
            source: Some([10, 1, 2, 3].into()),
            option: None,
        }
    }

    #[expect(clippy::unnecessary_wraps, reason = "rules are optional")]
    fn some(text: &str) -> Option<String> {
        Some(text.to_owned())
    }

    #[test]
    fn rules_cover_others_that_ask_for_more() {
        let rules = |user: Option<&str>, name: Option<&str>, source: Option<&str>| Rules {
            user: user.map(str::to_owned),
            application_name: name.map(Glob::new),
            source: source.map(|net| net.parse().unwrap()),
            ..Rules::default()
        };
        let of_names = |name| rules(None, Some(name), None);
        let cases = [
            (rules(None, None, None), rules(Some("app"), None, None), true),
            (rules(Some("app"), None, None), rules(Some("app"), Some("a*"), None), true),
            (rules(Some("app"), None, None), rules(None, Some("a*"), None), false),
            (rules(Some("app"), None, None), rules(Some("other"), None, None), false),
            (of_names("*"), rules(None, None, None), true),
            (of_names("a*"), of_names("ab*"), true),
            (of_names("ab*"), of_names("a*"), false),
            (of_names("a*"), rules(None, None, None), false),
            (of_names("a?"), of_names("ab"), true),
            (of_names("a?"), of_names("a*"), false),
            (of_names("a*"), of_names("a?"), true),
            (rules(None, None, Some("10.0.0.0/8")), rules(None, None, Some("10.1.0.0/16")), true),
            (rules(None, None, Some("10.1.0.0/16")), rules(None, None, Some("10.0.0.0/8")), false),
            (rules(None, None, Some("10.0.0.0/8")), rules(None, None, Some("::/0")), false),
        ];
        for (one, other, expected) in cases {
            assert_eq!(one.cover(&other), expected, "{one:?} {other:?}");
        }
    }

    #[test]
    fn a_class_takes_whom_all_its_rules_take() {
        let glob = |text: &str| Some(Glob::new(text));
        let net = |text: &str| Some(text.parse().unwrap());
        let cases = [
            ("nothing asked", Rules::default(), true),
            ("user", Rules { user: some("app"), ..Rules::default() }, true),
            ("other user", Rules { user: some("App"), ..Rules::default() }, false),
            ("database", Rules { database: some("shop"), ..Rules::default() }, true),
            ("glob", Rules { application_name: glob("resize-*"), ..Rules::default() }, true),
            (
                "one letter",
                Rules { application_name: glob("resize?images"), ..Rules::default() },
                true,
            ),
            ("whole name", Rules { application_name: glob("resize"), ..Rules::default() }, false),
            ("network", Rules { source: net("10.0.0.0/8"), ..Rules::default() }, true),
            ("other network", Rules { source: net("10.2.0.0/16"), ..Rules::default() }, false),
            ("family", Rules { source: net("::/0"), ..Rules::default() }, false),
            ("option", Rules { option: some("batch"), ..Rules::default() }, false),
            (
                "one of two",
                Rules { user: some("app"), database: some("x"), ..Rules::default() },
                false,
            ),
        ];
        for (name, rules, expected) in cases {
            assert_eq!(rules.take(&client()), expected, "{name}");
        }
        let rules = Rules { option: some("batch"), ..Rules::default() };
        assert!(rules.take(&Traits { option: Some("batch"), ..client() }));
        let anywhere = Rules { source: net("0.0.0.0/0"), ..Rules::default() };
        assert!(
            !anywhere.take(&Traits { source: None, ..client() }),
            "a Unix socket has no address"
        );
    }

    #[test]
    fn the_first_that_takes_a_client_is_its_class() {
        let shop = Rules { database: some("shop"), ..Rules::default() };
        let app = Rules { user: some("app"), ..Rules::default() };
        let classes = Classes::new(&[class("a", shop), class("b", app)], TIMEOUT, None);
        let name = |client: &Traits<'_>| classes.name(classes.of(client)).to_string();
        assert_eq!(name(&client()), "a");
        assert_eq!(name(&Traits { database: "x", ..client() }), "b");
        assert_eq!(name(&Traits { database: "x", user: "y", ..client() }), DEFAULT);
    }

    #[test]
    fn a_class_keeps_its_number() {
        let all = |names: &[&str], before: Option<&Classes>| {
            let list: Vec<_> = names.iter().map(|name| class(name, Rules::default())).collect();
            Classes::new(&list, TIMEOUT, before)
        };
        let first = all(&["a", "b"], None);
        let second = all(&["c", "b", DEFAULT], Some(&first));
        let named = |classes: &Classes| -> Vec<_> {
            classes.in_use().map(|(id, name)| (id.0, name.to_string())).collect()
        };
        let of = |pairs: &[(u16, &str)]| -> Vec<_> {
            pairs.iter().map(|(id, name)| (*id, (*name).to_owned())).collect()
        };
        assert_eq!(named(&first), of(&[(1, "a"), (2, "b"), (0, DEFAULT)]));
        assert_eq!(named(&second), of(&[(3, "c"), (2, "b"), (0, DEFAULT)]));
        assert_eq!(second.limits().len(), 4);
    }

    #[test]
    fn what_is_guaranteed_is_kept_only_where_the_class_comes() {
        let kept = |rules| Class {
            limits: ClassLimits { guaranteed: 3, ..ClassLimits::none(TIMEOUT) },
            ..class("kept", rules)
        };
        let guaranteed = |rules: Rules, database: &str, user: Option<&str>| {
            let classes = Arc::new(Classes::new(&[kept(rules)], TIMEOUT, None));
            classes.in_pool(database, user).limits_of(ClassId(1)).guaranteed
        };
        let shop = || Rules { database: some("shop"), ..Rules::default() };
        let app = || Rules { user: some("app"), ..Rules::default() };
        assert_eq!(guaranteed(Rules::default(), "logs", Some("app")), 3);
        assert_eq!(guaranteed(shop(), "shop", Some("app")), 3);
        assert_eq!(guaranteed(shop(), "logs", Some("app")), 0);
        assert_eq!(guaranteed(app(), "logs", Some("other")), 0);
        assert_eq!(guaranteed(app(), "logs", None), 3, "all clients log in there as one user");
    }

    #[test]
    fn names_that_are_kept_are_bounded() {
        let mut classes = Classes::new(&[class("kept", Rules::default())], TIMEOUT, None);
        for n in 0..2 * MOST {
            let list = [class("kept", Rules::default()), class(&format!("c{n}"), Rules::default())];
            classes = Classes::new(&list, TIMEOUT, Some(&classes));
            assert_eq!(classes.of(&client()), ClassId(1));
            let last = classes.in_use().nth(1).map(|(_, name)| name.to_string());
            assert_eq!(last, Some(format!("c{n}")));
        }
        assert_eq!((classes.names.len(), classes.limits.len()), (MOST, MOST));
    }
}
