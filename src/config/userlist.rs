//! User lists in PgBouncer's format: `"name" "secret"` on each line.

use std::fmt;

use super::secret::Password;

/// What is expected of a line, for errors.
pub(super) const LINE: &str =
    "\"user\" \"secret\" on each line, a quote inside written twice, comments after ; or #";

/// One line of a list. An empty secret is none.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub name: String,
    pub secret: Option<Password>,
}

/// The line that is not as it should be.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct BadLine(pub usize);

impl fmt::Display for BadLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {} is not of the format", self.0)
    }
}

/// Reads a list. What follows the second text of a line is passed over, as PgBouncer does.
pub(super) fn parse(text: &str) -> Result<Vec<Entry>, BadLine> {
    let lines = text.lines().enumerate();
    lines
        .map(|(index, line)| (index + 1, line.trim()))
        .filter(|(_, line)| !line.is_empty() && !line.starts_with([';', '#']))
        .map(|(number, line)| entry(line).ok_or(BadLine(number)))
        .collect()
}

fn entry(line: &str) -> Option<Entry> {
    let (name, rest) = quoted(line)?;
    let (secret, _) = quoted(rest.trim_start())?;
    if name.is_empty() || name.contains('\0') {
        return None;
    }
    Some(Entry {
        name,
        secret: (!secret.is_empty()).then(|| Password::new(secret)),
    })
}

/// The quoted text that `line` begins with, and what follows it.
fn quoted(line: &str) -> Option<(String, &str)> {
    let mut rest = line.strip_prefix('"')?;
    let mut text = String::new();
    loop {
        let (before, after) = rest.split_once('"')?;
        text.push_str(before);
        match after.strip_prefix('"') {
            Some(more) => {
                text.push('"');
                rest = more;
            }
            None => return Some((text, after)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_as_pgbouncer_reads_them() {
        let text = "; people\n\n\"app\" \"hunter2\"\n  \"a\"\"b\"  \"q\"\"x\" more \"ignored\"\n\"none\" \"\"\n";
        let entries = parse(text).expect("a good list");
        let expected = [
            ("app", Some("hunter2")),
            ("a\"b", Some("q\"x")),
            ("none", None),
        ];
        assert_eq!(entries.len(), expected.len());
        for (entry, (name, secret)) in entries.iter().zip(expected) {
            assert_eq!(entry.name, name);
            assert_eq!(entry.secret.as_ref().map(Password::reveal), secret);
        }
    }

    #[test]
    fn a_bad_line_is_named_by_its_number() {
        for line in [
            "app hunter2",
            "\"app\"",
            "\"app\" \"open",
            "\"\" \"x\"",
            "\"app\" x",
        ] {
            let text = format!("; list\n{line}\n");
            assert_eq!(parse(&text), Err(BadLine(2)), "{line}");
        }
    }
}
