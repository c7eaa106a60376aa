//! Real clients: what they print must be the same with and without pgweir between.
//!
//! `make test` installs the drivers; `tests/clients/install.sh` does so alone.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use super::support::*;

/// A file of `tests/clients`.
pub fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients").join(name)
}

/// A file below `target/test-tools`.
pub fn tool(path: &str) -> PathBuf {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().expect("the target folder");
    let tool = target.join("test-tools").join(path);
    assert!(tool.exists(), "{} is missing: run `make test`", tool.display());
    tool
}

/// A client that finds its connection in the environment.
pub fn command(program: &Path, target: &Target) -> Command {
    let mut command = Command::new(program);
    command
        .env("PGHOST", target.addr.ip().to_string())
        .env("PGPORT", target.addr.port().to_string())
        .env("PGDATABASE", &target.database)
        .env("PGUSER", &target.user)
        .env("PGPASSWORD", &target.password)
        .env("PGSSLMODE", "prefer")
        .env("PGGSSENCMODE", "disable")
        .env("PGCONNECT_TIMEOUT", "20")
        .stdin(Stdio::null());
    command
}

/// What it prints, on both streams; it must succeed.
pub fn printed(command: &mut Command) -> Vec<String> {
    let output = command.output().expect("the client runs");
    let text = both_streams(&output);
    assert!(
        output.status.success(),
        "{}: {}\n{text}",
        command.get_program().display(),
        output.status
    );
    text.lines().map(str::to_owned).collect()
}

fn both_streams(output: &Output) -> String {
    let streams = [&output.stdout, &output.stderr];
    streams.map(|bytes| String::from_utf8_lossy(bytes).into_owned()).concat()
}

fn bin(name: &str) -> PathBuf {
    let beside = Cluster::shared().bin().join(name);
    if beside.exists() { beside } else { PathBuf::from(name) }
}

#[test]
fn psql_prints_the_same() {
    let seen = both(|target| {
        let mut psql = command(&bin("psql"), target);
        printed(psql.args(["-X", "-a", "-f"]).arg(script("with_psql.sql")))
    });
    assert!(seen.iter().any(|line| line.contains("division by zero")), "{seen:#?}");
    assert!(seen.iter().any(|line| line.contains("Asia/Tokyo")), "{seen:#?}");
}

#[test]
fn psql_cancels_its_query_at_ctrl_c() {
    let seen = both_with(&Setup::servers(2), |target| {
        let mut psql = command(&bin("psql"), target);
        psql.args(["-X", "-c", "select pg_sleep(30)", "-c", "select 'alive'"]);
        let child = psql.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("psql");
        let mut watching = target.connect();
        let sql = "select count(*) from pg_stat_activity where query = 'select pg_sleep(30)' \
                   and state = 'active'";
        wait_until("psql's query runs", || watching.value(sql) != "0");
        interrupt(&child);
        let output = child.wait_with_output().expect("psql's output");
        both_streams(&output).lines().map(str::to_owned).collect()
    });
    assert!(seen.iter().any(|line| line.contains("canceling statement")), "{seen:#?}");
}

fn interrupt(child: &Child) {
    let status = Command::new("kill").args(["-INT", &child.id().to_string()]).status();
    assert!(status.expect("kill").success());
}

#[test]
fn psycopg_prints_the_same() {
    let python = tool("venv/bin/python");
    let seen = both_with(&Setup::servers(2), |target| {
        printed(command(&python, target).arg(script("with_psycopg.py")))
    });
    assert!(seen.contains(&"cancelled: 57014".to_owned()), "{seen:#?}");
}

#[test]
fn asyncpg_prints_the_same() {
    let python = tool("venv/bin/python");
    let seen = both_with(&Setup::servers(2), |target| {
        printed(command(&python, target).arg(script("with_asyncpg.py")))
    });
    assert!(seen.contains(&"timeout: cancelled".to_owned()), "{seen:#?}");
}

#[test]
fn node_postgres_prints_the_same() {
    let modules = tool("node_modules");
    let seen = both_with(&Setup::servers(2), |target| {
        let mut node = command(Path::new("node"), target);
        // Unlike libpq it takes `prefer` for `require`.
        node.env("NODE_PATH", &modules).env("PGSSLMODE", "disable").env("NODE_NO_WARNINGS", "1");
        printed(node.arg(script("with_node.js")))
    });
    assert!(seen.contains(&"cancelled: \"57014\"".to_owned()), "{seen:#?}");
}

/// A pool of ten on a PostgreSQL that has just these ten slots, with pgbench's tables.
fn bench_stage() -> Stage {
    let cluster = Cluster::with_slots(10);
    let database = cluster.database();
    printed(command(&bin("pgbench"), &database.target()).args(["-i", "-q"]));
    Stage::on(database, &Setup::servers(10).limits("max_servers_host = 10"))
}

