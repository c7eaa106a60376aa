//! The demo (to be written).

pub mod postgres;
