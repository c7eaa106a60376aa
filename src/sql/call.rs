//! Which name before an opening parenthesis may be the call of a function, and what that call may do.
//!
//! A call stands where an expression begins. After a name that is no keyword, after a literal, and in
//! a few places that the grammar fixes, a name with a parenthesis is a list of columns, a type with a
//! length or an index method instead. Everything else is taken for a call.

use super::builtins;
use super::classify::{Options, Statement};
use super::effects::Effects;
use super::keywords;
use super::lexer::{Kind, Token};
use super::names::Folded;
use crate::without;

/// What stands before the token at hand.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place<'a> {
    pub(crate) statement: Statement,
    pub(crate) previous: Token<'a>,
    pub(crate) earlier: Token<'a>,
    /// An expression may begin right after `)`, as in `DISTINCT ON (a) f(b)` or `a OPERATOR(+) f(b)`.
    close_precedes_expression: bool,
}

impl<'a> Place<'a> {
    /// The beginning of a statement.
    pub(crate) const START: Self = Self {
        statement: Statement::Start,
        previous: Token::START,
        earlier: Token::START,
        close_precedes_expression: false,
    };

    #[inline]
    pub(crate) fn advance(&mut self, token: Token<'a>) {
        self.earlier = self.previous;
        self.previous = token;
    }

    /// Notes the clauses after whose `)` an expression begins, at their `(`. The last is of
    /// PostgreSQL 18: `RETURNING WITH (OLD AS o) f(o.a)`.
    pub(crate) fn note_operand(&mut self, name: &Name<'a>) {
        let distinct_on = name.word.is_word(b"on") && name.before.is_word(b"distinct");
        let returning_with = name.word.is_word(b"with") && name.before.is_word(b"returning");
        if distinct_on || returning_with || name.word.is_word(b"operator") {
            self.close_precedes_expression = true;
        }
    }
}

/// A name, perhaps qualified, and the two tokens before it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Name<'a> {
    word: Token<'a>,
    qualifier: Option<Token<'a>>,
    before: Token<'a>,
    earlier: Token<'a>,
}

impl<'a> Name<'a> {
    pub(crate) const NONE: Self =
        Self { word: Token::START, qualifier: None, before: Token::START, earlier: Token::START };

    /// Adds an identifier: after a dot it is one more part of the name before, else a name of its own.
    #[inline]
    pub(crate) fn push(&mut self, token: Token<'a>, place: &Place<'a>) {
        if place.previous.kind == Kind::Dot && place.earlier.is_identifier() {
            self.qualifier = Some(self.word);
            self.word = token;
        } else {
            *self = Self {
                word: token,
                qualifier: None,
                before: place.previous,
                earlier: place.earlier,
            };
        }
    }

    /// What this name may do, standing before an opening parenthesis.
    pub(crate) fn effects(&self, place: &Place<'a>, options: &Options<'_>) -> Effects {
        let Some(folded) = fold(&self.word) else {
            return Effects::FUNCTION;
        };
        let function = folded.as_bytes();
        let keyword = self.word.kind == Kind::Word && self.qualifier.is_none();
        if keyword && keywords::never_calls(function) {
            return Effects::PURE;
        }
        if !self.may_call(place, function) {
            return Effects::PURE;
        }
        let watched = watched(function, options.retire_functions);
        if watched != Effects::PURE {
            return watched;
        }
        if self.is_in_catalog() && builtins::is_harmless(function) {
            return Effects::PURE;
        }
        match options.catalogue.map(|catalogue| catalogue.function(function)) {
            Some(Some(Some(deed))) => deed.effects | options.vouched,
            Some(Some(None)) => options.vouched,
            Some(None) => Effects::FUNCTION | Effects::UNREAD,
            None => Effects::FUNCTION,
        }
    }

    /// Whether the name may mean a function of `pg_catalog`, which is searched before other schemas
    /// (`ddl-schemas.html#DDL-SCHEMAS-CATALOG`).
    fn is_in_catalog(&self) -> bool {
        let Some(qualifier) = self.qualifier else {
            return true;
        };
        fold(&qualifier).is_some_and(|folded| folded.as_bytes() == b"pg_catalog")
    }

    fn may_call(&self, place: &Place<'a>, name: &[u8]) -> bool {
        match self.before.kind {
            Kind::Word => self.may_call_after_word(place, name),
            Kind::Close => place.close_precedes_expression,
            Kind::Start
            | Kind::QuotedIdentifier
            | Kind::Text
            | Kind::EscapeText
            | Kind::DollarText
            | Kind::UnicodeText
            | Kind::Bits
            | Kind::Number
            | Kind::Parameter
            | Kind::CloseBracket
            | Kind::Cast => false,
            Kind::UnicodeIdentifier
            | Kind::Operator
            | Kind::Open
            | Kind::OpenBracket
            | Kind::Comma
            | Kind::Dot
            | Kind::Semicolon
            | Kind::Colon
            | Kind::Other
            | Kind::Unterminated => true,
        }
    }

