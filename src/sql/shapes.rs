//! Texts that differ only in their numbers do the same to a session.
//!
//! A program that writes its values into its texts sends few shapes of them. What a text does is
//! remembered with the places of its numbers left open, and found again by comparing bytes.

use super::effects::Effects;
use super::lexer::{Kind, Lexer};

/// A few shapes that were read last; bounded in number and in bytes.
#[derive(Debug, Default)]
pub struct Shapes {
    known: Vec<Shape>,
    /// The one that is forgotten next.
    oldest: usize,
    /// Which catalogue they were read under.
    version: u32,
}

/// A text without its numbers.
#[derive(Debug, Default)]
struct Shape {
    /// What stands before, between and behind the numbers.
    text: Vec<u8>,
    /// Where in `text` the numbers were.
    gaps: Vec<u16>,
    effects: Effects,
}

impl Shapes {
    /// What a text may do, if one of its shape was read under the same version of the catalogue.
    pub fn find(&self, text: &[u8], version: u32) -> Option<Effects> {
        if self.version != version {
            return None;
        }
        self.known.iter().find(|shape| shape.fits(text)).map(|shape| shape.effects)
    }

    /// A whole text with standard-conforming strings was read. Nothing is remembered of those of which more
    /// is asked than this.
    pub fn learn(&mut self, text: &[u8], effects: Effects, version: u32) {
        if self.version != version {
            self.known.clear();
            (self.oldest, self.version) = (0, version);
        }
        if effects.is_pure() && text.len() <= LONGEST {
            self.room().learn(text, effects);
        }
    }

    fn room(&mut self) -> &mut Shape {
        if self.known.len() < MOST {
            self.known.push(Shape::default());
            self.oldest = self.known.len() - 1;
        }
        let at = self.oldest;
        self.oldest = (at + 1) % MOST;
        &mut self.known[at]
    }
}

impl Shape {
    fn fits(&self, text: &[u8]) -> bool {
        let (mut rest, mut from) = (text, 0);
        for gap in &self.gaps {
            let part = self.text.get(from..usize::from(*gap)).unwrap_or_default();
            let Some(number) = rest.strip_prefix(part) else { return false };
            let digits = number.iter().take_while(|byte| byte.is_ascii_digit()).count();
            if digits == 0 {
                return false;
            }
            rest = number.get(digits..).unwrap_or_default();
            from = usize::from(*gap);
        }
        self.text.get(from..) == Some(rest)
    }

    /// Takes the text's shape. A number is left open if it is of digits alone and what follows it, here and
    /// behind any other digits, begins a new token.
    fn learn(&mut self, text: &[u8], effects: Effects) {
        self.text.clear();
        self.gaps.clear();
        self.effects = effects;
        let mut rest = text;
        for token in Lexer::new(text, true) {
            // Tokens lie in `text`, in its order.
            let start = token.text.as_ptr() as usize - rest.as_ptr() as usize;
            let end = start + token.text.len();
            let follows = rest.get(end).copied().unwrap_or_default();
            let open = token.kind == Kind::Number
                && token.text.iter().all(u8::is_ascii_digit)
                && !(follows.is_ascii_alphanumeric()
                    || matches!(follows, b'_' | b'.' | b'$' | 0x80..));
            if open {
                self.text.extend_from_slice(rest.get(..start).unwrap_or_default());
                self.gaps.push(self.text.len() as u16);
                rest = rest.get(end..).unwrap_or_default();
            }
        }
        self.text.extend_from_slice(rest);
    }
}

/// Shapes that are kept; the transactions of one function seldom have more statements.
const MOST: usize = 8;

