//! What a session sees, as far as it must be the same on both sides.

use std::collections::BTreeMap;
use std::fmt;

use crate::support::events::Event;

/// What a whole program showed on one side.
#[derive(Debug, Default)]
pub struct Record {
    /// By step.
    pub steps: Vec<Seen>,
    /// By session: the notifications that it has got.
    pub notes: Vec<Vec<Note>>,
    /// By step: how many notifications each session had.
    pub note_counts: Vec<Vec<usize>>,
    /// By the number of a login's step: advisory locks in the database after it.
    pub locks: BTreeMap<usize, String>,
}

/// What one step showed its session.
#[derive(Debug, Default)]
pub struct Seen {
    /// The messages, but ParameterStatus and others' notifications.
    pub lines: Vec<Line>,
    /// The last values of ParameterStatus.
    pub parameters: BTreeMap<String, String>,
    /// Others' notifications inside a transaction.
    pub early: usize,
}

/// One message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// All of it that counts.
    pub text: String,
    /// The columns, if it is a row.
    pub row: Option<Vec<Option<String>>>,
}

/// A notification.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    channel: String,
    payload: String,
    /// Whether the sender is, by its pid, the session itself.
    pub own: bool,
}

impl Note {
    /// From the body of a NotificationResponse.
    pub fn new(body: &[u8], pid: &[u8]) -> Self {
        let mut parts = body[4..].split(|byte| *byte == 0).map(String::from_utf8_lossy);
        let mut next = || parts.next().unwrap_or_default().into_owned();
        Self { own: &body[..4] == pid, channel: next(), payload: next() }
    }
}

impl Line {
    /// Its letter.
    pub fn is(&self, letter: char) -> bool {
        self.text.starts_with(letter)
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, line) in self.lines.iter().enumerate() {
            write!(f, "{}{line}", if number == 0 { "" } else { " " })?;
        }
        Ok(())
    }
}

/// A message without what must differ: table oids, oids of made types, places of processes.
pub fn line(event: &Event) -> Line {
    let mut row = event.row();
    row.iter_mut().flatten().flatten().for_each(|value| *value = without_digits(value, "pg_temp_"));
    let text = match event {
        Event::Message('T', body) => format!("T[{}]", columns(body)),
        Event::Message('t', body) => {
            let oids = body.get(2..).unwrap_or_default().chunks_exact(4).map(type_name);
            format!("t[{}]", oids.collect::<Vec<_>>().join(" "))
        }
        Event::Message('E' | 'N', _) => {
            let fields = ['M', 'D', 'H', 'P', 'W'].map(|code| event.field(code));
            let texts = fields.into_iter().filter(|text| !text.is_empty()).collect::<Vec<_>>();
            without_numbers(&format!("{event} {}", texts.join(" | ")))
        }
        Event::Message('G' | 'H' | 'd', body) => {
            let Event::Message(letter, _) = event else { unreachable!() };
            format!("{letter}{:?}", String::from_utf8_lossy(body))
        }
        Event::Message('D', _) => without_digits(&event.to_string(), "pg_temp_"),
        _ => event.to_string(),
    };
    Line { text, row }
}

/// Without the numbers of TOAST tables, which are those of their tables, and the times that compilation has
/// taken.
fn without_numbers(text: &str) -> String {
    let text = text.split_inclusive("time to inline: ").next().unwrap_or_default();
    without_digits(text, "pg_toast_")
}

/// Without the numbers behind a prefix.
fn without_digits(text: &str, prefix: &str) -> String {
    let mut parts = text.split(prefix);
    let mut rest = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        rest.push_str(prefix);
        rest.push_str(part.trim_start_matches(|c: char| c.is_ascii_digit()));
    }
    rest
}

/// Names, types and formats of a RowDescription.
fn columns(body: &[u8]) -> String {
    let mut rest = body.get(2..).unwrap_or_default();
    let mut columns = Vec::new();
    while let Some(end) = rest.iter().position(|byte| *byte == 0) {
        let name = String::from_utf8_lossy(&rest[..end]).into_owned();
        let Some(field) = rest.get(end + 1..end + 19) else { break };
        columns.push(format!("{name} {} {}", type_name(&field[6..10]), field[17]));
        rest = &rest[end + 19..];
    }
    columns.join(", ")
}

/// A built-in type's oid; those of other types differ between databases.
fn type_name(oid: &[u8]) -> String {
    match oid.try_into().map(u32::from_be_bytes) {
        Ok(oid) if oid < FIRST_NORMAL_OID => oid.to_string(),
        _ => "made".to_owned(),
    }
}

const FIRST_NORMAL_OID: u32 = 16_384;

impl Record {
    /// Puts one name in the place of the database's.
    pub fn rename(&mut self, database: &str) {
        let rename = |text: &mut String| {
            if text.contains(database) {
                *text = text.replace(database, "DATABASE");
            }
        };
        for line in self.steps.iter_mut().flat_map(|seen| &mut seen.lines) {
            rename(&mut line.text);
            line.row.iter_mut().flatten().flatten().for_each(rename);
        }
    }
}
