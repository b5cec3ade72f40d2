//! What the liar says: frames as no replica says them, about what replicas say, and about what never was.

use anabranch_core::hostile::{self, Heard, Positions};
use anabranch_core::{Batch, DocumentWrite, Incarnation, Key, Namespace, Origin, ReplicaId, Seq};
use bytes::Bytes;

use crate::liar::Liar;
use crate::machine::{Holdings, held};
use crate::random::Random;
use crate::workload::NAMESPACES;

/// Origins that never were, most of the time one of so many.
const FABLED: u64 = 5;
/// A position that is forged is above all that a run may come to.
const FAR: u64 = 100_000;

/// To whom it speaks, and who can tell that it lies.
pub(crate) struct Scene {
    pub(crate) site: usize,
    /// It does not speak the newest protocol, and hangs up on who does.
    pub(crate) is_old: bool,
    pub(crate) own: Origin,
    /// Whom that one can ask what they have written.
    pub(crate) writers: Vec<Origin>,
    /// Whether the liar may write anything.
    pub(crate) writes: bool,
    pub(crate) held: Holdings,
}

fn key(text: &str) -> Key {
    Key::new(text).expect("a constant that is a valid key")
}

fn a_namespace(random: &mut Random) -> Namespace {
    let fabled = format!("lies {}", random.between(0, 30));
    let name = match random.chance(850) {
        true => NAMESPACES[random.index(NAMESPACES.len())],
        false => &fabled,
    };
    Namespace::new(name).expect("it is a valid name")
}

fn a_fabled(random: &mut Random) -> Origin {
    let known = random.chance(900);
    let bits = if known {
        random.between(1, FABLED)
    } else {
        random.bits()
    };
    let mut id = [0xfa; 16];
    id[..8].copy_from_slice(&bits.to_be_bytes());
    Origin {
        replica: ReplicaId(id),
        incarnation: Incarnation(bits),
    }
}

fn a_number(random: &mut Random) -> u64 {
    match random.between(0, 3) {
        0 => random.between(1, 20),
        1 => random.between(1, FAR),
        2 => u64::MAX - random.between(1, 10),
        _ => random.bits() >> random.between(1, 63),
    }
}

fn a_seq(random: &mut Random) -> Seq {
    Seq(a_number(random).clamp(1, u64::MAX - 1))
}

impl Liar {
    /// One lie, of one frame or of a few.
    pub(crate) fn lies(&mut self, scene: &Scene) -> Vec<Bytes> {
        let mut frames = self.invent(scene);
        if scene.is_old && self.random.chance(950) {
            frames.retain(|frame| matches!(frame.first(), Some(1..=6)));
        }
        frames
    }

    fn invent(&mut self, scene: &Scene) -> Vec<Bytes> {
        // What it has written itself it never denies, and says at once: who else could tell?
        if let Some(question) = self.question(scene.site) {
            return self.answer(scene, question);
        }
        if self.random.chance(500)
            && let Some(heard) = self.heard[scene.site].pop_back()
        {
            return self.answer(scene, heard);
        }
        match self.random.between(0, 99) {
            0..15 => vec![self.claim(scene)],
            15..25 if scene.writes => vec![self.write()],
            15..33 => self.forge(scene),
            33..40 => self.parts(scene),
            40..48 => vec![self.want()],
            48..60 => vec![self.behind()],
            60..66 => vec![self.begin(scene)],
            66..74 => vec![self.comparison()],
            74..80 => vec![self.ask_root(scene)],
            80..90 => self.small_talk(),
            90..96 => self.garbled(),
            _ => vec![self.compressed()],
        }
    }

    /// Positions that it may claim to anybody: of what was heard and of what never was, but not of the hearer's own.
    fn some_positions(&mut self, scene: &Scene, namespace: &Namespace) -> Positions {
        let known = self.positions.get(namespace).cloned().unwrap_or_default();
        let mut positions = Positions::new();
        for (origin, seq) in known.iter() {
            if origin.replica == scene.own.replica {
                let most = held(&scene.held, namespace, origin);
                if most > Seq(0) && self.random.coin() {
                    positions.push((*origin, Seq(self.random.between(1, most.0))));
                }
            } else if self.random.chance(700) {
                let seq = match self.random.between(0, 2) {
                    0 => *seq,
                    1 => Seq(self.random.between(1, seq.0)),
                    _ => a_seq(&mut self.random),
                };
                positions.push((*origin, seq));
            }
        }
        let many = if self.random.chance(20) { 3_000 } else { 2 };
        for _ in 0..self.random.between(0, many) {
            positions.push((a_fabled(&mut self.random), a_seq(&mut self.random)));
        }
        if self.random.chance(300) {
            positions.push((self.origin(), a_seq(&mut self.random)));
        }
        positions
    }

