//! Cuts SQL into tokens where PostgreSQL's own lexer does (`src/backend/parser/scan.l`).
//!
//! Works on bytes, in one pass, copies nothing and never fails: what has no end is an
//! [`Kind::Unterminated`] token, and nothing follows it. Where versions differ (13 to 18), texts that
//! all of them accept are cut alike; a text that the server's lexer refuses is not run at all.

use memchr::memchr;

/// What a token is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// No token: what stands before the first one of a statement.
    Start,
    /// An identifier or keyword without quotes; to be compared without case.
    Word,
    /// `"..."`.
    QuotedIdentifier,
    /// `U&"..."`, whose name the escapes in it spell.
    UnicodeIdentifier,
    /// `'...'` without escapes (also the string of `N'...'`).
    Text,
    /// `E'...'`, or `'...'` when `standard_conforming_strings` is off.
    EscapeText,
    /// `U&'...'`.
    UnicodeText,
    /// `$tag$...$tag$`.
    DollarText,
    /// `B'...'` or `X'...'`.
    Bits,
    /// A number, without its sign.
    Number,
    /// `$1`.
    Parameter,
    /// An operator.
    Operator,
    /// `::`.
    Cast,
    /// `(`.
    Open,
    /// `)`.
    Close,
    /// `[`.
    OpenBracket,
    /// `]`.
    CloseBracket,
    /// `,`.
    Comma,
    /// `.`.
    Dot,
    /// `;`.
    Semicolon,
    /// `:` or `:=`.
    Colon,
    /// A byte that begins no token; PostgreSQL refuses the text.
    Other,
    /// A string, identifier or comment without its end; PostgreSQL refuses the text.
    Unterminated,
}

/// One token and its bytes, prefix and quotes included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Token<'a> {
    /// What it is.
    pub kind: Kind,
    /// The bytes it covers.
    pub text: &'a [u8],
}

impl<'a> Token<'a> {
    /// The place before the first token.
    pub const START: Self = Token { kind: Kind::Start, text: b"" };

    /// Whether this is the keyword `lower`, in any case.
    pub fn is_word(&self, lower: &[u8]) -> bool {
        #[cfg(test)]
        LOOKS.set(LOOKS.get() + 1);
        self.kind == Kind::Word && self.text.eq_ignore_ascii_case(lower)
    }

    /// Whether this names something.
    pub fn is_identifier(&self) -> bool {
        matches!(self.kind, Kind::Word | Kind::QuotedIdentifier | Kind::UnicodeIdentifier)
    }

    /// The name between the quotes of a quoted identifier, doubled quotes still doubled.
    pub fn unquoted(&self) -> &'a [u8] {
        let inner = self.text.strip_prefix(b"\"").and_then(|rest| rest.strip_suffix(b"\""));
        inner.unwrap_or(self.text)
    }
}

/// An iterator over the tokens of a text, blanks and comments left out.
#[derive(Debug, Clone)]
pub struct Lexer<'a> {
    rest: &'a [u8],
    conforming: bool,
    /// Signs at hand, each an operator of its own.
    signs: usize,
}

impl<'a> Lexer<'a> {
    /// Starts at the beginning; the text ends at its first NUL, as it does for PostgreSQL.
    pub fn new(text: &'a [u8], standard_conforming_strings: bool) -> Self {
        let rest = memchr(0, text).and_then(|end| text.get(..end)).unwrap_or(text);
        Self { rest, conforming: standard_conforming_strings, signs: 0 }
    }

