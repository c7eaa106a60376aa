//! Sockets: one [`Stream`] for TCP, Unix-domain and TLS connections, listening, connecting, TLS.
//!
//! Owns: socket options, TLS settings and certificates, the negotiation that stands before the
//! first message to a server. Invariant: no message is read or written here but SSLRequest and its
//! one byte of answer; who is let in, and what a client is told, is decided elsewhere. Obeys
//! `protocol-flow.html#PROTOCOL-FLOW-SSL` and `libpq-ssl.html` of the manual.

pub mod connect;
pub mod link;
pub mod listen;
mod options;
pub mod stream;
pub mod tls;

pub use connect::{ConnectError, Connected, Target, connect, dial};
pub use listen::{ListenError, Listener, bind_http, is_fd_exhaustion};
pub use stream::{PeerAddr, Stream};
