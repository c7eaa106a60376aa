//! The proof that a reset left nothing on a server (docs/semantics.md "Cleaning").
//!
//! It asks what the probe asks, as a Query: no client's unnamed statement is there to be spared.

use super::asking::{Columns, Probe};
use super::own::Own;
use crate::wire::Malformed;

/// The text of the question, which has one row.
pub fn question() -> String {
    format!("{}, {ROLE_BY_DEFAULT}", Own::Probe.sql().replace("$1", "true"))
}

/// How many statements of the protocol there are, if the row tells of a session that is as after its login
/// otherwise.
pub fn prepared_if_clean(row: &[u8]) -> Result<Option<usize>, Malformed> {
    let mut columns = Columns::new(row)?;
    let probe = Probe::read(&mut columns)?;
    let role = *probe.role == *b"none" || columns.flag()? == Some(true);
    let clean = probe.pins.is_empty() && probe.advisory_lock == Some(false) && role;
    Ok(clean.then_some(probe.prepared))
}

/// Whether a role is set from the login on, for some user at least (`sql-alterrole.html`).
const ROLE_BY_DEFAULT: &str = "EXISTS (SELECT FROM pg_catalog.pg_db_role_setting, \
    pg_catalog.unnest(setconfig) AS value WHERE pg_catalog.starts_with(value, 'role='))";

#[cfg(test)]
mod tests {
    use super::*;

    fn row(values: &[&str]) -> Vec<u8> {
        let mut row = (values.len() as u16).to_be_bytes().to_vec();
        for value in values {
            row.extend_from_slice(&(value.len() as i32).to_be_bytes());
            row.extend_from_slice(value.as_bytes());
        }
        row
    }

    #[test]
    fn only_what_is_as_after_the_login_is_clean() {
        for (values, clean) in [
            (["f", "f", " 0", "f", "none", "f", "none", "f"], true),
            (["f", "f", " 0", "f", "report", "f", "", "t"], true),
            (["f", "f", " 0", "f", "report", "f", "", "f"], false),
            (["t", "f", " 0", "f", "none", "f", "none", "f"], false),
            (["f", "t", " 0", "f", "none", "f", "none", "f"], false),
            (["f", "f", "t 1", "f", "none", "f", "none", "f"], false),
            (["f", "f", "f 2", "t", "none", "f", "none", "f"], false),
            (["f", "f", " 0", "f", "none", "t", "none", "f"], false),
        ] {
            assert_eq!(prepared_if_clean(&row(&values)), Ok(clean.then_some(0)), "{values:?}");
        }
    }

    #[test]
    fn what_is_not_told_is_not_clean() {
        let mut unknown = row(&["f", "f", " 0", "f", "none"]);
        unknown.extend_from_slice(&[0xff; 8]);
        assert_eq!(prepared_if_clean(&unknown), Ok(None));
        let whole = row(&["f", "f", " 0", "f", "none", "f", "none", "f"]);
        for len in 0..whole.len() - 5 {
            assert!(prepared_if_clean(&whole[..len]).is_err(), "{len}");
        }
    }
}
