//! Whose numbers `currval` and `lastval` would give (`functions-sequence.html`, docs/semantics.md "Pins").
//!
//! A server process keeps the numbers that its sessions have drawn, whichever client they served. A client
//! of a kind that is known to ask for them draws where those of others were discarded; of another kind, it
//! is shown what it has drawn for certain, and else the others' are discarded before it asks.
//!
//! ```text
//!             may draw            asks for what it may not have drawn        answered
//!  Foreign ──────────────> Mixed ─────────────────────────────────> Coming ──────────> Own
//!     │ asks, or draws and is known to ask                            ^ │
//!     └───────────────────────────────────────────────────────────────┘ │ failed, or skipped
//!     ^─────────────────────── what it was before ──────────────────────┘
//! ```
//!
//! No text asks for a number before the discarding is answered, since that may fail, but inside a segment of the
//! client's own: there an error skips both.

use bytes::BytesMut;

use super::flow::Kind;
use super::from_server::ServerFate;
use super::own::Own;
use super::pins::{PinReason, Pins};
use super::texts::RUNS_CODE;
use super::{Backend, Note, Session, TransactionStatus, Unsynced};
use crate::sql::{self, Effects, Made, Touched};
use crate::wire::build;
use crate::wire::error::ErrorFields;
use crate::without::is_off;

/// What a lease has to do with numbers of sequences.
#[derive(Debug, Default)]
pub(super) struct Sequences {
    numbers: Numbers,
    drawn: Drawn,
    /// What the client is told besides, when there is no number.
    hint: Option<&'static str>,
    /// The text that the unnamed portal runs, and the segment that binds it.
    bound: Option<(Draw, u64)>,
    /// The client has discarded all numbers lately.
    discarded: bool,
    /// Names may stand for other sequences and tables than earlier in the lease.
    renamed: bool,
    /// How often in a row others' could not be discarded, in a segment of its own.
    failures: u8,
}

/// When a number may have been drawn.
#[derive(Debug, Default, Clone, Copy)]
struct Drawn {
    /// In the transaction that is open, or in flight.
    now: bool,
    /// In this lease.
    lately: bool,
    /// In an earlier lease.
    earlier: bool,
}

/// What the server has.
#[derive(Debug, Default)]
enum Numbers {
    /// None of the client's, maybe those of others.
    #[default]
    Foreign,
    /// Maybe both: these texts may have drawn.
    Mixed(Vec<Drawing>),
    /// Others' are being discarded.
    Coming(Discarding),
    /// None but those of the client.
    Own,
}

/// What is in flight to discard others' numbers.
#[derive(Debug)]
struct Discarding {
    /// The client's segment that it is part of; `None` if it is one of its own.
    inside: Option<u64>,
    /// What the server has if it is skipped.
    before: Box<Numbers>,
}

#[derive(Debug)]
struct Drawing {
    text: Box<[u8]>,
    /// It has told of rows.
    rows: bool,
}

/// Which of the texts that may have drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Draw(usize);

impl Sequences {
    /// Between leases: whether a number may have been drawn in one.
    pub(super) fn between(drew_earlier: bool) -> Self {
        Self { drawn: Drawn { earlier: drew_earlier, ..Drawn::default() }, ..Self::default() }
    }

    /// A lease begins.
    pub(super) fn begin(&mut self) {
        *self = Self::between(self.drawn.earlier);
    }

    /// A lease ends.
    pub(super) fn end(&mut self) {
        self.drawn.earlier |= self.drawn.lately;
        self.begin();
    }

    /// All that the server had was discarded for the client.
    pub(super) fn on_discarded(&mut self) {
        *self = Self { numbers: Numbers::Own, discarded: true, ..Self::default() };
    }

    /// No transaction is open any more.
    pub(super) fn on_transaction_end(&mut self) {
        self.drawn.now = false;
    }

    /// Whether that was so since this was asked last.
    pub(super) fn take_discarded(&mut self) -> bool {
        std::mem::take(&mut self.discarded)
    }

