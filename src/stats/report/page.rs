//! A report as one HTML page that needs nothing else: the figures as a table, the numbers behind
//! the plots as JSON, and the script that draws them.
//!
//! What is foreign (tags, the title, the run's facts) reaches the page only through `escaped` and
//! `embedded`.

use std::fmt::Write;

use serde_json::{Value, json};

use super::series::{Column, Report, Series, row_start};
use super::{Distribution, float, human, summary};

/// The page around the data.
const TEMPLATE: &str = include_str!("page.html");

/// Points of a percentile curve for each factor of ten in `1 / (1 - percentile)`.
const POINTS_PER_DECADE: f64 = 24.0;

/// Returns the page. `run` is what is told of the run: an object, or null.
pub fn page(title: &str, report: &Report, run: &Value) -> String {
    let data = json!({
        "title": title,
        "run": run,
        "column_seconds": report.column_width().as_secs_f64(),
        "metrics": report.series().iter().map(metric).collect::<Vec<_>>(),
    });
    // Each mark is replaced in the template only, not in what came in for another.
    let parts = TEMPLATE.split('\u{a7}').map(|part| match part {
        "title" => escaped(title),
        "table" => table(report),
        "data" => embedded(&data),
        part => part.to_owned(),
    });
    parts.collect()
}

/// Returns the numbers behind one tag's plots.
fn metric(series: &Series) -> Value {
    let mut value = summary::metric(series);
    let columns = |of: fn(&Column) -> Value| series.columns.iter().map(of).collect::<Value>();
    value["curve"] = curve(&series.total);
    value["columns"] = json!({
        "covered": columns(|column| json!(column.covered.as_secs_f64())),
        "count": columns(|column| json!(column.count)),
        "sum": columns(|column| json!(column.sum.round())),
        "p50": columns(|column| json!(column.p50)),
        "p99": columns(|column| json!(column.p99)),
        "max": columns(|column| json!(column.max)),
    });
    let used = || series.columns.iter().flat_map(|column| column.rows.keys().copied());
    let rows = used().min().zip(used().max());
    let (first, last) = rows.unwrap_or((0, 0));
    value["rows"] = (first..=last + 1).map(row_start).collect();
    let columns = (0..).zip(&series.columns);
    value["cells"] = columns.flat_map(|(at, column)| cells(at, first, column)).collect();
    value
}

/// Returns the cells of a column: column, row counted from the first, and count.
fn cells(at: u64, first: u16, column: &Column) -> impl Iterator<Item = Value> + '_ {
    column.rows.iter().map(move |(row, count)| json!([at, row - first, count]))
}

/// Returns the points of a percentile curve: `1 / (1 - percentile)` and the value there. The last
/// is the largest value.
fn curve(values: &Distribution) -> Value {
    let count = float(values.count());
    let mut points = Vec::new();
    for at in 0u32.. {
        let distance = 10f64.powf(f64::from(at) / POINTS_PER_DECADE);
        if distance >= count {
            break;
        }
        points.push(json!([distance, values.value_at(1.0 - 1.0 / distance)]));
    }
    if count > 0.0 {
        points.push(json!([count, values.max()]));
    }
    points.into()
}

/// Returns the rows of the table of figures.
fn table(report: &Report) -> String {
    let mut rows = String::new();
    for series in report.series() {
        let figures = series.total.quantiles();
        let tag = if series.tag.is_empty() { "(no tag)" } else { &series.tag };
        write!(rows, "<tr><th scope=\"row\">{}</th><td>{}</td>", escaped(tag), figures.count)
            .expect("a string takes everything");
        for value in [figures.p50, figures.p90, figures.p99, figures.p999, figures.max] {
            let shown =
                if figures.count == 0 { "–".to_owned() } else { human(value, series.unit) };
            write!(rows, "<td>{shown}</td>").expect("a string takes everything");
        }
        rows.push_str("</tr>\n");
    }
    rows
}

/// Escapes text for HTML, in elements and quoted attributes; control characters, which no page may
/// have, are spelled out.
fn escaped(text: &str) -> String {
    let mut safe = String::new();
    for c in text.chars() {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            c if c.is_control() => safe.extend(c.escape_unicode()),
            c => safe.push(c),
        }
    }
    safe
}

