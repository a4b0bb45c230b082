//! Tables: figures against other ways of counting, and odd ways of writing a table.

use std::fmt::Write as _;

use sha2::{Digest, Sha256};

use super::{Workspace, assert_has, report_of};

/// The figure of a column's table, from the section whose heading ends in `column`.
fn figure_of(report: &str, column: &str, name: &str) -> f64 {
    let (_, section) = report.split_once(&format!(": {column}\n")).unwrap();
    let (_, rest) = section.split_once(&format!("| {name} | ")).unwrap();
    rest.split(' ').next().unwrap().parse().unwrap()
}

#[test]
fn a_small_table_has_exact_figures() {
    let csv = "day,item,price\n2026-01-01,a,1\n2026-01-02,b,2\n2026-01-03,a,3\n2026-01-04,a,4\n";
    let (answer, report) = Workspace::with(&[("data.csv", csv.as_bytes())]).run();
    assert_has(
        &answer,
        &[
            "It looked at 1 file:",
            "`data.csv` (75 bytes): table, 4 rows and 3 columns; `price`: mean 2.5, sum 10, 1 to 4, rising",
        ],
    );
    assert_has(
        &report,
        &[
            "## data.csv",
            "- Rows: 4\n",
            "- Columns: 3\n",
            "- Delimiter: comma\n",
            "- Header: yes",
            "| day | date | 4 | 0 | 2026-01-01 | 2026-01-04 |  |",
            "| item | text | 4 | 0 |  |  |  |",
            "| price | integer | 4 | 0 | 1 | 4 | 2.5 |",
            "| sum | 10 |",
            "| mean | 2.5 |",
            "| standard deviation | 1.290994449 |",
            "| span | 3 days |",
            "Order of the rows: ascending.",
            "Trend: rising, 1 per row, correlation 1; from 1 in the first value to 4 in the last: +3 (+300.0 %).",
            "- a: 3 times (75.0 %)\n- b: 1 time (25.0 %)",
            "| distinct | 2 |",
            "| shortest | 1 character |",
        ],
    );
    assert!(!report.contains("Ragged"));
}

#[test]
fn a_long_table_has_the_figures_of_another_way_of_counting() {
    let mut state = 42_u64;
    let mut values = Vec::new();
    let mut csv = String::from("row,value,id\r\n");
    for row in 0..20_000 {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let value = (state >> 40) as f64 / 1000.0 - row as f64 * 0.25;
        // Every seventh value is missing.
        if row % 7 == 3 {
            write!(csv, "{row},,id-{row}\r\n").unwrap();
        } else {
            values.push((f64::from(row), value));
            write!(csv, "{row},{value},id-{row}\r\n").unwrap();
        }
    }
    let report = report_of("long.csv", csv.as_bytes());

    let count = values.len() as f64;
    let sum: f64 = values.iter().map(|(_, value)| value).sum();
    let (mean_row, mean) = (values.iter().map(|(row, _)| row).sum::<f64>() / count, sum / count);
    let over = |term: &dyn Fn(f64, f64) -> f64| -> f64 {
        values.iter().map(|(row, value)| term(row - mean_row, value - mean)).sum()
    };
    let (rows, squares, joint) =
        (over(&|row, _| row * row), over(&|_, value| value * value), over(&|row, value| row * value));
    let minimum = values.iter().map(|(_, value)| *value).fold(f64::INFINITY, f64::min);
    let maximum = values.iter().map(|(_, value)| *value).fold(f64::NEG_INFINITY, f64::max);

    let close = |name: &str, expected: f64| {
        let found = figure_of(&report, "value", name);
        assert!((found - expected).abs() <= expected.abs() * 1e-8, "{name}: {found}, not {expected}");
    };
    close("values", count);
    close("empty", 20_000.0 - count);
    close("sum", sum);
    close("mean", mean);
    close("standard deviation", (squares / (count - 1.0)).sqrt());
    close("minimum", minimum);
    close("maximum", maximum);
    let (_, trend) = report.split_once(": value\n").unwrap().1.split_once("Trend: ").unwrap();
    let words: Vec<&str> = trend.split([' ', ',', ';']).filter(|word| !word.is_empty()).collect();
    assert_eq!(words[0], if joint / (rows * squares).sqrt() <= -0.3 { "falling" } else { "flat" });
    assert!((words[1].parse::<f64>().unwrap() - joint / rows).abs() < 1e-8 * (joint / rows).abs());
    assert!((words[5].parse::<f64>().unwrap() - joint / (rows * squares).sqrt()).abs() < 1e-8);

    assert_has(&report, &["- Rows: 20000\n", "| sum | 199990000 |", "| distinct | more than 1000 |"]);
}

