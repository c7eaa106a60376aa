//! A small PostgreSQL client: log in, run texts that return little, leave.
//!
//! Owns one connection and what is read from it. Invariant: of each message at most [`MAX_BODY`]
//! bytes are kept, so that no answer can grow the harness; COPY is not spoken. Obeys
//! `protocol-flow.html#PROTOCOL-FLOW-SIMPLE-QUERY` and `#PROTOCOL-FLOW-EXT-QUERY` of the manual.

use std::io;
use std::time::Duration;

use bytes::{Buf, BufMut, BytesMut};
use thiserror::Error;
use tokio::time::{Instant, timeout_at};

use crate::auth::LoginError;
use crate::net::ConnectError;
use crate::net::link::{Link, Moved};
use crate::wire::frame::{self, BadFrame, HEADER};
use crate::wire::{ErrorFields, Reader, build};

/// A logged-in client.
#[derive(Debug)]
pub struct Client {
    link: Link,
    status: u8,
}

/// What a text returned.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reply {
    /// Rows of all its results.
    pub rows: u64,
    /// The first column of the first row, as text; `None` without a row and for NULL.
    pub value: Option<String>,
    /// It was rolled back (the tag of a CommandComplete).
    pub rolled_back: bool,
}

/// How a text is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Protocol {
    /// Query.
    Simple,
    /// Parse, Bind, Execute and Sync, with the unnamed statement.
    Extended,
}

