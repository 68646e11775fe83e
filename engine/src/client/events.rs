//! Keyspace notifications of the running command, until they are published.

use alloc::vec::Vec;

use crate::config::NotifyEvents;

/// Something happened to a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyEvent {
    /// The key's database.
    pub db: usize,
    /// What happened, in Redis's words.
    pub name: &'static str,
    /// The key.
    pub key: Vec<u8>,
}

/// What happened to keys since the last publication, as far as `notify-keyspace-events` asks for it.
#[derive(Debug, Default)]
pub struct KeyEvents {
    list: Vec<KeyEvent>,
}

impl KeyEvents {
    /// Notes an event of a class, if the class is among the chosen (`notify-keyspace-events`).
    #[inline]
    pub fn note(
        &mut self,
        chosen: NotifyEvents,
        class: NotifyEvents,
        db: usize,
        name: &'static str,
        key: &[u8],
    ) {
        if !chosen.is_empty() && chosen.contains(class) {
            let key = key.to_vec();
            self.list.push(KeyEvent { db, name, key });
        }
    }

    /// Whether there is nothing to publish.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// What is to be published, in order.
    pub fn take(&mut self) -> Vec<KeyEvent> {
        core::mem::take(&mut self.list)
    }
}
