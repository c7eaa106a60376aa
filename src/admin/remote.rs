//! The console over HTTP, for those who have the token: changes by POST, tables by GET.
//!
//! The body of a change is a JSON object, a table is an array of them; what is wrong is said in one, `{"error": ".."}`.

use std::sync::Arc;

use arc_swap::ArcSwap;
use bytes::Bytes;
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper::header::{AUTHORIZATION, HeaderMap};
use hyper::{Request, StatusCode};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use tracing::{info, warn};

use super::change::{Change, ChangeError, Changer, Pools};
use super::console::columns::columns;
use super::console::command::{Show, changeable};
use super::console::table::{Row, Value as Cell};
use crate::config::{Config, Password, parse_duration};

/// What changes over HTTP go by.
#[derive(Clone)]
pub struct Remote {
    /// Where the token is said.
    pub config: Arc<ArcSwap<Config>>,
    /// Who makes them.
    pub change: Changer,
    /// Where tables come from.
    pub rows: Rows,
}

/// The rows of a table now.
pub type Rows = Arc<dyn Fn(Show) -> Vec<Row> + Send + Sync>;

impl std::fmt::Debug for Remote {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Remote").finish_non_exhaustive()
    }
}

/// Paths, for those who ask for another.
pub(super) const PATHS: [&str; 8] =
    ["/limits", "/resize", "/warm", "/pause", "/resume", "/reconnect", "/kill", "/reload"];

/// What comes before the name of a table in its path.
pub(super) const TABLES: &str = "/show/";

/// What is answered: a status and JSON.
pub(super) type Answer = (StatusCode, Bytes);

/// Makes the change that a request asks for.
pub(super) async fn answer(request: Request<Incoming>, remote: Remote) -> Answer {
    let (head, body) = request.into_parts();
    if let Err(refusal) = authorize(&head.headers, remote.config.load().admin.http_token.as_ref()) {
        return refusal;
    }
    let body = match Limited::new(body, MAX_BODY).collect().await {
        Ok(body) => body.to_bytes(),
        Err(error) => return refused(StatusCode::BAD_REQUEST, &error.to_string()),
    };
    let path = head.uri.path().to_owned();
    let change = match read(&path, &body) {
        Ok(change) => change,
        Err(error) => return refused(StatusCode::BAD_REQUEST, &error),
    };
    // Files are read, and verifiers derived: not on the threads that serve clients.
    let made = tokio::task::spawn_blocking(move || {
        let made = (remote.change)(&change);
        match &made {
            Ok(()) => info!(?change, "changed over HTTP"),
            Err(error) => warn!(?change, %error, "a change over HTTP was refused"),
        }
        made
    });
    match made.await {
        Ok(Ok(())) => (StatusCode::OK, Bytes::from_static(b"{\"changed\":true}\n")),
        Ok(Err(error)) => {
            let status = match error {
                ChangeError::Unknown(_) => StatusCode::NOT_FOUND,
                ChangeError::Invalid(_) => StatusCode::UNPROCESSABLE_ENTITY,
                ChangeError::NotNow(_) => StatusCode::CONFLICT,
            };
            refused(status, &error.to_string())
        }
        Err(error) => {
            warn!(%error, "a change over HTTP was not made");
            refused(StatusCode::INTERNAL_SERVER_ERROR, "the change was not made")
        }
    }
}

/// Shows the table that a request asks for.
pub(super) async fn show(request: Request<Incoming>, remote: Remote) -> Answer {
    let (head, _) = request.into_parts();
    if let Err(refusal) = authorize(&head.headers, remote.config.load().admin.http_token.as_ref()) {
        return refusal;
    }
    let Some(show) = head.uri.path().strip_prefix(TABLES).and_then(Show::named) else {
        let names = Show::ALL.iter().map(|(_, name, _)| name.to_ascii_lowercase());
        let names: Vec<_> = names.collect();
        let error = format!("there is no such table; there are {}", names.join(", "));
        return refused(StatusCode::NOT_FOUND, &error);
    };
    // There may be a hundred thousand clients.
    let text = tokio::task::spawn_blocking(move || table(show, &(remote.rows)(show))).await;
    match text {
        Ok(text) => (StatusCode::OK, text.into()),
        Err(error) => {
            warn!(%error, "a table was not shown over HTTP");
            refused(StatusCode::INTERNAL_SERVER_ERROR, "the table was not made")
        }
    }
}

/// An array of objects, a line each.
fn table(show: Show, rows: &[Row]) -> String {
    let columns = columns(show);
    let object = |row: &Row| {
        let names = columns.iter().map(|(name, _)| (*name).to_owned());
        Value::Object(names.zip(row.iter().map(Cell::to_json)).collect()).to_string()
    };
    let objects: Vec<_> = rows.iter().map(object).collect();
    format!("[{}]\n", objects.join(",\n"))
}

