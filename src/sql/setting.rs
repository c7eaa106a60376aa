//! Statements that give a setting a value, to stand in a text or behind one.

use super::keywords;

/// A statement that sets just this value, whatever settings it is read under; `None` if that cannot be
/// written for sure, as what is not plain ASCII, since nobody knows its encoding. SET takes no snapshot, so that
/// the level of isolation can be set behind it (`sql-set-transaction.html`). But of a list of names it makes
/// a list of its own spelling: one that is spelt otherwise is left to `set_config`.
pub fn setting(name: &str, value: &[u8]) -> Option<Vec<u8>> {
    if !name.is_ascii() || !value.is_ascii() {
        return None;
    }
    let values = if is_list(name) { items(value) } else { Some(literal(value)) };
    let quoted = name.replace('"', "\"\"");
    Some(match values {
        Some(values) => [b"SET \"", quoted.as_bytes(), b"\" TO ", &values].concat(),
        None => [SELECT, &literal(name.as_bytes()), b", ", &literal(value), b", false)"].concat(),
    })
}

/// A string that reads the same under all settings.
pub(super) fn literal(value: &[u8]) -> Vec<u8> {
    let mut literal = b"E'".to_vec();
    for byte in value {
        if matches!(byte, b'\'' | b'\\') {
            literal.push(*byte);
        }
        literal.push(*byte);
    }
    literal.push(b'\'');
    literal
}

/// Whether a value is a list of names, which as one string would be one name.
pub(super) fn is_list(name: &str) -> bool {
    LISTS.iter().any(|list| name.eq_ignore_ascii_case(list))
}

/// A list of names as strings, if it is spelt as SET spells it: `"$user", public`.
fn items(list: &[u8]) -> Option<Vec<u8>> {
    let mut items = Vec::new();
    let mut rest = list;
    loop {
        let (item, after) = item(rest)?;
        items.push(literal(&item));
        match after.strip_prefix(b", ") {
            Some(more) => rest = more,
            None => return after.is_empty().then(|| items.join(&b", "[..])),
        }
    }
}

/// The first name of a list, if it has quotes where it must and only there, and what follows it.
fn item(list: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    let Some(mut rest) = list.strip_prefix(b"\"") else {
        let end = list.iter().position(|byte| *byte == b',').unwrap_or(list.len());
        let (word, rest) = list.split_at_checked(end)?;
        return (!needs_quotes(word)).then(|| (word.to_vec(), rest));
    };
    let mut name = Vec::new();
    loop {
        let end = rest.iter().position(|byte| *byte == b'"')?;
        name.extend_from_slice(rest.get(..end)?);
        rest = rest.get(end + 1..)?;
        match rest.strip_prefix(b"\"") {
            Some(more) => rest = more,
            None => return needs_quotes(&name).then_some((name, rest)),
        }
        name.push(b'"');
    }
}

/// As `quote_identifier` of `ruleutils.c` says.
fn needs_quotes(name: &[u8]) -> bool {
    let begins = name.first().is_some_and(|byte| byte.is_ascii_lowercase() || *byte == b'_');
    let plain = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || *byte == b'_';
    !begins || !name.iter().all(plain) || keywords::needs_quotes(name)
}

const SELECT: &[u8] = b"SELECT pg_catalog.set_config(";

/// Lists of names that a session can set (`GUC_LIST_QUOTE`).
const LISTS: [&str; 4] =
    ["search_path", "temp_tablespaces", "local_preload_libraries", "session_preload_libraries"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_written_as_it_is() {
        for (name, value, expected) in [
            ("work_mem", "1MB", "SET \"work_mem\" TO E'1MB'"),
            ("DateStyle", "SQL, DMY", "SET \"DateStyle\" TO E'SQL, DMY'"),
            ("app.o'\"b", "o'br\\ien", "SET \"app.o'\"\"b\" TO E'o''br\\\\ien'"),
            (
                "search_path",
                "\"$user\", \"We\"\"ird\", public",
                "SET \"search_path\" TO E'$user', E'We\"ird', E'public'",
            ),
            ("Search_Path", "\"user\", \"\"", "SET \"Search_Path\" TO E'user', E''"),
        ] {
            let made = setting(name, value.as_bytes()).unwrap();
            assert_eq!(String::from_utf8(made).unwrap(), expected);
        }
        assert_eq!(setting("application_name", "é".as_bytes()), None);
    }

    #[test]
    fn a_list_that_set_would_spell_otherwise_is_left_to_set_config() {
        let lists =
            ["", "a,b", "A", "user", "\"public\"", "a, ", "a b", "\"a", "\"a b\"c", "a-1", "1a"];
        for list in lists {
            let made = String::from_utf8(setting("search_path", list.as_bytes()).unwrap()).unwrap();
            let expected =
                format!("SELECT pg_catalog.set_config(E'search_path', E'{list}', false)");
            assert_eq!(made, expected);
        }
    }
}
