//! The session machine between scripted clients and servers.

mod bytes;
mod lazy;
mod limits;
mod listening;
mod local;
mod pair;
mod postgres;
mod property;
mod replies;
mod retry;
mod script;
mod sequences;
mod settings;
mod statements;
mod unnamed;
mod world;
