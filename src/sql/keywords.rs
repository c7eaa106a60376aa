//! PostgreSQL's keywords (13 to 18) by what each may name (`sql-keywords-appendix.html`).

use super::names::{self, Names};

/// Whether an unquoted word of this name (folded) can never be a function's name.
pub(crate) fn never_calls(name: &[u8]) -> bool {
    let hash = names::hash(name);
    RESERVED.contains(name, hash) || COLUMN_NAME.contains(name, hash)
}

/// Whether the name of a prepared statement may be this word (folded), unquoted.
pub(crate) fn may_name_statement(name: &[u8]) -> bool {
    let hash = names::hash(name);
    !RESERVED.contains(name, hash) && !FUNCTION_NAME.contains(name, hash)
}

/// Whether the name of an object that is this word must stand in quotes.
pub(crate) fn needs_quotes(name: &[u8]) -> bool {
    let hash = names::hash(name);
    RESERVED.contains(name, hash)
        || COLUMN_NAME.contains(name, hash)
        || FUNCTION_NAME.contains(name, hash)
}

/// Whether this word (folded) is a keyword of any kind.
pub(crate) fn is_keyword(name: &[u8]) -> bool {
    let hash = names::hash(name);
    RESERVED.contains(name, hash)
        || UNRESERVED.contains(name, hash)
        || COLUMN_NAME.contains(name, hash)
        || FUNCTION_NAME.contains(name, hash)
}

static RESERVED: Names<{ names::count(RESERVED_TEXT) }, 256> = Names::new(RESERVED_TEXT);
static COLUMN_NAME: Names<{ names::count(COLUMN_NAME_TEXT) }, 256> = Names::new(COLUMN_NAME_TEXT);
static FUNCTION_NAME: Names<{ names::count(FUNCTION_NAME_TEXT) }, 128> =
    Names::new(FUNCTION_NAME_TEXT);
static UNRESERVED: Names<{ names::count(UNRESERVED_TEXT) }, 1024> = Names::new(UNRESERVED_TEXT);

/// Reserved: neither a column nor a function.
const RESERVED_TEXT: &str = "\
    all analyse analyze and any array as asc asymmetric both case cast check collate column \
    constraint create current_catalog current_date current_role current_time current_timestamp \
    current_user default deferrable desc distinct do else end except false fetch for foreign \
    from grant group having in initially intersect into lateral leading limit localtime \
    localtimestamp not null offset on only or order placing primary references returning select \
    session_user some symmetric table then to trailing true union unique user using variadic \
    when where window with";

/// Reserved as functions only: types, and calls with a grammar of their own.
const COLUMN_NAME_TEXT: &str = "\
    between bigint bit boolean char character coalesce dec decimal exists extract float greatest \
    grouping inout int integer interval least national nchar none normalize nullif numeric out \
    overlay position precision real row setof smallint substring time timestamp treat trim \
    values varchar xmlattributes xmlconcat xmlelement xmlexists xmlforest xmlnamespaces xmlparse \
    xmlpi xmlroot xmlserialize xmltable";

/// Reserved, but may name a function.
const FUNCTION_NAME_TEXT: &str = "\
    authorization binary collation concurrently cross current_schema freeze full ilike inner is \
    isnull join left like natural notnull outer overlaps right similar tablesample verbose";

/// Not reserved.
const UNRESERVED_TEXT: &str = "\
    abort absent absolute access action add admin after aggregate also alter always asensitive \
    assertion assignment at atomic attach attribute backward before begin breadth by cache call \
    called cascade cascaded catalog chain characteristics checkpoint class close cluster columns \
    comment comments commit committed compression conditional configuration conflict connection \
    constraints content continue conversion copy cost csv cube current cursor cycle data \
    database day deallocate declare defaults deferred definer delete delimiter delimiters \
    depends depth detach dictionary disable discard document domain double drop each empty \
    enable encoding encrypted enforced enum error escape event exclude excluding exclusive \
    execute explain expression extension external family filter finalize first following force \
    format forward function functions generated global granted groups handler header hold hour \
    identity if immediate immutable implicit import include including increment indent index \
    indexes inherit inherits inline input insensitive insert instead invoker isolation json \
    json_array json_arrayagg json_exists json_object json_objectagg json_query json_scalar \
    json_serialize json_table json_value keep key keys label language large last leakproof level \
    listen load local location lock locked logged mapping match matched materialized maxvalue \
    merge merge_action method minute minvalue mode month move name names nested new next nfc nfd \
    nfkc nfkd no normalized nothing notify nowait nulls object objects of off oids old omit \
    operator option options ordinality others over overriding owned owner parallel parameter \
    parser partial partition passing password path period plan plans policy preceding prepare \
    prepared preserve prior privileges procedural procedure procedures program publication quote \
    quotes range read reassign recheck recursive ref referencing refresh reindex relative \
    release rename repeatable replace replica reset restart restrict return returns revoke role \
    rollback rollup routine routines rows rule savepoint scalar schema schemas scroll search \
    second security sequence sequences serializable server session set sets share show simple \
    skip snapshot source sql stable standalone start statement statistics stdin stdout storage \
    stored strict string strip subscription support sysid system system_user tables tablespace \
    target temp template temporary text ties transaction transform trigger truncate trusted type \
    types uescape unbounded uncommitted unconditional unencrypted unknown unlisten unlogged \
    until update vacuum valid validate validator value varying version view views virtual \
    volatile whitespace within without work wrapper write xml year yes zone";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keywords_are_sorted_and_found() {
        for text in [RESERVED_TEXT, COLUMN_NAME_TEXT, FUNCTION_NAME_TEXT, UNRESERVED_TEXT] {
            let words: Vec<_> = text.split(' ').collect();
            assert!(words.is_sorted_by(|a, b| a < b));
            assert!(words.iter().all(|word| is_keyword(word.as_bytes())));
        }
    }

    #[test]
    fn each_kind_answers() {
        assert!(never_calls(b"in") && never_calls(b"coalesce") && !never_calls(b"left"));
        assert!(is_keyword(b"zone") && is_keyword(b"left") && !is_keyword(b"zones"));
        assert!(may_name_statement(b"prepare") && !may_name_statement(b"all"));
    }
}
