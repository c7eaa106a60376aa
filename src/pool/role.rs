//! What the servers of a pool are: a primary, a standby, or a standby where a primary was.
//!
//! ```text
//!              writable                     read-only
//!   Unknown ─────────────> Primary <──────────────────> Demoted
//!      │                      ^         writable
//!      └──────> Standby ──────┘
//!    read-only           writable (promoted)
//! ```

/// What the servers of a pool have been so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Role {
    /// None was opened yet.
    #[default]
    Unknown,
    /// They take writes.
    Primary,
    /// They never took any: this pool is for reading.
    Standby,
    /// They took writes before: the name of their host leads to another PostgreSQL by now.
    Demoted,
}

impl Role {
    /// A server was opened.
    pub(super) fn after(self, read_only: bool) -> Self {
        match (self, read_only) {
            (_, false) => Self::Primary,
            (Self::Unknown | Self::Standby, true) => Self::Standby,
            (Self::Primary | Self::Demoted, true) => Self::Demoted,
        }
    }

    /// Whether a server that refuses to write is the wrong one.
    pub(super) fn wants_writes(self) -> bool {
        matches!(self, Self::Primary | Self::Demoted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_standby_is_wrong_only_where_a_primary_was() {
        for (opened, expected, wants_writes) in [
            (&[][..], Role::Unknown, false),
            (&[true, true], Role::Standby, false),
            (&[false], Role::Primary, true),
            (&[false, true, true], Role::Demoted, true),
            (&[false, true, false], Role::Primary, true),
            (&[true, false, true], Role::Demoted, true),
        ] {
            let role =
                opened.iter().fold(Role::default(), |role, read_only| role.after(*read_only));
            assert_eq!((role, role.wants_writes()), (expected, wants_writes), "{opened:?}");
        }
    }
}
