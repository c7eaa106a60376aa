//! The integration tests: one binary, one module per topic.

mod compose;
mod tidy;
