//! Preparing a text as its client's Parse did, though the client's settings are others by now.
//!
//! Literals become constants when a text is parsed, and stay what they were (docs/semantics.md "Prepared
//! statements"). So the settings of that time are put back around the Parse, until the end of the transaction at most.

use std::sync::Arc;

use bytes::BytesMut;

use super::flow::Kind;
use super::knowledge::Statement;
use super::settings::{self, Change};
use super::{Note, Session};
use crate::wire::build;

/// What to set ahead of a Parse, and what behind it.
pub(super) struct AsItWas {
    there: Vec<Change>,
    back: Vec<Change>,
}

impl Session {
    /// How a statement is prepared as it was; `None` if that is how it would be now, or cannot be told. What
    /// PostgreSQL itself would have parsed anew by now is to be parsed anew.
    pub(super) fn as_it_was(&self, statement: &Statement) -> Option<AsItWas> {
        let parsed_under = statement.fingerprint.as_deref()?;
        if *parsed_under == *self.reading.fingerprint
            || !has_literals(&statement.body)
            || self.is_reading_in_doubt()
        {
            return None;
        }
        let (there, back) = self.reading.changes_to(parsed_under)?;
        Some(AsItWas { there, back })
    }

    /// What is in flight may change what the literals of a text mean, and they are to mean the same on every server.
    pub(super) fn must_know_settings(&self, body: &[u8]) -> bool {
        self.is_reading_in_doubt() && !self.flow.is_empty() && has_literals(body)
    }

    /// Sends a Parse of a statement, as it was.
    pub(super) fn parse_as(
        &mut self,
        how: Option<&AsItWas>,
        (name, statement, note): (&[u8], &Arc<Statement>, Note),
        out: &mut BytesMut,
    ) {
        if let Some(how) = how {
            self.set_for_now(&how.there, out);
        }
        build::parse_body(out, name, &statement.body);
        self.inject(Kind::Parse, note);
        if let Some(how) = how {
            self.set_for_now(&how.back, out);
        }
    }

    /// By a statement that is not kept: it is rarely used, and a failure behind it must not leave it in doubt.
    fn set_for_now(&mut self, changes: &[Change], out: &mut BytesMut) {
        let name = SET_LOCAL_NAME.as_bytes();
        build::close_statement(out, name);
        self.inject(Kind::Close, Note::ReadAs);
        build::parse_body(out, name, &[SET_LOCAL.as_bytes(), &[0, 0, 0]].concat());
        self.inject(Kind::Parse, Note::ReadAs);
        for together in changes.split_inclusive(Change::is_encoding) {
            settings::write_changes(out, SET_LOCAL_NAME, together);
            self.inject(Kind::Bind, Note::ReadAs);
            self.inject(Kind::Execute, Note::ReadAs);
        }
        build::close_statement(out, name);
        self.inject(Kind::Close, Note::ReadAs);
    }
}

/// Names and values, set for the transaction; NULL takes the server's own.
const SET_LOCAL: &str = "SELECT pg_catalog.set_config(name, value, true) FROM ROWS FROM (\
    pg_catalog.unnest($1::pg_catalog.text[]), pg_catalog.unnest($2::pg_catalog.text[])) AS change (name, value)";
const SET_LOCAL_NAME: &str = "__pgweir_set_local";

/// Whether a text may have any: without quotes there are none that settings change.
fn has_literals(body: &[u8]) -> bool {
    body.iter().any(|byte| matches!(byte, b'\'' | b'$') || !byte.is_ascii())
}