    fn claim(&mut self, scene: &Scene) -> Bytes {
        let mut sections = Vec::new();
        for _ in 0..self.random.between(0, 3) {
            let namespace = a_namespace(&mut self.random);
            sections.push((namespace.clone(), self.some_positions(scene, &namespace)));
        }
        hostile::frontier(self.random.coin(), sections)
    }

    /// A batch of its own as it says it to everybody: with changes that no document takes in.
    fn own_batch(&self, namespace: &Namespace, seq: u64) -> Batch {
        let refused = hostile::refused_changes();
        let mut random = Random::new(seq ^ self.incarnation.0);
        let count = random.between(1, 3);
        let keys = ["set/1", "feed/1", "cart/1", "cold/2", "gone/1", "lie/1"];
        let mut writes: Vec<DocumentWrite> = Vec::new();
        for _ in 0..count {
            let name = *random.pick(&keys);
            let key = key(name);
            if writes.iter().all(|write| write.key != key) {
                let changes = vec![random.pick(&refused[..4]).clone()];
                writes.push(DocumentWrite { key, changes });
            }
        }
        Batch {
            namespace: namespace.clone(),
            origin: self.origin(),
            seq: Seq(seq),
            time_ms: seq,
            causes: Vec::new(),
            writes,
            receipt: None,
        }
    }

    fn write(&mut self) -> Bytes {
        let namespace = a_namespace(&mut self.random);
        let written = self.written.entry(namespace.clone()).or_default();
        *written += u64::from(self.random.coin());
        let last = *written;
        let first = if self.random.coin() {
            last.saturating_sub(4)
        } else {
            last
        };
        let batches = (first.max(1)..=last).map(|seq| self.own_batch(&namespace, seq));
        hostile::delta(batches.collect())
    }

    /// Batches that can't be: from far ahead, after what never was, of nobody, over limits; or what is there already, with another content.
    fn forge(&mut self, scene: &Scene) -> Vec<Bytes> {
        let namespace = a_namespace(&mut self.random);
        let here = scene.held.get(&namespace).cloned().unwrap_or_default();
        let known: Vec<_> = here.iter().map(|(origin, seq)| (*origin, *seq)).collect();
        let mut batch = self.own_batch(&namespace, self.incarnation.0 >> 1);
        let never = vec![(a_fabled(&mut self.random), a_seq(&mut self.random))];
        (batch.origin, batch.seq) = (a_fabled(&mut self.random), Seq(1));
        batch.causes.clone_from(&never);
        if !known.is_empty() {
            let (origin, seq) = *self.random.pick(&known);
            let is_own = origin.replica == scene.own.replica;
            match self.random.between(0, 4) {
                0 => (batch.origin, batch.seq) = (origin, Seq(self.random.between(1, seq.0))),
                1 => (batch.origin, batch.seq) = (origin, Seq(seq.0 + FAR)),
                2 | 3 if !is_own => (batch.origin, batch.seq) = (origin, seq.next()),
                _ => {}
            }
        }
        if self.random.chance(20) {
            // More than one batch may have, or what no batch has.
            let changes = match self.random.coin() {
                true => vec![Bytes::from(vec![1; 1 << 20]); 4],
                false => hostile::refused_changes().to_vec(),
            };
            batch.writes.push(DocumentWrite {
                key: key("lie/2"),
                changes,
            });
        }
        let next = Batch {
            seq: Seq(batch.seq.0.saturating_add(1)),
            ..batch.clone()
        };
        vec![hostile::delta(vec![batch, next])]
    }

