//! A machine's medium through all its lives: the store's faulty one, and what chance makes go wrong with it.

use anabranch_store::faulty::{Faults, FaultyMedium};

use crate::random::Random;

/// One medium. A power cut strikes all its files at once, and their names.
pub(crate) struct SimMedium {
    held: FaultyMedium,
    faults: Faults,
    /// It has had too little room since the last start.
    limited: bool,
    /// One write will find no room, or has.
    refuses: bool,
    /// Bits were flipped on it.
    flipped: bool,
    random: Random,
}

impl SimMedium {
    pub(crate) fn new(mut random: Random) -> Self {
        Self {
            held: FaultyMedium::new(random.bits()),
            faults: Faults::default(),
            limited: false,
            refuses: false,
            flipped: false,
            random,
        }
    }

    /// For a store to lie on.
    pub(crate) fn handle(&self) -> FaultyMedium {
        self.held.clone()
    }

    fn set(&mut self, faults: Faults) {
        self.held.set_faults(faults.clone());
        self.faults = faults;
    }

    /// Lets the machine die at the call after so many.
    pub(crate) fn light_fuse(&mut self, calls: u64) {
        let dies_at = Some(self.held.calls() + calls);
        self.set(Faults {
            dies_at,
            ..self.faults.clone()
        });
    }

    /// Lets the call after so many fail.
    pub(crate) fn inject(&mut self, calls: u64) {
        // What has failed once stays known to have.
        if !self.has_faulted() {
            let fails_at = Some(self.held.calls() + calls);
            self.set(Faults {
                fails_at,
                ..self.faults.clone()
            });
        }
    }

    /// Whether a call has failed since the last start.
    pub(crate) fn has_faulted(&self) -> bool {
        let calls = self.held.calls();
        self.faults.fails_at.is_some_and(|at| calls > at)
    }

    /// Whether the machine died at a call.
    pub(crate) fn is_off(&self) -> bool {
        let calls = self.held.calls();
        self.faults.dies_at.is_some_and(|at| calls > at)
    }

    /// From now on there is room for so many bytes more, or for any number.
    pub(crate) fn limit(&mut self, more_bytes: Option<u64>) {
        self.limited |= more_bytes.is_some();
        self.set(Faults {
            room_bytes: more_bytes.map(|more| self.held.used_bytes() + more),
            ..self.faults.clone()
        });
    }

    /// One write finds no room, the one that goes past so many bytes from now on.
    pub(crate) fn refuse_after(&mut self, bytes: u64) {
        self.limited = true;
        self.refuses = true;
        self.held.refuse_writes_after(bytes);
    }

    /// Whether there was too little room at any time since the last start.
    pub(crate) fn was_limited(&self) -> bool {
        self.limited
    }

    /// From now on every call fails: the process is gone.
    pub(crate) fn switch_off(&mut self) {
        if let Some(dies_at) = self.held.calls().checked_sub(1) {
            self.set(Faults {
                dies_at: Some(dies_at),
                ..self.faults.clone()
            });
        }
    }

    /// Calls work again. Nothing that was written is lost if only the process died.
    pub(crate) fn switch_on(&mut self) {
        let room_bytes = self.faults.room_bytes;
        self.limited = room_bytes.is_some() || self.refuses;
        self.set(Faults {
            room_bytes,
            ..Faults::default()
        });
    }

    /// No fault that has not struck ever will.
    pub(crate) fn mend(&mut self) {
        let fails_at = self.faults.fails_at.filter(|_| self.has_faulted());
        self.set(Faults {
            fails_at,
            ..Faults::default()
        });
    }

    /// The power was cut: of what was not synced, any part may be there.
    pub(crate) fn lose_power(&mut self) {
        self.held = self.held.after_power_cut(self.random.bits());
        self.refuses = false;
    }

    /// What a backup would hold that is taken now.
    pub(crate) fn image(&mut self) -> FaultyMedium {
        self.held.after_power_cut(self.random.bits())
    }

    /// Another medium takes this one's place, an empty one or one with an image on it.
    pub(crate) fn replace(&mut self, image: Option<&FaultyMedium>) {
        let seed = self.random.bits();
        self.held = match image {
            Some(image) => image.copy(seed),
            None => FaultyMedium::new(seed),
        };
        self.faults = Faults::default();
        self.refuses = false;
        self.flipped = false;
    }

    /// Whether bits were flipped on it at any time.
    pub(crate) fn was_flipped(&self) -> bool {
        self.flipped
    }

    /// Flips a bit in a file whose name begins like this, most likely where something is written. Which it was.
    pub(crate) fn flip(&mut self, prefix: &str) -> Option<(String, usize)> {
        let names = self.held.file_names();
        let fit: Vec<_> = names.iter().filter(|n| n.starts_with(prefix)).collect();
        if fit.is_empty() {
            return None;
        }
        let name = *self.random.pick(&fit);
        let content = self.held.content(name).filter(|c| !c.is_empty())?;
        let mut at = self.random.index(content.len());
        for _ in 0..200 {
            if content[at] != 0 {
                break;
            }
            at = self.random.index(content.len());
        }
        let bit = at as u64 * 8 + self.random.between(0, 7);
        let flipped = self.held.flip(name, bit);
        self.flipped |= flipped;
        flipped.then(|| (name.clone(), at))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use anabranch_store::Medium as _;

    use super::*;

    #[test]
    fn a_fuse_kills_at_its_call_and_for_good() {
        let mut medium = SimMedium::new(Random::new(1));
        let disk = medium.handle().open("a").unwrap();
        medium.light_fuse(2);
        disk.set_len(512).unwrap();
        disk.write(0, &[1; 512]).unwrap();
        assert!(!medium.is_off());
        assert!(disk.sync().is_err() && medium.is_off() && disk.len().is_err());
        medium.switch_on();
        assert!(!medium.is_off() && disk.sync().is_ok());
        medium.switch_off();
        assert!(medium.is_off() && disk.sync().is_err());
    }

    #[test]
    fn a_fault_strikes_once_and_is_remembered_until_the_next_start() {
        let mut medium = SimMedium::new(Random::new(1));
        let disk = medium.handle().open("a").unwrap();
        medium.inject(0);
        assert!(!medium.has_faulted());
        assert!(disk.sync().is_err() && medium.has_faulted());
        assert!(disk.sync().is_ok() && medium.has_faulted());
        medium.mend();
        assert!(medium.has_faulted());
        medium.switch_on();
        assert!(!medium.has_faulted());
    }

    #[test]
    fn room_runs_out_and_comes_back() {
        let mut medium = SimMedium::new(Random::new(1));
        let disk = medium.handle().open("a").unwrap();
        disk.set_len(16 << 10).unwrap();
        medium.limit(Some(4 << 10));
        disk.write(0, &[1; 4 << 10]).unwrap();
        assert!(disk.write(4 << 10, &[1; 4 << 10]).is_err());
        medium.limit(None);
        disk.write(4 << 10, &[1; 4 << 10]).unwrap();
        assert!(medium.was_limited() && !medium.has_faulted());
    }
}
