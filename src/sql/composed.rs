//! Texts that code puts together for its EXECUTE, as far as they stand in it
//! (`plpgsql-statements.html#PLPGSQL-STATEMENTS-EXECUTING-DYN`).
//!
//! Constants are joined, and what `format` is given, `concat` and `||` join; anything else is a [`HOLE`]. So a text
//! says by its first word which command it is, and its holes are where they are in that command.

use super::lexer::{Kind, Token};
use super::touched::body;

/// What stands in the place of a part that the code does not show. It begins no token of PostgreSQL's.
pub(crate) const HOLE: u8 = 1;

/// A text that is put together.
#[derive(Debug, Default)]
pub(crate) struct Composed {
    /// What is known of it.
    pub(crate) text: Vec<u8>,
    /// It begins with what code makes of these, as far as is known.
    pub(crate) made_of: Vec<Vec<u8>>,
}

impl Composed {
    /// What stands behind EXECUTE.
    pub(crate) fn of(tokens: &[Token<'_>]) -> Self {
        let mut composed = Self::default();
        composed.join(expression(tokens), 0);
        composed
    }

    /// Pieces between `||`.
    fn join(&mut self, tokens: &[Token<'_>], depth: u8) {
        for piece in split(tokens, |token| token.text == b"||") {
            self.piece(piece, depth);
        }
    }

    fn piece(&mut self, tokens: &[Token<'_>], depth: u8) {
        let tokens = split(tokens, |token| token.kind == Kind::Cast).next().unwrap_or_default();
        if let [token] = tokens
            && let Some(constant) = constant(token)
        {
            return self.text.extend(constant);
        }
        match call(tokens) {
            _ if tokens.is_empty() => {}
            Some((None, inner)) if depth < MAX_DEPTH => self.join(inner, depth + 1),
            Some((Some(name), arguments)) if name.is_word(b"format") && depth < MAX_DEPTH => {
                self.format(arguments, depth + 1);
            }
            Some((Some(name), arguments)) if name.is_word(b"concat") && depth < MAX_DEPTH => {
                for argument in split(arguments, is_comma) {
                    self.join(argument, depth + 1);
                }
            }
            _ => self.hole(tokens),
        }
    }

    fn hole(&mut self, tokens: &[Token<'_>]) {
        if self.is_at_beginning() {
            self.made_of.extend(tokens.iter().filter_map(constant));
        }
        self.text.push(HOLE);
    }

    /// Nothing is known yet of the statement that is being put together.
    fn is_at_beginning(&self) -> bool {
        let last = self.text.rsplit(|byte| *byte == b';').next().unwrap_or_default();
        last.iter().all(|byte| *byte == HOLE || byte.is_ascii_whitespace())
    }

    /// `functions-string.html#FUNCTIONS-STRING-FORMAT`.
    fn format(&mut self, arguments: &[Token<'_>], depth: u8) {
        let mut given = Self::default();
        given.join(split(arguments, is_comma).next().unwrap_or_default(), depth);
        if self.is_at_beginning() {
            self.made_of.append(&mut given.made_of);
        }
        let mut rest = &given.text[..];
        while let Some(at) = rest.iter().position(|byte| *byte == b'%') {
            let (before, specifier) = rest.split_at(at);
            self.text.extend_from_slice(before);
            let is_flag = |byte: &u8| byte.is_ascii_digit() || matches!(byte, b'$' | b'-' | b'*');
            let flags = specifier.iter().skip(1).take_while(|byte| is_flag(byte)).count();
            let is_percent = specifier.get(1 + flags) == Some(&b'%');
            self.text.push(if is_percent { b'%' } else { HOLE });
            rest = specifier.get(flags + 2..).unwrap_or_default();
        }
        self.text.extend_from_slice(rest);
    }
}

/// The expression that these begin with.
fn expression<'t, 'a>(tokens: &'t [Token<'a>]) -> &'t [Token<'a>] {
    let mut depth = 0;
    let tokens = tokens.get(..MAX_TOKENS).unwrap_or(tokens);
    let end = tokens.iter().position(|token| {
        depth += nesting(token);
        let ends = |word: &&[u8]| token.is_word(word);
        token.kind == Kind::Semicolon || (depth <= 0 && WORDS_BEHIND.iter().any(ends))
    });
    &tokens[..end.unwrap_or(tokens.len())]
}

/// What stands between parentheses, and the name of the function before these.
fn call<'t, 'a>(tokens: &'t [Token<'a>]) -> Option<(Option<&'t Token<'a>>, &'t [Token<'a>])> {
    let open = tokens.iter().position(|token| token.kind == Kind::Open)?;
    let mut depth = 0;
    let close = tokens.iter().skip(open).position(|token| {
        depth += nesting(token);
        depth == 0
    })?;
    let (before, inner) = (&tokens[..open], &tokens[open + 1..open + close]);
    let name = match before {
        [] => None,
        [name] => Some(name),
        [schema, dot, name] if schema.is_word(b"pg_catalog") && dot.kind == Kind::Dot => Some(name),
        _ => return None,
    };
    (open + close + 1 == tokens.len()).then_some((name, inner))
}

/// The parts between separators that stand in no parentheses.
fn split<'t, 'a>(
    tokens: &'t [Token<'a>],
    separates: impl Fn(&Token<'a>) -> bool,
) -> impl Iterator<Item = &'t [Token<'a>]> {
    let mut depth = 0;
    tokens.split(move |token| {
        depth += nesting(token);
        depth == 0 && separates(token)
    })
}

