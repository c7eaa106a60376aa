//! Bytes to messages and back (sans-IO).
//!
//! Owns: frame headers, bounded readers of peers' bodies, the startup packet, errors and SQLSTATEs.
//! Invariant: nothing a peer sends is decoded by any other code, and no reader here panics or
//! allocates by a peer's length word. Obeys `protocol-message-formats.html` of the manual.

pub mod build;
pub mod error;
pub mod frame;
pub mod read;
pub mod startup;

pub use error::{ErrorFields, Report, Severity, SqlState};
pub use read::{Malformed, Reader};
