//! TLS as its server, without input or output: records on one side, plaintext on the other.
//!
//! Holds no buffer but for what is in it, so that a client that says nothing costs no more than its keys.

use std::sync::Arc;

use bytes::{Buf, BytesMut};
use rustls::server::{ServerConnectionData, UnbufferedServerConnection};
use rustls::unbuffered::{
    ConnectionState, EncodeError, EncodeTlsData, EncryptError, InsufficientSizeError,
    UnbufferedStatus, WriteTraffic,
};
use rustls::{CommonState, Error, InvalidMessage, ServerConfig};
use tokio::io::ReadBuf;

/// One connection's TLS.
pub(super) struct Records {
    tls: UnbufferedServerConnection,
    /// Bytes of the peer that are no whole record yet.
    incoming: BytesMut,
    /// Decrypted, and not yet given.
    plain: BytesMut,
    /// Encrypted, and not yet sent. Whoever sends takes them from the front.
    pub(super) outgoing: BytesMut,
    /// The peer said that it sends no more.
    ended: bool,
    said_goodbye: bool,
    /// What ended it: rustls must not be asked again, since it still knows of bytes that are gone.
    failed: Option<Error>,
}

/// What is to be encrypted once that is possible.
#[derive(Clone, Copy)]
enum Say<'a> {
    Nothing,
    Data(&'a [u8]),
    Goodbye,
}

impl Records {
    pub(super) fn new(config: Arc<ServerConfig>) -> Result<Self, Error> {
        Ok(Self {
            tls: UnbufferedServerConnection::new(config)?,
            incoming: BytesMut::new(),
            plain: BytesMut::new(),
            outgoing: BytesMut::new(),
            ended: false,
            said_goodbye: false,
            failed: None,
        })
    }

    /// What was negotiated.
    pub(super) fn state(&self) -> &CommonState {
        &self.tls
    }

    /// The handshake is over, and all of it is sent. A ticket, which could wait for what comes next, is sent at once: a
    /// client whose system gathers small pieces (Nagle) sends nothing more before its last one is acknowledged, which
    /// takes the system 40 ms when nothing is sent with it.
    pub(super) fn is_established(&self) -> bool {
        !self.tls.is_handshaking() && self.outgoing.is_empty()
    }

    /// The peer said that it sends no more, and all that it sent was given.
    pub(super) fn has_ended(&self) -> bool {
        self.ended && self.plain.is_empty()
    }

    /// There is plaintext to be given, or the end to be told.
    pub(super) fn has_news(&self) -> bool {
        self.ended || !self.plain.is_empty()
    }

    /// Gives what there is room for.
    pub(super) fn give(&mut self, into: &mut ReadBuf<'_>) {
        let len = self.plain.len().min(into.remaining());
        into.put_slice(&self.plain[..len]);
        discard(&mut self.plain, len);
    }

    /// Keeps bytes of the peer without looking into them; true when they hold a whole ClientHello, or something
    /// else that is to be judged.
    pub(super) fn hold(&mut self, bytes: &[u8]) -> bool {
        self.incoming.extend_from_slice(bytes);
        self.incoming.len() > MOST_HELD || holds_handshake_message(&self.incoming)
    }

    /// Uses bytes of the peer, and gives what there is room for. After an error `outgoing` has the alert that
    /// tells the peer, and all that follows fails alike.
    pub(super) fn take(&mut self, bytes: &mut [u8], into: &mut ReadBuf<'_>) -> Result<(), Error> {
        if self.incoming.is_empty() {
            let used = self.process(bytes, into, Say::Nothing)?;
            self.incoming.extend_from_slice(&bytes[used..]);
        } else {
            self.incoming.extend_from_slice(bytes);
            self.process_held(into, Say::Nothing)?;
        }
        // rustls uses no part of a message up, in however many records it comes.
        if self.incoming.len() > MOST_HELD {
            let error = InvalidMessage::HandshakePayloadTooLarge.into();
            return Err(self.failed.insert(error).clone());
        }
        Ok(())
    }

