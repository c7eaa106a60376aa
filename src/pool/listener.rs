//! The server that listens for all clients of a pool (docs/semantics.md "Notifications").
//!
//! A task that lives while somebody listens. Its server takes a slot of the host, and none of the
//! pool's own; it is opened for the first channel and closed behind the last.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Buf;
use thiserror::Error;
use tokio::sync::{Notify, oneshot};
use tokio::time::sleep_until;
use tracing::{info, warn};

use super::channels::{Batch, Ear, MemberId, Table};
use super::{Pool, lock};
use crate::clock::Instant;
use crate::host::Full;
use crate::metrics::{CloseReason, ServerState};
use crate::net::link::Moved;
use crate::server::{Broken, OpenError, Server, ServerError};
use crate::session::listening::{CUT, Channels, Joined, write_statements};
use crate::wire::build;
use crate::wire::frame::{self, HEADER};

/// Who listens in a pool, and whether somebody is at it.
#[derive(Debug, Default)]
pub(super) struct Listener {
    state: Mutex<State>,
    wake: Notify,
    /// Tasks that have not ended.
    tasks: AtomicUsize,
    /// There is a server, or one is being opened or closed.
    connected: AtomicBool,
    next_id: AtomicU64,
}

#[derive(Debug, Default)]
struct State {
    table: Table<oneshot::Sender<Joined>>,
    /// There is a task that looks at the table.
    running: bool,
}

/// A client's place among those who listen; dropped, it is left.
#[derive(Debug)]
pub struct Membership {
    pool: Arc<Pool>,
    id: MemberId,
}

/// Why there is no server that listens.
#[derive(Debug, Error)]
enum NoListener {
    #[error("no slot of the host was free in time: {0}")]
    Full(Full),
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error("it was to be opened by older settings, or with an older credential")]
    Outdated,
}

/// How a server stopped to listen.
enum Ended {
    /// Nobody listens any more.
    Deserted,
    /// The pool is about another place now.
    Outdated,
    /// The pool is paused.
    Paused,
    Lost(Broken),
}

/// What the server was told and has not answered.
#[derive(Default)]
struct Work {
    batch: Option<Batch>,
    /// ReadyForQuery messages that are due.
    awaited: usize,
    /// When it must have answered, or is to be asked for a sign of life.
    due: Option<Instant>,
}

impl Membership {
    /// A place for one client.
    pub fn new(pool: &Arc<Pool>) -> Self {
        let id = MemberId(pool.listener.next_id.fetch_add(1, Ordering::Relaxed));
        Self { pool: Arc::clone(pool), id }
    }

    /// The client listens to just these channels from now on; what it may be told at once or later is
    /// an answer, or, where the receiver fails, none.
    pub fn join(&self, ear: Ear, channels: &Channels) -> oneshot::Receiver<Joined> {
        let (waiter, answer) = oneshot::channel();
        let listener = &self.pool.listener;
        let mut state = lock(&listener.state);
        let ready = if channels.is_empty() {
            state.table.leave(self.id);
            Some((waiter, Joined::Already))
        } else {
            state.table.join(self.id, ear, channels, rand::random(), waiter)
        };
        if !channels.is_empty() && !std::mem::replace(&mut state.running, true) {
            listener.tasks.fetch_add(1, Ordering::AcqRel);
            tokio::spawn(run(Arc::clone(&self.pool)));
        }
        drop(state);
        tell(ready);
        listener.wake.notify_one();
        answer
    }
}

impl Membership {
    /// The client listens by itself. It is told here only what stands before a cut, of which it gets the
    /// number.
    pub fn leave_at_cut(&self) -> oneshot::Receiver<Joined> {
        let (waiter, answer) = oneshot::channel();
        let cut = rand::random();
        let known = lock(&self.pool.listener.state).table.leave_at(self.id, cut);
        let joined = if known { Joined::Until(cut) } else { Joined::Refused };
        tell(Some((waiter, joined)));
        self.pool.listener.wake.notify_one();
        answer
    }
}

impl Drop for Membership {
    fn drop(&mut self) {
        lock(&self.pool.listener.state).table.leave(self.id);
        self.pool.listener.wake.notify_one();
    }
}

