use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::auth::{
    ChannelBinding, Iterations, Key, LoginError, ScramClientError, ServerLogin, ServerLoginSetup,
    ServerStep,
};

fn mock() -> Mock {
    Mock::new(Key::new([3; 32]), Iterations::new(2).unwrap())
}

fn found(user: &str, secret: Secret) -> Lookup {
    Lookup::Found(Arc::new(Account::new(user, secret, &mock())))
}

fn plain(password: &str) -> Secret {
    Secret::Plain(Password::new(password))
}

fn scram(password: &str) -> Secret {
    let params = mock().params("another salt");
    Secret::Scram(ScramVerifier::derive(&Password::new(password), &params))
}

fn md5(password: &str) -> Secret {
    Secret::Md5(Md5Hash::of(&Password::new(password), "u"))
}

fn begin(method: Method, lookup: Lookup, transport: Transport) -> (ClientLogin, ClientStep) {
    let mock = mock();
    // As others have it here.
    Account::new("other", md5("password"), &mock);
    let setup = ClientLoginSetup {
        user: "u".into(),
        method,
        lookup,
        nonce: Nonce::new([5; 18]),
        md5_salt: [1, 2, 3, 4],
        transport,
    };
    ClientLogin::start(setup, &mock)
}

fn answerer(credential: ServerCredential, transport: Transport) -> ServerLogin {
    ServerLogin::new(ServerLoginSetup {
        user: "u".into(),
        credential,
        remembered: None,
        nonce: Nonce::new([6; 18]),
        transport,
        require_channel_binding: false,
    })
}

/// How a login between the two machines ended.
#[derive(Debug)]
enum End {
    Ok(ServerCredential),
    Client(AuthError),
    Server(LoginError),
}

/// The bodies of the messages in `bytes`.
fn bodies(bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut out = Vec::new();
    let mut rest = bytes;
    while let [_, a, b, c, d, ..] = rest {
        let len = u32::from_be_bytes([*a, *b, *c, *d]) as usize;
        out.push(rest[5..=len].to_vec());
        rest = &rest[len + 1..];
    }
    assert!(rest.is_empty());
    out
}

/// Lets our server's side and our client's side talk; returns the end and the count of messages.
fn talk((mut client, mut step): (ClientLogin, ClientStep), mut other: ServerLogin) -> (End, usize) {
    let mut count = 0;
    loop {
        let (bytes, credential) = match step {
            ClientStep::Send(bytes) => (bytes, None),
            ClientStep::Done { send, credential } => (send, Some(credential)),
            ClientStep::Fail(error) => return (End::Client(error), count),
        };
        let mut reply = None;
        for body in bodies(&bytes) {
            count += 1;
            match other.on_authentication(&body) {
                ServerStep::Send(bytes) => reply = Some(bytes),
                ServerStep::Continue => {}
                ServerStep::Ok => return (End::Ok(credential.expect("both have ended")), count),
                ServerStep::Fail(error) => return (End::Server(error), count),
            }
        }
        let body = bodies(&reply.expect("an answer")).remove(0);
        step = client.on_message(&body);
    }
}

fn login(method: Method, lookup: Lookup, password: &str, transport: &Transport) -> (End, usize) {
    let credential = ServerCredential::Password(Password::new(password));
    talk(begin(method, lookup, transport.clone()), answerer(credential, transport.clone()))
}

fn tls() -> Transport {
    Transport::Tls(Some(ChannelBinding::tls_server_end_point([8; 32])))
}

#[test]
fn every_method_lets_in_the_right_password_and_no_other() {
    let table = [
        (Method::Scram, plain("pencil"), "a password"),
        (Method::Scram, scram("pencil"), "SCRAM keys"),
        (Method::Md5, plain("pencil"), "a password"),
        (Method::Md5, md5("pencil"), "an MD5 hash"),
        (Method::Md5, scram("pencil"), "SCRAM keys"),
        (Method::Cleartext, plain("pencil"), "a password"),
        (Method::Cleartext, md5("pencil"), "a password"),
        (Method::Cleartext, scram("pencil"), "a password"),
    ];
    for (method, secret, kind) in table {
        for transport in [tls(), Transport::Tls(None), Transport::Unix] {
            let case = format!("{method:?} {kind} {transport:?}");
            let (end, _) = login(method, found("u", secret.clone()), "pencil", &transport);
            assert!(matches!(end, End::Ok(credential) if credential.kind() == kind), "{case}");
            let (end, _) = login(method, found("u", secret.clone()), "pen", &transport);
            let End::Client(error) = end else { panic!("{case}") };
            let refusal = Refusal::WrongPassword;
            assert_eq!(error, AuthError::Refused { user: "u".into(), refusal }, "{case}");
        }
    }
}

