//! A relay between pgweir and PostgreSQL that fails on demand.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU16, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::cluster::Cluster;
use super::raw::die;

/// What goes wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// Nothing.
    None,
    /// CancelRequests are taken and never answered by an end-of-file.
    SwallowCancels,
    /// Connections end when so many more bytes have come from PostgreSQL.
    CutAfter(usize),
    /// New connections are answered with these bytes instead of PostgreSQL's, and closed.
    Answer(Vec<u8>),
    /// New connections are accepted and never answered.
    Silence,
    /// New connections reach PostgreSQL only after so long.
    Slow(Duration),
    /// What PostgreSQL sends has these bytes in the place of those, of the same length.
    Replace(&'static [u8], &'static [u8]),
}

/// A listening relay; its threads end with their connections.
pub struct Middleman {
    port: u16,
    shared: Arc<Shared>,
}

struct Shared {
    upstream: AtomicU16,
    fault: Mutex<Fault>,
    open: Mutex<Vec<TcpStream>>,
    accepted: AtomicUsize,
    /// Of the first so many connections nothing comes back any more.
    muted: AtomicUsize,
    slowed: AtomicUsize,
    most_slowed: AtomicUsize,
}

impl Middleman {
    /// Before a cluster.
    pub fn before(cluster: &Cluster) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let port = listener.local_addr().expect("its address").port();
        let shared = Arc::new(Shared {
            upstream: cluster.port().into(),
            fault: Mutex::new(Fault::None),
            open: Mutex::new(Vec::new()),
            accepted: AtomicUsize::new(0),
            muted: AtomicUsize::new(0),
            slowed: AtomicUsize::new(0),
            most_slowed: AtomicUsize::new(0),
        });
        let accepting = Arc::clone(&shared);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let shared = Arc::clone(&accepting);
                // A connection that fails is a fault like any other.
                std::thread::spawn(move || shared.serve(stream).ok());
            }
        });
        Self { port, shared }
    }

    /// Its port on loopback.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// How many new connections have been slow at once.
    pub fn most_slowed(&self) -> usize {
        self.shared.most_slowed.load(Ordering::Relaxed)
    }

    /// From now on.
    pub fn set(&self, fault: Fault) {
        *self.shared.fault.lock().expect("no panic while locked") = fault;
    }

    /// New connections go to another port on loopback, as if a name had got another address.
    pub fn redirect(&self, port: u16) {
        self.shared.upstream.store(port, Ordering::Relaxed);
    }

    /// What PostgreSQL says on the connections of now is lost, but for their end.
    pub fn mute(&self) {
        let accepted = self.shared.accepted.load(Ordering::Relaxed);
        self.shared.muted.store(accepted, Ordering::Relaxed);
    }

    /// The machine of PostgreSQL is gone: what pgweir sends on the connections of now is not acknowledged any more.
    pub fn die(&self) {
        self.shared.open.lock().expect("no panic while locked").iter().for_each(die);
    }

    /// Cuts every connection now.
    pub fn cut(&self) {
        for stream in self.shared.open.lock().expect("no panic while locked").drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

impl Shared {
    fn fault(&self) -> Fault {
        self.fault.lock().expect("no panic while locked").clone()
    }

    fn serve(&self, mut near: TcpStream) -> std::io::Result<()> {
        let number = self.accepted.fetch_add(1, Ordering::Relaxed);
        let mut first = [0; 8];
        near.read_exact(&mut first)?;
        let cancels = first[4..] == 80_877_102_u32.to_be_bytes();
        match self.fault() {
            Fault::SwallowCancels if cancels => return silence(&mut near),
            Fault::Silence => return silence(&mut near),
            Fault::Slow(delay) => {
                let slowed = self.slowed.fetch_add(1, Ordering::Relaxed) + 1;
                self.most_slowed.fetch_max(slowed, Ordering::Relaxed);
                std::thread::sleep(delay);
                self.slowed.fetch_sub(1, Ordering::Relaxed);
            }
            Fault::Answer(bytes) => {
                near.write_all(&bytes)?;
                near.shutdown(Shutdown::Write)?;
                return silence(&mut near);
            }
            _ => {}
        }
        let mut far =
            TcpStream::connect((Ipv4Addr::LOCALHOST, self.upstream.load(Ordering::Relaxed)))?;
        near.set_nodelay(true)?;
        far.set_nodelay(true)?;
        far.write_all(&first)?;
        let mut open = self.open.lock().expect("no panic while locked");
        open.extend([near.try_clone()?, far.try_clone()?]);
        drop(open);
        let (mut near_in, mut far_out) = (near.try_clone()?, far.try_clone()?);
        std::thread::spawn(move || {
            let _ = std::io::copy(&mut near_in, &mut far_out);
            let _ = far_out.shutdown(Shutdown::Write);
        });
        self.pump(number, &mut far, &mut near)?;
        near.shutdown(Shutdown::Both)?;
        far.shutdown(Shutdown::Both)
    }

    /// From PostgreSQL to pgweir.
    fn pump(
        &self,
        number: usize,
        far: &mut TcpStream,
        near: &mut TcpStream,
    ) -> std::io::Result<()> {
        let mut chunk = [0; 16_384];
        loop {
            let count = far.read(&mut chunk)?;
            if count > 0 && number < self.muted.load(Ordering::Relaxed) {
                continue;
            }
            if let Fault::Replace(old, new) = self.fault() {
                replace(&mut chunk[..count], old, new);
            }
            let mut fault = self.fault.lock().expect("no panic while locked");
            let Fault::CutAfter(left) = &mut *fault else {
                drop(fault);
                if count == 0 {
                    return Ok(());
                }
                near.write_all(&chunk[..count])?;
                continue;
            };
            let passes = count.min(*left);
            *left -= passes;
            let over = *left == 0 || count == 0;
            drop(fault);
            near.write_all(&chunk[..passes])?;
            if over {
                return Ok(());
            }
        }
    }
}

/// Takes everything and says nothing until the peer closes.
fn silence(near: &mut TcpStream) -> std::io::Result<()> {
    std::io::copy(near, &mut std::io::sink()).map(drop)
}

/// A message that is cut between two reads is left as it is.
fn replace(bytes: &mut [u8], old: &[u8], new: &[u8]) {
    assert_eq!(old.len(), new.len(), "lengths in messages stay as they are");
    let found: Vec<_> = (0..bytes.len()).filter(|at| bytes[*at..].starts_with(old)).collect();
    for at in found {
        bytes[at..at + new.len()].copy_from_slice(new);
    }
}
