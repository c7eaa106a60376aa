//! The rules of this tree that no compiler checks: import order, what sans-IO modules may not know,
//! secrets and `==`, documented settings.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use pgweir::config::{CLASS_KEYS, DATABASE_KEYS, KEYS, Reload, USER_KEYS, WARM_KEYS};

/// Modules and files that know no socket, clock or randomness of their own.
const SANS_IO: [&str; 13] = [
    "wire/",
    "sql/",
    "auth/",
    "session/",
    "pool/slots",
    "pool/channels",
    "host/slots",
    "host/governor",
    "class",
    "admin/console/command",
    "admin/console/machine",
    "admin/console/refusal",
    "admin/console/table",
];

/// What they may not name.
const IO: [&str; 6] =
    ["tokio", "std::net", "crate::net", "Instant::now", "SystemTime::now", "rand::"];

/// Names of secrets, which are compared in constant time only.
const SECRETS: [&str; 12] = [
    "password",
    "secret",
    "proof",
    "client_key",
    "stored_key",
    "server_key",
    "salted_password",
    "cancel_key",
    "verifier",
    "signature",
    "client_signature",
    "server_signature",
];

/// A file of `src/`: its path from there, and its lines of code with their numbers, without
/// comments and without the tests at its end.
struct Source {
    path: String,
    lines: Vec<(usize, String)>,
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn files_below(folder: &Path, found: &mut Vec<PathBuf>) {
    const SKIPPED: [&str; 4] = ["target", ".git", "node_modules", "__pycache__"];
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        let name = path.file_name().expect("a name").to_string_lossy().into_owned();
        if SKIPPED.contains(&name.as_str()) {
            continue;
        }
        if path.is_dir() {
            files_below(&path, found);
        } else {
            found.push(path);
        }
    }
}

fn sources() -> Vec<Source> {
    let mut files = Vec::new();
    files_below(&root().join("src"), &mut files);
    let mut sources = Vec::new();
    for file in files {
        let path = file.strip_prefix(root().join("src")).expect("below src");
        let path = path.to_string_lossy().into_owned();
        // Tests may know the clock and the modules below: they are no part of the program.
        let is_test =
            path.ends_with("tests.rs") || path.contains("/tests/") || path.contains("testing");
        if file.extension().is_some_and(|end| end == "rs") && !is_test {
            let text = fs::read_to_string(&file).expect("a source");
            let lines = code_lines(&text);
            sources.push(Source { path, lines });
        }
    }
    assert!(sources.len() > 10, "src/ was not found");
    sources
}

fn code_lines(text: &str) -> Vec<(usize, String)> {
    let mut lines = Vec::new();
    let mut all = (1..).zip(text.lines()).peekable();
    while let Some((number, line)) = all.next() {
        let is_test_attribute = line.trim() == "#[cfg(test)]";
        if is_test_attribute && all.peek().is_some_and(|(_, next)| next.contains("mod tests {")) {
            break;
        }
        if is_test_attribute {
            all.next();
            continue;
        }
        let code = |line: &str| line.split("//").next().unwrap_or_default().to_owned();
        let mut joined = code(line);
        // An import over several lines counts as one.
        while joined.contains("use ") && joined.contains('{') && !joined.contains(';') {
            let Some((_, next)) = all.next() else { break };
            joined.push_str(&code(next));
        }
        lines.push((number, joined));
    }
    lines
}

/// Every place where a line of code satisfies `fault`.
fn places(fault: impl Fn(&Source, &str) -> bool) -> Vec<String> {
    let mut places = Vec::new();
    for source in sources() {
        for (number, line) in &source.lines {
            if fault(&source, line) {
                places.push(format!("src/{}:{number}: {}", source.path, line.trim()));
            }
        }
    }
    places
}

fn module_order() -> BTreeMap<String, usize> {
    let lib = fs::read_to_string(root().join("src/lib.rs")).expect("src/lib.rs");
    let modules = lib.lines().filter_map(|line| {
        let name = line.strip_prefix("pub mod ")?.strip_suffix(';')?;
        Some(name.to_owned())
    });
    let order: BTreeMap<_, _> = modules.zip(0..).collect();
    assert!(order.len() > 10, "src/lib.rs lists its modules");
    order
}

