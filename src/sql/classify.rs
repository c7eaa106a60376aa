//! From tokens to [`Effects`], in one pass.
//!
//! Each statement is judged by the word it begins with, by the few words that count wherever they
//! stand (`pg_temp`, TEMP, ...), and by the names before an opening parenthesis: [`call`](super::call)
//! knows which of these may be calls of a function.

use super::builtins;
use super::call::{Name, Place, fold};
use super::catalogue::{Catalogue, Deed};
use super::code;
use super::composed::constant;
use super::effects::Effects;
use super::keywords;
use super::lexer::{Kind, Lexer, Token};
use super::literals;
use super::local::{self, Local};
use super::names::Folded;
use super::runs::{self, Runs};
use super::touched;

/// What the reading of a text depends on.
#[derive(Debug, Clone, Copy)]
pub struct Options<'a> {
    /// The session's `standard_conforming_strings`.
    pub standard_conforming_strings: bool,
    /// The client's encoding hides quotes in its characters; see [`is_multibyte_unsafe`](super::is_multibyte_unsafe).
    pub multibyte_unsafe: bool,
    /// The text is only the beginning of a longer one.
    pub truncated: bool,
    /// More functions, by lower-case name without schema, after which a server must be closed.
    pub retire_functions: &'a [Box<[u8]>],
    /// What code may do in which the catalogue shows nothing.
    pub vouched: Effects,
    /// What the functions and tables of the database do, where that is known.
    pub catalogue: Option<&'a Catalogue>,
}

impl Default for Options<'_> {
    fn default() -> Self {
        Self {
            standard_conforming_strings: true,
            multibyte_unsafe: false,
            truncated: false,
            retire_functions: &[],
            vouched: Effects::PURE,
            catalogue: None,
        }
    }
}

/// What a text (a whole Query, or the text of a Parse) may do to the session.
///
/// Looks at the bytes before the first NUL, never allocates, and takes time linear in the length.
pub fn classify(text: &[u8], options: &Options<'_>) -> Effects {
    if options.multibyte_unsafe {
        return Effects::UNREADABLE;
    }
    let lexer = Lexer::new(text, options.standard_conforming_strings);
    let mut classifier = Classifier::new(lexer, options);
    while let Some(token) = classifier.lexer.next() {
        classifier.on_token(token);
    }
    classifier.on_end();
    if options.truncated {
        classifier.effects |= Effects::UNREADABLE;
    }
    if touched::may_update_settings(text) {
        classifier.effects |= Effects::SETTING;
    }
    classifier.effects
}

/// What the statement being read began with, as far as later tokens ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Statement {
    /// Nothing yet, or only parentheses.
    Start,
    /// COPY.
    Copy,
    /// CREATE.
    Create,
    /// CREATE INDEX, whose ON names a table.
    CreateIndex,
    /// EXPLAIN, which holds another statement.
    Explain,
    /// MERGE.
    Merge,
    /// SELECT.
    Select,
    /// SET.
    Set,
    /// Any other.
    Other,
}

struct Classifier<'a, 'o> {
    lexer: Lexer<'a>,
    options: &'o Options<'o>,
    effects: Effects,
    place: Place<'a>,
    name: Name<'a>,
    runs: Runs,
    /// What the statement does if it writes.
    written: Effects,
    /// The catalogue, if names without parentheses can matter.
    mentions: Option<&'o Catalogue>,
}

impl<'a, 'o> Classifier<'a, 'o> {
    fn new(lexer: Lexer<'a>, options: &'o Options<'o>) -> Self {
        let mentions = options.catalogue.filter(|catalogue| catalogue.has_mentions());
        let (place, name) = (Place::START, Name::NONE);
        let (effects, written) = (Effects::PURE, Effects::PURE);
        Self { lexer, options, effects, place, name, runs: Runs::Writes, written, mentions }
    }

    #[inline]
    fn on_token(&mut self, token: Token<'a>) {
        match token.kind {
            Kind::Word => self.on_word(token),
            Kind::QuotedIdentifier => self.on_quoted(token),
            Kind::Open => self.on_open(),
            Kind::Semicolon => {
                self.place = Place::START;
                self.on_end();
                return;
            }
            Kind::Text | Kind::EscapeText | Kind::DollarText | Kind::UnicodeText => {
                self.on_text(token);
            }
            Kind::UnicodeIdentifier | Kind::Other => self.effects |= Effects::UNKNOWN,
            Kind::Unterminated => self.effects |= Effects::UNREADABLE,
            _ => {}
        }
        if self.place.statement == Statement::Start && token.kind != Kind::Open {
            self.effects |= Effects::UNKNOWN;
            self.place.statement = Statement::Other;
        }
        self.place.advance(token);
    }

