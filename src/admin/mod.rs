//! What operators see.
//!
//! Owns: the HTTP endpoint and the SQL console. Invariant: nothing here changes the proxy, and no answer
//! carries a secret or a constant of a query.

pub mod change;
pub mod console;
pub mod http;
pub mod remote;

pub use self::http::{HttpState, Phase, serve};