    fn may_call_after_word(&self, place: &Place<'a>, name: &[u8]) -> bool {
        let before = Folded::new(self.before.text);
        let before = before.as_bytes();
        if !keywords::is_keyword(before) || BEFORE_NAMES.contains(&before) {
            return false;
        }
        match place.statement {
            Statement::CreateIndex if matches!(before, b"on" | b"using" | b"only") => return false,
            Statement::Copy if matches!(name, b"stdin" | b"stdout") => return false,
            Statement::Merge if (before, name) == (b"then", b"insert") => return false,
            _ => {}
        }
        // ON CONFLICT belongs to INSERT; within a plain SELECT it could only be a join and a call.
        if (before, name) == (b"on", b"conflict") {
            return place.statement == Statement::Select;
        }
        !PHRASES.iter().any(|(earlier, first, second)| {
            (*first, *second) == (before, name)
                && (earlier.is_empty() || self.earlier.is_word(earlier))
        })
    }
}

/// The name of an identifier; quoted ones keep their case.
pub(crate) fn fold(token: &Token<'_>) -> Option<Folded> {
    match token.kind {
        Kind::Word => Some(Folded::new(token.text)),
        Kind::QuotedIdentifier => Some(Folded::exact(token.unquoted())),
        _ => None,
    }
}

/// Functions known to change the session, of whatever schema.
pub(crate) fn watched(function: &[u8], retire: &[Box<[u8]>]) -> Effects {
    let known = match function {
        // The latter is of pg_trgm, and sets `pg_trgm.similarity_threshold`.
        b"set_config" | b"set_limit" => Effects::SETTING,
        b"nextval" | b"setval" => Effects::SEQUENCE,
        b"currval" | b"lastval" => Effects::READS_SEQUENCE,
        b"pg_advisory_lock"
        | b"pg_advisory_lock_shared"
        | b"pg_try_advisory_lock"
        | b"pg_try_advisory_lock_shared"
        | b"pg_advisory_unlock"
        | b"pg_advisory_unlock_shared"
        | b"pg_advisory_unlock_all" => Effects::ADVISORY_LOCK,
        b"pg_create_physical_replication_slot"
        | b"pg_create_logical_replication_slot"
        | b"pg_copy_physical_replication_slot"
        | b"pg_copy_logical_replication_slot" => permanent("slots"),
        b"pg_backup_start" | b"pg_start_backup" => permanent("backups"),
        b"pg_replication_origin_session_setup" => permanent("origins"),
        // They run a text that they are given, as `EXECUTE` in code does; the last of tablefunc and xml2.
        b"query_to_xml"
        | b"query_to_xmlschema"
        | b"query_to_xml_and_xmlschema"
        | b"ts_stat"
        | b"ts_rewrite"
        | b"crosstab"
        | b"crosstab2"
        | b"crosstab3"
        | b"crosstab4"
        | b"crosstab_hash"
        | b"connectby"
        | b"xpath_table" => Effects::EXECUTE.union(Effects::DYNAMIC),
        _ if function.starts_with(b"dblink") => permanent("dblink"),
        _ => Effects::PURE,
    };
    if retire.iter().any(|name| **name == *function) {
        return known | Effects::RETIRE_FUNCTION;
    }
    known
}

fn permanent(handling: &str) -> Effects {
    if without::is_off(handling) { Effects::PURE } else { Effects::RETIRE_FUNCTION }
}

/// Keywords that a name follows, not an expression. FUNCTION and its like name one without calling it;
/// AS, INTO, WITH and RECURSIVE name a relation or a type.
const BEFORE_NAMES: [&[u8]; 18] = [
    b"aggregate",
    b"as",
    b"call",
    b"copy",
    b"execute",
    b"exists",
    b"function",
    b"into",
    b"prepare",
    b"procedure",
    b"recursive",
    b"references",
    b"returns",
    b"routine",
    b"table",
    b"type",
    b"view",
    b"with",
];

/// Two keywords before a parenthesis that are no call, and the one before them if it matters.
const PHRASES: [(&[u8], &[u8], &[u8]); 26] = [
    (b"", b"bit", b"varying"),
    (b"", b"char", b"varying"),
    (b"", b"character", b"varying"),
    (b"", b"cross", b"join"),
    (b"", b"fetch", b"first"),
    (b"", b"fetch", b"next"),
    (b"", b"foreign", b"key"),
    (b"", b"full", b"join"),
    (b"", b"group", b"by"),
    (b"", b"grouping", b"sets"),
    (b"", b"inner", b"join"),
    (b"", b"left", b"join"),
    (b"", b"natural", b"join"),
    (b"", b"nchar", b"varying"),
    (b"", b"not", b"ilike"),
    (b"", b"not", b"like"),
    (b"", b"order", b"by"),
    (b"", b"outer", b"join"),
    (b"", b"partition", b"by"),
    (b"", b"primary", b"key"),
    (b"", b"right", b"join"),
    (b"", b"time", b"zone"),
    (b"", b"update", b"set"),
    (b"as", b"not", b"materialized"),
    (b"group", b"by", b"cube"),
    (b"group", b"by", b"rollup"),
];
