//! `pgweir storm`: the harness from the command line.

use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::path::Path;

use tokio::signal::unix::{SignalKind, signal};

use super::{Plan, Progress, Report, StormError, StormOptions, run_and_tell};

/// Runs the storm and prints its report; an error when the storm met one, so that scripts notice.
pub async fn run(options: StormOptions) -> Result<(), StormError> {
    let (json, quiet, html) = (options.json, options.quiet, options.html.clone());
    let mut plan = options.plan()?;
    make_room(&mut plan)?;
    if let Some(path) = &html {
        // A place that cannot be written to is better known before; what is there stays until then.
        try_open(path).map_err(StormError::Output)?;
    }
    let report = run_and_tell(&plan, |progress| tell(progress, quiet), interrupted()).await?;
    if let Some(path) = html {
        write(&path, &report.html()?).map_err(StormError::Output)?;
    }
    print(&report, json).map_err(StormError::Output)?;
    if report.is_clean() {
        return Ok(());
    }
    if report.interrupted {
        return Err(StormError::Interrupted);
    }
    Err(StormError::Unclean {
        errors: report.error_count(),
        missed: report.total.arrivals.missed,
        exceeded_by: report.exceeded_by(),
    })
}

/// Ctrl-C, or SIGTERM, as `timeout` sends it.
async fn interrupted() {
    let Ok(mut terminated) = signal(SignalKind::terminate()) else {
        // Without it, the signal itself ends the process.
        return std::future::pending().await;
    };
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        _ = terminated.recv() => {}
    }
}

/// As many functions as there are file descriptors for, besides the idle clients.
fn make_room(plan: &mut Plan) -> Result<(), StormError> {
    let room = room(1);
    let idle = plan.idle();
    let left = usize::try_from(idle).ok().and_then(|idle| room.checked_sub(idle));
    let left = left.ok_or(StormError::NoRoom { wanted: idle, room })?;
    let wanted: u64 = plan.classes.iter().map(|class| class.functions).sum();
    if left < plan.concurrency && (left as u64) < wanted {
        eprintln!(
            "warning: the system gives open files for {left} functions at once; raise the limit \
             (ulimit -n, or LimitNOFILE= of a unit) for more"
        );
    }
    plan.concurrency = plan.concurrency.min(left);
    Ok(())
}

fn tell(progress: &Progress, quiet: bool) {
    if !quiet {
        // Who cannot be told is told nothing.
        let _ = writeln!(io::stderr(), "{progress}");
    }
}

fn try_open(path: &Path) -> io::Result<()> {
    let opened = OpenOptions::new().append(true).create(true).open(path);
    opened.map(drop).map_err(|error| named(path, &error))
}

fn write(path: &Path, page: &str) -> io::Result<()> {
    std::fs::write(path, page).map_err(|error| named(path, &error))
}

fn named(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

fn print(report: &Report, json: bool) -> io::Result<()> {
    let mut out = io::stdout().lock();
    if json {
        serde_json::to_writer(&mut out, report)?;
        writeln!(out)?;
    } else {
        writeln!(out, "{report}")?;
    }
    out.flush()
}

/// Functions for which there are file descriptors when each takes so many, after asking the system
/// for as many as it gives.
pub(crate) fn room(each: u64) -> usize {
    let limit = rlimit::increase_nofile_limit(u64::MAX).unwrap_or(FEW_DESCRIPTORS);
    usize::try_from(limit.saturating_sub(OWN_DESCRIPTORS) / each.max(1)).unwrap_or(usize::MAX)
}

/// What systems give where they do not say.
const FEW_DESCRIPTORS: u64 = 256;

/// Those of the runtime, standard streams, certificates and the observer.
const OWN_DESCRIPTORS: u64 = 32;
