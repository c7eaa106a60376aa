//! Clients with pgweir and models of PostgreSQL behind it, beside a model of PostgreSQL for each
//! client alone: what a client sees must be the same.

use super::pair::{Pair, Stop};
use super::postgres::Postgres;
use super::script;
use crate::session::{Attach, Leftovers, Parting};
use crate::wire::Reader;

/// What a client does at one go, and what happens then.
#[derive(Debug, Clone)]
pub struct Step {
    pub client: usize,
    pub script: String,
    pub then: Then,
    /// Decides which free server is given.
    pub choice: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Then {
    /// More is sent before anything is read.
    Nothing,
    /// The server gets what was sent so far, and so many bytes of its answer are read.
    Part(usize),
    /// Everything is answered.
    Drain,
}

pub struct World {
    pub pair: Pair,
    servers: Vec<Postgres>,
    alone: Vec<Postgres>,
}

impl World {
    pub fn new(clients: usize, servers: usize, statement_limit: usize) -> Self {
        assert!(servers >= clients);
        let mut pair = Pair::with_limit(servers, statement_limit);
        for _ in 1..clients {
            pair.client(&[]);
        }
        Self {
            pair,
            servers: (0..servers).map(|_| Postgres::default()).collect(),
            alone: (0..clients).map(|_| Postgres::default()).collect(),
        }
    }

    /// Their transactions begin without a server.
    pub fn lazily(mut self) -> Self {
        for client in &mut self.pair.clients {
            client.session.set_lazy_begin(true);
        }
        self
    }

    /// Does all steps, ends what is open, and compares.
    pub fn run(&mut self, steps: &[Step]) -> Result<(), String> {
        for step in steps {
            self.step(step)?;
        }
        for client in 0..self.alone.len() {
            let script = "S Q(rollback) S".into();
            self.step(&Step { client, script, then: Then::Drain, choice: 0 })?;
            self.compare(client)?;
        }
        Ok(())
    }

    fn step(&mut self, step: &Step) -> Result<(), String> {
        let bytes = script::frontend(&step.script);
        self.alone[step.client].feed(&bytes);
        self.pair.clients[step.client].input.extend_from_slice(&bytes);
        self.go_on(step.client, step.choice)?;
        match step.then {
            Then::Nothing => Ok(()),
            Then::Part(len) => {
                self.serve(step.client);
                self.read(step.client, len)
            }
            Then::Drain => self.drain(step.client, step.choice),
        }
    }

    /// The client's input is used; it is given a server if it needs one.
    fn go_on(&mut self, client: usize, choice: usize) -> Result<(), String> {
        self.pair.pump_client(client);
        if !matches!(self.pair.clients[client].stop, Stop::NeedServer(_)) {
            return Ok(());
        }
        assert_eq!(self.pair.clients[client].server, None, "a server is asked for twice");
        let count = self.servers.len();
        let taken = |s: usize| self.pair.clients.iter().any(|c| c.server == Some(s));
        let server = (0..count).map(|i| (i + choice) % count).find(|s| !taken(*s)).unwrap();
        if self.pair.attach(client, server) == Attach::Wait {
            self.serve(client);
            self.read(client, usize::MAX)?;
            assert_eq!(self.pair.clients[client].settled.take(), Some(Ok(())));
            self.pair.pump_client(client);
        }
        Ok(())
    }

    /// The client's server does all that it was sent.
    fn serve(&mut self, client: usize) {
        let Some(server) = self.pair.clients[client].server else { return };
        let received = self.pair.servers[server].received.split();
        self.servers[server].feed(&received);
    }

    /// pgweir reads so much of what the server has sent.
    fn read(&mut self, client: usize, len: usize) -> Result<(), String> {
        let Some(server) = self.pair.clients[client].server else { return Ok(()) };
        let out = &mut self.servers[server].out;
        let sent = out.split_to(len.min(out.len()));
        self.pair.servers[server].sent.extend_from_slice(&sent);
        let read = self.pair.pump_server(client);
        read.map_err(|e| format!("{e}\n{:#?}", self.pair.clients[client].session))
    }

