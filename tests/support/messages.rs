//! Frontend messages, well-formed or not.

/// Any message: letter, length, body.
pub fn message(letter: char, body: &[u8]) -> Vec<u8> {
    framed(letter, body.len() as u32 + 4, body)
}

/// A message whose length word is what the caller says.
pub fn framed(letter: char, len: u32, body: &[u8]) -> Vec<u8> {
    [&[letter as u8], &len.to_be_bytes()[..], body].concat()
}

/// A StartupMessage with any version and parameters.
pub fn startup(version: u32, params: &[(&str, &str)]) -> Vec<u8> {
    let pairs = params.iter().flat_map(|(name, value)| [*name, *value]);
    let body: Vec<u8> = pairs.flat_map(cstr).chain([0]).collect();
    packet(&[&version.to_be_bytes()[..], &body].concat())
}

/// A packet without a letter, as they are before the login.
pub fn packet(body: &[u8]) -> Vec<u8> {
    [&(body.len() as u32 + 4).to_be_bytes()[..], body].concat()
}

/// SSLRequest.
pub fn ssl_request() -> Vec<u8> {
    packet(&80_877_103_u32.to_be_bytes())
}

/// GSSENCRequest.
pub fn gssenc_request() -> Vec<u8> {
    packet(&80_877_104_u32.to_be_bytes())
}

/// CancelRequest; `key` is the body of BackendKeyData.
pub fn cancel_request(key: &[u8]) -> Vec<u8> {
    packet(&[&80_877_102_u32.to_be_bytes()[..], key].concat())
}

/// Query.
pub fn query(sql: &str) -> Vec<u8> {
    message('Q', &cstr(sql))
}

/// Parse without parameter types.
pub fn parse(name: &str, sql: &str) -> Vec<u8> {
    message('P', &[cstr(name), cstr(sql), vec![0, 0]].concat())
}

/// Bind of text parameters.
pub fn bind(portal: &str, statement: &str, values: &[Option<&str>]) -> Vec<u8> {
    let mut body = [cstr(portal), cstr(statement), vec![0, 0]].concat();
    body.extend((values.len() as u16).to_be_bytes());
    for value in values {
        match value {
            None => body.extend((-1_i32).to_be_bytes()),
            Some(text) => {
                body.extend((text.len() as u32).to_be_bytes());
                body.extend(text.as_bytes());
            }
        }
    }
    body.extend([0, 0]);
    message('B', &body)
}

/// Describe of a statement (`S`) or portal (`P`).
pub fn describe(kind: char, name: &str) -> Vec<u8> {
    message('D', &[vec![kind as u8], cstr(name)].concat())
}

/// Close of a statement (`S`) or portal (`P`).
pub fn close(kind: char, name: &str) -> Vec<u8> {
    message('C', &[vec![kind as u8], cstr(name)].concat())
}

/// Execute with a row limit, 0 for all.
pub fn execute(portal: &str, max_rows: u32) -> Vec<u8> {
    message('E', &[cstr(portal), max_rows.to_be_bytes().to_vec()].concat())
}

/// Parse, Bind and Execute of an unnamed statement; no Sync.
pub fn extended(sql: &str) -> Vec<u8> {
    [parse("", sql), bind("", "", &[]), execute("", 0)].concat()
}

/// Bind and Execute of a named statement; no Sync.
pub fn run(statement: &str, values: &[Option<&str>]) -> Vec<u8> {
    [bind("", statement, values), execute("", 0)].concat()
}

/// Sync.
pub fn sync() -> Vec<u8> {
    message('S', &[])
}

/// Flush.
pub fn flush() -> Vec<u8> {
    message('H', &[])
}

/// CopyData.
pub fn copy_data(data: &str) -> Vec<u8> {
    message('d', data.as_bytes())
}

/// CopyDone.
pub fn copy_done() -> Vec<u8> {
    message('c', &[])
}

/// CopyFail.
pub fn copy_fail() -> Vec<u8> {
    message('f', &cstr("the client has second thoughts"))
}

/// FunctionCall without arguments.
pub fn function_call(oid: u32) -> Vec<u8> {
    message('F', &[&oid.to_be_bytes()[..], &[0; 6]].concat())
}

/// Terminate.
pub fn terminate() -> Vec<u8> {
    message('X', &[])
}

fn cstr(text: &str) -> Vec<u8> {
    [text.as_bytes(), &[0]].concat()
}

/// Protocol 3.0.
pub const V3_0: u32 = 0x0003_0000;
/// Protocol 3.2.
pub const V3_2: u32 = 0x0003_0002;
