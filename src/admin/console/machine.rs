//! The console's half of the protocol (sans-IO): messages in, replies out.
//!
//! Speaks the simple and the extended protocol (`protocol-flow.html`), for commands without parameters.
//! Bodies are read by `wire` only; replies are built by pgwire's types. Bounded in everything a client
//! can make it keep.

use std::collections::{HashMap, VecDeque};

use bytes::{Buf, BytesMut};
use pgwire::messages::data::{NoData, ParameterDescription};
use pgwire::messages::extendedquery::{
    BindComplete, CloseComplete, ParseComplete, PortalSuspended,
};
use pgwire::messages::response::{CommandComplete, EmptyQueryResponse};

use super::command::{self, Command, RESET, Show};
use super::refusal::{
    IN_FAILED_TRANSACTION, SYNTAX_ERROR, bad_type, canceled, malformed, no_portal, no_statement,
    not_changed, read_only, stays, too_long, too_many, unknown_command,
};
use super::table::{Column, Formats, Row, Type, data_row, row_description, send};
use crate::admin::change::{Change, ChangeError};
use crate::session::TransactionStatus;
use crate::wire::frame::{self, BadFrame, HEADER};
use crate::wire::{Malformed, Reader, Report, SqlState, build};

/// What the shell is to do.
#[derive(Debug)]
pub enum Step {
    /// A message was answered; there may be more.
    Again,
    /// More must be read first.
    More,
    /// A change that was made has not come about yet; time must pass.
    Waiting,
    /// The client said goodbye.
    Left,
    /// The connection ends, with or without a word.
    Ended(Option<Box<Report>>),
}

/// What the console shows and changes.
#[derive(Clone, Copy)]
pub struct Hands<'a> {
    /// Where rows come from.
    pub rows: &'a dyn Fn(Show) -> Vec<Row>,
    /// Whether this user may make changes.
    pub may_change: bool,
    /// Who makes changes.
    pub change: &'a dyn Fn(&Change) -> Result<(), ChangeError>,
    /// Whether they have come about.
    pub finished: &'a dyn Fn(&Change) -> Result<bool, ChangeError>,
}

/// One session with the console.
#[derive(Debug, Default)]
pub struct Machine {
    status: TransactionStatus,
    /// An extended message has failed: all is passed over up to the Sync.
    skipping: bool,
    /// A statement without text is `None`.
    statements: HashMap<Box<[u8]>, Option<Command>>,
    portals: HashMap<Box<[u8]>, Portal>,
    /// What goes on once a change has come about.
    held: Option<Held>,
}

/// What a change that was made holds up; the change is the first of it.
#[derive(Debug)]
enum Held {
    /// The rest of a Query.
    Query(VecDeque<Command>),
    /// The Execute of this portal.
    Execute(Box<[u8]>),
}

/// Whether a command is run, or waited for only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Turn {
    First,
    Again,
}

#[derive(Debug)]
struct Portal {
    command: Option<Command>,
    formats: Formats,
    /// Rows that were made and not sent yet, last first.
    rows: Option<Vec<Row>>,
}

impl Machine {
    /// Answers the next message of the input, if it is there in whole.
    pub fn step(&mut self, input: &mut BytesMut, out: &mut BytesMut, hands: Hands<'_>) -> Step {
        if let Some(held) = self.held.take() {
            self.go_on(held, out, hands);
            return if self.held.is_some() { Step::Waiting } else { Step::Again };
        }
        let header = match frame::frontend(input) {
            Ok(Some(header)) => header,
            Ok(None) => return Step::More,
            Err(BadFrame::Length(..)) => return Step::Ended(None),
            Err(BadFrame::Type(tag)) => {
                return Step::Ended(Some(Box::new(bad_type(tag))));
            }
        };
        if header.body > MAX_BODY {
            return Step::Ended(Some(Box::new(too_long())));
        }
        if input.len() < header.total() {
            return Step::More;
        }
        let mut message = input.split_to(header.total());
        message.advance(HEADER);
        match header.tag {
            b'X' => return Step::Left,
            b'S' => self.on_sync(out),
            b'Q' => self.on_query(&message, out, hands),
            // What belongs to a COPY is passed over, as PostgreSQL does outside of one.
            b'd' | b'c' | b'f' | b'H' => {}
            _ if self.skipping => {}
            tag => {
                if let Err(report) = self.on_extended(tag, &message, out, hands) {
                    self.fail(&report, out);
                    self.skipping = true;
                }
            }
        }
        if self.held.is_some() { Step::Waiting } else { Step::Again }
    }

