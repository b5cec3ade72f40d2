//! Every engine here keeps every promise of the seam.
#![allow(clippy::unwrap_used)]

mod bed;

use std::fs;
use std::path::PathBuf;

use anabranch_core::Incarnation;
use anabranch_core::persist::Recovery;
use anabranch_store::conformance::{Bed, compact};
use anabranch_store::faulty::{Faults, FaultyMedium};
use anabranch_store::{MemoryMedium, MemoryStore, OpenError, Opening, Store};
use bed::{CACHE_BYTES, opening};
use tempfile::TempDir;

/// The store in a directory. A crash kills the process and not the machine.
struct Directory {
    root: TempDir,
    copies: u32,
}

impl Directory {
    fn new() -> Self {
        Self {
            root: tempfile::tempdir().unwrap(),
            copies: 0,
        }
    }

    fn path(&self) -> PathBuf {
        self.root.path().join(self.copies.to_string())
    }
}

impl Bed for Directory {
    type Engine = Store;

    fn open(&mut self, fresh: Incarnation) -> Result<(Store, Recovery), OpenError> {
        Store::open_directory(&self.path(), fresh, compact, CACHE_BYTES)
    }

    fn crash(&mut self, engine: Store) {
        drop(engine);
    }

    fn copy(&mut self) {
        let from = self.path();
        self.copies += 1;
        fs::create_dir(self.path()).unwrap();
        for entry in fs::read_dir(from).unwrap() {
            let entry = entry.unwrap();
            fs::copy(entry.path(), self.path().join(entry.file_name())).unwrap();
        }
    }

    fn proves_continuity(&self) -> bool {
        // Only a machine that can tell its own restarts apart can prove anything.
        cfg!(target_os = "linux")
    }
}

/// The store on a medium that loses what is not synced.
struct Faulty {
    medium: FaultyMedium,
    copies: u32,
    crashes: u64,
}

impl Faulty {
    fn new() -> Self {
        Self {
            medium: FaultyMedium::new(1),
            copies: 0,
            crashes: 0,
        }
    }
}

impl Bed for Faulty {
    type Engine = Store;

    fn open(&mut self, fresh: Incarnation) -> Result<(Store, Recovery), OpenError> {
        let opening = Opening {
            fresh,
            ..opening(&self.copies.to_string(), 0)
        };
        Store::open(self.medium.clone(), opening)
    }

    fn crash(&mut self, engine: Store) {
        self.crashes += 1;
        let after = self.medium.after_power_cut(self.crashes);
        drop(engine);
        self.medium = after;
    }

    fn copy(&mut self) {
        self.medium = self.medium.copy(u64::from(self.copies));
        self.copies += 1;
    }

    fn set_full(&mut self, full: bool) -> bool {
        self.medium.set_faults(Faults {
            room_bytes: full.then(|| self.medium.used_bytes()),
            ..Faults::default()
        });
        true
    }
}

/// The engine in memory.
struct Memory {
    medium: MemoryMedium,
    copies: u32,
}

impl Memory {
    fn new() -> Self {
        Self {
            medium: MemoryMedium::new(),
            copies: 0,
        }
    }
}

impl Bed for Memory {
    type Engine = MemoryStore;

    fn open(&mut self, fresh: Incarnation) -> Result<(MemoryStore, Recovery), OpenError> {
        let opening = Opening {
            fresh,
            ..opening(&self.copies.to_string(), 0)
        };
        MemoryStore::open(&self.medium, opening)
    }

    fn crash(&mut self, engine: MemoryStore) {
        drop(engine);
    }

    fn copy(&mut self) {
        self.medium = self.medium.copy();
        self.copies += 1;
    }

    fn set_full(&mut self, full: bool) -> bool {
        self.medium.set_full(full);
        true
    }
}

mod in_a_directory {
    anabranch_store::conformance!(super::Directory::new());
}

mod on_a_faulty_medium {
    anabranch_store::conformance!(super::Faulty::new());
}

mod in_memory {
    anabranch_store::conformance!(super::Memory::new());
}
