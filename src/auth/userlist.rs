//! PgBouncer's `userlist.txt`: `"name" "secret"` a line, a quote inside doubled, `;` for comments.

use std::collections::HashMap;

use thiserror::Error;

use super::secret::{Secret, SecretError};

/// One user of the file.
#[derive(Debug)]
pub struct UserlistEntry {
    /// The name.
    pub name: String,
    /// `None` for `""`: the user is known but has no password.
    pub secret: Option<Secret>,
}

/// Parses a whole file. Fields after the secret are ignored, as PgBouncer does.
pub fn parse_userlist(text: &str) -> Result<Vec<UserlistEntry>, UserlistError> {
    let mut entries = Vec::new();
    let mut seen = HashMap::new();
    for (line, text) in (1..).zip(text.lines()) {
        let text = text.trim_start();
        if text.is_empty() || text.starts_with(';') {
            continue;
        }
        let entry = parse_line(text).map_err(|problem| UserlistError { line, problem })?;
        if let Some(first) = seen.insert(entry.name.clone(), line) {
            return Err(UserlistError { line, problem: UserlistProblem::Duplicate { first } });
        }
        entries.push(entry);
    }
    Ok(entries)
}

fn parse_line(text: &str) -> Result<UserlistEntry, UserlistProblem> {
    let (name, rest) = quoted(text)?;
    if name.is_empty() || name.contains('\0') {
        return Err(UserlistProblem::Name);
    }
    let (secret, _) = quoted(rest.trim_start())?;
    let secret = zeroize::Zeroizing::new(secret);
    let secret = if secret.is_empty() { None } else { Some(Secret::parse(&secret)?) };
    Ok(UserlistEntry { name, secret })
}

/// Reads one quoted field and returns what follows it.
fn quoted(text: &str) -> Result<(String, &str), UserlistProblem> {
    let mut rest = text.strip_prefix('"').ok_or(UserlistProblem::NoQuote)?;
    // Never grows, so that no copy of a secret is left behind.
    let mut field = String::with_capacity(rest.len());
    loop {
        let (part, after) = rest.split_once('"').ok_or(UserlistProblem::Unterminated)?;
        field.push_str(part);
        let Some(more) = after.strip_prefix('"') else {
            return Ok((field, after));
        };
        field.push('"');
        rest = more;
    }
}

/// A line that cannot be read. Says nothing of its text.
#[derive(Debug, Error, Clone, Copy, PartialEq, Eq)]
#[error("line {line}: {problem}")]
pub struct UserlistError {
    /// Counted from 1.
    pub line: usize,
    /// What is wrong.
    #[source]
    pub problem: UserlistProblem,
}

/// What is wrong with a line.
#[derive(Debug, Error, Clone, Copy, PartialEq, Eq)]
pub enum UserlistProblem {
    /// A field does not begin with a quote.
    #[error("expected \"name\" \"secret\", both in double quotes")]
    NoQuote,
    /// A field has no end.
    #[error("a double quote is not closed (a quote inside is written twice)")]
    Unterminated,
    /// No name.
    #[error("the name is empty or contains a NUL byte")]
    Name,
    /// The secret is of no use.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// The name was there before.
    #[error("this user is already on line {first}")]
    Duplicate {
        /// Where.
        first: usize,
    },
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::Password;
    use subtle::ConstantTimeEq as _;

    #[test]
    fn users_are_read_in_order() {
        let text = "; comment\n\n  \"a\" \"one\"\r\n\"b \"\"B\"\"\"\t\"two\"\"2\" \"ignored\"\n\"c\" \"\"\n\"d\" \"md5d504967f44e0c6062c7e5c2a8d42aac1\"";
        let users = parse_userlist(text).unwrap();
        let names: Vec<_> = users.iter().map(|user| user.name.as_str()).collect();
        assert_eq!(names, ["a", "b \"B\"", "c", "d"]);
        let is_plain = |i: usize, text: &str| match &users[i].secret {
            Some(Secret::Plain(password)) => bool::from(password.ct_eq(&Password::new(text))),
            _ => false,
        };
        assert!(is_plain(0, "one"));
        assert!(is_plain(1, "two\"2"));
        assert!(users[2].secret.is_none());
        assert!(matches!(users[3].secret, Some(Secret::Md5(_))));
    }

    #[test]
    fn bad_lines_are_named_without_their_text() {
        let table = [
            ("name \"hunter2\"", UserlistProblem::NoQuote),
            ("\"name\"", UserlistProblem::NoQuote),
            ("\"name\" hunter2", UserlistProblem::NoQuote),
            ("\"name\" \"hunter2", UserlistProblem::Unterminated),
            ("\"name\" \"hunter2\"\"", UserlistProblem::Unterminated),
            ("\"\" \"hunter2\"", UserlistProblem::Name),
            ("\"n\0\" \"hunter2\"", UserlistProblem::Name),
            ("\"n\" \"hunter2\0\"", UserlistProblem::Secret(SecretError::Password)),
            ("\"n\" \"SCRAM-SHA-256$hunter2\"", UserlistProblem::Secret(SecretError::Shape)),
            ("\"ok\" \"hunter2\"", UserlistProblem::Duplicate { first: 1 }),
        ];
        for (text, problem) in table {
            let error = parse_userlist(&format!("\"ok\" \"x\"\n{text}\n")).unwrap_err();
            assert_eq!(error, UserlistError { line: 2, problem }, "{text}");
            assert!(!format!("{error} {error:?}").contains("hunter2"));
        }
    }
}