    fn take(&mut self, kind: Kind, len: usize) -> Token<'a> {
        let (text, rest) = self.rest.split_at_checked(len).unwrap_or((self.rest, b""));
        self.rest = rest;
        Token { kind, text }
    }

    /// A token up to `end`; without one, everything left is broken.
    fn take_closed(&mut self, kind: Kind, end: Option<usize>) -> Token<'a> {
        match end {
            Some(end) => self.take(kind, end),
            None => self.take(Kind::Unterminated, self.rest.len()),
        }
    }

    fn word(&mut self) -> Token<'a> {
        if let Some(b'\'' | b'&') = self.rest.get(1)
            && let Some(token) = self.prefixed()
        {
            return token;
        }
        self.take(Kind::Word, run(self.rest, WORD))
    }

    /// A string or identifier that begins with a letter of its own.
    fn prefixed(&mut self) -> Option<Token<'a>> {
        let (kind, end) = match self.rest {
            [b'e' | b'E', b'\'', ..] => (Kind::EscapeText, string_end(self.rest, 2, Rule::Escape)),
            [b'b' | b'B' | b'x' | b'X', b'\'', ..] => {
                (Kind::Bits, string_end(self.rest, 2, Rule::Bits))
            }
            // Refused by PostgreSQL while strings are not conforming; read it as an error.
            [b'u' | b'U', b'&', b'\'', ..] if !self.conforming => (Kind::Unterminated, None),
            [b'u' | b'U', b'&', b'\'', ..] => {
                (Kind::UnicodeText, string_end(self.rest, 3, Rule::Plain))
            }
            [b'u' | b'U', b'&', b'"', ..] => {
                (Kind::UnicodeIdentifier, identifier_end(self.rest, 3))
            }
            _ => return None,
        };
        Some(self.take_closed(kind, end))
    }

    fn text(&mut self) -> Token<'a> {
        let (kind, rule) = if self.conforming {
            (Kind::Text, Rule::Plain)
        } else {
            (Kind::EscapeText, Rule::Escape)
        };
        self.take_closed(kind, string_end(self.rest, 1, rule))
    }

    fn dollar(&mut self) -> Token<'a> {
        let after = self.rest.get(1..).unwrap_or_default();
        if after.first().is_some_and(u8::is_ascii_digit) {
            return self.take(Kind::Parameter, 1 + run(after, DIGIT));
        }
        let tag = match after.first() {
            Some(first) if has(*first, START_OF_WORD) => run(after, TAG),
            _ => 0,
        };
        match after.get(tag) {
            Some(b'$') => self.take_closed(Kind::DollarText, dollar_end(self.rest, tag + 2)),
            _ => self.take(Kind::Other, 1),
        }
    }

    fn dot(&mut self) -> Token<'a> {
        match self.rest.get(1) {
            Some(next) if next.is_ascii_digit() => self.number(),
            _ => self.take(Kind::Dot, 1),
        }
    }

    /// Digits, a fraction, an exponent. What follows (`0x1F`, `1_000`) becomes a word, which is
    /// harmless, and which keeps `1e'...'` a string as it is before PostgreSQL 15.
    fn number(&mut self) -> Token<'a> {
        let mut len = run(self.rest, DIGIT);
        let fraction = self.rest.get(len..).unwrap_or_default();
        if fraction.first() == Some(&b'.') && fraction.get(1) != Some(&b'.') {
            len += 1 + run(fraction.get(1..).unwrap_or_default(), DIGIT);
        }
        len += match self.rest.get(len..).unwrap_or_default() {
            [b'e' | b'E', b'+' | b'-', digits @ ..] if run(digits, DIGIT) > 0 => {
                2 + run(digits, DIGIT)
            }
            [b'e' | b'E', digits @ ..] if run(digits, DIGIT) > 0 => 1 + run(digits, DIGIT),
            _ => 0,
        };
        self.take(Kind::Number, len)
    }

    fn colon(&mut self) -> Token<'a> {
        match self.rest.get(1) {
            Some(b':') => self.take(Kind::Cast, 2),
            Some(b'=') => self.take(Kind::Colon, 2),
            _ => self.take(Kind::Colon, 1),
        }
    }

    /// An operator ends where a comment begins, and with no sign unless it has a character that no operator of
    /// standard SQL has (`sql-syntax-lexical.html#SQL-SYNTAX-OPERATORS`): `=-1` is `= -1`. The signs are kept in mind,
    /// so that no byte is looked at again for each of them.
    fn operator(&mut self) -> Token<'a> {
        if let Some(left) = self.signs.checked_sub(1) {
            self.signs = left;
            return self.take(Kind::Operator, 1);
        }
        let whole = run(self.rest, OPERATOR);
        let run = self.rest.get(..whole).unwrap_or_default();
        let comment = run.windows(2).position(|pair| pair == b"--" || pair == b"/*");
        let len = comment.unwrap_or(whole).max(1);
        self.signs = signs(run.get(..len).unwrap_or_default());
        self.take(Kind::Operator, len - self.signs)
    }

    /// An operator, unless it begins a comment: then nothing, or a comment without its end.
    fn comment_or_operator(&mut self) -> Option<Token<'a>> {
        let end = match self.rest {
            [b'-', b'-', ..] => Some(line_comment(self.rest)),
            [b'/', b'*', ..] => block_comment(self.rest),
            _ => return Some(self.operator()),
        };
        let Some(end) = end else {
            return Some(self.take_closed(Kind::Unterminated, None));
        };
        self.take(Kind::Start, end);
        None
    }
}

