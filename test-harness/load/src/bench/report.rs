//! What a run found, and its JSON, whose schema is in `README.md`.

use std::fs;
use std::time::Duration;

use serde_json::{Value, json};

use crate::bootstrap::Setup;
use crate::column::Column;
use crate::measure::{Measured, Numbers};
use crate::plan::Plan;
use crate::row::Row;
use crate::streams::Streams;

/// The JSON's version: it changes when a key changes its meaning or goes away.
const SCHEMA: u32 = 1;

/// Differences of resident memory that say nothing, in bytes.
pub(crate) const MEMORY_NOISE: u64 = 1 << 20;

/// A whole run.
pub(crate) struct Report<'a> {
    pub(crate) plan: &'a Plan,
    pub(crate) setup: &'a Setup,
    /// The machine's load average over a minute, before and after.
    pub(crate) load: [Option<f64>; 2],
    pub(crate) rows: Vec<Measured>,
}

/// What a column's numbers come to beside the others'.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Compared {
    /// Median CPU time per request.
    pub(crate) cpu: Duration,
    /// Median latency.
    pub(crate) latency: Duration,
    /// Median requests per second.
    pub(crate) per_second: Option<f64>,
    /// CPU time per request over that of passthrough, in seconds; less than none if it is cheaper.
    pub(crate) extra_cpu: Option<f64>,
    /// `extra_cpu` for each megabyte of JSON, in the rows that grow.
    pub(crate) extra_per_megabyte: Option<f64>,
    /// `extra_cpu` in parts of stock's.
    pub(crate) extra_to_stock: Option<f64>,
    /// CPU time per request, that of passing on included, in parts of stock's.
    pub(crate) cpu_to_stock: Option<f64>,
    /// Requests per second in parts of stock's.
    pub(crate) rate_to_stock: Option<f64>,
    /// Median latency over that of gRPC, in seconds; only for the first event of a stream.
    pub(crate) over_grpc: Option<f64>,
    /// The median of what a long stream left behind, in bytes.
    pub(crate) growth: Option<u64>,
    /// Whether the column's goal is reached. Nothing if it has none in this row.
    pub(crate) reached: Option<bool>,
    /// Whether the column needs no more memory than stock; `None` where that is not one of its goals.
    pub(crate) memory_reached: Option<bool>,
}

impl Report<'_> {
    /// As `README.md` describes it.
    pub(crate) fn json(&self) -> Value {
        json!({
            "schema": SCHEMA,
            "quick": self.plan.quick,
            "envoy": self.setup.version,
            "cpus": cpus(),
            "load_before": self.load[0],
            "load_after": self.load[1],
            "processes": self.plan.processes,
            "rounds": self.plan.rounds_per_process,
            "side": self.plan.side,
            "rows": self.rows.iter().map(row).collect::<Vec<_>>(),
        })
    }
}

impl Measured {
    /// The numbers of a column, if it can serve this row.
    pub(crate) fn numbers(&self, column: Column) -> Option<&Numbers> {
        self.columns.iter().find(|(c, _)| *c == column).and_then(|(_, numbers)| numbers.as_ref().ok())
    }