    /// Encrypts for the peer.
    pub(super) fn encrypt(&mut self, data: &[u8]) -> Result<(), Error> {
        self.process_held(&mut ReadBuf::new(&mut []), Say::Data(data))
    }

    /// Tells the peer that no more comes.
    pub(super) fn say_goodbye(&mut self) -> Result<(), Error> {
        if self.said_goodbye || self.failed.is_some() || self.tls.is_handshaking() {
            return Ok(());
        }
        self.said_goodbye = true;
        self.process_held(&mut ReadBuf::new(&mut []), Say::Goodbye)
    }

    fn process_held(&mut self, into: &mut ReadBuf<'_>, say: Say<'_>) -> Result<(), Error> {
        let mut held = std::mem::take(&mut self.incoming);
        let used = self.process(&mut held, into, say)?;
        discard(&mut held, used);
        self.incoming = held;
        Ok(())
    }

    fn process(
        &mut self,
        bytes: &mut [u8],
        into: &mut ReadBuf<'_>,
        say: Say<'_>,
    ) -> Result<usize, Error> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        self.advance(bytes, into, say).map_err(|error| self.failed.insert(error).clone())
    }

    /// Lets rustls go as far as it can with the bytes; how many of them are used up.
    fn advance(
        &mut self,
        bytes: &mut [u8],
        into: &mut ReadBuf<'_>,
        say: Say<'_>,
    ) -> Result<usize, Error> {
        let mut used = 0;
        loop {
            let UnbufferedStatus { discard, state } =
                self.tls.process_tls_records(&mut bytes[used..]);
            let goes_on = match state {
                Ok(ConnectionState::ReadTraffic(mut traffic)) => {
                    while let Some(record) = traffic.next_record() {
                        let payload = record?.payload;
                        let (now, later) = payload.split_at(payload.len().min(into.remaining()));
                        into.put_slice(now);
                        self.plain.extend_from_slice(later);
                    }
                    true
                }
                Ok(ConnectionState::EncodeTlsData(data)) => {
                    encode(data, &mut self.outgoing)?;
                    true
                }
                // It goes from `outgoing`, in its turn.
                Ok(ConnectionState::TransmitTlsData(data)) => {
                    data.done();
                    true
                }
                Ok(ConnectionState::PeerClosed) => {
                    self.ended = true;
                    true
                }
                Ok(ConnectionState::WriteTraffic(traffic)) => {
                    write(traffic, say, &mut self.outgoing)?;
                    false
                }
                Ok(ConnectionState::BlockedHandshake | ConnectionState::Closed) => match say {
                    Say::Data(_) => return Err(Error::HandshakeNotComplete),
                    Say::Nothing | Say::Goodbye => false,
                },
                // It is not accepted.
                Ok(ConnectionState::ReadEarlyData(_)) => return Err(Error::HandshakeNotComplete),
                Ok(state) => return Err(Error::General(format!("unknown state {state:?}"))),
                Err(error) => {
                    self.write_alerts()?;
                    return Err(error);
                }
            };
            used += discard;
            if !goes_on {
                return Ok(used);
            }
        }
    }

    /// What rustls has to say of an error. It looks for more of the peer's when it has nothing to say, and must not.
    fn write_alerts(&mut self) -> Result<(), Error> {
        while self.tls.wants_write()
            && let Ok(ConnectionState::EncodeTlsData(data)) =
                self.tls.process_tls_records(&mut []).state
        {
            encode(data, &mut self.outgoing)?;
        }
        Ok(())
    }
}

fn encode(
    mut data: EncodeTlsData<'_, ServerConnectionData>,
    outgoing: &mut BytesMut,
) -> Result<(), Error> {
    append(outgoing, 0, |room| match data.encode(room) {
        Ok(len) => Ok(Ok(len)),
        Err(EncodeError::InsufficientSize(size)) => Err(size),
        Err(EncodeError::AlreadyEncoded) => Ok(Err(Error::EncryptError)),
    })
}

