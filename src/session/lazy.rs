//! Transactions that no server knows of yet (docs/semantics.md "Lazy BEGIN").
//!
//! A function that begins a transaction and then goes about something else would hold a server for nothing.
//! Where its class says so, its BEGIN is answered at once, and is sent ahead of the first message that needs a
//! server; that message waits for it, so that it never runs outside of the transaction.

use bytes::BytesMut;

use super::flow::Kind;
use super::from_client::may_start;
use super::{Backend, Note, Session, SessionError, TransactionStatus, Unsynced};
use crate::sql::{self, Effects, Whole};
use crate::wire::frame::{self, HEADER};
use crate::wire::{Reader, Report, SqlState, build};

/// Where a session stands with them.
#[derive(Debug, Default)]
pub(super) struct Lazy {
    allowed: bool,
    begun: Begun,
    /// By the unnamed portal, which the client may meet again (`protocol-flow.html#PROTOCOL-FLOW-EXT-QUERY`).
    by_portal: bool,
}

/// Who knows of the transaction that the client has begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Begun {
    /// Its server, or it has not.
    #[default]
    There,
    /// pgweir alone.
    Here,
    /// A server has been told, and has not answered.
    Sent,
}

impl Lazy {
    /// No transaction is begun that no server knows of.
    pub(super) fn is_at_rest(&self) -> bool {
        self.begun == Begun::There
    }
}

impl Session {
    /// Whether a BEGIN may be answered without a server from now on.
    pub fn set_lazy_begin(&mut self, allowed: bool) {
        self.lazy.allowed = allowed;
    }

    /// Answers a Query of a client without a server if it begins a transaction, ends one in which nothing was done,
    /// or is in vain since that one has failed.
    pub(super) fn answer_lazily(&mut self, text: &[u8]) -> bool {
        if !self.may_answer_lazily() {
            return false;
        }
        let failed = self.is_begun_here() && self.status == TransactionStatus::Failed;
        if failed && self.cannot_run(text) && !sql::is_empty(text) {
            self.answer_in_vain();
            return true;
        }
        let Some(tag) = self.run_lazily(text) else { return false };
        self.lazy.by_portal = false;
        self.answer_query(tag);
        true
    }

    /// The same of a segment of the extended protocol that is all there, at the head of what a client without a server
    /// has sent; tells how long it is.
    pub fn answer_segment_lazily(&mut self, input: &[u8], out: &mut BytesMut) -> Option<usize> {
        if !self.may_answer_lazily() {
            return None;
        }
        let segment = Segment::read(input)?;
        let meaning = self.statements.meaning(segment.name);
        let held = meaning.statement.as_ref();
        if let Some(body) = segment.parsed {
            // PostgreSQL says that it is taken.
            let is_taken = held.is_some() && !segment.name.is_empty();
            if is_taken || self.statements.is_full(segment.name.len() + body.len()) {
                return None;
            }
        }
        let tag = self.run_lazily(segment.parsed.or(held.map(|held| &*held.body))?)?;
        self.lazy.by_portal = self.is_begun_here();
        if let Some(body) = segment.parsed {
            let statement = self.statement_of(body, Effects::PURE);
            self.begin_parse(segment.name, statement, false);
        }
        self.end_segment();
        self.answer(|out, status| {
            build::empty(out, b'2');
            if segment.described {
                build::empty(out, b'n');
            }
            build::command_complete(out, tag);
            build::ready_for_query(out, status.byte());
        });
        self.write_replies(out);
        Some(segment.length)
    }

    /// Whether a command that begins or ends a transaction may be answered here.
    fn may_answer_lazily(&self) -> bool {
        // What stands before it without a Sync may be part of the transaction.
        (self.lazy.allowed || self.is_begun_here())
            && self.is_quiet()
            && self.unsynced == Unsynced::Nothing
            && !self.pooling.keeps()
    }

