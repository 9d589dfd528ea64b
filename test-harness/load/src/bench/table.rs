//! The table that a person reads.

use std::fmt::Write;
use std::time::Duration;

use crate::column::Column;
use crate::growth;
use crate::measure::{Measured, Numbers};
use crate::report::{Compared, Report, cpus};
use crate::row::{Row, Series};
use crate::streams::Streams;

const NAME_WIDTH: usize = 12;
const WIDTH: usize = 11;

/// The report as text.
pub(crate) fn of(report: &Report<'_>) -> String {
    let mut out = String::new();
    let number = |value: Option<f64>| value.map_or("?".into(), |value| format!("{value:.1}"));
    let _ = writeln!(
        out,
        "Envoy {}, one worker if no row says otherwise; {} CPUs, load {} before and {} after; medians of {} rounds in turn with each of {} processes",
        report.setup.version,
        cpus().map_or("?".into(), |cpus| cpus.to_string()),
        number(report.load[0]),
        number(report.load[1]),
        report.plan.rounds_per_process,
        report.plan.processes,
    );
    let side = report.plan.side;
    let _ =
        writeln!(out, "large tensor: FP32 1x3x{side}x{side}; CPU is that of the Envoy process, per request");
    if report.plan.quick {
        let _ = writeln!(out, "a smoke run: these numbers mean nothing");
    }
    for row in report.rows.iter().filter(|row| !row.row.grows()) {
        block(&mut out, row);
    }
    for series in Series::ALL {
        growth::of(&mut out, series, &report.rows);
    }
    out
}

fn block(out: &mut String, measured: &Measured) {
    let sizes = measured.numbers(Column::Passthrough);
    let sizes = sizes
        .map_or(String::new(), |n| format!(" ({} in, {} out)", size(n.request_bytes), size(n.answer_bytes)));
    let _ = writeln!(out, "\n{}{sizes}", measured.row.title());
    let heads = match measured.row.exchange() {
        Row::Streams(_) => {
            ["ms", "over grpc", "goal", "CPU us", "of stock's", "memory MiB", "KiB each", "goal"]
        }
        Row::Claims(_) => [
            "requests/s",
            "of stock's",
            "CPU us",
            "of stock's",
            "goal",
            "over pass",
            "of stock's",
            "peak+ MiB",
        ],
        row if row.is_at_once() => {
            ["requests/s", "of stock's", "goal", "CPU us", "over pass", "of stock's", "goal", "peak+ MiB"]
        }
        _ => ["latency ms", "CPU ms", "over pass", "of stock's", "goal", "peak+ MiB", "4 at once", "goal"],
    };
    line(out, "", &heads.map(str::to_owned));
    for (column, numbers) in &measured.columns {
        match numbers {
            Ok(numbers) => {
                let compared = measured.compared(*column, numbers);
                let row = measured.row;
                let cells = match row.exchange() {
                    Row::Streams(what) => streams(what, *column, numbers, compared),
                    Row::Claims(_) => whole(row, *column, numbers, compared),
                    exchange if exchange.is_at_once() => at_once(row, *column, numbers, compared),
                    _ => large(row, *column, numbers, compared),
                };
                line(out, column.name(), &cells);
            }
            Err(why) => {
                let _ = writeln!(out, "  {:NAME_WIDTH$} cannot: {why}", column.name());
            }
        }
    }
    if let Some(note) = measured.row.note() {
        let _ = writeln!(out, "  {note}");
    }
}

fn large(row: Row, column: Column, numbers: &Numbers, compared: Compared) -> [String; 8] {
    let ours = |value: Option<f64>| value.filter(|_| column != Column::Passthrough);
    [
        ms(compared.latency),
        ms(compared.cpu),
        cell(ours(compared.extra_cpu.map(|seconds| seconds * 1e3)), 1),
        cell(ours(compared.extra_to_stock), 3),
        goal(row.goal_of_cpu(column).filter(|_| compared.extra_to_stock.is_some()), "<=", compared.reached),
        mib(numbers.peak_of_one),
        mib(numbers.peak_of_four),
        verdict(compared.memory_reached),
    ]
}