fn is_comma(token: &Token<'_>) -> bool {
    token.kind == Kind::Comma
}

fn nesting(token: &Token<'_>) -> i32 {
    match token.kind {
        Kind::Open | Kind::OpenBracket => 1,
        Kind::Close | Kind::CloseBracket => -1,
        _ => 0,
    }
}

/// The value of a string.
pub(crate) fn constant(token: &Token<'_>) -> Option<Vec<u8>> {
    let inner = body(token)?;
    if token.kind == Kind::DollarText {
        return Some(inner.to_vec());
    }
    let escapes = token.kind == Kind::EscapeText;
    let mut value = Vec::with_capacity(inner.len());
    let mut bytes = inner.iter();
    while let Some(byte) = bytes.next() {
        match byte {
            // Of two: a single one ends a part, and the next begins another.
            b'\'' if bytes.as_slice().first() == Some(&b'\'') => {
                value.extend(bytes.next());
            }
            b'\'' => {
                bytes.find(|byte| **byte == b'\'');
            }
            b'\\' if escapes => value.extend(unescaped(&mut bytes)),
            other => value.push(*other),
        }
    }
    Some(value)
}

/// What stands behind a backslash (`sql-syntax-lexical.html#SQL-SYNTAX-STRINGS-ESCAPE`). Of what is no ASCII a hole
/// remains.
fn unescaped(bytes: &mut std::slice::Iter<'_, u8>) -> Option<u8> {
    let (digits, radix) = match bytes.as_slice().first()? {
        b'0'..=b'7' => (3, 8),
        b'x' => (2, 16),
        b'u' => (4, 16),
        b'U' => (8, 16),
        b'b' | b'f' | b'n' | b'r' | b't' => return bytes.next().map(|_| b' '),
        _ => return bytes.next().copied(),
    };
    if radix == 16 {
        bytes.next();
    }
    let mut number = 0_u32;
    for _ in 0..digits {
        let digit = bytes.as_slice().first().and_then(|byte| char::from(*byte).to_digit(radix));
        let Some(digit) = digit else { break };
        bytes.next();
        number = number.wrapping_mul(radix).wrapping_add(digit);
    }
    Some(u8::try_from(number).ok().filter(u8::is_ascii).unwrap_or(HOLE))
}

/// Words that no expression goes on with.
const WORDS_BEHIND: [&[u8]; 4] = [b"into", b"using", b"loop", b"execute"];

/// Tokens of one expression that are looked at.
const MAX_TOKENS: usize = 256;

/// How deep parentheses are looked into.
const MAX_DEPTH: u8 = 4;

#[cfg(test)]
mod tests {
    use super::super::lexer::Lexer;
    use super::*;

    fn composed(code: &str) -> String {
        let tokens: Vec<_> = Lexer::new(code.as_bytes(), true).collect();
        let Composed { text, made_of } = Composed::of(&tokens);
        let show = |text: Vec<u8>| String::from_utf8(text).unwrap().replace('\u{1}', "?");
        let made_of = made_of.into_iter().map(|text| format!(" <{}>", show(text)));
        format!("{}{}", show(text), made_of.collect::<String>())
    }

    #[test]
    fn a_text_is_known_as_far_as_it_is_constant() {
        for (code, expected) in [
            ("'set x = 1'", "set x = 1"),
            ("'set x = ''a'''::text using b", "set x = 'a'"),
            ("e'set\\nx = \\'a\\'' || $$;$$ into y", "set x = 'a';"),
            ("e'\\x73et x' || e'\\163\\u00651\\u00e9\\'\\\\'", "set xse1?'\\"),
            ("'a' \n 'b' || c || 'd'", "ab?d"),
            ("'a' || quote_ident(b || 'c') || (d || 'e')", "a??e"),
            ("format('a %I %2$L %-10s %% b', c, 'd')", "a ? ? ? % b"),
            ("pg_catalog.format('a' || b || '%s', 'c') || 'd'", "a??d"),
            ("concat('a', b, 'c')", "a?c"),
            ("format(a, 'b')", "?"),
            ("a", "?"),
            ("replace('set @', '@', a) || ' b'", "? b <set @> <@>"),
            ("case when a then 'b' else 'c' end loop d", "? <b> <c>"),
            ("format(coalesce(a, 'b'), 'c')", "? <b>"),
            ("'a' || replace('b', 'c', 'd')", "a?"),
            ("'a; ' || replace('b', 'c', 'd')", "a; ? <b> <c> <d>"),
            ("format('a', b) || c execute d", "a?"),
            ("((((((('a')))))))", "? <a>"),
            ("format('%", "?"),
            ("", ""),
            ("format(", "?"),
            (")) || 'a'", "? <a>"),
        ] {
            assert_eq!(composed(code), expected, "{code}");
        }
    }
}
