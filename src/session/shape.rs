//! What a client was told of a statement, and whether a server's copy of it is the same.
//!
//! A client reads rows and writes parameters by what Describe has told it. On a server of its own, PostgreSQL keeps
//! the types of the parameters and fails with 0A000 once the columns are others (`cached plan must not change result
//! type`, `plancache.c`). A copy that is prepared on another server after a table has changed knows nothing of that:
//! so it is prepared with the types that were told, and described before it is used (docs/semantics.md "Prepared
//! statements").

use std::sync::Arc;

use bytes::BytesMut;

use super::extended::write_describe;
use super::flow::Kind;
use super::knowledge::{Generation, Statement};
use super::statements::{Copy, Name};
use super::{Backend, Note, Session, TransactionStatus};
use crate::sql::{Effects, Kind as Lexeme, Lexer};
use crate::wire::{Malformed, Reader, Report, SqlState, build};
use crate::without::is_off;

/// Columns by what PostgreSQL compares of them: name, type, length, modifier.
pub type Columns = Arc<[u8]>;

/// What a client was told of one of its statements.
#[derive(Debug, Default)]
pub(crate) struct Told {
    /// Number and types of its parameters, as they stand in a Parse.
    pub(super) types: Option<Box<[u8]>>,
    /// The statement with these types, where its Parse left some open.
    pub(super) typed: Option<Arc<Statement>>,
    pub(super) columns: Option<Columns>,
}

/// What a statement is on the server at hand, for a client that knows it.
pub(super) enum Known {
    /// What the client was told.
    Same(Arc<Statement>),
    /// Something else.
    Changed,
}

impl Session {
    /// Has the server prepare a statement as the client knows it; `None` if that depends on what is in flight.
    pub(super) fn ensure_as_told(
        &mut self,
        name: &[u8],
        (statement, generation): (&Arc<Statement>, Generation),
        told: Option<Columns>,
        backend: &mut Backend,
        out: &mut BytesMut,
    ) -> Option<Known> {
        // What it waits for is the answer of the statement that was described: under settings that are in doubt, or where
        // room had to be made, it would be another each time.
        if let Some(asked) = self.described.take_if(|asked| *asked.name == *name) {
            if asked.is_answered {
                return Some(Self::known(asked.statement, told.as_ref(), backend));
            }
            self.described = Some(asked);
            return None;
        }
        let mut statement = match self.copy_of(statement, generation, backend) {
            Copy::Unsettled => return None,
            Copy::Ready | Copy::Coming => Arc::clone(statement),
            Copy::Missing | Copy::Stale => match self.with_types(name, statement) {
                Some(typed) => self.ensure(&typed, typed.generation(), backend, out)?,
                None => self.ensure(statement, generation, backend, out)?,
            },
        };
        // In a transaction that has failed PostgreSQL says that first.
        let failed = self.status == TransactionStatus::Failed && self.flow.is_status_known();
        let told = told.filter(|_| !failed && !is_off("shape"));
        // A copy that was made between two changes has the columns of then for ever; the tables may be as they were by now.
        let is_other =
            matches!(Self::known(Arc::clone(&statement), told.as_ref(), backend), Known::Changed);
        if is_other && self.copy_of(&statement, statement.generation(), backend) == Copy::Ready {
            self.unprepare(&statement, backend, out);
            statement = self.ensure(&statement, statement.generation(), backend, out)?;
        }
        if told.is_some() && backend.statements.columns_of(&statement).is_none() {
            self.ask_for_columns(name, &statement, out);
            return None;
        }
        Some(Self::known(statement, told.as_ref(), backend))
    }

    /// What cannot be read is not compared.
    fn known(statement: Arc<Statement>, told: Option<&Columns>, backend: &Backend) -> Known {
        match (told, backend.statements.columns_of(&statement)) {
            (Some(told), Some(there)) if !Arc::ptr_eq(there, told) && **there != **told => {
                Known::Changed
            }
            _ => Known::Same(statement),
        }
    }

