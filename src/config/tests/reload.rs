//! What a reload changes.

use super::*;

#[test]
fn a_reload_tells_live_changes_from_those_that_need_a_restart() {
    let Loaded { config: old, .. } =
        load(&format!("{LEAST}[users.a]\npassword='x'\n[users.b]\npassword='y'\n"));
    let Loaded { config: new, .. } = load(
        "listen=['127.0.0.1:1']\nworkers=3\nhttp_listen='off'\n[log]\nlevel='debug'\njson=true\n[limits]\nmax_servers=5\n[timeouts]\nquery='1s'\n\
         [auth]\nquery_user='l'\nquery_password='p'\n[users.a]\npassword='z'\n[users.c]\npassword='y'\n\
         [databases.app]\nhost='db2'\n[databases.more]\nhost='db'\n[databases.'*']\nhost='db'\n",
    );
    let changes = diff(&old, &new);
    assert_eq!(changes.restart, ["http_listen", "listen", "log.json", "workers"]);
    assert_eq!(
        changes.live,
        [
            "auth.query",
            "auth.query_password",
            "auth.query_user",
            "limits.max_idle",
            "limits.max_servers",
            "log.level",
            "timeouts.query",
            "users.a",
            "users.b",
            "users.c",
            "databases.app",
            "databases.more",
            "databases.\"*\"",
        ]
    );
    let (next, _) = reload(&old, new.clone());
    assert_eq!(
        (&next.listen, next.http_listen, next.workers),
        (&old.listen, old.http_listen, old.workers)
    );
    assert_eq!((next.limits, &next.databases), (new.limits, &new.databases));
    assert!(diff(&new, &new).is_empty());
}

#[test]
fn a_changed_password_is_a_change() {
    let text = |secret| format!("[auth]\nquery_user='l'\nquery_password='{secret}'\n{LEAST}");
    let changes = diff(&load(&text("one")).config, &load(&text("two")).config);
    assert_eq!(changes.live, ["auth.query_password"]);
    let text = |secret| format!("[databases.app]\nhost='db'\nuser='u'\npassword='{secret}'\n");
    let changes = diff(&load(&text("one")).config, &load(&text("two")).config);
    assert_eq!(changes.live, ["databases.app"]);
}
