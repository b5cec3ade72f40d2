//! The end of the demonstration: equal or not, and what it took.

use std::fmt;

use serde::Serialize;

use super::invoices::BadRow;

#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Verdict {
    pub(super) event: &'static str,
    /// All datacenters hold the same documents, and those hold exactly what was ordered.
    pub(super) equal: bool,
    /// The common fingerprint, or each one's.
    pub(super) fingerprints: Vec<String>,
    pub(super) datacenters: Vec<&'static str>,
    pub(super) carts: usize,
    pub(super) writes: usize,
    /// Pieces ordered, cancellations taken off.
    pub(super) pieces: i64,
    /// Carts whose content is not what was ordered, by datacenter: none of them, one hopes.
    pub(super) wrong_carts: Vec<WrongCarts>,
    pub(super) outage: Option<Outage>,
    pub(super) lags: Vec<Lag>,
    /// Bytes of UDP payload between datacenters, everything included, per write and per replica that it
    /// went to.
    pub(super) bytes_per_write: f64,
    pub(super) bytes_total: u64,
    pub(super) elapsed_s: f64,
    /// Only for a replay.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) replay: Option<Replayed>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct WrongCarts {
    pub(super) datacenter: &'static str,
    pub(super) carts: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Outage {
    pub(super) datacenter: &'static str,
    pub(super) lasted_s: f64,
    /// Writes of the others that it missed.
    pub(super) missed_writes: usize,
    /// From healing until everything written before was everywhere.
    pub(super) converged_ms: Option<f64>,
    /// The longest one-way delay to or from it.
    pub(super) one_way_ms: f64,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Lag {
    pub(super) from: &'static str,
    pub(super) to: &'static str,
    pub(super) one_way_ms: f64,
    pub(super) p50_ms: f64,
    pub(super) p99_ms: f64,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Replayed {
    pub(super) rows: usize,
    pub(super) bad_rows: usize,
    /// The first of them.
    pub(super) bad: Vec<BadRow>,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let n = self.datacenters.len();
        if self.equal {
            writeln!(
                f,
                "EQUAL  {n} datacenters, {} carts, {} writes, one state: {}",
                self.carts,
                grouped(self.writes as i64),
                self.fingerprints[0]
            )?;
            writeln!(
                f,
                "       {} pieces ordered, {0} pieces in the carts of every datacenter",
                grouped(self.pieces)
            )?;
        } else {
            writeln!(f, "NOT EQUAL  the {n} datacenters hold different states:")?;
            for (name, fingerprint) in self.datacenters.iter().zip(&self.fingerprints) {
                writeln!(f, "       {name}: {fingerprint}")?;
            }
            for wrong in &self.wrong_carts {
                let named: Vec<_> = wrong.carts.iter().take(5).map(String::as_str).collect();
                writeln!(
                    f,
                    "       {}: {} carts are not what was ordered: {} …",
                    wrong.datacenter,
                    wrong.carts.len(),
                    named.join(", ")
                )?;
            }
        }
        if let Some(outage) = &self.outage {
            let converged = outage.converged_ms.map_or("never".to_owned(), |ms| {
                format!("{ms:.0} ms after the link came back")
            });
            writeln!(
                f,
                "\nOutage {} was cut off for {:.1} s and missed {} writes; all was everywhere {converged} (one-way delay {:.0} ms)",
                outage.datacenter,
                outage.lasted_s,
                grouped(outage.missed_writes as i64),
                outage.one_way_ms
            )?;
        }
        writeln!(
            f,
            "\nLag    from durable at home to visible there, while connected"
        )?;
        for lag in &self.lags {
            let way = format!("{} → {}", lag.from, lag.to);
            writeln!(
                f,
                "       {way:<24} p50 {:>7.1} ms   p99 {:>7.1} ms   one-way delay {:>4.0} ms",
                lag.p50_ms, lag.p99_ms, lag.one_way_ms
            )?;
        }
        writeln!(
            f,
            "\nWire   {:.0} bytes per write and replica, everything included",
            self.bytes_per_write
        )?;
        if let Some(replay) = &self.replay {
            writeln!(
                f,
                "\nReplay {} rows written, {} bad rows left out",
                grouped(replay.rows as i64),
                grouped(replay.bad_rows as i64)
            )?;
            for bad in &replay.bad {
                writeln!(f, "       line {}: {}", bad.line, bad.why)?;
            }
            if replay.bad_rows > replay.bad.len() {
                writeln!(f, "       and {} more", replay.bad_rows - replay.bad.len())?;
            }
        }
        Ok(())
    }
}

/// A figure without its fraction.
#[expect(
    clippy::cast_possible_truncation,
    reason = "figures for people; what does not fit is cut"
)]
pub(super) fn whole(figure: f64) -> i64 {
    figure.round() as i64
}

/// A number with commas between thousands.
pub(super) fn grouped(number: i64) -> String {
    let digits = number.unsigned_abs().to_string();
    let mut out = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    if number < 0 { format!("-{out}") } else { out }
}
