//! How the session's settings make texts read.

use super::settings::{Change, ServerSettings, Settings};
use crate::sql;

/// Whether texts are read under this setting.
pub(super) fn is_read_under(name: &str) -> bool {
    [&sql::TOLD[..], &sql::UNTOLD, &REREAD].iter().any(|list| sql::is_one_of(list, name))
}

/// How the session's settings make texts read.
#[derive(Debug, Default)]
pub(super) struct Reading {
    /// The settings of [`sql::TOLD`] as they are for the next message.
    pub(super) in_force: Settings,
    /// Names and values of those of [`sql::UNTOLD`], and of [`REREAD`], that the client has set.
    own: Vec<u8>,
    /// Their values: texts parsed under others are other statements.
    pub(super) fingerprint: Box<[u8]>,
    pub(super) escapes_in_strings: bool,
    pub(super) multibyte_unsafe: bool,
    /// The open transaction may have changed a setting.
    pub(super) touched: bool,
    /// The session may have temporary objects: what it parses means something to it alone, and this tells it from
    /// what it has parsed beside others of them.
    apart: Option<u64>,
    /// What the client wants and what the server began with, if `in_force` is made of just these.
    made_of: Option<(Settings, Settings)>,
}

impl Reading {
    /// Between leases.
    pub(super) fn of(in_force: Settings, desired: &Settings) -> Self {
        let mut reading = Self { in_force, ..Self::default() };
        reading.take_own(desired);
        reading.derive();
        reading
    }

    /// A value that is in force from now on.
    pub(super) fn set(&mut self, name: &str, value: &[u8]) {
        if sql::is_one_of(&sql::TOLD, name) && self.in_force.set(name, value) {
            self.made_of = None;
            self.derive();
        }
    }

    /// The client's own values of the settings that are not reported; true if they are others than before.
    fn take_own(&mut self, desired: &Settings) -> bool {
        let mut own = Vec::new();
        for name in sql::UNTOLD.into_iter().chain(REREAD) {
            if let Some(value) = desired.get(name) {
                own.extend_from_slice(name.as_bytes());
                own.push(0);
                own.extend_from_slice(value);
                own.push(0);
            }
        }
        let others = own != self.own;
        self.own = own;
        others
    }

    /// The session may have temporary objects from now on.
    pub(super) fn set_apart(&mut self, number: impl FnOnce() -> u64) {
        if self.apart.is_none() {
            self.apart = Some(number());
            self.made_of = None;
            self.derive();
        }
    }

    /// It may have temporary objects.
    pub(super) fn is_apart(&self) -> bool {
        self.apart.is_some()
    }

    /// A lease begins. Mostly its client and its server are as they were in the last one.
    pub(super) fn begin(&mut self, desired: &mut Settings, server: &mut ServerSettings) {
        if let Some((wanted, baseline)) = &mut self.made_of
            && wanted.unify(desired)
            && server.began_with(baseline)
        {
            return;
        }
        let baseline = server.baseline();
        let mut others = self.take_own(desired);
        for name in sql::TOLD {
            others |= match desired.entry(name).or_else(|| baseline.entry(name)) {
                Some((name, value)) => self.in_force.share(name, value),
                None => self.in_force.set(name, b""),
            };
        }
        if others {
            self.derive();
        }
        self.made_of = Some((desired.clone(), baseline.clone()));
    }

    /// A lease ends: the next server will have what the client wants.
    pub(super) fn end(&mut self, desired: &Settings) {
        self.touched = false;
        let was_apart = self.apart.take().is_some();
        let is_same = |(wanted, _): &(Settings, Settings)| wanted.is_shared_with(desired);
        if !was_apart && self.made_of.as_ref().is_some_and(is_same) {
            return;
        }
        let others = self.take_own(desired) || was_apart;
        self.set_all(desired, others);
    }

    /// These are in force from now on, as far as they say how texts are read.
    pub(super) fn set_told(&mut self, told: &Settings) {
        self.set_all(told, false);
    }

    fn set_all(&mut self, settings: &Settings, mut others: bool) {
        for name in sql::TOLD {
            if let Some((name, value)) = settings.entry(name) {
                others |= self.in_force.share(name, value);
            }
        }
        if others {
            self.made_of = None;
            self.derive();
        }
    }

