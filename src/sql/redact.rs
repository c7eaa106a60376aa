//! A text as it may be shown to others: without its constants.

use super::classify::Options;
use super::lexer::{Kind, Lexer, Token};

/// A text for logs and tables, at most `most` bytes of it: names and keywords stay, `?` stands for every
/// constant. Comments are left out, for anything may be in them, and so is what follows `=` or TO in a
/// SET, whose value may be a word without quotes (`sql-set.html`).
pub fn redact(text: &[u8], options: &Options<'_>, most: usize) -> String {
    if options.multibyte_unsafe {
        return UNREADABLE.to_owned();
    }
    let read = text.get(..MAX_READ).unwrap_or(text);
    let cut = read.len() < text.len();
    let mut shown = Redacted { out: String::new(), last: Token::START, value: Value::Elsewhere };
    for token in Lexer::new(read, options.standard_conforming_strings) {
        shown.add(token);
        if shown.out.len() > most {
            return shorten(shown.out, most);
        }
    }
    if cut || options.truncated {
        shown.out.push_str(ELLIPSIS);
    }
    shorten(shown.out, most)
}

struct Redacted<'a> {
    out: String,
    last: Token<'a>,
    value: Value,
}

/// Where in a statement a value may stand that is no constant by its looks.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Value {
    /// Before its first word.
    Elsewhere,
    /// In a statement that may set something.
    Setter,
    /// Behind SET.
    Named,
    /// Behind `=` or TO there: the rest is the value.
    Here,
    /// In a statement that sets nothing.
    Nowhere,
}

impl<'a> Redacted<'a> {
    fn add(&mut self, token: Token<'a>) {
        let adjacent = self.last.text.as_ptr_range().end == token.text.as_ptr();
        let number = adjacent && self.last.kind == Kind::Number && token.kind == Kind::Word;
        let hidden = self.value == Value::Here && token.kind != Kind::Semicolon;
        let constant = hidden || is_constant(token.kind);
        let repeated = constant && self.out.ends_with('?') && (hidden || adjacent);
        self.value = self.value.after(&token);
        self.last = if number { Token { kind: Kind::Number, ..token } } else { token };
        // The rest of `0x1F` or `1_000`, and the further words of a value.
        if number || repeated {
            return;
        }
        if !adjacent && !self.out.is_empty() {
            self.out.push(' ');
        }
        if constant {
            self.out.push('?');
        } else {
            let text = String::from_utf8_lossy(token.text);
            self.out.extend(text.chars().map(|c| if c.is_control() { ' ' } else { c }));
        }
    }
}

impl Value {
    fn after(self, token: &Token<'_>) -> Self {
        let is = |words: &[&[u8]]| words.iter().any(|word| token.is_word(word));
        match self {
            _ if token.kind == Kind::Semicolon => Self::Elsewhere,
            Self::Elsewhere if is(&[b"set"]) => Self::Named,
            Self::Elsewhere if is(&[b"alter", b"create"]) => Self::Setter,
            Self::Elsewhere => Self::Nowhere,
            Self::Setter if is(&[b"set"]) => Self::Named,
            Self::Named if is(&[b"to"]) || token.text == b"=" || token.text == b":=" => Self::Here,
            other => other,
        }
    }
}

fn is_constant(kind: Kind) -> bool {
    match kind {
        Kind::Text
        | Kind::EscapeText
        | Kind::UnicodeText
        | Kind::DollarText
        | Kind::Bits
        | Kind::Number
        | Kind::Other
        // It may be a string.
        | Kind::Unterminated => true,
        Kind::Start
        | Kind::Word
        | Kind::QuotedIdentifier
        | Kind::UnicodeIdentifier
        | Kind::Parameter
        | Kind::Operator
        | Kind::Cast
        | Kind::Open
        | Kind::Close
        | Kind::OpenBracket
        | Kind::CloseBracket
        | Kind::Comma
        | Kind::Dot
        | Kind::Semicolon
        | Kind::Colon => false,
    }
}

fn shorten(mut text: String, most: usize) -> String {
    if text.len() > most {
        let end = text.floor_char_boundary(most.saturating_sub(ELLIPSIS.len()));
        text.truncate(end);
        text.push_str(ELLIPSIS);
    }
    text
}

const ELLIPSIS: &str = "...";

const UNREADABLE: &str = "(not readable in this client_encoding)";

/// Bytes of a text that are looked at.
const MAX_READ: usize = 4 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> String {
        redact(text.as_bytes(), &Options::default(), 200)
    }

    #[test]
    fn constants_become_question_marks() {
        let cases = [
            (
                "create temp table t (a int default 5, b text)",
                "create temp table t (a int default ?, b text)",
            ),
            (
                "select set_config('app.' || 'secret', 'hunter2', false)",
                "select set_config(? || ?, ?, false)",
            ),
            (
                "select E'a\\'b', U&'x', B'01', x'1F', N'y', $$z$$, $t$q$t$",
                "select ?, ?, ?, ?, N?, ?, ?",
            ),
            ("select 0x1F, 1_000, 1.5e3, -7, $1", "select ?, ?, ?, -?, $1"),
            ("select /* hunter2 */ 1 -- hunter2\n, 'a'\n'b'", "select ? , ?"),
            ("listen \"Chan nel\";\n\t unlisten *", "listen \"Chan nel\"; unlisten *"),
            ("set app.token = hunter2, hunter3; listen x", "set app.token = ?; listen x"),
            ("SET app.token TO hunter2", "SET app.token TO ?"),
            ("alter role a set app.token = hunter2", "alter role a set app.token = ?"),
            ("update t set a = b where c = 'd'", "update t set a = b where c = ?"),
            ("select 'hunter2", "select ?"),
            ("select 1\0hunter2", "select ?"),
            ("", ""),
        ];
        for (text, expected) in cases {
            assert_eq!(shown(text), expected, "{text}");
        }
    }

    #[test]
    fn no_part_of_a_string_is_left_wherever_the_text_is_cut() {
        let text = "select f('hunter2', $x$hunter2$x$, E'\\hunter2'), \"name\" /* hunter2 */";
        for end in 0..text.len() {
            let shown = shown(&text[..end]);
            assert!(!shown.contains("hunt"), "{shown}");
        }
    }

    #[test]
    fn what_is_shown_is_bounded() {
        let text = format!("select {}", "é, ".repeat(10_000));
        let shown = redact(text.as_bytes(), &Options::default(), 100);
        assert!(shown.len() <= 100 && shown.ends_with("..."), "{shown}");
        let long = redact(&b"select 1 ".repeat(1_000), &Options::default(), usize::MAX);
        assert!(long.ends_with("..."));
        let unsafe_text = Options { multibyte_unsafe: true, ..Options::default() };
        assert_eq!(redact(b"select 'x'", &unsafe_text, 100), UNREADABLE);
    }
}
