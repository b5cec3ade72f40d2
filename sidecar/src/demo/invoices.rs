//! Reading invoices: `InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country`,
//! a line per item, plain or gzipped.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;

use flate2::read::MultiGzDecoder;

use super::Failure;
use super::goods::Line;

/// Bad rows named in the verdict; the others are only counted.
const BAD_ROWS_NAMED: usize = 20;
/// Of so many customers one shops in two datacenters at once.
const TRAVELLERS_ONE_IN: u64 = 4;

/// A row of the file, ready to be written.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Row {
    pub(super) line: Line,
    pub(super) datacenter: usize,
}

/// A row that could not be used.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub(super) struct BadRow {
    /// Its line in the file, the header being line 1.
    pub(super) line: u64,
    pub(super) why: String,
}

/// What was in the file.
#[derive(Default)]
pub(super) struct Invoices {
    pub(super) rows: Vec<Row>,
    pub(super) bad: Vec<BadRow>,
    pub(super) bad_count: usize,
}

struct Columns {
    invoice: usize,
    item: usize,
    quantity: usize,
    price: usize,
    customer: usize,
    country: usize,
}

impl Columns {
    fn of(header: &csv::ByteRecord) -> Result<Self, Failure> {
        let find = |name: &str| {
            let names = header
                .iter()
                .map(|field| field.strip_prefix(b"\xef\xbb\xbf").unwrap_or(field));
            names.clone().position(|field| field == name.as_bytes()).ok_or_else(|| {
                Failure::new(format!(
                    "the file has no column {name:?}; its first line must name InvoiceNo, StockCode, Quantity, UnitPrice, \
                     CustomerID and Country"
                ))
            })
        };
        Ok(Self {
            invoice: find("InvoiceNo")?,
            item: find("StockCode")?,
            quantity: find("Quantity")?,
            price: find("UnitPrice")?,
            customer: find("CustomerID")?,
            country: find("Country")?,
        })
    }
}

/// Reads a whole file.
pub(super) fn read(path: &Path, datacenters: usize) -> Result<Invoices, Failure> {
    let open = || {
        File::open(path)
            .map_err(|error| Failure::new(format!("cannot read {}: {error}", path.display())))
    };
    let mut magic = [0; 2];
    let gzipped = open()?.read_exact(&mut magic).is_ok() && magic == [0x1f, 0x8b];
    let plain = BufReader::new(open()?);
    if gzipped {
        parse(MultiGzDecoder::new(plain), datacenters)
    } else {
        parse(plain, datacenters)
    }
}

pub(super) fn parse(input: impl Read, datacenters: usize) -> Result<Invoices, Failure> {
    let mut reader = csv::ReaderBuilder::new()
        .flexible(true)
        .has_headers(true)
        .from_reader(input);
    let unreadable = |error: csv::Error| Failure::new(format!("cannot read the invoices: {error}"));
    let columns = Columns::of(reader.byte_headers().map_err(unreadable)?)?;
    let width = reader.byte_headers().map_err(unreadable)?.len();
    let mut invoices = Invoices::default();
    let mut record = csv::ByteRecord::new();
    while reader.read_byte_record(&mut record).map_err(unreadable)? {
        let number = record.position().map_or(0, csv::Position::line);
        match row(&record, &columns, width, number, datacenters) {
            Ok(row) => invoices.rows.push(row),
            Err(why) => {
                invoices.bad_count += 1;
                if invoices.bad.len() < BAD_ROWS_NAMED {
                    invoices.bad.push(BadRow { line: number, why });
                }
            }
        }
    }
    Ok(invoices)
}