    fn drain(&mut self, client: usize, choice: usize) -> Result<(), String> {
        for round in 0.. {
            assert!(round < 10_000, "never done: {:?}", self.pair.clients[client].session);
            self.go_on(client, choice + round)?;
            self.serve(client);
            let before = self.progress(client);
            self.read(client, 7 + round * 5 % 60)?;
            self.pair.pump_client(client);
            self.release_if_free(client)?;
            if self.progress(client) == before && !self.needs_server(client) {
                break;
            }
        }
        let side = &self.pair.clients[client];
        if side.input.is_empty() {
            return Ok(());
        }
        Err(format!("{:?} for ever: {:#?}", side.stop, side.session))
    }

    fn needs_server(&self, client: usize) -> bool {
        let side = &self.pair.clients[client];
        side.server.is_none() && matches!(side.stop, Stop::NeedServer(_))
    }

    fn progress(&self, client: usize) -> (usize, usize, usize, usize) {
        let side = &self.pair.clients[client];
        let server = side.server.map(|s| (&self.pair.servers[s], &self.servers[s]));
        let (received, unread) =
            server.map_or((0, 0), |(peer, model)| (peer.received.len(), model.out.len()));
        (side.input.len(), side.output.len(), received, unread)
    }

    /// Whenever the session says that its server may go, it goes, and is found free.
    fn release_if_free(&mut self, client: usize) -> Result<(), String> {
        let side = &self.pair.clients[client];
        let Some(server) = side.server else { return Ok(()) };
        let between = side.is_between_messages() && self.pair.servers[server].is_between_messages();
        if !side.session.may_release() || !between {
            return Ok(());
        }
        if self.pair.part(client) != Parting::Free {
            return Ok(());
        }
        let leftovers = self.pair.clients[client].session.leftovers();
        self.serve(client);
        let model = &self.servers[server];
        if !model.is_free() || !model.out.is_empty() {
            return Err(format!("released before {:?}", script::show_backend(&model.out)));
        }
        assert!(self.pair.servers[server].sent.is_empty());
        self.pair.release(client);
        self.clean(server, leftovers);
        self.check_statements(server)
    }

    /// What is known of the server's statements is what it has.
    fn check_statements(&self, server: usize) -> Result<(), String> {
        let known = &self.pair.servers[server].backend.statements;
        let (known, has) =
            (known.len() + known.own_count(), self.servers[server].statement_count());
        if known == has { Ok(()) } else { Err(format!("{has} statements, {known} known")) }
    }

    fn clean(&mut self, server: usize, leftovers: Leftovers) {
        if leftovers == Leftovers::Nothing {
            return;
        }
        let backend = &mut self.pair.servers[server].backend;
        backend.settings.on_parameter_status("TimeZone", b"UTC").unwrap();
        if leftovers == Leftovers::Resettable {
            self.servers[server].soft_reset();
            backend.on_cleaned();
        } else {
            self.servers[server].discard_all();
            backend.on_discarded();
        }
    }

    fn compare(&mut self, client: usize) -> Result<(), String> {
        let zones = ["UTC", OWN_ZONES[client]];
        let seen = shown(&self.pair.clients[client].output.split(), &zones);
        let expected = shown(&self.alone[client].out.split(), &zones);
        if seen == expected {
            return Ok(());
        }
        let (seen, expected) = (seen.join(" "), expected.join(" "));
        Err(format!("client {client} saw\n  {seen}\nand alone would have seen\n  {expected}"))
    }
}

/// The zones that each client sets besides UTC.
pub const OWN_ZONES: [&str; 3] = ["Tokyo", "Paris", "Lima"];

/// Messages as text. A literal is read in one of the client's own zones: which one is known only
/// where the statement was not prepared anew on another server.
fn shown(mut bytes: &[u8], zones: &[&str]) -> Vec<String> {
    let mut shown = Vec::new();
    while let Some((tag, body, rest)) = script::split(bytes) {
        let mut text = script::show_backend(&bytes[..bytes.len() - rest.len()]);
        if tag == b'D' {
            let value = Reader::new(body.get(6..).unwrap_or_default()).rest();
            if let Some(zone) = value.strip_prefix(b"literal ") {
                assert!(zones.iter().any(|z| z.as_bytes() == zone), "another client's: {text}");
                text = "D(literal)".into();
            }
        }
        shown.push(text);
        bytes = rest;
    }
    shown
}