    fn ask_for_columns(&mut self, name: &[u8], statement: &Arc<Statement>, out: &mut BytesMut) {
        self.described = Some(Described {
            name: name.into(),
            statement: Arc::clone(statement),
            is_answered: false,
        });
        write_describe(out, &statement.server_name);
        let note = Note::Columns { name: name.into(), statement: Arc::clone(statement) };
        self.inject(Kind::Describe, note);
        build::empty(out, b'H');
        self.flow.flushed();
    }

    /// The statement with the types of parameters that the client was told; `None` if its Parse has given them.
    fn with_types(&mut self, name: &[u8], statement: &Arc<Statement>) -> Option<Arc<Statement>> {
        // A Parse in flight may be about to give the name to another.
        let told = self.statements.told(name).filter(|_| self.statements.holds(name, statement))?;
        if let Some(typed) = &told.typed {
            return Some(Arc::clone(typed));
        }
        let end = statement.body.iter().position(|byte| *byte == 0)? + 1;
        let (text, given) = statement.body.split_at_checked(end)?;
        let types = told.types.as_deref().filter(|types| *types != given)?;
        let body = [text, types].concat();
        let typed = match &statement.fingerprint {
            Some(fingerprint) if is_shared(statement) => {
                self.knowledge.intern(fingerprint, &body, statement.effects())
            }
            other => self.knowledge.private(other.as_deref(), &body, statement.effects()),
        };
        self.statements.told_mut(name)?.typed = Some(Arc::clone(&typed));
        Some(typed)
    }

    /// ParameterDescription has come, for the client or for pgweir.
    pub(super) fn note_types(&mut self, body: &[u8]) {
        let Some(sent) = self.flow.head() else { return };
        let (Note::Use { name, .. } | Note::Columns { name, .. }) = &sent.note else { return };
        if is_types(body)
            && let Some(told) = self.statements.told_mut(name)
        {
            told.types.get_or_insert_with(|| body.into());
        }
    }

    /// Tells the client the types of a statement's parameters as before.
    pub(super) fn tell_types(&mut self, name: &[u8]) {
        let Some(types) = self.statements.told(name).and_then(|told| told.types.as_deref()) else {
            return;
        };
        let mut bytes = BytesMut::new();
        build::message(&mut bytes, b't', |out| out.extend_from_slice(types));
        self.reply(Note::Answer(bytes.freeze()));
    }

    /// The rows of a statement were described, or it was said that it has none: to the client, or to pgweir.
    pub(super) fn note_columns(
        &mut self,
        tag: u8,
        body: &[u8],
        note: &Note,
        backend: &mut Backend,
    ) {
        let (name, statement, to_client) = match note {
            Note::Use { name, statement } => (name, statement, true),
            Note::Described { name, statement } => (name, statement, true),
            Note::Columns { name, statement } => (name, statement, false),
            _ => return,
        };
        if name.is_empty() || !is_planned(&statement.body) {
            return;
        }
        let Some(columns) = columns(tag, body) else { return };
        let known = backend.statements.columns_of(statement).filter(|known| ***known == *columns);
        let columns = known.map_or(columns, Arc::clone);
        // Meanwhile the name may stand for another.
        if to_client
            && self.statements.means(name, statement)
            && let Some(told) = self.statements.told_mut(name)
        {
            told.columns = Some(Arc::clone(&columns));
        }
        backend.statements.set_columns(statement, columns);
    }

    /// A portal is bound whose description is to be noted.
    pub(super) fn note_portal(&mut self, portal: &[u8], name: &[u8], statement: &Arc<Statement>) {
        self.portal = is_planned(&statement.body).then(|| Portal {
            bound_as: portal.into(),
            name: name.into(),
            statement: Arc::clone(statement),
        });
    }

    /// The client describes a portal.
    pub(super) fn describes_portal(&mut self, body: &[u8]) -> Note {
        let portal = body.strip_prefix(b"P").and_then(|rest| rest.strip_suffix(b"\0"));
        match self.portal.take() {
            Some(bound) if portal == Some(&*bound.bound_as) => {
                Note::Described { name: bound.name, statement: bound.statement }
            }
            _ => Note::Plain,
        }
    }
}