/// Runs pgbench through pgweir; every one of its transactions must succeed.
fn bench(stage: &Stage, arguments: &str, transactions: usize) {
    let mut pgbench = command(&bin("pgbench"), &stage.weir.target());
    let seen = printed(pgbench.arg("-n").args(arguments.split(' ')));
    let processed = format!("actually processed: {transactions}/{transactions}");
    assert!(seen.iter().any(|line| line.ends_with(&processed)), "{arguments}: {seen:#?}");
    let failed = "number of failed transactions: 0 (0.000%)";
    assert!(seen.iter().any(|line| line == failed), "{arguments}: {seen:#?}");
}

#[test]
fn pgbench_runs_in_all_three_protocols() {
    let stage = bench_stage();
    for mode in ["simple", "extended", "prepared"] {
        bench(&stage, &format!("-M {mode} -c 16 -j 2 -t 20"), 320);
        bench(&stage, &format!("-M {mode} -S -c 16 -j 2 -t 50"), 800);
    }
}

#[test]
fn pgbench_reconnects_for_each_transaction() {
    let stage = bench_stage();
    for mode in ["simple", "extended", "prepared"] {
        bench(&stage, &format!("-M {mode} -C -c 16 -j 2 -t 10"), 160);
    }
}

#[test]
fn pgbench_prepares_with_four_times_more_clients_than_servers() {
    let stage = bench_stage();
    bench(&stage, "-M prepared -c 40 -j 2 -t 20", 800);
}

#[test]
fn pgbench_creates_its_tables_through_the_proxy() {
    let stage = Stage::new(&Setup::servers(1));
    printed(command(&bin("pgbench"), &stage.weir.target()).args(["-i", "-q"]));
    assert_eq!(stage.client().value("select count(*) from pgbench_accounts"), "100000");
}

/// A dump names one of its settings by the row that it is read from; each of its workers is a session of its own.
#[test]
fn a_database_is_dumped_and_restored_without_a_pin() {
    let version = printed(Command::new(bin("pg_dump")).arg("--version")).concat();
    if major_of(&version) < major() {
        return println!("SKIPPED: pg_dump is of an older PostgreSQL");
    }
    let (from, to) = (Cluster::shared().database(), Cluster::shared().database());
    from.target().connect().rows(
        "create table t (a serial primary key, b text); insert into t (b) select 'row ' || g from generate_series(1, 500) g; \
         create view v as select b from t; create function f() returns int language sql as 'select 1'; \
         create table u (a int references t)",
    );
    let setup = Setup::servers(4).tables("[pins]\nrefuse = [\"setting\"]\nmax_pinned = 0");
    let (stage, other) = (Stage::on(from, &setup), Stage::on(to, &setup));
    let (through, straight) = (stage.weir.target(), stage.database.target());
    let dumped = |target: &Target| {
        let mut said = printed(command(&bin("pg_dump"), target).arg("--no-owner"));
        // What newer ones write there is another each time.
        said.retain(|line| !line.contains("restrict "));
        said
    };
    assert_eq!(dumped(&through), dumped(&straight));
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("dump").display().to_string();
    printed(command(&bin("pg_dump"), &through).args(["-j", "3", "-Fd", "-f", &path]));
    let restored = other.weir.target();
    let into = ["-j", "3", "--no-owner", "-d", other.database.name(), &path];
    printed(command(&bin("pg_restore"), &restored).args(into));
    assert_eq!(other.client().value("select count(*) from v"), "500");
    assert_eq!(stage.weir.count("pgweir_pins_total", ""), 0);
}

#[test]
fn pgbench_loses_no_commit_when_the_proxy_stops() {
    // One slot more, for the connection that looks.
    let database = Cluster::with_slots(11).database();
    let target = database.target();
    let mut stage = Stage::on(database, &Setup::servers(10).limits("max_servers_host = 10"));
    target.connect().rows("create table t (client int)");
    let script = tempfile::NamedTempFile::new().expect("a temporary file");
    let sql = "begin;\ninsert into t values (:client_id);\ncommit;\n";
    std::fs::write(script.path(), sql).expect("a script");
    let mut pgbench = command(&bin("pgbench"), &stage.weir.target());
    pgbench.args(["-n", "-M", "prepared", "-c", "40", "-j", "2", "-T", "60", "-f"]);
    let running = pgbench.arg(script.path()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let running = running.spawn().expect("pgbench");
    let mut watching = target.connect();
    let sql = "select count(*) > 200 and count(distinct client) = 40 from t";
    wait_until("all clients have committed", || watching.value(sql) == "t");
    stage.weir.signal("TERM");
    let seen = both_streams(&running.wait_with_output().expect("pgbench's output"));
    assert!(stage.weir.wait().success());

    let count = |text: &str| seen.lines().filter(|line| line.contains(text)).count();
    assert_eq!(count("FATAL:  terminating connection due to administrator command"), 40, "{seen}");
    // At the boundary of a transaction, and for no other reason.
    assert_eq!((count("aborted in command 0 "), count("aborted in command ")), (40, 40), "{seen}");
    assert_eq!((count("FATAL:"), count("ERROR:")), (40, 0), "{seen}");
    let processed = seen
        .lines()
        .find_map(|line| line.strip_prefix("number of transactions actually processed: "));
    assert_eq!(processed, Some(&*watching.value("select count(*) from t")), "{seen}");
}
