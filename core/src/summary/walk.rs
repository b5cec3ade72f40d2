//! Both ends of a comparison in one place, without a network: for tests and benchmarks.

use std::collections::BTreeSet;

use super::{Descent, Found, Place, View, estimate, first_eight, leaf_bits, start_bits, width_for};
use crate::codec::Writer;
use crate::repair_message::RepairMessage;

/// Spreads small numbers over all places.
pub(crate) fn scatter(n: u64) -> u64 {
    first_eight(blake3::hash(&n.to_le_bytes()).as_bytes())
}

/// Goes all the way down; what the seeker has to say of, the bytes of digests and positions, and the flights.
pub(crate) fn descend(
    seeker: View<'_>,
    source: View<'_>,
    expected: u64,
    salt: u64,
) -> (BTreeSet<Place>, usize, usize) {
    let leaf = leaf_bits(seeker.summary.documents().max(source.summary.documents()));
    let (mut at_source, mut digests) = Descent::begin(source, salt, start_bits(leaf, expected));
    let mut at_seeker = Descent::join(salt, at_source.bits(), digests.len())
        .unwrap_or_else(|| panic!("both keep to the rules"));
    let mut bytes = digests.len() * 4;
    let mut flights = 1;
    loop {
        let deeper = at_seeker.bits() < leaf;
        let Found::Differ {
            positions,
            children,
        } = at_seeker.compare(seeker, &digests, deeper)
        else {
            panic!("both keep to the rules");
        };
        flights += 1;
        bytes += positions.len() * 2 + children.len() * 4;
        assert_eq!(at_source.told(&positions, deeper), Some(()));
        if !deeper {
            break;
        }
        let Found::Differ {
            positions,
            children,
        } = at_source.compare(source, &children, true)
        else {
            panic!("both keep to the rules");
        };
        assert_eq!(at_seeker.told(&positions, true), Some(()));
        flights += 1;
        bytes += positions.len() * 2 + children.len() * 4;
        digests = children;
    }
    assert_eq!(at_seeker.nodes(), at_source.nodes());
    let bits = at_seeker.bits();
    let mut found = BTreeSet::new();
    for node in at_seeker.nodes() {
        for view in [seeker, source] {
            found.extend(view.leaves(bits, *node).into_iter().map(|(place, _)| place));
        }
        bytes += seeker.leaves(bits, *node).len() * 12;
    }
    (found, bytes, flights)
}

/// What a comparison by sketches costs: the bytes that are said until the seeker knows what differs, and those by which it asks for it.
pub(crate) struct Sketched {
    /// None: the sketch did not tell.
    pub(crate) found: Option<BTreeSet<u64>>,
    pub(crate) bytes_finding: usize,
    pub(crate) bytes_asking: usize,
}

/// Finds by sketches what differs; none if more does than a sketch tells of.
pub(crate) fn sketched(seeker: View<'_>, source: View<'_>) -> Option<Sketched> {
    let counters = seeker.counters();
    let differing = estimate(&source.counters(), &counters)?;
    let width = width_for(differing)?;
    let cells = source.sketch(width).cells().to_vec();
    let found = seeker.sketch(width).differing(&cells);
    let prefixes: Vec<u64> = found.iter().flatten().copied().collect();
    let sums = vec![0; prefixes.len()];
    let ask = RepairMessage::Sums {
        number: 1,
        prefixes,
        sums,
    };
    let mut writer = Writer::default();
    ask.encode(&mut writer);
    let counted = counters.iter().map(|counter| match counter.unsigned_abs() {
        0..64 => 1,
        64..8_192 => 2,
        _ => 3,
    });
    Some(Sketched {
        found,
        bytes_finding: counted.sum::<usize>() + cells.len() * 16,
        bytes_asking: writer.finish().len(),
    })
}
