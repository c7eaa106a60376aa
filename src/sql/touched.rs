//! Which settings a text may change for the session, by name.
//!
//! Names only: what value a setting then has is for the server to say. What has no name in the text
//! (`set_config(a || b, ...)`) is [`Touched::any`].

use std::cell::Cell;

use super::call::fold;
use super::catalogue::Catalogue;
use super::classify::Options;
use super::composed::{Composed, HOLE, constant};
use super::lexer::{Kind, Lexer, Token};
use super::local::Local;
use super::runs::{self, Runs};
use crate::without::is_off;
use memchr::memchr2_iter;

/// Settings that a text may change.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Touched {
    /// In lower case, but for custom ones (`app.Tenant`), whose spelling is the session's; each once.
    pub names: Vec<Box<str>>,
    /// The name is the value of this parameter (`$1` is 1).
    pub parameters: Vec<u16>,
    /// Any setting at all.
    pub any: bool,
    /// What a RESET of the text itself, or DISCARD ALL, takes back to its session default.
    pub resets: Resets,
    /// What may go back in another way: code may not come to its RESET, and a text may ask for a default by
    /// another command.
    pub may_reset: Resets,
    /// What may change for the transaction.
    pub local: Local,
}

/// Settings that a text takes back to their session default.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Resets {
    /// None.
    #[default]
    None,
    /// These, in lower case.
    Names(Vec<Box<str>>),
    /// `RESET ALL`, or more names than are worth keeping.
    All,
    /// `DISCARD ALL`, which RESET ALL is a part of.
    Everything,
}

impl Resets {
    /// What stands behind RESET. Of the session authorization that is nothing: no session begins with one of
    /// its own.
    pub(crate) fn of(tokens: &[Token<'_>]) -> Self {
        match tokens {
            [all] if all.is_word(b"all") => Self::All,
            [time, zone] if time.is_word(b"time") && zone.is_word(b"zone") => {
                Self::Names(vec!["timezone".into()])
            }
            name => setting_name(name).map_or(Self::None, |name| Self::Names(vec![name.into()])),
        }
    }

    /// Whether a setting is among them.
    pub fn contains(&self, setting: &str) -> bool {
        match self {
            Self::None => false,
            Self::Names(names) => names.iter().any(|name| name.eq_ignore_ascii_case(setting)),
            Self::All => !NOT_OF_ALL.iter().any(|other| setting.eq_ignore_ascii_case(other)),
            Self::Everything => true,
        }
    }

    /// Whether no name is needed to be among them.
    pub fn are_all(&self) -> bool {
        matches!(self, Self::All | Self::Everything)
    }

    /// Both.
    pub fn add(&mut self, other: Self) {
        match other {
            Self::None => {}
            Self::Names(names) => names.iter().for_each(|name| self.add_name(name)),
            Self::All if *self == Self::Everything => {}
            Self::All | Self::Everything => *self = other,
        }
    }

    fn add_name(&mut self, name: &str) {
        match self {
            Self::None => *self = Self::Names(vec![name.into()]),
            Self::Names(names) if names.iter().any(|known| known.eq_ignore_ascii_case(name)) => {}
            Self::Names(names) if names.len() < MAX_NAMES => names.push(name.into()),
            Self::Names(_) => *self = Self::All,
            Self::All | Self::Everything => {}
        }
    }
}

impl Touched {
    /// Nothing.
    pub fn is_empty(&self) -> bool {
        let all = self.resets.are_all() || self.may_reset.are_all();
        self.names.is_empty() && self.parameters.is_empty() && !self.any && !all
    }

    /// One more name.
    pub fn add(&mut self, name: &str) {
        if NOT_OF_THE_SESSION.iter().any(|other| name.eq_ignore_ascii_case(other)) {
            return;
        }
        if self.names.iter().any(|known| known.eq_ignore_ascii_case(name)) {
            return;
        }
        if self.names.len() < MAX_NAMES {
            let custom = name.contains('.');
            self.names.push(if custom { name.into() } else { name.to_ascii_lowercase().into() });
        } else {
            self.any = true;
        }
    }

    /// Grows with what is in it.
    pub(super) fn size(&self) -> (bool, usize, usize) {
        let resets = match &self.may_reset {
            Resets::None => 0,
            Resets::Names(names) => names.len(),
            Resets::All => usize::MAX - 1,
            Resets::Everything => usize::MAX,
        };
        (self.any, self.names.len(), resets)
    }