    /// The same, by a statement of pgweir's.
    pub(super) fn on_others_discarded(&mut self) {
        self.numbers = Numbers::Own;
        self.failures = 0;
    }

    /// Others' could not be discarded, or not behind an error: nothing that was meant to follow has run either.
    pub(super) fn on_forget_skipped(&mut self) {
        if let Numbers::Coming(Discarding { before, .. }) = &mut self.numbers {
            self.numbers = std::mem::take(before);
        }
    }

    /// A Bind has failed, or was skipped: the unnamed portal runs what it did before, or nothing.
    pub(super) fn on_unbound(&mut self) {
        self.bound = None;
    }

    /// The client has none any more, but the server may.
    pub(super) fn disown(&mut self) {
        *self = Self::default();
    }

    /// The client may have drawn a number in an earlier lease.
    pub(super) fn has_drawn_earlier(&self) -> bool {
        self.drawn.earlier
    }

    /// A text may draw.
    fn note(&mut self, text: &[u8]) -> Option<Draw> {
        self.drawn.lately = true;
        self.drawn.now = true;
        if matches!(self.numbers, Numbers::Foreign) {
            self.numbers = Numbers::Mixed(Vec::new());
        }
        let Numbers::Mixed(drawing) = &mut self.numbers else { return None };
        let text = text.split(|byte| *byte == 0).next().unwrap_or_default();
        let known = drawing.iter().position(|drawing| *drawing.text == *text);
        if known.is_none() && drawing.len() < MAX_DRAWING && text.len() <= MAX_TEXT {
            drawing.push(Drawing { text: text.into(), rows: false });
            return Some(Draw(drawing.len() - 1));
        }
        known.map(Draw)
    }

    /// A statement of such a text is done.
    fn on_command(&mut self, draw: Draw, tag: &[u8]) {
        if let Numbers::Mixed(drawing) = &mut self.numbers
            && let Some(drawing) = drawing.get_mut(draw.0)
        {
            drawing.rows |= tells_of_rows(tag);
        }
    }
}

/// What a text that draws or asks makes due.
enum NumbersDue {
    Nothing,
    /// It is not known yet.
    Unknown,
    /// What is not the client's is discarded; what an error that comes of it is told with.
    Discard(Option<&'static str>),
}

impl Session {
    /// Ahead of a text that asks for numbers or draws them: discards what is not the client's
    /// (`sql-discard.html`), so that asking fails as in a new session. True if it is not known yet whether
    /// that must be.
    pub(super) fn mind_sequences(
        &mut self,
        effects: Effects,
        text: &[u8],
        backend: &mut Backend,
        out: &mut BytesMut,
    ) -> bool {
        let asks = effects.contains(Effects::READS_SEQUENCE);
        let hint = match self.numbers_due(effects, text) {
            NumbersDue::Nothing => return false,
            NumbersDue::Unknown => return true,
            NumbersDue::Discard(hint) => hint,
        };
        if self.pooling.keeps() {
            self.sequences.numbers = Numbers::Own;
            if asks {
                self.would_forget_sequences();
            }
            return false;
        }
        // A transaction that has failed by then must be ended first: nothing can be discarded in it. And the Sync
        // behind it would end what the server skips behind an error of a segment without one.
        let may_skip = self.unsynced != Unsynced::Nothing && !self.flow.is_empty();
        if may_skip || !self.flow.is_status_known() {
            return true;
        }
        self.sequences.hint = hint;
        if asks {
            self.knowledge.learn_sequences(self.application_name());
        }
        self.forget_sequences(backend, out);
        // What is skipped with it need not wait for it.
        !self.open_segment
    }

