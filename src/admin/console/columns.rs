//! The columns of the console's tables.

use super::command::Show;
use super::table::{Column, Type};
use Type::{Bool, Float, Int, Text};

/// The columns of a table.
pub fn columns(show: Show) -> &'static [Column] {
    match show {
        Show::Pins => PINS,
        Show::PinReasons => PIN_REASONS,
        Show::Observed => OBSERVED,
        Show::Databases => DATABASES,
        Show::Pools => POOLS,
        Show::Stats => STATS,
        Show::Classes => CLASSES,
        Show::Hosts => HOSTS,
        Show::Config => CONFIG,
        Show::Clients => CLIENTS,
        Show::Servers => SERVERS,
        Show::Help => HELP,
        Show::Version => VERSION,
    }
}

const PINS: &[Column] = &[
    ("client_id", Int),
    ("user", Text),
    ("database", Text),
    ("application_name", Text),
    ("server_pid", Int),
    ("reason", Text),
    ("object", Text),
    ("began", Text),
    ("seconds", Float),
    ("statement", Text),
];

const PIN_REASONS: &[Column] = &[
    ("reason", Text),
    ("application_name", Text),
    ("pins", Int),
    ("pinned_now", Int),
    ("seconds", Float),
];

const OBSERVED: &[Column] = &[
    ("database", Text),
    ("user", Text),
    ("application_name", Text),
    ("reason", Text),
    ("object", Text),
    ("pins", Int),
    ("pinned_now", Int),
    ("seconds", Float),
    ("longest_seconds", Float),
    ("statement", Text),
];

const DATABASES: &[Column] = &[
    ("database", Text),
    ("host", Text),
    ("port", Int),
    ("dbname", Text),
    ("user", Text),
    ("tls", Text),
    ("pooling", Text),
    ("max_servers", Text),
    ("clients", Int),
    ("pools", Int),
    ("servers", Int),
    ("paused", Bool),
];

const POOLS: &[Column] = &[
    ("database", Text),
    ("user", Text),
    ("clients_waiting", Int),
    ("servers_leased", Int),
    ("servers_idle", Int),
    ("servers_opening", Int),
    ("servers_closing", Int),
    ("max_servers", Int),
    ("clients_pinned", Int),
    ("max_pinned", Int),
    ("pooling", Text),
    ("observed_held", Int),
    ("observed_held_peak", Int),
    ("observed_needed", Int),
    ("observed_needed_99", Int),
    ("observed_needed_peak", Int),
    ("observed_pinned", Int),
    ("observed_pinned_peak", Int),
    ("paused", Bool),
    ("longest_wait_seconds", Float),
];

const STATS: &[Column] = &[
    ("database", Text),
    ("user", Text),
    ("transactions", Int),
    ("queries", Int),
    ("bytes_received", Int),
    ("bytes_sent", Int),
    ("checkouts", Int),
    ("wait_seconds", Float),
    ("leases", Int),
    ("lease_seconds", Float),
    ("transactions_per_second", Float),
    ("queries_per_second", Float),
    ("received_per_second", Float),
    ("sent_per_second", Float),
    ("mean_wait_ms", Float),
    ("mean_lease_ms", Float),
];

const CLASSES: &[Column] = &[
    ("database", Text),
    ("user", Text),
    ("class", Text),
    ("weight", Int),
    ("servers_leased", Int),
    ("max_servers", Int),
    ("guaranteed", Int),
    ("clients_waiting", Int),
    ("queue_limit", Int),
    ("expected_wait_seconds", Float),
];

const HOSTS: &[Column] = &[
    ("host", Text),
    ("connections", Int),
    ("max_connections", Int),
    ("available", Int),
    ("pools_starving", Int),
    ("opening", Int),
    ("opening_window", Float),
    ("opening_waiting", Int),
    ("opening_seconds", Float),
    ("circuit", Text),
];

const CONFIG: &[Column] = &[("key", Text), ("value", Text), ("changed", Bool)];

const CLIENTS: &[Column] = &[
    ("client_id", Int),
    ("user", Text),
    ("database", Text),
    ("address", Text),
    ("tls", Bool),
    ("state", Text),
    ("connected", Text),
    ("state_seconds", Float),
    ("application_name", Text),
    ("class", Text),
    ("server_pid", Int),
];

const SERVERS: &[Column] = &[
    ("database", Text),
    ("user", Text),
    ("server_pid", Int),
    ("state", Text),
    ("client_id", Int),
    ("open_seconds", Float),
    ("unused_seconds", Float),
    ("address", Text),
    ("tls", Bool),
];

const HELP: &[Column] = &[("command", Text), ("shows", Text)];

const VERSION: &[Column] = &[("version", Text)];
