//! The container files name only what there is: services, files, ports and settings.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use pgweir::config::{Config, Environment, Flags, KEYS, Loaded, Source};
use serde_json::Value;

fn root(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn read(path: &str) -> String {
    fs::read_to_string(root(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn yaml(path: &str) -> Value {
    serde_saphyr::from_str(&read(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn names(value: &Value) -> Vec<String> {
    let object = value.as_object().expect("a mapping");
    object.keys().cloned().collect()
}

fn texts(value: &Value) -> Vec<String> {
    let items = value.as_array().map(Vec::as_slice).unwrap_or_default();
    let text = |item: &Value| item.as_str().expect("a text").to_owned();
    items.iter().map(text).collect()
}

/// `${NAME:-default}` as it reads where `NAME` is not set.
fn filled_in(text: &str) -> String {
    let inner = text.strip_prefix("${").and_then(|rest| rest.strip_suffix('}'));
    let default = inner.map(|inner| inner.split_once(":-").expect("a default").1);
    default.unwrap_or(text).to_owned()
}

fn environment(service: &Value) -> Vec<(String, String)> {
    let variables = service["environment"].as_object().expect("a mapping");
    let text = |value: &Value| filled_in(value.as_str().expect("a text"));
    let pairs = variables.iter();
    pairs.map(|(name, value)| (name.clone(), text(value))).collect()
}

/// pgweir's configuration as its container reads it: the mounted file with the service's variables.
fn container_config() -> Config {
    let compose = yaml("docker-compose.yml");
    let service = &compose["services"]["pgweir"];
    let (inside, variables): (Vec<_>, Vec<_>) =
        environment(service).into_iter().partition(|(name, _)| name == "PGWEIR_CONFIG");
    let [(_, inside)] = inside.as_slice() else {
        panic!("PGWEIR_CONFIG is not set");
    };
    let mounts = texts(&service["volumes"]);
    let mount = mounts.iter().find(|mount| mount.contains(&format!(":{inside}:")));
    let outside = mount.expect("the file is mounted").split(':').next();
    let flags = Flags { config: outside.map(root), ..Flags::default() };
    let loaded = Source::new(flags, Environment::from_iter(variables)).load();
    let Loaded { config, .. } = loaded.unwrap_or_else(|error| panic!("{error}"));
    config
}

#[test]
fn every_service_has_a_source_a_health_check_and_known_neighbours() {
    let compose = yaml("docker-compose.yml");
    let services = names(&compose["services"]);
    assert_eq!(services, ["pgweir", "postgres", "prometheus"]);
    for name in &services {
        let service = &compose["services"][name];
        assert!(!texts(&service["healthcheck"]["test"]).is_empty(), "{name}");
        assert!(service["image"].is_string() || service["build"].is_object(), "{name}");
        if service["depends_on"].is_object() {
            for other in names(&service["depends_on"]) {
                assert!(services.contains(&other), "{name} waits for {other}");
            }
        }
    }
}

#[test]
fn every_file_and_volume_named_is_there() {
    let compose = yaml("docker-compose.yml");
    let volumes = names(&compose["volumes"]);
    for name in names(&compose["services"]) {
        let service = &compose["services"][&name];
        for mount in texts(&service["volumes"]) {
            let from = mount.split(':').next().expect("a source").to_owned();
            if from.starts_with("./") {
                assert!(root(&from).is_file(), "{name}: {from}");
            } else {
                assert!(volumes.contains(&from), "{name}: {from}");
            }
        }
        if let Some(context) = service["build"]["context"].as_str() {
            let file = service["build"]["dockerfile"].as_str().unwrap_or("Dockerfile");
            assert!(root(context).join(file).is_file(), "{name}: {file}");
        }
    }
}

#[test]
fn the_image_is_built_from_files_that_are_there_and_let_in() {
    let allowed = read(".dockerignore");
    for line in read("Dockerfile").lines() {
        let Some(arguments) = line.strip_prefix("COPY ") else {
            continue;
        };
        let mut paths: Vec<&str> = arguments.split_whitespace().collect();
        if paths.first().is_some_and(|first| first.starts_with("--from")) {
            continue;
        }
        paths.pop();
        for path in paths {
            assert!(root(path).exists(), "{path}");
            assert!(allowed.contains(&format!("!{path}\n")), "{path}: .dockerignore");
        }
    }
    assert!(read("Dockerfile").contains("\nUSER pgweir\n"));
}

#[test]
fn every_variable_with_our_prefix_is_a_setting() {
    let mut known: BTreeSet<String> = KEYS.iter().map(pgweir::config::Key::variable).collect();
    known.extend(["PGWEIR_CONFIG".to_owned(), "PGWEIR_UPSTREAM".to_owned()]);
    let compose = yaml("docker-compose.yml");
    for name in names(&compose["services"]) {
        if !compose["services"][&name]["environment"].is_object() {
            continue;
        }
        for (variable, _) in environment(&compose["services"][&name]) {
            let is_ours = variable.starts_with("PGWEIR_");
            assert!(!is_ours || known.contains(&variable), "{name}: {variable}");
        }
    }
}

#[test]
fn the_mounted_configuration_fits_the_services_and_ports() {
    let config = container_config();
    let compose = yaml("docker-compose.yml");
    let services = names(&compose["services"]);
    for database in config.databases.values() {
        assert!(services.contains(&database.host), "{}", database.host);
    }
    let http = config.http_listen.expect("metrics are on").port();
    let inside: Vec<String> = texts(&compose["services"]["pgweir"]["ports"])
        .iter()
        .filter_map(|port| port.rsplit(':').next().map(str::to_owned))
        .collect();
    for addr in &config.listen {
        let port = addr.to_string().rsplit(':').next().map(str::to_owned);
        assert!(port.is_some_and(|port| inside.contains(&port)), "{addr}");
    }
    assert!(inside.contains(&http.to_string()));
    let check = texts(&compose["services"]["pgweir"]["healthcheck"]["test"]).join(" ");
    assert!(check.contains(&format!(":{http}/healthz")), "{check}");
    assert!(read("Dockerfile").contains(&format!(":{http}/healthz")));
}

#[test]
fn prometheus_asks_where_pgweir_answers() {
    let http = container_config().http_listen.expect("metrics are on").port();
    let targets =
        &yaml("deploy/prometheus.yml")["scrape_configs"][0]["static_configs"][0]["targets"];
    assert_eq!(texts(targets), [format!("pgweir:{http}")]);
}
