//! What is deleted and too large to be freed where that happens: it waits here, and goes in steps.

use alloc::collections::{BTreeSet, VecDeque};

use super::entry::{Entry, Object, ValueRef};
use super::table::Table;

/// Values with more heap than this are freed in steps, not where they are dropped.
const LARGE_VALUE: usize = 16 * 1024;

/// About what is freed at once: a leaf or node of a collection.
const CHUNK_BYTES: usize = 4096;

/// All that waits to be freed. See the module's documentation.
#[derive(Default)]
pub struct Garbage {
    pieces: VecDeque<Piece>,
    /// Keys and values freed in steps.
    freed: u64,
}

enum Piece {
    /// A table with its entries.
    Table(Table),
    /// Times of keys that are gone with their table.
    Times(BTreeSet<(u64, u64)>),
    /// A large value.
    Value {
        object: Object,
        /// Some of it is freed: it does not know its size any more.
        begun: bool,
    },
}

impl Piece {
    fn value(object: Object) -> Piece {
        Piece::Value {
            object,
            begun: false,
        }
    }
}

/// What it costs to free a value, in chunks: about as many allocations.
fn chunks(object: &Object) -> usize {
    1 + object.memory() / CHUNK_BYTES
}

impl Garbage {
    /// An entry that is in no table any more: if its value is small, it is freed now.
    pub fn add_entry(&mut self, entry: Entry) {
        if let ValueRef::Object(object) = entry.view().value() {
            // The garbage's reference outlives the entry's, so the entry frees nothing large.
            self.add_object(object.clone());
        }
    }

    /// A value: if it is small, it is freed now.
    pub fn add_object(&mut self, object: Object) {
        if object.memory() > LARGE_VALUE {
            self.pieces.push_back(Piece::value(object));
        }
    }

    /// A table with its entries.
    pub fn add_table(&mut self, table: Table) {
        self.pieces.push_back(Piece::Table(table));
    }

    /// An index of times.
    pub fn add_times(&mut self, times: BTreeSet<(u64, u64)>) {
        if !times.is_empty() {
            self.pieces.push_back(Piece::Times(times));
        }
    }

    /// What waits elsewhere; not what was freed there.
    pub fn append(&mut self, mut other: Garbage) {
        self.pieces.append(&mut other.pieces);
    }

    /// Frees about `budget` chunks of values (of some kilobytes each) and keys; true when nothing is left.
    pub fn free_some(&mut self, budget: usize) -> bool {
        let mut budget = budget;
        while budget > 0
            && let Some(piece) = self.pieces.pop_front()
        {
            if let Some(rest) = self.free_of(piece, &mut budget) {
                self.pieces.push_front(rest);
            }
        }
        self.pieces.is_empty()
    }

    /// Frees some of one piece; what is left of it.
    fn free_of(&mut self, piece: Piece, budget: &mut usize) -> Option<Piece> {
        match piece {
            Piece::Table(mut table) => {
                let Garbage { pieces, freed } = self;
                let done = table.free_some(budget, |value| {
                    if let ValueRef::Object(object) = value
                        && object.memory() > LARGE_VALUE
                    {
                        // As in `add_entry`.
                        pieces.push_back(Piece::value(object.clone()));
                        return 1;
                    }
                    *freed += 1;
                    match value {
                        ValueRef::Object(object) => chunks(object),
                        _ => 1,
                    }
                });
                (!done).then_some(Piece::Table(table))
            }
            Piece::Times(mut times) => {
                while *budget > 0 && times.pop_first().is_some() {
                    *budget -= 1;
                }
                (!times.is_empty()).then_some(Piece::Times(times))
            }
            Piece::Value { mut object, begun } => {
                let whole = chunks(&object);
                if !begun && whole <= *budget {
                    *budget -= whole;
                    self.freed += 1;
                    return None;
                }
                let done = object.free_some(core::mem::take(budget));
                self.freed += u64::from(done);
                (!done).then_some(Piece::Value {
                    object,
                    begun: true,
                })
            }
        }
    }

    /// Keys and values that wait.
    pub fn len(&self) -> usize {
        let count = |piece: &Piece| match piece {
            Piece::Table(table) => table.len(),
            Piece::Times(_) => 0,
            Piece::Value { .. } => 1,
        };
        self.pieces.iter().map(count).sum()
    }

    /// Keys and values that were freed in steps since the start or [`Garbage::reset_freed`].
    pub fn freed(&self) -> u64 {
        self.freed
    }

    /// Counts [`Garbage::freed`] from 0 again.
    pub fn reset_freed(&mut self) {
        self.freed = 0;
    }
}