    fn numbers_due(&mut self, effects: Effects, text: &[u8]) -> NumbersDue {
        let asks = effects.contains(Effects::READS_SEQUENCE);
        let concerned = asks || effects.intersects(MAY_DRAW);
        if !concerned || is_off("sequences") {
            return NumbersDue::Nothing;
        }
        if self.status == TransactionStatus::Failed {
            // What is in flight may end it, and so may what the open segment has run.
            match (asks || self.may_keep_numbers(), self.flow.is_empty()) {
                (true, false) => return NumbersDue::Unknown,
                (true, true) if self.open_segment => {}
                _ => return NumbersDue::Nothing,
            }
        }
        // Ahead of it nothing can be discarded, which would be a statement of the transaction.
        if !asks && self.status == TransactionStatus::InTransaction && sets_isolation(text) {
            return NumbersDue::Nothing;
        }
        let keeps = self.pooling.keeps();
        let segment = Some(self.ticket.segment);
        match &self.sequences.numbers {
            Numbers::Coming(discarding) if discarding.inside != segment => NumbersDue::Unknown,
            Numbers::Own | Numbers::Coming(_) => {
                if asks && !keeps && !self.knowledge.asks(self.application_name()) {
                    self.knowledge.learn_sequences(self.application_name());
                }
                NumbersDue::Nothing
            }
            Numbers::Foreign if asks || self.may_keep_numbers() => {
                NumbersDue::Discard(self.sequences.drawn.earlier.then_some(EARLIER))
            }
            Numbers::Foreign => NumbersDue::Nothing,
            // What is drawn from now on will be asked for, and must not be mixed with others'.
            Numbers::Mixed(_) if !asks && !keeps && self.begins_to_keep_numbers() => {
                NumbersDue::Discard(Some(EARLIER))
            }
            Numbers::Mixed(drawing) if !asks || self.is_drawn(drawing, effects, text) => {
                NumbersDue::Nothing
            }
            Numbers::Mixed(_) if !self.flow.is_empty() && !keeps => NumbersDue::Unknown,
            Numbers::Mixed(_) => NumbersDue::Discard(Some(UNSURE)),
        }
    }

    /// Whether a Query asks for numbers behind the end of a failed transaction, in which others' cannot be
    /// discarded.
    pub(super) fn asks_behind_failure(&self, effects: Effects) -> bool {
        self.status == TransactionStatus::Failed
            && self.flow.is_empty()
            && effects.contains(Effects::READS_SEQUENCE)
            && !matches!(self.sequences.numbers, Numbers::Own)
            && !self.pooling.keeps()
            && !is_off("sequences")
    }

    /// Such a Query, with what discards them behind that end; `None` if nobody knows where it is. What an open
    /// segment has run may have ended the transaction.
    pub(super) fn with_discarded(
        &mut self,
        whole: bool,
        effects: Effects,
        body: &[u8],
    ) -> Option<Made> {
        if !whole || self.open_segment {
            return None;
        }
        let end = body.iter().position(|byte| *byte == 0)?;
        let (text, rest) = body.split_at_checked(end)?;
        if self.with_defaults(effects, body, true).is_some() {
            return None;
        }
        let mut made = sql::with_discarded(text, &self.reading.options(false, None))?;
        made.text.extend_from_slice(rest);
        let drew = matches!(self.sequences.numbers, Numbers::Mixed(_));
        let earlier = self.sequences.drawn.earlier.then_some(EARLIER);
        self.sequences.hint = if drew { Some(UNSURE) } else { earlier };
        self.knowledge.learn_sequences(self.application_name());
        Some(made)
    }

    /// What is drawn from now on may be asked for in a later transaction: clients of its kind do so, or this one keeps
    /// its server anyway.
    fn may_keep_numbers(&self) -> bool {
        self.pins != Pins::NONE || self.knowledge.asks(self.application_name())
    }

    /// Clients of its kind ask for numbers, and this one has drawn none yet that it may ask for.
    fn begins_to_keep_numbers(&self) -> bool {
        self.status != TransactionStatus::Failed
            && !self.sequences.drawn.now
            && !self.pins.contains(PinReason::Sequence)
            && self.knowledge.asks(self.application_name())
    }

