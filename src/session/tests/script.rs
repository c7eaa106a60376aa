//! Messages as short text: `P(s1,select 1) B(s1) E S` from a client, `1 2 D(1) C(SELECT 1) Z(I)` from
//! a server. The same notation is read and written, so that a scenario shows what passes.

use bytes::{BufMut, BytesMut};

use crate::wire::build;
use crate::wire::{ErrorFields, Reader};

/// One token: its letter (or letters), and what stands in brackets.
struct Token<'a> {
    word: &'a str,
    rest: &'a str,
}

fn tokens(script: &str) -> Vec<Token<'_>> {
    let mut found = Vec::new();
    let mut rest = script.trim_start();
    while !rest.is_empty() {
        let word_end = rest.find(|c: char| c == '(' || c.is_whitespace()).unwrap_or(rest.len());
        let (word, after) = rest.split_at(word_end);
        let end = if after.starts_with('(') { closing(after) } else { 0 };
        let inside = if end > 0 { &after[1..end] } else { "" };
        found.push(Token { word, rest: inside });
        rest = after[if end > 0 { end + 1 } else { 0 }..].trim_start();
    }
    found
}

fn closing(text: &str) -> usize {
    let mut depth = 0;
    for (at, c) in text.char_indices() {
        match c {
            '(' => depth += 1,
            ')' if depth == 1 => return at,
            ')' => depth -= 1,
            _ => {}
        }
    }
    panic!("no closing bracket in {text}");
}

fn pair(text: &str) -> (&str, &str) {
    text.split_once(',').unwrap_or((text, ""))
}

/// What a client sends.
pub fn frontend(script: &str) -> BytesMut {
    let mut out = BytesMut::new();
    for token in tokens(script) {
        write_frontend(&mut out, &token);
    }
    out
}

fn write_frontend(out: &mut BytesMut, token: &Token<'_>) {
    let (first, second) = pair(token.rest);
    match token.word {
        "P" => {
            let body = [second.as_bytes(), &[0, 0, 0]].concat();
            build::parse_body(out, first.as_bytes(), &body);
        }
        "B" => build::message(out, b'B', |out| {
            build::put_cstr(out, second.as_bytes());
            build::put_cstr(out, first.as_bytes());
            out.put_slice(&[0; 6]);
        }),
        "D" => target(out, b'D', b'S', token.rest),
        "Dp" => target(out, b'D', b'P', token.rest),
        "C" => target(out, b'C', b'S', token.rest),
        "Cp" => target(out, b'C', b'P', token.rest),
        "E" => build::message(out, b'E', |out| {
            build::put_cstr(out, first.as_bytes());
            out.put_u32(second.parse().unwrap_or(0));
        }),
        "Q" => build::query(out, token.rest),
        "F" => build::message(out, b'F', |out| out.put_slice(token.rest.as_bytes())),
        "d" => build::message(out, b'd', |out| out.put_slice(token.rest.as_bytes())),
        "f" => build::copy_fail(out, token.rest),
        "S" | "H" | "c" | "X" => build::empty(out, token.word.as_bytes()[0]),
        other => panic!("no such message of a client: {other}"),
    }
}

fn target(out: &mut BytesMut, tag: u8, kind: u8, name: &str) {
    build::message(out, tag, |out| {
        out.put_u8(kind);
        build::put_cstr(out, name.as_bytes());
    });
}

/// What a server sends.
pub fn backend(script: &str) -> BytesMut {
    let mut out = BytesMut::new();
    for token in tokens(script) {
        write_backend(&mut out, &token);
    }
    out
}

fn write_backend(out: &mut BytesMut, token: &Token<'_>) {
    let tag = token.word.as_bytes()[0];
    match token.word {
        "Z" => build::ready_for_query(out, token.rest.as_bytes()[0]),
        "C" => build::command_complete(out, token.rest),
        "S" => {
            let (name, value) = token.rest.split_once('=').unwrap();
            build::parameter_status(out, name, value.as_bytes());
        }
        "E" => error(out, "ERROR", token.rest),
        "FATAL" => error(out, "FATAL", token.rest),
        "D" => build::message(out, b'D', |out| {
            let columns: Vec<&str> = token.rest.split('|').collect();
            out.put_u16(columns.len() as u16);
            for column in columns {
                out.put_u32(column.len() as u32);
                out.put_slice(column.as_bytes());
            }
        }),
        "A" => {
            let (pid, notification) = pair(token.rest);
            let (channel, payload) = pair(notification);
            build::message(out, b'A', |out| {
                out.put_u32(pid.parse().unwrap());
                build::put_cstr(out, channel.as_bytes());
                build::put_cstr(out, payload.as_bytes());
            });
        }
        "N" => build::message(out, b'N', |out| {
            out.put_slice(b"SNOTICE\0\0");
        }),
        "1" | "2" | "3" | "T" | "n" | "I" | "s" | "t" | "G" | "H" | "c" | "V" => {
            build::empty(out, tag);
        }
        "d" => build::message(out, b'd', |out| out.put_slice(token.rest.as_bytes())),
        other => panic!("no such message of a server: {other}"),
    }
}

