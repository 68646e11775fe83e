//! Databases: the hash table, entries, expiry, eviction, memory accounting.

mod database;
mod entry;
mod garbage;
mod key;
mod sizes;
mod snapshot;
mod table;

pub use database::{DEADLINE_BYTES, Database, Deadline, Store};
pub use entry::{
    Collection, Entry, EntryRef, INLINE_MAX, Object, OwnedValue, Parts, Value, ValueRef,
};
pub use key::{Hasher, Key};
pub use sizes::Sizes;
pub use snapshot::{DatabaseSize, SnapshotItem, SnapshotValue};
pub use table::{POSITION_ZEROS, Place, Table};