#[test]
fn refusals_look_all_the_same() {
    for method in [Method::Scram, Method::Md5, Method::Cleartext] {
        let (known, messages) = login(method, found("u", plain("pencil")), "pen", &tls());
        let End::Client(known) = known else { panic!("{method:?}") };
        let refused = [Refusal::Unknown, Refusal::Expired, Refusal::NoLogin, Refusal::NoPassword];
        for refusal in refused {
            let (end, count) = login(method, Lookup::Refused(refusal), "pencil", &tls());
            let End::Client(error) = end else { panic!("{method:?} {refusal:?}") };
            assert_eq!(count, messages);
            assert_eq!(error.to_string(), known.to_string());
            assert_eq!((error.sqlstate(), error.detail()), (known.sqlstate(), None));
            assert_eq!(error.to_string(), "password authentication failed for user \"u\"");
            assert_eq!(error.sqlstate().text(), "28P01");
        }
    }
    let (end, _) = login(Method::Scram, found("u", md5("pencil")), "pencil", &tls());
    assert!(matches!(end, End::Client(AuthError::Refused { refusal: Refusal::Md5Hash, .. })));
}

#[test]
fn who_does_not_exist_is_asked_as_others_are() {
    for (secret, code) in
        [(scram("pencil"), SASL), (md5("pencil"), MD5_PASSWORD), (plain("p"), MD5_PASSWORD)]
    {
        let mock = mock();
        let account = Lookup::Found(Arc::new(Account::new("u", secret, &mock)));
        for lookup in [account, Lookup::Refused(Refusal::Unknown)] {
            let setup = ClientLoginSetup {
                user: "u".into(),
                method: Method::Md5,
                lookup,
                nonce: Nonce::new([5; 18]),
                md5_salt: [0; 4],
                transport: Transport::Plain,
            };
            let (_, ClientStep::Send(request)) = ClientLogin::start(setup, &mock) else {
                panic!("a request comes first")
            };
            assert!(bodies(&request)[0].starts_with(&code.to_be_bytes()));
        }
    }
}

