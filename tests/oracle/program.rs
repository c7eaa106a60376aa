//! What a session program is: steps of several sessions in one order, and how it is written down.

use std::fmt;

use crate::support::{
    bind, close, copy_data, copy_done, copy_fail, describe, execute, flush, parse, query, sync,
};

/// Steps of several sessions, in the order in which they are taken.
#[derive(Debug, Clone)]
pub struct Program {
    /// What it was made from.
    pub seed: u64,
    /// How many servers a pool may have.
    pub servers: usize,
    /// How many sessions there are.
    pub sessions: usize,
    /// What they do.
    pub steps: Vec<Step>,
}

/// One thing that one session does and waits for.
#[derive(Debug, Clone)]
pub struct Step {
    /// Who.
    pub session: usize,
    /// What it is about.
    pub area: Area,
    /// What it is, for the report.
    pub kind: &'static str,
    /// What is done.
    pub act: Act,
}

/// What a step does.
#[derive(Debug, Clone)]
pub enum Act {
    /// Leaves, if connected, and logs in.
    LogIn(Login),
    /// Sends these in one write, and reads as many ReadyForQuery as they ask for.
    Send(Vec<Message>),
}

/// As whom, and with what startup parameters.
#[derive(Debug, Clone)]
pub struct Login {
    /// Role.
    pub user: &'static str,
    /// Settings.
    pub parameters: Vec<(&'static str, &'static str)>,
}

