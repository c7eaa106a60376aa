//! Who may log in, and how pgweir itself logs in to PostgreSQL (sans-IO).
//!
//! Owns: the secrets and what is derived from them; the exchanges of SCRAM-SHA-256 (and -PLUS), MD5
//! and cleartext from both ends; what a user lookup returns; PgBouncer's `userlist.txt`.
//!
//! Invariants: nothing here reads a clock, a socket or a source of randomness: nonces and salts are
//! arguments. Every secret is wiped when dropped, has no `PartialEq` (secrets are compared in constant
//! time) and a `Debug` that shows nothing of it. No error carries a secret.
//!
//! Obeys `sasl-authentication.html`, `auth-password.html` and the messages of `protocol-flow.html`
//! in the manual; SQLSTATEs and texts for bad input are those of PostgreSQL 15.

mod client_login;
mod error;
mod lookup;
mod md5;
mod messages;
mod saslprep;
mod scram;
mod scram_client;
mod scram_server;
mod secret;
mod server_login;
mod transport;
mod userlist;

pub use self::client_login::{ClientLogin, ClientLoginSetup, ClientStep, Method};
pub use self::error::{AuthError, Refusal, ScramServerError, Syntax};
pub use self::lookup::{Account, Lookup, Mock};
pub use self::scram::{Iterations, MAX_ITERATIONS, Nonce, ScramParams};
pub use self::scram_client::ScramClientError;
pub use self::secret::{
    ClientKey, Key, Md5Hash, Password, ScramKeys, ScramVerifier, Secret, SecretError,
    ServerCredential,
};
pub use self::server_login::{LoginError, Request, ServerLogin, ServerLoginSetup, ServerStep};
pub use self::transport::{ChannelBinding, Transport};
pub use self::userlist::{UserlistEntry, UserlistError, UserlistProblem, parse_userlist};