    /// The statement is over.
    fn on_end(&mut self) {
        let written = std::mem::take(&mut self.written);
        if self.runs == Runs::Writes {
            self.effects |= written;
        }
        self.runs = Runs::Writes;
    }

    #[inline]
    fn on_word(&mut self, token: Token<'a>) {
        if self.place.statement == Statement::Start {
            self.place.statement = self.begin(token);
        } else if let Some(first) = token.text.first() {
            match first | 0x20 {
                b'p' if is_temp_schema(token.text) => self.effects |= Effects::TEMP_OBJECT,
                b't' => self.on_temp(token),
                b'e' if self.holds_statement() && token.is_word(b"execute") => {
                    self.effects |= Effects::EXECUTE;
                }
                b'd' if self.holds_statement() && token.is_word(b"declare") => {
                    self.effects |= Effects::CURSOR;
                }
                _ => {}
            }
        }
        self.on_mention(&token);
        self.name.push(token, &self.place);
    }

    /// A table, or a function in the notation of a field.
    fn on_mention(&mut self, token: &Token<'_>) {
        let Some(catalogue) = self.mentions.filter(|_| self.runs != Runs::Nothing) else { return };
        if self.runs == Runs::Reads && runs::writes(token, &self.place.previous) {
            self.runs = Runs::Writes;
        }
        let Some(name) = fold(token) else { return };
        let effects = |deed: Option<&Deed>| deed.map_or(Effects::PURE, |deed| deed.effects);
        self.effects |= effects(catalogue.mention(name.as_bytes()));
        self.written |= effects(catalogue.written(name.as_bytes()));
    }

    /// Whether another statement may stand within this one.
    fn holds_statement(&self) -> bool {
        matches!(self.place.statement, Statement::Create | Statement::Explain)
    }

    fn on_quoted(&mut self, token: Token<'a>) {
        if is_temp_schema(token.unquoted()) {
            self.effects |= Effects::TEMP_OBJECT;
        }
        self.on_mention(&token);
        self.name.push(token, &self.place);
    }

    /// TEMP within a CREATE, or after the INTO of a SELECT
    /// (`sql-selectinto.html`): LOCAL and GLOBAL may stand between.
    fn on_temp(&mut self, token: Token<'a>) {
        if !token.is_word(b"temp") && !token.is_word(b"temporary") {
            return;
        }
        let previous = self.place.previous;
        let earlier = self.place.earlier;
        let selects_into =
            previous.is_word(b"into") && !earlier.is_word(b"insert") && !earlier.is_word(b"merge");
        let after_scope = previous.is_word(b"local") || previous.is_word(b"global");
        if self.holds_statement() || selects_into || after_scope {
            self.effects |= Effects::TEMP_OBJECT;
        }
    }

    fn on_text(&mut self, token: Token<'a>) {
        if !self.effects.contains(Effects::NOW_LITERAL) && literals::may_mean_now(&token) {
            self.effects |= Effects::NOW_LITERAL;
        }
        // SET LOCAL search_path = 'pg_temp' turns the next CREATE TABLE into a temporary one.
        if self.place.statement == Statement::Set && holds_temp_schema(token.text) {
            self.effects |= Effects::TEMP_OBJECT;
        }
    }

    fn on_open(&mut self) {
        if self.place.previous.is_identifier() {
            self.place.note_operand(&self.name);
            if self.runs != Runs::Nothing {
                self.effects |= self.name.effects(&self.place, self.options);
            }
        }
    }