    /// A column's numbers beside passthrough's and stock's.
    pub(crate) fn compared(&self, column: Column, numbers: &Numbers) -> Compared {
        let extra_of = |numbers: &Numbers| {
            let passthrough = self.numbers(Column::Passthrough)?;
            Some(median(&numbers.cpu).as_secs_f64() - median(&passthrough.cpu).as_secs_f64())
        };
        let rate_of = |numbers: &Numbers| {
            (!numbers.per_second.is_empty()).then(|| middle(numbers.per_second.clone(), f64::total_cmp))
        };
        let (extra_cpu, per_second) = (extra_of(numbers), rate_of(numbers));
        let stock = self.numbers(Column::Stock);
        let part = |own: Option<f64>, stock: Option<f64>| Some(own? / stock.filter(|&s| s > 0.0)?);
        let extra_to_stock = part(extra_cpu, stock.and_then(extra_of));
        let whole = |numbers: &Numbers| median(&numbers.cpu).as_secs_f64();
        let cpu_to_stock = part(Some(whole(numbers)), stock.map(whole));
        let rate_to_stock = part(per_second, stock.and_then(rate_of));
        let seconds = |numbers: &Numbers| median(&numbers.latency).as_secs_f64();
        let over_grpc = (self.row == Row::Streams(Streams::First))
            .then(|| self.numbers(Column::Grpc).map(|grpc| seconds(numbers) - seconds(grpc)))
            .flatten();
        let growth = (!numbers.growth.is_empty()).then(|| middle(numbers.growth.clone(), u64::cmp));
        let reached = match self.row.exchange() {
            row @ Row::Streams(Streams::First) => {
                row.goal_over_grpc(column).zip(over_grpc).map(|(goal, over)| over <= goal)
            }
            row @ Row::Streams(_) => {
                row.goal_of_growth(column).zip(growth).map(|(goal, grown)| grown <= goal)
            }
            Row::Tiny => self.row.goal_of_rate(column).zip(rate_to_stock).map(|(goal, rate)| rate >= goal),
            Row::Claims(_) => {
                self.row.goal_of_whole_cpu(column).zip(cpu_to_stock).map(|(goal, cpu)| cpu <= goal)
            }
            _ => self.row.goal_of_cpu(column).zip(extra_to_stock).map(|(goal, extra)| extra <= goal),
        };
        let json_bytes = self.numbers(Column::Passthrough).map(|n| n.request_bytes.max(n.answer_bytes));
        let per_megabyte = |(extra, bytes): (f64, usize)| extra / (bytes as f64 / 1e6);
        let extra_per_megabyte =
            extra_cpu.zip(json_bytes).filter(|_| self.row.grows_in_size()).map(per_megabyte);
        let fits = |own: u64, stock: u64| own <= stock + MEMORY_NOISE;
        let has_memory_goal = !matches!(self.row, Row::Streams(Streams::First | Streams::Long(_)));
        let memory_reached = (has_memory_goal && matches!(column, Column::Wasm | Column::Native))
            .then_some(stock)
            .flatten()
            .map(|stock| {
                fits(numbers.peak_of_one, stock.peak_of_one) && fits(numbers.peak_of_four, stock.peak_of_four)
            });
        Compared {
            cpu: median(&numbers.cpu),
            latency: median(&numbers.latency),
            per_second,
            extra_cpu,
            extra_per_megabyte,
            extra_to_stock,
            cpu_to_stock,
            rate_to_stock,
            over_grpc,
            growth,
            reached,
            memory_reached,
        }
    }
}

fn row(measured: &Measured) -> Value {
    let columns = measured.columns.iter().map(|(column, numbers)| match numbers {
        Ok(numbers) => column_json(measured, *column, numbers),
        Err(why) => json!({ "column": column.name(), "unable": why }),
    });
    json!({
        "row": measured.row.name(),
        "title": measured.row.title(),
        "columns": columns.collect::<Vec<_>>(),
    })
}

fn column_json(measured: &Measured, column: Column, numbers: &Numbers) -> Value {
    let compared = measured.compared(column, numbers);
    let ms = |duration: &Duration| duration.as_secs_f64() * 1e3;
    let goal = match measured.row.exchange() {
        Row::Tiny => measured.row.goal_of_rate(column),
        Row::Claims(_) => measured.row.goal_of_whole_cpu(column),
        row @ Row::Streams(Streams::First) => row.goal_over_grpc(column).map(|seconds| seconds * 1e3),
        row @ Row::Streams(_) => row.goal_of_growth(column).map(|bytes| bytes as f64),
        _ => measured.row.goal_of_cpu(column).filter(|_| compared.extra_to_stock.is_some()),
    };
    json!({
        "column": column.name(),
        "request_bytes": numbers.request_bytes,
        "answer_bytes": numbers.answer_bytes,
        "cpu_ms": ms(&compared.cpu),
        "cpu_ms_of_rounds": numbers.cpu.iter().map(ms).collect::<Vec<_>>(),
        "latency_ms": ms(&compared.latency),
        "requests_per_s": compared.per_second,
        "extra_cpu_ms": compared.extra_cpu.map(|seconds| seconds * 1e3),
        "extra_cpu_ms_per_mb": compared.extra_per_megabyte.map(|seconds| seconds * 1e3),
        "extra_cpu_to_stock": compared.extra_to_stock,
        "cpu_to_stock": compared.cpu_to_stock,
        "requests_per_s_to_stock": compared.rate_to_stock,
        "first_event_over_grpc_ms": compared.over_grpc.map(|seconds| seconds * 1e3),
        "growth_bytes": compared.growth,
        "goal": goal,
        "goal_reached": compared.reached,
        "idle_bytes": numbers.idle_bytes,
        "peak_bytes_1": numbers.peak_of_one,
        "peak_bytes_4": numbers.peak_of_four,
        "memory_goal_reached": compared.memory_reached,
    })
}

