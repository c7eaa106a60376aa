//! The messages of authentication, built (`protocol-message-formats.html`).

use bytes::{BufMut as _, Bytes, BytesMut};

use crate::wire::build;

// Codes of AuthenticationXxx.
pub(super) const OK: i32 = 0;
pub(super) const CLEARTEXT_PASSWORD: i32 = 3;
pub(super) const MD5_PASSWORD: i32 = 5;
pub(super) const SASL: i32 = 10;
pub(super) const SASL_CONTINUE: i32 = 11;
pub(super) const SASL_FINAL: i32 = 12;

/// AuthenticationXxx with what follows its code.
pub(super) fn authentication(code: i32, rest: &[u8]) -> Bytes {
    let mut out = BytesMut::new();
    put_authentication(&mut out, code, rest);
    out.freeze()
}

/// Appends AuthenticationXxx.
pub(super) fn put_authentication(out: &mut BytesMut, code: i32, rest: &[u8]) {
    build::message(out, b'R', |out| {
        out.put_i32(code);
        out.put_slice(rest);
    });
}

/// The list of AuthenticationSASL, which ends with an empty name.
pub(super) fn mechanism_list(names: &[&str]) -> BytesMut {
    let mut list = BytesMut::new();
    for name in names.iter().chain(&[""]) {
        build::put_cstr(&mut list, name.as_bytes());
    }
    list
}

/// PasswordMessage.
pub(super) fn password_message(text: &[u8]) -> Bytes {
    answer(|out| build::put_cstr(out, text))
}

/// SASLInitialResponse.
pub(super) fn initial_response(mechanism: &str, first: &[u8]) -> Bytes {
    answer(|out| {
        build::put_cstr(out, mechanism.as_bytes());
        out.put_u32(first.len() as u32);
        out.put_slice(first);
    })
}

/// SASLResponse.
pub(super) fn sasl_response(text: &[u8]) -> Bytes {
    answer(|out| out.put_slice(text))
}

fn answer(body: impl FnOnce(&mut BytesMut)) -> Bytes {
    let mut out = BytesMut::new();
    build::message(&mut out, b'p', body);
    out.freeze()
}
