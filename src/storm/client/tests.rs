//! The client against servers that answer in every way.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

use super::*;
use crate::net::Stream;

const SOON: Duration = Duration::from_secs(10);

fn pair() -> (Client, UnixStream) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    (Client::new(Link::new(Stream::Unix(ours))), theirs)
}

fn frame(tag: u8, body: &[u8]) -> Vec<u8> {
    let mut out = BytesMut::new();
    build::message(&mut out, tag, |out| out.put_slice(body));
    out.to_vec()
}

/// What the client makes of an answer, after which the server closes.
async fn answered(answer: &[u8]) -> Result<Reply, ClientError> {
    let (mut client, mut server) = pair();
    let answer = answer.to_vec();
    tokio::spawn(async move {
        let asked = server.read(&mut [0; 64]).await.unwrap();
        assert!(asked > 0);
        server.write_all(&answer).await.unwrap();
    });
    client.simple("select 1", SOON).await
}

#[tokio::test]
async fn the_first_value_and_the_number_of_rows_are_kept() {
    let row = frame(b'D', b"\0\x02\0\0\0\x0242\xff\xff\xff\xff");
    let null = frame(b'D', b"\0\x01\xff\xff\xff\xff");
    let end = [frame(b'C', b"SELECT 2\0"), frame(b'Z', b"I")].concat();
    let cases = [
        (vec![row.clone(), null.clone()], 2, Some("42")),
        (vec![null, row], 2, None),
        (vec![frame(b'D', b"\0\0")], 1, None),
        (vec![], 0, None),
    ];
    for (rows, count, value) in cases {
        let reply = answered(&[rows.concat(), end.clone()].concat()).await.unwrap();
        assert_eq!((reply.rows, reply.value.as_deref()), (count, value));
    }
}

#[tokio::test]
async fn errors_are_classed_and_tell_whether_the_client_can_go_on() {
    let error = frame(b'E', b"SERROR\0VERROR\0C22012\0Mdivision by zero\0\0");
    let fatal = frame(b'E', b"SFATAL\0VFATAL\0C57P01\0Mbye\0\0");
    let ready = frame(b'Z', b"E");
    let cases = [
        ([error.clone(), ready.clone()].concat(), "22012", false),
        (fatal, "57P01", true),
        (error, "22012", false),
        (frame(b'E', b"C\xff\xff\0\0"), "unknown", false),
        (vec![], "io", true),
        (frame(b'G', b"\0\0\0"), "protocol", true),
        (b"?????".to_vec(), "protocol", true),
        (b"D\xff\xff\xff\xff".to_vec(), "protocol", true),
    ];
    for (answer, class, over) in cases {
        let error = answered(&answer).await.unwrap_err();
        assert_eq!((error.class(), error.is_over()), (class, over), "{error}");
    }
}

#[tokio::test]
async fn long_answers_pass_without_being_kept() {
    let (mut client, mut server) = pair();
    let sent = tokio::spawn(async move {
        let long = frame(b'D', &vec![0; 8 << 20]);
        for bytes in [&long[..], &frame(b'Z', b"I")] {
            server.write_all(bytes).await.unwrap();
        }
        server
    });
    assert_eq!(client.simple("select", SOON).await.unwrap().rows, 1);
    assert!(client.link.input.capacity() <= MAX_BODY * 3);
    drop(sent.await.unwrap());
}

#[tokio::test]
async fn a_server_that_says_nothing_is_given_up() {
    let (mut client, _server) = pair();
    let soon = Duration::from_millis(20);
    let error = client.simple("select 1", soon).await.unwrap_err();
    assert_eq!((error.class(), error.is_over()), ("timeout", true));
}

#[tokio::test]
async fn both_protocols_and_the_goodbye_are_sent_as_the_manual_says() {
    for (protocol, tags) in [(Protocol::Simple, "QX"), (Protocol::Extended, "PBESX")] {
        let (mut client, mut server) = pair();
        server.write_all(&frame(b'Z', b"T")).await.unwrap();
        client.query(protocol, "begin", SOON).await.unwrap();
        assert!(client.is_in_transaction());
        client.leave(SOON).await.unwrap();
        let mut sent = Vec::new();
        server.read_to_end(&mut sent).await.unwrap();
        let mut seen = String::new();
        while let Some(header) = frame::frontend(&sent).ok().flatten() {
            seen.push(char::from(header.tag));
            sent.drain(..header.total());
        }
        assert_eq!((seen.as_str(), sent.len()), (tags, 0));
    }
}