/// The middle one; the earlier of two.
pub(crate) fn median(durations: &[Duration]) -> Duration {
    if durations.is_empty() { Duration::ZERO } else { middle(durations.to_vec(), Duration::cmp) }
}

fn middle<T: Copy>(mut values: Vec<T>, order: impl Fn(&T, &T) -> std::cmp::Ordering) -> T {
    values.sort_by(|a, b| order(a, b));
    values[(values.len() - 1) / 2]
}

/// The load average of the last minute.
pub(crate) fn load() -> Option<f64> {
    fs::read_to_string("/proc/loadavg").ok()?.split(' ').next()?.parse().ok()
}

/// How many CPUs this program may use.
pub(crate) fn cpus() -> Option<usize> {
    std::thread::available_parallelism().ok().map(usize::from)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::row::Job;
    use crate::tensor::Digits;

    fn of(cpu_ms: &[u64], per_second: &[f64]) -> Numbers {
        let cpu = cpu_ms.iter().map(|&ms| Duration::from_millis(ms)).collect();
        Numbers { cpu, per_second: per_second.to_vec(), ..Numbers::default() }
    }

    fn measured(row: Row, numbers: [Numbers; 3]) -> Measured {
        let [passthrough, stock, wasm] = numbers;
        let columns = vec![
            (Column::Passthrough, Ok(passthrough)),
            (Column::Stock, Ok(stock)),
            (Column::Wasm, Ok(wasm)),
            (Column::Native, Err("not built")),
        ];
        Measured { row, columns }
    }

    #[test]
    fn cost_is_what_comes_on_top_of_passthrough_by_medians() {
        let numbers = [of(&[10, 900, 4], &[]), of(&[70, 1, 80], &[]), of(&[22, 19, 30], &[])];
        let row = measured(Row::Request(Digits::Nine), numbers);
        let wasm = row.compared(Column::Wasm, row.numbers(Column::Wasm).unwrap());
        assert_eq!(wasm.cpu, Duration::from_millis(22));
        assert!((wasm.extra_cpu.unwrap() - 0.012).abs() < 1e-9);
        assert!((wasm.extra_to_stock.unwrap() - 0.2).abs() < 1e-9);
        assert_eq!(wasm.reached, Some(false));
        let json = super::row(&row);
        assert_eq!(json["columns"][3], json!({ "column": "native", "unable": "not built" }));
        assert_eq!(json["columns"][2]["goal_reached"], false);
        assert_eq!(json["columns"][0]["goal"], Value::Null);
    }

    #[test]
    fn a_row_with_the_exchange_of_another_does_not_have_its_goal() {
        for (row, goal) in [(Row::Subset, true), (Row::Least(Job::Subset), false), (Row::Rules(100), false)] {
            let [passthrough, stock] = [1, 3].map(|ms| of(&[ms], &[100.0]));
            let columns = vec![
                (Column::Passthrough, Ok(passthrough)),
                (Column::Stock, Ok(stock)),
                (Column::Native, Ok(of(&[2], &[100.0]))),
            ];
            let json = super::row(&Measured { row, columns });
            let native = &json["columns"][2];
            assert_eq!(
                (native["goal"].is_number(), native["goal_reached"] == true),
                (goal, goal),
                "{native}"
            );
            assert!((native["extra_cpu_to_stock"].as_f64().unwrap() - 0.5).abs() < 1e-9, "{native}");
        }
    }

    #[test]
    fn memory_may_be_as_high_as_stocks() {
        let peak = |mib: u64| Numbers { peak_of_one: mib << 20, peak_of_four: mib << 20, ..of(&[1], &[]) };
        for (own, reached) in [(20, true), (21, true), (22, false)] {
            let row = measured(Row::BinaryRequest, [peak(0), peak(20), peak(own)]);
            let memory = |column| row.compared(column, row.numbers(column).unwrap()).memory_reached;
            assert_eq!((memory(Column::Wasm), memory(Column::Stock)), (Some(reached), None));
        }
    }

    #[test]
    fn tiny_requests_are_compared_by_their_rate() {
        for (served, rate, reached) in [(120.0, 1.2, true), (110.0, 1.1, false)] {
            let numbers = [of(&[1], &[300.0]), of(&[2], &[100.0, 120.0]), of(&[2], &[served])];
            let row = measured(Row::Tiny, numbers);
            let wasm = row.compared(Column::Wasm, row.numbers(Column::Wasm).unwrap());
            assert!((wasm.rate_to_stock.unwrap() - rate).abs() < 1e-9);
            assert_eq!(wasm.reached, Some(reached));
        }
    }
}
