//! Reading what a server says to pgweir itself.

use std::future::Future;

use bytes::{Buf, Bytes};
use tokio::time::timeout_at;

use super::{Broken, Server, ServerError};
use crate::clock::Instant;
use crate::net::link::{Link, Moved};
use crate::wire::frame::{self, HEADER};
use crate::wire::{Malformed, Reader};

/// One message of a server.
#[derive(Debug)]
pub(super) struct Reply {
    /// Its type.
    pub tag: u8,
    /// Its body; of one longer than [`MAX_BODY`] the beginning.
    pub body: Bytes,
    /// The body is cut off.
    pub cut: bool,
}

impl Reply {
    /// The body, where only a whole one is of use.
    pub(super) fn whole(self) -> Result<Bytes, Broken> {
        if self.cut { Err(Broken::TooMuch("bytes in a message")) } else { Ok(self.body) }
    }

    /// Says what is wrong with the body.
    pub(super) fn malformed(tag: u8) -> impl Fn(Malformed) -> Broken {
        move |source| Broken::Message { tag, source }
    }
}

/// The next message; what does not fit is read and dropped. Not cancel safe.
pub(super) async fn next(link: &mut Link) -> Result<Reply, Broken> {
    let header = loop {
        match frame::backend(&link.input)? {
            Some(header) => break header,
            None => more(link).await?,
        }
    };
    let kept = header.body.min(MAX_BODY);
    if kept < header.body && b"RSKZCv".contains(&header.tag) {
        return Err(Broken::TooMuch("bytes in a message"));
    }
    link.input.advance(HEADER);
    while link.input.len() < kept {
        more(link).await?;
    }
    let body = link.input.split_to(kept).freeze();
    skip(link, header.body - kept).await?;
    Ok(Reply { tag: header.tag, body, cut: kept < header.body })
}

/// Drops so many bytes. Not cancel safe.
pub(super) async fn skip(link: &mut Link, mut count: usize) -> Result<(), Broken> {
    while count > 0 {
        if link.input.is_empty() {
            more(link).await?;
        }
        let len = link.input.len().min(count);
        link.input.advance(len);
        count -= len;
    }
    Ok(())
}

async fn more(link: &mut Link) -> Result<(), Broken> {
    match link.moved(true).await? {
        Moved::End => Err(Broken::Ended),
        Moved::Read | Moved::Drained => Ok(()),
    }
}

/// The name and value of a ParameterStatus.
pub(super) fn parameter(body: &[u8]) -> Result<(&str, &[u8]), Broken> {
    let mut reader = Reader::new(body);
    let mut read = || Ok((reader.str()?, reader.cstr()?));
    read().map_err(Reply::malformed(b'S'))
}

/// The status byte of a ReadyForQuery, which must be that of an idle server.
pub(super) fn idle(body: &[u8]) -> Result<(), Broken> {
    match Reader::new(body).u8().map_err(Reply::malformed(b'Z'))? {
        b'I' => Ok(()),
        status => Err(Broken::Status(status)),
    }
}

impl Server {
    /// The next message that is an answer. What a server may say at any time is taken in on the way
    /// (`protocol-flow.html#PROTOCOL-ASYNC`).
    pub(super) async fn answer(&mut self) -> Result<Reply, Broken> {
        loop {
            let reply = next(&mut self.link).await?;
            match reply.tag {
                b'S' => self.on_parameter(&reply.whole()?)?,
                b'N' | b'A' => {}
                _ => return Ok(reply),
            }
        }
    }

    pub(super) fn on_parameter(&mut self, body: &[u8]) -> Result<(), Broken> {
        let (name, value) = parameter(body)?;
        self.backend.settings.on_parameter_status(name, value)?;
        Ok(())
    }

    /// Reads up to ReadyForQuery, which must say that the server is idle. Before it, messages of
    /// the types `among` may come.
    pub(super) async fn until_idle(&mut self, among: &[u8]) -> Result<(), Broken> {
        loop {
            let reply = self.answer().await?;
            match reply.tag {
                b'Z' => return idle(&reply.whole()?),
                b'E' => return Err(Broken::Refused(ServerError::new(reply.whole()?))),
                tag if among.contains(&tag) => {}
                tag => return Err(Broken::OutOfTurn(tag)),
            }
        }
    }
}

/// Gives up at a deadline.
pub(super) async fn within<T>(
    deadline: Instant,
    work: impl Future<Output = Result<T, Broken>>,
) -> Result<T, Broken> {
    timeout_at(deadline.into(), work).await.unwrap_or(Err(Broken::TimedOut))
}

/// What answers a simple Query that pgweir sends: CommandComplete, RowDescription, DataRow,
/// EmptyQueryResponse.
pub(super) const QUERY_REPLIES: &[u8] = b"CTDI";

/// Longest body that is looked at; an ErrorResponse may quote a statement.
const MAX_BODY: usize = 64 << 10;
