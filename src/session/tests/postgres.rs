//! A small model of what PostgreSQL does with a session: enough of it to catch a proxy that gets the
//! order, the skipping, the copies or the statements wrong.

use std::collections::HashMap;

use bytes::{Buf, BytesMut};

use super::script;
use crate::wire::Reader;

/// One server process.
#[derive(Default)]
pub struct Postgres {
    input: BytesMut,
    /// What was sent.
    pub out: BytesMut,
    /// What waits for a flush.
    held: String,
    statements: HashMap<String, Statement>,
    portals: HashMap<String, Portal>,
    block: Block,
    skipping: bool,
    copy: Option<Copy>,
    /// A deferred constraint is violated.
    deferred: bool,
    timezone: Timezone,
    /// The session was ended by the server.
    pub dead: bool,
}

#[derive(Clone)]
struct Statement {
    text: String,
    /// The time zone when it was parsed.
    parsed: String,
}

struct Portal {
    statement: Statement,
    params: Vec<String>,
    sent: u32,
    done: bool,
}

#[derive(Default, Clone, Copy, PartialEq, Eq, Debug)]
enum Block {
    #[default]
    None,
    Open,
    Failed,
}

/// A COPY FROM STDIN: of an Execute, or of a Query with what follows it.
struct Copy {
    rest: Option<Vec<String>>,
    lines: u32,
}

struct Timezone {
    now: String,
    before: Option<String>,
    reported: String,
}

impl Default for Timezone {
    fn default() -> Self {
        Self { now: "UTC".into(), before: None, reported: "UTC".into() }
    }
}

/// What running one statement gives.
enum Done {
    Complete,
    CopyIn,
    Failed(&'static str, String),
}

const ABORTED: (&str, &str) =
    ("25P02", "current transaction is aborted; commands ignored until end of transaction block");

impl Postgres {
    /// Nothing is going on: another client could have it.
    pub fn is_free(&self) -> bool {
        self.block == Block::None && !self.skipping && self.copy.is_none() && self.held.is_empty()
    }

    /// Protocol-level statements held.
    pub fn statement_count(&self) -> usize {
        self.statements.keys().filter(|name| !name.is_empty()).count()
    }

    /// Reads and does as much as there is.
    pub fn feed(&mut self, bytes: &[u8]) {
        self.input.extend_from_slice(bytes);
        while !self.dead
            && let Some((tag, body, rest)) = script::split(&self.input)
        {
            let (body, left) = (body.to_vec(), rest.len());
            self.input.advance(self.input.len() - left);
            self.on_message(tag, &body);
        }
    }

    fn say(&mut self, script: &str) {
        self.held.push_str(script);
        self.held.push(' ');
    }

    fn flush(&mut self) {
        self.out.extend_from_slice(&script::backend(&std::mem::take(&mut self.held)));
    }

    fn on_message(&mut self, tag: u8, body: &[u8]) {
        if self.copy.is_some() {
            return self.on_copy_message(tag, body);
        }
        match tag {
            b'S' => self.on_sync(),
            b'd' | b'c' | b'f' => {}
            _ if self.skipping => {}
            b'H' => self.flush(),
            b'Q' => self.on_query(body),
            b'F' => self.on_call(body),
            _ => {
                if let Err((code, message)) = self.on_extended(tag, body) {
                    self.fail(code, &message);
                    self.skipping = true;
                }
            }
        }
    }

    fn on_copy_message(&mut self, tag: u8, body: &[u8]) {
        match tag {
            b'S' | b'H' => {}
            b'd' if body == b"bad" => self.end_copy(Err("22P04")),
            b'd' => self.copy.iter_mut().for_each(|copy| copy.lines += 1),
            b'c' => self.end_copy(Ok(())),
            b'f' => self.end_copy(Err("57014")),
            _ => {
                self.say("E(08P01,unexpected message) FATAL(08P01,synchronization was lost)");
                self.flush();
                self.dead = true;
            }
        }
    }

