//! However the bytes of a stream arrive, the messages are the same.

use proptest::prelude::*;

use super::pair::Pair;
use super::script;

const SENDS: &str = "P(s,select 1) B(s) D(s) E S P(,select 2) B() E S Q(select 3) C(s) S";
const REACHES: &str = "P(__pgweir_0,select 1) B(__pgweir_0) D(__pgweir_0) E S \
    P(,select 2) B E S Q(select 3) S";
const ANSWERS: &str = "1 2 t T D(1) C(SELECT 1) Z(I) 1 2 N D(2) C(SELECT 1) Z(I) \
    T D(3) C(SELECT 1) S(TimeZone=Tokyo) Z(I) Z(I)";
const GETS: &str = "1 2 t T D(1) C(SELECT 1) Z(I) 1 2 N D(2) C(SELECT 1) Z(I) \
    T D(3) C(SELECT 1) S(TimeZone=Tokyo) Z(I) 3 Z(I)";

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_split_of_the_streams_gives_the_same(
        client in prop::collection::vec(1..40_usize, 1..40),
        server in prop::collection::vec(1..40_usize, 1..40),
    ) {
        let mut p = Pair::attached();
        feed(&script::frontend(SENDS), &client, |piece| {
            p.clients[0].input.extend_from_slice(piece);
            p.pump_client(0);
        });
        p.server_got(0, REACHES);
        feed(&script::backend(ANSWERS), &server, |piece| {
            p.servers[0].sent.extend_from_slice(piece);
            p.pump_server(0).unwrap();
        });
        p.client_got(0, GETS);
    }

    #[test]
    fn no_body_makes_the_session_panic(
        tag in prop::sample::select(b"PBDECSHQFdcf".to_vec()),
        body in prop::collection::vec(prop::sample::select(b"\0\0SPs1\xff'$".to_vec()), 0..24),
        answer in prop::sample::select(b"123tTnDCIsENSZGHdcV".to_vec()),
        reply in prop::collection::vec(prop::sample::select(b"\0\0IMCR1\xff".to_vec()), 0..24),
    ) {
        let mut p = Pair::attached();
        p.send(0, "P(s,select 1)");
        for (buf, tag, body) in [
            (&mut p.clients[0].input, tag, &body),
            (&mut p.servers[0].sent, answer, &reply),
        ] {
            buf.extend_from_slice(&[tag]);
            buf.extend_from_slice(&(4 + body.len() as u32).to_be_bytes());
            buf.extend_from_slice(body);
        }
        p.pump_client(0);
        let _ = p.pump_server(0);
        p.pump_client(0);
    }
}

fn feed(mut bytes: &[u8], sizes: &[usize], mut take: impl FnMut(&[u8])) {
    for size in sizes.iter().cycle() {
        let (piece, rest) = bytes.split_at((*size).min(bytes.len()));
        take(piece);
        bytes = rest;
        if bytes.is_empty() {
            return;
        }
    }
}