fn write(
    mut traffic: WriteTraffic<'_, ServerConnectionData>,
    say: Say<'_>,
    outgoing: &mut BytesMut,
) -> Result<(), Error> {
    let outcome = |result| match result {
        Ok(len) => Ok(Ok(len)),
        Err(EncryptError::InsufficientSize(size)) => Err(size),
        Err(EncryptError::EncryptExhausted) => Ok(Err(Error::EncryptError)),
    };
    match say {
        Say::Nothing => Ok(()),
        Say::Data(data) => {
            let room = data.len() + (data.len() / RECORD + 1) * OVERHEAD;
            append(outgoing, room, |room| outcome(traffic.encrypt(data, room)))
        }
        Say::Goodbye => {
            append(outgoing, OVERHEAD, |room| outcome(traffic.queue_close_notify(room)))
        }
    }
}

/// Appends what `write` writes into a slice, which it may find too short once.
fn append(
    outgoing: &mut BytesMut,
    room: usize,
    mut write: impl FnMut(&mut [u8]) -> Result<Result<usize, Error>, InsufficientSizeError>,
) -> Result<(), Error> {
    let begin = outgoing.len();
    outgoing.resize(begin + room, 0);
    let mut written = write(&mut outgoing[begin..]);
    if let Err(InsufficientSizeError { required_size }) = written {
        outgoing.resize(begin + required_size, 0);
        written = write(&mut outgoing[begin..]);
    }
    let written = written.unwrap_or(Err(Error::EncryptError));
    outgoing.truncate(begin + *written.as_ref().unwrap_or(&0));
    written.map(|_| ())
}

/// Takes bytes from the front; an empty buffer is given back.
pub(super) fn discard(buf: &mut BytesMut, len: usize) {
    if len == buf.len() {
        *buf = BytesMut::new();
    } else {
        buf.advance(len);
    }
}

/// Whether handshake records at the front hold a whole message (RFC 8446, 4 and 5.1), in as many records as it may be.
/// True as well if there is anything else, which is for rustls to refuse.
fn holds_handshake_message(mut records: &[u8]) -> bool {
    let mut head = Vec::with_capacity(MESSAGE_HEADER);
    let mut held = 0;
    for _ in 0..MOST_RECORDS {
        let Some((header, rest)) = records.split_first_chunk::<RECORD_HEADER>() else {
            return false;
        };
        let [content, _, _, high, low] = *header;
        let Some((fragment, rest)) =
            rest.split_at_checked(usize::from(u16::from_be_bytes([high, low])))
        else {
            return content != HANDSHAKE;
        };
        if content != HANDSHAKE || fragment.is_empty() {
            return true;
        }
        head.extend(fragment.iter().take(MESSAGE_HEADER - head.len()));
        held += fragment.len();
        if let [_, a, b, c] = head[..]
            && held >= MESSAGE_HEADER + u32::from_be_bytes([0, a, b, c]) as usize
        {
            return true;
        }
        records = rest;
    }
    true
}

/// Content type, version and length (RFC 8446, 5.1).
const RECORD_HEADER: usize = 5;

/// Content type of handshake messages (RFC 8446, 5.1).
const HANDSHAKE: u8 = 22;

/// Type and length of a handshake message (RFC 8446, 4).
const MESSAGE_HEADER: usize = 4;

/// The longest plaintext of a record (RFC 8446, 5.1).
const RECORD: usize = 1 << 14;

/// More than a record adds to its plaintext, in TLS 1.2 and 1.3.
const OVERHEAD: usize = 64;

/// More than a handshake message of 64 KiB, the longest that rustls takes, needs in records of a usual length.
const MOST_HELD: usize = 80 << 10;

