//! Whether somebody trusted vouches for a server's certificate.
//!
//! webpki decides wherever it can. It does not take what the manual's own recipes make
//! (`ssl-tcp.html#SSL-CERTIFICATE-CREATION`): a self-signed server certificate, which says of itself
//! that it is an authority, and certificates of X.509 version 1, which `openssl x509 -req` makes.
//! libpq takes both, so for these two alone the short walk below stands in, as strict as OpenSSL's.

use std::path::{Path, PathBuf};

use rustls::pki_types::{CertificateDer, SignatureVerificationAlgorithm, TrustAnchor, UnixTime};
use webpki::{EndEntityCert, KeyUsage};
use x509_parser::certificate::{Validity, X509Certificate};
use x509_parser::oid_registry::{
    OID_X509_EXT_BASIC_CONSTRAINTS, OID_X509_EXT_EXTENDED_KEY_USAGE, OID_X509_EXT_KEY_USAGE,
    OID_X509_EXT_NAME_CONSTRAINTS, OID_X509_EXT_SUBJECT_ALT_NAME,
};
use x509_parser::x509::X509Version;

use super::cert;
use super::files::{self, TlsFileError};
use super::refusal::Refusal;

/// The certificates of a file that the operator trusts.
#[derive(Debug)]
pub(super) struct Trusted {
    path: PathBuf,
    certs: Vec<CertificateDer<'static>>,
    anchors: Vec<Anchor>,
}

/// One of them that may vouch for others, as webpki takes it.
#[derive(Debug)]
struct Anchor {
    key: TrustAnchor<'static>,
    period: Validity,
}

/// What a server showed: its certificate and those it sent along.
#[derive(Clone, Copy)]
pub(super) struct Shown<'a> {
    pub(super) leaf: &'a CertificateDer<'a>,
    pub(super) others: &'a [CertificateDer<'a>],
    pub(super) now: UnixTime,
    pub(super) algorithms: &'a [&'a dyn SignatureVerificationAlgorithm],
}

impl Trusted {
    /// Reads the file. Blocks on it.
    pub(super) fn load(path: &Path) -> Result<Self, TlsFileError> {
        let certs = files::certificates(path)?;
        let anchors = certs.iter().filter_map(Anchor::new).collect();
        Ok(Self { path: path.to_owned(), certs, anchors })
    }

    /// Refuses a certificate that no trusted one vouches for.
    pub(super) fn check(&self, shown: Shown<'_>) -> Result<(), Refusal> {
        let leaf = cert::parse(shown.leaf).ok_or(Refusal::Unreadable)?;
        cert::check_period(&leaf, shown.now)?;
        if cert::is_self_issued(&leaf) && self.certs.iter().any(|own| own == shown.leaf) {
            return check_purpose(&leaf);
        }
        match self.check_by_webpki(shown) {
            Err(webpki::Error::UnsupportedCertVersion | webpki::Error::CaUsedAsEndEntity) => {
                self.walk(&leaf, shown)
            }
            Err(webpki::Error::UnknownIssuer) => Err(self.unknown_issuer(&leaf, shown)),
            Err(error) => Err(explained(error, &leaf)),
            Ok(()) => Ok(()),
        }
    }

    fn check_by_webpki(&self, shown: Shown<'_>) -> Result<(), webpki::Error> {
        let anchors: Vec<TrustAnchor<'_>> = self
            .anchors
            .iter()
            .filter(|anchor| cert::is_within(&anchor.period, shown.now))
            .map(|anchor| anchor.key.clone())
            .collect();
        EndEntityCert::try_from(shown.leaf)?
            .verify_for_usage(
                shown.algorithms,
                &anchors,
                shown.others,
                shown.now,
                KeyUsage::server_auth(),
                None,
                None,
            )
            .map(|_| ())
    }

    /// From the leaf upwards, one issuer at a time, until a trusted one.
    fn walk(&self, leaf: &X509Certificate<'_>, shown: Shown<'_>) -> Result<(), Refusal> {
        check_purpose(leaf)?;
        let trusted: Vec<_> = self.certs.iter().filter_map(cert::parse).collect();
        let sent: Vec<_> = shown.others.iter().take(MAX_SENT).filter_map(cert::parse).collect();
        let mut child = leaf;
        for below in 0..=MAX_INTERMEDIATES {
            if let Some(root) = find_issuer(&trusted, child, below, shown) {
                return cert::check_period(root, shown.now);
            }
            let Some(next) = find_issuer(&sent, child, below, shown) else {
                break;
            };
            cert::check_period(next, shown.now)?;
            child = next;
        }
        Err(self.unknown_issuer(child, shown))
    }

