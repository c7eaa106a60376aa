//! The SQL console: tables about pgweir for those who run it, over the clients' own listeners.
//!
//! [`machine`] speaks the protocol, [`command`] knows what can be said, [`views`] makes the rows; here is
//! the thin shell around them. Invariant: what it changes it has others change, who check it first.

pub mod columns;
pub mod command;
pub mod machine;
mod refusal;
pub mod table;
pub mod views;

use std::future::poll_fn;
use std::io;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use arc_swap::ArcSwap;
use thiserror::Error;
use tracing::{info, warn};

use self::machine::{Hands, Machine, Step};
use self::views::Sources;
use super::change::Change;
use crate::client::edge;
use crate::config::Config;
use crate::net::link::Link;
use crate::registry::{Notice, Registration};
use crate::wire::startup::CancelKey;
use crate::wire::{Report, build};

/// A user of the console, who has logged in and may use it.
pub struct Visitor {
    /// The connection, AuthenticationOk at the end of its output.
    pub link: Link,
    /// The user's name.
    pub user: String,
    /// Its place in the registry.
    pub registration: Registration,
    /// What a cancel would name.
    pub cancel_key: CancelKey,
    /// Where it is said who may use the console.
    pub config: Arc<ArcSwap<Config>>,
}

/// How a visit ended.
#[derive(Debug, Error)]
pub enum Ending {
    /// The user has gone.
    #[error("the user left")]
    Left,
    /// The connection failed.
    #[error("the connection failed: {0}")]
    Lost(#[from] io::Error),
    /// pgweir ends it, and may say why.
    #[error("ended")]
    Ended(Option<Box<Report>>),
}

/// What wakes the console.
enum Woken {
    Moved,
    Told(Notice),
    /// It is time to look again at what is waited for.
    Time,
}

/// Serves a user of the console until it leaves.
pub async fn serve(mut visitor: Visitor, sources: &Sources) -> Ending {
    visitor.welcome();
    let mut machine = Machine::default();
    let Err(ending) = visitor.converse(&mut machine, sources).await;
    if let Ending::Ended(Some(report)) = &ending {
        report.encode(&mut visitor.link.output);
    }
    // The user may not read; what it is told is worth a short wait and no more.
    let _ = tokio::time::timeout(GOODBYE, visitor.link.close()).await;
    ending
}

impl Visitor {
    fn welcome(&mut self) {
        let out = &mut self.link.output;
        for (name, value) in command::PARAMETERS {
            build::parameter_status(out, name, value.as_bytes());
        }
        build::parameter_status(out, "session_authorization", self.user.as_bytes());
        build::backend_key_data(out, &self.cancel_key);
        build::ready_for_query(out, b'I');
    }

    async fn converse(
        &mut self,
        machine: &mut Machine,
        sources: &Sources,
    ) -> Result<std::convert::Infallible, Ending> {
        loop {
            let Link { input, output, .. } = &mut self.link;
            let rows = |show| views::rows(show, sources);
            let change = |change: &Change| {
                let done = (sources.change)(change);
                match &done {
                    Ok(()) => info!(user = self.user, ?change, "changed at the console"),
                    Err(error) => {
                        warn!(
                            user = self.user,
                            ?change,
                            error = error.to_string(),
                            "a change at the console was refused"
                        );
                    }
                }
                done
            };
            let finished = &*sources.finished;
            let may_change = self.config.load().admin.lets_change(&self.user);
            let hands = Hands { rows: &rows, may_change, change: &change, finished };
            let step = machine.step(input, output, hands);
            match step {
                // A user that does not read is not answered on.
                Step::Again if !self.link.is_congested() => continue,
                Step::Again | Step::More | Step::Waiting => {}
                Step::Left => return Err(Ending::Left),
                Step::Ended(report) => return Err(Ending::Ended(report)),
            }
            let waits = matches!(step, Step::Waiting);
            let listens = waits || matches!(step, Step::More);
            if listens && self.link.has_ended() {
                return Err(Ending::Left);
            }
            match self.woken(listens, waits).await? {
                Woken::Moved | Woken::Time => {}
                Woken::Told(notice) => self.on_notice(notice, machine)?,
            }
        }
    }

    async fn woken(&mut self, read: bool, waits: bool) -> Result<Woken, Ending> {
        let idle = self.config.load().timeouts.idle_client;
        let time = match idle {
            _ if waits => LOOK_AGAIN,
            Duration::ZERO => Duration::MAX,
            idle => idle,
        };
        // What it sends ahead has a bound.
        let read = read && self.link.input.len() < MAX_AHEAD;
        let woken = poll_fn(|cx| {
            if let Poll::Ready(notice) = self.registration.poll_notice(cx) {
                return Poll::Ready(Ok(Woken::Told(notice)));
            }
            self.link.poll_moved(cx, read).map(|moved| Ok(moved.map(|_| Woken::Moved)?))
        });
        match tokio::time::timeout(time, woken).await {
            Ok(woken) => woken,
            Err(_) if waits => Ok(Woken::Time),
            Err(_) => Err(Ending::Ended(Some(Box::new(edge::idle_client())))),
        }
    }

    fn on_notice(&mut self, notice: Notice, machine: &mut Machine) -> Result<(), Ending> {
        match notice {
            Notice::Cancel => {
                drop(self.registration.mailbox().take_canceling());
                machine.cancel(&mut self.link.output);
            }
            Notice::Reload if self.config.load().admin.lets_in(&self.user) => {}
            Notice::News => {}
            Notice::Reload | Notice::Drain | Notice::Terminate => {
                return Err(Ending::Ended(Some(Box::new(edge::draining()))));
            }
        }
        Ok(())
    }
}

/// How often what is waited for is looked at.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// Bytes that are read ahead while something is waited for. A message is no longer.
const MAX_AHEAD: usize = 65 << 10;

/// How long a goodbye may take.
const GOODBYE: Duration = Duration::from_secs(2);