/// `code,message,routine`
fn error(out: &mut BytesMut, severity: &str, text: &str) {
    let (code, rest) = pair(text);
    let (message, routine) = pair(rest);
    build::message(out, b'E', |out| {
        let fields =
            [(b'S', severity), (b'V', severity), (b'C', code), (b'M', message), (b'R', routine)];
        for (field, text) in fields {
            if !text.is_empty() {
                out.put_u8(field);
                build::put_cstr(out, text.as_bytes());
            }
        }
        out.put_u8(0);
    });
}

/// Whole messages of a client, as text.
pub fn show_frontend(bytes: &[u8]) -> String {
    show(bytes, frontend_text)
}

/// Whole messages of a server, as text.
pub fn show_backend(bytes: &[u8]) -> String {
    show(bytes, backend_text)
}

fn show(mut bytes: &[u8], text: impl Fn(u8, &[u8]) -> String) -> String {
    let mut shown = Vec::new();
    while let Some((tag, body, rest)) = split(bytes) {
        shown.push(text(tag, body));
        bytes = rest;
    }
    assert!(bytes.is_empty(), "part of a message: {bytes:?}");
    shown.join(" ")
}

/// The first whole message: type, body, and what follows it.
pub fn split(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let len = u32::from_be_bytes(bytes.get(1..5)?.try_into().unwrap()) as usize;
    Some((bytes[0], bytes.get(5..len + 1)?, &bytes[len + 1..]))
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn bracket(letter: &str, inside: &str) -> String {
    if inside.is_empty() { letter.into() } else { format!("{letter}({inside})") }
}

fn frontend_text(tag: u8, body: &[u8]) -> String {
    let letter = char::from(tag).to_string();
    let mut reader = Reader::new(body);
    let mut cstr = || text(reader.cstr().unwrap());
    match tag {
        b'P' => format!("P({},{})", cstr(), cstr()),
        b'B' => bind_text(body),
        b'D' | b'C' => {
            let letter = if body[0] == b'P' { letter + "p" } else { letter };
            bracket(&letter, text(&body[1..]).trim_end_matches('\0'))
        }
        b'E' => {
            let limit = u32::from_be_bytes(body[body.len() - 4..].try_into().unwrap());
            let portal = cstr();
            bracket("E", &if limit > 0 { format!("{portal},{limit}") } else { portal })
        }
        _ => bracket(&letter, text(body).trim_end_matches('\0')),
    }
}

fn bind_text(body: &[u8]) -> String {
    let mut reader = Reader::new(body);
    let portal = text(reader.cstr().unwrap());
    let name = text(reader.cstr().unwrap());
    let params = params(reader);
    let portal = if portal.is_empty() { portal } else { format!(",{portal}") };
    let params = if params.is_empty() { String::new() } else { format!(":{}", params.join("=")) };
    bracket("B", &format!("{name}{portal}{params}"))
}

/// The parameters of a Bind, from its format codes on; items of an array by commas.
pub(super) fn params(mut reader: Reader<'_>) -> Vec<String> {
    let formats = reader.u16().unwrap();
    let formats = reader.bytes(2 * usize::from(formats)).unwrap();
    let values: Vec<_> = (0..reader.u16().unwrap()).map(|_| value(&mut reader)).collect();
    let shown = |value: Option<&[u8]>| match value {
        Some(value) if formats == [0, 1] => array(value).join(","),
        value => value.map_or("NULL".into(), text),
    };
    values.into_iter().map(shown).collect()
}

fn value<'a>(reader: &mut Reader<'a>) -> Option<&'a [u8]> {
    match reader.i32().unwrap() {
        -1 => None,
        len => Some(reader.bytes(len as usize).unwrap()),
    }
}

/// The items of an array in binary form, whose first words are dimensions, NULLs, type, items and the first
/// one's number.
fn array(bytes: &[u8]) -> Vec<String> {
    let mut reader = Reader::new(bytes);
    let head: Vec<_> = (0..5).map(|_| reader.i32().unwrap()).collect();
    assert!(matches!(head[..], [1, 1, 25, _, 1]), "{head:?}");
    (0..head[3]).map(|_| value(&mut reader).map_or("NULL".into(), text)).collect()
}

fn backend_text(tag: u8, body: &[u8]) -> String {
    let letter = char::from(tag).to_string();
    match tag {
        b'E' => {
            let fields = ErrorFields::read(body);
            let letter = if fields.is_fatal() { "FATAL" } else { "E" };
            format!("{letter}({},{})", text(fields.code), text(fields.message))
        }
        b'S' => {
            let mut reader = Reader::new(body);
            format!("S({}={})", text(reader.cstr().unwrap()), text(reader.cstr().unwrap()))
        }
        b'D' => bracket("D", &text(&body[6..])),
        b'A' => {
            let mut reader = Reader::new(body);
            let pid = reader.i32().unwrap();
            format!("A({pid},{},{})", text(reader.cstr().unwrap()), text(reader.cstr().unwrap()))
        }
        b'N' => letter,
        _ => bracket(&letter, text(body).trim_end_matches('\0')),
    }
}
