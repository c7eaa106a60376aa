//! A blocking client that says exactly what it is told to, and notes exactly what it hears.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore};

use super::certificates::Certificate;
use super::events::{Event, detailed, line};
use super::messages::{cancel_request, message, query};
use super::scram;

/// The kernel drops whatever comes for this end, as if its machine were gone.
pub fn die(stream: &TcpStream) {
    // BPF_RET | BPF_K: no byte of any segment passes.
    let nothing = [socket2::SockFilter::new(0x06, 0, 0, 0)];
    socket2::SockRef::from(stream).attach_filter(&nothing).expect("SO_ATTACH_FILTER");
}

/// A connection before, during or after its login.
pub struct Raw {
    stream: TcpStream,
    tls: Option<ClientConnection>,
    received: Vec<u8>,
    eof: bool,
    /// What ParameterStatus said, last value.
    pub parameters: BTreeMap<String, String>,
    /// The body of BackendKeyData.
    pub key: Vec<u8>,
    /// Sent in one write with the last message of a SCRAM login.
    pub eager: Vec<u8>,
    /// The user name inside the SCRAM exchange, which servers ignore.
    pub scram_user: String,
    /// How long to wait for the next message.
    pub patience: Duration,
}

impl Raw {
    /// A bare TCP connection.
    pub fn open(addr: SocketAddr) -> Self {
        let stream = TcpStream::connect(addr).expect("a TCP connection");
        stream.set_nodelay(true).expect("TCP_NODELAY");
        Self {
            stream,
            tls: None,
            received: Vec::new(),
            eof: false,
            parameters: BTreeMap::new(),
            key: Vec::new(),
            eager: Vec::new(),
            scram_user: String::new(),
            patience: Duration::from_secs(10),
        }
    }

    /// Shakes hands as a TLS client that trusts one certificate; `alpn` may be empty.
    pub fn start_tls(&mut self, trusted: &Certificate, alpn: &[&str]) -> std::io::Result<()> {
        let mut roots = RootCertStore::empty();
        let pem = CertificateDer::from_pem_file(trusted.cert()).expect("a certificate");
        roots.add(pem).expect("a root certificate");
        let mut config =
            ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        let name = ServerName::from(IpAddr::from(Ipv4Addr::LOCALHOST));
        let mut tls = ClientConnection::new(Arc::new(config), name).expect("a TLS client");
        self.stream.set_read_timeout(Some(self.patience))?;
        while tls.is_handshaking() {
            tls.complete_io(&mut self.stream)?;
        }
        self.tls = Some(tls);
        Ok(())
    }

    /// Sends bytes; that the peer may have closed meanwhile shows when reading.
    pub fn send(&mut self, bytes: &[u8]) {
        let _ = match &mut self.tls {
            Some(tls) => rustls::Stream::new(tls, &mut self.stream).write_all(bytes),
            None => self.stream.write_all(bytes),
        };
    }

    /// Sends bytes from another thread, for more than the peer takes at once.
    pub fn send_in_background(&self, bytes: Vec<u8>) -> JoinHandle<()> {
        let mut stream = self.stream.try_clone().expect("a second handle of a socket");
        std::thread::spawn(move || stream.write_all(&bytes).expect("the peer takes all"))
    }

    /// Sends a startup packet and answers what is asked until the first ReadyForQuery, a refusal or
    /// the end.
    pub fn log_in(&mut self, startup: &[u8], password: &str) -> Vec<Event> {
        self.send(startup);
        let mut seen = Vec::new();
        loop {
            let event = self.event();
            seen.push(event.clone());
            let Event::Message(letter, body) = event else {
                return seen;
            };
            match letter {
                'R' => seen.extend(self.authenticate(&body, password)),
                'K' => self.key = body,
                'E' => {
                    seen.extend(self.rest());
                    return seen;
                }
                'Z' => return seen,
                _ => {}
            }
        }
    }

