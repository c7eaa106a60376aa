//! What the console refuses, and how it says so.

use super::command::{CHANGES, Show, Unknown};
use crate::admin::change::ChangeError;
use crate::wire::{Malformed, Report, SqlState};

pub(super) fn malformed(error: Malformed) -> Report {
    Report::error(SqlState::PROTOCOL_VIOLATION, error.to_string())
}

pub(super) fn unknown_command(unknown: &Unknown) -> Report {
    let shows = Show::ALL.iter().map(|(_, name, _)| format!("SHOW {name}"));
    let changes = CHANGES.iter().map(|(form, _)| (*form).to_owned());
    let names: Vec<_> = shows.chain(changes).collect();
    let text = if unknown.near.is_empty() {
        "the console does not know this command".to_owned()
    } else {
        format!("the console does not know the command at \"{}\"", unknown.near)
    };
    let hint = format!("Commands: {}.", names.join(", "));
    Report::error(SYNTAX_ERROR, text).hint(hint)
}

pub(super) fn not_changed(error: &ChangeError) -> Report {
    let code = match error {
        ChangeError::Unknown(_) => UNDEFINED_OBJECT,
        ChangeError::Invalid(_) => INVALID_PARAMETER_VALUE,
        ChangeError::NotNow(_) => NOT_IN_PREREQUISITE_STATE,
    };
    Report::error(code, error.to_string())
}

/// Who may look and no more.
pub(super) fn read_only() -> Report {
    let text =
        "permission denied: the setting admin.readers lets this user look, and change nothing";
    Report::error(INSUFFICIENT_PRIVILEGE, text)
        .hint("The setting admin.users names those who may make changes.")
}

/// What was changed stays so.
pub(super) fn canceled() -> Report {
    let text = "canceling statement due to user request";
    Report::error(SqlState::QUERY_CANCELED, text)
        .detail("Only the wait is over: the pools stay paused, and are resumed by RESUME.")
}

pub(super) fn no_statement(name: &[u8]) -> Report {
    let text = format!("prepared statement \"{}\" does not exist", String::from_utf8_lossy(name));
    Report::error(NO_STATEMENT, text)
}

pub(super) fn no_portal(name: &[u8]) -> Report {
    let text = format!("portal \"{}\" does not exist", String::from_utf8_lossy(name));
    Report::error(NO_PORTAL, text)
}

pub(super) fn too_many(what: &str) -> Report {
    Report::error(SqlState::CONFIGURATION_LIMIT, format!("too many {what} for the console"))
}

pub(super) fn too_long() -> Report {
    Report::fatal(SqlState::PROGRAM_LIMIT, "the message is too long for the console")
}

pub(super) fn bad_type(tag: u8) -> Report {
    let text = format!("invalid frontend message type {tag}");
    Report::fatal(SqlState::PROTOCOL_VIOLATION, text)
}

/// A driver's reset is no operator's: nothing that all clients feel is undone by it.
pub(super) fn stays() -> Report {
    Report::notice("settings that were changed at the console stay as they are").hint(
        "RESET of a setting, or RELOAD for all of them, gives back what the configuration says.",
    )
}

/// `syntax_error`
pub(super) const SYNTAX_ERROR: SqlState = SqlState::new(*b"42601");
/// `in_failed_sql_transaction`
pub(super) const IN_FAILED_TRANSACTION: SqlState = SqlState::new(*b"25P02");
/// `invalid_sql_statement_name`
const NO_STATEMENT: SqlState = SqlState::new(*b"26000");
/// `insufficient_privilege`
const INSUFFICIENT_PRIVILEGE: SqlState = SqlState::new(*b"42501");
/// `undefined_object`
const UNDEFINED_OBJECT: SqlState = SqlState::new(*b"42704");
/// `invalid_parameter_value`
const INVALID_PARAMETER_VALUE: SqlState = SqlState::new(*b"22023");
/// `object_not_in_prerequisite_state`
const NOT_IN_PREREQUISITE_STATE: SqlState = SqlState::new(*b"55000");
/// `invalid_cursor_name`
const NO_PORTAL: SqlState = SqlState::new(*b"34000");