    fn is_drawn(&self, drawing: &[Drawing], effects: Effects, text: &[u8]) -> bool {
        let renames = RENAMES.union(Effects::SETTING).union(Effects::FUNCTION);
        if self.sequences.renamed || effects.intersects(renames) {
            return false;
        }
        // It tells tables by the names that they have where nothing was said of schemas.
        let elsewhere = sql::NAMED_BY.iter().any(|name| self.desired.get(name).is_some());
        let catalogue = self.knowledge.catalogue();
        let options = self.reading.options(false, catalogue.as_deref());
        let done = drawing.iter().filter(|drawing| drawing.rows).map(|drawing| &*drawing.text);
        sql::is_drawn(text, done, !elsewhere, &options)
    }

    /// Within a segment of the client's it is part of that one, and ends no transaction.
    fn forget_sequences(&mut self, backend: &mut Backend, out: &mut BytesMut) {
        let suspects = self.questions.suspects;
        // Code may have deallocated it, and its name must go on telling whether that was so: it is left alone.
        let again =
            suspects.intersects(RUNS_CODE.union(Effects::LOCAL)) || self.sequences.failures > 0;
        let name = if again { ANEW } else { Own::Forget.name() };
        let close = |session: &mut Self, out: &mut BytesMut| {
            build::close_statement(out, name.as_bytes());
            session.inject(Kind::Close, Note::Forgot);
        };
        if again {
            close(self, out);
            let body = [Own::Forget.sql().as_bytes(), &[0, 0, 0]].concat();
            build::parse_body(out, name.as_bytes(), &body);
            self.inject(Kind::Parse, Note::Forgot);
        } else {
            self.prepare_own(Own::Forget, backend, out);
        }
        // Within a transaction the unnamed portal is the client's, which it may execute later.
        let within = self.open_segment || self.status != TransactionStatus::Idle;
        let portal = if within { name } else { "" };
        build::bind_text(out, portal, name, &[]);
        self.inject(Kind::Bind, Note::Forgot);
        self.inject(Kind::Execute, Note::Forgot);
        if within {
            build::execute_once(out, portal);
            self.inject(Kind::Close, Note::Forgot);
        } else {
            build::execute(out);
        }
        if again {
            close(self, out);
        }
        let inside = self.open_segment.then_some(self.ticket.segment);
        if inside.is_none() {
            build::empty(out, b'S');
            self.inject(Kind::Sync, Note::Plain);
        }
        let before = Box::new(std::mem::take(&mut self.sequences.numbers));
        self.sequences.numbers = Numbers::Coming(Discarding { inside, before });
    }

    /// They could not be discarded. In a segment of the client's that is the error of its own message, which is
    /// skipped for it. In one of its own it is tried again: the statement may be gone.
    pub(super) fn on_forget_failed(&mut self) -> ServerFate {
        let apart =
            matches!(self.sequences.numbers, Numbers::Coming(Discarding { inside: None, .. }));
        self.sequences.on_forget_skipped();
        if !apart {
            return ServerFate::Forward;
        }
        self.sequences.failures += 1;
        ServerFate::Swallow
    }

    /// Others' numbers cannot be discarded, and the client's text must not run without.
    pub(super) fn keeps_others_numbers(&self) -> bool {
        self.sequences.failures >= MAX_FAILURES
    }

    /// Texts may do this, to these settings.
    pub(super) fn note_renamed(&mut self, effects: Effects, touched: Option<&Touched>) {
        let named = |touched: &Touched| {
            let unnamed = touched.any || !touched.parameters.is_empty();
            let all = touched.resets.are_all() || touched.may_reset.are_all();
            let mut names = touched.names.iter();
            unnamed || all || names.any(|name| sql::is_one_of(&sql::NAMED_BY, name))
        };
        if effects.intersects(RENAMES) || touched.is_some_and(named) {
            self.sequences.renamed = true;
        }
    }

    /// A text may run that may draw.
    pub(super) fn note_draw(&mut self, effects: Effects, text: &[u8]) -> Option<Draw> {
        effects.intersects(MAY_DRAW).then(|| self.sequences.note(text)).flatten()
    }

