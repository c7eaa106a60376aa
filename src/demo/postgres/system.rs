//! What the throwaway PostgreSQL needs of the machine: its binaries, a user that is not root, a
//! free port, and tools run as that user.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rand::RngExt;
use tempfile::TempDir;

use super::EmbeddedError;

/// The user that owns the files and runs the server when we are root.
#[derive(Debug, Clone, Copy)]
pub(super) struct Owner {
    pub(super) uid: u32,
    pub(super) gid: u32,
}

/// The folder of `postgres` and `initdb`: `$PGWEIR_PG_BIN`, then `$PATH`, then the newest version
/// below `/usr/lib/postgresql`.
pub fn find_binaries() -> Result<PathBuf, EmbeddedError> {
    let complete = |bin: &Path| bin.join("postgres").is_file() && bin.join("initdb").is_file();
    if let Some(bin) = std::env::var_os("PGWEIR_PG_BIN") {
        // Asked for by name: falling back to another version would hide the mistake.
        let bin = PathBuf::from(bin);
        return if complete(&bin) { Ok(bin) } else { Err(EmbeddedError::BadBinVariable(bin)) };
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).find(|bin| complete(bin));
    let installed = || {
        let versions = fs::read_dir("/usr/lib/postgresql").ok()?.flatten();
        versions
            .filter_map(|entry| {
                Some((entry.file_name().to_str()?.parse::<u32>().ok()?, entry.path()))
            })
            .map(|(version, path)| (version, path.join("bin")))
            .filter(|(_, bin)| complete(bin))
            .max()
            .map(|(_, bin)| bin)
    };
    found.or_else(installed).ok_or(EmbeddedError::NoBinaries)
}

/// Who must own the folder: nobody else, unless we are root (the folder we made tells who we are).
pub(super) fn owner_of(folder: &TempDir) -> Result<Option<Owner>, EmbeddedError> {
    let made_by = fs::metadata(folder.path()).map_err(during("read the temporary folder"))?.uid();
    if made_by != 0 {
        return Ok(None);
    }
    let passwd = fs::read_to_string("/etc/passwd").map_err(during("read /etc/passwd"))?;
    let owner = ["postgres", "nobody"].iter().find_map(|name| passwd_entry(&passwd, name));
    let owner = owner.ok_or(EmbeddedError::NoUnprivilegedUser)?;
    give(folder.path(), Some(owner))?;
    Ok(Some(owner))
}

fn passwd_entry(passwd: &str, name: &str) -> Option<Owner> {
    passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next()? == name).then_some(())?;
        let mut ids = fields.skip(1).map(|id| id.parse().ok());
        Some(Owner { uid: ids.next()??, gid: ids.next()?? }).filter(|owner| owner.uid != 0)
    })
}

/// Hands a file over.
pub(super) fn give(path: &Path, owner: Option<Owner>) -> Result<(), EmbeddedError> {
    let Some(owner) = owner else { return Ok(()) };
    chown(path, Some(owner.uid), Some(owner.gid)).map_err(during("give a file to PostgreSQL"))
}

/// A command that runs in a folder, and not as root.
pub(super) fn unprivileged(program: &Path, folder: &Path, owner: Option<Owner>) -> Command {
    let mut command = Command::new(program);
    // Our own folder may be unreadable to that user, which the tools complain about.
    command.current_dir(folder);
    if let Some(owner) = owner {
        command.uid(owner.uid).gid(owner.gid);
    }
    command
}

/// Runs a tool to its end.
pub(super) fn run(tool: &'static str, command: &mut Command) -> Result<(), EmbeddedError> {
    let output = command.stdin(Stdio::null()).output().map_err(during("run a tool"))?;
    if output.status.success() {
        return Ok(());
    }
    let text = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(EmbeddedError::Tool { tool, output: text })
}

/// Writes a file that only its owner can read.
pub(super) fn write_owned(
    path: &Path,
    text: &str,
    owner: Option<Owner>,
) -> Result<(), EmbeddedError> {
    let mut options = OpenOptions::new();
    options.create(true).write(true).truncate(true).mode(0o600);
    let write = |mut file: File| file.write_all(text.as_bytes());
    options.open(path).and_then(write).map_err(during("write a file of PostgreSQL's"))?;
    give(path, owner)
}

/// A port on loopback that nobody listens on now. Below the range that the kernel gives to outgoing
/// connections, one of which could otherwise take it before its listener does.
pub fn free_port() -> io::Result<u16> {
    let mut random = rand::rng();
    let mut free = || {
        let port = random.random_range(LISTENING_PORTS);
        TcpListener::bind((Ipv4Addr::LOCALHOST, port)).map(|_| port)
    };
    (1..PORT_ATTEMPTS).find_map(|_| free().ok()).map_or_else(free, Ok)
}

/// Names what failed.
pub(super) fn during(doing: &'static str) -> impl FnOnce(io::Error) -> EmbeddedError {
    move |source| EmbeddedError::Io { doing, source }
}

const LISTENING_PORTS: std::ops::Range<u16> = 20_000..32_000;
const PORT_ATTEMPTS: usize = 50;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_unprivileged_user_is_read_from_passwd() {
        let passwd = "root:x:0:0:root:/root:/bin/sh\npostgres:x:101:104::/var:/bin/bash\n";
        let owner = passwd_entry(passwd, "postgres").map(|owner| (owner.uid, owner.gid));
        assert_eq!(owner, Some((101, 104)));
        assert!(passwd_entry(passwd, "root").is_none());
        assert!(passwd_entry(passwd, "nobody").is_none());
        assert!(passwd_entry("postgres:x:oops", "postgres").is_none());
    }
}