/// By `Authorization: Bearer TOKEN`.
fn authorize(headers: &HeaderMap, token: Option<&Password>) -> Result<(), Answer> {
    let Some(token) = token else {
        let text = "tables and changes over HTTP need admin.http_token, which is not set";
        return Err(refused(StatusCode::FORBIDDEN, text));
    };
    let given = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
    let given = given.and_then(|text| text.strip_prefix("Bearer ")).map(Password::new);
    if given.is_some_and(|given| given == *token) {
        return Ok(());
    }
    Err(refused(StatusCode::UNAUTHORIZED, "the token is missing or another"))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Resize {
    database: String,
    user: Option<String>,
    max_servers: Value,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Warm {
    database: String,
    user: Option<String>,
    servers: usize,
    #[serde(rename = "for")]
    time: Value,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Kill {
    client_id: u32,
}

/// All pools, without a database.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Which {
    database: Option<String>,
    user: Option<String>,
}

fn read(path: &str, body: &[u8]) -> Result<Change, String> {
    let wrong = |error: serde_json::Error| format!("the body is not what {path} takes: {error}");
    match path {
        "/limits" => settings(&serde_json::from_slice(body).map_err(wrong)?),
        "/resize" => {
            let Resize { database, user, max_servers } =
                serde_json::from_slice(body).map_err(wrong)?;
            Ok(Change::Resize { pools: Pools { database, user }, max_servers: text(&max_servers) })
        }
        "/warm" => {
            let Warm { database, user, servers, time } =
                serde_json::from_slice(body).map_err(wrong)?;
            let time = parse_duration(&text(&time))
                .ok_or_else(|| "\"for\" is no duration, such as \"30s\" or \"5min\"".to_owned())?;
            Ok(Change::Warm { pools: Pools { database, user }, servers, time })
        }
        "/kill" => {
            let Kill { client_id } = serde_json::from_slice(body).map_err(wrong)?;
            Ok(Change::Kill(client_id))
        }
        "/pause" => Ok(Change::Pause(which(path, body)?)),
        "/resume" => Ok(Change::Resume(which(path, body)?)),
        "/reconnect" => Ok(Change::Reconnect(which(path, body)?)),
        _ => Ok(Change::Reload),
    }
}

fn which(path: &str, body: &[u8]) -> Result<Option<Pools>, String> {
    let empty = Which { database: None, user: None };
    let named = if body.is_empty() { Ok(empty) } else { serde_json::from_slice(body) };
    match named.map_err(|error| format!("the body is not what {path} takes: {error}"))? {
        Which { database: Some(database), user } => Ok(Some(Pools { database, user })),
        Which { database: None, user: None } => Ok(None),
        Which { database: None, user: Some(_) } => Err("which database?".to_owned()),
    }
}

/// `{"max_servers": 5, "timeouts.checkout": "10s"}`.
fn settings(given: &Map<String, Value>) -> Result<Change, String> {
    let setting = |(name, value): (&String, &Value)| {
        let key = changeable(name).ok_or_else(|| format!("there is no setting {name:?}"))?;
        Ok((key.path(), text(value)))
    };
    given.iter().map(setting).collect::<Result<Vec<_>, String>>().map(Change::Set)
}

fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        value => value.to_string(),
    }
}

fn refused(status: StatusCode, error: &str) -> Answer {
    (status, format!("{}\n", json!({ "error": error })).into())
}

/// Bytes of a body.
const MAX_BODY: usize = 64 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_are_read_or_refused_with_what_is_wrong() {
        let set = |pairs: &[(&str, &str)]| {
            let owned = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
            Ok(Change::Set(pairs.iter().map(owned).collect()))
        };
        let pools = Pools { database: "shop".into(), user: Some("app".into()) };
        let cases: [(&str, &str, Result<Change, &str>); 14] = [
            ("/limits", r#"{"max_servers": 5}"#, set(&[("limits.max_servers", "5")])),
            ("/limits", r#"{"limits.max_servers": "50%"}"#, set(&[("limits.max_servers", "50%")])),
            ("/limits", r#"{"auth.method": "trust"}"#, Err("no setting \"auth.method\"")),
            ("/limits", "[]", Err("not what /limits takes")),
            (
                "/resize",
                r#"{"database": "shop", "user": "app", "max_servers": 7}"#,
                Ok(Change::Resize { pools: pools.clone(), max_servers: "7".into() }),
            ),
            (
                "/warm",
                r#"{"database": "shop", "user": "app", "servers": 3, "for": "2min"}"#,
                Ok(Change::Warm {
                    pools: pools.clone(),
                    servers: 3,
                    time: std::time::Duration::from_mins(2),
                }),
            ),
            ("/warm", r#"{"database": "shop", "servers": 3, "for": "ever"}"#, Err("no duration")),
            ("/pause", "", Ok(Change::Pause(None))),
            (
                "/resume",
                r#"{"database": "shop", "user": "app"}"#,
                Ok(Change::Resume(Some(pools.clone()))),
            ),
            ("/pause", r#"{"user": "app"}"#, Err("which database")),
            ("/pause", r#"{"databse": "shop"}"#, Err("unknown field")),
            ("/kill", r#"{"client_id": 7}"#, Ok(Change::Kill(7))),
            ("/kill", r#"{"client_id": -7}"#, Err("not what /kill takes")),
            ("/reload", "", Ok(Change::Reload)),
        ];
        for (path, body, expected) in cases {
            match (read(path, body.as_bytes()), expected) {
                (Ok(change), Ok(expected)) => assert_eq!(change, expected, "{body}"),
                (Err(error), Err(part)) => assert!(error.contains(part), "{error}"),
                (read, _) => panic!("{body}: {read:?}"),
            }
        }
    }

    #[test]
    fn only_the_token_lets_anybody_in() {
        let headers = |text: &str| HeaderMap::from_iter([(AUTHORIZATION, text.parse().unwrap())]);
        let token = Password::new("open sesame");
        let status = |headers: &HeaderMap, token: Option<&Password>| {
            authorize(headers, token).map_err(|(status, _)| status.as_u16())
        };
        assert_eq!(status(&headers("Bearer open sesame"), Some(&token)), Ok(()));
        for wrong in ["Bearer open", "Bearer ", "Basic open sesame", "open sesame"] {
            assert_eq!(status(&headers(wrong), Some(&token)), Err(401), "{wrong}");
        }
        assert_eq!(status(&HeaderMap::new(), Some(&token)), Err(401));
        assert_eq!(status(&headers("Bearer open sesame"), None), Err(403));
    }
}