    /// Answers one authentication request; the events of a SCRAM exchange but its first.
    fn authenticate(&mut self, body: &[u8], password: &str) -> Vec<Event> {
        match body.first_chunk::<4>().map(|code| u32::from_be_bytes(*code)) {
            Some(3) => self.send(&message('p', &[password.as_bytes(), &[0]].concat())),
            Some(10) => return self.scram(password),
            _ => {}
        }
        Vec::new()
    }

    fn scram(&mut self, password: &str) -> Vec<Event> {
        let nonce = format!("{:x}", rand::random::<u128>());
        let first_bare = format!("n={},r={nonce}", self.scram_user);
        let first = format!("n,,{first_bare}");
        self.send(&sasl_initial("SCRAM-SHA-256", first.len() as i32, first.as_bytes()));
        let challenge = self.event();
        let Event::Message('R', body) = &challenge else {
            return self.refused(challenge);
        };
        let server_first = String::from_utf8_lossy(&body[4..]).into_owned();
        let (answer, expected) = scram::final_message(password, &first_bare, &server_first);
        let eager = std::mem::take(&mut self.eager);
        self.send(&[message('p', answer.as_bytes()), eager].concat());
        let verdict = self.event();
        let Event::Message('R', body) = &verdict else {
            return self.refused(verdict);
        };
        assert_eq!(&body[4..], expected.as_bytes(), "the server's signature");
        vec![challenge, verdict]
    }

    /// Pushed back, so that the loop of the login sees it in its turn.
    fn refused(&mut self, event: Event) -> Vec<Event> {
        if let Event::Message(letter, body) = event {
            self.received.splice(0..0, message(letter, &body));
        }
        Vec::new()
    }

    /// The next message, or why there is none.
    pub fn event(&mut self) -> Event {
        let deadline = Instant::now() + self.patience;
        loop {
            if let Some(event) = self.parse() {
                return event;
            }
            if self.eof {
                return Event::Eof;
            }
            if !self.read(deadline) {
                return Event::Silence;
            }
        }
    }

    /// Up to the `count`th ReadyForQuery, or the end.
    pub fn ready(&mut self, count: usize) -> Vec<Event> {
        let mut seen = Vec::new();
        let mut ready = 0;
        while ready < count {
            let event = self.event();
            ready += usize::from(event.is('Z'));
            let end = !matches!(event, Event::Message(..));
            seen.push(event);
            if end {
                break;
            }
        }
        seen
    }

    /// Up to the first message of one type, or the end.
    pub fn until(&mut self, letter: char) -> Vec<Event> {
        let mut seen = Vec::new();
        loop {
            let event = self.event();
            let end = !matches!(event, Event::Message(..)) || event.is(letter);
            seen.push(event);
            if end {
                return seen;
            }
        }
    }

    /// Up to the ReadyForQuery behind a row with this value.
    pub fn until_row(&mut self, value: &str) -> Vec<Event> {
        let mut seen = self.until('D');
        while seen.last().is_some_and(|last| {
            last.is('D') && last.row().is_some_and(|row| row[0].as_deref() != Some(value))
        }) {
            seen.extend(self.until('D'));
        }
        seen.extend(self.until('Z'));
        seen
    }

    /// Up to the end of the connection.
    pub fn rest(&mut self) -> Vec<Event> {
        self.until('\0')
    }

    /// What comes within a time, however much keeps coming; for asserting that nothing does.
    pub fn within(&mut self, time: Duration) -> Vec<Event> {
        let (before, end) = (self.patience, Instant::now() + time);
        let mut seen = Vec::new();
        loop {
            self.patience = end.saturating_duration_since(Instant::now());
            let event = self.event();
            let ended = !matches!(event, Event::Message(..));
            if event != Event::Silence {
                seen.push(event);
            }
            if ended || Instant::now() >= end {
                self.patience = before;
                return seen;
            }
        }
    }

    /// The next `count` bytes as they are: answers to SSLRequest, or none at the end.
    pub fn bytes(&mut self, count: usize) -> Vec<u8> {
        let deadline = Instant::now() + self.patience;
        while self.received.len() < count && !self.eof && self.read(deadline) {}
        let count = count.min(self.received.len());
        self.received.drain(..count).collect()
    }