fn module_of(path: &str) -> &str {
    let end = path.find('/').unwrap_or(path.len());
    path[..end].trim_end_matches(".rs")
}

/// The top-level modules that a line names: `crate::NAME` and `crate::{NAME, ...}`.
fn imports(line: &str) -> Vec<String> {
    let word = |text: &str| -> String {
        let is_word = |c: &char| c.is_alphanumeric() || *c == '_';
        text.trim_start().chars().take_while(is_word).collect()
    };
    let mut found = Vec::new();
    for rest in line.split("crate::").skip(1) {
        match rest.strip_prefix('{') {
            Some(list) => found.extend(list.split(',').map(word)),
            None => found.push(word(rest)),
        }
    }
    found
}

#[test]
fn modules_import_only_modules_above_them() {
    let order = module_order();
    let faults = places(|source, line| {
        // `lib.rs` and `main.rs` stand outside the order.
        let Some(own) = order.get(module_of(&source.path)) else {
            return false;
        };
        let is_below = |name: &String| order.get(name).is_some_and(|other| other > own);
        imports(line).iter().any(is_below)
    });
    assert!(faults.is_empty(), "imports against the order of src/lib.rs:\n{}", faults.join("\n"));
}

#[test]
fn the_crate_documentation_lists_the_modules_in_their_order() {
    let lib = fs::read_to_string(root().join("src/lib.rs")).expect("src/lib.rs");
    let order = module_order();
    let listed: Vec<&str> = lib
        .lines()
        .filter_map(|line| line.strip_prefix("//! - "))
        .flat_map(|line| line.split("[`").skip(1))
        .filter_map(|rest| rest.split("`]").next())
        .collect();
    let mut names: Vec<_> = order.iter().map(|(name, place)| (*place, name.as_str())).collect();
    names.sort_unstable();
    let names: Vec<_> = names.into_iter().map(|(_, name)| name).collect();
    assert_eq!(listed, names);
}

#[test]
fn sans_io_modules_know_no_socket_clock_or_randomness() {
    let faults = places(|source, line| {
        let is_sans_io = SANS_IO.iter().any(|path| source.path.starts_with(path));
        is_sans_io && IO.iter().any(|name| names(line, name))
    });
    assert!(faults.is_empty(), "I/O in a sans-IO module:\n{}", faults.join("\n"));
}

/// Whether `line` has `name` in it, and not as the end or the beginning of another word.
fn names(line: &str, name: &str) -> bool {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(name).any(|(start, _)| {
        let before = line[..start].chars().next_back();
        let after = line[start + name.len()..].chars().next();
        let ends_open = name.ends_with(|c: char| !is_word(c));
        !before.is_some_and(is_word) && (ends_open || !after.is_some_and(is_word))
    })
}

#[test]
fn secrets_are_compared_in_constant_time_only() {
    let faults = places(|_, line| {
        let sides = line.split_once("==").or_else(|| line.split_once("!="));
        let Some((left, right)) = sides else {
            return false;
        };
        // The expression on either side: what stands before the sign, what follows it.
        let left = left.rsplit(['(', '{', '&', '|', ',']).next().unwrap_or_default();
        let right = right.split(['{', '&', '|', ',', ';']).next().unwrap_or_default();
        let is_secret = |side: &str| {
            let side = side.trim().trim_start_matches('*');
            // Lengths and kinds are no secrets.
            let of_public = [".len()", ".kind()", ".is_some()", ".is_none()", ".is_empty()"];
            let last = side.rsplit('.').find(|part| !part.ends_with(')')).unwrap_or(side);
            !of_public.iter().any(|end| side.contains(end)) && SECRETS.contains(&last.trim())
        };
        is_secret(left) || is_secret(right)
    });
    assert!(faults.is_empty(), "== on a secret:\n{}", faults.join("\n"));
}

