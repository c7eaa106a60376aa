//! Sending a segment again whose first statement was planned for tables as they were.
//!
//! A client whose Parse was answered from what others prepared meets their stale plans, where a server
//! of its own would have parsed afresh: `cached plan must not change result type`, 0A000. As long
//! as it has seen nothing of the statement but ParseComplete, nothing tells the two apart once the
//! statement was prepared anew (docs/semantics.md "Prepared statements").

use std::sync::Arc;

use bytes::{BufMut, BytesMut};

use super::flow::{Entry, Kind, Owner, Sent};
use super::from_client::ClientFate;
use super::knowledge::Statement;
use super::{Backend, Note, Session, TransactionStatus};
use crate::wire::build;
use crate::wire::frame::Header;
use crate::without::is_off;

/// A segment that may have to be sent again.
#[derive(Debug)]
pub(crate) struct Retry {
    /// What it begins with a use of.
    statement: Arc<Statement>,
    /// All that was sent of it.
    bytes: BytesMut,
    /// Of what is being written, where it begins: what pgweir has sent ahead of it is not to be sent again.
    ahead: usize,
    /// Its ParameterDescription has passed.
    described: bool,
    stage: Stage,
}

#[derive(Debug)]
enum Stage {
    /// It is being sent.
    Recording,
    /// Its Sync was sent too.
    Recorded,
    /// It failed, and a Sync must be sent for the server to go on.
    Failed(Vec<Entry<Note>>),
    /// It failed; the server goes on at a Sync that was sent.
    Recovering(Vec<Entry<Note>>),
    /// The server waits for it.
    Due(Vec<Entry<Note>>),
    /// It was sent again, and may fail now.
    Again,
}

impl Retry {
    fn new(statement: Arc<Statement>, ahead: usize) -> Self {
        Self { statement, bytes: BytesMut::new(), ahead, described: false, stage: Stage::Recording }
    }

    /// Where the segment begins in what was written from `start` on.
    pub(super) fn take_start(&mut self, start: usize) -> usize {
        std::mem::take(&mut self.ahead).max(start)
    }

    /// What the client sends must wait.
    pub(super) fn holds_back(&self) -> bool {
        matches!(self.stage, Stage::Failed(_) | Stage::Recovering(_) | Stage::Due(_))
    }
}

impl Session {
    /// A use of a statement was sent: is the segment to be kept? So much was in flight `before`, and `ahead` was
    /// written.
    pub(super) fn begin_retry(&mut self, tried: bool, (before, ahead): (usize, usize)) {
        let Some(Note::Use { name, statement }) = self.flow.last_note() else { return };
        // Replies of pgweir's own, as to its Parse, are given before it is answered.
        let first = self.flow.len() == before + 1 && self.flow.client_messages() == 1;
        if first && !tried && !name.is_empty() && self.status == TransactionStatus::Idle {
            self.retry = Some(Box::new(Retry::new(Arc::clone(statement), ahead)));
        }
    }

    /// A message of the client's was judged; `written` was sent of it so far.
    pub(super) fn record(&mut self, fate: ClientFate, header: Header, body: &[u8], written: &[u8]) {
        let Some(retry) = &mut self.retry else { return };
        let (head, rest): (bool, &[u8]) = match fate {
            ClientFate::Forward => (true, body),
            ClientFate::Rewritten { skip } => (false, body.get(skip..).unwrap_or_default()),
            // What pgweir asks before it can be sent stands in the segment.
            ClientFate::Wait | ClientFate::Consumed => (false, &[]),
            ClientFate::NeedServer | ClientFate::Terminate => return,
        };
        let sends = head || !rest.is_empty() || !written.is_empty();
        let consumed = matches!(fate, ClientFate::Wait | ClientFate::Consumed);
        let whole = body.len() == header.body || consumed;
        let fits = retry.bytes.len() + written.len() + rest.len() <= MAX_SEGMENT;
        match retry.stage {
            Stage::Recording if whole && fits => {}
            // What comes behind it waits, and nothing of that was sent.
            Stage::Recorded if fate == ClientFate::Wait && written == FLUSH => return,
            Stage::Recording | Stage::Recorded if sends => return self.retry = None,
            _ => return,
        }
        retry.bytes.extend_from_slice(written);
        if head {
            retry.bytes.put_u8(header.tag);
            retry.bytes.put_u32(4 + header.body as u32);
        }
        retry.bytes.extend_from_slice(rest);
        if header.tag == b'S' && fate != ClientFate::Wait {
            retry.stage = Stage::Recorded;
        }
    }

    /// Takes notice of a ParameterDescription; true if the client has it already.
    pub(super) fn note_description(&mut self) -> bool {
        let Some(retry) = &mut self.retry else { return false };
        match retry.stage {
            Stage::Again => std::mem::take(&mut retry.described),
            _ => {
                retry.described = true;
                false
            }
        }
    }

    /// A stale plan failed the segment. Takes what was in flight of it if it is to be sent again.
    pub(super) fn recover(&mut self, failed: Vec<Entry<Note>>) -> Result<(), Vec<Entry<Note>>> {
        let Some(retry) = &mut self.retry else { return Err(failed) };
        let stale = |entry: Option<&Entry<Note>>| {
            matches!(entry, Some(Entry::Sent(Sent { note: Note::Use { statement, .. }, .. }))
                if Arc::ptr_eq(statement, &retry.statement))
        };
        if !stale(failed.first()) || is_off("repair") {
            return Err(failed);
        }
        retry.stage = match retry.stage {
            Stage::Recording => Stage::Failed(failed),
            Stage::Recorded => Stage::Recovering(failed),
            _ => return Err(failed),
        };
        retry.statement.invalidate();
        Ok(())
    }

    /// A Sync was answered. Takes it if it was that of the failed segment, which is due again then; else gives it back.
    pub(super) fn take_recovered(&mut self, sync: Sent<Note>) -> Result<(), Sent<Note>> {
        let Some(retry) = &mut self.retry else { return Err(sync) };
        let Stage::Recovering(entries) = &mut retry.stage else { return Err(sync) };
        let mut entries = std::mem::take(entries);
        if sync.owner == Owner::Client {
            entries.push(Entry::Sent(sync));
        }
        retry.stage = Stage::Due(entries);
        Ok(())
    }

    /// Sends what has become due towards the server.
    pub(super) fn write_retry(&mut self, backend: &mut Backend, out: &mut BytesMut) {
        let Some(retry) = &mut self.retry else { return };
        match std::mem::replace(&mut retry.stage, Stage::Again) {
            Stage::Failed(entries) => {
                retry.stage = Stage::Recovering(entries);
                build::empty(out, b'S');
                self.inject(Kind::Sync, Note::Plain);
            }
            Stage::Due(entries) => {
                let statement = Arc::clone(&retry.statement);
                let bytes = std::mem::take(&mut retry.bytes);
                self.unprepare(&statement, backend, out);
                build::parse_body(out, &statement.server_name, &statement.body);
                backend.statements.begin(&statement, self.ticket.segment);
                self.inject(Kind::Parse, Note::Prepare { statement });
                out.extend_from_slice(&bytes);
                self.flow.again(entries);
            }
            stage => retry.stage = stage,
        }
    }
}

/// A Flush.
const FLUSH: &[u8] = &[b'H', 0, 0, 0, 4];

/// Bytes of a segment that are kept.
const MAX_SEGMENT: usize = 64 << 10;
