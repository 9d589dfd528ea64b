//! The rows of a series side by side: does cost grow faster than what it is for?

use std::fmt::Write;

use crate::claims::{Claims, Signature};
use crate::column::Column;
use crate::measure::{Measured, Numbers};
use crate::report::Compared;
use crate::row::{Row, Series, Together};
use crate::table::{cell, line, size, verdict};

/// The last step of a series may cost so many times as much for each unit as the one before.
const LINEAR: f64 = 1.5;
/// With more workers, requests per second may grow by so much of what stock's do.
const AS_STOCK: f64 = 0.9;

/// A row, and its number in the series.
type Step<'a> = (usize, &'a Measured);

/// Writes the table of a series, if any of its rows was measured.
pub(crate) fn of(out: &mut String, series: Series, rows: &[Measured]) {
    let mut steps: Vec<Step<'_>> =
        rows.iter().filter_map(|row| Some((number(series, row.row)?, row))).collect();
    steps.sort_by_key(|(number, _)| *number);
    if steps.iter().all(|(_, row)| !row.row.grows()) {
        return;
    }
    let [first, second] = figures(series);
    let _ = writeln!(out, "\n{}", title(series));
    let heads = || steps.iter().map(|step| head(series, step));
    line(out, "", &heads().chain(heads()).chain(["goal".to_owned()]).collect::<Vec<_>>());
    for column in Column::ALL {
        let figures = |figure: Figure| {
            let of = |(number, row): &Step<'_>| figure(*number, row, row.numbers(column)?);
            steps.iter().map(of).collect::<Vec<Option<f64>>>()
        };
        let mut cells: Vec<String> = Vec::new();
        for (figure, digits) in [first, second] {
            cells.extend(figures(figure).into_iter().map(|value| cell(value, digits)));
        }
        cells.push(verdict(reached(series, column, &steps)));
        line(out, column.name(), &cells);
    }
}

/// The place of a row in a series; with one worker it is a row of its own.
fn number(series: Series, row: Row) -> Option<usize> {
    match (series, row) {
        (Series::Workers(Together::Tiny), Row::Tiny)
        | (Series::Workers(Together::Remembered), Row::Claims(Claims::Remembered(Signature::Rs256))) => {
            Some(1)
        }
        _ => row.in_series().filter(|(of, _)| *of == series).map(|(_, number)| number),
    }
}

fn title(series: Series) -> &'static str {
    match series {
        Series::Requests => "growing requests: CPU ms over passthrough for each MB of JSON, and peak+ MiB",
        Series::Responses => "growing responses: CPU ms over passthrough for each MB of JSON, and peak+ MiB",
        Series::Idle => {
            "requests that stand still (passthrough: Envoy's buffer filter): KiB for each, and MiB for all"
        }
        Series::Rules => "rules of dynamic-subset: CPU us over passthrough, and ns of it for each rule",
        Series::Descriptors => "rows of a descriptor set: CPU us over passthrough, and ns of it for each row",
        Series::Workers(Together::Tiny) => "workers, tiny: requests/s, and CPU us",
        Series::Workers(Together::Remembered) => "workers, remembered token: requests/s, and CPU us",
    }
}

fn head(series: Series, (number, row): &Step<'_>) -> String {
    match series {
        Series::Requests | Series::Responses => row
            .numbers(Column::Passthrough)
            .map_or(String::new(), |n| size(n.request_bytes.max(n.answer_bytes))),
        _ => number.to_string(),
    }
}

/// What is shown of a step.
type Figure = fn(usize, &Measured, &Numbers) -> Option<f64>;

/// The two figures that a series shows, and with how many digits.
fn figures(series: Series) -> [(Figure, usize); 2] {
    let memory: Figure = |_, _, numbers| Some(numbers.peak_of_one as f64 / f64::from(1 << 20));
    match series {
        Series::Requests | Series::Responses => [(per_unit_of_size, 2), (memory, 1)],
        Series::Idle => [(memory_of_each, 1), (memory, 1)],
        Series::Rules | Series::Descriptors => [(extra, 1), (extra_of_each, 1)],
        Series::Workers(_) => {
            [(rate, 0), (|_, row, numbers| Some(compared(row, numbers).cpu.as_secs_f64() * 1e6), 1)]
        }
    }
}

/// Whether the last step costs a filter of ours no more for each unit than is wanted.
fn reached(series: Series, column: Column, steps: &[Step<'_>]) -> Option<bool> {
    if !matches!(column, Column::Wasm | Column::Native) {
        return None;
    }
    let [.., before, last] = steps else { return None };
    let of = |figure: Figure, (number, row): &Step<'_>, column| figure(*number, row, row.numbers(column)?);
    let cost: Figure = match series {
        Series::Requests | Series::Responses => per_unit_of_size,
        Series::Idle => {
            // The first thousands find memory that starting left free, so that steps do not compare.
            return Some(of(memory_of_each, last, column)? <= of(memory_of_each, last, Column::Stock)?);
        }
        Series::Rules | Series::Descriptors => extra_of_each,
        Series::Workers(_) => {
            let growth = |column| Some(of(rate, last, column)? / of(rate, steps.first()?, column)?);
            return Some(growth(column)? >= AS_STOCK * growth(Column::Stock)?);
        }
    };
    // Where the step before cost less than noise, there is nothing to compare with.
    let before = of(cost, before, column).filter(|cost| *cost > 0.0)?;
    Some(of(cost, last, column)? <= LINEAR * before)
}

fn per_unit_of_size(_: usize, row: &Measured, numbers: &Numbers) -> Option<f64> {
    compared(row, numbers).extra_per_megabyte.map(|seconds| seconds * 1e3)
}

fn memory_of_each(number: usize, _: &Measured, numbers: &Numbers) -> Option<f64> {
    Some(numbers.peak_of_one as f64 / 1024.0 / number.max(1) as f64)
}

fn extra(_: usize, row: &Measured, numbers: &Numbers) -> Option<f64> {
    compared(row, numbers).extra_cpu.map(|seconds| seconds * 1e6)
}

fn extra_of_each(number: usize, row: &Measured, numbers: &Numbers) -> Option<f64> {
    compared(row, numbers).extra_cpu.map(|seconds| seconds * 1e9 / number.max(1) as f64)
}

fn rate(_: usize, row: &Measured, numbers: &Numbers) -> Option<f64> {
    compared(row, numbers).per_second
}

/// A column's numbers beside passthrough's.
fn compared(row: &Measured, numbers: &Numbers) -> Compared {
    // Which column it is matters to goals only, of which none is looked at here.
    row.compared(Column::Passthrough, numbers)
}
