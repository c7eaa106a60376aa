//! What signals do: SIGTERM and SIGINT drain, a second one ends at once, SIGHUP reloads.

use std::io;
use std::pin::pin;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing::{info, warn};

use super::{Running, drain};

struct Signals {
    terminate: Signal,
    interrupt: Signal,
    quit: Signal,
    hangup: Signal,
}

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
