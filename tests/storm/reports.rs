//! What the command prints, writes and refuses.

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use serde_json::Value;

use super::{Cluster, Setup, Stage, dsn, pgweir, storm_command};
use crate::support::Certificate;

#[test]
fn a_page_with_pictures_is_written_and_a_limit_that_was_passed_is_a_failure() {
    let database = Cluster::shared().database();
    let folder = tempfile::tempdir().expect("a temporary folder");
    let page = folder.path().join("report.html");
    let observe = database.cluster().postgres().dsn(database.name());
    let output = storm_command(
        &database.target(),
        &[
            "--json",
            "--class=name=<b>first,functions=20,ramp=0,hold=700ms",
            "--class=name=second,profile=steady,functions=2,transactions=0,duration=600ms,think=5ms",
            "--limit=5",
            "--observe-interval=20ms",
            "--observe",
            &observe,
            "--html",
            page.to_str().expect("a path"),
        ],
    );

    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("0 errors, 0 arrivals missed, the limit passed by"), "{said}");
    let report: Value = serde_json::from_slice(&output.stdout).expect("one JSON object");
    assert!(report["observed"]["exceeded_by"].as_u64() > Some(14), "{report}");
    assert_eq!(report["classes"][1]["name"], "second");
    assert!(report["fairness"].as_f64() > Some(0.4), "{report}");
    let found = elements(&page);
    let pictures = "connections servers throughput latency waits waiting errors classes";
    assert!(found.starts_with(pictures), "{found}");
    assert!(
        found.contains("in a transaction") && found.contains("limit") && found.contains("<b>first"),
        "{found}"
    );
}

#[test]
fn a_storm_that_is_interrupted_reports_what_it_found_until_then() {
    let database = Cluster::shared().database();
    let folder = tempfile::tempdir().expect("a temporary folder");
    let page = folder.path().join("report.html");
    let mut command = pgweir();
    command.args(["storm", "--json", "--profile=steady", "--functions=3", "--duration=10m"]);
    command.arg("--transactions-per-function=0").arg("--html").arg(&page);
    command.env("PGWEIR_STORM_DSN", dsn(&database.target()));
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut storm = command.spawn().expect("the pgweir binary");
    let mut said = BufReader::new(storm.stderr.take().expect("its standard error")).lines();
    let told = said.next().expect("a line").expect("text");
    assert!(told.contains("3 of 3 came"), "{told}");
    let kill = Command::new("kill").args(["-INT", &storm.id().to_string()]).status();
    assert!(kill.expect("kill").success());
    let rest: Vec<String> = said.map(|line| line.expect("text")).collect();
    let output = storm.wait_with_output().expect("its end");
    assert_eq!(output.status.code(), Some(1), "{rest:?}");
    assert!(rest.last().is_some_and(|line| line.contains("interrupted")), "{rest:?}");
    let report: Value = serde_json::from_slice(&output.stdout).expect("one JSON object");
    assert_eq!(report["interrupted"], true);
    assert!(report["transactions"].as_u64() > Some(0), "{report}");
    let seconds = report["seconds"].as_f64().expect("a number");
    assert!(seconds > 0.9 && seconds < 300.0, "{seconds}");
    assert!(elements(&page).starts_with("connections throughput"));
    assert!(fs::read_to_string(&page).expect("the page").contains("INTERRUPTED"));
}

