//! The log against a list.

use proptest::prelude::*;

use super::*;

#[derive(Clone, Debug)]
enum Act {
    Append(Vec<u16>),
    /// From a position, in thousandths of all there are, and how many bytes.
    Read(u64, usize),
    Scrub(u64, usize),
    Release(u64),
    Prepare,
    /// Whether the end is remembered.
    Reopen(bool),
}

fn act() -> impl Strategy<Value = Act> {
    let size = prop_oneof![8 => 0..300_u16, 1 => 0..9_000_u16, 1 => 0..40_000_u16];
    prop_oneof![
        6 => prop::collection::vec(size, 0..40).prop_map(Act::Append),
        3 => (0..1_100_u64, 0..20_000_usize).prop_map(|(from, bytes)| Act::Read(from, bytes)),
        1 => (0..1_100_u64, 0..20_000_usize).prop_map(|(from, bytes)| Act::Scrub(from, bytes)),
        1 => (0..1_100_u64).prop_map(Act::Release),
        2 => Just(Act::Prepare),
        1 => any::<bool>().prop_map(Act::Reopen),
    ]
}

struct Model {
    medium: FaultyMedium,
    log: Log,
    records: Vec<LogRecord>,
    released_before: u64,
    random: Random,
}

impl Model {
    fn new() -> Self {
        let medium = FaultyMedium::new(0);
        let (log, found) = open(&medium);
        assert_eq!((found.first, found.end), (None, None));
        Self {
            medium,
            log,
            records: Vec::new(),
            released_before: 0,
            random: Random(1),
        }
    }

    fn end(&self) -> u64 {
        self.records.len() as u64
    }

    fn position(&self, thousandths: u64) -> u64 {
        1 + self.end() * thousandths / 1000
    }

    fn act(&mut self, act: Act) {
        match act {
            Act::Append(sizes) => {
                let records: Vec<_> = sizes
                    .iter()
                    .zip(self.end() + 1..)
                    .map(|(size, lsn)| {
                        let byte = self.random.draw().to_le_bytes()[0];
                        record(lsn, vec![byte; usize::from(*size)])
                    })
                    .collect();
                append(&self.log, &records);
                self.records.extend(records);
            }
            Act::Read(from, bytes_max) => self.read(self.position(from), bytes_max),
            Act::Scrub(from, bytes_max) => {
                let scrubbed = self.log.scrub(Lsn(self.position(from)), bytes_max).unwrap();
                assert!(scrubbed.bad.is_empty());
                assert!(scrubbed.next.is_none_or(|next| next.0 <= self.end()));
            }
            Act::Release(from) => {
                let at = self.position(from).min(self.end() + 1);
                self.released_before = self.released_before.max(at);
                self.log.release_before(Lsn(self.released_before)).unwrap();
            }
            Act::Prepare => self.log.prepare().unwrap(),
            Act::Reopen(remembered) => {
                let end = (self.end() > 0).then_some(Lsn(self.end()));
                let options = LogOptions {
                    released_before: Lsn(self.released_before),
                    reported_end: end.filter(|_| remembered),
                    ..NOTHING_REMEMBERED
                };
                let (log, found) = open_with(&self.medium, &options);
                assert_eq!(found.end, end);
                assert!(
                    found.lost.is_empty() && found.unreadable.is_empty(),
                    "{found:?}"
                );
                assert_eq!(found.first, log.bounds().map(|(first, _)| first));
                self.log = log;
            }
        }
        self.check();
    }

    fn first(&self) -> u64 {
        self.log.bounds().map_or(1, |(first, _)| first.0)
    }

    fn read(&self, from: u64, bytes_max: usize) {
        let skipped = usize::try_from(from.max(self.first()) - 1).unwrap();
        let mut expected = Vec::new();
        let mut bytes = 0;
        for record in &self.records[skipped.min(self.records.len())..] {
            expected.push(record.clone());
            bytes += record.bytes.len();
            if bytes >= bytes_max {
                break;
            }
        }
        assert!(
            self.log.read(Lsn(from), bytes_max).unwrap() == expected,
            "reading from {from}"
        );
    }

    fn check(&self) {
        let end = (self.end() > 0).then_some(self.end());
        assert_eq!(self.log.bounds().map(|(_, end)| end.0), end);
        assert!(self.first() <= self.released_before.max(1));
        assert!(self.log.damaged().is_empty());
        let names = segments(&self.medium).len();
        let bytes: usize = self.records[usize::try_from(self.first() - 1).unwrap()..]
            .iter()
            .map(|record| record.bytes.len() + 40)
            .sum();
        // Every group may leave some room unused; what counts is that released files go away.
        assert!(
            names <= 4 + 3 * bytes / 4_000,
            "{names} files for {bytes} bytes"
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_log_is_a_list(acts in prop::collection::vec(act(), 1..60)) {
        let mut model = Model::new();
        for act in acts {
            model.act(act);
        }
        model.act(Act::Reopen(false));
        model.read(1, usize::MAX);
    }
}
