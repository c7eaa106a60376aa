//! Random session programs, from a seed.
//!
//! A program draws a few areas of session state and mixes those densely, others rarely: state meets
//! state more often so than if everything were equally likely. No step may wait for another session,
//! since sessions take turns: tables, sequences and waiting locks are each session's own.

mod objects;
mod paths;
mod protocol;
mod settings;
mod superuser;
mod transactions;

use rand::seq::{IndexedRandom, SliceRandom};
use rand::{RngExt, SeedableRng, rngs::StdRng};

use super::program::{Act, Area, Login, Message, Program, Step};

/// What a maker makes.
enum Piece {
    /// One statement, to be sent as a Query or as Parse, Bind and Execute.
    Sql(String),
    /// What has a form of its own.
    Messages(Vec<Message>),
    /// A new login.
    Login,
}

/// Who may do it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Who {
    /// Sessions of any kind.
    Anyone,
    /// Not those that must leave their server after each step.
    Holder,
    /// Superusers only; they hold too.
    Boss,
}

/// One kind of step.
struct Maker {
    area: Area,
    kind: &'static str,
    weight: u32,
    who: Who,
    /// Shows state and changes none.
    look: bool,
    make: fn(&mut Generator) -> Piece,
}

impl Maker {
    const fn look(self) -> Self {
        Self { look: true, ..self }
    }
}

const fn anyone(
    area: Area,
    kind: &'static str,
    weight: u32,
    make: fn(&mut Generator) -> Piece,
) -> Maker {
    Maker { area, kind, weight, who: Who::Anyone, look: false, make }
}

const fn holder(
    area: Area,
    kind: &'static str,
    weight: u32,
    make: fn(&mut Generator) -> Piece,
) -> Maker {
    Maker { area, kind, weight, who: Who::Holder, look: false, make }
}

const fn boss(
    area: Area,
    kind: &'static str,
    weight: u32,
    make: fn(&mut Generator) -> Piece,
) -> Maker {
    Maker { area, kind, weight, who: Who::Boss, look: false, make }
}

/// What one session is, as far as the generator follows it.
struct Session {
    login: Login,
    /// May keep a server for itself.
    holds: bool,
    /// Only begins and ends transactions, so that others find their last server taken.
    occupies: bool,
    /// Probably in a transaction.
    in_transaction: bool,
    /// What its last step that may have changed something was about.
    changed: Option<Area>,
}

struct Generator {
    random: StdRng,
    sessions: Vec<Session>,
    /// The one that takes the step.
    session: usize,
    /// How much likelier the areas are.
    focus: Vec<Area>,
}

/// A program of about so many steps, the logins not counted; about these areas, if any are named.
/// The last third of the steps looks at what the others have left.
pub fn program(seed: u64, steps: usize, focus: &[Area]) -> Program {
    let mut generator = Generator::new(seed, focus);
    let holders = generator.sessions.iter().filter(|session| session.holds).count();
    let sessions = generator.sessions.len();
    let mut program = Program { seed, servers: holders + 1, sessions, steps: Vec::new() };
    for session in 0..sessions {
        generator.session = session;
        let login = Act::LogIn(generator.sessions[session].login.clone());
        program.steps.push(Step { session, area: Area::Login, kind: "log in", act: login });
    }
    let looks = steps * 3 / 10;
    for _ in 0..steps - looks {
        let step = generator.step();
        program.steps.push(step);
    }
    for number in 0..looks {
        let step = generator.look(number);
        program.steps.push(step);
    }
    program
}

impl Generator {
    fn new(seed: u64, focus: &[Area]) -> Self {
        let mut random = StdRng::seed_from_u64(seed);
        let sessions = random.random_range(3..=4);
        // With fewer servers than sessions, some sessions must never keep one.
        let holders = if random.random_bool(0.5) { sessions } else { sessions - 1 };
        let share = if focus.is_empty() { 0.15 } else { 0.5 };
        let bosses =
            random.random_bool(share) || focus.iter().any(|a| superuser::AREAS.contains(a));
        let occupied = random.random_bool(0.5);
        let mut generator = Self { random, sessions: Vec::new(), session: 0, focus: Vec::new() };
        for number in 0..sessions {
            // Two, so that what one leaves meets the other.
            let login = generator.login(bosses && number < 2);
            let holds = number < holders;
            let occupies = number + 1 == holders && occupied;
            let (in_transaction, changed) = (false, None);
            generator.sessions.push(Session { login, holds, occupies, in_transaction, changed });
        }
        let count = generator.random.random_range(2..=3);
        generator.focus = generator.some(STATES, count);
        if bosses {
            let theirs = generator.some(superuser::AREAS, 2);
            generator.focus.extend(theirs);
        }
        let company = generator.pick(COMPANY);
        generator.focus.push(company);
        if !focus.is_empty() {
            generator.focus = focus.to_vec();
        }
        generator
    }

