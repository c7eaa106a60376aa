//! Certificates made by openssl, as the PostgreSQL manual does
//! (`ssl-tcp.html#SSL-CERTIFICATE-CREATION`).

use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

/// A self-signed certificate and its key.
pub struct Certificate {
    folder: TempDir,
}

impl Certificate {
    /// For a host name that stands in the CN only.
    pub fn for_name(name: &str) -> Self {
        Self::made(name, &[])
    }

    /// For 127.0.0.1, and not an authority, so that rustls takes it as its own root.
    pub fn for_loopback() -> Self {
        let address = ["-addext", "subjectAltName=IP:127.0.0.1"];
        Self::made(
            "localhost",
            &[&address[..], &["-addext", "basicConstraints=critical,CA:FALSE"]].concat(),
        )
    }

    /// A certificate as the manual's second recipe makes it: an authority signs a request that names
    /// a host in its CN only. `ca` is the authority's, the rest the server's.
    pub fn issued(name: &str) -> (Self, Self) {
        let ca = Self::for_name("root.example");
        let folder = tempfile::tempdir().expect("a temporary folder");
        let certificate = Self { folder };
        let request = certificate.folder.path().join("server.csr");
        openssl(
            Command::new("openssl")
                .args(["req", "-new", "-nodes", "-subj", &format!("/CN={name}"), "-out"])
                .arg(&request)
                .arg("-keyout")
                .arg(certificate.key()),
        );
        openssl(
            Command::new("openssl")
                .args(["x509", "-req", "-days", "2", "-CAcreateserial", "-in"])
                .arg(&request)
                .arg("-CA")
                .arg(ca.cert())
                .arg("-CAkey")
                .arg(ca.key())
                .arg("-out")
                .arg(certificate.cert()),
        );
        (certificate, ca)
    }

    fn made(name: &str, extra: &[&str]) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let certificate = Self { folder };
        openssl(
            Command::new("openssl")
                .args(["req", "-new", "-x509", "-days", "2", "-nodes", "-subj"])
                .arg(format!("/CN={name}"))
                .args(extra)
                .arg("-out")
                .arg(certificate.cert())
                .arg("-keyout")
                .arg(certificate.key()),
        );
        certificate
    }

    /// The certificate, PEM.
    pub fn cert(&self) -> PathBuf {
        self.folder.path().join("server.crt")
    }

    /// The key, PEM.
    pub fn key(&self) -> PathBuf {
        self.folder.path().join("server.key")
    }

    /// Replaces this one's files by another's.
    pub fn replace_by(&self, other: &Self) {
        let copy = |from: &Path, to: &Path| std::fs::copy(from, to).expect("a copied certificate");
        copy(&other.cert(), &self.cert());
        copy(&other.key(), &self.key());
    }

    /// pgweir's `[tls]` with this certificate.
    pub fn table(&self, mode: &str) -> String {
        let (cert, key) = (self.cert(), self.key());
        format!(
            "[tls]\nmode = \"{mode}\"\ncert = \"{}\"\nkey = \"{}\"\n",
            cert.display(),
            key.display()
        )
    }
}

fn openssl(command: &mut Command) {
    let output = command.output().expect("openssl");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