#[test]
fn the_reference_has_every_setting_and_no_other() {
    let reference =
        fs::read_to_string(root().join("docs/configuration.md")).expect("the reference");
    let rows: Vec<&str> = reference.lines().filter(|line| line.starts_with("| `")).collect();
    let row_of = |key: &str| {
        let cell = format!("| `{key}` |");
        rows.iter().find(|row| row.starts_with(&cell))
    };
    let mut known = Vec::new();
    for key in KEYS {
        let row = row_of(&key.path()).unwrap_or_else(|| panic!("{} is not in it", key.path()));
        assert!(row.contains(&format!("`{}`", key.variable())), "{row}");
        let word = match key.reload {
            Reload::Live => "| live |",
            Reload::Restart => "| restart |",
        };
        assert!(row.contains(word), "{row}");
        if let Some(flag) = key.flag {
            assert!(row.contains(&format!("`{flag}`")), "{row}");
        }
        known.push(key.path());
    }
    known.extend(USER_KEYS.iter().map(|key| format!("users.NAME.{key}")));
    known.extend(DATABASE_KEYS.iter().map(|key| format!("databases.ALIAS.{key}")));
    known.extend(CLASS_KEYS.iter().map(|key| format!("classes.{key}")));
    known.extend(WARM_KEYS.iter().map(|key| format!("warm.{key}")));
    for key in &known {
        assert!(row_of(key).is_some(), "{key} is not in it");
    }
    for row in rows {
        let key = row.split('`').nth(1).expect("a key");
        let is_setting = key.contains('.') || known.iter().any(|known| known == key);
        assert!(!is_setting || known.iter().any(|known| known == key), "{key} is no setting");
    }
}

#[test]
fn every_value_of_a_label_is_counted_somewhere_and_explained() {
    let sources = sources();
    let labels = sources.iter().find(|source| source.path == "metrics/labels.rs");
    let reference = fs::read_to_string(root().join("docs/metrics.md")).expect("docs/metrics.md");
    let (mut label, mut values) = (String::new(), 0);
    for (_, line) in &labels.expect("the labels").lines {
        let Some((name, text)) = line.split_once(" = \"") else { continue };
        if line.ends_with('{') {
            label = name.trim().to_owned();
            continue;
        }
        values += 1;
        let value = format!("{label}::{}", name.trim());
        let uses = |source: &&Source| {
            let counts = |(_, line): &(usize, String)| names(line, &value);
            !source.path.starts_with("metrics/") && source.lines.iter().any(counts)
        };
        assert!(sources.iter().any(|source| uses(&source)), "{value} is never counted");
        let text = text.split('"').next().unwrap_or_default();
        assert!(reference.contains(&format!("`{text}`")), "{value} is not explained");
    }
    assert!(values > 30, "the labels were not read");
}

#[test]
fn every_dependency_has_its_line_in_the_decisions() {
    let manifest = fs::read_to_string(root().join("Cargo.toml")).expect("Cargo.toml");
    let manifest: toml::Table = manifest.parse().expect("a manifest");
    let decisions = fs::read_to_string(root().join("docs/decisions/0001-dependencies.md"));
    let decisions = decisions.expect("the decisions");
    for section in ["dependencies", "dev-dependencies"] {
        for name in manifest[section].as_table().expect("a table").keys() {
            assert!(decisions.contains(&format!("| `{name}` |")), "{name} has no line");
        }
    }
}

#[test]
fn the_tree_stands_on_its_own() {
    // Put together here, so that this file does not hold them.
    let words = [["SEMAN", "TICS.md"].concat(), ["../", "shared"].concat()];
    let mut files = Vec::new();
    files_below(root(), &mut files);
    for file in files {
        let text = fs::read(&file).expect("a file");
        let text = String::from_utf8_lossy(&text);
        for word in &words {
            assert!(!text.contains(word.as_str()), "{}: {word}", file.display());
        }
    }
}

#[test]
fn every_topic_is_a_module_of_the_one_binary() {
    let main = fs::read_to_string(root().join("tests/main.rs")).expect("tests/main.rs");
    for entry in fs::read_dir(root().join("tests")).expect("a folder") {
        let path = entry.expect("an entry").path();
        let name = path.file_stem().expect("a name").to_string_lossy().into_owned();
        let is_topic = path.extension().is_some_and(|end| end == "rs") && name != "main";
        assert!(!is_topic || main.contains(&format!("mod {name};")), "tests/{name}.rs never runs");
    }
}