impl<'a> Iterator for Lexer<'a> {
    type Item = Token<'a>;

    #[expect(clippy::inline_always, reason = "a quarter of classify's time is passing tokens")]
    #[inline(always)]
    fn next(&mut self) -> Option<Token<'a>> {
        loop {
            let first = *self.rest.first()?;
            return Some(match first {
                b' ' | b'\t' | b'\n' | b'\r' | 0x0b | 0x0c => {
                    self.rest = self.rest.get(1..).unwrap_or_default();
                    continue;
                }
                _ if has(first, START_OF_WORD) => self.word(),
                b'0'..=b'9' => self.number(),
                b'\'' => self.text(),
                b'"' => self.take_closed(Kind::QuotedIdentifier, identifier_end(self.rest, 1)),
                b'$' => self.dollar(),
                b'.' => self.dot(),
                b':' => self.colon(),
                b'(' => self.take(Kind::Open, 1),
                b')' => self.take(Kind::Close, 1),
                b'[' => self.take(Kind::OpenBracket, 1),
                b']' => self.take(Kind::CloseBracket, 1),
                b',' => self.take(Kind::Comma, 1),
                b';' => self.take(Kind::Semicolon, 1),
                _ if has(first, OPERATOR) => match self.comment_or_operator() {
                    Some(token) => token,
                    None => continue,
                },
                _ => self.take(Kind::Other, 1),
            });
        }
    }
}

/// What ends a string besides a quote of its own.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Rule {
    /// A doubled quote is one quote.
    Plain,
    /// And a backslash takes the next byte along.
    Escape,
    /// Neither: two quotes end one string and begin the next.
    Bits,
}

/// Where the string whose content begins at `content` ends, its continuations included
/// (`sql-syntax-lexical.html#SQL-SYNTAX-STRINGS`). They keep the rule of the first part.
fn string_end(text: &[u8], content: usize, rule: Rule) -> Option<usize> {
    let mut at = content;
    loop {
        at += segment_end(text.get(at..)?, rule)?;
        match continuation(text.get(at..)?) {
            Some(len) => at += len,
            None => return Some(at),
        }
    }
}

/// The bytes up to and with the closing quote.
fn segment_end(text: &[u8], rule: Rule) -> Option<usize> {
    let escapes = rule == Rule::Escape;
    let mut at = 0;
    loop {
        let rest = text.get(at..)?;
        let hit = rest.iter().position(|byte| *byte == b'\'' || (escapes && *byte == b'\\'))?;
        match rest.get(hit..)? {
            [b'\'', b'\'', ..] if rule != Rule::Bits => at += hit + 2,
            [b'\'', ..] => return Some(at + hit + 1),
            _ => at += hit + 2,
        }
    }
}

