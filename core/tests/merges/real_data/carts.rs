//! A shop's invoices (UCI "Online Retail", D. Chen, 2012, CC BY 4.0) as carts in three datacenters whose links
//! are cut again and again.

use std::collections::BTreeMap;

use anabranch_core::{Edit, Intent, Key, Path, Room};
use serde::Deserialize;
use serde_json::Value;

use super::oracle::{Cart, Decided, Deed, line_path, pieces_path};
use super::{Random, real};
use crate::bed::{Bed, Held, SITES};
use crate::reading::Shown;
use crate::trial::alike;

const SEED: u64 = 201_012;
/// Lines that come in any order: about two hours of the shop.
const SHUFFLED: usize = 600;
const LINKS: [(usize, usize); 3] = [(0, 1), (1, 2), (0, 2)];

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Line {
    invoice_no: String,
    stock_code: String,
    description: String,
    quantity: i64,
    unit_price: f64,
    #[serde(rename = "CustomerID")]
    customer: String,
    country: String,
}

impl Line {
    fn cart(&self) -> String {
        if self.customer.is_empty() {
            return format!("guest-{}", self.invoice_no);
        }
        self.customer.clone()
    }

    /// The shop's own country has the first datacenter, the others share the rest; many are on the way.
    fn site(&self, random: &mut Random) -> usize {
        if random.one_in(3) {
            return random.below(SITES);
        }
        match self.country.as_str() {
            "United Kingdom" => 0,
            other => 1 + other.len() % (SITES - 1),
        }
    }

    fn deed(&self, random: &mut Random) -> Deed {
        let item = self.stock_code.clone();
        if self.invoice_no.starts_with('C') {
            match random.below(3) {
                0 => return Deed::RemoveLine(item),
                1 => return Deed::RemovePieces(item),
                _ => {}
            }
        }
        let mut registers = Vec::new();
        if random.one_in(4) && !self.description.is_empty() {
            registers.push(("description", self.description.clone().into()));
        }
        if random.one_in(4) {
            registers.push(("price", self.unit_price.into()));
        }
        Deed::Line {
            item,
            pieces: self.quantity,
            registers,
        }
    }
}

fn intent(deed: &Deed) -> Intent {
    let path = |text: &str| Path::parse(text).expect("a path");
    Intent::Edits(match deed {
        Deed::Line {
            item,
            pieces,
            registers,
        } => {
            let put = |(name, value): &(&str, Value)| Edit::Put {
                path: path(&format!("{}/{name}", line_path(item))),
                value: value.clone(),
            };
            let adjust = Edit::Adjust {
                path: path(&pieces_path(item)),
                by: *pieces,
            };
            [adjust]
                .into_iter()
                .chain(registers.iter().map(put))
                .collect()
        }
        Deed::RemoveLine(item) => vec![Edit::Remove {
            path: path(&line_path(item)),
        }],
        Deed::RemovePieces(item) => vec![Edit::Remove {
            path: path(&pieces_path(item)),
        }],
        Deed::Delete => return Intent::Delete,
    })
}

struct Shop {
    bed: Bed,
    random: Random,
    carts: BTreeMap<String, Cart>,
    /// The step from which on each of the [`LINKS`] is up.
    up_from: [usize; LINKS.len()],
    cuts: usize,
    restarts: usize,
}

impl Shop {
    fn new() -> Self {
        // Fewer documents in memory than there are carts, and a replay after a restart that is seldom short.
        let room = Room {
            loaded_bytes_max: 4 << 20,
            ..Room::default()
        };
        Self {
            bed: Bed::with_room(room),
            random: Random(SEED),
            carts: BTreeMap::new(),
            up_from: [0; LINKS.len()],
            cuts: 0,
            restarts: 0,
        }
    }

    /// Links fail and come back, frames arrive sooner or later, processes end and begin again.
    fn weather(&mut self, step: usize) {
        for (link, (a, b)) in LINKS.into_iter().enumerate() {
            if step < self.up_from[link] {
                continue;
            }
            self.bed.link(a, b);
            if self.random.one_in(1_500) {
                self.bed.cut(a, b);
                self.up_from[link] = step + 100 + self.random.below(2_000);
                self.cuts += 1;
            }
            for (from, to) in [(a, b), (b, a)] {
                if self.random.one_in(8) {
                    while self.bed.deliver(from, to) {}
                }
            }
        }
        if self.random.one_in(2_000) {
            self.bed.restart(self.random.below(SITES));
            self.restarts += 1;
        }
        self.bed.pass(self.random.next() % 5);
    }