    /// Judges a statement by its first word.
    fn begin(&mut self, token: Token<'a>) -> Statement {
        let word = Folded::new(token.text);
        self.runs = Runs::of(word.as_bytes(), self.lexer.clone());
        match word.as_bytes() {
            b"select" => return Statement::Select,
            b"insert" | b"with" => self.effects |= Effects::DRAWS,
            b"close" => self.effects |= Effects::CLOSE,
            b"update" | b"delete" | b"values" | b"table" | b"begin" | b"start" | b"commit"
            | b"end" | b"rollback" | b"abort" | b"savepoint" | b"release" | b"lock"
            | b"truncate" | b"fetch" | b"move" | b"notify" | b"refresh" | b"comment" | b"grant"
            | b"revoke" | b"security" | b"checkpoint" | b"reassign" | b"show" => {}
            // They need not name the tables whose expressions they run.
            b"vacuum" | b"analyze" | b"analyse" | b"reindex" | b"cluster" => {
                if self.mentions.is_some() {
                    self.effects |= Effects::FUNCTION;
                }
            }
            b"copy" => {
                if self.copies_in() {
                    self.effects |= Effects::DRAWS;
                }
                return Statement::Copy;
            }
            b"explain" => {
                self.effects |= Effects::DRAWS;
                return Statement::Explain;
            }
            b"merge" => {
                self.effects |= Effects::DRAWS;
                return Statement::Merge;
            }
            b"create" => return self.create(),
            b"set" => return self.set(),
            b"alter" | b"drop" | b"import" => self.effects |= Effects::DDL,
            rare => self.effects |= self.session_command(rare),
        }
        Statement::Other
    }

    /// The effects of the commands whose purpose is the session.
    fn session_command(&self, word: &[u8]) -> Effects {
        let mut after = self.lexer.clone();
        match word {
            b"reset" => Effects::SETTING,
            b"listen" => Effects::LISTEN,
            b"unlisten" => Effects::UNLISTEN,
            b"declare" => Effects::CURSOR,
            b"call" => self.called(&mut after),
            b"do" => self.block(&mut after),
            b"execute" => Effects::EXECUTE,
            b"load" => Effects::LOAD,
            b"prepare" => prepare(&mut after),
            b"deallocate" => deallocate(&mut after),
            b"discard" => discard(&mut after),
            _ => Effects::UNKNOWN,
        }
    }

    /// CALL of a procedure, whose name ends at the parenthesis (`sql-call.html`).
    fn called(&self, after: &mut Lexer<'_>) -> Effects {
        let ends = |token: &Token<'_>| matches!(token.kind, Kind::Open | Kind::Semicolon);
        let name = after.take_while(|token| !ends(token)).last();
        let name = name.and_then(|token| fold(&token));
        let (Some(name), Some(catalogue)) = (name, self.options.catalogue) else {
            return Effects::ROUTINE;
        };
        match catalogue.function(name.as_bytes()) {
            Some(deed) => self.options.vouched | deed.map_or(Effects::PURE, |deed| deed.effects),
            None => Effects::ROUTINE | Effects::UNREAD,
        }
    }

    /// DO: its code is a string (`sql-do.html`).
    fn block(&self, after: &mut Lexer<'_>) -> Effects {
        let Some(catalogue) = self.options.catalogue else { return Effects::ROUTINE };
        let mut language = after.clone().take(4).skip_while(|token| !token.is_word(b"language"));
        let is_other = language.nth(1).is_some_and(|token| !token.is_word(b"plpgsql"));
        let text = after.take(3).find_map(|token| constant(&token)).filter(|_| !is_other);
        let Some(text) = text else { return Effects::ROUTINE };
        let code = code::read(&text);
        let written = |name| catalogue.written(name).filter(|_| code.writes);
        let behind = |name| catalogue.mention(name).into_iter().chain(written(name));
        let uses = code.uses.iter().flat_map(|name| behind(name));
        let known = code.effects | self.options.vouched | calls(&text, catalogue);
        uses.fold(known, |effects, deed| effects | deed.effects)
    }

    /// Whether a COPY may put rows into a table: COPY FROM does, and a statement in parentheses may
    /// unless it only reads (`sql-copy.html`).
    fn copies_in(&self) -> bool {
        let mut after = self.lexer.clone();
        if after.next().is_some_and(|token| token.kind == Kind::Open) {
            let reads = [b"select".as_slice(), b"values", b"table"];
            return !after.next().is_some_and(|token| reads.iter().any(|word| token.is_word(word)));
        }
        let mut rest = self.lexer.clone().take_while(|token| token.kind != Kind::Semicolon);
        rest.any(|token| token.is_word(b"from"))
    }

    fn create(&mut self) -> Statement {
        self.effects |= Effects::DDL;
        let kind = self.lexer.clone().find(|token| !token.is_word(b"unique"));
        match kind {
            Some(kind) if kind.is_word(b"index") => Statement::CreateIndex,
            _ => Statement::Create,
        }
    }

