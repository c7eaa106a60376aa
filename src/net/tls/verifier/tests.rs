//! Certificates of the manual's recipes, and ones made to deceive, in every mode.

use std::sync::Arc;
use std::time::Duration;

use rustls::sign::{CertifiedKey, SingleCertAndKey};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::super::files;
use super::super::testing::Pki;
use super::super::{TlsError, VERSIONS};
use super::*;
use crate::config::ServerTlsMode::{self, Prefer, Require, VerifyCa, VerifyFull};

const HOST: &str = "dbhost.yourdomain.com";

/// Every certificate that the tables below name.
fn pki() -> Pki {
    let pki = Pki::new();
    pki.self_signed("self", HOST);
    pki.root("root", "root.yourdomain.com");
    pki.root("namesake", "root.yourdomain.com");
    pki.root("stranger", "root.elsewhere.com");
    pki.issued("v1", HOST, "root");
    pki.issued("forged", HOST, "namesake");
    pki.issued("foreign", HOST, "stranger");
    pki.intermediate("middle", "intermediate.yourdomain.com", "root");
    pki.issued("below", HOST, "middle");
    pki.bundle("below-middle.crt", &["below", "middle"]);
    pki.issued_with("v3below", HOST, "middle", "subjectAltName=DNS:dbhost.yourdomain.com");
    pki.bundle("v3below-middle.crt", &["v3below", "middle"]);
    // A leaf's key must not make more certificates.
    pki.issued("child-of-v1", "victim.com", "v1");
    pki.bundle("child-of-v1-v1.crt", &["child-of-v1", "v1"]);
    pki.issued_with("plain", HOST, "root", "basicConstraints=CA:FALSE");
    pki.issued("child-of-plain", "victim.com", "plain");
    pki.bundle("child-of-plain-plain.crt", &["child-of-plain", "plain"]);
    let only_com = "basicConstraints=critical,CA:true\nnameConstraints=permitted;DNS:only.com";
    pki.issued_with("narrow", "narrow", "root", only_com);
    pki.issued("below-narrow", HOST, "narrow");
    pki.bundle("below-narrow-narrow.crt", &["below-narrow", "narrow"]);
    pki.issued_with("flat", "flat", "root", "basicConstraints=critical,CA:true,pathlen:0");
    pki.intermediate("deep", "deep", "flat");
    pki.issued("below-deep", HOST, "deep");
    pki.bundle("below-deep-deep-flat.crt", &["below-deep", "deep", "flat"]);

    let names = "subjectAltName=DNS:a.com,DNS:*.b.com,IP:127.0.0.1";
    pki.issued_with("san", HOST, "root", names);
    pki.issued_with("ip", HOST, "root", "subjectAltName=IP:127.0.0.1,IP:::1");
    pki.issued_with("client", HOST, "root", "extendedKeyUsage=clientAuth");
    pki.issued_with("server", HOST, "root", "extendedKeyUsage=serverAuth");
    pki.issued_with("ca", HOST, "root", "basicConstraints=CA:TRUE");
    pki.issued_with("odd", HOST, "root", "basicConstraints=CA:TRUE\n1.2.3.4=critical,DER:0500");
    pki.issued("nul", "127.0.0.1", "root");
    pki
}

fn now() -> u64 {
    UnixTime::now().as_secs()
}

/// What the check says of the certificates in a file, so many days from now.
fn outcome(
    pki: &Pki,
    (mode, ca): (ServerTlsMode, &str),
    (shown, host, days): (&str, &str, i64),
) -> Result<(), Refusal> {
    let trusted = || Trusted::load(&pki.path(&format!("{ca}.crt"))).unwrap();
    let demand = match mode {
        VerifyFull => Demand::TrustedFor(trusted()),
        VerifyCa => Demand::Trusted(trusted()),
        _ => Demand::Any,
    };
    let certs = files::certificates(&pki.path(&format!("{shown}.crt"))).unwrap();
    let time = now().checked_add_signed(days * 86_400).unwrap();
    let time = UnixTime::since_unix_epoch(Duration::from_secs(time));
    let host = ServerName::try_from(host).unwrap();
    let checked =
        Verifier::new(demand).verify_server_cert(&certs[0], &certs[1..], &host, &[], time);
    checked.map(|_| ()).map_err(|error| Refusal::found_in(&error).expect("a refusal"))
}

/// What the library that libpq uses says.
fn openssl_verifies(pki: &Pki, ca: &str, shown: &str, days: i64) -> bool {
    let time = now().checked_add_signed(days * 86_400).unwrap();
    std::process::Command::new("openssl")
        .args(["verify", "-purpose", "sslserver", "-attime", &time.to_string()])
        .args(["-CAfile", &format!("{ca}.crt"), "-untrusted", &format!("{shown}.crt")])
        .arg(format!("{shown}.crt"))
        .current_dir(pki.dir())
        .output()
        .unwrap()
        .status
        .success()
}