/// Why something did not work.
#[derive(Debug, Error)]
pub enum ClientError {
    /// There is no connection.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The server asks for what the client does not have or does not believe.
    #[error(transparent)]
    Login(#[from] LoginError),
    /// An ErrorResponse.
    #[error("{text}")]
    Server {
        /// SQLSTATE.
        code: String,
        /// SQLSTATE and message, printable and short.
        text: String,
        /// The connection is over.
        fatal: bool,
    },
    /// The connection broke.
    #[error("the connection was lost: {0}")]
    Io(#[from] io::Error),
    /// A header that cannot be.
    #[error("the server sent what is no message: {0}")]
    Frame(#[from] BadFrame),
    /// A message that this client does not expect here.
    #[error("the server sent a message of type {:?} that does not belong here", char::from(*tag))]
    Unexpected {
        /// Its type.
        tag: u8,
    },
    /// BEGIN left no transaction open, or COMMIT has not committed it.
    #[error("{0}")]
    Astray(&'static str),
    /// Too long.
    #[error("no answer in time")]
    TimedOut,
}

impl ClientError {
    /// The class it is counted in: the SQLSTATE, or a word for what PostgreSQL did not say.
    pub fn class(&self) -> &str {
        match self {
            Self::Server { code, .. } => code,
            Self::Connect(ConnectError::TimedOut { .. }) | Self::TimedOut => "timeout",
            Self::Connect(_) => "connect",
            Self::Login(_) => "login",
            Self::Io(_) => "io",
            Self::Frame(_) | Self::Unexpected { .. } => "protocol",
            Self::Astray(_) => "astray",
        }
    }

    /// Whether the connection can still be used.
    pub fn is_over(&self) -> bool {
        !matches!(self, Self::Server { fatal: false, .. })
    }

    pub(super) fn of(body: &[u8]) -> Self {
        let fields = ErrorFields::read(body);
        Self::Server { code: code(fields.code), text: fields.for_log(), fatal: fields.is_fatal() }
    }
}

impl Client {
    /// Over a fresh connection; nothing was said on it but the request for TLS.
    pub(super) fn new(link: Link) -> Self {
        let status = b'I';
        Self { link, status }
    }

    /// Whether a transaction is open, failed or not.
    pub fn is_in_transaction(&self) -> bool {
        self.status != b'I'
    }

    /// Runs a text by one Query, several statements included, and reads all it returns. Not cancel
    /// safe.
    pub async fn simple(&mut self, sql: &str, limit: Duration) -> Result<Reply, ClientError> {
        self.query(Protocol::Simple, sql, limit).await
    }

    /// Runs a text and reads all it returns. After an error that [`ClientError::is_over`] denies,
    /// the client can be used on. Not cancel safe.
    pub async fn query(
        &mut self,
        protocol: Protocol,
        sql: &str,
        limit: Duration,
    ) -> Result<Reply, ClientError> {
        put(&mut self.link.output, protocol, sql);
        self.answer(limit).await
    }

    /// Sends a text and reads nothing; [`Self::answer`] is to follow. Not cancel safe.
    pub(super) async fn send(
        &mut self,
        protocol: Protocol,
        sql: &str,
        limit: Duration,
    ) -> Result<(), ClientError> {
        put(&mut self.link.output, protocol, sql);
        self.flush(limit).await
    }

    /// Reads all that a text returns. Not cancel safe.
    pub(super) async fn answer(&mut self, limit: Duration) -> Result<Reply, ClientError> {
        match timeout_at(Instant::now() + limit, self.reply()).await {
            Ok(reply) => reply,
            Err(_) => Err(ClientError::TimedOut),
        }
    }

    /// Says Terminate and closes, without waiting for the server: a function that ends does not.
    pub async fn leave(mut self, limit: Duration) -> Result<(), ClientError> {
        build::empty(&mut self.link.output, b'X');
        self.flush(limit).await
    }

    async fn flush(&mut self, limit: Duration) -> Result<(), ClientError> {
        match timeout_at(Instant::now() + limit, self.link.flush()).await {
            Ok(flushed) => Ok(flushed?),
            Err(_) => Err(ClientError::TimedOut),
        }
    }

    pub(super) fn output(&mut self) -> &mut BytesMut {
        &mut self.link.output
    }

    /// What is read up to ReadyForQuery. An error is kept until then, or until the end.
    pub(super) async fn reply(&mut self) -> Result<Reply, ClientError> {
        let mut reply = Reply::default();
        let mut failed = None;
        loop {
            let (tag, body) = match (self.message().await, failed.take()) {
                // The server closes after a FATAL error: its words say more than the end.
                (Err(_), Some(error)) => return Err(error),
                (message, error) => {
                    failed = error;
                    message?
                }
            };
            match tag {
                b'Z' => {
                    self.status = body.first().copied().unwrap_or(b'I');
                    return failed.map_or(Ok(reply), Err);
                }
                b'E' => failed = Some(ClientError::of(&body)),
                b'D' => reply.on_row(&body),
                b'C' => reply.rolled_back |= body.starts_with(b"ROLLBACK\0"),
                // What a login and queries without COPY return besides.
                b'K' | b'S' | b'N' | b'A' | b'T' | b'I' | b'1' | b'2' | b'n' | b's' => {}
                tag => return Err(ClientError::Unexpected { tag }),
            }
        }
    }

    /// The next message, its body cut off at [`MAX_BODY`].
    pub(super) async fn message(&mut self) -> Result<(u8, BytesMut), ClientError> {
        let header = loop {
            match frame::backend(&self.link.input)? {
                Some(header) => break header,
                None => self.more().await?,
            }
        };
        let kept = header.body.min(MAX_BODY);
        while self.link.input.len() < HEADER + kept {
            self.more().await?;
        }
        self.link.input.advance(HEADER);
        let body = self.link.input.split_to(kept);
        self.skip(header.body - kept).await?;
        Ok((header.tag, body))
    }

    async fn skip(&mut self, mut left: usize) -> Result<(), ClientError> {
        loop {
            let skipped = left.min(self.link.input.len());
            self.link.input.advance(skipped);
            left -= skipped;
            if left == 0 {
                return Ok(());
            }
            self.more().await?;
        }
    }

    async fn more(&mut self) -> Result<(), ClientError> {
        let moved = match self.link.moved(true).await {
            // A server that has closed can no longer be written to, but its last words be read.
            Err(_) if !self.link.output.is_empty() => {
                self.link.output.clear();
                self.link.moved(true).await?
            }
            moved => moved?,
        };
        match moved {
            Moved::End => Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
            Moved::Read | Moved::Drained => Ok(()),
        }
    }
}

impl Reply {
    fn on_row(&mut self, body: &[u8]) {
        self.rows += 1;
        if self.rows == 1 {
            self.value = first_column(body);
        }
    }
}

/// The first column of a DataRow as text, if it has one and it is not NULL.
fn first_column(body: &[u8]) -> Option<String> {
    let mut reader = Reader::new(body);
    if reader.u16().ok()? == 0 {
        return None;
    }
    // NULL is a length of -1.
    let len = usize::try_from(reader.i32().ok()?).ok()?;
    let bytes = reader.bytes(len).ok()?;
    Some(String::from_utf8_lossy(bytes).into_owned())
}

fn put(out: &mut BytesMut, protocol: Protocol, sql: &str) {
    match protocol {
        Protocol::Simple => build::query(out, sql),
        Protocol::Extended => {
            let mut body = BytesMut::with_capacity(sql.len() + 3);
            build::put_cstr(&mut body, sql.as_bytes());
            body.put_u16(0);
            build::parse_body(out, b"", &body);
            build::bind_text(out, "", "", &[]);
            build::execute(out);
            build::empty(out, b'S');
        }
    }
}

/// A SQLSTATE if it is one: it becomes a key of the report.
fn code(bytes: &[u8]) -> String {
    let is_code = bytes.len() == 5 && bytes.iter().all(u8::is_ascii_alphanumeric);
    if is_code { String::from_utf8_lossy(bytes).into_owned() } else { "unknown".to_owned() }
}

/// Bytes of a body that are kept.
const MAX_BODY: usize = 64 << 10;

#[cfg(test)]
mod tests;
