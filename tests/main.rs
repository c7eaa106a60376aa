//! The integration tests: one binary, one module per topic.

mod sql_oracle;
mod sql_speed;