    fn end_copy(&mut self, result: Result<(), &'static str>) {
        let Some(copy) = self.copy.take() else { return };
        if let Err(code) = result {
            self.fail(code, "copy failed");
            match copy.rest {
                None => self.skipping = true,
                Some(_) => self.ready(),
            }
            return;
        }
        self.say(&format!("C(COPY {})", copy.lines));
        if let Some(rest) = copy.rest {
            self.run_query(rest);
        }
    }

    fn on_sync(&mut self) {
        self.skipping = false;
        self.end_implicit();
        self.ready();
    }

    /// Commits unless a block is open.
    fn end_implicit(&mut self) {
        if self.block == Block::None
            && let Err((code, message)) = self.commit()
        {
            self.fail(code, &message);
        }
    }

    fn commit(&mut self) -> Result<(), (&'static str, String)> {
        self.block = Block::None;
        if std::mem::take(&mut self.deferred) {
            return Err(("23505", "duplicate key".into()));
        }
        self.portals.clear();
        self.timezone.before = None;
        Ok(())
    }

    fn roll_back(&mut self) {
        self.block = Block::None;
        self.deferred = false;
        self.portals.clear();
        if let Some(before) = self.timezone.before.take() {
            self.timezone.now = before;
        }
    }

    fn fail(&mut self, code: &str, message: &str) {
        self.say(&format!("E({code},{message})"));
        self.flush();
        match self.block {
            Block::None => self.roll_back(),
            Block::Open | Block::Failed => {
                self.block = Block::Failed;
                self.deferred = false;
                if let Some(before) = self.timezone.before.take() {
                    self.timezone.now = before;
                }
            }
        }
    }

    fn ready(&mut self) {
        if self.timezone.now != self.timezone.reported {
            self.timezone.reported = self.timezone.now.clone();
            self.say(&format!("S(TimeZone={})", self.timezone.now));
        }
        self.say(match self.block {
            Block::None => "Z(I)",
            Block::Open => "Z(T)",
            Block::Failed => "Z(E)",
        });
        self.flush();
    }

    fn on_call(&mut self, body: &[u8]) {
        if self.block == Block::Failed {
            self.fail(ABORTED.0, ABORTED.1);
        } else if body == b"bad" {
            self.fail("42883", "no such function");
        } else {
            self.say("V");
            self.end_implicit();
        }
        self.ready();
    }

    fn on_query(&mut self, body: &[u8]) {
        self.statements.remove("");
        self.portals.remove("");
        let text = String::from_utf8(body[..body.len() - 1].to_vec()).unwrap();
        if text.contains("selec ") {
            self.fail("42601", "syntax error");
            return self.ready();
        }
        if text.is_empty() {
            self.say("I");
            self.end_implicit();
            return self.ready();
        }
        let mut statements: Vec<String> = text.split(';').map(|s| s.trim().to_owned()).collect();
        statements.reverse();
        self.run_query(statements);
    }

    fn run_query(&mut self, mut rest: Vec<String>) {
        while let Some(text) = rest.pop() {
            let statement = Statement { text, parsed: self.timezone.now.clone() };
            if self.block == Block::Failed && !is_exit(&statement.text) {
                self.fail(ABORTED.0, ABORTED.1);
                return self.ready();
            }
            if returns_rows(&statement.text) {
                self.say("T");
            }
            let mut portal = Portal { statement, params: Vec::new(), sent: 0, done: false };
            match self.run(&mut portal, 0) {
                Done::Complete => {}
                Done::CopyIn => {
                    self.copy = Some(Copy { rest: Some(rest), lines: 0 });
                    return;
                }
                Done::Failed(code, message) => {
                    self.fail(code, &message);
                    return self.ready();
                }
            }
        }
        self.end_implicit();
        self.ready();
    }

