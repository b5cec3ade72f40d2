//! What several messages are made of.

use super::{Leaf, PLACE_BYTES};
use crate::codec::{DecodeError, Reader, Writer};
use crate::summary::{CELLS_MAX, COUNTERS, Cell, Digest, PREFIX_BITS};
use crate::{Origin, Seq, limits};

pub(super) fn put_positions(writer: &mut Writer, positions: &[(Origin, Seq)]) {
    writer.count(positions.len());
    for (origin, seq) in positions {
        writer.origin(origin);
        writer.number(seq.0);
    }
}

pub(super) fn positions(reader: &mut Reader) -> Result<Vec<(Origin, Seq)>, DecodeError> {
    let count = reader.count("positions", limits::ORIGINS_MAX)?;
    (0..count)
        .map(|_| Ok((reader.origin()?, reader.seq()?)))
        .collect()
}

/// Rising numbers, each as the distance from the one before.
pub(super) fn put_rising(writer: &mut Writer, numbers: &[usize]) {
    writer.count(numbers.len());
    let mut next = 0;
    for number in numbers {
        writer.count(number - next);
        next = number + 1;
    }
}

pub(super) fn rising(reader: &mut Reader, max: usize) -> Result<Vec<usize>, DecodeError> {
    let count = reader.count("numbers", max)?;
    let mut next = 0_usize;
    let mut numbers = Vec::new();
    for _ in 0..count {
        let distance = reader.number("distance")?;
        let over = DecodeError::OverLimit {
            what: "distance",
            value: distance,
            max: u64::from(u32::MAX),
        };
        let distance = u32::try_from(distance).map_err(|_| over)? as usize;
        numbers.push(next + distance);
        next += distance + 1;
    }
    Ok(numbers)
}

pub(super) fn put_digests(writer: &mut Writer, digests: &[Digest]) {
    writer.count(digests.len());
    digests
        .iter()
        .for_each(|digest| writer.array(&digest.to_le_bytes()));
}

pub(super) fn digests(reader: &mut Reader) -> Result<Vec<Digest>, DecodeError> {
    let count = reader.count("digests", limits::DIGESTS_MAX)?;
    (0..count)
        .map(|_| reader.array("digest").map(Digest::from_le_bytes))
        .collect()
}

/// Small numbers of either sign: 0, -1, 1, -2 and so on.
pub(super) fn put_counters(writer: &mut Writer, counters: &[i16]) {
    writer.count(counters.len());
    for counter in counters {
        let zigzag = i32::from(*counter) << 1 ^ i32::from(*counter) >> 31;
        writer.number(u64::from(zigzag.unsigned_abs()));
    }
}

pub(super) fn counters(reader: &mut Reader) -> Result<Vec<i16>, DecodeError> {
    let count = reader.count("counters", COUNTERS)?;
    let counter = |zigzag: u64| {
        let over = DecodeError::OverLimit {
            what: "counter",
            value: zigzag,
            max: u16::MAX.into(),
        };
        let half = i16::try_from(zigzag >> 1).map_err(|_| over)?;
        Ok(if zigzag & 1 == 1 { !half } else { half })
    };
    (0..count)
        .map(|_| counter(reader.number("counter")?))
        .collect()
}

pub(super) fn put_cells(writer: &mut Writer, cells: &[Cell]) {
    writer.count(cells.len());
    for sum in cells.iter().flat_map(|cell| cell.sums()) {
        writer.array(&sum.to_le_bytes());
    }
}

pub(super) fn cells(reader: &mut Reader) -> Result<Vec<Cell>, DecodeError> {
    let count = reader.count("cells", CELLS_MAX)?;
    let cell = |[values, products]: [u64; 2]| {
        let over = DecodeError::OverLimit {
            what: "sum of a cell",
            value: values.max(products),
            max: (1 << 61) - 2,
        };
        Cell::new(values, products).ok_or(over)
    };
    (0..count)
        .map(|_| cell([eight(reader)?, eight(reader)?]))
        .collect()
}

pub(super) fn put_sums(writer: &mut Writer, prefixes: &[u64], sums: &[u64]) {
    writer.count(prefixes.len());
    let mut next = 0;
    for (prefix, sum) in prefixes.iter().zip(sums) {
        writer.number(prefix - next);
        writer.array(&sum.to_le_bytes());
        next = prefix + 1;
    }
}

pub(super) fn sums(reader: &mut Reader) -> Result<(Vec<u64>, Vec<u64>), DecodeError> {
    const MAX: u64 = (1 << PREFIX_BITS) - 1;
    let count = reader.count("sums", limits::NODES_MAX)?;
    let (mut prefixes, mut sums) = (Vec::new(), Vec::new());
    let mut next = 0_u64;
    for _ in 0..count {
        let value = next.saturating_add(reader.number("prefix")?);
        if value > MAX {
            return Err(DecodeError::OverLimit {
                what: "prefix",
                value,
                max: MAX,
            });
        }
        prefixes.push(value);
        sums.push(eight(reader)?);
        next = value + 1;
    }
    Ok((prefixes, sums))
}

pub(super) fn nodes(reader: &mut Reader) -> Result<Vec<Vec<Leaf>>, DecodeError> {
    let count = reader.count("nodes", limits::NODES_MAX)?;
    let mut nodes = Vec::new();
    for _ in 0..count {
        let count = reader.count("leaves", limits::FRAME_BYTES_MAX / (PLACE_BYTES + 8))?;
        let mut leaves = Vec::new();
        for _ in 0..count {
            let sent: [u8; PLACE_BYTES] = reader.array("place")?;
            let mut rest = [0; 8];
            rest[8 - PLACE_BYTES..].copy_from_slice(&sent);
            leaves.push(Leaf {
                rest: u64::from_be_bytes(rest),
                sum: eight(reader)?,
            });
        }
        nodes.push(leaves);
    }
    Ok(nodes)
}

pub(super) fn put_root(writer: &mut Writer, root: Option<(u64, u64)>) {
    writer.u8(root.is_some().into());
    if let Some((root, documents)) = root {
        writer.array(&root.to_le_bytes());
        writer.number(documents);
    }
}

pub(super) fn root(reader: &mut Reader) -> Result<Option<(u64, u64)>, DecodeError> {
    Ok(match flag(reader)? {
        true => Some((eight(reader)?, reader.number("documents")?)),
        false => None,
    })
}

pub(super) fn eight(reader: &mut Reader) -> Result<u64, DecodeError> {
    reader.array("number").map(u64::from_le_bytes)
}

pub(super) fn flag(reader: &mut Reader) -> Result<bool, DecodeError> {
    match reader.u8("flag")? {
        0 => Ok(false),
        1 => Ok(true),
        other => Err(DecodeError::Unknown {
            what: "flag",
            value: other.into(),
        }),
    }
}
