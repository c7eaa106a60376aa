//! The first packets of a connection.

use super::support::*;

#[test]
fn a_simple_query_is_answered() {
    let seen = both(|target| vec![target.connect().ask(&query("select 1"))]);
    assert_eq!(seen, ["T D(1) C[SELECT 1] Z[I]"]);
}
