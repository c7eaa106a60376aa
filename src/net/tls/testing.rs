//! Certificates made as the manual makes them, and servers that show them.

use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::Acceptor;
use crate::config::{ChannelBindingMode, Database, ServerTls, ServerTlsMode};
use crate::net::stream::Stream;

/// A folder of certificates: `NAME.crt` beside `NAME.key`.
pub(in crate::net) struct Pki(TempDir);

impl Pki {
    pub(in crate::net) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let sections = "[v3_ca]\nsubjectKeyIdentifier=hash\n\
                        authorityKeyIdentifier=keyid:always,issuer\n\
                        basicConstraints=critical,CA:true\n";
        std::fs::write(dir.path().join("openssl.cnf"), sections).unwrap();
        Self(dir)
    }

    pub(in crate::net) fn path(&self, file: &str) -> PathBuf {
        self.0.path().join(file)
    }

    /// Runs openssl in the folder; arguments have no blanks of their own.
    pub(in crate::net) fn openssl(&self, arguments: &str) -> String {
        let output = Command::new("openssl")
            .args(arguments.split_whitespace())
            .current_dir(self.0.path())
            .output()
            .expect("openssl is installed");
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "openssl {arguments}: {errors}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// The manual's self-signed server certificate.
    pub(in crate::net) fn self_signed(&self, name: &str, cn: &str) {
        self.openssl(&format!(
            "req -new -x509 -days 365 -nodes -text -out {name}.crt -keyout {name}.key -subj /CN={cn}"
        ));
    }

    /// The manual's root authority.
    pub(in crate::net) fn root(&self, name: &str, cn: &str) {
        self.request(name, cn);
        self.openssl(&format!(
            "x509 -req -in {name}.csr -text -days 3650 -extfile openssl.cnf -extensions v3_ca \
             -signkey {name}.key -out {name}.crt"
        ));
    }

    /// The manual's intermediate authority.
    pub(in crate::net) fn intermediate(&self, name: &str, cn: &str, by: &str) {
        self.request(name, cn);
        self.openssl(&format!(
            "x509 -req -in {name}.csr -text -days 1825 -extfile openssl.cnf -extensions v3_ca \
             -CA {by}.crt -CAkey {by}.key -CAcreateserial -out {name}.crt"
        ));
    }

    /// The manual's server certificate issued by an authority: X.509 version 1 with OpenSSL 3.0.
    pub(in crate::net) fn issued(&self, name: &str, cn: &str, by: &str) {
        self.request(name, cn);
        self.openssl(&format!(
            "x509 -req -in {name}.csr -text -days 365 -CA {by}.crt -CAkey {by}.key \
             -CAcreateserial -out {name}.crt"
        ));
    }

    /// As [`Pki::issued`], with extensions, a line each.
    pub(in crate::net) fn issued_with(&self, name: &str, cn: &str, by: &str, extensions: &str) {
        self.request(name, cn);
        std::fs::write(self.path("extensions"), extensions).unwrap();
        self.openssl(&format!(
            "x509 -req -in {name}.csr -text -days 365 -extfile extensions -CA {by}.crt \
             -CAkey {by}.key -CAcreateserial -out {name}.crt"
        ));
    }

    /// Writes certificates behind each other into one file.
    pub(in crate::net) fn bundle(&self, file: &str, names: &[&str]) {
        let parts = names.iter().map(|name| self.read(&format!("{name}.crt")));
        std::fs::write(self.path(file), parts.collect::<String>()).unwrap();
    }

    pub(in crate::net) fn read(&self, file: &str) -> String {
        std::fs::read_to_string(self.path(file)).unwrap()
    }

    pub(in crate::net) fn dir(&self) -> &Path {
        self.0.path()
    }

    fn request(&self, name: &str, cn: &str) {
        self.openssl(&format!(
            "req -new -nodes -text -out {name}.csr -keyout {name}.key -subj /CN={cn} \
             -newkey ec -pkeyopt ec_paramgen_curve:prime256v1"
        ));
    }
}

/// A database at a port of 127.0.0.1, reached by a host name.
pub(crate) fn database(
    host: &str,
    port: u16,
    mode: ServerTlsMode,
    ca: Option<PathBuf>,
) -> Database {
    Database {
        host: host.to_owned(),
        port,
        dbname: None,
        user: None,
        password: None,
        tls: ServerTls { mode, ca, channel_binding: ChannelBindingMode::Prefer },
        init_query: None,
        max_servers: None,
        listen: None,
        pooling: None,
        observe: None,
    }
}

