//! Handlings of session state that a test turns off, to see that the oracle notices
//! (docs/transparency.md), or a measurement, to see what it costs. In a release build without the feature
//! `switches` there is nothing to turn off.

/// Whether the handling of this name is turned off: the variable `PGWEIR_TEST_WITHOUT` names it.
#[cfg(any(debug_assertions, feature = "switches"))]
pub fn is_off(handling: &str) -> bool {
    static OFF: std::sync::OnceLock<Option<String>> = std::sync::OnceLock::new();
    let off = OFF.get_or_init(|| std::env::var("PGWEIR_TEST_WITHOUT").ok());
    off.as_deref() == Some(handling)
}

/// None is, in a release build.
#[cfg(not(any(debug_assertions, feature = "switches")))]
#[inline(always)]
pub const fn is_off(_handling: &str) -> bool {
    false
}
