//! Tables over whole configurations.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use super::*;

mod file;
mod reload;
mod secrets;
mod sources;

/// The least that is a configuration.
const LEAST: &str = "[databases.app]\nhost = 'db'\n";
const VERIFIER: &str = "SCRAM-SHA-256$4096:c2FsdA==$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";

fn load(text: &str) -> Loaded {
    let loaded = Source::of_text(text).load();
    loaded.unwrap_or_else(|error| panic!("{error}\n{text}"))
}

fn refusal(text: &str) -> String {
    match Source::of_text(text).load() {
        Ok(_) => panic!("taken:\n{text}"),
        Err(error) => error.to_string(),
    }
}

fn environment(pairs: &[(&str, &str)]) -> Environment {
    let owned = |(name, text): &(&str, &str)| ((*name).to_owned(), (*text).to_owned());
    pairs.iter().map(owned).collect()
}

fn file(dir: &tempfile::TempDir, name: &str, text: &str, mode: u32) -> PathBuf {
    let path = dir.path().join(name);
    fs::write(&path, text).expect("a file in a new folder");
    fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("own file");
    path
}