/// Records in which a first message may come before it is judged as it is.
const MOST_RECORDS: usize = 64;

#[cfg(test)]
mod tests {
    use super::super::Acceptor;
    use super::super::testing::Pki;
    use super::*;

    #[test]
    fn a_hello_is_whole_when_all_its_fragments_are() {
        let whole = [&[22, 3, 1, 0, 7, 1, 0, 0, 3][..], &[1, 2, 3]].concat();
        let parted = [&[22, 3, 1, 0, 2, 1, 0][..], &[22, 3, 1, 0, 5, 0, 3, 1, 2, 3]].concat();
        for message in [&whole, &parted] {
            for len in 0..message.len() {
                assert!(!holds_handshake_message(&message[..len]), "{:?}", &message[..len]);
            }
            assert!(holds_handshake_message(message));
        }
        for other in [&[21, 3, 1, 0, 2][..], b"GET / HTTP/1.1", &[22, 3, 1, 0, 0]] {
            assert!(holds_handshake_message(other), "{other:?}");
        }
    }

    fn config() -> Arc<ServerConfig> {
        let pki = Pki::new();
        pki.self_signed("server", "localhost");
        Acceptor::load(&pki.path("server.crt"), &pki.path("server.key")).unwrap().config()
    }

    #[test]
    fn what_is_no_hello_fails_once_and_for_all() {
        let record = |content: u8, fragment: &[u8]| {
            [&[content, 3, 1, 0, fragment.len() as u8][..], fragment].concat()
        };
        let config = config();
        let two = [&[1, 0, 0, 2, 3, 3][..], &[1, 0, 0, 2, 3, 3]].concat();
        for bytes in [
            [record(22, &[1, 0xff, 0xff, 0xff]), record(21, &[2, 40])].concat(),
            [record(22, &[1, 0, 0, 9, 3]), record(21, &[2, 40])].concat(),
            [record(22, &[1, 0, 0, 9, 3]), record(23, &[2, 40])].concat(),
            record(22, &two),
            record(22, &[&two[..], &[1, 0, 0, 9, 3]].concat()),
            record(22, &[0, 0, 0, 0]),
            record(22, &[]),
            record(99, &[1]),
            b"GET / HTTP/1.1\r\n\r\n".to_vec(),
        ] {
            for cut in 0..bytes.len() {
                let mut records = Records::new(Arc::clone(&config)).unwrap();
                let nowhere = &mut ReadBuf::new(&mut []);
                let (one, other) = bytes.split_at(cut);
                let first = records.take(&mut one.to_vec(), nowhere);
                let second = records.take(&mut other.to_vec(), nowhere);
                let error = first.and(second).unwrap_err();
                assert_eq!(records.take(&mut bytes.clone(), nowhere), Err(error.clone()));
                assert_eq!(records.encrypt(b"x"), Err(error));
                assert_eq!(records.say_goodbye(), Ok(()));
                assert!(records.incoming.is_empty());
            }
        }
    }

    #[test]
    fn a_message_in_ever_more_records_is_held_up_to_a_bound() {
        let config = config();
        let mut records = Records::new(Arc::clone(&config)).unwrap();
        let nowhere = &mut ReadBuf::new(&mut []);
        let begun = records.take(&mut [22, 3, 1, 0, 4, 1, 0, 0xff, 0xff], nowhere);
        assert_eq!(begun, Ok(()));
        let mut more = [22, 3, 1, 0, 1, 7].repeat(1000);
        let taken = (0..100).take_while(|_| records.take(&mut more, nowhere).is_ok()).count();
        assert!(taken < 20 && records.incoming.len() <= MOST_HELD + more.len());
        assert!(records.take(&mut more, nowhere).is_err());
        let mut held = Records::new(config).unwrap();
        let rounds = (0..100).take_while(|_| !held.hold(&[22, 3, 1, 0, 1, 1])).count();
        assert_eq!(rounds, MOST_RECORDS - 1);
    }
}