    /// Waits no longer for what has not come about; what was changed stays so.
    pub fn cancel(&mut self, out: &mut BytesMut) {
        match self.held.take() {
            Some(Held::Query(_)) => {
                self.fail(&canceled(), out);
                build::ready_for_query(out, self.status.byte());
            }
            Some(Held::Execute(_)) => {
                self.fail(&canceled(), out);
                self.skipping = true;
            }
            None => {}
        }
    }

    fn go_on(&mut self, held: Held, out: &mut BytesMut, hands: Hands<'_>) {
        match held {
            Held::Query(commands) => self.run_all(commands, Turn::Again, out, hands),
            Held::Execute(portal) => {
                if let Err(report) = self.execute(&portal, 0, Turn::Again, out, hands) {
                    self.fail(&report, out);
                    self.skipping = true;
                }
            }
        }
    }

    fn fail(&mut self, report: &Report, out: &mut BytesMut) {
        report.encode(out);
        if self.status == TransactionStatus::InTransaction {
            self.status = TransactionStatus::Failed;
        }
    }

    fn on_sync(&mut self, out: &mut BytesMut) {
        self.skipping = false;
        if self.status == TransactionStatus::Idle {
            self.portals.clear();
        }
        build::ready_for_query(out, self.status.byte());
    }

    fn on_query(&mut self, body: &[u8], out: &mut BytesMut, hands: Hands<'_>) {
        if self.skipping {
            return;
        }
        match commands(body) {
            Ok(commands) => {
                if commands.is_empty() {
                    send(&EmptyQueryResponse::new(), out);
                }
                self.run_all(commands, Turn::First, out, hands);
            }
            Err(report) => {
                self.fail(&report, out);
                build::ready_for_query(out, self.status.byte());
            }
        }
    }

    /// Runs the commands of a Query, up to its end or to one that must be waited for.
    fn run_all(
        &mut self,
        mut commands: VecDeque<Command>,
        mut turn: Turn,
        out: &mut BytesMut,
        hands: Hands<'_>,
    ) {
        while let Some(command) = commands.front() {
            if out.len() > MAX_SHOWN {
                let text = "the commands before this one have shown too much for one message";
                self.fail(&Report::error(SqlState::PROGRAM_LIMIT, text), out);
                break;
            }
            match self.run_one(command, turn, out, hands) {
                Ok(true) => {}
                Ok(false) => {
                    self.held = Some(Held::Query(commands));
                    return;
                }
                Err(report) => {
                    self.fail(&report, out);
                    break;
                }
            }
            commands.pop_front();
            turn = Turn::First;
        }
        build::ready_for_query(out, self.status.byte());
    }

    /// False if it has not come about yet.
    fn run_one(
        &mut self,
        command: &Command,
        turn: Turn,
        out: &mut BytesMut,
        hands: Hands<'_>,
    ) -> Result<bool, Report> {
        self.may_run(command)?;
        if let Some(columns) = columns(command) {
            row_description(columns.as_ref(), &Formats::TEXT, out);
        }
        let Some(made) = Self::run(command, turn, hands)? else { return Ok(false) };
        for row in &made {
            data_row(row, &Formats::TEXT, out);
        }
        if *command == Command::Accepted(RESET) {
            stays().encode(out);
        }
        self.complete(command, made.len(), out);
        Ok(true)
    }

    /// In a failed transaction nothing but its end.
    fn may_run(&self, command: &Command) -> Result<(), Report> {
        let ends = matches!(command, Command::Commit | Command::Rollback);
        if self.status != TransactionStatus::Failed || ends {
            return Ok(());
        }
        let text =
            "current transaction is aborted, commands ignored until end of transaction block";
        Err(Report::error(IN_FAILED_TRANSACTION, text))
    }

