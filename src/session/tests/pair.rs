//! A scripted client, the session machine, and scripted servers, all in memory.

use std::sync::Arc;

use bytes::{Buf, Bytes, BytesMut};

use super::script;
use crate::session::knowledge::Knowledge;
use crate::session::settings::Settings;
use crate::session::{
    Attach, Backend, ClientFate, Out, Parting, ServerFate, Session, SessionError, is_inspectable,
};
use crate::wire::Report;
use crate::wire::frame::{self, HEADER};

/// Why no more of a client's input was used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    More,
    Wait,
    NeedServer(u8),
    Terminate,
}

/// One client.
pub struct Client {
    pub session: Session,
    pub input: BytesMut,
    pub output: BytesMut,
    pub server: Option<usize>,
    pub stop: Stop,
    /// Its messages wait until the server has taken its settings.
    waits: bool,
    /// What came of that.
    pub settled: Option<Result<(), Bytes>>,
    rest: usize,
    forward: bool,
}

/// One server as pgweir sees it.
pub struct Peer {
    pub backend: Backend,
    /// What pgweir sent and the server has not read.
    pub received: BytesMut,
    /// What the server sent and pgweir has not read.
    pub sent: BytesMut,
    rest: usize,
    forward: bool,
}

impl Peer {
    fn new(limit: usize) -> Self {
        let mut reported = Settings::default();
        for (name, value) in REPORTED {
            reported.set(name, value.as_bytes());
        }
        Self {
            backend: Backend::at_login(reported, limit, 0),
            received: BytesMut::new(),
            sent: BytesMut::new(),
            rest: 0,
            forward: false,
        }
    }
}

/// What every server reports at login.
pub const REPORTED: [(&str, &str); 4] = [
    ("DateStyle", "ISO, MDY"),
    ("TimeZone", "UTC"),
    ("application_name", ""),
    ("client_encoding", "UTF8"),
];

/// Clients and servers of one pool.
pub struct Pair {
    pub knowledge: Arc<Knowledge>,
    pub clients: Vec<Client>,
    pub servers: Vec<Peer>,
}

impl Pair {
    /// One client and `servers` servers.
    pub fn new(servers: usize) -> Self {
        Self::with_limit(servers, 200)
    }

    /// The same, with servers that hold `limit` statements.
    pub fn with_limit(servers: usize, limit: usize) -> Self {
        let mut pair = Self {
            knowledge: Arc::default(),
            clients: Vec::new(),
            servers: (0..servers).map(|_| Peer::new(limit)).collect(),
        };
        // No scenario is about the catalogue unless it says so.
        pair.knowledge.refuse_catalogue(0);
        pair.knowledge.claim_reading();
        pair.client(&[]);
        pair
    }

    /// One client that has server 0.
    pub fn attached() -> Self {
        let mut pair = Self::new(1);
        assert_eq!(pair.attach(0, 0), Attach::Ready);
        pair
    }

    /// One more client, with settings of its StartupMessage; it has read its welcome.
    pub fn client(&mut self, startup: &[(&str, &str)]) -> usize {
        let mut settings = Settings::default();
        for (name, value) in startup {
            settings.set(name, value.as_bytes());
        }
        let mut session = Session::new(Arc::clone(&self.knowledge), settings);
        let mut welcome = BytesMut::new();
        let reported = self.servers.first().map(|s| s.backend.settings.baseline().clone());
        session.welcome(&reported.unwrap_or_default(), &mut welcome);
        self.clients.push(Client {
            session,
            input: BytesMut::new(),
            output: BytesMut::new(),
            server: None,
            stop: Stop::More,
            waits: false,
            settled: None,
            rest: 0,
            forward: false,
        });
        self.clients.len() - 1
    }

    /// Gives a server to a client; what the client has sent follows, unless it must wait.
    pub fn attach(&mut self, client: usize, server: usize) -> Attach {
        let side = &mut self.clients[client];
        assert_eq!(side.server, None);
        side.server = Some(server);
        let peer = &mut self.servers[server];
        let attach = side.session.attach(&mut peer.backend, &mut peer.received);
        side.waits = attach == Attach::Wait;
        self.pump_client(client);
        attach
    }

    /// Takes the server from a client, which must be done with it.
    pub fn release(&mut self, client: usize) {
        let side = &mut self.clients[client];
        assert!(side.session.may_release(), "{:?}", side.session);
        side.session.detach();
        side.server = None;
    }

    /// The client has no more work for its server: may it go?
    pub fn part(&mut self, client: usize) -> Parting {
        let side = &mut self.clients[client];
        assert!(side.session.may_release(), "{:?}", side.session);
        let peer = &mut self.servers[side.server.expect("no server")];
        side.session.part(&mut peer.backend, &mut peer.received)
    }

    /// The client sends.
    pub fn send(&mut self, client: usize, script: &str) -> Stop {
        self.clients[client].input.extend_from_slice(&script::frontend(script));
        self.pump_client(client)
    }

    /// A server sends; the client that has it goes on.
    pub fn answer(&mut self, server: usize, script: &str) {
        self.try_answer(server, script).unwrap();
    }

    pub fn try_answer(&mut self, server: usize, script: &str) -> Result<(), SessionError> {
        self.servers[server].sent.extend_from_slice(&script::backend(script));
        let client = self.clients.iter().position(|c| c.server == Some(server)).unwrap();
        self.pump_server(client)?;
        self.pump_client(client);
        Ok(())
    }