#[test]
fn unknown_user_has_the_same_salt_every_time_and_another_name_another() {
    let first = |user: &str| {
        let setup = ClientLoginSetup {
            user: user.into(),
            method: Method::Scram,
            lookup: Lookup::Refused(Refusal::Unknown),
            nonce: Nonce::new([5; 18]),
            md5_salt: [0; 4],
            transport: Transport::Plain,
        };
        let (mut login, _) = ClientLogin::start(setup, &mock());
        match login.on_message(b"SCRAM-SHA-256\0\0\0\0\x09n,,n=,r=x") {
            ClientStep::Send(bytes) => bytes,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(first("nobody"), first("nobody"));
    assert_ne!(first("nobody"), first("nobodx"));
    assert_eq!(first("nobody").len(), first("nobodx").len());
}

#[test]
fn trust_asks_nothing() {
    let (_, step) = begin(Method::Trust, Lookup::Refused(Refusal::Unknown), Transport::Plain);
    let ClientStep::Done { send, credential } = step else { panic!("{step:?}") };
    assert_eq!(send, b"R\0\0\0\x08\0\0\0\0".as_slice());
    assert!(matches!(credential, ServerCredential::None));
    let (_, step) = begin(Method::Trust, found("u", plain("pencil")), Transport::Plain);
    let ClientStep::Done { credential, .. } = step else { panic!("{step:?}") };
    assert!(matches!(credential, ServerCredential::Password(_)));
}

#[test]
fn cleartext_is_not_asked_for_in_the_open() {
    let (_, step) = begin(Method::Cleartext, found("u", plain("pencil")), Transport::Plain);
    assert!(matches!(step, ClientStep::Fail(AuthError::CleartextInTheOpen)));
}

#[test]
fn password_messages_are_checked_as_postgresql_does() {
    let table: [(&[u8], &str, &str); 7] = [
        (b"\0", "28P01", "empty password returned by client"),
        (b"", "08P01", "invalid password packet size"),
        (b"pencil", "08P01", "invalid password packet size"),
        (b"pen\0cil\0", "08P01", "invalid password packet size"),
        (b"pencil\0\0", "08P01", "invalid password packet size"),
        (b"wrong\0", "28P01", "password authentication failed for user \"u\""),
        (b"\xff\xfe\0", "28P01", "password authentication failed for user \"u\""),
    ];
    for method in [Method::Md5, Method::Cleartext] {
        for (body, code, message) in table {
            let (mut client, _) = begin(method, found("u", plain("pencil")), Transport::Unix);
            let step = client.on_message(body);
            let ClientStep::Fail(error) = step else { panic!("{method:?} {step:?}") };
            assert_eq!((error.sqlstate().text(), error.to_string().as_str()), (code, message));
            let again = client.on_message(b"pencil\0");
            assert!(matches!(again, ClientStep::Fail(AuthError::Ended)));
        }
    }
}

#[test]
fn another_message_than_an_answer_ends_the_login() {
    let table = [
        (Method::Scram, "expected SASL response, got message type 81"),
        (Method::Cleartext, "expected password response, got message type 81"),
        (Method::Md5, "expected password response, got message type 81"),
    ];
    for (method, message) in table {
        let (mut client, _) = begin(method, found("u", plain("pencil")), Transport::Unix);
        let error = client.on_other_message(b'Q');
        assert_eq!((error.sqlstate().text(), error.to_string().as_str()), ("08P01", message));
        assert!(matches!(client.on_message(b"pencil\0"), ClientStep::Fail(AuthError::Ended)));
    }
}

#[test]
fn removed_offer_of_plus_is_noticed() {
    // The client could bind, but somebody between gave it another list.
    let (mut client, _) = begin(Method::Scram, found("u", plain("pencil")), tls());
    let credential = ServerCredential::Password(Password::new("pencil"));
    let mut other = answerer(credential, tls());
    let ServerStep::Send(bytes) = other.on_authentication(b"\0\0\0\x0aSCRAM-SHA-256\0\0") else {
        panic!("no answer");
    };
    let ClientStep::Fail(error) = client.on_message(&bodies(&bytes)[0]) else {
        panic!("not noticed");
    };
    assert_eq!(error.sqlstate().text(), "28000");
}

#[test]
fn plus_fails_across_two_certificates() {
    let other_end = Transport::Tls(Some(ChannelBinding::tls_server_end_point([9; 32])));
    let credential = ServerCredential::Password(Password::new("pencil"));
    let login = begin(Method::Scram, found("u", plain("pencil")), tls());
    let (end, _) = talk(login, answerer(credential, other_end));
    assert!(matches!(end, End::Client(error) if error.sqlstate().text() == "28000"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn recovered_keys_log_in_like_the_password(
        password in "[^\0]{1,40}",
        wrong in "[^\0]{1,40}",
        nonces in any::<[[u8; 18]; 2]>(),
        salt in prop::collection::vec(any::<u8>(), 1..64),
        count in 1u32..20,
        plus in any::<bool>(),
    ) {
        let transport = if plus { tls() } else { Transport::Plain };
        let iterations = Iterations::new(count).unwrap();
        let params = crate::auth::ScramParams::new(salt, iterations).unwrap();
        let stored = ScramVerifier::derive(&Password::new(password.as_str()), &params);
        let text = stored.format();
        let start = || {
            let setup = ClientLoginSetup {
                user: "u".into(),
                method: Method::Scram,
                lookup: found("u", Secret::parse(&text).unwrap()),
                nonce: Nonce::new(nonces[0]),
                md5_salt: [0; 4],
                transport: transport.clone(),
            };
            ClientLogin::start(setup, &mock())
        };
        let with = |credential| ServerLogin::new(ServerLoginSetup {
            user: "u".into(),
            credential,
            remembered: None,
            nonce: Nonce::new(nonces[1]),
            transport: transport.clone(),
            require_channel_binding: plus,
        });

        let right = ServerCredential::Password(Password::new(password.as_str()));
        let (end, _) = talk(start(), with(right));
        let End::Ok(recovered) = end else { panic!("{end:?}") };
        let is_keys = matches!(recovered, ServerCredential::ScramKeys(_));
        prop_assert!(is_keys);
        let (end, _) = talk(start(), with(recovered));
        prop_assert!(matches!(end, End::Ok(_)), "{end:?}");

        let other = Password::new(wrong.as_str());
        let same = ScramVerifier::derive(&other, &params).format() == text;
        let (end, _) = talk(start(), with(ServerCredential::Password(other)));
        prop_assert_eq!(matches!(end, End::Ok(_)), same);
    }

    #[test]
    fn no_bytes_panic_or_let_in(
        first in prop::collection::vec(any::<u8>(), 0..80),
        second in prop::collection::vec(any::<u8>(), 0..80),
        method in prop::sample::select(vec![Method::Scram, Method::Md5, Method::Cleartext]),
        begun in any::<bool>(),
    ) {
        let (mut client, _) = begin(method, found("u", plain("pencil")), tls());
        if begun {
            client.on_message(b"SCRAM-SHA-256\0\0\0\0\x09n,,n=,r=x");
        }
        for body in [first, second] {
            let step = client.on_message(&body);
            let is_done = matches!(step, ClientStep::Done { .. });
            prop_assert!(!is_done);
        }
    }
}

#[test]
fn keys_from_a_changed_password_are_told_apart() {
    let old = ScramVerifier::derive(&Password::new("pencil"), &mock().params("old"));
    let new = ScramVerifier::derive(&Password::new("pencil"), &mock().params("new"));
    let credential = ServerCredential::Password(Password::new("pencil"));
    let start =
        |verifier| begin(Method::Scram, found("u", Secret::Scram(verifier)), Transport::Plain);
    let (end, _) = talk(start(old), answerer(credential, Transport::Plain));
    let End::Ok(keys) = end else { panic!("{end:?}") };
    let (end, _) = talk(start(new), answerer(keys, Transport::Plain));
    let End::Server(error) = end else { panic!("{end:?}") };
    assert_eq!(error, LoginError::Scram(ScramClientError::OtherVerifier));
}
