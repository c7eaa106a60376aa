//! The data directory: made by `initdb` or copied from a template, and its configuration.

use std::fmt::Write as _;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::Path;
use std::process::Command;

use rand::distr::{Alphanumeric, SampleString};

use super::system::{Owner, during, run, unprivileged, write_owned};
use super::{EmbeddedError, Options};

/// Makes `folder/data` and returns the superuser's password.
pub(super) fn make_data(
    bin: &Path,
    folder: &Path,
    owner: Option<Owner>,
    template: Option<&Path>,
) -> Result<String, EmbeddedError> {
    let secret_of = |at: &Path| fs::read_to_string(at.join("password"));
    if let Some(template) = template
        && let Ok(password) = secret_of(template)
    {
        copy_data(template, folder, owner)?;
        return Ok(password);
    }
    let password = Alphanumeric.sample_string(&mut rand::rng(), PASSWORD_LEN);
    write_owned(&folder.join("password"), &password, owner)?;
    let mut initdb = unprivileged(&bin.join("initdb"), folder, owner);
    initdb.arg("-D").arg(folder.join("data")).arg("--pwfile").arg(folder.join("password"));
    initdb.args(["--no-sync", "--username=postgres", "--auth=scram-sha-256"]);
    initdb.args(["--encoding=UTF8", "--locale=C"]);
    run("initdb", &mut initdb)?;
    if let Some(template) = template {
        keep_template(folder, template)?;
    }
    Ok(password)
}

/// Other processes may be doing the same; the first rename wins and the others' work is dropped.
fn keep_template(folder: &Path, template: &Path) -> Result<(), EmbeddedError> {
    let parent = template.parent().unwrap_or(template);
    fs::create_dir_all(parent).map_err(during("create the template's folder"))?;
    let draft = tempfile::tempdir_in(parent).map_err(during("create the template's folder"))?;
    run(
        "cp",
        Command::new("cp")
            .args(["-R", "--reflink=auto"])
            .arg(folder.join("data"))
            .arg(draft.path()),
    )?;
    run("cp", Command::new("cp").arg(folder.join("password")).arg(draft.path()))?;
    let _ = fs::rename(draft.path(), template);
    Ok(())
}

fn copy_data(template: &Path, folder: &Path, owner: Option<Owner>) -> Result<(), EmbeddedError> {
    let data = folder.join("data");
    run(
        "cp",
        Command::new("cp").args(["-R", "--reflink=auto"]).arg(template.join("data")).arg(&data),
    )?;
    run("chmod", Command::new("chmod").args(["-R", "u=rwX,go="]).arg(&data))?;
    let Some(Owner { uid, gid }) = owner else {
        return Ok(());
    };
    run("chown", Command::new("chown").arg("-R").arg(format!("{uid}:{gid}")).arg(&data))
}

/// Appends our settings to `postgresql.conf`, where the last of a name wins.
pub(super) fn configure(
    folder: &Path,
    owner: Option<Owner>,
    port: u16,
    options: &Options,
) -> Result<(), EmbeddedError> {
    let data = folder.join("data");
    let mut lines = vec![
        ("listen_addresses", "127.0.0.1".to_owned()),
        ("port", port.to_string()),
        ("unix_socket_directories", folder.display().to_string()),
        ("log_line_prefix", "%m [%p] %e ".to_owned()),
        // Nothing here outlives the process, so a crash of the machine has nothing to lose.
        ("fsync", "off".to_owned()),
        ("superuser_reserved_connections", RESERVED.to_string()),
    ];
    if let Some(limit) = options.limit {
        lines.push(("max_connections", (limit + RESERVED).to_string()));
    }
    if let Some((cert, key)) = &options.tls {
        for (from, to) in [(cert, "server.crt"), (key, "server.key")] {
            let text = fs::read_to_string(from).map_err(during("read a certificate file"))?;
            write_owned(&data.join(to), &text, owner)?;
        }
        lines.push(("ssl", "on".to_owned()));
    }
    let extra = options.settings.iter().map(|(key, value)| (key.as_str(), value.clone()));
    let mut conf = String::new();
    for (key, value) in lines.into_iter().chain(extra) {
        let _ = writeln!(conf, "{key} = '{}'", value.replace('\'', "''"));
    }
    let mut file = OpenOptions::new()
        .append(true)
        .open(data.join("postgresql.conf"))
        .map_err(during("write postgresql.conf"))?;
    file.write_all(conf.as_bytes()).map_err(during("write postgresql.conf"))?;
    match &options.hba {
        Some(hba) => write_owned(&data.join("pg_hba.conf"), hba, owner),
        None => Ok(()),
    }
}

/// Slots that only superusers can use (PostgreSQL's default).
const RESERVED: usize = 3;
const PASSWORD_LEN: usize = 24;
