//! The session machine between scripted clients and servers.

mod pair;
mod postgres;
mod property;
mod replies;
mod script;
mod world;
