//! One connection with its two buffers, and the system calls that move bytes between them.
//!
//! Owns no protocol. A link reads when asked to and writes whenever there is something to write, so
//! that neither direction can block the other. Buffers can be given back when they are empty: an idle
//! client holds none.

use std::future::poll_fn;
use std::io;
use std::mem::MaybeUninit;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::task::coop;

use super::Stream;

/// A connection and what was read from it and is to be written to it.
#[derive(Debug)]
pub struct Link {
    stream: Stream,
    /// Bytes read and not yet used.
    pub input: BytesMut,
    /// Bytes to be written.
    pub output: BytesMut,
    /// Bytes read and written so far; without TLS's own.
    traffic: Traffic,
    /// The most bytes that were in one of the buffers since they were new.
    most: usize,
    reads: Reads,
    /// Written bytes wait in TLS.
    unflushed: bool,
    /// The peer sends no more.
    ended: bool,
}

/// For how much room is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reads {
    Short,
    /// A short read was filled once.
    Long,
    /// Bytes are reported from [`GATHERED`] on.
    Gathered,
}

/// Bytes that have passed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Traffic {
    /// From the peer.
    pub read: u64,
    /// To the peer.
    pub written: u64,
}

/// What happened on a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moved {
    /// Bytes were added to `input`.
    Read,
    /// The peer sends no more.
    End,
    /// `output` was long and no longer is.
    Drained,
}

impl Link {
    /// A link over a connection.
    pub fn new(stream: Stream) -> Self {
        Self {
            stream,
            input: BytesMut::new(),
            output: BytesMut::new(),
            traffic: Traffic::default(),
            most: 0,
            reads: Reads::Short,
            unflushed: false,
            ended: false,
        }
    }

    /// A link over a connection over which so much has passed already.
    pub fn of(stream: Stream, traffic: Traffic) -> Self {
        Self { traffic, ..Self::new(stream) }
    }

    /// Nothing was read that is not used, and nothing is to be written.
    pub fn is_at_rest(&self) -> bool {
        self.is_through() && !self.ended
    }

    /// The same, whether or not the peer has ended its side.
    pub fn is_through(&self) -> bool {
        self.input.is_empty() && self.output.is_empty() && !self.unflushed
    }

    /// The connection.
    pub fn stream(&self) -> &Stream {
        &self.stream
    }

    /// The connection itself, and bytes that were read ahead of it.
    pub fn into_parts(self) -> (Stream, BytesMut) {
        (self.stream, self.input)
    }

    /// Bytes read and written so far.
    pub fn traffic(&self) -> Traffic {
        self.traffic
    }

    /// There is so much to write that no more should be produced.
    pub fn is_congested(&self) -> bool {
        self.output.len() > CONGESTED
    }

    /// The peer has ended its side.
    pub fn has_ended(&self) -> bool {
        self.ended
    }

    /// Writes what is to be written and, if `read`, waits for bytes. Without `read` it is ready when
    /// congestion ends, and else only on errors. Cancel safe: what was moved is in the buffers.
    pub async fn moved(&mut self, read: bool) -> io::Result<Moved> {
        poll_fn(|cx| self.poll_moved(cx, read)).await
    }

    /// See [`Link::moved`].
    pub fn poll_moved(&mut self, cx: &mut Context<'_>, read: bool) -> Poll<io::Result<Moved>> {
        let congested = self.is_congested();
        if let Poll::Ready(Err(error)) = self.poll_written(cx) {
            return Poll::Ready(Err(error));
        }
        if congested && !self.is_congested() {
            return Poll::Ready(Ok(Moved::Drained));
        }
        if !read || self.ended {
            return Poll::Pending;
        }
        self.poll_filled(cx)
    }

    /// Waits until everything is written. Cancel safe.
    pub async fn flush(&mut self) -> io::Result<()> {
        poll_fn(|cx| self.poll_written(cx)).await
    }

    /// Writes as much as the socket takes now.
    pub fn write_now(&mut self) -> io::Result<()> {
        let mut cx = Context::from_waker(std::task::Waker::noop());
        match self.poll_written(&mut cx) {
            Poll::Ready(Err(error)) => Err(error),
            _ => Ok(()),
        }
    }