fn word(outcome: &Result<(), Refusal>) -> &'static str {
    match outcome {
        Ok(()) => "ok",
        Err(Refusal::UnknownIssuer { .. }) => "unknown issuer",
        Err(Refusal::SelfSigned { .. }) => "self-signed",
        Err(Refusal::Expired { .. }) => "expired",
        Err(Refusal::NotYetValid { .. }) => "not yet",
        Err(Refusal::WrongHost { .. }) => "wrong host",
        Err(Refusal::WrongPurpose { .. }) => "purpose",
        Err(Refusal::Unreadable) => "unreadable",
        Err(Refusal::Invalid(_)) => "invalid",
    }
}

/// CA file, what the server shows, host, days from now; then what `verify-ca` and what
/// `verify-full` say.
const CASES: &[(&str, &str, &str, i64, &str, &str)] = &[
    ("self", "self", HOST, 0, "ok", "ok"),
    ("self", "self", "localhost", 0, "ok", "wrong host"),
    ("self", "self", HOST, 366, "expired", "expired"),
    ("self", "self", HOST, -1, "not yet", "not yet"),
    ("root", "self", HOST, 0, "self-signed", "self-signed"),
    ("root", "v1", HOST, 0, "ok", "ok"),
    ("root", "v1", "localhost", 0, "ok", "wrong host"),
    ("root", "v1", HOST, 366, "expired", "expired"),
    ("root", "v1", HOST, -1, "not yet", "not yet"),
    ("self", "v1", HOST, 0, "unknown issuer", "unknown issuer"),
    ("v1", "v1", HOST, 0, "unknown issuer", "unknown issuer"),
    ("root", "forged", HOST, 0, "unknown issuer", "unknown issuer"),
    ("root", "foreign", HOST, 0, "unknown issuer", "unknown issuer"),
    ("root", "below-middle", HOST, 0, "ok", "ok"),
    ("root", "below-middle", HOST, 400, "expired", "expired"),
    ("middle", "below", HOST, 0, "ok", "ok"),
    ("root", "below", HOST, 0, "unknown issuer", "unknown issuer"),
    ("root", "v3below-middle", HOST, 0, "ok", "ok"),
    ("root", "v3below", HOST, 0, "unknown issuer", "unknown issuer"),
    ("root", "child-of-v1-v1", "victim.com", 0, "unknown issuer", "unknown issuer"),
    ("v1", "child-of-v1", "victim.com", 0, "unknown issuer", "unknown issuer"),
    ("root", "child-of-plain-plain", "victim.com", 0, "unknown issuer", "unknown issuer"),
    ("plain", "child-of-plain", "victim.com", 0, "unknown issuer", "unknown issuer"),
    ("root", "below-narrow-narrow", HOST, 0, "unknown issuer", "unknown issuer"),
    ("root", "below-deep-deep-flat", HOST, 0, "unknown issuer", "unknown issuer"),
    ("root", "san", "a.com", 0, "ok", "ok"),
    ("root", "san", "x.b.com", 0, "ok", "ok"),
    ("root", "san", "b.com", 0, "ok", "wrong host"),
    ("root", "san", "127.0.0.1", 0, "ok", "ok"),
    ("root", "san", "127.0.0.2", 0, "ok", "wrong host"),
    ("root", "san", HOST, 0, "ok", "wrong host"),
    ("root", "ip", HOST, 0, "ok", "ok"),
    ("root", "ip", "::1", 0, "ok", "ok"),
    ("root", "nul", "127.0.0.1", 0, "ok", "ok"),
    ("root", "client", HOST, 0, "purpose", "purpose"),
    ("root", "server", HOST, 0, "ok", "ok"),
    ("root", "ca", HOST, 0, "ok", "ok"),
    ("root", "odd", HOST, 0, "invalid", "invalid"),
];

#[test]
fn each_certificate_in_each_mode_is_judged_as_libpq_judges_it() {
    let pki = pki();
    for &(ca, shown, host, days, by_ca, by_full) in CASES {
        let case = (shown, host, days);
        let found = outcome(&pki, (VerifyCa, ca), case);
        assert_eq!(word(&found), by_ca, "verify-ca by {ca}: {case:?}: {found:?}");
        // Trust that ends at an intermediate authority is more than libpq has to give.
        if ca != "middle" {
            let openssl = openssl_verifies(&pki, ca, shown, days);
            assert_eq!(openssl, by_ca == "ok", "openssl by {ca}: {case:?}");
        }
        let found = outcome(&pki, (VerifyFull, ca), case);
        assert_eq!(word(&found), by_full, "verify-full by {ca}: {case:?}: {found:?}");
        for mode in [Prefer, Require] {
            assert_eq!(word(&outcome(&pki, (mode, ca), case)), "ok", "{mode:?}: {case:?}");
        }
    }
}

