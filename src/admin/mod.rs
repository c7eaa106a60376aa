//! What operators see.
//!
//! Owns: the HTTP endpoint. Invariant: nothing here changes the proxy, and no answer carries a
//! secret or the text of a query.

pub mod http;

pub use self::http::{HttpState, Phase, serve};