/// Bytes of a text whose shape is kept; all shapes together take some 5 KiB.
const LONGEST: usize = 512;
const _: () = assert!(LONGEST <= u16::MAX as usize);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::{Options, classify};
    use super::*;

    fn shape(text: &[u8]) -> Shape {
        let mut shape = Shape::default();
        shape.learn(text, Effects::PURE);
        shape
    }

    #[test]
    fn numbers_are_left_open_and_nothing_else() {
        let fits = |a: &str, b: &str| shape(a.as_bytes()).fits(b.as_bytes());
        assert!(fits("SELECT a FROM t WHERE id = 17;\0", "SELECT a FROM t WHERE id = 4;\0"));
        assert!(fits("SELECT 1, 2\0", "SELECT 33, 444\0"));
        assert!(fits("SELECT 1", "SELECT 22"));
        assert!(fits("select -5", "select -6"));
        assert!(!fits("SELECT 1\0", "SELECT \0"));
        assert!(!fits("SELECT 1\0", "SELECT 1a\0"));
        assert!(!fits("SELECT 1\0", "SELECT 1; SET x = 2\0"));
        assert!(!fits("SELECT a1 FROM t\0", "SELECT a2 FROM t\0"));
        assert!(!fits("SELECT '1'\0", "SELECT '2'\0"));
        assert!(!fits("SELECT $1\0", "SELECT $2\0"));
        assert!(!fits("SELECT $a$1$a$\0", "SELECT $a$2$a$\0"));
        assert!(!fits("SELECT /* 1 */ a\0", "SELECT /* 2 */ a\0"));
        // Digits may be part of a longer number, or of what some versions read as one.
        for text in
            ["SELECT 1.5\0", "SELECT 1e5\0", "SELECT 0x1F\0", "SELECT 1_000\0", "SELECT 1..2\0"]
        {
            assert_eq!(shape(text.as_bytes()).gaps.len(), 0, "{text:?}");
        }
    }

    #[test]
    fn what_is_found_is_what_reading_gives() {
        let mut shapes = Shapes::default();
        let mut found = 0;
        let texts = [
            "SELECT a FROM t WHERE id = 1;\0",
            "UPDATE t SET a = a + 5 WHERE id = 1\0",
            "INSERT INTO t VALUES (1, 2)\0",
            "SELECT nextval('s'), 5\0",
            "SET work_mem = 5\0",
            "SELECT f(1)\0",
            "SELECT 1, 'now'\0",
            "BEGIN\0",
        ];
        for round in 0..3 {
            for text in texts {
                let text = text.replace('1', ["1", "22", "9999"][round]);
                let effects = classify(text.as_bytes(), &Options::default());
                match shapes.find(text.as_bytes(), 0) {
                    Some(remembered) => assert_eq!(remembered, effects, "{text:?}"),
                    None => shapes.learn(text.as_bytes(), effects, 0),
                }
                found += usize::from(round > 0 && shapes.find(text.as_bytes(), 0).is_some());
            }
        }
        // All but those that draw by name, set, or call what is not known.
        assert_eq!(found, 2 * 5);
        assert!(shapes.known.iter().all(|shape| shape.effects.is_pure()));
    }

    #[test]
    fn another_catalogue_or_more_shapes_than_fit_forget_the_oldest() {
        let mut shapes = Shapes::default();
        for n in 0..100_u8 {
            let text = [b"SELECT ", [b'a' + n % 26, b'a' + n / 26].as_slice()].concat();
            shapes.learn(&text, Effects::PURE, 0);
        }
        assert_eq!(shapes.known.len(), MOST);
        assert!(shapes.known.iter().any(|shape| shape.text == b"SELECT vd"));
        assert_eq!(shapes.find(b"SELECT vd", 1), None);
        shapes.learn(b"SELECT 1", Effects::PURE, 1);
        assert_eq!(shapes.known.len(), 1);
    }

    /// `text` with each run of digits replaced by what `numbers` gives.
    fn renumbered(text: &str, numbers: &[u16]) -> String {
        let mut numbers = numbers.iter().cycle();
        let mut out = String::new();
        let mut in_number = false;
        for letter in text.chars() {
            if !letter.is_ascii_digit() {
                out.push(letter);
            } else if !in_number {
                out += &numbers.next().map_or_else(String::new, u16::to_string);
            }
            in_number = letter.is_ascii_digit();
        }
        out
    }

    proptest! {
        #[test]
        fn what_fits_is_read_alike(
            parts in proptest::collection::vec(proptest::sample::select(PARTS.to_vec()), 1..20),
            numbers in proptest::collection::vec(any::<u16>(), 1..6),
        ) {
            let text = parts.concat();
            let other = renumbered(&text, &numbers);
            prop_assert!(shape(text.as_bytes()).fits(text.as_bytes()));
            if shape(text.as_bytes()).fits(other.as_bytes()) {
                let kinds = |text: &str| Lexer::new(text.as_bytes(), true).map(|t| t.kind).collect::<Vec<_>>();
                prop_assert_eq!(kinds(&text), kinds(&other), "{} {}", text, other);
                let options = Options::default();
                prop_assert_eq!(
                    classify(text.as_bytes(), &options),
                    classify(other.as_bytes(), &options),
                    "{} {}", text, other
                );
            }
        }
    }

    const PARTS: [&str; 28] = [
        "1", "22", "333", " ", " ", "a", "e", "E", "x", "_", ".", "'", "\"", "$", "(", ")", ",",
        ";", "-", "/*", "*/", "SELECT ", "nextval", "SET ", "= ", "'now'", "\0", "u&",
    ];
}