    /// The tag of a text that begins a transaction here, or ends one that was begun here.
    fn run_lazily(&mut self, text: &[u8]) -> Option<&'static str> {
        if !may_start(text, LETTERS) {
            return None;
        }
        let here = self.is_begun_here();
        let failed = self.status == TransactionStatus::Failed;
        let whole = sql::whole(text, &self.reading.options(false, None))?;
        let (tag, begun, status) = match (whole, self.status) {
            (Whole::Begin, TransactionStatus::Idle) => {
                ("BEGIN", Begun::Here, TransactionStatus::InTransaction)
            }
            (Whole::StartTransaction, TransactionStatus::Idle) => {
                ("START TRANSACTION", Begun::Here, TransactionStatus::InTransaction)
            }
            (Whole::Commit, _) if here && !failed => {
                ("COMMIT", Begun::There, TransactionStatus::Idle)
            }
            (Whole::Commit | Whole::Rollback, _) if here => {
                ("ROLLBACK", Begun::There, TransactionStatus::Idle)
            }
            _ => return None,
        };
        (self.lazy.begun, self.status) = (begun, status);
        Some(tag)
    }

    fn answer_in_vain(&mut self) {
        let report = Report::error(SqlState::new(*b"25P02"), IN_VAIN);
        self.answer_query_by(|out| report.encode(out));
    }

    /// A message of the client's was refused: as on PostgreSQL, that fails its transaction.
    pub(super) fn fail_lazily(&mut self) {
        if self.lazy.begun == Begun::Here {
            self.status = TransactionStatus::Failed;
        }
    }

    /// Tells the server of the transaction, ahead of the client's first message in it.
    pub(super) fn begin_at_last(&mut self, backend: &mut Backend, out: &mut BytesMut) {
        if self.lazy.begun != Begun::Here {
            return;
        }
        let failed = self.status == TransactionStatus::Failed;
        if self.lazy.by_portal && !failed {
            build::parse_body(out, b"", b"BEGIN\0\0\0");
            build::bind_text(out, "", "", &[]);
            build::execute(out);
            build::empty(out, b'S');
            for kind in [Kind::Parse, Kind::Bind, Kind::Execute] {
                self.inject(kind, Note::Plain);
            }
            self.inject(Kind::Sync, Note::LazyBegin);
        } else {
            // The second statement of the second fails.
            build::query(out, if failed { "BEGIN; ROLLBACK TO SAVEPOINT pgweir" } else { "BEGIN" });
            self.inject(Kind::Query, Note::LazyBegin);
        }
        backend.statements.clear_unnamed();
        self.lazy.begun = Begun::Sent;
    }

    /// The client is in a transaction that no server knows of.
    pub(super) fn is_begun_here(&self) -> bool {
        self.lazy.begun == Begun::Here
    }

    /// The server has not answered that yet.
    pub(super) fn is_beginning(&self) -> bool {
        self.lazy.begun == Begun::Sent
    }

    /// It has: the client's messages may follow.
    pub(super) fn on_begun(&mut self, status: TransactionStatus) -> Result<(), SessionError> {
        self.lazy.begun = Begun::There;
        if status == self.status { Ok(()) } else { Err(SessionError::NotBegun) }
    }
}

/// Messages that run one statement without parameters: perhaps a Parse; a Bind of the unnamed portal, perhaps its
/// Describe, its Execute, a Sync.
#[derive(Debug)]
struct Segment<'a> {
    /// The name of the statement.
    name: &'a [u8],
    /// What its Parse has behind the name.
    parsed: Option<&'a [u8]>,
    described: bool,
    /// Of all.
    length: usize,
}

impl<'a> Segment<'a> {
    fn read(input: &'a [u8]) -> Option<Self> {
        let mut rest = input;
        let (mut tag, mut body) = take_message(&mut rest)?;
        let mut parsed = None;
        if tag == b'P' {
            let mut reader = Reader::new(body);
            let name = reader.cstr().ok()?;
            let behind = reader.rest();
            reader.cstr().ok()?;
            if reader.u16() != Ok(0) {
                return None;
            }
            reader.finish().ok()?;
            parsed = Some((name, behind));
            (tag, body) = take_message(&mut rest)?;
        }
        // The unnamed portal.
        let mut bind = Reader::new(body.strip_prefix(b"\0").filter(|_| tag == b'B')?);
        let name = bind.cstr().ok()?;
        let (formats, values) = (bind.u16().ok()?, bind.u16().ok()?);
        let columns = bind.u16().ok()?;
        if (formats, values) != (0, 0) || parsed.is_some_and(|(parsed, _)| parsed != name) {
            return None;
        }
        for _ in 0..columns {
            bind.u16().ok().filter(|format| *format <= 1)?;
        }
        bind.finish().ok()?;
        (tag, body) = take_message(&mut rest)?;
        let described = tag == b'D';
        if described {
            if body != b"P\0" {
                return None;
            }
            (tag, body) = take_message(&mut rest)?;
        }
        // With any limit of rows: there are none.
        if tag != b'E' || body.len() != 5 || body[0] != 0 || take_message(&mut rest)? != (b'S', b"")
        {
            return None;
        }
        let length = input.len() - rest.len();
        Some(Self { name, parsed: parsed.map(|(_, body)| body), described, length })
    }
}

/// The next message, if it is all there.
fn take_message<'a>(input: &mut &'a [u8]) -> Option<(u8, &'a [u8])> {
    let header = frame::frontend(input).ok()??;
    let body = input.get(HEADER..header.total())?;
    *input = &input[header.total()..];
    Some((header.tag, body))
}

/// What PostgreSQL says.
const IN_VAIN: &str =
    "current transaction is aborted, commands ignored until end of transaction block";

/// First letters of the commands that begin and end transactions.
const LETTERS: &[u8] = b"bBsScCeErRaA";