    /// SET LOCAL, SET TRANSACTION and SET CONSTRAINTS end with the transaction, unless the word is the
    /// class of a custom setting (`SET local.tenant = 1`) (`sql-set.html`).
    fn set(&mut self) -> Statement {
        let mut after = self.lexer.clone();
        let scoped = after.next().is_some_and(|word| {
            [b"local".as_slice(), b"transaction", b"constraints"].iter().any(|it| word.is_word(it))
        });
        let named = after.next().is_some_and(|token| {
            matches!(token.kind, Kind::Dot | Kind::Operator) || token.is_word(b"to")
        });
        // A default may be the session's own.
        let defaults = |token: Token<'_>| token.is_word(b"default") || token.is_word(b"local");
        if !scoped || named || after.take_while(|t| t.kind != Kind::Semicolon).any(defaults) {
            self.effects |= Effects::SETTING;
        }
        if scoped && !named {
            self.effects |= local_setting(self.lexer.clone());
        }
        Statement::Set
    }
}

/// What the functions may do that code calls, those included of which the catalogue does not know.
fn calls(code: &[u8], catalogue: &Catalogue) -> Effects {
    let mut effects = Effects::PURE;
    let mut name = Token::START;
    for token in Lexer::new(code, true) {
        let name = std::mem::replace(&mut name, token);
        if token.kind != Kind::Open || !name.is_identifier() {
            continue;
        }
        let function = fold(&name);
        let function = function.as_ref().map_or(&b""[..], |name| name.as_bytes());
        let is_keyword = name.kind == Kind::Word && keywords::never_calls(function);
        if is_keyword || builtins::is_harmless(function) {
            continue;
        }
        effects |= match catalogue.function(function) {
            Some(deed) => deed.map_or(Effects::PURE, |deed| deed.effects),
            None => Effects::FUNCTION | Effects::UNREAD,
        };
    }
    effects
}

/// What stands behind SET, if that is LOCAL and a setting under which texts mean something else.
fn local_setting(after: Lexer<'_>) -> Effects {
    let tokens: Vec<_> =
        after.take_while(|token| token.kind != Kind::Semicolon).take(local::FEW).collect();
    match tokens.split_first() {
        Some((first, rest)) if first.is_word(b"local") => Local::of_set(rest).effects(),
        _ => Effects::PURE,
    }
}

/// PREPARE TRANSACTION has a string where PREPARE has the rest of the statement: `transaction` alone
/// may be a name.
fn prepare(after: &mut Lexer<'_>) -> Effects {
    let transaction = after.next().is_some_and(|token| token.is_word(b"transaction"));
    let identified = after.next().is_some_and(|token| {
        matches!(token.kind, Kind::Text | Kind::EscapeText | Kind::DollarText | Kind::UnicodeText)
    });
    if transaction && identified { Effects::PURE } else { Effects::SQL_PREPARE }
}

fn deallocate(after: &mut Lexer<'_>) -> Effects {
    let mut name = after.next();
    if name.is_some_and(|token| token.is_word(b"prepare")) {
        name = after.next();
    }
    match name {
        Some(name) if name.is_word(b"all") => Effects::DEALLOCATE_ALL,
        _ => Effects::DEALLOCATE,
    }
}

fn discard(after: &mut Lexer<'_>) -> Effects {
    let kinds = [
        (b"all".as_slice(), Effects::DISCARD_ALL),
        (b"temp", Effects::DISCARD_TEMP),
        (b"temporary", Effects::DISCARD_TEMP),
        (b"plans", Effects::DISCARD_PLANS),
        (b"sequences", Effects::DISCARD_SEQUENCES),
    ];
    let Some(token) = after.next() else {
        return Effects::UNKNOWN;
    };
    let kind = kinds.iter().find(|(word, _)| token.is_word(word));
    kind.map_or(Effects::UNKNOWN, |(_, effects)| *effects)
}

/// The session's temporary schema, by its alias or by its own name (`pg_temp_3`).
pub(crate) fn is_temp_schema(name: &[u8]) -> bool {
    name.get(..TEMP_SCHEMA.len()).is_some_and(|start| start.eq_ignore_ascii_case(TEMP_SCHEMA))
}

fn holds_temp_schema(text: &[u8]) -> bool {
    text.windows(TEMP_SCHEMA.len()).any(is_temp_schema)
}

const TEMP_SCHEMA: &[u8] = b"pg_temp";