    fn on_extended(&mut self, tag: u8, body: &[u8]) -> Result<(), (&'static str, String)> {
        let mut reader = Reader::new(body);
        match tag {
            b'P' => {
                let name = text(reader.cstr().unwrap());
                let sql = text(reader.cstr().unwrap());
                self.parse(name, sql)
            }
            b'B' => {
                let (portal, name) = (text(reader.cstr().unwrap()), text(reader.cstr().unwrap()));
                self.bind(portal, &name, script::params(reader))
            }
            b'E' => {
                let portal = text(reader.cstr().unwrap());
                self.execute(&portal, reader.i32().unwrap() as u32)
            }
            b'D' if body[0] == b'S' => {
                let statement = self.statement(&text(&body[1..body.len() - 1]))?;
                self.check_aborted(&statement.text)?;
                self.say(if returns_rows(&statement.text) { "t T" } else { "t n" });
                Ok(())
            }
            b'D' => {
                let name = text(&body[1..body.len() - 1]);
                let sql = match self.portals.get(&name) {
                    None => return Err(("34000", format!("portal \"{name}\" does not exist"))),
                    Some(portal) => portal.statement.text.clone(),
                };
                self.check_aborted(&sql)?;
                self.say(if returns_rows(&sql) { "T" } else { "n" });
                Ok(())
            }
            b'C' => {
                let name = text(&body[1..body.len() - 1]);
                if body[0] == b'S' {
                    self.statements.remove(&name);
                } else {
                    self.portals.remove(&name);
                }
                self.say("3");
                Ok(())
            }
            other => panic!("message {other}"),
        }
    }

    fn check_aborted(&self, sql: &str) -> Result<(), (&'static str, String)> {
        // Nothing is no command, and so allowed.
        if self.block == Block::Failed && !is_exit(sql) && !sql.is_empty() {
            return Err((ABORTED.0, ABORTED.1.into()));
        }
        Ok(())
    }

    fn parse(&mut self, name: String, sql: String) -> Result<(), (&'static str, String)> {
        if name.is_empty() {
            self.statements.remove("");
        }
        if sql.contains("selec ") {
            return Err(("42601", "syntax error".into()));
        }
        self.check_aborted(&sql)?;
        if self.statements.contains_key(&name) {
            return Err(("42P05", format!("prepared statement \"{name}\" already exists")));
        }
        let statement = Statement { text: sql, parsed: self.timezone.now.clone() };
        self.statements.insert(name, statement);
        self.say("1");
        Ok(())
    }

    fn statement(&self, name: &str) -> Result<Statement, (&'static str, String)> {
        self.statements.get(name).cloned().ok_or_else(|| {
            let unnamed = || "unnamed prepared statement does not exist".into();
            ("26000", if name.is_empty() { unnamed() } else { missing(name) })
        })
    }

    fn bind(
        &mut self,
        portal: String,
        name: &str,
        params: Vec<String>,
    ) -> Result<(), (&'static str, String)> {
        let statement = self.statement(name)?;
        self.check_aborted(&statement.text)?;
        if !portal.is_empty() && self.portals.contains_key(&portal) {
            return Err(("42P03", format!("cursor \"{portal}\" already exists")));
        }
        self.portals.insert(portal, Portal { statement, params, sent: 0, done: false });
        self.say("2");
        Ok(())
    }

    fn execute(&mut self, name: &str, limit: u32) -> Result<(), (&'static str, String)> {
        let missing = || ("34000", format!("portal \"{name}\" does not exist"));
        let mut portal = self.portals.remove(name).ok_or_else(missing)?;
        let aborted = self.check_aborted(&portal.statement.text);
        let done = match aborted {
            Err((code, message)) => Done::Failed(code, message),
            Ok(()) if portal.done => {
                Done::Failed("55000", format!("portal \"{name}\" cannot be run"))
            }
            Ok(()) => self.run(&mut portal, limit),
        };
        if !is_exit(&portal.statement.text) {
            self.portals.insert(name.into(), portal);
        }
        match done {
            Done::Complete => Ok(()),
            Done::CopyIn => {
                self.copy = Some(Copy { rest: None, lines: 0 });
                Ok(())
            }
            Done::Failed(code, message) => Err((code, message)),
        }
    }

