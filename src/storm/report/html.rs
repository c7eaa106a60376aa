//! The report as one page that needs nothing else: no script, no other file, no network.

use super::chart::{Chart, ChartError, Line};
use super::{ClassReport, Findings, Latency, Report};
use crate::storm::StormError;
use crate::storm::observer::{Observed, Servers};
use crate::storm::sample::{Point, Sample};

impl Report {
    /// The page. It is well-formed XML besides.
    pub fn html(&self) -> Result<String, StormError> {
        let mut page = vec![HEAD.to_owned(), element("pre", &escaped(&self.to_string()))];
        for chart in charts(self) {
            page.push(figure(&chart).map_err(StormError::Picture)?);
        }
        page.extend([element("h2", "Classes"), classes(&self.classes)]);
        page.extend([element("h2", "Errors"), errors(&self.total), FOOT.to_owned()]);
        Ok(page.join("\n"))
    }
}

fn figure(chart: &Chart) -> Result<String, ChartError> {
    let (Chart { id, title, .. }, svg) = (chart, chart.svg()?);
    let heading = element("h2", title);
    Ok(format!("{heading}\n<figure id=\"{id}\" aria-label=\"{title}\">\n{svg}</figure>"))
}

fn charts(report: &Report) -> Vec<Chart> {
    let linear = |id, title, unit, lines| Chart { id, title, unit, logarithmic: false, lines };
    let times = |id, title, lines| Chart { id, title, unit: "ms", logarithmic: true, lines };
    let mut charts =
        vec![linear("connections", "Connections of clients", "connections", connections(report))];
    if let Some(observed) = &report.observed {
        let lines = servers(report, observed);
        charts.push(linear("servers", "Connections at PostgreSQL", "connections", lines));
    }
    charts.extend([
        linear("throughput", "Throughput", "per second", throughput(report)),
        times("latency", "Latency of transactions", latencies(report, |sample| sample.transaction)),
        times(
            "waits",
            "Waits for the first answer of a transaction",
            latencies(report, |s| s.wait),
        ),
        linear(
            "waiting",
            "Functions that wait",
            "functions",
            each(report, |_, s| s.waiting as f64),
        ),
        linear("errors", "Errors", "per second", each(report, |p, s| rate(p, s.errors))),
    ]);
    if report.classes.len() > 1 {
        let lines = of_classes(report, |_, sample| p99(sample.transaction));
        charts.push(times("classes", "Latency of transactions by class, p99", lines));
    }
    charts
}

/// At the clients' end.
fn connections(report: &Report) -> Vec<Line> {
    let mut lines = each(report, |_, sample| sample.connected as f64);
    lines.push(line(report, "logging in", |point| Some(point.all.connecting as f64)));
    lines
}

/// At PostgreSQL's end.
fn servers(report: &Report, observed: &Observed) -> Vec<Line> {
    let seen = |name, of: fn(&Servers) -> u64| {
        line(report, name, move |point| Some(of(point.servers.as_ref()?) as f64))
    };
    let mut lines = vec![
        seen("all", |servers| servers.all),
        seen("in a transaction", |servers| servers.active + servers.idle_in_transaction),
        seen("active", |servers| servers.active),
    ];
    if let Some(limit) = observed.limit {
        let limit = line(report, "limit", |_| Some(limit as f64));
        lines.push(Line { limit: true, ..limit });
    }
    lines
}

fn throughput(report: &Report) -> Vec<Line> {
    let mut lines = each(report, |point, sample| rate(point, sample.transaction.count));
    lines.push(line(report, "arrivals", |point| Some(rate(point, point.all.arrived))));
    lines
}

fn latencies(report: &Report, of: impl Fn(&Sample) -> Latency) -> Vec<Line> {
    let quantile = |name, value: fn(Latency) -> f64| {
        line(report, name, |point| {
            let times = of(&point.all);
            (times.count > 0).then(|| value(times))
        })
    };
    vec![
        quantile("p50", |times| times.p50_ms),
        quantile("p95", |times| times.p95_ms),
        quantile("p99", |times| times.p99_ms),
        quantile("p99.9", |times| times.p99_9_ms),
        quantile("max", |times| times.max_ms),
    ]
}

/// Of all together, and of each class if there are several.
fn each(report: &Report, of: impl Fn(&Point, &Sample) -> f64) -> Vec<Line> {
    let mut lines = vec![line(report, "all", |point| Some(of(point, &point.all)))];
    lines.extend(of_classes(report, |point, sample| Some(of(point, sample))));
    lines
}

fn of_classes(report: &Report, of: impl Fn(&Point, &Sample) -> Option<f64>) -> Vec<Line> {
    let several = report.classes.iter().enumerate().filter(|_| report.classes.len() > 1);
    several
        .map(|(number, class)| {
            line(report, &class.name, |point| of(point, point.classes.get(number)?))
        })
        .collect()
}

fn line(report: &Report, name: &str, of: impl Fn(&Point) -> Option<f64>) -> Line {
    let points = report.series.iter().map(|point| (point.at, of(point)));
    Line::new(printable(name), points.collect())
}

