//! tokio-postgres. See ../../README.md for what each phase does.

use std::env::var;
use std::error::Error;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::{SinkExt, TryStreamExt, future::try_join_all, pin_mut};
use tokio_postgres::error::SqlState;
use tokio_postgres::types::{FromSql, IsNull, ToSql, Type, to_sql_checked};
use tokio_postgres::{Client, Config, NoTls};

type Failure = Box<dyn Error + Send + Sync>;

const CLIENTS: i32 = 8;
const ROUNDS: i32 = 25;

/// An enum and JSONB go as the text that they are.
#[derive(Debug, PartialEq)]
struct Plain(String);

impl ToSql for Plain {
    fn to_sql(&self, kind: &Type, out: &mut BytesMut) -> Result<IsNull, Failure> {
        if *kind == Type::JSONB {
            out.extend_from_slice(&[1]);
        }
        out.extend_from_slice(self.0.as_bytes());
        Ok(IsNull::No)
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    to_sql_checked!();
}

impl<'a> FromSql<'a> for Plain {
    fn from_sql(kind: &Type, raw: &'a [u8]) -> Result<Self, Failure> {
        let text = if *kind == Type::JSONB { raw.get(1..).unwrap_or_default() } else { raw };
        Ok(Self(String::from_utf8(text.to_vec())?))
    }

    fn accepts(_: &Type) -> bool {
        true
    }
}

async fn connect() -> Result<Client, Failure> {
    let mut config = Config::new();
    config.host(var("PGHOST")?).port(var("PGPORT")?.parse()?);
    config.user(var("PGUSER")?).password(var("PGPASSWORD")?).dbname(var("PGDATABASE")?);
    let (client, connection) = config.connect(NoTls).await?;
    tokio::spawn(connection);
    Ok(client)
}

async fn value(client: &Client, number: i32) -> Result<(), Failure> {
    assert_eq!(client.query_one("select $1::int", &[&number]).await?.get::<_, i32>(0), number);
    Ok(())
}

async fn plain(client: &mut Client, who: i32) -> Result<(), Failure> {
    let insert = client.prepare("insert into visit values ($1, $2, $3, $4, $5)").await?;
    let count = client.prepare("select count(*) from visit where who = $1").await?;
    for round in 0..ROUNDS {
        let tags = vec!["a".to_owned(), "b c".to_owned()];
        let (mood, facts) = (Plain("happy".into()), Plain(format!("{{\"round\": {round}}}")));
        let row: [&(dyn ToSql + Sync); 5] = [&who, &round, &mood, &tags, &facts];
        let transaction = client.transaction().await?;
        transaction.execute(&insert, &row).await?;
        let counted: i64 = transaction.query_one(&count, &[&who]).await?.get(0);
        assert_eq!(counted, i64::from(round) + 1);
        transaction.commit().await?;
        let refused = client.execute(&insert, &row).await.expect_err("a duplicate");
        assert_eq!(refused.code(), Some(&SqlState::UNIQUE_VIOLATION));
        let select = "select mood, tags, facts from visit where who = $1 and round = $2";
        let seen = client.query_one(select, &[&who, &round]).await?;
        assert_eq!((seen.get::<_, Plain>(0), seen.get::<_, Vec<String>>(1)), (mood, tags));
        assert_eq!(seen.get::<_, Plain>(2), facts);
        // One write of several statements.
        try_join_all([value(client, round), value(client, round + 1)]).await?;
    }
    copies(client, who).await?;
    cancel(client).await?;
    value(client, who).await
}

async fn copies(client: &Client, who: i32) -> Result<(), Failure> {
    let sink = client.copy_in("copy bulk from stdin").await?;
    pin_mut!(sink);
    for number in 0..100 {
        sink.send(Bytes::from(format!("{who}\t{number}\tword\n"))).await?;
    }
    assert_eq!(sink.finish().await?, 100);
    let copy = format!("copy (select * from bulk where who = {who}) to stdout");
    let rows: Vec<Bytes> = client.copy_out(&copy).await?.try_collect().await?;
    assert_eq!(rows.concat().iter().filter(|byte| **byte == b'\n').count(), 100);
    Ok(())
}

async fn cancel(client: &Client) -> Result<(), Failure> {
    let token = client.cancel_token();
    let canceling = tokio::spawn(async move {
        tokio::time::sleep(Duration::from_millis(300)).await;
        token.cancel_query(NoTls).await?;
        Ok::<(), Failure>(())
    });
    let ended = client.batch_execute("select pg_sleep(30)").await.expect_err("a cancel");
    assert_eq!(ended.code(), Some(&SqlState::QUERY_CANCELED));
    canceling.await?
}

/// As deadpool-postgres does with `RecyclingMethod::Clean`, but for what that leaves of statements.
async fn reset(client: &Client, who: i32) -> Result<(), Failure> {
    for _ in 0..ROUNDS {
        let timeout = client.query_one("show statement_timeout", &[]).await?;
        assert_eq!(timeout.get::<_, &str>(0), "0");
        client.batch_execute("set statement_timeout = '20s'").await?;
        value(client, who).await?;
        client.batch_execute(CLEAN).await?;
        client.clear_type_cache();
    }
    Ok(())
}

const CLEAN: &str = "CLOSE ALL; SET SESSION AUTHORIZATION DEFAULT; RESET ALL; UNLISTEN *; \
    SELECT pg_advisory_unlock_all(); DISCARD TEMP; DISCARD SEQUENCES;";

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let phase = std::env::args().nth(1).unwrap_or_default();
    let mut clients = Vec::new();
    for who in 0..CLIENTS {
        let mut client = connect().await?;
        let phase = phase.clone();
        clients.push(tokio::spawn(async move {
            match &*phase {
                "plain" => plain(&mut client, who).await?,
                "reset" => reset(&client, who).await?,
                _ => value(&client, who).await?,
            }
            Ok::<Client, Failure>(client)
        }));
    }
    let mut held = Vec::new();
    for client in clients {
        held.push(client.await??);
    }
    println!("idle");
    std::io::stdin().read_line(&mut String::new())?;
    Ok(())
}
