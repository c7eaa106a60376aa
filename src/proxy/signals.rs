//! What signals do: SIGTERM and SIGINT drain, a second one ends at once, SIGHUP reloads. Where something is waited for
//! before the drain, each ends one wait, and the next at once.

use std::io;
use std::pin::pin;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing::{info, warn};

use super::{Running, drain};
use crate::admin::http::Phase;

struct Signals {
    terminate: Signal,
    interrupt: Signal,
    quit: Signal,
    hangup: Signal,
}

#[derive(Debug, PartialEq, Eq)]
enum Told {
    End,
    Quit,
    Reload,
}

/// Serves until it is told to end.
pub(super) async fn serve(mut running: Running) -> io::Result<()> {
    let mut signals = Signals::new()?;
    loop {
        match signals.next().await {
            Told::Reload => running.shared.reload(),
            Told::Quit => return Ok(()),
            Told::End => break,
        }
    }
    if leave(&running, &mut signals).await == Told::Quit
        || part(&mut running, &mut signals).await == Told::Quit
    {
        return Ok(());
    }
    info!("draining: no new clients, transactions may end");
    let mut drained = pin!(drain::drain(&mut running));
    loop {
        tokio::select! {
            () = &mut drained => break info!("drained"),
            told = signals.next() => match told {
                Told::Reload => {}
                Told::End | Told::Quit => break warn!("told a second time: ending at once"),
            },
        }
    }
    Ok(())
}

/// Serves on while those who send clients here find out that they should not.
async fn leave(running: &Running, signals: &mut Signals) -> Told {
    let shared = &running.shared;
    let delay = shared.config.load().timeouts.drain_delay;
    if delay.is_zero() {
        return Told::End;
    }
    shared.phase.send_replace(Phase::Leaving);
    info!(?delay, "leaving: clients are accepted still, and /readyz says 503");
    wait(running, signals, tokio::time::sleep(delay)).await
}

/// Serves those who are connected until they leave, and accepts no others.
async fn part(running: &mut Running, signals: &mut Signals) -> Told {
    let patience = running.shared.config.load().timeouts.drain_clients;
    if patience.is_zero() {
        return Told::End;
    }
    running.shared.phase.send_replace(Phase::Leaving);
    running.accepting.shutdown().await;
    info!(?patience, "leaving: no new clients, those that are there may stay for so long");
    wait(running, signals, async {
        drain::clients_gone(running, patience).await;
    })
    .await
}

async fn wait(running: &Running, signals: &mut Signals, over: impl Future<Output = ()>) -> Told {
    let mut over = pin!(over);
    loop {
        tokio::select! {
            () = &mut over => return Told::End,
            told = signals.next() => match told {
                Told::Reload => running.shared.reload(),
                Told::End | Told::Quit => return told,
            },
        }
    }
}

impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            quit: signal(SignalKind::quit())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    async fn next(&mut self) -> Told {
        tokio::select! {
            _ = self.terminate.recv() => Told::End,
            _ = self.interrupt.recv() => Told::End,
            _ = self.quit.recv() => Told::Quit,
            _ = self.hangup.recv() => Told::Reload,
        }
    }
}
