//! How much a server says to the control plane (sans-IO).
//!
//! tokio-postgres holds a message until it is whole, whatever length it claims, and keeps all that ParameterStatus
//! tells. What is said in answer to a look-up is short; before the login nobody has proved who is speaking.

use std::io;

use crate::wire::frame::{self, BadFrame, HEADER};

/// Where a server is in what it says.
#[derive(Debug, Default)]
pub(super) struct Frames {
    /// The next message, as far as its header is not whole.
    header: Vec<u8>,
    /// Bytes of the current message that are still to come.
    rest: usize,
    /// It has said that it is ready once.
    begun: bool,
    /// Bytes since it was ready, and of all its parameters.
    said: usize,
    parameters: usize,
}

impl Frames {
    /// Takes notice of what the server has said; an error is of too much of it.
    pub(super) fn hear(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let passing = self.rest.min(bytes.len());
            self.rest -= passing;
            bytes = bytes.get(passing..).unwrap_or_default();
            let missing = (HEADER - self.header.len()).min(bytes.len());
            let (header, behind) = bytes.split_at(missing);
            self.header.extend_from_slice(header);
            bytes = behind;
            if self.header.len() == HEADER {
                self.begin()?;
            }
        }
        Ok(())
    }

    /// A message begins.
    fn begin(&mut self) -> io::Result<()> {
        let header = frame::backend(&self.header).map_err(malformed)?;
        self.header.clear();
        let Some(header) = header else { return Ok(()) };
        self.rest = header.body;
        let longest = if self.begun { LONGEST } else { LONGEST_AT_LOGIN };
        if header.body > longest {
            return Err(too_much("a message", header.body));
        }
        self.said += header.total();
        let most = if self.begun { MOST } else { MOST_AT_LOGIN };
        if self.said > most {
            return Err(too_much("an answer", self.said));
        }
        match header.tag {
            b'S' => self.parameters += header.total(),
            b'Z' => (self.begun, self.said) = (true, 0),
            _ => {}
        }
        if self.parameters > MOST_PARAMETERS {
            return Err(too_much("parameters", self.parameters));
        }
        Ok(())
    }
}

fn malformed(error: BadFrame) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

fn too_much(what: &str, bytes: usize) -> io::Error {
    let text =
        format!("the server sends {what} of {bytes} bytes, which is more than a look-up has");
    // As `guarded` refuses what will not be otherwise the next time.
    io::Error::new(io::ErrorKind::PermissionDenied, text)
}

/// Bytes of one message, and of all up to ReadyForQuery.
const LONGEST: usize = 1 << 20;
const MOST: usize = 4 << 20;

/// The same until the server is ready for the first time.
const LONGEST_AT_LOGIN: usize = 64 << 10;
const MOST_AT_LOGIN: usize = 1 << 20;

/// Bytes of all parameters of one connection, which are kept for as long as it lives.
const MOST_PARAMETERS: usize = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    fn message(tag: u8, body: usize) -> Vec<u8> {
        let word = (body as u32 + 4).to_be_bytes();
        [&[tag][..], &word, &vec![0; body]].concat()
    }

    /// How many of the messages are taken, heard in parts of this length.
    fn taken(messages: &[Vec<u8>], part: usize) -> usize {
        let mut frames = Frames::default();
        let heard = |message: &&Vec<u8>| {
            let mut parts = message.chunks(part);
            parts.all(|part| frames.hear(part).is_ok())
        };
        messages.iter().take_while(heard).count()
    }

    #[test]
    fn what_is_said_is_bounded_by_message_and_by_answer() {
        let ready = || message(b'Z', 1);
        let times = |count: usize, message: Vec<u8>| vec![message; count];
        for (name, messages, expected) in [
            ("a login", vec![message(b'R', 4), message(b'S', 30), ready()], 3),
            ("an error of 64 KiB", vec![message(b'E', 64 << 10)], 1),
            ("one that is longer", vec![message(b'E', (64 << 10) + 1)], 0),
            ("many notices at the login", times(40, message(b'N', 64 << 10)), 15),
            ("a row", vec![ready(), message(b'D', 1 << 20), ready()], 3),
            ("one that is longer", vec![ready(), message(b'D', (1 << 20) + 1)], 1),
            ("many rows", [vec![ready()], times(9, message(b'D', 1 << 20))].concat(), 4),
            ("no message", vec![vec![0; 9]], 0),
        ] {
            for part in [1 << 20, 70_001, 4_099] {
                assert_eq!(taken(&messages, part), expected, "{name}, in parts of {part}");
            }
        }
        let answers = times(9, [message(b'D', 1 << 20), ready()].concat());
        assert_eq!(taken(&[vec![ready()], answers].concat(), 999_999), 10);
        let parameters = times(40, [message(b'S', 60_000), ready()].concat());
        assert_eq!(taken(&parameters, 999_999), 17);
    }

    #[test]
    fn a_header_may_come_in_parts() {
        let messages = vec![message(b'R', 4), message(b'Z', 1), message(b'E', 0)];
        for part in 1..9 {
            assert_eq!(taken(&messages, part), 3);
        }
        // A message that will never come is refused by its header.
        let claimed = &message(b'R', 1 << 20)[..HEADER];
        let error = Frames::default().hear(claimed).unwrap_err().to_string();
        assert_eq!(
            error,
            "the server sends a message of 1048576 bytes, which is more than a look-up has"
        );
    }
}
