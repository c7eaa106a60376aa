//! Errors by SQLSTATE: the codes come from peers, so their number is bounded.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use ::metrics::Counter;

use super::labels::{ErrorSource, Label};
use super::{MAX_CODES, OTHER, Registry, names};

type Code = [u8; 5];

/// Errors sent to clients, by SQLSTATE.
#[derive(Debug)]
pub struct ErrorMetrics {
    registry: Registry,
    known: Mutex<HashMap<(Code, ErrorSource), Counter>>,
}

impl ErrorMetrics {
    pub(super) fn new(registry: Registry) -> Self {
        Self { registry, known: Mutex::default() }
    }

    /// Counts an error. What is no SQLSTATE, and codes past the first [`MAX_CODES`], are counted
    /// as `other`.
    pub fn count(&self, source: ErrorSource, code: &[u8]) {
        self.counter(source, sqlstate(code)).increment(1);
    }

    fn counter(&self, source: ErrorSource, code: Option<Code>) -> Counter {
        let Some(code) = code else {
            return self.register(source, OTHER);
        };
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(counter) = known.get(&(code, source)) {
            return counter.clone();
        }
        if known.len() >= MAX_CODES {
            return self.register(source, OTHER);
        }
        let counter = self.register(source, std::str::from_utf8(&code).unwrap_or(OTHER));
        known.insert((code, source), counter.clone());
        counter
    }

    fn register(&self, source: ErrorSource, code: &str) -> Counter {
        let labels = [("code", code), (ErrorSource::NAME, source.text())];
        self.registry.counter(names::ERRORS, &labels)
    }
}

/// Five digits or upper-case letters (`errcodes-appendix.html`).
fn sqlstate(code: &[u8]) -> Option<Code> {
    let code: Code = code.try_into().ok()?;
    code.iter().all(|b| b.is_ascii_digit() || b.is_ascii_uppercase()).then_some(code)
}

#[cfg(test)]
mod tests {
    use super::super::Metrics;
    use super::*;

    #[test]
    fn odd_and_many_codes_are_other() {
        let metrics = Metrics::new();
        for n in 0..MAX_CODES + 2 {
            metrics.errors.count(ErrorSource::Server, format!("4{n:04}").as_bytes());
        }
        for odd in [&b""[..], b"42P0", b"42p01", b"42P011", b"\xff\xff\xff\xff\xff", b"a\"b\nc"] {
            metrics.errors.count(ErrorSource::Server, odd);
        }
        metrics.errors.count(ErrorSource::Server, b"40000");
        let text = metrics.render();
        let lines = text.lines().filter(|l| l.starts_with("pgweir_errors_total")).count();
        assert_eq!(lines, MAX_CODES + 1);
        assert!(text.contains("pgweir_errors_total{code=\"other\",source=\"server\"} 8"));
        assert!(text.contains("pgweir_errors_total{code=\"40000\",source=\"server\"} 2"));
    }
}
