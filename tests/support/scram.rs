//! The client's side of SCRAM-SHA-256 (RFC 5802), and verifiers, written independently of pgweir's.

use std::collections::BTreeMap;
use std::sync::Mutex;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};

/// The final client message, and the `v=` text the server must answer with.
pub fn final_message(password: &str, first_bare: &str, server_first: &str) -> (String, String) {
    let field = |name: &str| {
        let mut fields = server_first.split(',');
        fields.find_map(|field| field.strip_prefix(name)).unwrap_or_default().to_owned()
    };
    let salt = BASE64.decode(field("s=")).expect("salt in base64");
    let iterations = field("i=").parse().expect("iterations");
    let salted = salted_password(password, &salt, iterations);
    let without_proof = format!("c=biws,r={}", field("r="));
    let auth_message = format!("{first_bare},{server_first},{without_proof}");

    let client_key = hmac(&salted, b"Client Key");
    let stored_key = Sha256::digest(client_key);
    let signature = hmac(&stored_key, auth_message.as_bytes());
    let proof: Vec<u8> = client_key.iter().zip(signature).map(|(a, b)| a ^ b).collect();
    let server_key = hmac(&salted, b"Server Key");
    let expected = hmac(&server_key, auth_message.as_bytes());
    (
        format!("{without_proof},p={}", BASE64.encode(proof)),
        format!("v={}", BASE64.encode(expected)),
    )
}

/// What `pg_authid.rolpassword` holds for a password.
pub fn verifier(password: &str, salt: &[u8]) -> String {
    let salted = salted_password(password, salt, 4096);
    let stored_key = Sha256::digest(hmac(&salted, b"Client Key"));
    let server_key = hmac(&salted, b"Server Key");
    format!(
        "SCRAM-SHA-256$4096:{}${}:{}",
        BASE64.encode(salt),
        BASE64.encode(stored_key),
        BASE64.encode(server_key)
    )
}

/// Password, salt and iterations.
type Derivation = (String, Vec<u8>, u32);

/// Derived once per password and salt: it is what costs time in a login.
fn salted_password(password: &str, salt: &[u8], iterations: u32) -> [u8; 32] {
    static KNOWN: Mutex<BTreeMap<Derivation, [u8; 32]>> = Mutex::new(BTreeMap::new());
    let key = (password.to_owned(), salt.to_owned(), iterations);
    if let Some(known) = KNOWN.lock().expect("no panic while locked").get(&key) {
        return *known;
    }
    let derived = derive(password, salt, iterations);
    KNOWN.lock().expect("no panic while locked").insert(key, derived);
    derived
}

fn derive(password: &str, salt: &[u8], iterations: u32) -> [u8; 32] {
    let mut block = hmac(password.as_bytes(), &[salt, &[0, 0, 0, 1]].concat());
    let mut result = block;
    for _ in 1..iterations {
        block = hmac(password.as_bytes(), &block);
        result.iter_mut().zip(block).for_each(|(sum, byte)| *sum ^= byte);
    }
    result
}

fn hmac(key: &[u8], data: &[u8]) -> [u8; 32] {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("any key length");
    mac.update(data);
    mac.finalize().into_bytes().into()
}