#[test]
fn odd_tables_are_read_and_said_to_be_odd() {
    let ragged = "\u{feff}a,b,c\r\n1,\"x, \"\"y\"\"\nz\",3\r\n\r\n4,5\r\n6,7,8,9\r\n";
    assert_has(
        &report_of("ragged.csv", ragged.as_bytes()),
        &[
            "- Encoding: UTF-8 with byte order mark",
            "- Rows: 3\n",
            "- Columns: 4\n",
            "- Ragged rows: 2 (1 with fewer than 3 cells, 1 with more)",
            "| a | integer | 3 | 0 | 1 | 6 | 3.666666667 |",
            "| c | integer | 2 | 1 | 3 | 8 | 5.5 |",
            "| (column 4) | integer | 1 | 2 | 9 | 9 | 9 |",
        ],
    );
    assert_has(
        &report_of("german.csv", b"gr\xf6\xdfe;wert\nklein;1,5\ngro\xdf;2,5\n"),
        &[
            "read as Windows-1252",
            "semicolon",
            "| größe | text |",
            "| wert | number | 2 | 0 | 1.5 | 2.5 | 2 |",
            "decimal mark",
        ],
    );
    let utf16: Vec<u8> = "\u{feff}a\tb\n1\tja\n2\tnö\n".encode_utf16().flat_map(u16::to_le_bytes).collect();
    assert_has(
        &report_of("excel.tsv", &utf16),
        &[
            "UTF-16 (little endian)",
            "- Delimiter: tab",
            "- Rows: 2\n",
            "| a | integer | 2 | 0 | 1 | 2 | 1.5 |",
        ],
    );
    assert_has(
        &report_of("bare.csv", b"1,x\n2,y\n"),
        &["- Header: no", "- Rows: 2\n", "| (column 1) | integer |"],
    );
    assert_has(&report_of("head.csv", b"a,b\n"), &["- Rows: 0\n", "- Columns: 2\n", "| a | empty | 0 | 0 |"]);
    assert_has(&report_of("null.csv", b"\n\n"), &["- Rows: 0\n", "- Columns: 0\n"]);
}

#[test]
fn columns_have_the_type_that_all_their_values_have() {
    let csv = "when,ok,zip,gap,part,us,none\n\
        2026-01-02 10:30,true,01067,1,5,1/2/2026,\n\
        2026-01-01 10:30,FALSE,10115,NA,x,3/4/2026,\n\
        2026-01-03 10:30,true,80331,2,7,5/6/2026,\n";
    assert_has(
        &report_of("types.csv", csv.as_bytes()),
        &[
            "| when | date | 3 | 0 | 2026-01-01 10:30 | 2026-01-03 10:30 |  |",
            "not sorted",
            "| ok | boolean | 3 |",
            "- true: 2 times (66.7 %)",
            "| zip | text | 3 |",
            "| gap | integer | 2 | 0 | 1 | 2 | 1.5 |",
            "| marked as missing | 1 |",
            "Trend: too few values.",
            "| part | text | 3 |",
            "| us | date | 3 | 0 | 1/2/2026 | 5/6/2026 |",
            "the day first would fit too",
            "| none | empty | 0 | 3 |",
        ],
    );
    let mostly: String =
        (0..20).map(|row| if row == 7 { "n,error\n".into() } else { format!("n,{row}\n") }).collect();
    assert_has(
        &report_of("mostly.csv", format!("name,value\n{mostly}").as_bytes()),
        &[
            "| value | text, mostly numbers | 20 | 0 | 0 | 19 |",
            "| of the values, numbers | 19 |",
            "| sum | 183 |",
        ],
    );
}

#[test]
fn a_row_without_end_stops_the_table_but_not_the_file() {
    let mut csv = b"a,b\n1,2\n3,\"".to_vec();
    csv.resize(3 * 1024 * 1024, b'x');
    let digest = crate::hex::encode(Sha256::digest(&csv));
    let (answer, report) = Workspace::with(&[("open.csv", &csv), ("text.txt", b"hi")]).run();
    assert_has(
        &report,
        &[
            "**Stopped after 1 row**: a row is longer than 2 MiB",
            "- Size: 3145728 bytes",
            &digest,
            "## text.txt",
        ],
    );
    assert_has(&answer, &["1 row and 2 columns, not read to the end"]);
}

#[test]
fn wide_tables_are_described_in_part() {
    let header: Vec<String> = (0..300).map(|column| format!("c{column}")).collect();
    let report = report_of("wide.csv", format!("{}\n", header.join(",")).as_bytes());
    assert_has(&report, &["- Columns: 300\n", "first 200 columns", "| c199 |"]);
    assert!(!report.contains("c200"));
}

#[test]
fn a_row_longer_than_the_sample_is_not_ragged() {
    let row = vec!["123456789"; 20_000].join(",");
    let report = report_of("long-rows.csv", format!("{row}\n{row}\n{row}\n").as_bytes());
    assert_has(&report, &["- Rows: 3\n", "- Columns: 20000\n"]);
    assert!(!report.contains("Ragged"));
}