    /// Reads until at least `len` bytes are there; false if the peer ends before. Cancel safe.
    pub async fn fill(&mut self, len: usize) -> io::Result<bool> {
        while self.input.len() < len {
            if self.moved(true).await? == Moved::End {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Ends this side, and waits until the peer has ended its own; what it still sends is dropped.
    pub async fn close(&mut self) -> io::Result<()> {
        self.flush().await?;
        poll_fn(|cx| Pin::new(&mut self.stream).poll_shutdown(cx)).await?;
        while !self.ended {
            self.input.clear();
            self.moved(true).await?;
        }
        Ok(())
    }

    /// From now on bytes are only read when [`GATHERED`] are there, or all that come singly again; false where that
    /// cannot be had. Each piece costs a wake-up, and PostgreSQL sends 8 KiB a piece (`PQ_SEND_BUFFER_SIZE`).
    pub fn gather(&mut self, on: bool) -> bool {
        let gathers = self.reads == Reads::Gathered;
        if gathers == on {
            return true;
        }
        let is_set = self.stream.set_low_water(if on { GATHERED } else { 1 });
        if is_set {
            self.reads = if on { Reads::Gathered } else { Reads::Long };
        }
        is_set
    }

    /// Something can be read at once: for an idle server, news that must be looked at.
    pub fn poll_readable_now(&mut self) -> io::Result<Option<Moved>> {
        if !self.stream.may_be_readable() {
            return Ok(None);
        }
        let mut cx = Context::from_waker(std::task::Waker::noop());
        // Whoever has used up its turn is to know all the same.
        let read = pin!(coop::unconstrained(poll_fn(|cx| self.poll_filled(cx))));
        match read.poll(&mut cx) {
            Poll::Ready(moved) => moved.map(Some),
            Poll::Pending => Ok(None),
        }
    }

    /// Gives empty buffers back.
    pub fn release_buffers(&mut self) {
        self.release_larger_buffers(0);
    }

    /// Gives empty buffers back if more than `most` bytes were in one of them. Their capacity does not
    /// tell, since what was used of them is not in it.
    pub fn release_larger_buffers(&mut self, most: usize) {
        if self.most <= most {
            return;
        }
        self.most = 0;
        for buf in [&mut self.input, &mut self.output] {
            if buf.is_empty() {
                *buf = BytesMut::new();
            }
            self.most = self.most.max(buf.len());
        }
    }

    /// Whether there is memory to give back.
    pub fn holds_buffers(&self) -> bool {
        self.most > 0
    }

    fn poll_written(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.most = self.most.max(self.output.len());
        while !self.output.is_empty() {
            let written = ready!(Pin::new(&mut self.stream).poll_write(cx, &self.output))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.traffic.written += written as u64;
            consume(&mut self.output, written);
            self.unflushed = self.stream.is_tls();
        }
        if self.unflushed {
            ready!(Pin::new(&mut self.stream).poll_flush(cx))?;
            self.unflushed = false;
        }
        if self.output.capacity() > KEPT {
            self.output = BytesMut::new();
        }
        Poll::Ready(Ok(()))
    }

    /// Room in `input` is made when there is something to put there: who waits holds no buffer.
    fn poll_filled(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Moved>> {
        let read = match self.reads {
            Reads::Short => self.poll_short(cx),
            Reads::Long => self.poll_long(cx, READ),
            Reads::Gathered => self.poll_long(cx, 2 * GATHERED),
        };
        let read = ready!(read)?;
        self.traffic.read += read as u64;
        self.most = self.most.max(self.input.len());
        if read == 0 {
            self.ended = true;
            return Poll::Ready(Ok(Moved::End));
        }
        Poll::Ready(Ok(Moved::Read))
    }

    /// Most messages fit into a few bytes, which are copied into a buffer of just their length.
    fn poll_short(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let mut room = [MaybeUninit::uninit(); SHORT_READ];
        let mut read = ReadBuf::uninit(&mut room);
        ready!(Pin::new(&mut self.stream).poll_read(cx, &mut read))?;
        if read.remaining() == 0 {
            self.reads = Reads::Long;
        }
        self.input.extend_from_slice(read.filled());
        Poll::Ready(Ok(read.filled().len()))
    }

    fn poll_long(&mut self, cx: &mut Context<'_>, room: usize) -> Poll<io::Result<usize>> {
        ready!(self.stream.poll_readable(cx))?;
        self.input.reserve(room);
        let read = pin!(self.stream.read_buf(&mut self.input));
        read.poll(cx)
    }
}

/// Takes bytes from the front. A buffer that is used up starts again from its beginning, so that there is
/// room in it without moving or growing.
pub fn consume(buf: &mut BytesMut, len: usize) {
    if len == buf.len() {
        buf.clear();
    } else {
        buf.advance(len);
    }
}

/// Output beyond which nothing more is produced.
pub const CONGESTED: usize = 256 << 10;

/// Room for one read, on a connection that has once filled a short one.
const READ: usize = 8 << 10;

/// What is gathered before it is read.
const GATHERED: usize = 64 << 10;

/// Room for a short read, on the stack.
const SHORT_READ: usize = 1 << 10;

/// Capacity that an empty output buffer keeps.
const KEPT: usize = 64 << 10;

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::sync::Arc;
    use std::time::Duration;

    use tokio::net::{TcpListener, TcpStream, UnixStream};
    use tokio::sync::Notify;
    use tokio::time::timeout;

    use super::*;

    fn pair() -> [Link; 2] {
        let (one, other) = UnixStream::pair().unwrap();
        [one, other].map(|stream| Link::new(Stream::Unix(stream)))
    }

    /// The runtime marks a socket readable before it wakes whom it was told to wake; who is woken by somebody else in
    /// between has read everything by then, and must be known to the runtime again before it waits on.
    #[tokio::test(flavor = "multi_thread", worker_threads = 8)]
    async fn who_is_woken_by_others_while_bytes_come_is_woken_for_the_next_bytes() {
        let pairs = (0..32).map(|_| {
            let (ours, theirs) = UnixStream::pair().unwrap();
            let nudge = Arc::new(Notify::new());
            let asking = tokio::task::spawn_blocking({
                let (nudge, theirs) = (Arc::clone(&nudge), theirs.into_std().unwrap());
                move || ask(theirs, &nudge)
            });
            tokio::spawn(answer(Link::new(Stream::Unix(ours)), nudge));
            asking
        });
        for asking in pairs.collect::<Vec<_>>() {
            asking.await.unwrap();
        }
    }

    async fn answer(mut link: Link, nudge: Arc<Notify>) {
        while !link.has_ended() {
            tokio::select! {
                moved = link.moved(true) => drop(moved.unwrap()),
                () = nudge.notified() => {}
            }
            link.output.extend_from_slice(&link.input.split());
            link.flush().await.unwrap();
        }
    }

    /// Every other byte comes alone.
    fn ask(mut peer: std::os::unix::net::UnixStream, nudge: &Notify) {
        peer.set_nonblocking(false).unwrap();
        peer.set_read_timeout(Some(PATIENCE)).unwrap();
        for round in 0..ROUNDS {
            peer.write_all(b"?").unwrap();
            if round % 2 == 0 {
                nudge.notify_one();
            }
            peer.read_exact(&mut [0]).expect("an answer");
        }
    }

    const ROUNDS: u64 = 10_000;
    const PATIENCE: Duration = Duration::from_secs(30);

    #[tokio::test]
    async fn empty_buffers_are_given_back_by_their_true_size() {
        for (used, most, kept) in [(100, 0, false), (100, 200, true), (100, 99, false)] {
            let [mut link, _peer] = pair();
            link.output.extend_from_slice(&vec![0; used]);
            link.flush().await.unwrap();
            assert!(link.holds_buffers());
            link.release_larger_buffers(most);
            assert_eq!(link.output.try_reclaim(1), kept, "{used} {most}");
            assert_eq!(link.holds_buffers(), kept);
        }
    }

    #[tokio::test]
    async fn buffers_in_use_are_kept() {
        let [mut link, _peer] = pair();
        link.input.extend_from_slice(b"unused");
        link.output.extend_from_slice(b"to be written");
        link.flush().await.unwrap();
        link.release_buffers();
        assert_eq!((&link.input[..], link.output.capacity()), (&b"unused"[..], 0));
        assert!(link.holds_buffers());
    }

    #[tokio::test]
    async fn what_is_read_in_long_and_short_reads_is_whole() {
        let [mut link, mut peer] = pair();
        let sent: Vec<u8> = (0..SHORT_READ * 5 + 7).map(|n| n as u8).collect();
        for part in [&sent[..3], &sent[3..]] {
            peer.output.extend_from_slice(part);
            peer.flush().await.unwrap();
        }
        assert!(link.fill(sent.len()).await.unwrap());
        assert_eq!(link.input, sent);
        drop(peer);
        assert!(!link.fill(sent.len() + 1).await.unwrap() && link.has_ended());
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn less_than_is_gathered_is_read_only_when_it_is_gathered_no_more() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let peer = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let mut link = Link::new(Stream::Tcp(listener.accept().await.unwrap().0));
        let mut peer = Link::new(Stream::Tcp(peer));
        let moment = Duration::from_millis(50);
        // What would nearly fill the window is reported whatever the option says, and the window is small at first.
        for _ in 0..64 {
            peer.output.resize(GATHERED, 0);
            peer.flush().await.unwrap();
            assert!(link.fill(GATHERED).await.unwrap());
            link.input.clear();
        }
        assert!(link.gather(true));
        let (some, more) = ([1; 100], vec![2; GATHERED - 100]);
        peer.output.extend_from_slice(&some);
        peer.flush().await.unwrap();
        assert!(timeout(moment, link.moved(true)).await.is_err());
        peer.output.extend_from_slice(&more);
        peer.flush().await.unwrap();
        assert!(link.fill(GATHERED).await.unwrap());
        assert_eq!(link.input, [&some[..], &more[..]].concat());
        link.input.clear();
        peer.output.extend_from_slice(&some);
        peer.flush().await.unwrap();
        assert!(timeout(moment, link.moved(true)).await.is_err());
        assert!(link.gather(false));
        assert!(link.fill(some.len()).await.unwrap());
        assert!(link.gather(true));
        peer.output.extend_from_slice(&some);
        peer.flush().await.unwrap();
        drop(peer);
        assert!(!link.fill(GATHERED).await.unwrap());
        assert_eq!(link.input, [some, some].concat());
    }

    #[tokio::test]
    async fn nothing_is_gathered_from_a_unix_socket() {
        let [mut link, _peer] = pair();
        assert!(!link.gather(true) && link.gather(false));
    }
}
