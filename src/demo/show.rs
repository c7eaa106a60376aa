//! What a demonstration shows, and whether it went as it should.

use std::fmt;

use super::DemoError;
use super::observer::{EVERY, Seen};
use super::stage::QUERY;
use crate::storm::Report;

/// What a demonstration shows.
#[derive(Debug)]
pub(super) struct Show {
    pub(super) report: Report,
    pub(super) servers: Seen,
    /// Connections that PostgreSQL has for pgweir.
    pub(super) limit: usize,
    /// Connections that PostgreSQL refused because it had too many, by its own log. Looking now and
    /// then could miss a connection too many; PostgreSQL does not.
    pub(super) refused: usize,
}

impl Show {
    /// No error, and the limit held.
    pub(super) fn verdict(&self) -> Result<(), DemoError> {
        let Self { report, servers, limit, refused } = self;
        let missed = report.total.arrivals.missed;
        let problems = [
            (report.error_count() > 0, format!("{} errors", report.error_count())),
            (missed > 0, format!("{missed} functions missed")),
            (servers.looks == 0, "nobody looked at PostgreSQL".to_owned()),
            (servers.most > *limit, format!("{} connections, not {limit}", servers.most)),
            (*refused > 0, format!("PostgreSQL refused {refused} connections")),
        ];
        let problems: Vec<_> =
            problems.into_iter().filter(|(is, _)| *is).map(|(_, problem)| problem).collect();
        if problems.is_empty() { Ok(()) } else { Err(DemoError::Failed(problems)) }
    }
}

impl fmt::Display for Show {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { report, servers: Seen { most, looks }, limit, refused } = self;
        writeln!(f, "Each function: connect, BEGIN; {QUERY}; COMMIT, leave.\n")?;
        writeln!(f, "{report}\n")?;
        writeln!(f, "servers       {most} at most, limit {limit}; PostgreSQL refused {refused}")?;
        writeln!(f, "              seen in {looks} looks, one every {} ms", EVERY.as_millis())?;
        write!(
            f,
            "              max_connections leaves {limit} to pgweir and 1 to the one who looks"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storm::ErrorCount;

    fn show() -> Show {
        let report = Report::default();
        Show { report, servers: Seen { most: 10, looks: 50 }, limit: 10, refused: 0 }
    }

    fn problem(change: impl FnOnce(&mut Show)) -> String {
        let mut show = show();
        change(&mut show);
        show.verdict().map_or_else(|error| error.to_string(), |()| "none".to_owned())
    }

    #[test]
    fn a_burst_is_good_only_without_errors_and_within_the_limit() {
        let error = ErrorCount {
            count: 4,
            example: String::new(),
            texts: std::collections::BTreeMap::new(),
        };
        assert_eq!(problem(|_| {}), "none");
        assert_eq!(problem(|s| s.servers.most = 11), "11 connections, not 10");
        assert_eq!(problem(|s| s.refused = 1), "PostgreSQL refused 1 connections");
        assert_eq!(problem(|s| s.servers.looks = 0), "nobody looked at PostgreSQL");
        assert_eq!(problem(|s| s.report.total.arrivals.missed = 2), "2 functions missed");
        let failed = |s: &mut Show| drop(s.report.total.errors.insert("53300".to_owned(), error));
        assert_eq!(problem(failed), "4 errors");
    }
}
