//! What the default of a setting means to a client: the value of its StartupMessage.

use bytes::{BufMut, BytesMut};

use super::Session;
use super::asking::Parameters;
use super::knowledge::Statement;
use crate::sql::{self, Argument, Defaults, Effects, Made};
use crate::wire::{Malformed, Reader};
use crate::without::is_off;

impl Session {
    /// The text with these values where it asks for them, behind a RESET too if it may become `several`
    /// statements; `None` if it does not ask. What follows its NUL stays.
    pub(super) fn with_defaults(
        &self,
        effects: Effects,
        text: &[u8],
        several: bool,
    ) -> Option<Made> {
        if self.startup.is_empty() || !effects.contains(Effects::SETTING) {
            return None;
        }
        let end = text.iter().position(|byte| *byte == 0)?;
        let (sql, rest) = text.split_at_checked(end)?;
        let options = self.reading.options(false, None);
        let several = several && !is_off("startup_on_reset");
        let defaults = Defaults { values: self.startup.iter().collect(), several };
        let mut made = sql::with_defaults(sql, &options, &defaults)?;
        made.text.extend_from_slice(rest);
        Some(made)
    }

    /// A Bind, but for its names, with these values where it asks for them.
    pub(super) fn bound_defaults(&self, statement: &Statement, rest: &[u8]) -> Option<BytesMut> {
        if self.startup.is_empty() || !statement.effects().contains(Effects::SETTING) {
            return None;
        }
        let parameters = Parameters::of_bind(rest);
        let calls = sql::defaulting(&statement.body, &self.reading.options(false, None));
        let mut values = Vec::new();
        for (name, value) in calls {
            let name = match name {
                Argument::Text(name) => Some(name),
                Argument::Parameter(number) => parameters.text(number),
                Argument::Null(_) => None,
            };
            let default = name.and_then(|name| self.startup.get(name));
            if let (Argument::Parameter(number), Some(default)) = (value, default)
                && default.is_ascii()
            {
                values.push((number, default));
            }
        }
        if values.is_empty() { None } else { with_values(rest, &values).ok() }
    }
}

/// The same Bind with values for parameters that are NULL.
fn with_values(rest: &[u8], values: &[(u16, &[u8])]) -> Result<BytesMut, Malformed> {
    let mut reader = Reader::new(rest);
    for _ in 0..reader.u16()? {
        reader.u16()?;
    }
    let count = reader.u16()?;
    let formats = rest.len() - reader.rest().len();
    let mut made = BytesMut::from(rest.get(..formats).unwrap_or_default());
    for number in 1..=count {
        let len = reader.i32()?;
        let given = usize::try_from(len).ok();
        let default = values.iter().find(|(other, _)| *other == number).filter(|_| len == -1);
        if let Some((_, default)) = default {
            made.put_u32(default.len() as u32);
            made.put_slice(default);
        } else {
            made.put_i32(len);
            made.put_slice(reader.bytes(given.unwrap_or(0))?);
        }
    }
    made.put_slice(reader.rest());
    Ok(made)
}