    fn unknown_issuer(&self, child: &X509Certificate<'_>, shown: Shown<'_>) -> Refusal {
        let own = self.certs.iter().filter_map(cert::parse);
        let mut expired = own
            .filter(|own| own.subject().as_raw() == child.issuer().as_raw())
            .filter_map(|own| cert::check_period(&own, shown.now).err());
        match expired.next() {
            Some(refusal) => refusal,
            None if cert::is_self_issued(child) => {
                Refusal::SelfSigned { subject: cert::name(child.subject()), ca: self.path.clone() }
            }
            None => {
                Refusal::UnknownIssuer { issuer: cert::name(child.issuer()), ca: self.path.clone() }
            }
        }
    }
}

impl Anchor {
    fn new(der: &CertificateDer<'static>) -> Option<Self> {
        let own = cert::parse(der).filter(may_issue)?;
        let key = webpki::anchor_from_trusted_cert(der).ok()?.to_owned();
        Some(Self { key, period: own.validity().clone() })
    }
}

/// The one among `candidates` that issued `child`, and may have.
fn find_issuer<'c, 'a>(
    candidates: &'c [X509Certificate<'a>],
    child: &X509Certificate<'_>,
    below: u32,
    shown: Shown<'_>,
) -> Option<&'c X509Certificate<'a>> {
    candidates.iter().find(|issuer| {
        issuer.subject().as_raw() == child.issuer().as_raw()
            && may_issue(issuer)
            && is_unconstrained(issuer, below)
            && cert::is_signed_by(child, &cert::public_key(issuer), shown.algorithms)
    })
}

/// Whether a certificate may vouch for others, as OpenSSL decides it (`X509_check_ca(3)`): it says
/// so itself, or is a root from before version 3, in which it could not.
fn may_issue(issuer: &X509Certificate<'_>) -> bool {
    let (Ok(constraints), Ok(usage)) = (issuer.basic_constraints(), issuer.key_usage()) else {
        return false;
    };
    let signs = usage.map(|usage| usage.value.key_cert_sign());
    match (signs, constraints) {
        (Some(false), _) => false,
        (_, Some(constraints)) => constraints.value.ca,
        (Some(true), None) => true,
        (None, None) => issuer.version() == X509Version::V1 && cert::is_self_issued(issuer),
    }
}

/// Whether nothing in an issuer's certificate limits it in a way that the walk does not check.
/// `below` is the number of issuers between it and the leaf.
fn is_unconstrained(issuer: &X509Certificate<'_>, below: u32) -> bool {
    let checked = [OID_X509_EXT_BASIC_CONSTRAINTS, OID_X509_EXT_KEY_USAGE];
    let limits = [OID_X509_EXT_NAME_CONSTRAINTS, OID_X509_EXT_EXTENDED_KEY_USAGE];
    let understood = issuer.extensions().iter().all(|extension| {
        checked.contains(&extension.oid)
            || (!extension.critical && !limits.contains(&extension.oid))
    });
    let Ok(constraints) = issuer.basic_constraints() else {
        return false;
    };
    let limit = constraints.and_then(|constraints| constraints.value.path_len_constraint);
    understood && limit.is_none_or(|limit| below <= limit)
}

/// Refuses a leaf that says that it is for other uses, or says what cannot be understood.
fn check_purpose(leaf: &X509Certificate<'_>) -> Result<(), Refusal> {
    let (Ok(usage), Ok(extended)) = (leaf.key_usage(), leaf.extended_key_usage()) else {
        return Err(Refusal::Unreadable);
    };
    let known = [
        OID_X509_EXT_BASIC_CONSTRAINTS,
        OID_X509_EXT_KEY_USAGE,
        OID_X509_EXT_EXTENDED_KEY_USAGE,
        OID_X509_EXT_SUBJECT_ALT_NAME,
    ];
    if leaf.extensions().iter().any(|one| one.critical && !known.contains(&one.oid)) {
        return Err(Refusal::Invalid(webpki::Error::UnsupportedCriticalExtension));
    }
    let for_tls = usage.is_none_or(|usage| {
        let usage = usage.value;
        usage.digital_signature() || usage.key_encipherment() || usage.key_agreement()
    });
    let for_servers = extended.is_none_or(|usage| usage.value.server_auth || usage.value.any);
    if for_tls && for_servers {
        return Ok(());
    }
    Err(Refusal::WrongPurpose { subject: cert::name(leaf.subject()) })
}

fn explained(error: webpki::Error, leaf: &X509Certificate<'_>) -> Refusal {
    match error {
        webpki::Error::RequiredEkuNotFoundContext(_) => {
            Refusal::WrongPurpose { subject: cert::name(leaf.subject()) }
        }
        webpki::Error::BadDer | webpki::Error::BadDerTime => Refusal::Unreadable,
        error => Refusal::Invalid(error),
    }
}

/// Issuers between a leaf and a trusted certificate, at most.
const MAX_INTERMEDIATES: u32 = 6;
/// Certificates sent along that are looked at, at most.
const MAX_SENT: usize = 10;
