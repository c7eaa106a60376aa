//! Certificates and keys in PEM files.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use zeroize::Zeroizing;

use super::cert;

/// Why a certificate or key file cannot be used. Each names the file and what was expected.
#[derive(Debug, thiserror::Error)]
pub enum TlsFileError {
    /// It cannot be read.
    #[error("cannot read {}: {source}", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It is no PEM file.
    #[error("{} is not a PEM file: {source}", .path.display())]
    NotPem {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: pem::Error,
    },
    /// It is too large to be what it should be.
    #[error("{} is larger than {MAX_FILE} bytes; expected certificates or a key in PEM", .path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
    /// It holds no certificate.
    #[error("{} holds no certificate; expected `-----BEGIN CERTIFICATE-----` blocks (PEM)", .path.display())]
    NoCertificate {
        /// The file.
        path: PathBuf,
    },
    /// One of its certificates cannot be read.
    #[error("certificate {number} in {} is damaged; expected an X.509 certificate", .path.display())]
    BadCertificate {
        /// The file.
        path: PathBuf,
        /// Which one, counted from 1.
        number: usize,
    },
    /// It holds no private key.
    #[error("{} holds no private key; expected a `-----BEGIN PRIVATE KEY-----` block (PEM)", .path.display())]
    NoKey {
        /// The file.
        path: PathBuf,
    },
    /// Its key is protected by a passphrase.
    #[error(
        "the private key in {} is protected by a passphrase; expected one without \
         (`openssl pkey -in KEY -out NEWKEY` removes it)", .path.display()
    )]
    EncryptedKey {
        /// The file.
        path: PathBuf,
    },
    /// Its key is of a kind that cannot be used.
    #[error("the private key in {} cannot be used; expected RSA of 2048 to 8192 bits, ECDSA (P-256, P-384, P-521) or Ed25519", .path.display())]
    UnusableKey {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: rustls::Error,
    },
    /// Key and certificate do not belong together.
    #[error("the private key in {} does not belong to the first certificate in {}; expected the key that it was issued for", .key.display(), .cert.display())]
    Mismatch {
        /// The certificate file.
        cert: PathBuf,
        /// The key file.
        key: PathBuf,
    },
    /// A mode that verifies was asked for without anything to verify against.
    #[error("`verify-ca` and `verify-full` need a file of trusted certificates (`ca`)")]
    NothingTrusted,
    /// The TLS library does not take the settings.
    #[error("TLS cannot be set up")]
    Setup(#[from] rustls::Error),
}

impl TlsFileError {
    /// The file to blame, if it is one.
    pub fn path(&self) -> Option<&Path> {
        match self {
            Self::Read { path, .. }
            | Self::NotPem { path, .. }
            | Self::TooLarge { path }
            | Self::NoCertificate { path }
            | Self::BadCertificate { path, .. }
            | Self::NoKey { path }
            | Self::EncryptedKey { path }
            | Self::UnusableKey { path, .. }
            | Self::Mismatch { key: path, .. } => Some(path),
            Self::NothingTrusted | Self::Setup(_) => None,
        }
    }
}

/// The certificates of a file, in its order; at least one, and each readable.
pub(super) fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsFileError> {
    let pem = read(path)?;
    let certs = CertificateDer::pem_slice_iter(&pem)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|source| TlsFileError::NotPem { path: path.to_owned(), source })?;
    if certs.is_empty() {
        return Err(TlsFileError::NoCertificate { path: path.to_owned() });
    }
    match certs.iter().position(|der| cert::parse(der).is_none()) {
        Some(at) => Err(TlsFileError::BadCertificate { path: path.to_owned(), number: at + 1 }),
        None => Ok(certs),
    }
}

/// The first private key of a file.
pub(super) fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsFileError> {
    let pem = read(path)?;
    PrivateKeyDer::from_pem_slice(&pem).map_err(|source| match source {
        pem::Error::NoItemsFound if is_encrypted(&pem) => {
            TlsFileError::EncryptedKey { path: path.to_owned() }
        }
        pem::Error::NoItemsFound => TlsFileError::NoKey { path: path.to_owned() },
        // The old format of OpenSSL has its header lines inside the block.
        _ if is_encrypted(&pem) => TlsFileError::EncryptedKey { path: path.to_owned() },
        // The library's error may quote the line it stumbled over, which may be part of a key.
        pem::Error::Base64Decode(_) => TlsFileError::NoKey { path: path.to_owned() },
        source => TlsFileError::NotPem { path: path.to_owned(), source },
    })
}

fn is_encrypted(pem: &[u8]) -> bool {
    let has = |mark: &[u8]| pem.windows(mark.len()).any(|window| window == mark);
    has(b"BEGIN ENCRYPTED PRIVATE KEY") || has(b"Proc-Type: 4,ENCRYPTED")
}

fn read(path: &Path) -> Result<Zeroizing<Vec<u8>>, TlsFileError> {
    let failed = |source| TlsFileError::Read { path: path.to_owned(), source };
    let mut pem = Zeroizing::new(Vec::new());
    let file = File::open(path).map_err(failed)?;
    file.take(MAX_FILE + 1).read_to_end(&mut pem).map_err(failed)?;
    if pem.len() as u64 > MAX_FILE {
        return Err(TlsFileError::TooLarge { path: path.to_owned() });
    }
    Ok(pem)
}

/// A system's whole list of authorities is under 300 kB.
const MAX_FILE: u64 = 4 << 20;
