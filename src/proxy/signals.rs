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

/// Serves until it is told to end.
pub(super) async fn serve(mut running: Running) -> io::Result<()> {
    let mut signals = Signals::new()?;
    loop {
        tokio::select! {
            () = signals.end() => break,
            _ = signals.hangup.recv() => running.reload(),
            _ = signals.quit.recv() => return Ok(()),
        }
    }
    info!("draining: no new clients, transactions may end");
    let mut drained = pin!(drain::drain(&mut running));
    tokio::select! {
        () = &mut drained => info!("drained"),
        () = signals.end() => warn!("told a second time: ending at once"),
        _ = signals.quit.recv() => warn!("told to quit: ending at once"),
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

    async fn end(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