/// The page, read as XML: the identifiers of its figures that hold a picture with lines, then the texts
/// in the pictures.
fn elements(page: &std::path::Path) -> String {
    const SCRIPT: &str = "\
import sys, xml.etree.ElementTree as tree
svg = '{http://www.w3.org/2000/svg}'
root = tree.parse(sys.argv[1]).getroot()
figures = [f for f in root.iter('figure') if f.find('.//' + svg + 'polyline') is not None]
print(*[f.get('id') for f in figures], *[t.text.strip() for t in root.iter(svg + 'text')])
";
    let mut python = Command::new("python3");
    let output = python.arg("-c").arg(SCRIPT).arg(page).output().expect("python3");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn each_class_says_whether_it_takes_tls_and_the_report_how_it_logged_in() {
    let certificate = Certificate::for_loopback();
    let stage = Stage::new(&Setup::servers(2).tables(&certificate.table("allow")));
    let output = storm_command(
        &stage.weir.target(),
        &[
            "--json",
            "--functions=5",
            "--protocol=extended",
            "--sslmode=disable",
            "--class=name=plain",
            &format!(
                "--class=name=tls,sslmode=verify-full,sslrootcert={}",
                certificate.cert().display()
            ),
        ],
    );
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let report: Value = serde_json::from_slice(&output.stdout).expect("one JSON object");
    for (number, tls) in [false, true].into_iter().enumerate() {
        let class = &report["classes"][number];
        let login = serde_json::json!({ "tls": tls, "asked": "SCRAM", "resumed": 0 });
        assert_eq!(class["login"], login);
        assert_eq!(class["transactions"], 5);
    }
}

#[test]
fn who_follows_a_function_may_go_on_from_its_tls_session() {
    let certificate = Certificate::for_loopback();
    let stage = Stage::new(&Setup::servers(2).tables(&certificate.table("require")));
    let flags = ["--profile=steady", "--functions=3", "--duration=1s", "--think=20ms"];
    let more = ["--json", "--quiet", "--sslmode=require", "--transactions-per-function=2"];
    let before = handshakes(&stage, "resumed");
    let storm = |more: &[&str]| {
        let output = storm_command(&stage.weir.target(), more);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let report: Value = serde_json::from_slice(&output.stdout).expect("one JSON object");
        let class = &report["classes"][0];
        let count = |value: &Value| value.as_u64().expect("a number");
        (count(&class["login"]["resumed"]), count(&class["connect"]["count"]))
    };
    let flags = [&flags[..], &more].concat();
    assert_eq!(storm(&flags).0, 0);
    let (resumed, logins) = storm(&[&flags[..], &["--tls-resume"]].concat());
    // All but the first of each, if the last ticket has come in time.
    assert!(resumed > 0 && resumed <= logins - 3, "{resumed} of {logins}");
    assert_eq!(handshakes(&stage, "resumed") - before, resumed);
}

/// TLS handshakes that the proxy has counted.
fn handshakes(stage: &Stage, kind: &str) -> u64 {
    stage.weir.count("pgweir_tls_handshakes_total", &format!("kind=\"{kind}\""))
}

#[test]
fn progress_is_told_while_it_runs_unless_it_is_not_to_be() {
    let stage = Stage::new(&Setup::servers(2));
    let flags = ["--profile=steady", "--functions=3", "--duration=1500ms", "--think=20ms"];
    let said = |more: &[&str]| {
        let output = storm_command(&stage.weir.target(), &[&flags[..], more].concat());
        assert!(output.status.success());
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let told = said(&["--transactions-per-function=0"]);
    assert!(told.contains("1 s  3 of 3 came; 3 there"), "{told}");
    assert_eq!(said(&["--quiet"]), "");
}

#[test]
fn what_cannot_be_is_refused_by_its_name() {
    let database = Cluster::shared().database();
    let target = database.target();
    let cases: [(&[&str], &str); 6] = [
        (&["--class", "name=a,hodl=1s"], "--class 1: hodl: there is no such key"),
        (&["--class", "name=a", "--class", "name=a"], "two classes are called a"),
        (&["--profile", "steady"], "class all: profile steady needs a duration"),
        (&["--limit", "5"], "--observe <DSN>"),
        (&["--source", "nowhere"], "--source <ADDRESSES>"),
        (&["--html", "/nowhere/at/all.html"], "/nowhere/at/all.html: No such file"),
    ];
    for (flags, said) in cases {
        let output = storm_command(&target, flags);
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && told.contains(said), "{flags:?}: {told}");
    }
}

#[test]
fn a_connection_that_looks_is_told_of_before_the_storm_if_it_cannot_be() {
    let database = Cluster::shared().database();
    let wrong = dsn(&database.target().as_user("app", "wrong"));
    let output = pgweir()
        .args(["storm", "--functions=5"])
        .env("PGWEIR_STORM_DSN", dsn(&database.target()))
        .env("PGWEIR_STORM_OBSERVE", wrong)
        .output()
        .expect("the pgweir binary");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains("--observe") && said.contains("28P01"));
}
