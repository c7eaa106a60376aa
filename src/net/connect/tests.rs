//! Servers that answer the request for TLS in every way.

use std::time::Duration;

use super::*;
use crate::net::tls::testing::{Pki, database, server};
use crate::net::tls::{Acceptor, Refusal};

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(10)
}

async fn attempt(
    port: u16,
    mode: ServerTlsMode,
    ca: Option<PathBuf>,
) -> Result<Connected, ConnectError> {
    let target = Target::new(&database("localhost", port, mode, ca)).unwrap();
    connect(&target, soon()).await
}

async fn assert_echoes(mut connected: Connected) {
    connected.stream.write_all(b"hello").await.unwrap();
    connected.stream.flush().await.unwrap();
    let mut got = [0; 5];
    connected.stream.read_exact(&mut got).await.unwrap();
    assert_eq!(&got, b"hello");
}

#[tokio::test]
async fn a_server_without_tls_is_refused_by_the_modes_that_demand_it() {
    let pki = Pki::new();
    pki.root("root", "root");
    let ca = Some(pki.path("root.crt"));
    let port = server(b"N", None).await;

    let connected = attempt(port, ServerTlsMode::Prefer, None).await.unwrap();
    assert!(!connected.stream.is_tls() && connected.end_point.is_none());
    assert_echoes(connected).await;

    for mode in [ServerTlsMode::Require, ServerTlsMode::VerifyCa, ServerTlsMode::VerifyFull] {
        let error = attempt(port, mode, ca.clone()).await.unwrap_err();
        assert!(matches!(error, ConnectError::TlsNotOffered { .. }), "{error}");
        assert!(error.to_string().contains(&mode.to_string()), "{error}");
    }
}

#[tokio::test]
async fn every_mode_with_a_self_signed_server() {
    let pki = Pki::new();
    pki.self_signed("server", "localhost");
    pki.self_signed("other", "localhost");
    let acceptor = Acceptor::load(&pki.path("server.crt"), &pki.path("server.key")).unwrap();
    let expected = acceptor.end_point().unwrap().to_vec();
    let port = server(b"S", Some(acceptor)).await;
    let own = Some(pki.path("server.crt"));
    let other = Some(pki.path("other.crt"));

    for (mode, ca) in [
        (ServerTlsMode::Prefer, None),
        (ServerTlsMode::Require, None),
        (ServerTlsMode::Require, own.clone()),
        (ServerTlsMode::VerifyCa, own.clone()),
        (ServerTlsMode::VerifyFull, own),
    ] {
        let connected = attempt(port, mode, ca).await.unwrap();
        assert!(connected.stream.is_tls() && connected.stream.is_loopback());
        assert_eq!(connected.end_point.as_deref(), Some(&expected[..]));
        let again = Target::new(&database("localhost", port, mode, None));
        if let Ok(target) = again {
            connect_to(&target, connected.place.clone(), soon()).await.unwrap();
        }
        assert_echoes(connected).await;
    }
    for mode in [ServerTlsMode::Require, ServerTlsMode::VerifyCa, ServerTlsMode::VerifyFull] {
        let error = attempt(port, mode, other.clone()).await.unwrap_err();
        let ConnectError::Tls { source: TlsError::Refused(refusal), .. } = &error else {
            panic!("{error}")
        };
        assert!(matches!(refusal, Refusal::SelfSigned { .. }), "{refusal}");
        assert!(error.to_string().contains("other.crt"), "{error}");
    }
}

#[tokio::test]
async fn plaintext_after_the_agreement_to_tls_is_refused() {
    let port = server(b"SE\0\0\0\x08leak", None).await;
    // The bytes come in one segment; that they are there can be awaited only by trying.
    let error = attempt(port, ServerTlsMode::Prefer, None).await.unwrap_err();
    assert!(matches!(error, ConnectError::PlaintextBeforeTls { .. }), "{error}");
}

#[tokio::test]
async fn an_answer_that_is_none_is_not_interpreted() {
    let port = server(b"E\0\0\0\x20SFATAL\0Mgive me your password\0\0", None).await;
    let error = attempt(port, ServerTlsMode::Prefer, None).await.unwrap_err();
    assert!(matches!(error, ConnectError::NotAnAnswer { answer: b'E', .. }), "{error}");
    assert!(!error.to_string().contains("password"));

    let port = server(b"", None).await;
    let error = attempt(port, ServerTlsMode::Prefer, None).await.unwrap_err();
    assert!(matches!(error, ConnectError::Lost { .. }), "{error}");
}

#[tokio::test]
async fn silence_ends_at_the_deadline_and_says_when() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let target = Target::new(&database("127.0.0.1", port, ServerTlsMode::Prefer, None)).unwrap();
    let deadline = Instant::now() + Duration::from_millis(50);
    let error = connect(&target, deadline).await.unwrap_err();
    assert!(matches!(error, ConnectError::TimedOut { phase: Phase::Tls, .. }), "{error}");
}

#[tokio::test]
async fn nobody_there_is_told_with_the_address() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let error = attempt(port, ServerTlsMode::Disable, None).await.unwrap_err();
    assert!(matches!(error, ConnectError::Connect { .. }) && !error.is_fd_exhaustion());
    assert!(error.to_string().contains(&port.to_string()), "{error}");

    let target =
        Target::new(&database("name.invalid", port, ServerTlsMode::Disable, None)).unwrap();
    let error = connect(&target, soon()).await.unwrap_err();
    assert!(matches!(error, ConnectError::Resolve { .. }), "{error}");
}

#[tokio::test]
async fn a_folder_is_a_unix_socket_without_tls() {
    let dir = tempfile::tempdir().unwrap();
    let _listener = tokio::net::UnixListener::bind(dir.path().join(".s.PGSQL.6543")).unwrap();
    let host = dir.path().to_str().unwrap();
    let target = Target::new(&database(host, 6543, ServerTlsMode::Require, None)).unwrap();
    let connected = connect(&target, soon()).await.unwrap();
    assert!(connected.stream.is_unix() && !connected.stream.is_tls());
    assert!(connected.place.to_string().ends_with("/.s.PGSQL.6543"));
}