/// Blanks with a line end in them, then a quote: the string goes on. Line comments may stand between.
fn continuation(text: &[u8]) -> Option<usize> {
    let mut at = 0;
    let mut line_end = false;
    loop {
        match text.get(at..)? {
            [b'\n' | b'\r', ..] => {
                line_end = true;
                at += 1;
            }
            [b' ' | b'\t' | 0x0b | 0x0c, ..] => at += 1,
            rest @ [b'-', b'-', ..] => at += line_comment(rest),
            [b'\'', ..] if line_end => return Some(at + 1),
            _ => return None,
        }
    }
}

/// Where a quoted identifier ends whose name begins at `content`.
fn identifier_end(text: &[u8], content: usize) -> Option<usize> {
    let mut at = content;
    loop {
        let rest = text.get(at..)?;
        let hit = rest.iter().position(|byte| *byte == b'"')?;
        match rest.get(hit + 1) {
            Some(b'"') => at += hit + 2,
            _ => return Some(at + hit + 1),
        }
    }
}

/// Where a dollar-quoted string ends whose opening delimiter has `delimiter` bytes. A tag holds no `$`,
/// so no byte is compared with more than one attempt at the delimiter: the search is linear.
fn dollar_end(text: &[u8], delimiter: usize) -> Option<usize> {
    let (open, _) = text.split_at_checked(delimiter)?;
    let mut at = delimiter;
    loop {
        let rest = text.get(at..)?;
        at += rest.iter().position(|byte| *byte == b'$')?;
        if text.get(at..)?.starts_with(open) {
            return Some(at + delimiter);
        }
        at += 1;
    }
}

fn line_comment(text: &[u8]) -> usize {
    text.iter().position(|byte| matches!(byte, b'\n' | b'\r')).unwrap_or(text.len())
}

/// Block comments nest (`sql-syntax-lexical.html#SQL-SYNTAX-COMMENTS`).
fn block_comment(text: &[u8]) -> Option<usize> {
    let mut at = 0;
    let mut depth = 0_usize;
    loop {
        match text.get(at..)? {
            [b'/', b'*', ..] => {
                depth += 1;
                at += 2;
            }
            [b'*', b'/', ..] => {
                depth -= 1;
                at += 2;
                if depth == 0 {
                    return Some(at);
                }
            }
            _ => at += 1,
        }
    }
}

/// How many signs at the end are none of the operator's.
fn signs(operator: &[u8]) -> usize {
    let behind = operator.iter().skip(1).rev();
    let signs = behind.take_while(|byte| matches!(byte, b'+' | b'-')).count();
    let keeps = signs > 0 && operator.iter().any(|byte| KEEPS_SIGNS.contains(byte));
    if keeps { 0 } else { signs }
}

/// How many bytes from the start are of the class.
#[inline]
fn run(text: &[u8], class: u8) -> usize {
    let mut len = 0;
    while let Some(byte) = text.get(len)
        && has(*byte, class)
    {
        len += 1;
    }
    len
}

#[inline]
fn has(byte: u8, class: u8) -> bool {
    CLASSES[usize::from(byte)] & class != 0
}

/// An operator with one of these may end with a sign.
const KEEPS_SIGNS: &[u8] = b"~!@#^&|`?%";

const START_OF_WORD: u8 = 1;
const WORD: u8 = 2;
const DIGIT: u8 = 4;
const OPERATOR: u8 = 8;
/// What the tag of a dollar quote may hold: a word without `$`.
const TAG: u8 = 16;

static CLASSES: [u8; 256] = classes();

const fn classes() -> [u8; 256] {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] = match byte as u8 {
            b'a'..=b'z' | b'A'..=b'Z' | b'_' | 0x80.. => START_OF_WORD | WORD | TAG,
            b'0'..=b'9' => WORD | DIGIT | TAG,
            b'$' => WORD,
            b'~' | b'!' | b'@' | b'#' | b'^' | b'&' | b'|' | b'`' | b'?' | b'+' | b'-' | b'*'
            | b'/' | b'%' | b'<' | b'>' | b'=' => OPERATOR,
            _ => 0,
        };
        byte += 1;
    }
    table
}

#[cfg(test)]
std::thread_local! {
    /// How often a token was compared with a word: what reading costs, on whatever machine.
    pub(crate) static LOOKS: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
}