    /// Does what a command says, and gives its rows; `None` if it has not come about yet.
    fn run(command: &Command, turn: Turn, hands: Hands<'_>) -> Result<Option<Vec<Row>>, Report> {
        Ok(match command {
            Command::Show(show) => Some((hands.rows)(*show)),
            Command::Answer(_, value) => Some(vec![vec![value.clone().into()]]),
            Command::Change(_) if !hands.may_change => return Err(read_only()),
            Command::Change(change) => {
                if turn == Turn::First {
                    (hands.change)(change).map_err(|error| not_changed(&error))?;
                }
                let finished = (hands.finished)(change).map_err(|error| not_changed(&error))?;
                finished.then(Vec::new)
            }
            Command::Begin | Command::Commit | Command::Rollback | Command::Accepted(_) => {
                Some(Vec::new())
            }
        })
    }

    fn complete(&mut self, command: &Command, count: usize, out: &mut BytesMut) {
        let failed = self.status == TransactionStatus::Failed;
        let tag = match command {
            Command::Show(_) => "SHOW".to_owned(),
            Command::Answer(..) => format!("SELECT {count}"),
            Command::Accepted(tag) => (*tag).to_owned(),
            Command::Change(change) => tag_of(change).to_owned(),
            Command::Begin => "BEGIN".to_owned(),
            Command::Commit if !failed => "COMMIT".to_owned(),
            Command::Commit | Command::Rollback => "ROLLBACK".to_owned(),
        };
        self.status = match command {
            Command::Begin => TransactionStatus::InTransaction,
            Command::Commit | Command::Rollback => TransactionStatus::Idle,
            Command::Show(_) | Command::Change(_) | Command::Answer(..) | Command::Accepted(_) => {
                self.status
            }
        };
        send(&CommandComplete::new(tag), out);
    }

    fn on_extended(
        &mut self,
        tag: u8,
        body: &[u8],
        out: &mut BytesMut,
        hands: Hands<'_>,
    ) -> Result<(), Report> {
        match tag {
            b'P' => self.on_parse(body, out),
            b'B' => self.on_bind(body, out),
            b'D' => self.on_describe(body, out),
            b'E' => self.on_execute(body, out, hands),
            b'C' => self.on_close(body, out),
            _ => Err(Report::error(
                SqlState::FEATURE_NOT_SUPPORTED,
                "the console has no functions to call",
            )),
        }
    }

    fn on_parse(&mut self, body: &[u8], out: &mut BytesMut) -> Result<(), Report> {
        let mut reader = Reader::new(body);
        let name = reader.cstr().map_err(malformed)?;
        let text = reader.cstr().map_err(malformed)?;
        let types = reader.u16().map_err(malformed)?;
        reader.bytes(usize::from(types) * 4).map_err(malformed)?;
        reader.finish().map_err(malformed)?;
        let mut commands = command::parse(text).map_err(|unknown| unknown_command(&unknown))?;
        if commands.len() > 1 {
            let text = "cannot insert multiple commands into a prepared statement";
            return Err(Report::error(SYNTAX_ERROR, text));
        }
        let known = self.statements.contains_key(name);
        if self.statements.len() >= MAX_KEPT && !known {
            return Err(too_many("prepared statements"));
        }
        self.statements.insert(name.into(), commands.pop());
        send(&ParseComplete::new(), out);
        Ok(())
    }

    fn on_bind(&mut self, body: &[u8], out: &mut BytesMut) -> Result<(), Report> {
        let mut reader = Reader::new(body);
        let portal = reader.cstr().map_err(malformed)?;
        let name = reader.cstr().map_err(malformed)?;
        let command = self.statements.get(name).ok_or_else(|| no_statement(name))?.clone();
        if let Some(command) = &command {
            self.may_run(command)?;
        }
        let formats = reader.u16().map_err(malformed)?;
        reader.bytes(usize::from(formats) * 2).map_err(malformed)?;
        let parameters = reader.u16().map_err(malformed)?;
        if parameters > 0 {
            let text = format!(
                "bind message supplies {parameters} parameters, but commands of the console have none"
            );
            return Err(Report::error(SqlState::PROTOCOL_VIOLATION, text));
        }
        let formats = read_formats(&mut reader).map_err(malformed)?;
        reader.finish().map_err(malformed)?;
        let count = command.as_ref().and_then(columns).map_or(0, |columns| columns.as_ref().len());
        if !formats.fit(count) {
            let text =
                format!("bind message has wrong number of result formats for {count} columns");
            return Err(Report::error(SqlState::PROTOCOL_VIOLATION, text));
        }
        if self.portals.len() >= MAX_KEPT && !self.portals.contains_key(portal) {
            return Err(too_many("portals"));
        }
        self.portals.insert(portal.into(), Portal { command, formats, rows: None });
        send(&BindComplete::new(), out);
        Ok(())
    }

