//! `tls-server-end-point`: the hash of a server's certificate that SCRAM-SHA-256-PLUS binds a login
//! to (RFC 5929, 4.1; `sasl-authentication.html#SASL-SCRAM-SHA-256`).

use rustls::pki_types::CertificateDer;
use sha2::{Digest, Sha224, Sha256, Sha384, Sha512};
use x509_parser::oid_registry::{
    OID_HASH_SHA1, OID_NIST_HASH_SHA256, OID_NIST_HASH_SHA384, OID_NIST_HASH_SHA512, Oid,
};
use x509_parser::signature_algorithm::SignatureAlgorithm;
use x509_parser::x509::AlgorithmIdentifier;

use super::cert;

/// The hash, by the hash function of the certificate's own signature; `None` where that has no
/// single one (Ed25519), and no binding can be offered.
pub(super) fn hash(der: &CertificateDer<'_>) -> Option<Vec<u8>> {
    let cert = cert::parse(der)?;
    let digest = match function(&cert.signature_algorithm)? {
        Function::Sha224 => Sha224::digest(der).to_vec(),
        Function::Sha256 => Sha256::digest(der).to_vec(),
        Function::Sha384 => Sha384::digest(der).to_vec(),
        Function::Sha512 => Sha512::digest(der).to_vec(),
    };
    Some(digest)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Function {
    Sha224,
    Sha256,
    Sha384,
    Sha512,
}

fn function(algorithm: &AlgorithmIdentifier<'_>) -> Option<Function> {
    let id = algorithm.algorithm.to_id_string();
    match id.as_str() {
        RSA_PSS => pss_function(algorithm),
        // The two broken ones are raised to SHA-256.
        RSA_MD5 | RSA_SHA1 | ECDSA_SHA1 => Some(Function::Sha256),
        RSA_SHA224 | ECDSA_SHA224 => Some(Function::Sha224),
        RSA_SHA256 | ECDSA_SHA256 => Some(Function::Sha256),
        RSA_SHA384 | ECDSA_SHA384 => Some(Function::Sha384),
        RSA_SHA512 | ECDSA_SHA512 => Some(Function::Sha512),
        _ => None,
    }
}

/// RSASSA-PSS names its hash function in the parameters.
fn pss_function(algorithm: &AlgorithmIdentifier<'_>) -> Option<Function> {
    let Ok(SignatureAlgorithm::RSASSA_PSS(parameters)) = SignatureAlgorithm::try_from(algorithm)
    else {
        return None;
    };
    let hash: &Oid<'_> = parameters.hash_algorithm_oid();
    match hash {
        _ if *hash == OID_HASH_SHA1 || *hash == OID_NIST_HASH_SHA256 => Some(Function::Sha256),
        _ if *hash == OID_NIST_HASH_SHA384 => Some(Function::Sha384),
        _ if *hash == OID_NIST_HASH_SHA512 => Some(Function::Sha512),
        _ => None,
    }
}

// RFC 8017, A.2.4 and RFC 5758, 3.2.
const RSA_MD5: &str = "1.2.840.113549.1.1.4";
const RSA_SHA1: &str = "1.2.840.113549.1.1.5";
const RSA_PSS: &str = "1.2.840.113549.1.1.10";
const RSA_SHA256: &str = "1.2.840.113549.1.1.11";
const RSA_SHA384: &str = "1.2.840.113549.1.1.12";
const RSA_SHA512: &str = "1.2.840.113549.1.1.13";
const RSA_SHA224: &str = "1.2.840.113549.1.1.14";
const ECDSA_SHA1: &str = "1.2.840.10045.4.1";
const ECDSA_SHA224: &str = "1.2.840.10045.4.3.1";
const ECDSA_SHA256: &str = "1.2.840.10045.4.3.2";
const ECDSA_SHA384: &str = "1.2.840.10045.4.3.3";
const ECDSA_SHA512: &str = "1.2.840.10045.4.3.4";

#[cfg(test)]
mod tests {
    use super::super::files;
    use super::super::testing::Pki;
    use super::*;

    /// What openssl says the fingerprint is.
    fn fingerprint(pki: &Pki, function: &str) -> Vec<u8> {
        let line = pki.openssl(&format!("x509 -in c.crt -noout -fingerprint -{function}"));
        let (_, hex) = line.trim().split_once('=').unwrap();
        hex.split(':').map(|byte| u8::from_str_radix(byte, 16).unwrap()).collect()
    }

    #[test]
    fn the_hash_is_by_the_certificates_own_function() {
        let pki = Pki::new();
        let ec = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1";
        let pss = "-newkey rsa:2048 -sigopt rsa_padding_mode:pss";
        for (key, signed_by, expected) in [
            (ec, "sha1", Some("sha256")),
            (ec, "sha224", Some("sha224")),
            (ec, "sha256", Some("sha256")),
            (ec, "sha384", Some("sha384")),
            (ec, "sha512", Some("sha512")),
            ("-newkey rsa:2048", "md5", Some("sha256")),
            ("-newkey rsa:2048", "sha1", Some("sha256")),
            ("-newkey rsa:2048", "sha512", Some("sha512")),
            (pss, "sha256", Some("sha256")),
            (pss, "sha384", Some("sha384")),
            ("-newkey ed25519", "sha256", None),
        ] {
            pki.openssl(&format!(
                "req -new -x509 -nodes -out c.crt -keyout c.key -subj /CN=x {key} -{signed_by}"
            ));
            let certs = files::certificates(&pki.path("c.crt")).unwrap();
            let expected = expected.map(|function| fingerprint(&pki, function));
            assert_eq!(hash(&certs[0]), expected, "{key} {signed_by}");
        }
    }

    #[test]
    fn what_is_no_certificate_has_none() {
        for junk in [&b""[..], b"0", b"0\x82", b"0\x80\0\0"] {
            assert_eq!(hash(&CertificateDer::from(junk)), None);
        }
    }
}