    fn parts(&mut self, scene: &Scene) -> Vec<Bytes> {
        let namespace = a_namespace(&mut self.random);
        let origin = match scene.writers.is_empty() || self.random.coin() {
            true => a_fabled(&mut self.random),
            false => *self.random.pick(&scene.writers),
        };
        let seq = Seq(FAR + self.random.between(0, 30));
        let count = 2 + self.random.index(30);
        let whole = self.random.chance(100);
        let said = if whole {
            count
        } else {
            1 + self.random.index(count - 1)
        };
        let part = |index| hostile::part(&namespace, origin, seq, count, index);
        (0..said).map(part).collect()
    }

    fn want(&mut self) -> Bytes {
        let mut wants = Vec::new();
        for (namespace, frontier) in &self.positions {
            for (origin, seq) in frontier.iter() {
                let after = match self.random.between(0, 5) {
                    0 => None,
                    1 => Some(a_seq(&mut self.random)),
                    2 => Some(*seq),
                    _ => Some(Seq(0)),
                };
                wants.push((namespace.clone(), *origin, after));
            }
        }
        wants.push((
            a_namespace(&mut self.random),
            a_fabled(&mut self.random),
            Some(Seq(0)),
        ));
        hostile::want(wants)
    }

    fn behind(&mut self) -> Bytes {
        let many = if self.random.chance(100) { 500 } else { 4 };
        let mut entries = Vec::new();
        for _ in 0..self.random.between(1, many) {
            let namespace = a_namespace(&mut self.random);
            entries.push((
                namespace,
                a_fabled(&mut self.random),
                a_seq(&mut self.random),
            ));
        }
        hostile::behind(entries)
    }

    /// A comparison that it will not end.
    fn begin(&mut self, scene: &Scene) -> Bytes {
        let namespace = a_namespace(&mut self.random);
        let positions = self.some_positions(scene, &namespace);
        let number = self.random.between(1, 30);
        hostile::compare(number, namespace, positions, self.random.chance(300))
    }

    /// Something of a comparison that there may be, asked for by either.
    fn comparison(&mut self) -> Bytes {
        let number = self.random.between(1, 30);
        let most = if self.random.chance(50) { 20_000 } else { 20 };
        let nodes = self.random.index(most);
        match self.random.between(0, 6) {
            0 => hostile::differ(number, nodes, 4),
            1 => hostile::leaves(number, nodes, 2),
            5 => hostile::sums(number, nodes as u64),
            2 => hostile::part_taken(number, self.random.between(0, 5)),
            3 => hostile::heads(number, vec![(key("set/1"), vec![7; nodes])]),
            4 => hostile::end(number),
            _ => hostile::documents(number, 0, None, Vec::new(), self.random.coin()),
        }
    }

    fn ask_root(&mut self, scene: &Scene) -> Bytes {
        let namespace = a_namespace(&mut self.random);
        let positions = match self.random.between(0, 2) {
            0 => Vec::new(),
            1 => {
                let here = scene.held.get(&namespace);
                let here = here.into_iter().flat_map(|here| here.iter());
                here.map(|(origin, seq)| (*origin, *seq)).collect()
            }
            _ => self.some_positions(scene, &namespace),
        };
        let root = self.random.chance(700).then(|| self.random.bits());
        hostile::ask_root(self.random.bits() >> 1, namespace, positions, root)
    }

    fn small_talk(&mut self) -> Vec<Bytes> {
        let bits = self.random.bits();
        match self.random.between(0, 6) {
            0 => {
                let name = *self.random.pick(&["liar", "somebody else"]);
                hostile::hello(name, "datacenter liar", self.incarnation).to_vec()
            }
            1 => vec![hostile::standing([7; 16])],
            2 => vec![hostile::restate()],
            3 => vec![hostile::taken(bits >> 1)],
            4 => vec![hostile::ask(bits >> 1)],
            5 => vec![hostile::root(bits >> 60, Some(bits))],
            _ => {
                let namespace = a_namespace(&mut self.random);
                let positions =
                    (0..20).map(|_| (a_fabled(&mut self.random), a_seq(&mut self.random)));
                vec![hostile::awaits(vec![(namespace, positions.collect())])]
            }
        }
    }

    /// What somebody said, with something changed.
    fn garbled(&mut self) -> Vec<Bytes> {
        let Some(frame) = self.frames.pop_front() else {
            return Vec::new();
        };
        let mut bytes = frame.to_vec();
        for _ in 0..self.random.between(0, 2) {
            let at = self.random.index(bytes.len());
            if at > 0 {
                bytes[at] ^= 1 << self.random.between(0, 7);
            }
        }
        vec![bytes.into()]
    }