    fn on_describe(&mut self, body: &[u8], out: &mut BytesMut) -> Result<(), Report> {
        let (kind, name) = target(body)?;
        let (command, formats) = if kind == b'S' {
            let command = self.statements.get(name).ok_or_else(|| no_statement(name))?;
            send(&ParameterDescription::new(Vec::new()), out);
            (command, &Formats::TEXT)
        } else {
            let portal = self.portals.get(name).ok_or_else(|| no_portal(name))?;
            (&portal.command, &portal.formats)
        };
        match command.as_ref().and_then(columns) {
            Some(columns) => row_description(columns.as_ref(), formats, out),
            None => send(&NoData::new(), out),
        }
        Ok(())
    }

    fn on_execute(
        &mut self,
        body: &[u8],
        out: &mut BytesMut,
        hands: Hands<'_>,
    ) -> Result<(), Report> {
        let mut reader = Reader::new(body);
        let name = reader.cstr().map_err(malformed)?;
        let most = usize::try_from(reader.i32().map_err(malformed)?).unwrap_or(0);
        reader.finish().map_err(malformed)?;
        self.execute(name, most, Turn::First, out, hands)
    }

    fn execute(
        &mut self,
        name: &[u8],
        most: usize,
        turn: Turn,
        out: &mut BytesMut,
        hands: Hands<'_>,
    ) -> Result<(), Report> {
        let Portal { command, formats, rows: made } =
            self.portals.remove(name).ok_or_else(|| no_portal(name))?;
        let Some(command) = command else {
            send(&EmptyQueryResponse::new(), out);
            self.portals.insert(name.into(), Portal { command: None, formats, rows: None });
            return Ok(());
        };
        self.may_run(&command)?;
        let mut left = match made {
            Some(left) => left,
            None => match Self::run(&command, turn, hands)? {
                Some(rows) => rows.into_iter().rev().collect(),
                None => {
                    let portal = Portal { command: Some(command), formats, rows: None };
                    self.portals.insert(name.into(), portal);
                    self.held = Some(Held::Execute(name.into()));
                    return Ok(());
                }
            },
        };
        let count = if most == 0 { left.len() } else { most.min(left.len()) };
        for row in left.split_off(left.len() - count).iter().rev() {
            data_row(row, &formats, out);
        }
        if left.is_empty() {
            self.complete(&command, count, out);
        } else {
            send(&PortalSuspended::new(), out);
        }
        let portal = Portal { command: Some(command), formats, rows: Some(left) };
        self.portals.insert(name.into(), portal);
        Ok(())
    }

    fn on_close(&mut self, body: &[u8], out: &mut BytesMut) -> Result<(), Report> {
        let (kind, name) = target(body)?;
        if kind == b'S' {
            self.statements.remove(name);
        } else {
            self.portals.remove(name);
        }
        send(&CloseComplete::new(), out);
        Ok(())
    }
}

fn tag_of(change: &Change) -> &'static str {
    match change {
        Change::Set(_) => "SET",
        Change::Reset(_) => "RESET",
        Change::Resize { .. } => "RESIZE",
        Change::Warm { .. } => "WARM",
        Change::Pause(_) => "PAUSE",
        Change::Resume(_) => "RESUME",
        Change::Reconnect(_) => "RECONNECT",
        Change::Kill(_) => "KILL",
        Change::Reload => "RELOAD",
    }
}

