//! Statements of a client that keeps its server: its own names are the server's, and what passes is only
//! taken notice of (docs/semantics.md "Session pooling").

use bytes::BytesMut;

use super::asking::Parameters;
use super::extended::{statement_name, write_bind};
use super::flow::Kind;
use super::from_client::{ClientFate, MAX_PARSE};
use super::{Backend, Note, Out, Session};
use crate::sql::{Effects, Resets};
use crate::wire::frame::Header;
use crate::wire::{Reader, build};

impl Session {
    /// Parse, Bind, Describe or Close.
    pub(super) fn pass_statement(
        &mut self,
        header: Header,
        body: &[u8],
        backend: &mut Backend,
        out: &mut Out<'_>,
    ) -> ClientFate {
        match header.tag {
            b'P' => self.pass_parse(header, body, backend, out),
            b'B' => self.pass_bind(header, body, backend, out.server),
            b'D' => self.pass(Kind::Describe),
            _ => self.pass_close(body),
        }
    }

    fn pass_parse(
        &mut self,
        header: Header,
        body: &[u8],
        backend: &mut Backend,
        out: &mut Out<'_>,
    ) -> ClientFate {
        let mut reader = Reader::new(body);
        let Ok(name) = reader.cstr() else { return self.pass(Kind::Parse) };
        let rest = reader.rest();
        if name.is_empty() {
            return self.on_parse(header, body, Some(backend), out);
        }
        // What there is no room for is suspected of everything when it is bound.
        if self.statements.is_full(name.len() + rest.len()) {
            return self.pass(Kind::Parse);
        }
        let whole = header.body <= MAX_PARSE && body.len() == header.body;
        let effects = self.effects_of(rest, whole);
        let made = if whole { self.with_defaults(effects, rest, false) } else { None };
        let text = made.as_ref().map_or(rest, |made| &made.text);
        let statement = self.knowledge.private(None, if whole { text } else { &[] }, effects);
        self.open_segment = true;
        self.begin_parse(name, statement, true);
        let Some(made) = made else { return ClientFate::Forward };
        build::parse_body(out.server, name, &made.text);
        ClientFate::Consumed
    }

    fn pass_bind(
        &mut self,
        header: Header,
        body: &[u8],
        backend: &mut Backend,
        out: &mut BytesMut,
    ) -> ClientFate {
        let mut reader = Reader::new(body);
        let (Ok(portal), Ok(name)) = (reader.cstr(), reader.cstr()) else {
            return self.pass_unknown();
        };
        let rest = reader.rest();
        let Some(statement) = self.statements.meaning(name).statement else {
            return self.pass_unknown();
        };
        let effects = self.effects_of_statement(&statement);
        self.mind_sequences(effects, &statement.body, backend, out);
        let resets = self.note_effects(effects, &statement.body, &Parameters::of_bind(rest));
        let whole = body.len() == header.body;
        let made = if whole { self.bound_defaults(&statement, rest) } else { None };
        let draw = self.note_draw(effects, &statement.body);
        self.note_bound(portal, draw);
        self.note_bound_resets(portal, resets);
        let fate = self.pass(Kind::Bind);
        let Some(made) = made else { return fate };
        write_bind(out, portal, name, &made);
        ClientFate::Consumed
    }

    /// A Bind of a statement of SQL's PREPARE, or of one that is not kept here.
    fn pass_unknown(&mut self) -> ClientFate {
        self.questions.suspects |= Effects::EXECUTE;
        self.note_executed();
        self.note_bound(b"", None);
        self.note_bound_resets(b"", Resets::None);
        self.pass(Kind::Bind)
    }

    fn pass_close(&mut self, body: &[u8]) -> ClientFate {
        let Some(name) = statement_name(body) else { return self.pass(Kind::Close) };
        if self.statements.meaning(name).statement.is_none() {
            self.questions.suspects |= Effects::CLOSE;
        }
        self.open_segment = true;
        let ticket = self.next_ticket();
        self.statements.begin(name, ticket, None);
        self.send(Kind::Close, Note::Close { name: name.into(), ticket });
        ClientFate::Forward
    }
}
