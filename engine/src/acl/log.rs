//! What was refused lately: ACL LOG.

use alloc::boxed::Box;
use alloc::collections::VecDeque;

/// Entries that are looked at for one that is like a new one.
const LOOKED_AT: usize = 10;

/// Entries further apart are not taken together, in milliseconds.
const TOGETHER_MS: u64 = 60_000;

/// Bytes of a name that are kept.
const LONGEST: usize = 4096;

/// Why something was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The command is not allowed.
    Command,
    /// A key is not.
    Key,
    /// A channel is not.
    Channel,
    /// The password was wrong, or there is no such user.
    Auth,
}

impl Reason {
    /// As ACL LOG has it.
    pub fn name(self) -> &'static str {
        match self {
            Reason::Command => "command",
            Reason::Key => "key",
            Reason::Channel => "channel",
            Reason::Auth => "auth",
        }
    }
}

/// Where it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Context {
    /// A command by itself.
    TopLevel,
    /// In a transaction.
    Multi,
    /// In a script.
    Lua,
}

impl Context {
    /// As ACL LOG has it.
    pub fn name(self) -> &'static str {
        match self {
            Context::TopLevel => "toplevel",
            Context::Multi => "multi",
            Context::Lua => "lua",
        }
    }
}

/// Refusals that are alike.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// How often.
    pub count: u64,
    /// Why.
    pub reason: Reason,
    /// Where.
    pub context: Context,
    /// The command, key or channel; for AUTH, the command's name as it was written.
    pub object: Box<[u8]>,
    /// The user's name.
    pub user: Box<[u8]>,
    /// The client that was refused last, as CLIENT LIST has it.
    pub client: Box<[u8]>,
    /// A number that is its own.
    pub id: u64,
    /// When it was the first time, in Unix milliseconds.
    pub created_ms: u64,
    /// When it was the last time, in Unix milliseconds.
    pub updated_ms: u64,
}

/// The entries, the latest first.
#[derive(Clone, Debug, Default)]
pub struct Log {
    entries: VecDeque<Entry>,
    next_id: u64,
}

impl Log {
    /// The entries, the latest first.
    pub fn entries(&self) -> &VecDeque<Entry> {
        &self.entries
    }

    /// Forgets all.
    pub fn reset(&mut self) {
        self.entries.clear();
    }

    /// What is kept of a name: an entry must not hold on to the memory of a whole request.
    pub fn kept(name: &[u8]) -> Box<[u8]> {
        name[..name.len().min(LONGEST)].into()
    }

    /// Adds a refusal, or counts it with one of the last that is like it. At most `most` entries are kept.
    pub fn add(&mut self, mut new: Entry, most: u64) {
        let alike = |old: &Entry| {
            old.reason == new.reason
                && old.context == new.context
                && old.updated_ms.abs_diff(new.updated_ms) <= TOGETHER_MS
                && old.object == new.object
                && old.user == new.user
        };
        let at = self.entries.iter().take(LOOKED_AT).position(alike);
        if let Some(mut old) = at.and_then(|at| self.entries.remove(at)) {
            old.count += 1;
            old.client = new.client;
            old.updated_ms = new.updated_ms;
            return self.entries.push_front(old);
        }
        new.id = self.next_id;
        self.next_id += 1;
        self.entries.push_front(new);
        self.entries
            .truncate(usize::try_from(most).unwrap_or(usize::MAX));
    }
}