/// The commands of a Query.
fn commands(body: &[u8]) -> Result<VecDeque<Command>, Report> {
    let mut reader = Reader::new(body);
    let text = reader.cstr().map_err(malformed)?;
    reader.finish().map_err(malformed)?;
    Ok(command::parse(text).map_err(|unknown| unknown_command(&unknown))?.into())
}

/// The columns of what a command answers; `None` if there are no rows.
fn columns(command: &Command) -> Option<std::borrow::Cow<'static, [Column]>> {
    match command {
        Command::Show(show) => Some(super::columns::columns(*show).into()),
        Command::Answer(name, _) => Some(vec![(*name, Type::Text)].into()),
        Command::Begin
        | Command::Commit
        | Command::Rollback
        | Command::Change(_)
        | Command::Accepted(_) => None,
    }
}

fn read_formats(reader: &mut Reader<'_>) -> Result<Formats, Malformed> {
    let count = reader.u16()?;
    let mut binary = Vec::new();
    for _ in 0..count {
        binary.push(reader.u16()? == 1);
    }
    Ok(Formats::new(binary))
}

/// What a Describe or Close is about: `S` or `P`, and the name.
fn target(body: &[u8]) -> Result<(u8, &[u8]), Report> {
    let mut reader = Reader::new(body);
    let kind = reader.u8().map_err(malformed)?;
    let name = reader.cstr().map_err(malformed)?;
    reader.finish().map_err(malformed)?;
    if kind != b'S' && kind != b'P' {
        let text = format!("invalid subtype {kind}");
        return Err(Report::error(SqlState::PROTOCOL_VIOLATION, text));
    }
    Ok((kind, name))
}

/// Bytes of answers in whose place others are still made: each may be as long as there are clients.
const MAX_SHOWN: usize = 16 << 20;

/// Bytes of one message.
const MAX_BODY: usize = 64 << 10;

