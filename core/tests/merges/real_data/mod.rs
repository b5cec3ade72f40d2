//! What people did, replayed over replicas: a text that two wrote at the same time, and a shop's invoices.
//!
//! The files are not part of this repository. They are looked for in `$REAL_DATA`, or else in `shared/data` beside the checkout;
//! without them nothing is tested, and that is said.

mod carts;
mod oracle;
mod text;

use std::io::{Read as _, Write as _};
use std::path::PathBuf;

use flate2::read::MultiGzDecoder;

/// A file's text; none, and a line that says so, if it is not there.
fn real(name: &str) -> Option<String> {
    let given = std::env::var_os("REAL_DATA").map(PathBuf::from);
    let beside = || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared/data");
    let file = given.clone().unwrap_or_else(beside).join(name);
    let bytes = match std::fs::read(&file) {
        Ok(bytes) => bytes,
        Err(error) if given.is_some() => panic!("REAL_DATA: {}: {error}", file.display()),
        Err(error) => {
            // Straight to standard error, which the test harness does not keep to itself.
            let said = writeln!(std::io::stderr(), "NOT TESTED: {}: {error}", file.display());
            said.expect("somewhere to say it");
            return None;
        }
    };
    let mut text = String::new();
    MultiGzDecoder::new(&bytes[..])
        .read_to_string(&mut text)
        .unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    Some(text)
}

/// Steele, Lea, Flood: `SplitMix64` (OOPSLA 2014).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Less than `n`.
    fn below(&mut self, n: usize) -> usize {
        usize::try_from(self.next() % n as u64).expect("less than a usize")
    }

    fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.below(last + 1));
        }
    }
}
