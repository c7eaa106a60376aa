use proptest::prelude::*;

use super::*;
use crate::auth::{ClientKey, Iterations, Key, Password, ScramParams};

fn password() -> ServerCredential {
    ServerCredential::Password(Password::new("pencil"))
}

fn keys() -> ServerCredential {
    ServerCredential::ScramKeys(ScramKeys {
        client_key: ClientKey::new([1; 32]),
        server_key: Key::new([2; 32]),
        params: ScramParams::new(*b"salt", Iterations::new(1).unwrap()).unwrap(),
    })
}

fn hash() -> ServerCredential {
    ServerCredential::Md5Hash(Md5Hash::of(&Password::new("pencil"), "u"))
}

fn tls() -> Transport {
    Transport::Tls(Some(ChannelBinding::tls_server_end_point([8; 32])))
}

fn login(credential: ServerCredential, transport: Transport, required: bool) -> ServerLogin {
    ServerLogin::new(ServerLoginSetup {
        user: "u".into(),
        credential,
        remembered: None,
        nonce: Nonce::fixed("mine"),
        transport,
        require_channel_binding: required,
    })
}

fn body(code: i32, rest: &[u8]) -> Vec<u8> {
    [&code.to_be_bytes(), rest].concat()
}

const LIST: &[u8] = b"SCRAM-SHA-256\0\0";
const LIST_WITH_PLUS: &[u8] = b"SCRAM-SHA-256-PLUS\0SCRAM-SHA-256\0\0";

/// What is sent, or `Ok`, or the error's text.
fn shown(step: ServerStep) -> String {
    match step {
        ServerStep::Send(bytes) => bytes.escape_ascii().to_string(),
        ServerStep::Continue => "Continue".into(),
        ServerStep::Ok => "Ok".into(),
        ServerStep::Fail(error) => error.to_string(),
    }
}

#[test]
fn each_request_is_answered_by_what_is_at_hand() {
    let (clear, md5) = (body(3, b""), body(5, b"\x01\x02\x03\x04"));
    let (sasl, both) = (body(10, LIST), body(10, LIST_WITH_PLUS));
    let open = "the server asks for a cleartext password on a connection without TLS";
    let sent = "p\\x00\\x00\\x00\\x0bpencil\\x00";
    let md5_sent = "p\\x00\\x00\\x00(md5".to_owned() + &answer_digits() + "\\x00";
    let scram = "p\\x00\\x00\\x00\\\"SCRAM-SHA-256\\x00\\x00\\x00\\x00\\x0cn,,n=,r=mine";
    let unbound = "p\\x00\\x00\\x00\\\"SCRAM-SHA-256\\x00\\x00\\x00\\x00\\x0cy,,n=,r=mine";
    let plus =
        "p\\x00\\x00\\x00<SCRAM-SHA-256-PLUS\\x00\\x00\\x00\\x00!p=tls-server-end-point,,n=,r=mine";
    let table: [(&str, ServerCredential, Transport, &[u8], &str); 16] = [
        ("trust", ServerCredential::None, Transport::Plain, &body(0, b""), "Ok"),
        ("clear on TLS", password(), tls(), &clear, sent),
        ("clear on Unix", password(), Transport::Unix, &clear, sent),
        ("clear in the open", password(), Transport::Plain, &clear, open),
        (
            "clear, keys",
            keys(),
            tls(),
            &clear,
            "the server asks for a cleartext password, but pgweir has SCRAM keys for this user",
        ),
        ("md5, password", password(), Transport::Plain, &md5, &md5_sent),
        ("md5, hash", hash(), Transport::Plain, &md5, &md5_sent),
        (
            "md5, keys",
            keys(),
            tls(),
            &md5,
            "the server asks for an MD5 password, but pgweir has SCRAM keys for this user",
        ),
        (
            "md5, nothing",
            ServerCredential::None,
            tls(),
            &md5,
            "the server asks for an MD5 password, but pgweir has no credential for this user",
        ),
        ("scram", password(), Transport::Plain, &sasl, scram),
        ("scram, keys", keys(), Transport::Plain, &sasl, scram),
        (
            "scram, hash",
            hash(),
            Transport::Plain,
            &sasl,
            "the server asks for SCRAM, but pgweir has an MD5 hash for this user",
        ),
        ("no PLUS on TLS", password(), tls(), &sasl, unbound),
        ("no hash of the certificate", password(), Transport::Tls(None), &both, scram),
        ("PLUS", password(), tls(), &both, plus),
        ("PLUS, keys", keys(), tls(), &both, plus),
    ];
    for (name, credential, transport, body, expected) in table {
        let step = login(credential, transport, false).on_authentication(body);
        assert_eq!(shown(step), expected, "{name}");
    }
}