fn row(
    record: &csv::ByteRecord,
    columns: &Columns,
    width: usize,
    number: u64,
    datacenters: usize,
) -> Result<Row, String> {
    if record.len() != width {
        return Err(format!("{} fields instead of {width}", record.len()));
    }
    let field = |at: usize, name: &str| {
        std::str::from_utf8(&record[at])
            .map(str::trim)
            .map_err(|_| format!("{name} is not UTF-8"))
    };
    let invoice = field(columns.invoice, "InvoiceNo")?;
    let item = field(columns.item, "StockCode")?;
    let quantity = field(columns.quantity, "Quantity")?;
    let price = field(columns.price, "UnitPrice")?;
    let customer = field(columns.customer, "CustomerID")?;
    if invoice.is_empty() || item.is_empty() {
        return Err(format!(
            "{} is empty",
            if invoice.is_empty() {
                "InvoiceNo"
            } else {
                "StockCode"
            }
        ));
    }
    let pieces: i64 = quantity
        .parse()
        .map_err(|_| format!("Quantity {quantity:?} is not a whole number"))?;
    let price: f64 = price
        .parse()
        .ok()
        .filter(|price: &f64| price.is_finite())
        .ok_or_else(|| format!("UnitPrice {price:?} is not a number"))?;
    let cart = if customer.is_empty() {
        format!("guest-{invoice}")
    } else {
        customer.to_owned()
    };
    for (name, text) in [("CustomerID", cart.as_str()), ("StockCode", item)] {
        if text.len() > 256 || text.chars().any(char::is_control) {
            return Err(format!("{name} is too long or has control characters"));
        }
    }
    let home = home(field(columns.country, "Country")?, datacenters);
    let travels = !customer.is_empty() && stable_hash(customer).is_multiple_of(TRAVELLERS_ONE_IN);
    let away = usize::from(travels && number.is_multiple_of(2));
    Ok(Row {
        line: Line {
            cart,
            item: item.to_owned(),
            pieces,
            price,
        },
        datacenter: (home + away) % datacenters,
    })
}

/// The country decides: the shop's own has the first datacenter, the others share the rest.
fn home(country: &str, datacenters: usize) -> usize {
    let rest = datacenters.saturating_sub(1) as u64;
    if country == "United Kingdom" || rest == 0 {
        return 0;
    }
    1 + usize::try_from(stable_hash(country) % rest).unwrap_or(0)
}

/// FNV-1a: the same on every run.
fn stable_hash(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    const HEADER: &str =
        "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country\n";

    fn invoices(rows: &str) -> Invoices {
        parse(format!("{HEADER}{rows}").as_bytes(), 3).unwrap()
    }

    #[test]
    fn rows_become_lines_of_carts() {
        let read = invoices(
            "536365,85123A,\"WHITE, HANGING\",6,2010-12-01 08:26:00,2.55,17850.0,United Kingdom\nC1,M,,-2,x,1,,France\n",
        );
        assert_eq!(read.bad_count, 0);
        let [first, second] = &read.rows[..] else {
            panic!("two rows")
        };
        assert_eq!(
            first.line,
            Line {
                cart: "17850.0".into(),
                item: "85123A".into(),
                pieces: 6,
                price: 2.55
            }
        );
        assert_eq!(
            (second.line.cart.as_str(), second.line.pieces),
            ("guest-C1", -2)
        );
        assert_ne!(second.datacenter, 0);
    }

    #[test]
    fn bad_rows_are_counted_and_named_by_line_and_the_others_used() {
        let read = invoices(
            "1,A,d,1,t,1.0,c,UK\n2,A,d,many,t,1.0,c,UK\n3,A,d\n4,,d,1,t,1.0,c,UK\n5,A,d,1,t,cheap,c,UK\n6,A,d,1,t,1.0,c,UK\n",
        );
        assert_eq!(read.rows.len(), 2);
        let named: Vec<_> = read
            .bad
            .iter()
            .map(|bad| (bad.line, bad.why.as_str()))
            .collect();
        assert_eq!(
            named,
            [
                (3, "Quantity \"many\" is not a whole number"),
                (4, "3 fields instead of 8"),
                (5, "StockCode is empty"),
                (6, "UnitPrice \"cheap\" is not a number"),
            ]
        );
    }

    #[test]
    fn a_missing_column_is_named() {
        let error = parse(&b"InvoiceNo,StockCode\n"[..], 3)
            .err()
            .unwrap()
            .to_string();
        assert!(error.contains("\"Quantity\""), "{error}");
    }

    #[test]
    fn some_customers_shop_in_two_places() {
        let rows: String = (0..400)
            .map(|n| format!("1,A,d,1,t,1.0,c{},France\n", n % 39))
            .collect();
        let read = invoices(&rows);
        let places = |cart: &str| {
            read.rows
                .iter()
                .filter(|row| row.line.cart == cart)
                .map(|row| row.datacenter)
                .collect::<std::collections::BTreeSet<_>>()
                .len()
        };
        let travellers = (0..39).filter(|n| places(&format!("c{n}")) == 2).count();
        assert!((1..39).contains(&travellers), "{travellers} of 39");
    }
}