    /// Sends and notes everything up to ReadyForQuery.
    pub fn ask(&mut self, bytes: &[u8]) -> String {
        self.send(bytes);
        line(&self.ready(1))
    }

    /// As [`Self::ask`], with the texts of errors.
    pub fn ask_in_detail(&mut self, bytes: &[u8]) -> String {
        self.send(bytes);
        detailed(&self.ready(1))
    }

    /// Runs SQL that must succeed; the rows.
    pub fn rows(&mut self, sql: &str) -> Vec<Vec<Option<String>>> {
        self.send(&query(sql));
        let seen = self.ready(1);
        let failed = seen.iter().any(|event| event.is('E')) || !seen.iter().any(|e| e.is('Z'));
        assert!(!failed, "{sql}: {}", detailed(&seen));
        seen.iter().filter_map(Event::row).collect()
    }

    /// Runs SQL that must succeed; the first column of the first row.
    pub fn value(&mut self, sql: &str) -> String {
        let first = self.rows(sql).into_iter().next().and_then(|row| row.into_iter().next());
        first.flatten().unwrap_or_default()
    }

    /// Sends a CancelRequest for this connection over another one; what came back before its end.
    pub fn cancel(&self) -> Vec<u8> {
        cancel(self.stream.peer_addr().expect("peer address"), &self.key)
    }

    /// Ends our side only; that the peer may have closed meanwhile shows when reading.
    pub fn shut_down_write(&mut self) {
        let _ = self.stream.shutdown(Shutdown::Write);
    }

    /// Ends with a TCP reset.
    pub fn reset(self) {
        let socket = socket2::SockRef::from(&self.stream);
        socket.set_linger(Some(Duration::ZERO)).expect("SO_LINGER");
    }

    /// Its machine is gone: nothing that is sent to it is acknowledged any more.
    pub fn die(&self) {
        die(&self.stream);
    }

    fn parse(&mut self) -> Option<Event> {
        let header = self.received.first_chunk::<5>()?;
        let len = u32::from_be_bytes([header[1], header[2], header[3], header[4]]) as usize;
        let letter = char::from(header[0]);
        if self.received.len() < len + 1 {
            return None;
        }
        let frame: Vec<u8> = self.received.drain(..=len).collect();
        let event = Event::Message(letter, frame[5..].to_vec());
        if letter == 'S' {
            let mut parts = frame[5..].split(|byte| *byte == 0).map(String::from_utf8_lossy);
            let name = parts.next().unwrap_or_default().into_owned();
            self.parameters.insert(name, parts.next().unwrap_or_default().into_owned());
        }
        Some(event)
    }

    /// Reads some more; false when the time is over.
    fn read(&mut self, deadline: Instant) -> bool {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return false;
        }
        self.stream.set_read_timeout(Some(left)).expect("a read timeout");
        let mut chunk = vec![0; 65_536];
        let read = match &mut self.tls {
            Some(tls) => rustls::Stream::new(tls, &mut self.stream).read(&mut chunk),
            None => self.stream.read(&mut chunk),
        };
        match read {
            Ok(0) => self.eof = true,
            Ok(count) => self.received.extend(&chunk[..count]),
            Err(error) => match error.kind() {
                ErrorKind::WouldBlock | ErrorKind::TimedOut => return false,
                ErrorKind::Interrupted => {}
                // A reset: PostgreSQL causes one too when it closes with our bytes unread.
                _ => self.eof = true,
            },
        }
        true
    }
}

/// Sends a CancelRequest and waits for the end of that connection; what came back before it.
pub fn cancel(addr: SocketAddr, key: &[u8]) -> Vec<u8> {
    let mut raw = Raw::open(addr);
    raw.send(&cancel_request(key));
    raw.bytes(usize::MAX)
}

/// SASLInitialResponse with any mechanism, length word and data.
pub fn sasl_initial(mechanism: &str, len: i32, data: &[u8]) -> Vec<u8> {
    message('p', &[mechanism.as_bytes(), &[0], &len.to_be_bytes()[..], data].concat())
}
