//! The report as people read it in a terminal.

use std::fmt;

use super::{Arrivals, ClassReport, ErrorCount, Findings, Latency, Report};
use crate::storm::observer::Observed;

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.interrupted {
            writeln!(f, "INTERRUPTED   after {:.1} s\n", self.total.seconds)?;
        }
        write!(f, "{}", self.total)?;
        if let Some(observed) = &self.observed {
            write!(f, "\n\n{observed}")?;
        }
        if self.classes.len() > 1 {
            write!(f, "\n\n")?;
            classes(f, &self.classes)?;
        }
        if let Some((functions, classes)) = self.fairness.zip(self.fairness_between_classes) {
            write!(
                f,
                "\n\nfairness      {functions:.3} between functions, {classes:.3} between classes"
            )?;
        }
        Ok(())
    }
}

impl fmt::Display for Findings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "arrivals      {}", self.arrivals)?;
        writeln!(f, "connects      {}", self.connects)?;
        writeln!(f, "transactions  {}", self.transactions)?;
        writeln!(f, "goodput       {:.1} per second, for {:.1} s", self.goodput, self.seconds)?;
        self.unusual(f)?;
        match self.error_count() {
            0 => writeln!(f, "errors        none")?,
            count => writeln!(f, "errors        {count}")?,
        }
        for (class, ErrorCount { count, example, texts }) in &self.errors {
            writeln!(f, "  {class:<10}  {count:>7}  first: {example}")?;
            for (text, count) in texts.iter().filter(|_| texts.len() > 1) {
                writeln!(f, "              {count:>7}  {text}")?;
            }
        }
        let [p50, p95, p99, p99_9, max] = ["p50", "p95", "p99", "p99.9", "max"];
        writeln!(f, "\nmilliseconds  {p50:>9} {p95:>9} {p99:>9} {p99_9:>9} {max:>9}")?;
        writeln!(f, "connect       {}", self.connect)?;
        writeln!(f, "wait          {}", self.wait)?;
        writeln!(f, "first query   {}", self.first_query)?;
        write!(f, "transaction   {}", self.transaction)
    }
}

impl Findings {
    /// What only some profiles have.
    fn unusual(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.idle.planned > 0 {
            let idle = self.idle;
            write!(f, "idle          {} of {} logged in", idle.connected, idle.planned)?;
            writeln!(f, "; {} answered in the end", idle.answered)?;
        }
        if self.frozen > 0 {
            writeln!(f, "frozen        {}; {} went on", self.frozen, self.thawed)?;
        }
        if self.abandoned > 0 {
            writeln!(f, "abandoned     {}", self.abandoned)?;
        }
        Ok(())
    }
}

impl fmt::Display for Arrivals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { planned, achieved, missed, followers, achieved_per_second, late, .. } = self;
        write!(f, "{achieved} of {planned} planned, {achieved_per_second:.1} per second")?;
        if let Some(rate) = self.planned_per_second {
            write!(f, " of {rate:.1} planned")?;
        }
        write!(f, ", {:.1} in the busiest", self.peak_per_second)?;
        if *followers > 0 {
            write!(f, "; {followers} more in place of who left")?;
        }
        if *missed > 0 {
            write!(f, "; {missed} missed at the bound of concurrency")?;
        }
        write!(f, "; p99 {:.1} ms late", late.p99_ms)
    }
}

impl fmt::Display for Observed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "servers       {} at most", self.most)?;
        match (self.limit, self.exceeded_by) {
            (Some(limit), 0) if self.most == 0 => {
                write!(f, ", limit {limit}: NONE SEEN, perhaps by other names (--observe-all)")?;
            }
            (Some(limit), 0) if self.failed_looks > 0 => {
                write!(f, ", limit {limit}, not seen passed")?;
            }
            (Some(limit), 0) => write!(f, ", limit {limit}, never passed")?,
            (Some(limit), by) => {
                write!(f, ", limit {limit} PASSED by {by}, for {:.2} s", self.seconds_over)?;
                write!(f, " in {} looks", self.looks_over)?;
            }
            (None, _) => {}
        }
        write!(f, "\n              {} looks, one every {:.1} ms", self.looks, self.interval_ms)?;
        write!(f, ", {:.1} ms apart at most", self.longest_gap_ms)?;
        match self.failed_looks {
            0 => Ok(()),
            failed => write!(f, "; {failed} failed"),
        }
    }
}

impl fmt::Display for Latency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.count == 0 {
            return write!(f, "{0:>9} {0:>9} {0:>9} {0:>9} {0:>9}", "-");
        }
        let Self { p50_ms, p95_ms, p99_ms, p99_9_ms, max_ms, .. } = self;
        write!(f, "{p50_ms:>9.2} {p95_ms:>9.2} {p99_ms:>9.2} {p99_9_ms:>9.2} {max_ms:>9.2}")
    }
}

fn classes(f: &mut fmt::Formatter<'_>, classes: &[ClassReport]) -> fmt::Result {
    let heads = ["came", "errors", "committed", "a second", "a function"];
    write!(f, "{:<20}", "class")?;
    for head in heads {
        write!(f, " {head:>10}")?;
    }
    for ClassReport { name, goodput_per_function, found, .. } in classes {
        let came = found.arrivals.achieved + found.arrivals.followers;
        write!(f, "\n{name:<20} {came:>10} {:>10}", found.error_count())?;
        write!(f, " {:>10} {:>10.1}", found.transactions, found.goodput)?;
        write!(f, " {goodput_per_function:>10.3}")?;
    }
    let [p50, p95, p99, p99_9, max] = ["p50", "p95", "p99", "p99.9", "max"];
    write!(f, "\n\n{:<20} {p50:>10}", "milliseconds")?;
    write!(f, " {p95:>9} {p99:>9} {p99_9:>9} {max:>9}")?;
    for ClassReport { name, found, .. } in classes {
        write!(f, "\n{name:<20}")?;
        write!(f, "\n  connect            {:>10}", found.connect)?;
        write!(f, "\n  wait               {:>10}", found.wait)?;
        write!(f, "\n  transaction        {:>10}", found.transaction)?;
    }
    Ok(())
}