    fn derive(&mut self) {
        let mut fingerprint = Vec::with_capacity(64);
        for name in sql::TOLD {
            fingerprint.extend_from_slice(self.in_force.get(name).unwrap_or_default());
            fingerprint.push(0);
        }
        fingerprint.extend_from_slice(&self.own);
        if let Some(number) = self.apart {
            fingerprint.extend_from_slice(format!("{APART}\0{number}\0").as_bytes());
        }
        self.fingerprint = fingerprint.into();
        let encoding = self.in_force.get("client_encoding").unwrap_or_default();
        self.multibyte_unsafe = sql::is_multibyte_unsafe(encoding);
        self.escapes_in_strings = self.in_force.get("standard_conforming_strings") == Some(b"off");
    }

    /// What leads from the settings of now to those of a fingerprint, and back; `None` if PostgreSQL reads what was
    /// parsed under them anew.
    pub(super) fn changes_to(&self, fingerprint: &[u8]) -> Option<(Vec<Change>, Vec<Change>)> {
        let mut parts = fingerprint.split(|byte| *byte == 0);
        let (mut there, mut back) = (Vec::new(), Vec::new());
        let change = |name: &str, value: Option<&[u8]>| Change {
            name: name.into(),
            value: value.map(Into::into),
        };
        let mut differs = |name: &str, then: Option<&[u8]>, now: Option<&[u8]>| {
            if then != now {
                there.push(change(name, then));
                back.push(change(name, now));
            }
        };
        for name in sql::TOLD {
            differs(name, Some(parts.next()?), self.in_force.get(name));
        }
        let own = |parts: &[&[u8]], name: &str| {
            let (pairs, _) = parts.as_chunks::<2>();
            pairs.iter().find(|[of, _]| *of == name.as_bytes()).map(|[_, value]| value.to_vec())
        };
        let then: Vec<_> = parts.collect();
        let now: Vec<_> = self.own.split(|byte| *byte == 0).collect();
        for name in REREAD {
            if own(&then, name) != own(&now, name) {
                return None;
            }
        }
        // Beside temporary objects PostgreSQL looks for names anew.
        if self.is_apart() || own(&then, APART).is_some() {
            return None;
        }
        for name in sql::UNTOLD {
            differs(name, own(&then, name).as_deref(), own(&now, name).as_deref());
        }
        Some((there, back))
    }

    /// Texts are read by the standard's rules.
    pub(super) fn is_plain(&self) -> bool {
        !self.escapes_in_strings && !self.multibyte_unsafe
    }

    pub(super) fn options<'a>(
        &self,
        truncated: bool,
        catalogue: Option<&'a sql::Catalogue>,
    ) -> sql::Options<'a> {
        sql::Options {
            standard_conforming_strings: !self.escapes_in_strings,
            multibyte_unsafe: self.multibyte_unsafe,
            truncated,
            retire_functions: &[],
            vouched: sql::Effects::PURE,
            catalogue,
        }
    }
}

/// Stands for temporary objects in a fingerprint, as if it was a setting.
const APART: &str = "pg_temp";

/// Settings under which PostgreSQL itself reads a prepared text anew. Under others it may have other columns.
const REREAD: [&str; 2] = ["role", "search_path"];

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(pairs: &[(&str, &str)]) -> Settings {
        let mut settings = Settings::default();
        for (name, value) in pairs {
            settings.set(name, value.as_bytes());
        }
        settings
    }

    #[test]
    fn the_way_back_to_a_fingerprint_is_just_what_differs() {
        let told = [
            ("TimeZone", "UTC"),
            ("DateStyle", "ISO, MDY"),
            ("client_encoding", "UTF8"),
            ("IntervalStyle", "postgres"),
            ("standard_conforming_strings", "on"),
        ];
        let then = [("search_path", "array_nulls"), ("lc_time", "C")];
        let fingerprint = Reading::of(settings(&told), &settings(&then)).fingerprint;
        let mut told = told;
        told[1].1 = "SQL, DMY";
        // A value that looks like a name is none.
        let now = [("search_path", "array_nulls"), ("transform_null_equals", "on")];
        let reading = |told: &[_], own: &[_]| Reading::of(settings(told), &settings(own));
        let (there, back) = reading(&told, &now).changes_to(&fingerprint).expect("a way");
        let shown = |changes: Vec<Change>| {
            let show = |change: &Change| {
                let value = change.value.as_deref().map(String::from_utf8_lossy);
                format!("{}={}", change.name, value.unwrap_or("-".into()))
            };
            changes.iter().map(show).collect()
        };
        let (there, back): (Vec<_>, Vec<_>) = (shown(there), shown(back));
        assert_eq!(there, ["DateStyle=ISO, MDY", "lc_time=C", "transform_null_equals=-"]);
        assert_eq!(back, ["DateStyle=SQL, DMY", "lc_time=-", "transform_null_equals=on"]);
        assert!(reading(&told, &[]).changes_to(&fingerprint).is_none(), "another search_path");
    }
}
