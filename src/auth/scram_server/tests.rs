use super::*;
use crate::auth::{AuthError, Iterations, Password, ScramParams};

const MECHANISM: &[u8] = b"SCRAM-SHA-256\0";
const PLUS: &[u8] = b"SCRAM-SHA-256-PLUS\0";
const HASH: [u8; 32] = [7; 32];

fn keys() -> ScramKeys {
    let params = ScramParams::new(*b"0123456789abcdef", Iterations::new(2).unwrap()).unwrap();
    ScramKeys::derive(&Password::new("pencil"), &params)
}

fn server(plus: bool) -> ScramServer {
    let binding = plus.then(|| ChannelBinding::tls_server_end_point(HASH));
    ScramServer::new(keys().verifier(), None, Nonce::fixed("server"), binding)
}

fn initial(mechanism: &[u8], len: i32, message: &[u8]) -> Vec<u8> {
    [mechanism, &len.to_be_bytes(), message].concat()
}

fn first(mechanism: &[u8], message: &[u8]) -> Vec<u8> {
    initial(mechanism, message.len() as i32, message)
}

/// SQLSTATE, message and DETAIL as the client gets them; `R` or `v=` for progress.
type Outcome = (&'static str, &'static str, &'static str);

const GOES_ON: Outcome = ("R", "", "");
const LET_IN: Outcome = ("v=", "", "");
const REFUSED: Outcome = ("28P01", "", "");
const MALFORMED: &str = "malformed SCRAM message";

const fn bad(detail: &'static str) -> Outcome {
    ("08P01", MALFORMED, detail)
}

const fn violation(message: &'static str) -> Outcome {
    ("08P01", message, "")
}

#[track_caller]
fn check(result: Result<Reply, Error>, expected: Outcome, case: &str) {
    let (code, message, detail) = match result {
        Ok(Reply::Continue(_)) => ("R".to_owned(), String::new(), None),
        Ok(Reply::Final { .. }) => ("v=".to_owned(), String::new(), None),
        Ok(Reply::Refused(_)) => ("28P01".to_owned(), String::new(), None),
        Err(error) => {
            let error = AuthError::Scram(error);
            (error.sqlstate().text().to_owned(), error.to_string(), error.detail())
        }
    };
    let got = (code.as_str(), message.as_str(), detail.as_deref().unwrap_or_default());
    assert_eq!(got, expected, "{case}");
}

#[test]
fn rfc_7677_example() {
    let params = scram::decode(b"W22ZaJ0SNY7soEsUEjb6gQ==", 16).unwrap();
    let params = ScramParams::new(params, Iterations::DEFAULT).unwrap();
    let keys = ScramKeys::derive(&Password::new("pencil"), &params);
    let nonce = Nonce::fixed("%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0");
    let mut server = ScramServer::new(keys.verifier(), None, nonce, None);
    let Ok(Reply::Continue(text)) =
        server.on_message(&first(MECHANISM, b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO"))
    else {
        panic!("no server-first-message");
    };
    assert_eq!(
        String::from_utf8(text).unwrap(),
        "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"
    );
    let last = b"c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=";
    let Ok(Reply::Final { text, keys: recovered }) = server.on_message(last) else {
        panic!("no server-final-message");
    };
    assert_eq!(text, b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=");
    assert!(bool::from(recovered.client_key.stored_key().ct_eq(&keys.client_key.stored_key())));
    assert_eq!(recovered.client_key.as_bytes(), keys.client_key.as_bytes());
}

#[test]
fn message_around_the_exchange_is_checked_as_postgresql_does() {
    let ok = b"n,,n=,r=abc";
    let short = violation("insufficient data left in message");
    let unknown = violation("client selected an invalid SASL authentication mechanism");
    let trailing = violation("invalid message format");
    let string = violation("invalid string in message");
    let table = [
        ("good", first(MECHANISM, ok), GOES_ON),
        ("no initial response", initial(MECHANISM, -1, b""), GOES_ON),
        ("-1 with data", initial(MECHANISM, -1, ok), trailing),
        ("-2", initial(MECHANISM, -2, ok), short),
        ("i32::MIN", initial(MECHANISM, i32::MIN, ok), short),
        ("i32::MAX", initial(MECHANISM, i32::MAX, ok), short),
        ("99999", initial(MECHANISM, 99_999, ok), short),
        ("one too many", initial(MECHANISM, ok.len() as i32 + 1, ok), short),
        ("one too few", initial(MECHANISM, ok.len() as i32 - 1, ok), trailing),
        ("0 with data", initial(MECHANISM, 0, ok), trailing),
        ("0", initial(MECHANISM, 0, b""), bad("The message is empty.")),
        ("no length", MECHANISM.to_vec(), short),
        ("half a length", [MECHANISM, b"\0\0"].concat(), short),
        ("no NUL", b"SCRAM-SHA-256".to_vec(), string),
        ("nothing", Vec::new(), string),
        ("unknown", first(b"SCRAM-SHA-1\0", ok), unknown),
        ("no name", first(b"\0", ok), unknown),
        ("PLUS not offered", first(PLUS, ok), unknown),
        ("too long", first(MECHANISM, &[b'a'; 1003]), REFUSED),
    ];
    for (case, body, expected) in table {
        check(server(false).on_message(&body), expected, case);
    }
}

const UNASKED: &str = "The client selected SCRAM-SHA-256 without channel binding, but the SCRAM \
                       message includes channel binding data.";
const NONCE: Outcome = violation("non-printable characters in SCRAM nonce");
const AUTHZID: Outcome =
    ("0A000", "client uses authorization identity, but it is not supported", "");
const EXTENSION: Outcome = ("0A000", "client requires an unsupported SCRAM extension", "");

const FIRST_MESSAGES: [(&[u8], Outcome); 27] = [
    (b"n,,n=,r=", GOES_ON),
    (b"n,,n=,r=a,", GOES_ON),
    (b"n,,n=,r=a,x=y", GOES_ON),
    (b"n,,n=,r=a,r=b", GOES_ON),
    (b"n,,n=\xff\xfe,r=a", GOES_ON),
    (b"y,,n=,r=a", GOES_ON),
    (b"x,,n=,r=a", bad("Unexpected channel-binding flag \"'x'\".")),
    (b"\x01,,", bad("Unexpected channel-binding flag \"0x01\".")),
    (b"n", bad("Comma expected, but found character \"0x00\".")),
    (b"nx,n=,r=a", bad("Comma expected, but found character \"'x'\".")),
    (b"n,", bad("Unexpected attribute \"0x00\" in client-first-message.")),
    (b"n,x,n=,r=a", bad("Unexpected attribute \"'x'\" in client-first-message.")),
    (b"n,a=u,n=,r=a", AUTHZID),
    (b"n,,m=x,n=,r=a", EXTENSION),
    (b"n,,", bad("Expected attribute \"n\" but found \"0x00\".")),
    (b"n,,x=", bad("Expected attribute \"n\" but found \"'x'\".")),
    (b"n,,n", bad("Expected character \"=\" for attribute \"n\".")),
    (b"n,,n=", bad("Expected attribute \"r\" but found \"0x00\".")),
    (b"n,,n=,r=a\x7f", NONCE),
    (b"n,,n=,r=\xff", NONCE),
    (b"n,,n=,r=a b", NONCE),
    (b"n,,n=,r=a,1=2", bad("Attribute expected, but found invalid character \"'1'\".")),
    (b"n,,n=,r=a,x", bad("Expected character \"=\" for attribute \"x\".")),
    (b"n,,n=,r=a\0b", bad("Message length does not match input length.")),
    (b"p=tls-unique,,n=,r=a", bad(UNASKED)),
    (b"p,,n=,r=a", bad(UNASKED)),
    (b"p=tls-server-end-point,,n=,r=a", bad(UNASKED)),
];

#[test]
fn first_message_is_checked_as_postgresql_does() {
    for (message, expected) in FIRST_MESSAGES {
        let case = message.escape_ascii().to_string();
        check(server(false).on_message(&first(MECHANISM, message)), expected, &case);
        let mut asked = server(false);
        check(asked.on_message(&initial(MECHANISM, -1, b"")), GOES_ON, &case);
        check(asked.on_message(message), expected, &case);
    }
}

const MISSING: &str = "The client selected SCRAM-SHA-256-PLUS, but the SCRAM message does not \
                       include channel binding data.";
const DOWNGRADE: Outcome = (
    "28000",
    "SCRAM channel binding negotiation error",
    "The client supports SCRAM channel binding but thinks the server does not.  However, this \
     server does support channel binding.",
);

const FLAGS: [(&[u8], &[u8], Outcome); 9] = [
    (PLUS, b"p=tls-server-end-point,,n=,r=a", GOES_ON),
    (MECHANISM, b"n,,n=,r=a", GOES_ON),
    (MECHANISM, b"y,,n=,r=a", DOWNGRADE),
    (PLUS, b"n,,n=,r=a", bad(MISSING)),
    (PLUS, b"y,,n=,r=a", bad(MISSING)),
    (PLUS, b"p=,,n=", violation("unsupported SCRAM channel-binding type \"\"")),
    (PLUS, b"p=tls-unique,,", violation("unsupported SCRAM channel-binding type \"tls-unique\"")),
    (
        PLUS,
        b"p=tls-server-end-point",
        bad("Unexpected attribute \"0x00\" in client-first-message."),
    ),
    (PLUS, b"p", bad("Expected character \"=\" for attribute \"p\".")),
];

#[test]
fn channel_binding_flags_are_checked_as_postgresql_does() {
    for (mechanism, message, expected) in FLAGS {
        let case = message.escape_ascii().to_string();
        check(server(true).on_message(&first(mechanism, message)), expected, &case);
    }
    assert_eq!(server(true).mechanisms(), ["SCRAM-SHA-256-PLUS", "SCRAM-SHA-256"]);
    assert_eq!(server(false).mechanisms(), ["SCRAM-SHA-256"]);
}

/// The right final message for `n,,n=,r=client`, with `binding` for `c=` and what `edit` makes of it.
fn last(binding: &[u8], edit: impl Fn(String, String) -> String) -> Vec<u8> {
    let header = scram::encode(binding);
    let without_proof = format!("c={header},r=clientserver");
    let transcript = Transcript {
        client_first_bare: b"n=,r=client",
        server_first: b"r=clientserver,s=MDEyMzQ1Njc4OWFiY2RlZg==,i=2",
        client_final_without_proof: without_proof.as_bytes(),
    };
    let keys = keys();
    let signature = transcript.sign(keys.client_key.stored_key().as_bytes());
    let proof = scram::xor(keys.client_key.as_bytes(), &signature);
    edit(without_proof, scram::encode(&proof)).into_bytes()
}

/// Makes a final message of what comes before the proof, and of the proof.
type Edit = fn(String, String) -> String;

const PROOF: Outcome = bad("Malformed proof in client-final-message.");
const END: Outcome = bad("Attribute expected, but found end of string.");
const BINDING: Outcome =
    violation("unexpected SCRAM channel-binding attribute in client-final-message");
const OTHER_NONCE: Outcome = ("08P01", "invalid SCRAM response", "Nonce does not match.");
const GARBAGE: Outcome = bad("Garbage found at the end of client-final-message.");

const FINAL_MESSAGES: [(&str, Edit, Outcome); 24] = [
    ("good", |w, p| format!("{w},p={p}"), LET_IN),
    ("comma after the proof", |w, p| format!("{w},p={p},"), LET_IN),
    ("unsigned extension", |w, p| format!("{w},x=y,p={p}"), REFUSED),
    ("wrong proof", |w, p| format!("{w},p={}", p.replace(&p[..4], "AAAA")), REFUSED),
    (
        "bad extension",
        |w, p| format!("{w},1=y,p={p}"),
        bad("Attribute expected, but found invalid character \"'1'\"."),
    ),
    ("no proof", |w, _| w, END),
    ("no proof but a comma", |w, _| w + ",", END),
    ("empty proof", |w, _| w + ",p=", PROOF),
    ("short proof", |w, _| w + ",p=AAAA", PROOF),
    ("no base64", |w, _| w + ",p=!!!", PROOF),
    ("31 bytes", |w, _| w + ",p=" + &scram::encode(&[1; 31]), PROOF),
    ("33 bytes", |w, _| w + ",p=" + &scram::encode(&[1; 33]), PROOF),
    ("660 bytes", |w, _| w + ",p=" + &scram::encode(&[1; 660]), PROOF),
    ("garbage", |w, p| format!("{w},p={p},x=y"), GARBAGE),
    ("NUL", |w, p| format!("{w},p={p}\0"), bad("Message length does not match input length.")),
    ("empty", |_, _| String::new(), bad("The message is empty.")),
    ("c alone", |_, _| "c".into(), bad("Expected character \"=\" for attribute \"c\".")),
    ("p alone", |_, p| "p=".to_owned() + &p, bad("Expected attribute \"c\" but found \"'p'\".")),
    ("no nonce", |_, _| "c=biws".into(), bad("Expected attribute \"r\" but found \"0x00\".")),
    ("other binding", |w, p| w.replace("biws", "AAAA") + ",p=" + &p, BINDING),
    ("y for n", |w, p| w.replace("biws", "eSws") + ",p=" + &p, BINDING),
    ("nonce changed", |w, p| w.replace("server", "Server") + ",p=" + &p, OTHER_NONCE),
    ("nonce longer", |w, p| format!("{w}x,p={p}"), OTHER_NONCE),
    ("nonce empty", |w, p| w.replace("clientserver", "") + ",p=" + &p, OTHER_NONCE),
];

#[test]
fn final_message_is_checked_as_postgresql_does() {
    for (case, edit, expected) in FINAL_MESSAGES {
        let mut server = server(false);
        check(server.on_message(&first(MECHANISM, b"n,,n=,r=client")), GOES_ON, case);
        check(server.on_message(&last(b"n,,", edit)), expected, case);
        assert!(matches!(server.on_message(b"again"), Err(Error::Ended)), "{case}");
    }
}

#[test]
fn plus_refuses_the_binding_of_another_certificate() {
    let with = |hash: [u8; 32]| [b"p=tls-server-end-point,,".as_slice(), &hash].concat();
    let failed = ("28000", "SCRAM channel binding check failed", "");
    let table = [(with(HASH), LET_IN), (with([8; 32]), failed), (b"n,,".to_vec(), failed)];
    for (binding, expected) in table {
        let mut server = server(true);
        let message = first(PLUS, b"p=tls-server-end-point,,n=,r=client");
        check(server.on_message(&message), GOES_ON, "first");
        let message = last(&binding, |w, p| format!("{w},p={p}"));
        check(server.on_message(&message), expected, "last");
    }
}

#[test]
fn refusal_beats_a_right_proof() {
    for refusal in [Refusal::Expired, Refusal::NoLogin, Refusal::Unknown] {
        let nonce = Nonce::fixed("server");
        let mut server = ScramServer::new(keys().verifier(), Some(refusal), nonce, None);
        server.on_message(&first(MECHANISM, b"n,,n=,r=client")).ok().unwrap();
        let reply = server.on_message(&last(b"n,,", |w, p| format!("{w},p={p}")));
        assert!(matches!(reply, Ok(Reply::Refused(got)) if got == refusal));
    }
}

#[test]
fn captured_proof_is_worthless_under_another_nonce() {
    let captured = last(b"n,,", |w, p| format!("{w},p={p}"));
    let mut server = ScramServer::new(keys().verifier(), None, Nonce::fixed("other!"), None);
    server.on_message(&first(MECHANISM, b"n,,n=,r=client")).ok().unwrap();
    check(server.on_message(&captured), OTHER_NONCE, "captured");
}
