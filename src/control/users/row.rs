//! The query itself, and what its row means.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use deadpool_postgres::ClientWrapper;
use tokio_postgres::Row;
use tokio_postgres::types::{FromSql, Timestamp, ToSql};
use zeroize::Zeroizing;

use super::super::{ControlError, Shape};
use crate::auth::Refusal;

/// What the query returned, with the server's clock where it matters.
pub(super) enum Answer {
    /// No row, or one with another name.
    Nobody,
    Somebody {
        secret: Option<Zeroizing<String>>,
        validity: Validity,
        can_login: bool,
    },
}

/// How long a password is still valid, by the server's clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Validity {
    Forever,
    For(Duration),
    Expired,
}

impl Answer {
    /// How long it can be believed at most.
    pub(super) fn valid_for(&self) -> Duration {
        match self {
            Self::Somebody { validity: Validity::For(left), .. } => *left,
            Self::Nobody | Self::Somebody { .. } => Duration::MAX,
        }
    }

    /// The secret, or why there is none for this user.
    pub(super) fn judge(self) -> Result<Zeroizing<String>, Refusal> {
        match self {
            Self::Nobody => Err(Refusal::Unknown),
            Self::Somebody { can_login: false, .. } => Err(Refusal::NoLogin),
            Self::Somebody { secret: None, .. } => Err(Refusal::NoPassword),
            Self::Somebody { validity: Validity::Expired, .. } => Err(Refusal::Expired),
            Self::Somebody { secret: Some(secret), .. } => Ok(secret),
        }
    }
}

/// Asks for one user. The server's clock is asked in the same round trip, where there is something
/// to compare it with: this machine's may differ.
pub(super) async fn ask(
    client: &ClientWrapper,
    query: &str,
    user: &str,
) -> Result<Answer, ControlError> {
    let failed = |error| ControlError::Query(Arc::new(error));
    let lookup = client.prepare_cached(query).await.map_err(failed)?;
    let columns = lookup.columns().len();
    if columns < 2 {
        return Err(ControlError::Shape(Shape::Columns(columns)));
    }
    let clock = client.prepare_cached(CLOCK).await.map_err(failed)?;
    let name: [&(dyn ToSql + Sync); 1] = [&user];
    let asked = tokio::try_join!(client.query(&lookup, &name), client.query_one(&clock, &[]));
    let (rows, now) = asked.map_err(failed)?;
    let now: SystemTime = now.try_get(0).map_err(failed)?;
    match rows.as_slice() {
        [] => Ok(Answer::Nobody),
        [row] => somebody(row, user, now),
        rows => Err(ControlError::Shape(Shape::Rows(rows.len()))),
    }
}

fn somebody(row: &Row, user: &str, now: SystemTime) -> Result<Answer, ControlError> {
    // A query that finds somebody else must not let the client in as that one.
    if read::<&str>(row, 0)? != Some(user) {
        return Ok(Answer::Nobody);
    }
    let secret = read::<&str>(row, 1)?.filter(|secret| !secret.is_empty());
    let secret = secret.map(|secret| Zeroizing::new(secret.to_owned()));
    let valid_until = match row.len() {
        0..=2 => None,
        _ => read::<Timestamp<SystemTime>>(row, 2)?,
    };
    let can_login = match row.len() {
        0..=3 => true,
        _ => read::<bool>(row, 3)?.unwrap_or(false),
    };
    Ok(Answer::Somebody { secret, validity: validity(valid_until, now), can_login })
}

/// `VALID UNTIL` is the first instant at which the password is still valid, and no later.
fn validity(until: Option<Timestamp<SystemTime>>, now: SystemTime) -> Validity {
    match until {
        None | Some(Timestamp::PosInfinity) => Validity::Forever,
        Some(Timestamp::NegInfinity) => Validity::Expired,
        Some(Timestamp::Value(until)) => {
            until.duration_since(now).map_or(Validity::Expired, Validity::For)
        }
    }
}

fn read<'a, T: FromSql<'a>>(row: &'a Row, column: usize) -> Result<Option<T>, ControlError> {
    let shape = Shape::Type { column: column + 1 };
    row.try_get(column).map_err(|_| ControlError::Shape(shape))
}

const CLOCK: &str = "SELECT pg_catalog.clock_timestamp()";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn judged_as_postgresql_does() {
        use Validity::{Expired, Forever};
        let left = Validity::For(Duration::from_secs(1));
        for (secret, validity, can_login, expected) in [
            (Some("s"), Forever, true, Ok("s")),
            (Some("s"), left, true, Ok("s")),
            (Some("s"), left, false, Err(Refusal::NoLogin)),
            (Some("s"), Expired, true, Err(Refusal::Expired)),
            (None, Expired, true, Err(Refusal::NoPassword)),
            (None, Forever, false, Err(Refusal::NoLogin)),
        ] {
            let secret = secret.map(|text: &str| Zeroizing::new(text.to_owned()));
            let judged = Answer::Somebody { secret, validity, can_login }.judge();
            assert_eq!(judged.as_ref().map(|s| s.as_str()), expected.as_ref().map(|s| *s));
        }
        assert_eq!(Answer::Nobody.judge().unwrap_err(), Refusal::Unknown);
    }

    #[test]
    fn validity_is_judged_by_the_given_clock() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000);
        let at = |secs| Some(Timestamp::Value(SystemTime::UNIX_EPOCH + Duration::from_secs(secs)));
        for (until, expected) in [
            (None, Validity::Forever),
            (Some(Timestamp::PosInfinity), Validity::Forever),
            (Some(Timestamp::NegInfinity), Validity::Expired),
            (at(999), Validity::Expired),
            (at(1_000), Validity::For(Duration::ZERO)),
            (at(1_002), Validity::For(Duration::from_secs(2))),
        ] {
            assert_eq!(validity(until, now), expected);
        }
    }
}
