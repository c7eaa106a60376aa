//! What a statement may do to the session (placeholder until the lexer lands).
/// What a text may do.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Effects(pub u32);
