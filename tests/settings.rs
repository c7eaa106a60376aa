//! How the settings of clients and servers are made to agree (docs/semantics.md "Settings").

use super::support::*;

/// Which server it is, what it was given as a time zone, and how often pgweir has set anything there.
/// PostgreSQL 13 does not count.
const SERVER: &str = "select pg_backend_pid() || ' ' || current_setting('TimeZone') || ' ' || \
    (select coalesce(sum((to_jsonb(p) ->> 'generic_plans')::int + (to_jsonb(p) ->> 'custom_plans')::int), 0) \
    from pg_prepared_statements p where name = '__pgweir_set')";

#[test]
fn clients_get_servers_that_have_their_settings_already() {
    let stage = Stage::new(&Setup::servers(2));
    let mut clients = ["Asia/Tokyo", "America/Lima"]
        .map(|zone| stage.weir.target().connect_with(&[("TimeZone", zone)]));
    // Both at once, so that each has a server of its own.
    for client in &mut clients {
        client.rows("begin");
    }
    let servers = clients.each_mut().map(|client| client.value(SERVER));
    for client in &mut clients {
        client.rows("commit");
    }
    for _ in 0..10 {
        assert_eq!(clients.each_mut().map(|client| client.value(SERVER)), servers);
    }
}
