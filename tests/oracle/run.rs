//! Takes a program's steps on one side, one after the other, and notes what each session sees.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::program::{Act, Login, Program, wire};
use super::seen::{Note, Record, Seen, line};
use crate::support::events::Event;
use crate::support::{Raw, Target, sync, terminate};

/// Where a program runs.
pub struct Side<'a> {
    /// Where its sessions connect.
    pub target: Target,
    /// A superuser's connection straight to the same database.
    pub admin: &'a mut Raw,
    /// What the other side has seen; what it waited for is waited for here.
    pub reference: Option<&'a Record>,
}

/// One session on one side.
#[derive(Default)]
struct Session {
    raw: Option<Raw>,
    pid: Vec<u8>,
    /// The status of the last ReadyForQuery.
    status: Option<u8>,
    notes: Vec<Note>,
}

/// Runs all steps; every session is closed at the end.
pub fn run(program: &Program, side: &mut Side<'_>) -> Record {
    let mut sessions: Vec<Session> = Vec::new();
    sessions.resize_with(program.sessions, Session::default);
    let mut record = Record::default();
    let listens = program.listens();
    for (number, step) in program.steps.iter().enumerate() {
        let session = &mut sessions[step.session];
        let seen = match &step.act {
            Act::LogIn(login) => session.log_in(&side.target, login),
            Act::Send(messages) => {
                let (bytes, ends) = wire(messages);
                session.send(&bytes, ends)
            }
        };
        record.steps.push(seen);
        if matches!(step.act, Act::LogIn(_)) {
            settle_locks(side, number, &mut record);
        }
        if listens {
            settle_notes(side, number, &mut sessions, &mut record);
        }
    }
    for session in &mut sessions {
        session.leave();
    }
    record.notes = sessions.into_iter().map(|session| session.notes).collect();
    record
}

/// A session that left has given its locks back when PostgreSQL closes its connection; a proxy
/// cleans up behind it a little later.
fn settle_locks(side: &mut Side<'_>, number: usize, record: &mut Record) {
    let expected = side.reference.and_then(|reference| reference.locks.get(&number));
    let deadline = Instant::now() + SETTLING;
    loop {
        let count = side.admin.value("execute locks");
        let done = expected.is_none_or(|expected| *expected == count) || Instant::now() > deadline;
        if done {
            record.locks.insert(number, count);
            return;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Idle sessions read what notifications a step has caused: after a Sync they must have come;
/// through a proxy, which may answer that itself, as many are awaited as came without it. Where nobody
/// listens none are waited for, and those that come are read with the next answer.
fn settle_notes(side: &Side<'_>, number: usize, sessions: &mut [Session], record: &mut Record) {
    let expected = side.reference.and_then(|reference| reference.note_counts.get(number));
    let deadline = Instant::now() + SETTLING;
    let idle = |session: &Session| session.status == Some(b'I') && session.raw.is_some();
    if expected.is_none() {
        sessions.iter_mut().filter(|session| idle(session)).for_each(Session::raise_barrier);
    }
    for (index, session) in sessions.iter_mut().enumerate().filter(|(_, session)| idle(session)) {
        match expected {
            None => session.reach_barrier(),
            Some(counts) => session.await_notes(counts[index], deadline),
        }
    }
    record.note_counts.push(sessions.iter().map(|session| session.notes.len()).collect());
}

impl Session {
    fn log_in(&mut self, target: &Target, login: &Login) -> Seen {
        self.leave();
        let target = target.as_user(login.user, "");
        let mut raw = target.open();
        raw.patience = PATIENCE;
        let startup = target.startup(crate::support::V3_0, &login.parameters);
        let events = raw.log_in(&startup, "");
        self.pid = raw.key.get(..4).unwrap_or_default().to_vec();
        self.raw = Some(raw);
        // Authentication and key differ.
        self.note(events.into_iter().filter(|event| !event.is('R') && !event.is('K')).collect())
    }

    /// Ends as clients do, and waits until the other side has closed.
    fn leave(&mut self) {
        if let Some(mut raw) = self.raw.take() {
            raw.send(&terminate());
            raw.rest();
        }
        self.status = None;
    }

    fn send(&mut self, bytes: &[u8], ends: usize) -> Seen {
        let Some(raw) = &mut self.raw else {
            return Seen::default();
        };
        raw.send(bytes);
        let events = raw.ready(ends);
        self.note(events)
    }

    /// What was seen, without other sessions' notifications, which go to the session's list.
    fn note(&mut self, events: Vec<Event>) -> Seen {
        let before = self.status;
        let mut seen = Seen::default();
        for event in events {
            match &event {
                Event::Message('A', body) => {
                    let note = Note::new(body, &self.pid);
                    if note.own {
                        seen.lines.push(line(&event));
                    } else if before.is_some_and(|status| status != b'I') && self.status == before {
                        seen.early += 1;
                    }
                    self.notes.push(note);
                    continue;
                }
                Event::Message('Z', body) => self.status = body.first().copied(),
                Event::Message('S', _) => continue,
                Event::Message(..) => {}
                Event::Eof | Event::Silence => {
                    self.raw = None;
                    self.status = None;
                }
            }
            seen.lines.push(line(&event));
        }
        seen.parameters =
            self.raw.as_ref().map_or_else(BTreeMap::new, |raw| raw.parameters.clone());
        seen
    }

    /// PostgreSQL tells an idle session what there is before it answers a Sync.
    fn raise_barrier(&mut self) {
        if let Some(raw) = &mut self.raw {
            raw.send(&sync());
        }
    }

    fn reach_barrier(&mut self) {
        let Some(raw) = &mut self.raw else { return };
        for event in raw.ready(1) {
            if let Event::Message('A', body) = &event {
                self.notes.push(Note::new(body, &self.pid));
            }
        }
    }

    fn await_notes(&mut self, count: usize, deadline: Instant) {
        let Some(raw) = &mut self.raw else { return };
        while self.notes.len() < count {
            raw.patience = deadline.saturating_duration_since(Instant::now());
            match raw.event() {
                Event::Message('A', body) => self.notes.push(Note::new(&body, &self.pid)),
                Event::Message(..) => {}
                Event::Eof | Event::Silence => break,
            }
        }
        raw.patience = PATIENCE;
    }
}

/// How long a reply may take; no step waits for another session. On a busy machine, compilation of a query alone
/// (`enable_seqscan = off` makes it worth that) can take seconds.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long what comes by itself may take.
const SETTLING: Duration = Duration::from_millis(300);