/// A statement that pgweir has the server describe, for a message of the client's that waits.
#[derive(Debug)]
pub(super) struct Described {
    name: Name,
    statement: Arc<Statement>,
    is_answered: bool,
}

impl Described {
    pub(super) fn answer(&mut self) {
        self.is_answered = true;
    }
}

/// A portal whose description is to be noted.
#[derive(Debug)]
pub(super) struct Portal {
    bound_as: Name,
    name: Name,
    statement: Arc<Statement>,
}

/// What depends on the time, or may be warned of, is one client's own.
fn is_shared(statement: &Statement) -> bool {
    !statement.effects().contains(Effects::NOW_LITERAL) && !statement.body.contains(&b'\\')
}

/// In PostgreSQL's words, by which drivers know that they must prepare anew.
pub(super) fn changed() -> Report {
    let message = "cached plan must not change result type";
    Report {
        routine: Some("RevalidateCachedQuery"),
        ..Report::error(SqlState::FEATURE_NOT_SUPPORTED, message)
    }
}

/// Whether PostgreSQL analyses a text again when what it names has changed (`StmtPlanRequiresRevalidation`): then it
/// minds the columns. Those of SHOW, FETCH or EXECUTE may be others each time.
fn is_planned(body: &[u8]) -> bool {
    let first = Lexer::new(body, true).find(|token| token.kind != Lexeme::Open);
    let planned = [
        b"select".as_slice(),
        b"insert",
        b"update",
        b"delete",
        b"with",
        b"values",
        b"table",
        b"merge",
    ];
    first.is_some_and(|first| planned.iter().any(|word| first.is_word(word)))
}

fn is_types(body: &[u8]) -> bool {
    let mut reader = Reader::new(body);
    reader.u16().is_ok_and(|count| body.len() == 2 + 4 * usize::from(count))
}

/// Of a RowDescription or NoData; `None` if it cannot be read.
fn columns(tag: u8, body: &[u8]) -> Option<Columns> {
    if tag == b'n' {
        return Some(NO_ROWS.into());
    }
    read_columns(body).ok().map(Into::into)
}

fn read_columns(body: &[u8]) -> Result<Vec<u8>, Malformed> {
    let mut reader = Reader::new(body);
    let count = reader.u16()?;
    let mut columns = Vec::with_capacity(body.len());
    columns.push(b'T');
    for _ in 0..count {
        columns.extend_from_slice(reader.cstr()?);
        columns.push(0);
        // The table and the column of it; the format behind is that of one portal.
        reader.bytes(6)?;
        columns.extend_from_slice(reader.bytes(10)?);
        reader.bytes(2)?;
    }
    reader.finish()?;
    Ok(columns)
}

const NO_ROWS: &[u8] = b"n";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_planned_has_columns_that_must_stay() {
        for (text, planned) in [
            ("select 1", true),
            (" /* x */ ((SELECT 1) union select 2)", true),
            ("with a as (select 1) table a", true),
            ("show all", false),
            ("fetch 2 from c", false),
            ("execute s", false),
            ("explain select 1", false),
            ("", false),
        ] {
            assert_eq!(is_planned(text.as_bytes()), planned, "{text}");
        }
    }

    #[test]
    fn columns_are_the_same_whatever_table_and_format_they_have() {
        let field = |table: u8, kind: u8, format: u8| {
            [
                &[0, 1][..],
                b"a\0",
                &[0, 0, 0, table],
                &[0, 1],
                &[0, 0, 0, kind],
                &[0, 4],
                &[255; 4],
                &[0, format],
            ]
            .concat()
        };
        let one = columns(b'T', &field(1, 23, 0));
        assert!(one.is_some());
        assert_eq!(one, columns(b'T', &field(2, 23, 1)));
        assert_ne!(one, columns(b'T', &field(1, 25, 0)));
        assert_ne!(columns(b'T', &[0, 0]), columns(b'n', &[]));
        assert_eq!(columns(b'T', &field(1, 23, 0)[..9]), None);
    }
}