fn answer_digits() -> String {
    let hash = Md5Hash::of(&Password::new("pencil"), "u");
    String::from_utf8(hash.answer([1, 2, 3, 4])[3..].to_vec()).unwrap()
}

#[test]
fn required_channel_binding_refuses_everything_else() {
    let table = [
        ("trust", body(0, b""), tls()),
        ("clear", body(3, b""), tls()),
        ("md5", body(5, b"abcd"), tls()),
        ("no PLUS offered", body(10, LIST), tls()),
        ("no hash", body(10, LIST_WITH_PLUS), Transport::Tls(None)),
        ("no TLS", body(10, LIST_WITH_PLUS), Transport::Plain),
    ];
    for (name, body, transport) in table {
        let step = login(password(), transport, true).on_authentication(&body);
        assert!(matches!(step, ServerStep::Fail(LoginError::NoChannelBinding { .. })), "{name}");
    }
    let step = login(password(), tls(), true).on_authentication(&body(10, LIST_WITH_PLUS));
    assert!(matches!(step, ServerStep::Send(_)));
}

#[test]
fn malformed_and_unsupported_requests_are_refused() {
    let unsupported = |method, code| LoginError::Unsupported { method, code };
    let table: [(Vec<u8>, LoginError); 14] = [
        (b"".to_vec(), Malformed::Short.into()),
        (b"\0\0\0".to_vec(), Malformed::Short.into()),
        (body(5, b"abc"), Malformed::Short.into()),
        (body(10, b""), Malformed::Unterminated.into()),
        (body(10, b"SCRAM-SHA-256"), Malformed::Unterminated.into()),
        (body(10, b"SCRAM-SHA-256\0"), Malformed::Unterminated.into()),
        (body(10, b"\0"), LoginError::NoMechanism),
        (body(10, b"OAUTHBEARER\0\0"), LoginError::NoMechanism),
        (body(10, b"SCRAM-SHA-256-PLUS\0\0"), LoginError::NoMechanism),
        (body(11, b""), LoginError::OutOfTurn { code: 11 }),
        (body(12, b"v=x"), LoginError::OutOfTurn { code: 12 }),
        (body(7, b""), unsupported("GSSAPI", 7)),
        (body(9, b""), unsupported("SSPI", 9)),
        (body(-1, b""), unsupported("an unknown method", -1)),
    ];
    for (body, expected) in table {
        let mut login = login(password(), Transport::Plain, false);
        let ServerStep::Fail(error) = login.on_authentication(&body) else { panic!("{body:?}") };
        assert_eq!(error, expected, "{body:?}");
        let again = login.on_authentication(&[0; 4]);
        assert!(matches!(again, ServerStep::Fail(LoginError::OutOfTurn { code: 0 })));
    }
}

#[test]
fn ok_before_the_servers_signature_is_refused() {
    let mut early = login(password(), Transport::Plain, false);
    early.on_authentication(&body(10, LIST));
    assert_eq!(shown(early.on_authentication(&body(0, b""))), LoginError::Unproved.to_string());

    let mut later = login(password(), Transport::Plain, false);
    later.on_authentication(&body(10, LIST));
    later.on_authentication(&body(11, b"r=mineX,s=AAAA,i=1"));
    assert_eq!(shown(later.on_authentication(&body(0, b""))), LoginError::Unproved.to_string());
    assert!(later.keys().is_none());
}

#[test]
fn messages_out_of_turn_are_refused() {
    let turns: [&[(i32, &[u8])]; 5] = [
        &[(3, b""), (3, b"")],
        &[(5, b"abcd"), (11, b"")],
        &[(10, LIST), (12, b"v=x")],
        &[(10, LIST), (10, LIST)],
        &[(0, b""), (0, b"")],
    ];
    for turn in turns {
        let mut login = login(password(), Transport::Unix, false);
        let mut last = None;
        for (code, rest) in turn {
            last = Some(login.on_authentication(&body(*code, rest)));
        }
        assert!(matches!(last, Some(ServerStep::Fail(LoginError::OutOfTurn { .. }))), "{turn:?}");
    }
}

proptest! {
    #[test]
    fn no_server_makes_us_panic_or_believe_it(
        messages in prop::collection::vec(
            (prop::sample::select(vec![3, 5, 9, 10, 11, 12, 77]),
             prop::collection::vec(any::<u8>(), 0..60)),
            0..5),
        begun in any::<bool>(),
    ) {
        let mut login = login(password(), Transport::Plain, false);
        if begun {
            login.on_authentication(&body(10, LIST));
        }
        for (code, rest) in messages {
            let step = login.on_authentication(&body(code, &rest));
            prop_assert!(!matches!(step, ServerStep::Ok));
        }
        prop_assert!(login.keys().is_none());
    }
}