    fn login(&mut self, boss: bool) -> Login {
        let mut parameters = Vec::new();
        for (name, values) in STARTUP {
            if self.random.random_bool(0.12) {
                parameters.push((name, self.pick(values)));
            }
        }
        Login { user: if boss { "boss" } else { "app" }, parameters }
    }

    /// The sessions take turns; each ends its transaction first.
    fn look(&mut self, number: usize) -> Step {
        let session = number % self.sessions.len();
        self.session = session;
        if self.sessions[session].holds && number < self.sessions.len() {
            let act = Act::Send(vec![Message::Query("rollback".into())]);
            return Step { session, area: Area::Transaction, kind: "end transaction", act };
        }
        let maker = self.maker(|maker| maker.look);
        let act = match (maker.make)(self) {
            Piece::Sql(sql) => Act::Send(self.send(sql)),
            Piece::Messages(messages) => Act::Send(messages),
            Piece::Login => unreachable!("a login shows nothing"),
        };
        Step { session, area: maker.area, kind: maker.kind, act }
    }

    fn step(&mut self) -> Step {
        if self.random.random_bool(0.6) {
            self.session = self.random.random_range(0..self.sessions.len());
        }
        if self.sessions[self.session].occupies && self.random.random_bool(0.5) {
            self.session = self.random.random_range(0..self.sessions.len());
        }
        let session = self.session;
        if self.sessions[session].occupies {
            return self.occupy();
        }
        if self.sessions[session].in_transaction && self.random.random_bool(0.3) {
            let sql = self.pick(&["commit", "commit", "commit", "rollback", "commit and chain"]);
            let sql = sql.to_owned();
            self.follow(&sql);
            let act = Act::Send(self.send(sql));
            return Step { session, area: Area::Transaction, kind: "end transaction", act };
        }
        if self.random.random_bool(0.07) {
            return self.several();
        }
        let changed = self.sessions[session].changed.filter(|_| self.random.random_bool(0.3));
        let maker = match changed {
            // Most of what looks at something finds nothing, unless it comes soon after.
            Some(area) => self.maker(|maker| maker.look && maker.area == area),
            None => self.maker(|_| true),
        };
        if !maker.look {
            let shows = makers().any(|other| other.look && other.area == maker.area);
            self.sessions[session].changed = shows.then_some(maker.area);
        }
        let act = match (maker.make)(self) {
            Piece::Sql(sql) => {
                self.follow(&sql);
                Act::Send(self.send(sql))
            }
            Piece::Messages(messages) => Act::Send(messages),
            Piece::Login => {
                let login = self.login(self.sessions[session].login.user == "boss");
                self.sessions[session].login = login.clone();
                self.sessions[session].in_transaction = false;
                Act::LogIn(login)
            }
        };
        Step { session, area: maker.area, kind: maker.kind, act }
    }

    fn occupy(&mut self) -> Step {
        let session = &mut self.sessions[self.session];
        session.in_transaction = !session.in_transaction;
        let sql = if session.in_transaction { "begin" } else { "commit" };
        let act = Act::Send(vec![Message::Query(sql.into())]);
        let kind = "occupy a server";
        Step { session: self.session, area: Area::Transaction, kind, act }
    }

    /// Two or three statements in one Query.
    fn several(&mut self) -> Step {
        let count = self.random.random_range(2..=3);
        let mut texts = Vec::new();
        for _ in 0..20 {
            let maker = self.maker(|_| true);
            if let Piece::Sql(sql) = (maker.make)(self) {
                texts.push(sql);
            }
            if texts.len() == count {
                break;
            }
        }
        let sql = texts.join("; ");
        self.follow(&sql);
        let act = Act::Send(vec![Message::Query(sql)]);
        Step { session: self.session, area: Area::Several, kind: "several statements", act }
    }