/// Returns JSON that no browser takes for markup: neither the end of its element nor a comment can
/// be in it.
fn embedded(value: &Value) -> String {
    value.to_string().replace('<', "\\u003c").replace('\u{a7}', "\\u00a7")
}

#[cfg(test)]
mod tests {
    use super::super::distribution::tests::of;
    use super::*;
    use crate::stats::Unit;
    use crate::time::Duration;

    const SECOND: Duration = Duration::from_secs(1);

    /// What stands between the element's tags, as a browser would read it.
    fn data(page: &str) -> Value {
        let (_, rest) = page.split_once("<script id=\"data\" type=\"application/json\">").unwrap();
        serde_json::from_str(rest.split_once("</script>").unwrap().0).unwrap()
    }

    fn report(tag: &str) -> Report {
        let mut report = Report::default();
        let unit = Unit::Nanoseconds;
        report.add(tag, unit, Duration::ZERO, SECOND, &of(2, &[1_000, 9_000])).unwrap();
        report.add(tag, unit, SECOND * 2, SECOND, &of(2, &[1_000])).unwrap();
        report
    }

    #[test]
    fn the_numbers_are_in_the_page() {
        let page = page("run 1", &report("request_to_block"), &json!({ "bytes": 5 }));
        let data = data(&page);
        assert_eq!(data["run"]["bytes"], 5);
        let metric = &data["metrics"][0];
        assert_eq!(
            (metric["tag"].as_str(), metric["count"].as_u64()),
            (Some("request_to_block"), Some(3))
        );
        assert_eq!(metric["columns"]["count"], json!([2, 0, 1]));
        let cells = metric["cells"].as_array().unwrap();
        assert_eq!(cells.len(), 3);
        assert_eq!((&cells[0], &cells[2]), (&json!([0, 0, 1]), &json!([2, 0, 1])));
        let rows = metric["rows"].as_array().unwrap();
        let last = cells[1][1].as_u64().unwrap();
        let within = rows[usize::try_from(last).unwrap()].as_u64().unwrap();
        assert!(within <= 9_000 && within * 112 / 100 > 9_000, "{within}");
        assert_eq!(rows.len(), usize::try_from(last).unwrap() + 2);
        assert!(page.contains("<th scope=\"row\">request_to_block</th><td>3</td><td>1.00µs</td>"));
    }

    #[test]
    fn a_curve_ends_at_the_largest_value() {
        let values: Vec<u64> = (1..=10_000).collect();
        let values = of(3, &values);
        let curve = curve(&values);
        let points: Vec<(f64, u64)> = serde_json::from_value(curve).unwrap();
        assert!(points.is_sorted_by(|a, b| a.0 < b.0 && a.1 <= b.1));
        let (distance, value) = *points.last().unwrap();
        assert!((distance - 10_000.0).abs() < 1e-9);
        assert_eq!(value, values.max());
        assert_eq!(super::curve(&of(2, &[])), json!([]));
    }

    #[test]
    fn foreign_text_stays_text() {
        let evil = "</script><img src=x onerror=alert(1)>'\"&<!--\u{a7}data\u{a7}\x1b";
        let page = page(evil, &report(evil), &json!({ "name": evil }));
        assert!(!page.contains("<img"), "{page}");
        let parts = |text: &str| page.matches(text).count();
        assert_eq!(parts("<script"), TEMPLATE.matches("<script").count());
        assert_eq!(parts("<!--"), TEMPLATE.matches("<!--").count());
        let data = data(&page);
        assert_eq!(data["metrics"][0]["tag"], evil);
        assert_eq!((&data["title"], &data["run"]["name"]), (&evil.into(), &evil.into()));
    }

    #[test]
    fn the_page_needs_nothing_else() {
        let marks = TEMPLATE.split('\u{a7}').skip(1).step_by(2);
        assert_eq!(marks.collect::<Vec<_>>(), ["title", "title", "table", "data"]);
        for loaded in ["http://", "https://", "src=", "<link", "@import", "url(", "innerHTML"] {
            let found = TEMPLATE.replace("http://www.w3.org/2000/svg", "").contains(loaded);
            assert!(!found, "the template has {loaded}");
        }
    }

    #[test]
    fn an_empty_report_is_a_page_too() {
        let page = page("", &Report::default(), &Value::Null);
        assert_eq!(data(&page)["metrics"], json!([]));
    }
}
