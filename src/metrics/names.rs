//! The names, and what each means in one line.

use ::metrics::Recorder;

pub(super) const CLIENTS: &str = "pgweir_clients";
pub(super) const CLIENTS_TLS: &str = "pgweir_clients_tls";
pub(super) const CLIENTS_LIMIT: &str = "pgweir_clients_limit";
pub(super) const BUILD_INFO: &str = "pgweir_build_info";
pub(super) const SERVERS_LIMIT: &str = "pgweir_pool_servers_limit";
pub(super) const CLIENTS_WAITING: &str = "pgweir_clients_waiting";
pub(super) const CLIENT_CONNECTIONS: &str = "pgweir_client_connections_total";
pub(super) const LOGINS: &str = "pgweir_logins_total";
pub(super) const TLS_HANDSHAKES: &str = "pgweir_tls_handshakes_total";
pub(super) const CANCELS: &str = "pgweir_cancels_total";
pub(super) const TIMEOUTS: &str = "pgweir_timeouts_total";
pub(super) const ERRORS: &str = "pgweir_errors_total";
pub(super) const SERVERS: &str = "pgweir_servers";
pub(super) const SERVERS_OPENED: &str = "pgweir_servers_opened_total";
pub(super) const SERVERS_FAILED: &str = "pgweir_servers_failed_total";
pub(super) const SERVERS_CLOSED: &str = "pgweir_servers_closed_total";
pub(super) const CLOSE_TIMEOUTS: &str = "pgweir_server_close_timeouts_total";
pub(super) const CHECKOUTS: &str = "pgweir_checkouts_total";
pub(super) const CHECKOUT_TIMEOUTS: &str = "pgweir_checkout_timeouts_total";
pub(super) const CHECKOUT_REFUSALS: &str = "pgweir_checkout_refusals_total";
pub(super) const CHECKOUT_WAIT: (&str, &str) =
    ("pgweir_checkout_wait_seconds", "Time from asking for a server to having one.");
pub(super) const LEASE_TIME: (&str, &str) =
    ("pgweir_lease_seconds", "Time from having a server to giving it back.");
pub(super) const CLASS_SERVERS: &str = "pgweir_class_servers_leased";
pub(super) const CLASS_WAITING: &str = "pgweir_class_clients_waiting";
pub(super) const CLASS_WAIT: (&str, &str) = (
    "pgweir_class_checkout_wait_seconds",
    "Time from asking for a server to having one, of those who had to wait in the queue.",
);
pub(super) const CLASS_TIMEOUTS: &str = "pgweir_class_checkout_timeouts_total";
pub(super) const CLASS_REFUSALS: &str = "pgweir_class_checkout_refusals_total";
pub(super) const TRANSACTIONS: &str = "pgweir_transactions_total";
pub(super) const QUERIES: &str = "pgweir_queries_total";
pub(super) const BYTES_RECEIVED: &str = "pgweir_bytes_received_total";
pub(super) const BYTES_SENT: &str = "pgweir_bytes_sent_total";
pub(super) const CLEANS: &str = "pgweir_cleans_total";
pub(super) const ABANDONED: &str = "pgweir_abandoned_clients_total";
pub(super) const ELIDED_PARSES: &str = "pgweir_elided_parses_total";
pub(super) const NOTIFICATION_OVERFLOWS: &str = "pgweir_notification_overflows_total";
pub(super) const CLIENTS_PINNED: &str = "pgweir_clients_pinned";
pub(super) const LONGEST_WAIT: &str = "pgweir_longest_wait_seconds";
pub(super) const PAUSED: &str = "pgweir_pool_paused";
pub(super) const PINS: &str = "pgweir_pins_total";
pub(super) const PINNED_SECONDS: &str = "pgweir_pinned_seconds_total";
pub(super) const HOST_SLOTS_USED: &str = "pgweir_host_slots_used";
pub(super) const HOST_SLOTS_LIMIT: &str = "pgweir_host_slots_limit";
pub(super) const HOST_STARVING: &str = "pgweir_host_starving_pools";
pub(super) const HOST_OPENING: &str = "pgweir_host_opening";
pub(super) const HOST_OPENING_WINDOW: &str = "pgweir_host_opening_window";
pub(super) const HOST_OPENING_WAITING: &str = "pgweir_host_opening_waiting";
pub(super) const HOST_CIRCUIT_OPEN: &str = "pgweir_host_circuit_open";
pub(super) const HOST_CANCELING: &str = "pgweir_host_canceling";
pub(super) const LOOKUPS: &str = "pgweir_user_lookups_total";
pub(super) const CONTROL_CLOSE_TIMEOUTS: &str = "pgweir_control_close_timeouts_total";
pub(super) const OBSERVED_HELD: &str = "pgweir_observed_servers_held";
pub(super) const OBSERVED_HELD_PEAK: &str = "pgweir_observed_servers_held_peak";
pub(super) const OBSERVED_NEEDED: &str = "pgweir_observed_servers_needed";
pub(super) const OBSERVED_NEEDED_PEAK: &str = "pgweir_observed_servers_needed_peak";
pub(super) const OBSERVED_PINNED: &str = "pgweir_observed_clients_pinned";
pub(super) const OBSERVED_PINNED_PEAK: &str = "pgweir_observed_clients_pinned_peak";
pub(super) const OBSERVED_PINS: &str = "pgweir_observed_pins_total";
pub(super) const OBSERVED_PIN_SECONDS: &str = "pgweir_observed_pin_seconds_total";
pub(super) const OBSERVED_LOST_NUMBERS: &str = "pgweir_observed_lost_numbers_total";