    /// A portal is to run such a text.
    pub(super) fn note_bound(&mut self, portal: &[u8], draw: Option<Draw>) {
        let draw = draw.filter(|_| portal.is_empty());
        self.sequences.bound = draw.map(|draw| (draw, self.ticket.segment));
    }

    /// What Execute of this portal may draw.
    pub(super) fn executes_draw(&self, body: &[u8]) -> Option<Draw> {
        let (draw, segment) = self.sequences.bound.filter(|_| body.first() == Some(&0))?;
        // The Bind of an earlier segment may fail yet.
        let is_known = segment == self.ticket.segment || self.flow.is_status_known();
        is_known.then_some(draw)
    }

    /// A statement of the client's is done.
    pub(super) fn on_drawn(&mut self, note: Option<Draw>, tag: &[u8]) {
        if let Some(draw) = note {
            self.sequences.on_command(draw, tag);
        }
    }

    /// Why there is no number, where PostgreSQL would have had one.
    pub(super) fn hint_of_sequence(&self, fields: &ErrorFields<'_>) -> Option<&'static str> {
        let asks = matches!(fields.routine, b"currval_oid" | b"lastval");
        self.sequences.hint.filter(|_| asks && fields.code == b"55000")
    }
}

/// Whether a text may set the level of isolation, which must be done first (`sql-set-transaction.html`).
fn sets_isolation(text: &[u8]) -> bool {
    text.windows(9).any(|word| word.eq_ignore_ascii_case(b"isolation"))
}

/// `INSERT 0 2`, `SELECT 1`: the last word is how many (`protocol-message-formats.html`).
fn tells_of_rows(tag: &[u8]) -> bool {
    let tag = tag.strip_suffix(b"\0").unwrap_or(tag);
    let digits = tag.rsplit(|byte| *byte == b' ').next().unwrap_or_default();
    digits.iter().all(u8::is_ascii_digit) && digits.iter().any(|digit| *digit != b'0')
}

/// Effects of what draws a number from a sequence. What only may, such as a function that nobody has
/// read, does not count: a number that is missing is better than another client's.
pub(super) const MAY_DRAW: Effects = Effects::DRAWS.union(Effects::SEQUENCE);

/// Tries in a row to discard others' numbers.
const MAX_FAILURES: u8 = 3;

/// What discards numbers where code may have deallocated what does it elsewhere. It is not there afterwards.
const ANEW: &str = "__pgweir_forget_anew";

/// What may put something else behind a name, besides what names a setting by which that is found.
const RENAMES: Effects = Effects::UNREAD
    .union(Effects::DYNAMIC)
    .union(Effects::ROUTINE)
    .union(Effects::EXECUTE)
    .union(Effects::UNKNOWN)
    .union(Effects::TEMP_OBJECT)
    .union(Effects::DDL)
    .union(Effects::LOCAL_NAMING);

/// Texts of one lease that are kept, and the longest of them.
const MAX_DRAWING: usize = 8;
const MAX_TEXT: usize = 1 << 10;

/// For the first `currval` or `lastval` of a kind of client.
const EARLIER: &str = "The number was drawn in an earlier transaction, on a connection that has \
    served others since. From now on pgweir keeps the connections of such clients after they draw a \
    number. Better use INSERT ... RETURNING.";

/// The same in a transaction that may have drawn it.
const UNSURE: &str = "pgweir could not tell whether this number is the session's own or that of an earlier \
    one. From now on it can, for such clients. Better use INSERT ... RETURNING.";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_told_by_the_last_word_of_a_tag() {
        for (tag, expected) in [
            ("INSERT 0 1\0", true),
            ("INSERT 0 10\0", true),
            ("INSERT 0 0\0", false),
            ("SELECT 3\0", true),
            ("SELECT 0\0", false),
            ("BEGIN\0", false),
            ("\0", false),
        ] {
            assert_eq!(tells_of_rows(tag.as_bytes()), expected, "{tag}");
        }
    }
}
