//! Building messages. Every length word is computed from the bytes that follow it.

use bytes::{BufMut, BytesMut};

use super::startup::CancelKey;

/// Appends one message: tag, length, and what `body` writes.
pub fn message(out: &mut BytesMut, tag: u8, body: impl FnOnce(&mut BytesMut)) {
    out.put_u8(tag);
    let start = out.len();
    out.put_u32(0);
    body(out);
    let len = (out.len() - start) as u32;
    out[start..start + 4].copy_from_slice(&len.to_be_bytes());
}

/// Appends a message without a body.
pub fn empty(out: &mut BytesMut, tag: u8) {
    out.put_slice(&[tag, 0, 0, 0, 4]);
}

/// Appends bytes and a NUL.
pub fn put_cstr(out: &mut BytesMut, text: &[u8]) {
    out.put_slice(text);
    out.put_u8(0);
}

/// ReadyForQuery with a status byte (`I`, `T`, `E`).
pub fn ready_for_query(out: &mut BytesMut, status: u8) {
    out.put_slice(&[b'Z', 0, 0, 0, 5, status]);
}

/// ParameterStatus.
pub fn parameter_status(out: &mut BytesMut, name: &str, value: &[u8]) {
    message(out, b'S', |out| {
        put_cstr(out, name.as_bytes());
        put_cstr(out, value);
    });
}

/// BackendKeyData.
pub fn backend_key_data(out: &mut BytesMut, key: &CancelKey) {
    message(out, b'K', |out| {
        out.put_u32(key.pid);
        out.put_slice(&key.secret);
    });
}

/// CommandComplete.
pub fn command_complete(out: &mut BytesMut, tag: &str) {
    message(out, b'C', |out| put_cstr(out, tag.as_bytes()));
}

/// Query.
pub fn query(out: &mut BytesMut, sql: &str) {
    message(out, b'Q', |out| put_cstr(out, sql.as_bytes()));
}

/// Parse of a name and what follows it: text, NUL, parameter types.
pub fn parse_body(out: &mut BytesMut, name: &[u8], body: &[u8]) {
    message(out, b'P', |out| {
        put_cstr(out, name);
        out.put_slice(body);
    });
}

/// Close of a prepared statement.
pub fn close_statement(out: &mut BytesMut, name: &[u8]) {
    close(out, b'S', name);
}

fn close(out: &mut BytesMut, of: u8, name: &[u8]) {
    message(out, b'C', |out| {
        out.put_u8(of);
        put_cstr(out, name);
    });
}

/// Bind of text parameters (`None` = NULL), results as text.
pub fn bind_text(out: &mut BytesMut, portal: &str, statement: &str, params: &[Option<&[u8]>]) {
    message(out, b'B', |out| {
        put_cstr(out, portal.as_bytes());
        put_cstr(out, statement.as_bytes());
        out.put_u16(0);
        out.put_u16(params.len() as u16);
        for param in params {
            put_value(out, *param);
        }
        out.put_u16(0);
    });
}

/// Bind of two parameters of type `text[]`, in binary form, which needs no quotes (`array_recv`); results as
/// text.
pub fn bind_arrays<'a>(
    out: &mut BytesMut,
    portal: &str,
    statement: &str,
    first: impl ExactSizeIterator<Item = Option<&'a [u8]>>,
    second: impl ExactSizeIterator<Item = Option<&'a [u8]>>,
) {
    message(out, b'B', |out| {
        put_cstr(out, portal.as_bytes());
        put_cstr(out, statement.as_bytes());
        // One format for all: binary.
        out.put_u16(1);
        out.put_u16(1);
        out.put_u16(2);
        put_array(out, first);
        put_array(out, second);
        out.put_u16(0);
    });
}

fn put_array<'a>(out: &mut BytesMut, items: impl ExactSizeIterator<Item = Option<&'a [u8]>>) {
    let start = out.len();
    out.put_u32(0);
    // One dimension, NULLs possible, elements of `text`, counted from 1.
    for word in [1, 1, TEXT_OID, items.len() as u32, 1] {
        out.put_u32(word);
    }
    for item in items {
        put_value(out, item);
    }
    let len = (out.len() - start - 4) as u32;
    out[start..start + 4].copy_from_slice(&len.to_be_bytes());
}

fn put_value(out: &mut BytesMut, value: Option<&[u8]>) {
    match value {
        Some(value) => {
            out.put_u32(value.len() as u32);
            out.put_slice(value);
        }
        None => out.put_i32(-1),
    }
}

/// Execute of the unnamed portal, all rows.
pub fn execute(out: &mut BytesMut) {
    out.put_slice(&[b'E', 0, 0, 0, 9, 0, 0, 0, 0, 0]);
}

/// Execute of a portal, all rows, and its Close.
pub fn execute_once(out: &mut BytesMut, portal: &str) {
    message(out, b'E', |out| {
        put_cstr(out, portal.as_bytes());
        out.put_u32(0);
    });
    close(out, b'P', portal.as_bytes());
}

/// CopyFail with a reason.
pub fn copy_fail(out: &mut BytesMut, reason: &str) {
    message(out, b'f', |out| put_cstr(out, reason.as_bytes()));
}

/// The type `text` (`catalog-pg-type.html`; its number never changes).
const TEXT_OID: u32 = 25;