fn at_once(row: Row, column: Column, numbers: &Numbers, compared: Compared) -> [String; 8] {
    let ours = |value: Option<f64>| value.filter(|_| column != Column::Passthrough);
    [
        cell(compared.per_second, 0),
        cell(compared.rate_to_stock, 2),
        goal(row.goal_of_rate(column), ">=", compared.reached),
        cell(Some(compared.cpu.as_secs_f64() * 1e6), 1),
        cell(ours(compared.extra_cpu.map(|seconds| seconds * 1e6)), 1),
        cell(ours(compared.extra_to_stock), 2),
        goal(row.goal_of_cpu(column), "<=", compared.reached),
        mib(numbers.peak_of_four),
    ]
}

/// Time and CPU are those of a stream, or of an event of a long one. Memory is what all streams take, or what a long one has
/// left behind.
fn streams(what: Streams, column: Column, numbers: &Numbers, compared: Compared) -> [String; 8] {
    let row = Row::Streams(what);
    let bytes = match what {
        Streams::First => None,
        Streams::AtOnce(_) => Some(numbers.peak_of_one),
        Streams::Long(_) => compared.growth,
    };
    let each = match what {
        Streams::AtOnce(streams) => bytes.map(|bytes| bytes as f64 / f64::from(streams) / 1024.0),
        _ => None,
    };
    let over_grpc = compared.over_grpc.filter(|_| column != Column::Grpc);
    let time = (!numbers.latency.is_empty()).then_some(compared.latency.as_secs_f64() * 1e3);
    let goal_of_memory = match row.goal_of_growth(column) {
        Some(goal) => self::goal(Some(goal as f64 / f64::from(1 << 20)), "<=", compared.reached),
        None => verdict(compared.memory_reached),
    };
    [
        cell(time, 3),
        cell(over_grpc.map(|seconds| seconds * 1e3), 3),
        goal(row.goal_over_grpc(column).map(|seconds| seconds * 1e3), "<=", compared.reached),
        cell(Some(compared.cpu.as_secs_f64() * 1e6), 1),
        cell(compared.cpu_to_stock, 2),
        bytes.map_or("-".into(), mib),
        cell(each, 1),
        goal_of_memory,
    ]
}

/// With CPU goals that count what passing on costs, too.
fn whole(row: Row, column: Column, numbers: &Numbers, compared: Compared) -> [String; 8] {
    let ours = |value: Option<f64>| value.filter(|_| column != Column::Passthrough);
    [
        cell(compared.per_second, 0),
        cell(compared.rate_to_stock, 2),
        cell(Some(compared.cpu.as_secs_f64() * 1e6), 1),
        cell(compared.cpu_to_stock, 2),
        goal(row.goal_of_whole_cpu(column), "<=", compared.reached),
        cell(ours(compared.extra_cpu.map(|seconds| seconds * 1e6)), 1),
        cell(ours(compared.extra_to_stock), 2),
        mib(numbers.peak_of_four),
    ]
}

pub(crate) fn line(out: &mut String, name: &str, cells: &[String]) {
    let _ = write!(out, "  {name:NAME_WIDTH$}");
    for cell in cells {
        let _ = write!(out, " {cell:>WIDTH$}");
    }
    out.push('\n');
}

pub(crate) fn cell(value: Option<f64>, digits: usize) -> String {
    value.map_or("-".into(), |value| format!("{value:.digits$}"))
}

fn goal(goal: Option<f64>, relation: &str, reached: Option<bool>) -> String {
    let Some(goal) = goal else { return "-".into() };
    let digits = if goal < 1.0 { 3 } else { 2 };
    format!("{relation}{goal:.digits$} {}", verdict(reached))
}

pub(crate) fn verdict(reached: Option<bool>) -> String {
    reached.map_or("-", |reached| if reached { "ok" } else { "no" }).into()
}

fn ms(duration: Duration) -> String {
    format!("{:.2}", duration.as_secs_f64() * 1e3)
}

fn mib(bytes: u64) -> String {
    format!("{:.1}", bytes as f64 / f64::from(1 << 20))
}

pub(crate) fn size(bytes: usize) -> String {
    if bytes < 10_000 { format!("{bytes} B") } else { format!("{:.2} MB", bytes as f64 / 1e6) }
}