#[test]
fn no_byte_of_a_certificate_can_be_changed() {
    let pki = Pki::new();
    pki.root("root", "root");
    pki.issued("v1", HOST, "root");
    let verifier = Verifier::new(Demand::Trusted(Trusted::load(&pki.path("root.crt")).unwrap()));
    let certs = files::certificates(&pki.path("v1.crt")).unwrap();
    let host = ServerName::try_from(HOST).unwrap();
    let check = |der: &[u8]| {
        let der = CertificateDer::from(der);
        verifier.verify_server_cert(&der, &[], &host, &[], UnixTime::now()).is_ok()
    };
    assert!(check(&certs[0]));
    for at in 0..certs[0].len() {
        for bit in [0x01, 0x80] {
            let mut changed = certs[0].to_vec();
            changed[at] ^= bit;
            assert!(!check(&changed), "byte {at} ^ {bit:#x}");
        }
        assert!(!check(&certs[0][..at]), "cut at {at}");
    }
}

#[test]
fn an_authority_that_ran_out_is_told_from_an_unknown_one() {
    let pki = Pki::new();
    pki.root("root", "root.yourdomain.com");
    pki.issued("leaf", HOST, "root");
    // The same authority, with a certificate that is valid for a day only.
    pki.openssl("x509 -in root.crt -x509toreq -signkey root.key -out short.csr");
    pki.openssl(
        "x509 -req -in short.csr -days 1 -extfile openssl.cnf -extensions v3_ca \
         -signkey root.key -out short.crt",
    );
    let found = outcome(&pki, (VerifyCa, "short"), ("leaf", HOST, 2)).unwrap_err();
    assert!(matches!(&found, Refusal::Expired { .. }), "{found}");
    assert!(found.to_string().contains("CN=root.yourdomain.com"), "{found}");
}

#[test]
fn a_refusal_names_cause_and_remedy() {
    let pki = Pki::new();
    pki.root("root", "root");
    pki.self_signed("self", HOST);
    pki.issued_with("san", HOST, "root", "subjectAltName=DNS:a.com,DNS:b.com,IP:10.0.0.1");
    let text = |ca, shown, host, days| {
        outcome(&pki, (VerifyFull, ca), (shown, host, days)).unwrap_err().to_string()
    };
    let found = text("root", "san", "c.com", 0);
    assert!(
        found.contains("\"a.com\", \"b.com\", \"10.0.0.1\", not for host \"c.com\""),
        "{found}"
    );
    let found = text("self", "san", "a.com", 0);
    assert!(found.contains("\"CN=root\"") && found.contains("self.crt"), "{found}");
    let found = text("root", "self", HOST, 0);
    assert!(found.contains("self-signed") && found.contains("root.crt"), "{found}");
    let found = text("self", "self", HOST, 400);
    assert!(found.contains("expired on") && found.contains("renewed"), "{found}");
}

/// The outcome of a handshake with a server that has this certificate and this key.
async fn handshake(
    pki: &Pki,
    (cert, key): (&str, &str),
    version: &'static rustls::SupportedProtocolVersion,
) -> Result<(), TlsError> {
    let certs = files::certificates(&pki.path(&format!("{cert}.crt"))).unwrap();
    let key = files::private_key(&pki.path(&format!("{key}.key"))).unwrap();
    let key = provider().key_provider.load_private_key(key).unwrap();
    let resolver = SingleCertAndKey::from(CertifiedKey::new(certs, key));
    let server = rustls::ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[version])
        .unwrap()
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(resolver));
    let client = rustls::ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(VERSIONS)
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Verifier::new(Demand::Any)))
        .with_no_client_auth();
    let (near, far) = tokio::io::duplex(1 << 16);
    let accept = TlsAcceptor::from(Arc::new(server)).accept(far);
    let host = ServerName::try_from("localhost").unwrap();
    let connect = TlsConnector::from(Arc::new(client)).connect(host, near);
    let (_server, client) = tokio::join!(accept, connect);
    Ok(client.map(|_| ())?)
}

#[tokio::test]
async fn a_server_must_have_the_key_of_its_certificate_in_every_mode() {
    let pki = Pki::new();
    pki.self_signed("rsa", HOST);
    pki.self_signed("rsa2", HOST);
    pki.root("root", "root");
    pki.issued("v1", HOST, "root");
    pki.issued("v1b", HOST, "root");
    for version in VERSIONS {
        for (cert, key, good) in [
            ("rsa", "rsa", true),
            ("rsa", "rsa2", false),
            ("v1", "v1", true),
            ("v1", "v1b", false),
            ("root", "root", true),
            ("root", "v1", false),
        ] {
            let done = handshake(&pki, (cert, key), version).await;
            assert_eq!(done.is_ok(), good, "{cert} {key} {:?}: {done:?}", version.version);
        }
    }
}