fn rate(point: &Point, count: u64) -> f64 {
    if point.span > 0.0 { count as f64 / point.span } else { 0.0 }
}

fn p99(times: Latency) -> Option<f64> {
    (times.count > 0).then_some(times.p99_ms)
}

fn classes(classes: &[ClassReport]) -> String {
    let mut heads: Vec<_> = CLASS_HEADS.map(str::to_owned).into();
    for times in ["wait", "transaction"] {
        heads.extend(["p50", "p95", "p99", "p99.9", "max"].map(|q| format!("{times} {q}, ms")));
    }
    let rows = classes.iter().map(|class| row("td", cells(class)));
    table(row("th", heads), rows.collect())
}

/// What [`classes`] has the heads for.
fn cells(class: &ClassReport) -> Vec<String> {
    let ClassReport { name, profile, functions, goodput_per_function, found, .. } = class;
    let login = class.login.map_or_else(String::new, |login| {
        let tls = match (login.tls, login.resumed) {
            (false, _) => String::new(),
            (true, 0) => " over TLS".to_owned(),
            (true, resumed) => format!(" over TLS, resumed {resumed} times"),
        };
        format!("{}{tls}", login.asked)
    });
    let mut cells = vec![escaped(name), profile.name(), login, functions.to_string()];
    cells.push((found.arrivals.achieved + found.arrivals.followers).to_string());
    cells.extend([found.error_count().to_string(), found.transactions.to_string()]);
    cells.extend([format!("{:.1}", found.goodput), format!("{goodput_per_function:.3}")]);
    for times in [found.wait, found.transaction] {
        let values = [times.p50_ms, times.p95_ms, times.p99_ms, times.p99_9_ms, times.max_ms];
        cells.extend(values.map(|value| format!("{value:.2}")));
    }
    cells
}

fn errors(found: &Findings) -> String {
    if found.errors.is_empty() {
        return element("p", "None.");
    }
    let heads = ["class", "count", "what they said, numbers aside"].map(str::to_owned);
    let rows = found.errors.iter().flat_map(|(class, error)| {
        let texts = error.texts.iter();
        texts.map(|(text, count)| row("td", [escaped(class), count.to_string(), escaped(text)]))
    });
    table(row("th", heads), rows.collect())
}

fn table(head: String, rows: Vec<String>) -> String {
    let rows: Vec<_> = [vec![head], rows].concat();
    element("table", &rows.join("\n"))
}

fn row(name: &str, cells: impl IntoIterator<Item = String>) -> String {
    let cells: Vec<_> = cells.into_iter().map(|cell| element(name, &cell)).collect();
    element("tr", &cells.concat())
}

fn element(name: &str, content: &str) -> String {
    format!("<{name}>{content}</{name}>")
}

/// What a peer said, as text of a page.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in printable(text).chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}

/// Without what no page may hold.
fn printable(text: &str) -> String {
    let is_bad = |c: char| (c.is_control() && c != '\n') || ('\u{fffe}'..='\u{ffff}').contains(&c);
    text.chars().map(|c| if is_bad(c) { '\u{fffd}' } else { c }).collect()
}

const CLASS_HEADS: [&str; 9] = [
    "class",
    "profile",
    "login",
    "functions",
    "came",
    "errors",
    "committed",
    "a second",
    "a function and second",
];

const HEAD: &str = r#"<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8"/>
<meta name="viewport" content="width=device-width"/>
<title>pgweir storm</title>
<style>
body { font-family: sans-serif; margin: 2em auto; max-width: 62em; padding: 0 1em; color: #222; }
pre { background: #f4f4f4; padding: 1em; overflow-x: auto; }
figure { margin: 0; overflow-x: auto; }
svg { max-width: 100%; height: auto; }
table { border-collapse: collapse; display: block; overflow-x: auto; }
td, th { border: 1px solid #ccc; padding: 0.2em 0.6em; text-align: right; }
td:first-child, th:first-child { text-align: left; }
</style>
</head>
<body>
<h1>pgweir storm</h1>"#;

const FOOT: &str = "</body>\n</html>\n";

#[cfg(test)]
mod tests {
    use super::super::tests::a_report_of_everything;

    #[test]
    fn the_page_has_its_pictures_and_asks_for_nothing_else() {
        let page = a_report_of_everything().html().unwrap();
        let pictures =
            "connections servers throughput latency waits waiting errors classes".split(' ');
        for id in pictures {
            assert!(page.contains(&format!("<figure id=\"{id}\"")), "{id}");
        }
        assert_eq!(page.matches("<svg").count(), 8);
        for part in ["<script", "<link", "src=", "href=", "url(", "@import"] {
            assert!(!page.contains(part), "{part}");
        }
    }

    #[test]
    fn what_peers_say_is_text() {
        let page = a_report_of_everything().html().unwrap();
        assert!(!page.contains("<b>") && page.contains("&lt;b&gt;no &amp; &quot;never&quot;"));
        assert!(!page.contains("<first>") && page.contains("&lt;first&gt;"));
        assert!(!page.contains('\u{1}'));
    }
}
