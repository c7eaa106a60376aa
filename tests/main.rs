//! The integration tests: one binary, one module per topic, each against real PostgreSQL.
//!
//! Scenarios where pgweir must behave as PostgreSQL does run twice, see [`support::both`].

mod support;

mod abandon;
mod addresses;
mod auth;
mod cancel;
mod catalogue;
mod changes;
mod classes;
mod cleaning;
mod clients;
mod compose;
mod console;
mod control;
mod dormant;
mod drain;
mod failover;
mod governor;
mod in_flight;
mod journal;
mod lifecycle;
mod limits;
mod malformed;
mod metrics;
mod multiplexing;
mod neighbours;
mod notifications;
mod observe;
mod opening;
mod pause;
mod oracle;
mod pins;
mod pipelines;
mod prepared;
mod refusals;
mod relay;
mod reload;
mod sequences;
mod servers;
mod settings;
mod sql_oracle;
mod sql_speed;
mod startup;
mod state;
mod storm;
mod tidy;
mod timeouts;
mod tls;
mod vanish;
