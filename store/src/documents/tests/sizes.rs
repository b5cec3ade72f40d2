//! How large the file becomes.

use anabranch_core::measure::Bare;
use anabranch_core::persist::{Fold, StoredDocument};
use anabranch_core::{Edit, Intent, Path};
use bytes::Bytes;

use super::disks::FaultyDisk;
use super::{Random, folding, open};
use crate::documents::Documents;
use crate::documents::listed::{DOCUMENT_TILES, Listed};

/// Carts of ten items as they come from shops: made in one go, then counted up a few times.
fn carts(count: u64) -> Vec<Bytes> {
    let mut random = Random(9);
    let mut cart = |number: u64| {
        let replica = u8::try_from(number % 3).unwrap() + 1;
        let mut cart = Bare::new(replica);
        let items: Vec<String> = (0..10)
            .map(|_| format!("{}", 20_000 + random.below(4_000)))
            .collect();
        let mut prices = || serde_json::json!({"price": f64::from(u32::try_from(random.below(2_000)).unwrap()) / 100.0});
        let priced: serde_json::Map<_, _> =
            items.iter().map(|item| (item.clone(), prices())).collect();
        cart.write(&Intent::Replace(serde_json::json!({"items": priced})))
            .unwrap();
        let one_more = |item: &String| Edit::Increment {
            path: Path::parse(&format!("/items/{item}/qty")).unwrap(),
            by: 1,
        };
        cart.write(&Intent::Edits(items.iter().map(one_more).collect()))
            .unwrap();
        for _ in 0..random.below(20) {
            let item = &items[usize::try_from(random.below(10)).unwrap()];
            cart.write(&Intent::Edits(vec![one_more(item)])).unwrap();
        }
        Bytes::from(cart.save())
    };
    (0..count).map(&mut cart).collect()
}

#[expect(clippy::unnecessary_wraps, reason = "that is its type")]
fn as_state(document: &StoredDocument) -> Result<StoredDocument, String> {
    let state = document.changes.first().cloned().unwrap_or_default();
    Ok(StoredDocument {
        state,
        changes: Vec::new(),
        present: Some(true),
        sum: None,
    })
}

fn load(carts: &[Bytes], order: &[usize], per_fold: usize) -> (Documents, FaultyDisk) {
    let disk = FaultyDisk::new(Vec::new());
    let documents = open(&disk);
    for numbers in order.chunks(per_fold) {
        let carts = numbers
            .iter()
            .map(|number| (*number as u64 * 3, vec![carts[*number].clone()]));
        let fold = Fold {
            compact: true,
            ..folding(carts)
        };
        documents.fold(&fold, as_state).unwrap();
    }
    (documents, disk)
}

/// Bytes of pages that the tables take, over the carts' own bytes; and how full tiles are.
fn ratio(carts: &[Bytes], order: &[usize], per_fold: usize) -> f64 {
    let began = std::time::Instant::now();
    let (documents, disk) = load(carts, order, per_fold);
    let took = began.elapsed() / u32::try_from(carts.len()).unwrap();
    let bytes: usize = carts.iter().map(Bytes::len).sum();
    let over = |pages: u64| {
        f64::from(u32::try_from(pages).unwrap()) * 4096.0 / f64::from(u32::try_from(bytes).unwrap())
    };
    let pages = documents
        .transact(|transaction| Ok(transaction.stats()?.allocated_pages()))
        .unwrap();
    let written = disk
        .bytes()
        .chunks(4096)
        .filter(|page| page.iter().any(|byte| *byte != 0))
        .count();
    let (tiles, stored) = documents
        .view(|view| {
            let listed = Listed::view(DOCUMENT_TILES, view)?;
            let rows = redb::ReadableTable::range::<&[u8]>(&listed.tiles, ..)?;
            let sizes: Vec<usize> = rows.map(|row| row.unwrap().1.value().len()).collect();
            Ok((sizes.len(), sizes.iter().sum::<usize>()))
        })
        .unwrap();
    println!(
        "{per_fold} a fold: {:.3} of the compact form; ever written {:.3}; {tiles} tiles of {} bytes; {took:?} a cart",
        over(pages),
        over(written as u64),
        stored / tiles
    );
    over(pages)
}

#[test]
fn carts_take_less_room_than_their_compact_form() {
    let carts = carts(6_000);
    println!(
        "{} bytes a cart",
        carts.iter().map(Bytes::len).sum::<usize>() / carts.len()
    );
    let sequential: Vec<usize> = (0..carts.len()).collect();
    let mut shuffled = sequential.clone();
    let mut random = Random(1);
    for at in (1..shuffled.len()).rev() {
        shuffled.swap(at, usize::try_from(random.below(at as u64 + 1)).unwrap());
    }
    for per_fold in [50, 500, 3_000] {
        assert!(ratio(&carts, &shuffled, per_fold) < 1.0);
        assert!(ratio(&carts, &sequential, per_fold) < 0.85);
    }
}
