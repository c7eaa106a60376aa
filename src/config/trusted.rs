//! Which certificates `ca` stands for: a file, or what this system trusts, as libpq's `sslrootcert` says it.

use std::path::{Path, PathBuf};

use super::model::ServerTlsMode;

/// The name of the certificates that this system trusts, as of libpq 16.
const SYSTEM: &str = "system";

/// Whether it stands for what this system trusts.
pub fn is_system(ca: &Path) -> bool {
    ca.as_os_str() == SYSTEM
}

/// The file of trusted certificates that a name stands for.
pub fn trusted(ca: PathBuf) -> PathBuf {
    let system = || openssl_probe::probe().cert_file;
    if is_system(&ca) { system().unwrap_or(ca) } else { ca }
}

/// The mode where none is asked for. What a system trusts has signed for many names: another's certificate would do.
pub fn usual_mode(ca: Option<&Path>) -> ServerTlsMode {
    if ca.is_some_and(is_system) { ServerTlsMode::VerifyFull } else { ServerTlsMode::Prefer }
}