const GAUGES: [(&str, &str); 26] = [
    (CLIENTS, "Client connections, logged in or not."),
    (CLIENTS_TLS, "Clients that have logged in over TLS."),
    (CLIENTS_LIMIT, "limits.max_clients."),
    (BUILD_INFO, "1, with the version as a label."),
    (SERVERS_LIMIT, "Servers that the pool may have."),
    (CLIENTS_WAITING, "Clients waiting for a server."),
    (CLIENTS_PINNED, "Clients that keep their server between transactions."),
    (LONGEST_WAIT, "How long the client has waited for a server that has waited longest."),
    (PAUSED, "Whether the pool is paused."),
    (CLASS_SERVERS, "Servers that clients of a class have."),
    (CLASS_WAITING, "Clients of a class waiting for a server."),
    (SERVERS, "Connections to PostgreSQL by state."),
    (HOST_SLOTS_USED, "Connections to a PostgreSQL host, control connections included."),
    (HOST_SLOTS_LIMIT, "The host's limit of connections; 0 is none."),
    (HOST_STARVING, "Pools that wait for a slot of the host."),
    (HOST_OPENING, "Connections to the host being opened."),
    (HOST_OPENING_WINDOW, "How many may be opened at once; it follows how the host keeps up."),
    (HOST_OPENING_WAITING, "Connections that wait until they may be opened."),
    (HOST_CIRCUIT_OPEN, "1 while opening fails and only a probe is tried now and then."),
    (HOST_CANCELING, "Connections to the host that cancel something."),
    (OBSERVED_HELD, "Observed clients that have a server."),
    (OBSERVED_HELD_PEAK, "The highest of those since the start."),
    (OBSERVED_NEEDED, "Servers that transaction pooling would have lent to them."),
    (OBSERVED_NEEDED_PEAK, "The highest of those since the start."),
    (OBSERVED_PINNED, "Observed clients that transaction pooling would pin."),
    (OBSERVED_PINNED_PEAK, "The highest of those since the start."),
];

const COUNTERS: [(&str, &str); 30] = [
    (CLIENT_CONNECTIONS, "Client connections accepted."),
    (LOGINS, "Logins by result."),
    (TLS_HANDSHAKES, "TLS handshakes of clients, by kind."),
    (CANCELS, "Cancel requests by outcome."),
    (TIMEOUTS, "Times that have passed for clients that are logged in, by setting."),
    (ERRORS, "Errors sent to clients, by SQLSTATE and by whose they are."),
    (SERVERS_OPENED, "Connections to PostgreSQL opened."),
    (SERVERS_FAILED, "Connections to PostgreSQL that could not be opened."),
    (SERVERS_CLOSED, "Connections to PostgreSQL closed, by reason."),
    (CLOSE_TIMEOUTS, "Closed connections whose EOF did not come in time."),
    (CHECKOUTS, "Servers given to clients."),
    (CHECKOUT_TIMEOUTS, "Waits for a server that ended without one."),
    (CHECKOUT_REFUSALS, "Clients refused a server before their time was over, by reason."),
    (CLASS_TIMEOUTS, "Waits of a class for a server that ended without one."),
    (CLASS_REFUSALS, "Clients of a class refused a server before their time was over, by reason."),
    (TRANSACTIONS, "Transactions ended."),
    (QUERIES, "Query, Execute and FunctionCall messages of clients."),
    (BYTES_RECEIVED, "Bytes received from clients."),
    (BYTES_SENT, "Bytes sent to clients."),
    (CLEANS, "Servers cleaned of session state, by kind."),
    (ABANDONED, "Clients gone while holding a server, by what became of their work."),
    (ELIDED_PARSES, "Parse messages answered without PostgreSQL."),
    (NOTIFICATION_OVERFLOWS, "Clients ended because they did not take their notifications."),
    (PINS, "Pins that have begun, by reason."),
    (PINNED_SECONDS, "Seconds that pins have lasted, by reason."),
    (OBSERVED_PINS, "Pins that transaction pooling would have made, by reason."),
    (OBSERVED_PIN_SECONDS, "Seconds that they would have lasted, by reason."),
    (OBSERVED_LOST_NUMBERS, "Requests for sequence numbers that transaction pooling would refuse."),
    (LOOKUPS, "User look-ups made in PostgreSQL, by result."),
    (CONTROL_CLOSE_TIMEOUTS, "Closed control connections whose EOF did not come in time."),
];

/// Registers the help lines.
pub(super) fn describe(recorder: &impl Recorder) {
    for (name, help) in GAUGES {
        recorder.describe_gauge(name.into(), None, help.into());
    }
    for (name, help) in COUNTERS {
        recorder.describe_counter(name.into(), None, help.into());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_name_is_in_the_reference() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/metrics.md");
        let reference = std::fs::read_to_string(path).unwrap();
        for (name, _) in
            GAUGES.iter().chain(&COUNTERS).chain(&[CHECKOUT_WAIT, CLASS_WAIT, LEASE_TIME])
        {
            assert!(reference.contains(&format!("`{name}`")), "{name} is not in docs/metrics.md");
        }
    }
}