    fn run(&mut self, portal: &mut Portal, limit: u32) -> Done {
        portal.done = true;
        let sql = portal.statement.text.clone();
        let words: Vec<&str> = sql.split_whitespace().collect();
        match words.as_slice() {
            [] => self.say("I"),
            ["select", "1/0"] => return Done::Failed("22012", "division by zero".into()),
            ["select", "rows"] => self.rows(portal, limit),
            ["select", "literal"] => {
                self.say(&format!("D(literal {}) C(SELECT 1)", portal.statement.parsed));
            }
            ["show", "timezone"] => self.say(&format!("D({}) C(SHOW)", self.timezone.now)),
            ["select", value] => self.say(&format!("D({value}) C(SELECT 1)")),
            ["begin" | "BEGIN"] => {
                self.block = if self.block == Block::None { Block::Open } else { self.block };
                self.say("C(BEGIN)");
            }
            ["commit"] if self.block != Block::Failed => match self.commit() {
                Ok(()) => self.say("C(COMMIT)"),
                Err((code, message)) => return Done::Failed(code, message),
            },
            ["commit" | "rollback"] => {
                self.roll_back();
                self.say("C(ROLLBACK)");
            }
            ["insert", "deferred"] => {
                self.deferred = true;
                self.say("C(INSERT 0 1)");
            }
            ["set", "timezone", "to", zone] => {
                self.set_timezone(zone);
                self.say("C(SET)");
            }
            ["reset", "timezone"] => {
                self.set_timezone("UTC");
                self.say("C(RESET)");
            }
            ["SELECT", "pg_catalog.set_config(name," | "pg_catalog.set_config($1,", ..] => {
                let zone = portal.params[1].clone();
                self.set_timezone(if zone == "NULL" { "UTC" } else { &zone });
                self.say(&format!("D({}) C(SELECT 1)", self.timezone.now));
            }
            ["SELECT", "pg_catalog.pg_my_temp_schema()", ..] => {
                let named = self.statements.keys().filter(|name| !name.is_empty()).count();
                self.say(&format!("D(f|f|f {named}|f|none|f|none) C(SELECT 1)"));
            }
            ["copy", _, "from", "stdin"] => {
                self.say("G");
                self.flush();
                return Done::CopyIn;
            }
            ["copy", _, "to", "stdout"] => self.say("H d(x) c C(COPY 1)"),
            ["deallocate", "all"] => {
                self.statements.retain(|name, _| name.is_empty());
                self.say("C(DEALLOCATE ALL)");
            }
            ["deallocate", name] => match self.statements.remove(*name) {
                Some(_) => self.say("C(DEALLOCATE)"),
                None => return Done::Failed("26000", missing(name)),
            },
            ["discard", "all"] if self.block != Block::None => {
                return Done::Failed("25001", NO_DISCARD.into());
            }
            ["discard", "all"] => {
                self.statements.clear();
                self.timezone.now = "UTC".into();
                self.say("C(DISCARD ALL)");
            }
            other => panic!("unknown statement {other:?}"),
        }
        Done::Complete
    }

    fn rows(&mut self, portal: &mut Portal, limit: u32) {
        let end = if limit == 0 { 3 } else { (portal.sent + limit).min(3) };
        for row in portal.sent..end {
            self.say(&format!("D({row})"));
        }
        portal.done = end == 3;
        self.say(&if portal.done {
            format!("C(SELECT {})", end - portal.sent)
        } else {
            "s".into()
        });
        portal.sent = end;
    }

    fn set_timezone(&mut self, zone: &str) {
        let old = std::mem::replace(&mut self.timezone.now, zone.into());
        self.timezone.before.get_or_insert(old);
    }

    /// What a soft reset does.
    pub fn soft_reset(&mut self) {
        assert!(self.is_free());
        self.statements.remove("");
        self.timezone = Timezone::default();
    }

    /// pgweir runs DISCARD ALL on an idle server.
    pub fn discard_all(&mut self) {
        self.soft_reset();
        self.statements.clear();
    }
}

fn missing(name: &str) -> String {
    format!("prepared statement \"{name}\" does not exist")
}

const NO_DISCARD: &str = "DISCARD ALL cannot run inside a transaction block";

fn is_exit(sql: &str) -> bool {
    matches!(sql, "commit" | "rollback")
}

fn returns_rows(sql: &str) -> bool {
    sql.starts_with("select") || sql.starts_with("show")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}
