//! pgweir: a PostgreSQL proxy that multiplexes the transactions of many short-lived clients onto a
//! small, bounded pool of server connections.
//!
//! The module list is the import order: a module imports only modules above it. Modules marked
//! *sans-IO* know no socket, clock or randomness of their own.
//!
//! - [`without`]: what tests turn off in a debug build; knows no other module
//! - [`clock`]: points in time; knows no other module
//! - [`reason`]: messages as what they are counted by; knows no other module
//! - [`metrics`]: names, labels and handles; knows no other module but the clock
//! - [`wire`] (sans-IO): bytes to messages and back
//! - [`sql`] (sans-IO): a lexer; what a statement may do to the session
//! - [`auth`] (sans-IO): SCRAM, MD5, cleartext exchanges of both sides; secrets
//! - [`session`] (sans-IO): the machines of one client session
//! - [`class`] (sans-IO): who belongs to which class of clients, and what holds for each
//! - [`config`]: typed settings, parsed once into valid values
//! - [`registry`]: who is connected, by id
//! - [`ledger`]: who is pinned, and why
//! - [`net`]: sockets, TLS, buffers
//! - [`host`]: one PostgreSQL host: the slots of its limit
//! - [`server`]: one connection to PostgreSQL
//! - [`control`]: the control plane of one database
//! - [`pool`]: who waits, who gets which server
//! - [`client`]: one task per client
//! - [`admin`]: what operators see: HTTP, the console
//! - [`proxy`]: accept loops, signals, reload, drain
//! - [`storm`], [`demo`]: users of the rest

// Here and not in Cargo.toml: the helpers of tests/ fail by panicking, too.
#![deny(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

pub mod without;
pub mod clock;
pub mod reason;
pub mod metrics;
pub mod wire;
pub mod sql;
pub mod auth;
pub mod session;
pub mod class;
pub mod config;
pub mod registry;
pub mod ledger;
pub mod net;
pub mod host;
pub mod server;
pub mod control;
pub mod pool;
pub mod client;
pub mod admin;
pub mod proxy;
pub mod storm;
pub mod demo;
