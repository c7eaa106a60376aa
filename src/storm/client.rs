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
        match timeout_at(Instant::now() + limit, self.reply()).await {
            Ok(reply) => reply,
            Err(_) => Err(ClientError::TimedOut),
        }
    }

    /// Says Terminate and closes, without waiting for the server: a function that ends does not.
    pub async fn leave(mut self, limit: Duration) -> Result<(), ClientError> {
        build::empty(&mut self.link.output, b'X');
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
                // What a login and queries without COPY return besides.
                b'K' | b'S' | b'N' | b'A' | b'T' | b'C' | b'I' | b'1' | b'2' | b'n' | b's' => {}
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
            build::bind_text(out, "", &[]);
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
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::UnixStream;

    use super::*;
    use crate::net::Stream;

    const SOON: Duration = Duration::from_secs(10);

    fn pair() -> (Client, UnixStream) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        (Client::new(Link::new(Stream::Unix(ours))), theirs)
    }

    fn frame(tag: u8, body: &[u8]) -> Vec<u8> {
        let mut out = BytesMut::new();
        build::message(&mut out, tag, |out| out.put_slice(body));
        out.to_vec()
    }

    /// What the client makes of an answer, after which the server closes.
    async fn answered(answer: &[u8]) -> Result<Reply, ClientError> {
        let (mut client, mut server) = pair();
        let answer = answer.to_vec();
        tokio::spawn(async move {
            let asked = server.read(&mut [0; 64]).await.unwrap();
            assert!(asked > 0);
            server.write_all(&answer).await.unwrap();
        });
        client.simple("select 1", SOON).await
    }

    #[tokio::test]
    async fn the_first_value_and_the_number_of_rows_are_kept() {
        let row = frame(b'D', b"\0\x02\0\0\0\x0242\xff\xff\xff\xff");
        let null = frame(b'D', b"\0\x01\xff\xff\xff\xff");
        let end = [frame(b'C', b"SELECT 2\0"), frame(b'Z', b"I")].concat();
        let cases = [
            (vec![row.clone(), null.clone()], 2, Some("42")),
            (vec![null, row], 2, None),
            (vec![frame(b'D', b"\0\0")], 1, None),
            (vec![], 0, None),
        ];
        for (rows, count, value) in cases {
            let reply = answered(&[rows.concat(), end.clone()].concat()).await.unwrap();
            assert_eq!((reply.rows, reply.value.as_deref()), (count, value));
        }
    }

    #[tokio::test]
    async fn errors_are_classed_and_tell_whether_the_client_can_go_on() {
        let error = frame(b'E', b"SERROR\0VERROR\0C22012\0Mdivision by zero\0\0");
        let fatal = frame(b'E', b"SFATAL\0VFATAL\0C57P01\0Mbye\0\0");
        let ready = frame(b'Z', b"E");
        let cases = [
            ([error.clone(), ready.clone()].concat(), "22012", false),
            (fatal, "57P01", true),
            (error, "22012", false),
            (frame(b'E', b"C\xff\xff\0\0"), "unknown", false),
            (vec![], "io", true),
            (frame(b'G', b"\0\0\0"), "protocol", true),
            (b"?????".to_vec(), "protocol", true),
            (b"D\xff\xff\xff\xff".to_vec(), "protocol", true),
        ];
        for (answer, class, over) in cases {
            let error = answered(&answer).await.unwrap_err();
            assert_eq!((error.class(), error.is_over()), (class, over), "{error}");
        }
    }

    #[tokio::test]
    async fn long_answers_pass_without_being_kept() {
        let (mut client, mut server) = pair();
        let sent = tokio::spawn(async move {
            let long = frame(b'D', &vec![0; 8 << 20]);
            for bytes in [&long[..], &frame(b'Z', b"I")] {
                server.write_all(bytes).await.unwrap();
            }
            server
        });
        assert_eq!(client.simple("select", SOON).await.unwrap().rows, 1);
        assert!(client.link.input.capacity() <= MAX_BODY * 3);
        drop(sent.await.unwrap());
    }

    #[tokio::test]
    async fn a_server_that_says_nothing_is_given_up() {
        let (mut client, _server) = pair();
        let soon = Duration::from_millis(20);
        let error = client.simple("select 1", soon).await.unwrap_err();
        assert_eq!((error.class(), error.is_over()), ("timeout", true));
    }

    #[tokio::test]
    async fn both_protocols_and_the_goodbye_are_sent_as_the_manual_says() {
        for (protocol, tags) in [(Protocol::Simple, "QX"), (Protocol::Extended, "PBESX")] {
            let (mut client, mut server) = pair();
            server.write_all(&frame(b'Z', b"T")).await.unwrap();
            client.query(protocol, "begin", SOON).await.unwrap();
            assert!(client.is_in_transaction());
            client.leave(SOON).await.unwrap();
            let mut sent = Vec::new();
            server.read_to_end(&mut sent).await.unwrap();
            let mut seen = String::new();
            while let Some(header) = frame::frontend(&sent).ok().flatten() {
                seen.push(char::from(header.tag));
                sent.drain(..header.total());
            }
            assert_eq!((seen.as_str(), sent.len()), (tags, 0));
        }
    }
}
