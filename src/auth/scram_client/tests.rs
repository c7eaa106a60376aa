use super::*;
use crate::auth::{ClientKey, Key};

const SERVER_FIRST: &[u8] =
    b"r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";

fn rfc(proof: Proof) -> AwaitServerFirst {
    let nonce = Nonce::fixed("rOprNGfwEbeRWgbNEkqO");
    let (client, message) = AwaitServerFirst::start_as(b"user", proof, Gs2::Unable, nonce);
    assert_eq!(message, b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO");
    client
}

fn password() -> Proof {
    Proof::Password { password: Password::new("pencil"), remembered: None }
}

fn cheap_client() -> AwaitServerFirst {
    AwaitServerFirst::start(password(), Gs2::Unable, Nonce::fixed("mine")).0
}

#[test]
fn rfc_7677_example() {
    let (client, last) = rfc(password()).on_server_first(SERVER_FIRST).ok().unwrap();
    assert_eq!(
        String::from_utf8(last).unwrap(),
        "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
    );
    let keys = client.on_server_final(b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=").unwrap();

    // The keys used do the same without the password.
    let (client, again) = rfc(Proof::Keys(keys)).on_server_first(SERVER_FIRST).ok().unwrap();
    assert!(again.ends_with(b"p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="));
    assert!(client.on_server_final(b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=").is_ok());
}

#[test]
fn hostile_server_first_is_refused() {
    use ScramClientError as E;
    let with = |nonce: &str, rest: &str| format!("r={nonce},{rest}").into_bytes();
    let other = |wanted, found| E::Syntax(Syntax::OtherAttribute { wanted, found });
    let table: [(&str, Vec<u8>, E); 23] = [
        ("empty", Vec::new(), other(b'r', 0)),
        ("bytes", b"\xff\xfe\0".to_vec(), other(b'r', 0xff)),
        ("extension", b"m=x,r=mineX,s=AAAA,i=1".to_vec(), other(b'r', b'm')),
        ("no value", b"r".to_vec(), E::Syntax(Syntax::NoEqualsSign { attribute: b'r' })),
        ("nonce alone", with("mineX", ""), other(b's', 0)),
        ("no iterations", with("mineX", "s=AAAA"), other(b'i', 0)),
        ("other nonce", with("thine", "s=AAAA,i=1"), E::Nonce),
        ("our nonce cut", with("min", "s=AAAA,i=1"), E::Nonce),
        ("nothing added", with("mine", "s=AAAA,i=1"), E::Nonce),
        ("unprintable", with("mine\u{7f}", "s=AAAA,i=1"), E::Nonce),
        (
            "long nonce",
            with(&("mine".to_owned() + &"x".repeat(509)), "s=AAAA,i=1"),
            E::NonceTooLong { len: 513 },
        ),
        ("64 KiB nonce", with(&"x".repeat(65_536), "s=AAAA,i=1"), E::TooLong { len: 65_549 }),
        (
            "1 MiB nonce",
            with(&"x".repeat(1 << 20), "s=AAAA,i=1"),
            E::TooLong { len: (1 << 20) + 13 },
        ),
        ("empty salt", with("mineX", "s=,i=1"), E::Salt),
        ("no base64", with("mineX", "s=***,i=1"), E::Salt),
        ("long salt", with("mineX", &format!("s={},i=1", "A".repeat(1000))), E::Salt),
        ("no number", with("mineX", "s=AAAA,i="), E::IterationsText),
        ("sign", with("mineX", "s=AAAA,i=+1"), E::IterationsText),
        ("hex", with("mineX", "s=AAAA,i=0x1"), E::IterationsText),
        ("none", with("mineX", "s=AAAA,i=0"), E::Iterations { count: 0 }),
        ("too many", with("mineX", "s=AAAA,i=100001"), E::Iterations { count: 100_001 }),
        ("2^32-1", with("mineX", "s=AAAA,i=4294967295"), E::Iterations { count: 4_294_967_295 }),
        (
            "30 digits",
            with("mineX", &format!("s=AAAA,i={}", "9".repeat(30))),
            E::Iterations { count: u64::MAX },
        ),
    ];
    for (name, message, error) in table {
        assert_eq!(cheap_client().on_server_first(&message).err(), Some(error), "{name}");
    }
}

#[test]
fn hostile_server_final_is_refused() {
    use ScramClientError as E;
    let other = |found| E::Syntax(Syntax::OtherAttribute { wanted: b'v', found });
    let table: [(&[u8], E); 9] = [
        (b"", other(0)),
        (b"v", E::Syntax(Syntax::NoEqualsSign { attribute: b'v' })),
        (b"x=y", other(b'x')),
        (b"v=", E::SignatureText),
        (b"v=AAAA", E::SignatureText),
        (b"v=!!!!", E::SignatureText),
        (b"v=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=", E::Signature),
        (b"e=invalid-proof\x1b[2J", E::Refused("invalid-proof[2J".into())),
        (&[b'e'; 4000], E::TooLong { len: 4000 }),
    ];
    for (message, error) in table {
        let (client, _) = cheap_client().on_server_first(b"r=mineX,s=AAAA,i=1").ok().unwrap();
        let got = client.on_server_final(message).err();
        assert_eq!(got, Some(error), "{}", message.escape_ascii());
    }
}

#[test]
fn keys_of_another_verifier_are_not_tried() {
    let keys = |salt: [u8; 3], count| ScramKeys {
        client_key: ClientKey::new([1; KEY_LEN]),
        server_key: Key::new([2; KEY_LEN]),
        params: ScramParams::new(salt, Iterations::new(count).unwrap()).unwrap(),
    };
    let table = [([0; 3], 1, true), ([0; 3], 2, false), ([0, 0, 1], 1, false)];
    for (salt, count, fits) in table {
        let proof = Proof::Keys(keys(salt, count));
        let (client, _) = AwaitServerFirst::start(proof, Gs2::Unable, Nonce::fixed("mine"));
        let result = client.on_server_first(b"r=mineX,s=AAAA,i=1");
        let expected = (!fits).then_some(ScramClientError::OtherVerifier);
        assert_eq!(result.err(), expected);
    }
}

#[test]
fn remembered_keys_of_an_older_password_do_no_harm() {
    let params = ScramParams::new([9; 3], Iterations::new(1).unwrap()).unwrap();
    let remembered = Some(ScramKeys::derive(&Password::new("older"), &params));
    let proof = Proof::Password { password: Password::new("pencil"), remembered };
    let (client, _) = AwaitServerFirst::start(proof, Gs2::Unable, Nonce::fixed("mine"));
    let (_, with) = client.on_server_first(b"r=mineX,s=AAAA,i=1").ok().unwrap();
    let (_, without) = cheap_client().on_server_first(b"r=mineX,s=AAAA,i=1").ok().unwrap();
    assert_eq!(with, without);
}