impl Listener {
    /// No connection of its own is left.
    pub(super) fn is_idle(&self) -> bool {
        self.tasks.load(Ordering::Acquire) == 0
    }

    /// From now on it has, or may have, a connection, until what is returned is dropped.
    fn connection(&self) -> Connection<'_> {
        self.connected.store(true, Ordering::Release);
        Connection(&self.connected)
    }

    /// It has a connection.
    pub(super) fn is_connected(&self) -> bool {
        self.connected.load(Ordering::Acquire)
    }

    /// The pool has changed.
    pub(super) fn look(&self) {
        self.wake.notify_one();
    }

    /// Whether the task may end: then the next who joins starts another.
    fn rests(&self) -> bool {
        let mut state = lock(&self.state);
        state.running = !state.table.is_empty();
        !state.running
    }

    /// Whether nobody listens; then the server is as good as closed.
    fn is_deserted(&self) -> bool {
        let mut state = lock(&self.state);
        let deserted = state.table.is_empty();
        if deserted {
            state.table = Table::default();
        }
        deserted
    }

    async fn deserted(&self) {
        while !self.is_deserted() {
            self.wake.notified().await;
        }
    }
}

/// The time in which there is a server, or one is being opened or closed.
struct Connection<'a>(&'a AtomicBool);

impl Drop for Connection<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