/// Statements, and portals, of one session.
const MAX_KEPT: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(show: Show) -> Vec<Row> {
        match show {
            Show::Version => vec![vec!["one".into()], vec!["two".into()], vec!["three".into()]],
            _ => Vec::new(),
        }
    }

    fn change(change: &Change) -> Result<(), ChangeError> {
        match change {
            Change::Reload | Change::Pause(_) => Ok(()),
            _ => Err(ChangeError::Invalid("no".to_owned())),
        }
    }

    fn hands() -> Hands<'static> {
        let finished = &|change: &Change| Ok(*change == Change::Reload);
        Hands { rows: &rows, may_change: true, change: &change, finished }
    }

    /// The letters of all replies; of ReadyForQuery its status too.
    fn said(machine: &mut Machine, messages: &[(u8, &[u8])]) -> String {
        let (mut input, mut out) = (BytesMut::new(), BytesMut::new());
        for (tag, body) in messages {
            build::message(&mut input, *tag, |out| out.extend_from_slice(body));
        }
        while matches!(machine.step(&mut input, &mut out, hands()), Step::Again) {}
        let mut said = String::new();
        while let Ok(Some(header)) = frame::backend(&out) {
            said.push(char::from(header.tag));
            if header.tag == b'Z' {
                said.push(char::from(out[HEADER]));
            }
            out.advance(header.total());
        }
        said
    }

    #[test]
    fn both_protocols_are_answered_as_postgresql_does() {
        let m = &mut Machine::default();
        assert_eq!(said(m, &[(b'Q', b"show version\0")]), "TDDDCZI");
        assert_eq!(said(m, &[(b'Q', b"\0")]), "IZI");
        assert_eq!(said(m, &[(b'Q', b"show nothing\0")]), "EZI");
        assert_eq!(said(m, &[(b'Q', b"reload; set max_servers = 0; show version\0")]), "CEZI");
        assert_eq!(said(m, &[(b'Q', b"begin; show version; commit\0")]), "CTDDDCCZI");
        let parse: (u8, &[u8]) = (b'P', b"s\0show version\0\0\0");
        let bind: (u8, &[u8]) = (b'B', b"p\0s\0\0\0\0\0\0\0");
        let sync: (u8, &[u8]) = (b'S', b"");
        let all: (u8, &[u8]) = (b'E', b"p\0\0\0\0\0");
        assert_eq!(
            said(m, &[parse, (b'D', b"Ss\0"), bind, (b'D', b"Pp\0"), all, sync]),
            "1tT2TDDDCZI"
        );
        let some: (u8, &[u8]) = (b'E', b"p\0\0\0\0\x02");
        assert_eq!(said(m, &[bind, some, some, sync]), "2DDsDCZI");
        // The portal has ended with the transaction.
        assert_eq!(said(m, &[all, parse, sync]), "EZI");
        assert_eq!(said(m, &[(b'C', b"Ss\0"), bind, sync]), "3EZI");
    }

    #[test]
    fn what_takes_its_time_is_waited_for() {
        fn step(machine: &mut Machine, is_done: bool) -> (Step, BytesMut) {
            let mut out = BytesMut::new();
            let hands = Hands { finished: &|_| Ok(is_done), ..hands() };
            (machine.step(&mut BytesMut::new(), &mut out, hands), out)
        }
        let m = &mut Machine::default();
        let query: (u8, &[u8]) = (b'Q', b"reload; pause; show version\0");
        assert_eq!(said(m, &[query]), "C");
        let (waiting, out) = step(m, false);
        assert!(matches!(waiting, Step::Waiting) && out.is_empty());
        assert!(!step(m, true).1.is_empty());
        assert_eq!(said(m, &[(b'Q', b"show version\0")]), "TDDDCZI");

        assert_eq!(said(m, &[query]), "C");
        let mut out = BytesMut::new();
        m.cancel(&mut out);
        assert!(matches!(frame::backend(&out), Ok(Some(header)) if header.tag == b'E'));
        assert_eq!(said(m, &[(b'Q', b"show version\0")]), "TDDDCZI");

        let parse: (u8, &[u8]) = (b'P', b"s\0pause\0\0\0");
        let bind: (u8, &[u8]) = (b'B', b"\0s\0\0\0\0\0\0\0");
        let execute: (u8, &[u8]) = (b'E', b"\0\0\0\0\0");
        assert_eq!(said(m, &[parse, bind, execute]), "12");
        assert_eq!(&step(m, true).1[..1], b"C");
        assert_eq!(said(m, &[(b'S', b""), parse, bind, execute]), "ZI12");
        m.cancel(&mut BytesMut::new());
        assert_eq!(said(m, &[bind, (b'S', b""), (b'Q', b"show version\0")]), "ZITDDDCZI");
    }

    #[test]
    fn a_failed_transaction_waits_for_its_end() {
        let m = &mut Machine::default();
        assert_eq!(said(m, &[(b'Q', b"begin\0"), (b'Q', b"nonsense\0")]), "CZTEZE");
        assert_eq!(said(m, &[(b'Q', b"show version\0")]), "EZE");
        assert_eq!(said(m, &[(b'Q', b"commit\0"), (b'Q', b"show version\0")]), "CZITDDDCZI");
    }

    #[test]
    fn what_is_malformed_is_an_error_and_no_more() {
        let m = &mut Machine::default();
        let bodies: [(u8, &[u8]); 9] = [
            (b'P', b""),
            (b'P', b"s\0show pins\0\xff\xff"),
            (b'B', b"\0\0\xff\xff"),
            (b'B', b"\0"),
            (b'D', b"X\0"),
            (b'D', b""),
            (b'E', b"\0\xff"),
            (b'C', b"S"),
            (b'F', b"\0\0"),
        ];
        for message in bodies {
            assert_eq!(said(m, &[message, message, (b'S', b"")]), "EZI", "{message:?}");
        }
        assert_eq!(said(m, &[(b'Q', b"no end")]), "EZI");
        for number in 0..=MAX_KEPT {
            let body = [number.to_string().as_bytes(), b"\0\0\0\0"].concat();
            said(m, &[(b'P', &body), (b'S', b"")]);
        }
        assert_eq!(said(m, &[(b'P', b"more\0\0\0\0"), (b'S', b"")]), "EZI");
        let mut long = BytesMut::from(&b"Q\0\x10\0\0"[..]);
        assert!(matches!(m.step(&mut long, &mut BytesMut::new(), hands()), Step::Ended(Some(_))));
    }
}