/// A frontend message.
#[derive(Debug, Clone)]
pub enum Message {
    /// Query.
    Query(String),
    /// Parse: name and text.
    Parse(&'static str, String),
    /// Bind: portal, statement, values.
    Bind(&'static str, &'static str, Vec<Option<String>>),
    /// Describe: `S` or `P`, name.
    Describe(char, &'static str),
    /// Execute: portal and row limit.
    Execute(&'static str, u32),
    /// Close: `S` or `P`, name.
    Close(char, &'static str),
    /// Flush.
    Flush,
    /// Sync.
    Sync,
    /// CopyData.
    CopyData(&'static str),
    /// CopyDone.
    CopyDone,
    /// CopyFail.
    CopyFail,
}

/// What a step is about: a kind of session state, or what state is mixed with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Area {
    /// Logging in, anew too.
    Login,
    /// BEGIN to COMMIT, savepoints, errors.
    Transaction,
    /// Several statements in one Query.
    Several,
    /// Settings that PostgreSQL reports.
    Reported,
    /// Settings that it does not report.
    Setting,
    /// Settings that nobody has defined.
    Placeholder,
    /// SET ROLE.
    Role,
    /// SET SESSION AUTHORIZATION.
    Authorization,
    /// What ends with the transaction by itself.
    Local,
    /// PREPARE.
    SqlPrepared,
    /// Named statements of the protocol.
    Named,
    /// The unnamed statement.
    Unnamed,
    /// Cursors and portals.
    Cursor,
    /// Temporary objects.
    Temporary,
    /// Session advisory locks.
    Advisory,
    /// LISTEN and NOTIFY.
    Listen,
    /// nextval, currval, lastval.
    Sequence,
    /// LOAD.
    Load,
    /// Temporary replication slots.
    Slot,
    /// Online backup.
    Backup,
    /// Replication origins.
    Origin,
    /// What extensions keep.
    Extension,
    /// DISCARD, and what drivers send between users.
    Discard,
    /// State made by functions, triggers, defaults, views and rules.
    Hidden,
    /// Tables whose columns change.
    Shape,
    /// COPY.
    Copy,
    /// Plain tables.
    Table,
    /// What names stand for.
    Path,
}

impl Area {
    /// Those in a list of names with commas between.
    pub fn named(names: &str) -> Vec<Self> {
        let names = names.split(',').filter(|name| !name.is_empty());
        let found = |name: &str| {
            let area = AREAS.iter().find(|area| format!("{area:?}").eq_ignore_ascii_case(name));
            *area.unwrap_or_else(|| panic!("{name} is none of {AREAS:?}"))
        };
        names.map(found).collect()
    }
}

/// All of them.
const AREAS: [Area; 28] = [
    Area::Path,
    Area::Login,
    Area::Transaction,
    Area::Several,
    Area::Reported,
    Area::Setting,
    Area::Placeholder,
    Area::Role,
    Area::Authorization,
    Area::Local,
    Area::SqlPrepared,
    Area::Named,
    Area::Unnamed,
    Area::Cursor,
    Area::Temporary,
    Area::Advisory,
    Area::Listen,
    Area::Sequence,
    Area::Load,
    Area::Slot,
    Area::Backup,
    Area::Origin,
    Area::Extension,
    Area::Discard,
    Area::Hidden,
    Area::Shape,
    Area::Copy,
    Area::Table,
];

impl Message {
    fn bytes(&self) -> Vec<u8> {
        match self {
            Self::Query(sql) => query(sql),
            Self::Parse(name, sql) => parse(name, sql),
            Self::Bind(portal, statement, values) => {
                let values: Vec<_> = values.iter().map(Option::as_deref).collect();
                bind(portal, statement, &values)
            }
            Self::Describe(kind, name) => describe(*kind, name),
            Self::Execute(portal, rows) => execute(portal, *rows),
            Self::Close(kind, name) => close(*kind, name),
            Self::Flush => flush(),
            Self::Sync => sync(),
            Self::CopyData(data) => copy_data(data),
            Self::CopyDone => copy_done(),
            Self::CopyFail => copy_fail(),
        }
    }

    fn ends_segment(&self) -> bool {
        matches!(self, Self::Query(_) | Self::Sync)
    }
}

/// What is sent for these, and how many ReadyForQuery answer it.
pub fn wire(messages: &[Message]) -> (Vec<u8>, usize) {
    let ends = messages.iter().filter(|message| message.ends_segment()).count();
    (messages.iter().flat_map(Message::bytes).collect(), ends)
}

impl Program {
    /// Whether any of its texts may begin to listen, or calls a function that does.
    pub fn listens(&self) -> bool {
        let listens = |sql: String| sql.to_lowercase().replace("unlisten", "").contains("listen");
        self.steps.iter().any(|step| listens(step.sql()))
    }
}

impl Step {
    /// The SQL of all its messages, for rules that go by it.
    pub fn sql(&self) -> String {
        let Act::Send(messages) = &self.act else {
            return String::new();
        };
        let texts = messages.iter().filter_map(|message| match message {
            Message::Query(sql) | Message::Parse(_, sql) => Some(sql.as_str()),
            _ => None,
        });
        texts.collect::<Vec<_>>().join(" ; ")
    }
}

impl fmt::Display for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "-- seed {}, {} servers", self.seed, self.servers)?;
        for (number, step) in self.steps.iter().enumerate() {
            writeln!(f, "{number:3} {step}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "s{}: ", self.session)?;
        match &self.act {
            Act::LogIn(login) => write!(f, "log in as {} {:?}", login.user, login.parameters),
            Act::Send(messages) => {
                for (number, message) in messages.iter().enumerate() {
                    let between = if number == 0 { "" } else { " · " };
                    write!(f, "{between}{message}")?;
                }
                Ok(())
            }
        }
    }
}

impl fmt::Display for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Query(sql) => write!(f, "{sql};"),
            Self::Parse(name, sql) => write!(f, "Parse({name:?}) {sql}"),
            Self::Bind(portal, statement, values) => {
                write!(f, "Bind({portal:?}, {statement:?}")?;
                for value in values {
                    write!(f, ", {}", value.as_deref().unwrap_or("NULL"))?;
                }
                write!(f, ")")
            }
            Self::Describe(kind, name) => write!(f, "Describe({kind} {name:?})"),
            Self::Execute(portal, rows) => write!(f, "Execute({portal:?}, {rows})"),
            Self::Close(kind, name) => write!(f, "Close({kind} {name:?})"),
            Self::Flush => write!(f, "Flush"),
            Self::Sync => write!(f, "Sync"),
            Self::CopyData(data) => write!(f, "CopyData({data:?})"),
            Self::CopyDone => write!(f, "CopyDone"),
            Self::CopyFail => write!(f, "CopyFail"),
        }
    }
}