    /// What a server must have received since the last call.
    #[track_caller]
    pub fn server_got(&mut self, server: usize, script: &str) {
        let received = self.servers[server].received.split();
        assert_eq!(script::show_frontend(&received), script, "received by server {server}");
    }

    /// What a client must have received since the last call.
    #[track_caller]
    pub fn client_got(&mut self, client: usize, script: &str) {
        let received = self.clients[client].output.split();
        assert_eq!(script::show_backend(&received), script, "received by client {client}");
    }

    /// One exchange from beginning to end.
    #[track_caller]
    pub fn exchange(&mut self, client: usize, [sends, reaches, answers, gets]: [&str; 4]) {
        self.send(client, sends);
        let server = self.clients[client].server.expect("no server");
        self.server_got(server, reaches);
        self.answer(server, answers);
        self.client_got(client, gets);
    }

    /// The head of the client's input is refused with an error of pgweir's own.
    pub fn refuse(&mut self, client: usize, report: &Report) {
        let side = &mut self.clients[client];
        let header = frame::frontend(&side.input).unwrap().unwrap();
        side.session.refuse(header.tag, &mut side.output, |out| report.encode(out));
        side.rest = header.total();
        side.forward = false;
        self.pump_client(client);
    }

    /// Uses what the client has sent, as far as possible.
    pub fn pump_client(&mut self, client: usize) -> Stop {
        let side = &mut self.clients[client];
        if side.waits || side.session.is_asking() {
            side.stop = Stop::Wait;
            return Stop::Wait;
        }
        let mut peer = side.server.map(|s| &mut self.servers[s]);
        side.stop = loop {
            side.pass(peer.as_deref_mut());
            if side.rest > 0 {
                break Stop::More;
            }
            if let Some(stop) = side.next(peer.as_deref_mut()) {
                break stop;
            }
        };
        side.stop
    }

    /// Uses what the client's server has sent, as far as possible.
    pub fn pump_server(&mut self, client: usize) -> Result<(), SessionError> {
        let side = &mut self.clients[client];
        let peer = &mut self.servers[side.server.unwrap()];
        loop {
            peer.pass(&mut side.output);
            if peer.rest > 0 || !peer.next(&mut side.session, &mut side.output)? {
                break;
            }
        }
        if side.waits
            && let Some(result) = side.session.sync_result()
        {
            side.waits = result.is_err();
            side.settled = Some(result);
        }
        Ok(())
    }
}

impl Client {
    fn next(&mut self, peer: Option<&mut Peer>) -> Option<Stop> {
        let Some(header) = frame::frontend(&self.input).unwrap() else { return Some(Stop::More) };
        let end = self.input.len().min(header.total());
        let body = &self.input[HEADER..end];
        if !is_inspectable(header, body) {
            return Some(Stop::More);
        }
        if peer.is_none()
            && matches!(header.tag, b'P' | b'B')
            && let Some(length) = self.session.answer_segment_lazily(&self.input, &mut self.output)
        {
            (self.rest, self.forward) = (length, false);
            return None;
        }
        let mut none = BytesMut::new();
        let (backend, server) = match peer {
            Some(peer) => (Some(&mut peer.backend), &mut peer.received),
            None => (None, &mut none),
        };
        let mut out = Out { client: &mut self.output, server };
        let fate = self.session.on_client(header, body, backend, &mut out);
        assert!(none.is_empty());
        (self.rest, self.forward) = match fate {
            ClientFate::Forward => (header.total(), true),
            ClientFate::Rewritten { skip } => {
                self.input.advance(HEADER + skip);
                (header.body - skip, true)
            }
            ClientFate::Consumed => (header.total(), false),
            ClientFate::Wait => return Some(Stop::Wait),
            ClientFate::NeedServer => return Some(Stop::NeedServer(header.tag)),
            ClientFate::Terminate => return Some(Stop::Terminate),
        };
        None
    }

    fn pass(&mut self, peer: Option<&mut Peer>) {
        let len = self.rest.min(self.input.len());
        if let (true, Some(peer)) = (self.forward, peer) {
            peer.received.extend_from_slice(&self.input[..len]);
        }
        self.input.advance(len);
        self.rest -= len;
    }

    /// The client is between two messages.
    pub fn is_between_messages(&self) -> bool {
        self.rest == 0
    }
}

impl Peer {
    fn next(&mut self, session: &mut Session, out: &mut BytesMut) -> Result<bool, SessionError> {
        let Some(header) = frame::backend(&self.sent).unwrap() else { return Ok(false) };
        let end = self.sent.len().min(header.total());
        let body = &self.sent[HEADER..end];
        if !session.is_server_inspectable(header, body) {
            return Ok(false);
        }
        self.forward =
            session.on_server(header, body, &mut self.backend, out)? == ServerFate::Forward;
        self.rest = header.total() - end;
        if self.forward {
            out.extend_from_slice(&self.sent[..end]);
        }
        self.sent.advance(end);
        if session.is_reply_due() {
            session.write_replies(out);
        }
        session.write_barrier(&mut self.backend, &mut self.received);
        Ok(true)
    }

    fn pass(&mut self, out: &mut BytesMut) {
        let len = self.rest.min(self.sent.len());
        if self.forward {
            out.extend_from_slice(&self.sent[..len]);
        }
        self.sent.advance(len);
        self.rest -= len;
    }

    pub fn is_between_messages(&self) -> bool {
        self.rest == 0
    }
}