    /// What is named in another, as far as there is room.
    fn add_named(&mut self, other: &Self) {
        for name in &other.names {
            if self.names.len() < MAX_NAMES {
                self.add(name);
            }
        }
        self.may_reset.add(other.may_reset.clone());
    }

    fn may_reset(&mut self, name: &str) {
        self.add(name);
        self.may_reset.add_name(name);
    }
}

/// The settings that a text may change (`sql-set.html`, `sql-reset.html`,
/// `functions-admin.html#FUNCTIONS-ADMIN-SET`). Meant for texts whose [`Effects`](super::Effects)
/// say that there are some.
pub fn touched(text: &[u8], options: &Options<'_>) -> Touched {
    let mut found = Touched::default();
    if options.multibyte_unsafe || options.truncated {
        found.any = may_hold_set(text);
        return found;
    }
    let conforming = options.standard_conforming_strings;
    let left = Cell::new(MAX_READ);
    Reader { conforming, depth: 0, catalogue: options.catalogue, left: &left }
        .read(text, &mut found);
    found.any |= may_update_settings(text);
    found
}

/// A text that cannot be cut into tokens: without these letters it holds neither SET nor RESET nor
/// `set_config`, for keywords are plain ASCII in every encoding (`DISCARD ALL` is told by its tag).
fn may_hold_set(text: &[u8]) -> bool {
    text.windows(3).any(|word| word.eq_ignore_ascii_case(b"set"))
}

/// `UPDATE pg_settings` is a SET of whatever its condition finds (`view-pg-settings.html`).
pub(super) fn may_update_settings(text: &[u8]) -> bool {
    let holds = |word: &[u8]| {
        let starts = memchr2_iter(word[0], word[0].to_ascii_uppercase(), text);
        let mut found = starts.filter_map(|at| text.get(at..at + word.len()));
        found.any(|found| found.eq_ignore_ascii_case(word))
    };
    holds(b"pg_settings") && holds(b"update")
}

/// Refused behind other statements, and in code (`sql-discard.html`).
fn is_discard_all(statement: &[Token<'_>]) -> bool {
    matches!(statement, [first, all] if first.is_word(b"discard") && all.is_word(b"all"))
}

/// Reads a text, and the code within it.
#[derive(Clone, Copy)]
struct Reader<'c> {
    conforming: bool,
    depth: u8,
    catalogue: Option<&'c Catalogue>,
    /// Bytes of code within the text that are still read.
    left: &'c Cell<usize>,
}

impl Reader<'_> {
    fn read(self, text: &[u8], found: &mut Touched) {
        let mut lexer = Lexer::new(text, self.conforming);
        let tokens: Vec<_> = lexer.by_ref().take(MAX_TOKENS).collect();
        found.any |= lexer.next().is_some();
        let statements = tokens.split(|token| token.kind == Kind::Semicolon);
        let alone = statements.clone().filter(|tokens| !tokens.is_empty()).count() == 1;
        for statement in statements {
            self.statement(statement, found);
            self.names(statement, found);
            if alone && self.depth == 0 && is_discard_all(statement) {
                found.resets = Resets::Everything;
                found.may_reset = Resets::Everything;
            }
        }
        if self.depth > 0 && composes(&tokens) {
            self.strings(&tokens, found);
        }
    }

