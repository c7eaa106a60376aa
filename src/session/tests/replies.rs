//! Which replies come, in which order, and when a server may go.

use super::pair::{Pair, Stop};

#[test]
fn pipelined_queries_keep_the_server_until_the_last_answer() {
    let mut p = Pair::attached();
    p.send(0, "Q(select 1) Q(select 2)");
    p.server_got(0, "Q(select 1) Q(select 2)");
    p.answer(0, "T D(1) C(SELECT 1) Z(I)");
    assert!(!p.clients[0].session.may_release());
    p.answer(0, "T D(2) C(SELECT 1) Z(I)");
    p.client_got(0, "T D(1) C(SELECT 1) Z(I) T D(2) C(SELECT 1) Z(I)");
    p.release(0);
}

#[test]
fn syncs_alone_need_no_server() {
    let mut p = Pair::new(1);
    assert_eq!(p.send(0, "S H S"), Stop::More);
    p.client_got(0, "Z(I) Z(I)");
}
