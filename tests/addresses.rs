//! Where pgweir listens and connects, as whom, and by which method.

use super::support::*;

const WHO: &str = "select current_user || ' ' || current_database()";

/// As psql prints [`WHO`].
fn who(user: &str, stage: &Stage) -> String {
    format!("{user} {}", stage.database.name())
}

#[test]
fn clients_come_by_ipv6_and_unix_sockets() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let folder = folder.path().display().to_string();
    let port = weir::free_addr().port();
    let listen = vec![format!("[::1]:{port}"), format!("{folder}/.s.PGSQL.{port}")];
    let stage = Stage::new(&Setup { listen, ..Setup::servers(2) });
    let target = stage.weir.target();
    let port = port.to_string();
    for host in ["::1", folder.as_str()] {
        let seen = psql(&target, &[("PGHOST", host), ("PGPORT", &port)], WHO);
        assert_eq!(seen, who("app", &stage), "{host}");
    }
    assert_eq!(psql(&target, &[], WHO), who("app", &stage));
}

#[test]
fn servers_are_reached_by_unix_sockets() {
    let cluster = Cluster::shared();
    let database = cluster.database();
    let table = format!(
        "[databases.by_socket]\nhost = \"{}\"\nport = {}\ndbname = \"{}\"\n",
        cluster.postgres().socket_dir().display(),
        cluster.port(),
        database.name()
    );
    let stage = Stage::on(database, &Setup::servers(1).tables(&table));
    let target = Target { database: "by_socket".into(), ..stage.weir.target() };
    let mut client = target.connect();
    assert_eq!(client.value("select inet_client_addr() is null"), "t");
    client.send(&query("select pg_sleep(30)"));
    wait_until("the cancel hits", || {
        client.cancel();
        !client.within(std::time::Duration::from_millis(100)).is_empty()
    });
}

#[test]
fn the_fallback_takes_every_other_name() {
    let cluster = Cluster::shared();
    let (first, second) = (cluster.database(), cluster.database());
    let fallback = format!(
        "[databases.\"*\"]\nhost = \"127.0.0.1\"\nport = {}\ntls = \"disable\"\n",
        cluster.port()
    );
    let stage = Stage::on(first, &Setup::servers(1).tables(&fallback));
    let target = Target { database: second.name().into(), ..stage.weir.target() };
    assert_eq!(target.connect().value("select current_database()"), second.name());
    let nowhere = Target { database: "nowhere".into(), ..target };
    let seen = nowhere.open().log_in(&nowhere.startup(V3_0, &[]), &nowhere.password);
    assert!(events::line(&seen).ends_with("E[FATAL 3D000] EOF"), "{seen:?}");
}

#[test]
fn a_forced_user_serves_whoever_comes() {
    let database = Cluster::shared().database();
    let lines = format!("user = \"app\"\npassword = \"{}\"", cluster::APP_PASSWORD);
    let setup = Setup { database: lines, ..Setup::servers(1) }.tables(
        "[users.visitor]\nsecret = \"let me in\"\n\
             [[classes]]\nname = \"visitors\"\nuser = \"visitor\"\n",
    );
    let stage = Stage::on(database, &setup);
    let visitor = stage.weir.target().as_user("visitor", "let me in");
    let mut inside = visitor.connect();
    assert_eq!(inside.value(WHO), who("app", &stage));
    // It belongs to the class of the user that it has logged in as.
    inside.rows("begin");
    let leased = |class: &str| stage.weir.metric("pgweir_class_servers_leased", class);
    assert!((leased("class=\"visitors\"") - 1.0).abs() < 0.5);
    inside.rows("commit");
    assert_eq!(stage.client().value(WHO), who("app", &stage));
}

#[test]
fn users_come_from_a_list_in_pgbouncers_format() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let list = folder.path().join("users.txt");
    std::fs::write(&list, "\"listed\" \"pass\"\"word\"\n").expect("a user list");
    let auth = format!("userlist = \"{}\"", list.display());
    let stage = Stage::new(&Setup { auth, ..Setup::servers(1) });
    stage.database.admin().rows("create role listed login password 'pass\"word'");
    let listed = stage.weir.target().as_user("listed", "pass\"word");
    assert_eq!(listed.connect().value(WHO), who("listed", &stage));
    assert_eq!(stage.client().value(WHO), who("app", &stage));
}

#[test]
fn other_methods_work_where_they_are_chosen() {
    let users = format!("[users.plain]\nsecret = \"{}\"\n", "plain text");
    let certificate = Certificate::for_name("localhost");
    for method in ["md5", "cleartext", "trust"] {
        let secret = cluster::APP_PASSWORD.into();
        let setup = Setup { method: method.into(), secret, ..Setup::servers(1) };
        let setup = setup.tables(&users).tables(&certificate.table("allow"));
        let stage = Stage::new(&setup);
        let mut admin = stage.database.admin();
        admin.rows("drop role if exists plain");
        admin.rows("create role plain login password 'plain text'");
        let target = stage.weir.target().as_user("plain", "plain text");
        let tls = [("PGSSLMODE", "require")];
        assert_eq!(psql(&target, &tls, WHO), who("plain", &stage), "{method}");
        if method != "trust" {
            let wrong = psql(&target.as_user("plain", "wrong"), &tls, WHO);
            assert!(wrong.contains("password authentication failed"), "{method}: {wrong}");
        }
        if method == "cleartext" {
            let refused = psql(&target, &[("PGSSLMODE", "disable")], WHO);
            assert!(refused.contains("FATAL"), "{refused}");
        }
    }
}