/// A server that answers every SSLRequest with these bytes, then makes TLS if it can, and sends
/// back what it receives. Its port.
pub(in crate::net) async fn server(answer: &'static [u8], acceptor: Option<Acceptor>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut tcp, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let mut request = [0; 8];
                tcp.read_exact(&mut request).await.unwrap();
                assert_eq!(request, [0, 0, 0, 8, 4, 210, 22, 47]);
                if tcp.write_all(answer).await.is_err() || answer.is_empty() {
                    return;
                }
                let mut stream = Stream::Tcp(tcp);
                if let Some(acceptor) = acceptor {
                    let Ok(accepted) = acceptor.accept(stream).await else {
                        return;
                    };
                    assert!(accepted.alpn);
                    stream = accepted.stream;
                }
                let _ = echo(&mut stream).await;
            });
        }
    });
    port
}

async fn echo(stream: &mut Stream) -> std::io::Result<()> {
    let mut buf = [0; 64];
    loop {
        let count = stream.read(&mut buf).await?;
        if count == 0 {
            return Ok(());
        }
        stream.write_all(&buf[..count]).await?;
        stream.flush().await?;
    }
}

/// A PostgreSQL of its own, with TLS by a certificate of the folder and the role `postgres`, whose
/// password is [`PASSWORD`]. Ends when dropped.
pub(in crate::net) struct Postgres {
    process: Child,
    pub(in crate::net) port: u16,
    _dir: TempDir,
}

pub(in crate::net) const PASSWORD: &str = "only for tests";

impl Postgres {
    /// `None` where no PostgreSQL is installed.
    pub(in crate::net) fn start(pki: &Pki, certificate: &str) -> Option<Self> {
        let bin = Self::bin()?;
        let dir = tempfile::tempdir().unwrap();
        Self::give_away(dir.path(), 0o755);
        let data = dir.path().join("data");
        std::fs::write(dir.path().join("password"), PASSWORD).unwrap();
        let initdb = Self::command(&bin.join("initdb"))
            .args(["--auth=scram-sha-256", "--username=postgres", "--no-sync", "--pgdata"])
            .arg(&data)
            .arg(format!("--pwfile={}", dir.path().join("password").display()))
            .output()
            .unwrap();
        assert!(initdb.status.success(), "{}", String::from_utf8_lossy(&initdb.stderr));
        std::fs::copy(pki.path(&format!("{certificate}.crt")), data.join("server.crt")).unwrap();
        std::fs::copy(pki.path(&format!("{certificate}.key")), data.join("server.key")).unwrap();
        Self::give_away(&data.join("server.key"), 0o600);

        // Free when asked; nobody else takes one of these in the moment between.
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let process = Self::command(&bin.join("postgres"))
            .arg("-D")
            .arg(&data)
            .args(["-p", &port.to_string(), "-c", "listen_addresses=127.0.0.1", "-c", "ssl=on"])
            .args(["-c", "fsync=off", "-k", dir.path().to_str().unwrap()])
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut started = Self { process, port, _dir: dir };
        // It listens a moment before it takes logins.
        let ready = || {
            Self::command(&bin.join("pg_isready"))
                .args(["-h", "127.0.0.1", "-p"])
                .arg(port.to_string())
                .status()
                .unwrap()
                .success()
        };
        while !ready() {
            assert!(started.process.try_wait().unwrap().is_none(), "PostgreSQL did not start");
        }
        Some(started)
    }

    fn bin() -> Option<PathBuf> {
        let installed = std::fs::read_dir("/usr/lib/postgresql").ok()?;
        let mut bins: Vec<_> = installed.flatten().map(|entry| entry.path().join("bin")).collect();
        bins.sort();
        bins.pop()
    }

    /// PostgreSQL does not run as root.
    fn command(program: &Path) -> Command {
        let mut command = Command::new(program);
        if let Some((user, group)) = Self::owner() {
            command.uid(user).gid(group);
        }
        command.stdout(Stdio::null()).current_dir("/");
        command
    }

    fn give_away(file: &Path, mode: u32) {
        std::fs::set_permissions(file, PermissionsExt::from_mode(mode)).unwrap();
        if let Some((user, group)) = Self::owner() {
            std::os::unix::fs::chown(file, Some(user), Some(group)).unwrap();
        }
    }

    /// Whom to run as, if this is root.
    fn owner() -> Option<(u32, u32)> {
        let id = |arguments: &[&str]| -> Option<u32> {
            let output = Command::new("id").args(arguments).output().ok()?;
            String::from_utf8(output.stdout).ok()?.trim().parse().ok()
        };
        (id(&["-u"])? == 0).then_some((id(&["-u", "postgres"])?, id(&["-g", "postgres"])?))
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        // SIGQUIT: at once, but not without giving its shared memory back.
        let pid = self.process.id().to_string();
        let _ = Command::new("kill").args(["-QUIT", &pid]).status();
        let _ = self.process.wait();
    }
}