    /// Behind EXECUTE in code: what the text that it puts together says of itself. Of one that begins with what is
    /// not known, the word counts; of what it begins with, each constant by itself.
    fn execute(self, tokens: &[Token<'_>], found: &mut Touched) {
        let Composed { text, made_of } = Composed::of(tokens);
        for text in made_of.iter().chain([&text]) {
            self.code(text, found);
        }
    }

    /// Strings that may be run, or be a part of what is. They may as well be data: what names no setting says
    /// nothing.
    fn strings(self, tokens: &[Token<'_>], found: &mut Touched) {
        let mut maybe = Touched::default();
        for token in tokens {
            if body(token).is_some_and(may_hold_set) {
                self.string(token, &mut maybe);
            }
        }
        found.add_named(&maybe);
    }

    /// What stands behind the names in a statement.
    fn names(self, tokens: &[Token<'_>], found: &mut Touched) {
        let runs = self.runs(tokens);
        if runs == Runs::Nothing {
            return;
        }
        for at in 0..tokens.len() {
            call(&tokens[at..], found);
            self.mention(&tokens[at], runs, found);
            if self.depth > 0 && tokens[at].is_word(b"execute") {
                self.execute(&tokens[at + 1..], found);
            }
        }
    }

    /// Within code, a statement begins anywhere.
    fn runs(self, tokens: &[Token<'_>]) -> Runs {
        let writes = if self.depth > 0 {
            tokens.iter().any(|token| runs::may_write(token) || token.is_word(b"execute"))
        } else {
            tokens.windows(2).any(|pair| runs::writes(&pair[1], &pair[0]))
        };
        let words = tokens.iter().skip_while(|token| token.kind == Kind::Open);
        match words.clone().next().and_then(fold).filter(|_| self.depth == 0) {
            Some(first) => match Runs::of(first.as_bytes(), words.skip(1).copied()) {
                Runs::Reads if writes => Runs::Writes,
                runs => runs,
            },
            None if self.depth > 0 && !writes => Runs::Reads,
            None => Runs::Writes,
        }
    }

    /// What stands behind a name, in the catalogue of the database.
    fn mention(self, token: &Token<'_>, runs: Runs, found: &mut Touched) {
        let Some(catalogue) = self.catalogue else { return };
        let Some(name) = fold(token) else { return };
        let name = name.as_bytes();
        let written = catalogue.written(name).filter(|_| runs == Runs::Writes);
        for deed in catalogue.mention(name).into_iter().chain(written) {
            found.any |= deed.touched.any;
            deed.touched.names.iter().for_each(|name| found.add(name));
            found.local.add(deed.touched.local);
            found.may_reset.add(deed.touched.may_reset.clone());
        }
    }

    fn statement(self, tokens: &[Token<'_>], found: &mut Touched) {
        if self.command(tokens, found) || self.depth == 0 {
            return;
        }
        let sets = |token: &Token<'_>| token.is_word(b"set") || token.is_word(b"reset");
        let last_set = tokens.iter().rposition(sets);
        // Within code, a statement follows a keyword as well as a semicolon.
        let opens = [b"begin".as_slice(), b"then", b"else", b"loop", b"declare"];
        let begins =
            |(_, token): &(usize, &Token<'_>)| opens.iter().any(|word| token.is_word(word));
        let inner = tokens.iter().enumerate().filter(begins).map(|(at, _)| at + 1);
        for at in std::iter::once(0).chain(inner) {
            let tokens = tokens.get(at..).unwrap_or_default();
            if at > 0 {
                self.command(tokens, found);
            }
            // Nobody knows what it begins with.
            let is_hole = tokens.first().is_some_and(|first| first.text == [HOLE]);
            found.any |= is_hole && last_set.is_some_and(|set| set > at);
        }
    }

    /// What begins with its command. Whether it is one that is looked for.
    fn command(self, tokens: &[Token<'_>], found: &mut Touched) -> bool {
        match tokens {
            [first, rest @ ..] if first.is_word(b"set") => set(rest, found),
            [first, rest @ ..] if first.is_word(b"reset") => reset(rest, self.depth > 0, found),
            // DO, LANGUAGE and its name, the code.
            [first, rest @ ..] if first.is_word(b"do") => {
                for token in rest.iter().take(3) {
                    self.string(token, found);
                }
            }
            _ => return false,
        }
        true
    }

    /// The code in a string.
    fn string(self, token: &Token<'_>, found: &mut Touched) {
        if let Some(code) = constant(token) {
            self.code(&code, found);
        }
    }

    fn code(self, code: &[u8], found: &mut Touched) {
        // An EXECUTE has the constants around it read again.
        let Some(left) = self.left.get().checked_sub(code.len()) else {
            found.any = true;
            return;
        };
        self.left.set(left);
        if self.depth >= MAX_DEPTH {
            found.any |= may_hold_set(code);
            return;
        }
        Self { depth: self.depth + 1, ..self }.read(code, found);
    }
}

/// Whether code runs a text that does not stand behind its EXECUTE.
fn composes(tokens: &[Token<'_>]) -> bool {
    let mut rest = tokens.windows(2).filter(|pair| pair[0].is_word(b"execute"));
    rest.any(|pair| body(&pair[1]).is_none())
}

/// What the strings of a text may change, where code runs them: it is given them by the text.
pub fn touched_by_strings(text: &[u8], options: &Options<'_>) -> Touched {
    let mut found = Touched::default();
    let conforming = options.standard_conforming_strings;
    let tokens: Vec<_> = Lexer::new(text, conforming).take(MAX_TOKENS).collect();
    let left = Cell::new(MAX_READ);
    let reader = Reader { conforming, depth: 0, catalogue: options.catalogue, left: &left };
    reader.strings(&tokens, &mut found);
    found
}

/// What a value may change that code may run.
pub fn touched_by_value(value: &[u8]) -> Touched {
    let mut found = Touched::default();
    if may_hold_set(value) {
        found.add_named(&touched_by_code(value));
    }
    found
}

/// Reads code that is known from elsewhere: a function's body.
pub(crate) fn touched_by_code(code: &[u8]) -> Touched {
    let mut found = Touched::default();
    // There may be much of it, of which all is read at once.
    let left = Cell::new(code.len().saturating_mul(MAX_TIMES).min(MAX_READ));
    Reader { conforming: true, depth: 1, catalogue: None, left: &left }.read(code, &mut found);
    found
}

/// Behind SET (`sql-set.html` and its like).
fn set(mut tokens: &[Token<'_>], found: &mut Touched) {
    let named = |tokens: &[Token<'_>]| {
        tokens.get(1).is_some_and(|t| matches!(t.kind, Kind::Dot) || is_assignment(t))
    };
    if let [scope, rest @ ..] = tokens
        && (scope.is_word(b"session") || scope.is_word(b"local"))
        && !named(tokens)
    {
        // It ends with the transaction.
        if scope.is_word(b"local") {
            return found.local.add(Local::of_set(rest));
        }
        tokens = rest;
    }
    let is = |words: &[&[u8]]| {
        !named(tokens)
            && words.iter().enumerate().all(|(i, w)| tokens.get(i).is_some_and(|t| t.is_word(w)))
    };
    if is(&[b"transaction"]) || is(&[b"constraints"]) {
        return;
    }
    let special: &[&str] = if is(&[b"time", b"zone"]) {
        &["timezone"]
    } else if is(&[b"names"]) {
        &["client_encoding"]
    } else if is(&[b"schema"]) {
        &["search_path"]
    } else if is(&[b"role"]) {
        &["role"]
    } else if is(&[b"authorization"]) {
        // It resets the role too.
        &["session_authorization", "role"]
    } else if is(&[b"xml", b"option"]) {
        &["xmloption"]
    } else if is(&[b"characteristics"]) {
        &[
            "default_transaction_isolation",
            "default_transaction_read_only",
            "default_transaction_deferrable",
        ]
    } else {
        return assignment(tokens, found);
    };
    if is_off("aliases") && !special.contains(&"role") {
        return;
    }
    // `SET TIME ZONE LOCAL` means the default too.
    let resets = tokens.last().is_some_and(|last| {
        last.is_word(b"default") || (special == ["timezone"] && last.is_word(b"local"))
    });
    for name in special {
        if resets { found.may_reset(name) } else { found.add(name) }
    }
}

fn assignment(tokens: &[Token<'_>], found: &mut Touched) {
    let few = tokens.len().min(FEW);
    let end = tokens.iter().take(few).position(is_assignment).unwrap_or(few);
    let (name, value) = tokens.split_at(end);
    match setting_name(name) {
        Some(name) => match value {
            [_, value] if value.is_word(b"default") => found.may_reset(&name),
            _ => found.add(&name),
        },
        None => found.any = true,
    }
}

pub(crate) fn is_assignment(token: &Token<'_>) -> bool {
    token.is_word(b"to") || token.text == b"="
}

/// Behind RESET, in the text itself or within code.
fn reset(tokens: &[Token<'_>], within: bool, found: &mut Touched) {
    if let [session, authorization] = tokens
        && session.is_word(b"session")
        && authorization.is_word(b"authorization")
    {
        found.may_reset("session_authorization");
        return found.may_reset("role");
    }
    let resets = Resets::of(tokens);
    match &resets {
        Resets::None => found.any = true,
        Resets::Names(names) => names.iter().for_each(|name| found.add(name)),
        Resets::All | Resets::Everything => {}
    }
    let of = if within { &mut found.may_reset } else { &mut found.resets };
    of.add(resets);
}

pub(crate) fn setting_name(tokens: &[Token<'_>]) -> Option<String> {
    let mut name = String::new();
    for token in tokens {
        match token.kind {
            Kind::Word => {
                name.push_str(&std::str::from_utf8(token.text).ok()?.to_ascii_lowercase());
            }
            Kind::QuotedIdentifier => {
                name.push_str(&std::str::from_utf8(token.unquoted()).ok()?.replace("\"\"", "\""));
            }
            Kind::Dot => name.push('.'),
            _ => return None,
        }
        if name.len() > MAX_NAME {
            return None;
        }
    }
    (!name.is_empty()).then_some(name)
}

/// A call of `set_config` that begins here, and those of functions that call it.
fn call(tokens: &[Token<'_>], found: &mut Touched) {
    let [name, open, arguments @ ..] = tokens else { return };
    if open.kind != Kind::Open {
        return;
    }
    if is_function(name, b"set_limit") {
        return found.add("pg_trgm.similarity_threshold");
    }
    if !is_function(name, b"set_config") || is_off("set_config") {
        return;
    }
    let value = match arguments {
        [name, arrow, ..]
            if name.is_word(b"setting_name") && matches!(arrow.text, b"=>" | b":=") =>
        {
            arguments.get(2..).unwrap_or_default()
        }
        _ => arguments,
    };
    let arguments = value;
    if is_local(arguments) {
        let name = arguments.first().and_then(string);
        return found.local.add(Local::of(name));
    }
    let Some(value) = arguments.first().filter(|_| is_alone(&arguments[1..])) else {
        found.any = true;
        return;
    };
    match (parameter(value), string(value)) {
        (Some(number), _) if found.parameters.len() < MAX_NAMES => found.parameters.push(number),
        (None, Some(name)) if resets(arguments) => found.may_reset(name),
        (None, Some(name)) => found.add(name),
        _ => match the_one_listed(arguments) {
            Some(name) => found.add(name),
            None => found.any = true,
        },
    }
}

/// Whether nothing is made of the first argument, behind which these stand, but a cast that changes nothing.
fn is_alone(behind: &[Token<'_>]) -> bool {
    let is_text = |token: &Token<'_>| token.is_word(b"text") || token.is_word(b"varchar");
    match behind {
        [comma, ..] if comma.kind == Kind::Comma => true,
        [cast, name, comma, ..] if cast.kind == Kind::Cast && comma.kind == Kind::Comma => {
            is_text(name)
        }
        [cast, schema, dot, name, comma, ..]
            if cast.kind == Kind::Cast && dot.kind == Kind::Dot && comma.kind == Kind::Comma =>
        {
            schema.is_word(b"pg_catalog") && is_text(name)
        }
        _ => false,
    }
}

/// The name in `set_config(name, ...) FROM pg_settings WHERE name = '...'`, behind which nothing comes. That is how
/// `pg_dump` sets what its server may not have.
fn the_one_listed<'a>(arguments: &[Token<'a>]) -> Option<&'a str> {
    let mut depth = 0;
    let close = arguments.iter().take(FEW).position(|token| {
        depth += i32::from(token.kind == Kind::Open) - i32::from(token.kind == Kind::Close);
        depth < 0
    })?;
    let behind = arguments.get(close + 1..)?;
    let behind = behind.get(..FEW).unwrap_or(behind);
    let end = behind.iter().position(|token| token.kind == Kind::Semicolon).unwrap_or(behind.len());
    let (from, rest) = behind[..end].split_first()?;
    let rest = match rest {
        [schema, dot, rest @ ..] if schema.is_word(b"pg_catalog") && dot.kind == Kind::Dot => rest,
        rest => rest,
    };
    let [settings, condition, column, equals, value] = rest else { return None };
    let is_it = from.is_word(b"from")
        && settings.is_word(b"pg_settings")
        && condition.is_word(b"where")
        && arguments[0].is_word(b"name")
        && column.is_word(b"name")
        && equals.text == b"=";
    string(value).filter(|_| is_it)
}

/// Whether the last of three arguments says that the value is for the transaction alone.
fn is_local(arguments: &[Token<'_>]) -> bool {
    let mut depth = 0;
    let mut commas = Vec::new();
    for (at, token) in arguments.iter().take(FEW).enumerate() {
        match token.kind {
            Kind::Open => depth += 1,
            Kind::Close if depth == 0 => {
                let [_, last] = commas[..] else { return false };
                return matches!(&arguments[last + 1..at], [word] if word.is_word(b"true"));
            }
            Kind::Close => depth -= 1,
            Kind::Comma if depth == 0 => commas.push(at),
            _ => {}
        }
    }
    false
}

/// Whether the argument behind the name is NULL, which means the default.
fn resets(value: &[Token<'_>]) -> bool {
    let comma = value.iter().take(FEW).position(|token| token.kind == Kind::Comma);
    comma.and_then(|at| value.get(at + 1)).is_some_and(|token| token.is_word(b"null"))
}

/// The number of `$1`.
pub(crate) fn parameter(token: &Token<'_>) -> Option<u16> {
    let digits = token.text.strip_prefix(b"$").filter(|_| token.kind == Kind::Parameter)?;
    std::str::from_utf8(digits).ok()?.parse().ok()
}

pub(crate) fn is_function(token: &Token<'_>, name: &[u8]) -> bool {
    token.is_word(name) || (token.kind == Kind::QuotedIdentifier && token.unquoted() == name)
}

/// The value of a string that is spelled as it is: no name of a setting needs more.
pub(crate) fn string<'a>(token: &Token<'a>) -> Option<&'a str> {
    let plain = |byte: &u8| {
        (byte.is_ascii_graphic() || byte.is_ascii_whitespace()) && !matches!(byte, b'\'' | b'\\')
    };
    let inner = body(token)?;
    inner.iter().all(plain).then(|| std::str::from_utf8(inner).ok()).flatten()
}

/// What stands between the quotes of a string.
pub(crate) fn body<'a>(token: &Token<'a>) -> Option<&'a [u8]> {
    let text = match token.kind {
        Kind::Text | Kind::EscapeText => {
            let open = text_open(token.text)?;
            token.text.get(open..)?
        }
        Kind::DollarText => {
            let tag = token.text.iter().skip(1).position(|byte| *byte == b'$')? + 2;
            return token.text.get(tag..token.text.len().checked_sub(tag)?);
        }
        _ => return None,
    };
    text.strip_suffix(b"'")
}

fn text_open(text: &[u8]) -> Option<usize> {
    text.iter().position(|byte| *byte == b'\'').map(|at| at + 1)
}

/// Settings of the transaction at hand, and one that has no value to come back to.
const NOT_OF_THE_SESSION: [&str; 4] =
    ["transaction_isolation", "transaction_read_only", "transaction_deferrable", "seed"];

/// Settings that RESET ALL leaves alone (`GUC_NO_RESET_ALL`).
const NOT_OF_ALL: [&str; 2] = ["role", "session_authorization"];

/// Names kept of one text, and of one lease.
pub const MAX_NAMES: usize = 64;

/// PostgreSQL has no longer names of settings that anybody uses.
const MAX_NAME: usize = 256;

/// Tokens of a text that are looked at.
const MAX_TOKENS: usize = 16_384;

/// Bytes of code within one text that are read, over and over where it nests. A text has a MiB at most.
const MAX_READ: usize = 4 << 20;

/// How many times of itself that is, of a function's body.
const MAX_TIMES: usize = 16;

/// Tokens behind a word that are looked through.
const FEW: usize = 64;

/// How deep code is looked for within code.
const MAX_DEPTH: u8 = 3;

#[cfg(test)]
mod tests {
    use super::super::effects::Effects;
    use super::super::lexer::LOOKS;
    use super::*;

    fn names(text: &str) -> String {
        let found = touched(text.as_bytes(), &Options::default());
        let mut shown: Vec<String> = found.names.iter().map(ToString::to_string).collect();
        shown.extend(found.parameters.iter().map(|number| format!("${number}")));
        if found.any {
            shown.push("?".into());
        }
        for (sign, resets) in [("-", &found.resets), ("~", &found.may_reset)] {
            match resets {
                Resets::None => {}
                Resets::All => shown.push(format!("{sign}*")),
                Resets::Everything => shown.push(format!("{sign}**")),
                Resets::Names(names) => {
                    shown.extend(names.iter().map(|name| format!("{sign}{name}")));
                }
            }
        }
        shown.join(" ")
    }

    #[test]
    fn names_are_found_and_values_are_not_looked_at() {
        for (text, expected) in [
            ("set work_mem = '7MB'", "work_mem"),
            ("SET SESSION Work_Mem TO 5; set app.tenant = 'a'", "work_mem app.tenant"),
            ("set App.\"Tenant\" = 'a'; reset APP.tenant", "app.Tenant -app.tenant"),
            ("set local work_mem = 5", ""),
            ("set local.x = 5; set session.y to 1", "local.x session.y"),
            ("set time zone 'UTC'; set names 'UTF8'", "timezone client_encoding"),
            ("set time zone local", "timezone ~timezone"),
            ("set schema 'x'; set role r", "search_path role"),
            ("set session authorization x", "session_authorization role"),
            (
                "set session authorization default",
                "session_authorization role ~session_authorization ~role",
            ),
            ("set role none", "role"),
            (
                "set session characteristics as transaction read only",
                "default_transaction_isolation default_transaction_read_only \
                 default_transaction_deferrable",
            ),
            ("set transaction isolation level serializable; set constraints all deferred", ""),
            ("set xml option document; set seed to 0.5", "xmloption"),
            ("set x = default; set session y to default", "x y ~x ~y"),
            ("set x = 'default'", "x"),
            ("set x=-3; set y=+200; set my.x=-0.5; set z=default", "x y my.x z ~z"),
            ("reset all", "-*"),
            (" DISCARD ALL;", "-** ~**"),
            ("select 1; DISCARD ALL;", ""),
            ("RESET work_mem; reset Time Zone", "work_mem timezone -work_mem -timezone"),
            (
                "reset role; reset session authorization",
                "role session_authorization -role ~session_authorization ~role",
            ),
            ("select set_config('work_mem', '7MB', false)", "work_mem"),
            ("select pg_catalog.set_config($1, $2, false)", "$1"),
            ("select set_config(setting_name => 'a.b', new_value => 'x', is_local => f)", "a.b"),
            ("select set_config(E'wo\\x72k', 'x', false)", "?"),
            ("select set_config('work_mem'::text, 'x', false)", "work_mem"),
            ("select set_config('a.b', null, false)", "a.b ~a.b"),
            ("select set_config(key, f(value, 1), true) from x", ""),
            ("SELECT set_config(name, 'a, b', false) FROM pg_settings WHERE name = 'a_b'", "a_b"),
            (
                "select set_config(name, f('x'), false) from pg_catalog.pg_settings where name = 'a_b'; select 1",
                "a_b",
            ),
            ("select set_config(name, 'x', false) from pg_settings where name = 'a' or true", "?"),
            ("select set_config(name, 'x', false) from pg_settings where name <> 'a'", "?"),
            ("select set_config(name, 'x', false) from pg_settings", "?"),
            ("select set_config(name || 'b', 'x', false) from pg_settings where name = 'a'", "?"),
            ("select set_config(setting, 'x', false) from pg_settings where name = 'a'", "?"),
            ("select set_config(key, value, not true) from x", "?"),
            ("do $$ declare c text := 'set work_mem = 1'; begin execute c; end $$", "work_mem"),
            ("do $$ begin execute a || b; perform f('reset a.b'); end $$", "a.b ~a.b"),
            ("do $$ begin if x then reset a.b; end if; reset all; end $$", "a.b ~*"),
            ("select set_limit(0.5)", "pg_trgm.similarity_threshold"),
            ("do $$ begin perform set_config('x.y', '1', false); end $$", "x.y"),
            ("do $$ begin if true then set work_mem = 5; end if; end $$", "work_mem"),
            ("do $$ begin execute 'set work_mem = 5'; end $$", "work_mem"),
            ("do $$ begin execute 'set ' || x || ' = 5'; end $$", "?"),
            ("do $$ begin execute format('drop table %I', t); end $$", ""),
            ("do $$ begin update t set a = 1; end $$", ""),
            ("do 'begin execute ''set a.b = 1''; end'", "a.b"),
            ("select 'set x = 1; set_config('", ""),
        ] {
            assert_eq!(names(text), expected, "{text}");
        }
    }

    #[test]
    fn a_name_that_something_is_made_of_is_any() {
        for (name, expected) in [
            ("'a' || 'b'", "?"),
            ("$1::pg_catalog.varchar", "$1"),
            ("'app.'::text || 'b'", "?"),
            ("$1::text || '.b'", "?"),
            ("'work_mem_x'::varchar(8)", "?"),
        ] {
            let text = format!("select set_config({name}, 'x', false)");
            assert_eq!(names(&text), expected, "{text}");
        }
    }

    #[test]
    fn what_code_executes_is_told_by_its_first_word() {
        for (executed, expected) in [
            ("format('update %I set n = n + 1 where a = $1', tbl) using k", ""),
            ("format('set local app.tenant = %L', t)", ""),
            ("'set local app.tenant = ''x'''", ""),
            ("format('set local role %I', r)", ""),
            ("format('alter table %I alter a set default 1', t)", ""),
            ("format('alter role %I set x = 1', r)", ""),
            ("format('select 1 offset %s', 0)", ""),
            ("format('select ''asset'' from %I', 'pg_class')", ""),
            ("format('create function f() returns int set x = 1 language sql as %L', b)", ""),
            ("'insert into ' || t || ' values (1) on conflict do update set a = ' || b", ""),
            ("replace('update @ set a = 1', '@', t)", ""),
            ("case when a then 'update t set a = 1' else reset_query end", ""),
            ("dataset_query || ' offset 1'", ""),
            ("a_variable", ""),
            ("'set ' || name || ' = 1'", "?"),
            ("format('set %I = %L', name, value)", "?"),
            ("format('%s set %I = 1', a, b)", "?"),
            ("format('select 1; set %I = 1', b)", "?"),
            ("e'\\163et \\x78 = 1'", "x"),
            ("a || ' reset ' || b", "?"),
            ("format('select set_config(%L, %L, false)', name, value)", "?"),
            ("format('do $x$ begin set %I = 1; end $x$', name)", "?"),
            ("format('select set_config(''app.x'', %L, false)', value)", "app.x"),
            ("format('set app.tenant = %L', t)", "app.tenant"),
            ("format('reset %I', t)", "?"),
            ("'reset work_mem; reset all'", "work_mem ~*"),
            ("replace('set app.tenant = @', '@', t)", "app.tenant"),
            ("replace('set @ = 1', '@', t)", "?"),
            ("case when a then 'set x = 1' else 'set y = ' || b end", "x y"),
        ] {
            for (open, close) in [
                ("execute ", ""),
                ("if a then execute ", "; end if"),
                ("for r in execute ", " loop null; end loop"),
                ("return query execute ", ""),
            ] {
                let code = format!("do $do$ begin {open}{executed}{close}; end $do$");
                assert_eq!(names(&code), expected, "{code}");
            }
        }
    }

    #[test]
    fn settings_of_the_transaction_are_told_apart() {
        let local = |text: &str| touched(text.as_bytes(), &Options::default()).local.effects();
        let lexing = Effects::LOCAL_TOLD | Effects::LOCAL_LEXING;
        for (text, expected) in [
            ("set local work_mem = 5; set local app.x to a", Effects::PURE),
            ("set local work_mem = 5; set local role x", Effects::LOCAL_NAMING),
            ("select set_config('search_path', $1, true)", Effects::LOCAL_NAMING),
            ("set local timezone to 'UTC'", Effects::LOCAL_TOLD),
            ("set local names 'UTF8'", lexing),
            ("select set_config('array_nulls', 'off', true)", Effects::LOCAL_SETTING),
            ("select set_config('app.tenant', $1, true)", Effects::PURE),
            (
                "select set_config($1, $2, true)",
                lexing | Effects::LOCAL_SETTING | Effects::LOCAL_NAMING,
            ),
            ("do $$ begin set local standard_conforming_strings = off; end $$", lexing),
        ] {
            assert_eq!(local(text), expected, "{text}");
        }
    }

    #[test]
    fn code_of_any_shape_is_looked_at_by_its_length() {
        let looks = |word: &str, times: usize| {
            let text = format!("select {}", format!("{word} x ").repeat(times));
            let before = LOOKS.get();
            touched_by_code(text.as_bytes());
            LOOKS.get() - before
        };
        for word in [
            "then",
            "begin set",
            "else reset",
            "loop do 'a'",
            "then execute a",
            "set_config(",
            "set_config('a'::t",
            "set_config(a, b),",
            "then\x01",
            "begin\x01 set",
        ] {
            let (once, twice) = (looks(word, 1_000), looks(word, 2_000));
            assert!(twice <= once * 21 / 10, "{word}: {once} looks, {twice} at twice the length");
        }
    }

    #[test]
    fn strings_that_code_may_run_are_read() {
        let found = |text: &str| touched_by_strings(text.as_bytes(), &Options::default());
        let found_in = |text: &str| (found(text).names.join(" "), found(text).any);
        let run = "select run('set app.tenant = 1'), run($$reset work_mem$$), 'offset'";
        assert_eq!(found_in(run), ("app.tenant work_mem".to_owned(), false));
        assert_eq!(
            found_in("select run('set ' || $1), run('Set up 3 things')"),
            (String::new(), false)
        );
        assert_eq!(found_in("set x = 1"), (String::new(), false), "that is no string");
    }

    #[test]
    fn a_text_in_an_encoding_that_hides_quotes_may_set_anything() {
        let options = Options { multibyte_unsafe: true, ..Options::default() };
        assert!(touched(b"SeT x = 1", &options).any);
        assert!(!touched(b"select 1", &options).any);
    }

    #[test]
    fn what_is_too_much_is_anything() {
        let many: Vec<_> = (0..=MAX_NAMES).map(|i| format!("set x{i} = 1")).collect();
        let found = touched(many.join(";").as_bytes(), &Options::default());
        assert!(found.any && found.names.len() == MAX_NAMES);
    }
}