    /// Writes at one replica and to the cart as it should be, and now and then compares the two there and then.
    fn write(&mut self, site: usize, name: &str, deed: &Deed) {
        let mut view = self.bed.held(site);
        view[site] += 1;
        let key = Key::new(name).expect("a key");
        let cart = self.carts.entry(name.to_owned()).or_default();
        let was_there = cart.is_there("", &view);
        let changed = cart.write(site, &view, deed);
        let is_there = cart.is_there("", &view);
        let written = self.bed.write(site, &key, &intent(deed));
        let written = written.unwrap_or_else(|error| panic!("{name}: {deed:?}: {error}"));
        assert_eq!(
            (written.changed, written.present, written.created),
            (changed, is_there, is_there && !was_there),
            "{name} at {site} after {deed:?}"
        );
        if self.random.one_in(10) {
            let (shown, _) = self.bed.read(site, &key);
            self.compare(name, &view, &shown, &format!("at {site} after {deed:?}"));
        }
    }

    fn compare(&self, name: &str, view: &Held, shown: &Shown, when: &str) {
        if let Err(why) = self.carts[name].check(view, shown) {
            panic!("{name} {when}: {why}");
        }
    }

    /// All links come back, and everything arrives.
    fn settle(&mut self) -> Held {
        let all: Held = std::array::from_fn(|site| self.bed.held(site)[site]);
        LINKS.into_iter().for_each(|(a, b)| self.bed.link(a, b));
        for _ in 0..10_000 {
            for (a, b) in LINKS {
                while self.bed.deliver(a, b) | self.bed.deliver(b, a) {}
            }
            if (0..SITES).all(|site| self.bed.held(site) == all) {
                return all;
            }
            self.bed.pass(20);
        }
        panic!("the replicas do not come to hold the same");
    }

    /// Every cart on every replica is as it should be, and no other is there.
    fn compare_all(&mut self, all: &Held) {
        let there = self.carts.iter().filter(|(_, cart)| cart.is_there("", all));
        let names: Vec<String> = there.map(|(name, _)| name.clone()).collect();
        for site in 0..SITES {
            let keys = self.bed.keys(site);
            let keys: Vec<&str> = keys.iter().map(Key::as_str).collect();
            assert_eq!(keys, names, "the carts at {site}");
        }
        let names: Vec<String> = self.carts.keys().cloned().collect();
        for name in names {
            let key = Key::new(&name).expect("a key");
            let at = |bed: &mut Bed, site| bed.read(site, &key);
            let first = at(&mut self.bed, 0);
            self.compare(&name, all, &first.0, "at the end");
            for site in 1..SITES {
                let other = at(&mut self.bed, site);
                assert!(
                    alike(&other.0, &first.0) && other.1 == first.1,
                    "{name}: {} at {site}, {} at 0",
                    other.0,
                    first.0
                );
            }
        }
    }
}

fn run(lines: &[Line]) {
    let mut shop = Shop::new();
    let mut order: Vec<&Line> = lines.iter().collect();
    order
        .chunks_mut(SHUFFLED)
        .for_each(|lines| shop.random.shuffle(lines));
    for (step, line) in order.into_iter().enumerate() {
        shop.weather(step);
        let site = line.site(&mut shop.random);
        let deed = line.deed(&mut shop.random);
        shop.write(site, &line.cart(), &deed);
        if shop.random.one_in(150) {
            let site = shop.random.below(SITES);
            shop.write(site, &line.cart(), &Deed::Delete);
        }
    }
    let all = shop.settle();
    shop.compare_all(&all);
    for site in 0..SITES {
        assert!(shop.bed.folds(site) > 0, "{site} never folded");
        shop.bed.restart(site);
        shop.bed.compact(site);
    }
    shop.compare_all(&all);
    let mut decided = Decided::default();
    for cart in shop.carts.values() {
        cart.count(&all, &mut decided);
    }
    let (carts, cuts, restarts) = (shop.carts.len(), shop.cuts, shop.restarts);
    println!("{all:?} batches in {carts} carts, {cuts} cuts, {restarts} restarts, {decided:?}");
    assert!(
        cuts > 0 && restarts > 0 && decided.spared > 0 && decided.taken_twice > 0,
        "too little happened at the same time: {decided:?}"
    );
}

/// The lines of one cart in so many, by its name.
fn lines(carts_one_in: u64) -> Option<Vec<Line>> {
    let text = real("online-retail-2010-12_2011-01.csv.gz")?;
    let mut reader = csv::Reader::from_reader(text.as_bytes());
    let lines = reader.deserialize().collect::<Result<Vec<Line>, _>>();
    let mut lines = lines.expect("invoices");
    assert_eq!(lines.len(), 77_628);
    // FNV-1a.
    let hash = |cart: String| {
        cart.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        })
    };
    lines.retain(|line| hash(line.cart()).is_multiple_of(carts_one_in));
    Some(lines)
}

#[test]
fn carts_in_three_datacenters_hold_what_no_removal_has_seen() {
    if let Some(lines) = lines(4) {
        run(&lines);
    }
}

#[test]
#[ignore = "takes minutes unless it is built for release"]
fn all_carts_in_three_datacenters_hold_what_no_removal_has_seen() {
    if let Some(lines) = lines(1) {
        run(&lines);
    }
}