    fn compressed(&mut self) -> Bytes {
        let size = *self.random.pick(&[0, 1, 1_000, 1 << 22, 1 << 23, u64::MAX]);
        let mut block = vec![0x1f, 3, 1, 0];
        block.resize(self.random.index(20_000) + 5, 0xff);
        hostile::compressed(size, &block)
    }

    /// An answer to what a replica said, such as it is.
    fn answer(&mut self, scene: &Scene, heard: Heard) -> Vec<Bytes> {
        match heard {
            Heard::Compare {
                number,
                namespace,
                positions,
            } => self.serve(scene, number, &namespace, positions),
            Heard::Root { number, confirms } => {
                let bits = self.random.bits();
                vec![hostile::root(number, Some(if confirms { 0 } else { bits }))]
            }
            Heard::Comparison { number, digests } => self.go_on(number, digests),
            Heard::Documents { number } => {
                let mut sections = Vec::new();
                for (namespace, frontier) in &self.positions {
                    let all = frontier.iter();
                    let all = all.map(|(origin, _)| (*origin, Seq(u64::MAX - 1)));
                    sections.push((namespace.clone(), all.collect()));
                }
                vec![hostile::given(number, sections)]
            }
            Heard::Holds(_) | Heard::Batches(_) | Heard::Other => Vec::new(),
        }
    }

    /// Answers who asks to be compared: with no more than it holds, or with what somebody can tell never was.
    fn serve(
        &mut self,
        scene: &Scene,
        number: u64,
        namespace: &Namespace,
        theirs: Positions,
    ) -> Vec<Bytes> {
        let mut positions = theirs;
        if self.random.chance(200) {
            positions.retain(|_| self.random.coin());
        }
        let forged = match self.random.between(0, 9) {
            0..5 if !scene.writers.is_empty() => Some(*self.random.pick(&scene.writers)),
            5 => Some(scene.own),
            _ => None,
        };
        if let Some(forged) = forged {
            positions.retain(|(origin, _)| *origin != forged);
            let written = self
                .positions
                .get(namespace)
                .map_or(Seq(0), |all| all.of(&forged));
            positions.push((forged, Seq(written.0 + FAR)));
            positions.sort_unstable();
        }
        let bits = *self.random.pick(&[0, 2, 4, 4, 8, 20]);
        let leaf_bits = *self.random.pick(&[0, 4, 8, 8, 12, 40, 41]);
        let from = u32::try_from(self.random.bits() >> 32).unwrap_or_default();
        let cut = match self.random.coin() {
            true => hostile::cut(number, positions, leaf_bits, bits, from),
            false => {
                let width = *self.random.pick(&[1, 20, 77, 50, 84, 13_860]);
                hostile::sketched_cut(number, positions, 3 * width, from.into())
            }
        };
        let mut frames = vec![cut];
        if self.random.coin() {
            frames.push(hostile::documents(number, 0, None, Vec::new(), true));
        }
        frames
    }

    fn go_on(&mut self, number: u64, digests: usize) -> Vec<Bytes> {
        let refused = hostile::refused_changes();
        match self.random.between(0, 8) {
            0 | 1 => {
                let nodes = digests.min(4_000);
                vec![hostile::differ(number, nodes, 4)]
            }
            2 => vec![hostile::leaves(number, digests.min(100), 3)],
            3 => {
                let piece = self.random.pick(refused).clone();
                let document = (key("set/1"), self.random.bits(), vec![piece]);
                let part = self.random.between(0, 1);
                vec![hostile::documents(
                    number,
                    part,
                    Some(document),
                    Vec::new(),
                    self.random.coin(),
                )]
            }
            4 => {
                let unclear = (0..200).map(|n| key(&format!("cold/{n}")));
                vec![hostile::documents(number, 0, None, unclear.collect(), true)]
            }
            5 => {
                let part = |part| hostile::documents(number, part, None, Vec::new(), false);
                (0..20).map(part).collect()
            }
            6 => vec![hostile::part_taken(number, u64::MAX)],
            7 => vec![hostile::end(number)],
            _ => vec![hostile::documents(number, 0, None, Vec::new(), true)],
        }
    }
}
