//! The demonstration as a newcomer runs it, checked against totals that are computed from the invoices alone.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use anabranch::{Config, Node, Scan};
use flate2::read::GzDecoder;
use serde_json::Value;

/// Pieces by cart and item.
type Totals = BTreeMap<String, BTreeMap<String, i64>>;

fn demo(args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_anabranch"));
    command.arg("demo").args(args).output().unwrap()
}

fn last_line(output: &Output) -> Value {
    let text = String::from_utf8_lossy(&output.stdout);
    let line = text
        .lines()
        .last()
        .unwrap_or_else(|| panic!("no output: {output:?}"));
    serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))
}

/// Straight from the text, by a way of its own: fields split by hand, quotes honoured.
fn totals(csv: &str) -> (Totals, usize) {
    let mut totals = Totals::new();
    let mut rows = 0;
    for line in csv.lines().skip(1) {
        let mut fields = vec![String::new()];
        let mut quoted = false;
        for c in line.chars() {
            match c {
                '"' => quoted = !quoted,
                ',' if !quoted => fields.push(String::new()),
                c => fields.last_mut().unwrap().push(c),
            }
        }
        let [invoice, item, _, pieces, _, _, customer, _] = &fields[..] else {
            continue;
        };
        let Ok(pieces) = pieces.parse::<i64>() else {
            continue;
        };
        let cart = if customer.is_empty() {
            format!("guest-{invoice}")
        } else {
            customer.clone()
        };
        *totals
            .entry(cart)
            .or_default()
            .entry(item.clone())
            .or_default() += pieces;
        rows += 1;
    }
    (totals, rows)
}

/// What a datacenter's directory holds, opened as a node of its own.
async fn carts_in(dir: &Path) -> Totals {
    let node = Node::open(Config::new(dir)).await.unwrap();
    let mut totals = Totals::new();
    let mut scan = Scan {
        limit: 1_000,
        values: true,
        ..Scan::default()
    };
    loop {
        let page = node.scan("carts", scan.clone()).await.unwrap();
        for listed in page.documents {
            let value = listed.snapshot.unwrap().value;
            let items = value["items"].as_object().unwrap();
            let items = items
                .iter()
                .map(|(item, line)| (item.clone(), line["qty"].as_i64().unwrap()));
            totals.insert(listed.key.to_string(), items.collect());
        }
        match page.next {
            Some(next) => scan.after = Some(next.to_string()),
            None => break,
        }
    }
    node.shutdown().await.unwrap();
    totals
}

async fn replay(file: &Path, csv: &str, expected_rows: usize) {
    let (expected, rows) = totals(csv);
    assert_eq!(rows, expected_rows);
    let data = tempfile::tempdir().unwrap();
    let [file, dir] = [file, data.path()].map(|path| path.to_str().unwrap());
    let output = demo(&["--replay", file, "--data", dir, "--output", "json"]);
    assert!(output.status.success(), "{output:?}");
    let verdict = last_line(&output);
    assert_eq!(verdict["equal"], true, "{verdict}");
    assert_eq!(verdict["replay"]["rows"], rows, "{verdict}");
    for datacenter in ["frankfurt", "virginia", "singapore"] {
        let held = carts_in(&data.path().join(datacenter)).await;
        let carts = expected.keys().chain(held.keys());
        let wrong: Vec<_> = carts
            .filter(|cart| expected.get(*cart) != held.get(*cart))
            .take(3)
            .collect();
        assert!(wrong.is_empty(), "{datacenter}: {wrong:?}");
    }
}

#[tokio::test]
async fn the_real_invoices_end_in_every_datacenter_as_the_file_says() {
    let given = std::env::var_os("REAL_DATA").map(PathBuf::from);
    let beside = || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared/data");
    let file = given.unwrap_or_else(beside).join("online-retail-2010-12_2011-01.csv.gz");
    let Ok(bytes) = std::fs::read(&file) else {
        eprintln!(
            "NOT TESTED: the invoices are not there ({})",
            file.display()
        );
        return;
    };
    let mut csv = String::new();
    GzDecoder::new(&bytes[..]).read_to_string(&mut csv).unwrap();
    replay(&file, &csv, 77_628).await;
}

#[tokio::test]
async fn made_up_invoices_with_bad_rows_are_replayed_and_the_bad_rows_named() {
    let mut csv =
        "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country\n"
            .to_owned();
    for n in 0..600 {
        let country = ["United Kingdom", "France", "EIRE", "Japan"][n % 4];
        let customer = if n % 9 == 0 {
            String::new()
        } else {
            format!("{}.0", 100 + n % 40)
        };
        let pieces = if n % 13 == 0 { -2 } else { 3 };
        csv += &format!(
            "{n},SKU{},\"a, b\",{pieces},2010-12-01,1.25,{customer},{country}\n",
            n % 7
        );
        if n % 100 == 50 {
            csv += "1,SKU,no number,many,2010-12-01,1.25,5.0,France\n";
        }
    }
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("invoices.csv");
    std::fs::write(&file, &csv).unwrap();
    replay(&file, &csv, 600).await;
    let output = demo(&["--replay", file.to_str().unwrap(), "--output", "lines"]);
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        text.contains("600 rows written, 6 bad rows left out"),
        "{text}"
    );
    assert!(
        text.contains("line 53: Quantity \"many\" is not a whole number"),
        "{text}"
    );
}

#[test]
fn made_up_carts_end_equal_after_an_outage() {
    let output = demo(&[
        "--duration",
        "3",
        "--datacenters",
        "4",
        "--rate",
        "50",
        "--output",
        "json",
    ]);
    assert!(output.status.success(), "{output:?}");
    let verdict = last_line(&output);
    assert_eq!(verdict["equal"], true, "{verdict}");
    assert_eq!(verdict["fingerprints"].as_array().unwrap().len(), 4);
    assert!(
        verdict["outage"]["missed_writes"].as_u64().unwrap() > 0,
        "{verdict}"
    );
    assert!(verdict["outage"]["converged_ms"].is_f64(), "{verdict}");
}

#[test]
fn what_can_not_be_replayed_is_said_in_one_line() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("x.csv");
    std::fs::write(&file, "a,b\n1,2\n").unwrap();
    let nowhere = Path::new("/nowhere/x.csv");
    for (file, message) in [
        (file.as_path(), "no column \"InvoiceNo\""),
        (nowhere, "cannot read /nowhere/x.csv"),
    ] {
        let output = demo(&["--replay", file.to_str().unwrap()]);
        assert_eq!(output.status.code(), Some(1));
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(
            text.contains(message) && text.lines().count() == 1,
            "{text}"
        );
    }
}