    /// One of those that are wanted, or any if this session may do none of them.
    fn maker(&mut self, wanted: impl Fn(&Maker) -> bool) -> &'static Maker {
        let session = &self.sessions[self.session];
        let allowed = |maker: &&Maker| match maker.who {
            Who::Anyone => true,
            Who::Holder => session.holds,
            Who::Boss => session.holds && session.login.user == "boss",
        };
        let mut all: Vec<&'static Maker> = makers().filter(allowed).collect();
        if all.iter().any(|maker| wanted(maker)) {
            all.retain(|maker| wanted(maker));
        }
        let weight = |maker: &&'static Maker| maker.weight * factor(maker.area, &self.focus);
        all.choose_weighted(&mut self.random, weight).expect("there are makers")
    }

    /// Notes what a text probably does to the transaction.
    fn follow(&mut self, sql: &str) {
        let session = &mut self.sessions[self.session];
        for part in sql.split(';').map(str::trim) {
            if part.starts_with("begin") || part.starts_with("start") || part.ends_with("and chain")
            {
                session.in_transaction = true;
            } else if ["commit", "rollback", "end", "abort"].contains(&part) {
                session.in_transaction = false;
            }
        }
    }

    /// One statement in one of the ways in which drivers send it.
    fn send(&mut self, sql: String) -> Vec<Message> {
        if sql.contains(';') && !sql.starts_with("do ") {
            return vec![Message::Query(sql)];
        }
        let run = [Message::Bind("", "", vec![]), Message::Execute("", 0), Message::Sync];
        let parse = Message::Parse("", sql.clone());
        let mut messages = vec![parse];
        match self.random.random_range(0..10) {
            0..=5 => return vec![Message::Query(sql)],
            6 | 7 => {}
            8 => messages.extend([Message::Describe('S', ""), Message::Sync]),
            _ => messages.extend([Message::Describe('S', ""), Message::Flush]),
        }
        messages.extend(run);
        messages
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        *from.choose(&mut self.random).expect("something to pick from")
    }

    fn some(&mut self, areas: &[Area], count: usize) -> Vec<Area> {
        let mut areas = areas.to_vec();
        areas.shuffle(&mut self.random);
        areas.truncate(count);
        areas
    }

    fn below(&mut self, end: usize) -> usize {
        self.random.random_range(0..end)
    }
}

/// How much likelier an area is. What wipes everything, and what leaves nothing, is never frequent.
fn factor(area: Area, focus: &[Area]) -> u32 {
    match (area, focus.contains(&area)) {
        (Area::Path, false) => 0,
        (Area::Discard | Area::Copy | Area::Table, true) => 6,
        (Area::Transaction, true) => 10,
        (Area::Transaction, false) => 4,
        (_, true) => 25,
        (_, false) => 1,
    }
}

fn sql(text: impl Into<String>) -> Piece {
    Piece::Sql(text.into())
}

/// A text with the name of something that the session has to itself: `%` stands for its number.
fn own(generator: &Generator, text: &str) -> String {
    text.replace('%', &generator.session.to_string())
}

fn makers() -> impl Iterator<Item = &'static Maker> {
    MAKERS.iter().flat_map(|makers| makers.iter())
}

/// All kinds of steps.
const MAKERS: &[&[Maker]] = &[
    transactions::MAKERS,
    settings::MAKERS,
    objects::MAKERS,
    protocol::MAKERS,
    superuser::MAKERS,
    paths::MAKERS,
];

/// What programs are about; superusers' areas come on top.
const STATES: &[Area] = &[
    Area::Reported,
    Area::Setting,
    Area::Placeholder,
    Area::Role,
    Area::Local,
    Area::SqlPrepared,
    Area::Named,
    Area::Unnamed,
    Area::Cursor,
    Area::Temporary,
    Area::Advisory,
    Area::Listen,
    Area::Sequence,
    Area::Hidden,
    Area::Hidden,
    Area::Shape,
];

/// What else they do.
const COMPANY: &[Area] =
    &[Area::Discard, Area::Copy, Area::Table, Area::Transaction, Area::Transaction];

/// What clients say in their startup packets.
const STARTUP: [(&str, &[&str]); 7] = [
    ("application_name", &["a", "A", "o'br\\ien"]),
    ("TimeZone", &["Asia/Tokyo", "America/New_York"]),
    ("DateStyle", &["SQL, DMY", "German"]),
    ("client_encoding", &["UTF8", "'utf-8'", "LATIN1"]),
    ("search_path", &["other, public", "\"$user\", \"We\"\"ird\", public"]),
    ("options", &["-c work_mem=9MB --statement-timeout=50s", "-capp.tenant=A", "-c jit=off"]),
    ("extra_float_digits", &["2"]),
];