async fn run(pool: Arc<Pool>) {
    let mut pause = FIRST_PAUSE;
    while !pool.listener.rests() {
        // Ahead of the look at the pause, so that whoever pauses the pool sees it.
        let connection = pool.listener.connection();
        if pool.is_quiet() {
            drop(connection);
            pool.listener.wake.notified().await;
            continue;
        }
        let opened = tokio::select! {
            opened = pool.open_listener() => opened,
            () = pool.listener.deserted() => continue,
        };
        match opened {
            Ok(server) => {
                pause = FIRST_PAUSE;
                pool.listen_by(server).await;
            }
            // There is something else to try.
            Err(NoListener::Outdated) => {}
            Err(error) => {
                drop(connection);
                warn!(pool = pool.name(), %error, "cannot open a server that listens");
                pool.refuse_listeners();
                tokio::select! {
                    () = tokio::time::sleep(pause) => {}
                    () = pool.listener.deserted() => {}
                }
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
        }
    }
    pool.listener.tasks.fetch_sub(1, Ordering::AcqRel);
}

impl Pool {
    fn name(&self) -> String {
        format!("{}/{}", self.key.database, self.key.user)
    }

    async fn open_listener(self: &Arc<Self>) -> Result<Server, NoListener> {
        let generation = self.generation();
        let settings = self.settings();
        let deadline = Instant::now() + settings.timeouts.checkout;
        let slot = settings.host.take(self.owner(&settings), deadline).await;
        let slot = slot.map_err(NoListener::Full)?;
        let permit = slot.permit().await;
        let attempt = self.attempt(generation);
        let mut server = match self.open(slot, &settings, &attempt, permit).await {
            Ok(server) => server,
            Err(error) => {
                let outdated = !self.is_of_now(&attempt);
                return Err(if outdated { NoListener::Outdated } else { error.into() });
            }
        };
        self.count_as_its_own(&mut server);
        self.metrics().opened.increment(1);
        server.entry.set(ServerState::Listening);
        Ok(server)
    }

    fn refuse_listeners(&self) {
        let waiting = lock(&self.listener.state).table.refuse_waiting();
        for waiter in waiting {
            tell(Some((waiter, Joined::Refused)));
        }
    }

    /// Listens until there is a reason not to, and closes the server.
    async fn listen_by(&self, mut server: Server) {
        info!(pool = self.name(), server = server.id, "a server listens");
        server.at_rest = false;
        let reason = match self.listen(&mut server).await {
            Ended::Deserted => CloseReason::Idle,
            Ended::Outdated => CloseReason::Reload,
            Ended::Paused => CloseReason::Paused,
            Ended::Lost(error) => {
                warn!(pool = self.name(), server = server.id, %error, "the server that listens is lost");
                if matches!(error, Broken::Refused(_)) {
                    self.refuse_listeners();
                }
                CloseReason::Broken
            }
        };
        server.at_rest = reason != CloseReason::Broken;
        if reason != CloseReason::Idle {
            lock(&self.listener.state).table.on_lost();
        }
        self.metrics().closed.count(reason);
        if !server.close(self.settings().timeouts.server_close).await {
            self.metrics().close_timeouts.increment(1);
        }
    }

    async fn listen(&self, server: &mut Server) -> Ended {
        let timeout = self.settings().timeouts.server_connect;
        build::query(&mut server.link.output, &format!("LISTEN {CUT}"));
        let mut work = Work { awaited: 1, due: Some(Instant::now() + timeout), batch: None };
        loop {
            if work.awaited == 0 {
                if self.listener.is_deserted() {
                    return Ended::Deserted;
                }
                if server.generation != self.generation.load(Ordering::Relaxed) {
                    return Ended::Outdated;
                }
                if self.is_quiet() {
                    return Ended::Paused;
                }
                self.begin_work(server, &mut work);
            }
            let due = work.due.unwrap_or_else(|| Instant::now() + CHECK);
            // Each can be dropped while it waits.
            tokio::select! {
                moved = server.link.moved(true) => match moved {
                    Ok(Moved::End) => return Ended::Lost(Broken::Ended),
                    Ok(Moved::Read | Moved::Drained) => {
                        if let Err(error) = self.take_in(server, &mut work) {
                            return Ended::Lost(error);
                        }
                    }
                    Err(error) => return Ended::Lost(error.into()),
                },
                () = self.listener.wake.notified() => {}
                () = sleep_until(due.into()) => match work.awaited {
                    0 => {
                        build::empty(&mut server.link.output, b'S');
                        work = Work { awaited: 1, due: Some(Instant::now() + timeout), batch: None };
                    }
                    _ => return Ended::Lost(Broken::TimedOut),
                },
            }
        }
    }

    /// Tells the server what to listen to next.
    fn begin_work(&self, server: &mut Server, work: &mut Work) {
        let Some(batch) = lock(&self.listener.state).table.next_batch() else {
            server.link.release_buffers();
            return;
        };
        let out = &mut server.link.output;
        for (command, channels) in [("LISTEN", &batch.listen), ("UNLISTEN", &batch.unlisten)] {
            if !channels.is_empty() {
                write_statements(out, command, channels);
                work.awaited += 1;
            }
        }
        work.due = Some(Instant::now() + self.settings().timeouts.server_connect);
        work.batch = Some(batch);
    }

    /// Uses what the server has sent.
    fn take_in(&self, server: &mut Server, work: &mut Work) -> Result<(), Broken> {
        let input = &mut server.link.input;
        while let Some(header) = frame::backend(input)? {
            if header.total() > MAX_MESSAGE {
                return Err(Broken::TooMuch("bytes in a message"));
            }
            if input.len() < header.total() {
                break;
            }
            input.advance(HEADER);
            let body = input.split_to(header.body).freeze();
            match header.tag {
                b'A' => lock(&self.listener.state).table.on_notification(&body),
                b'Z' => self.on_ready(work),
                b'E' => return Err(Broken::Refused(ServerError::new(body))),
                b'C' | b'N' | b'S' | b'I' => {}
                tag => return Err(Broken::OutOfTurn(tag)),
            }
        }
        Ok(())
    }

    fn on_ready(&self, work: &mut Work) {
        work.awaited = work.awaited.saturating_sub(1);
        if work.awaited > 0 {
            return;
        }
        work.due = None;
        let Some(batch) = work.batch.take() else { return };
        let joined = lock(&self.listener.state).table.on_done(&batch);
        for ready in joined {
            tell(Some(ready));
        }
    }
}

fn tell(ready: Option<(oneshot::Sender<Joined>, Joined)>) {
    if let Some((waiter, joined)) = ready {
        // It may have left.
        let _ = waiter.send(joined);
    }
}

/// How often a server that has nothing to say is asked whether it is there.
const CHECK: Duration = Duration::from_secs(30);

/// Longest message of a server that listens: a payload has less than 8,000 bytes (`sql-notify.html`).
const MAX_MESSAGE: usize = 64 << 10;

/// Pauses between attempts to open a server.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// See [`FIRST_PAUSE`].
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
