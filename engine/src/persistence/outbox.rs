//! What leaves the persistence floor, in order, and who waits for each disk answer.
//!
//! The disk answers in the order of the requests, so a queue of tickets says which part each answer
//! belongs to: no numbers travel with the requests.

use super::{aof, load, save};
use crate::face::{DiskRequest, LogLevel};
use alloc::collections::VecDeque;
use alloc::string::String;

/// What the engine must do for persistence, in the order in which it leaves.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub enum Action {
    /// Hand this request to the disk; its answer goes to [`super::Persistence::on_disk`].
    Disk(DiskRequest),
    /// Write a line to the log.
    Log {
        /// How important.
        level: LogLevel,
        /// The line.
        text: String,
    },
    /// The data set is complete: everything of [`super::Persistence::poll_load`] was taken. The
    /// append-only file is not open yet; [`Action::Ready`] follows.
    Loaded,
    /// Start-up is over: the append-only file, if on, is open. Clients may be served.
    Ready,
    /// The files cannot be loaded or the append-only file cannot be opened: exit with code 1. Nothing
    /// was overwritten. The reasons were logged.
    LoadFailed,
    /// An append-only file must be rewritten: call [`super::Persistence::begin_rewrite`] at the next
    /// command boundary outside MULTI, and feed it a snapshot as of that moment.
    WantRewrite,
    /// A save point is reached: call [`super::Persistence::begin_save`] and feed it a snapshot.
    WantSave,
    /// Stop feeding the snapshot for the AOF base: the rewrite failed or was called off.
    RewriteAborted,
    /// The rewrite is complete and durable.
    RewriteDone,
    /// Stop feeding the snapshot for the file: saving failed or was called off.
    SaveAborted,
    /// The snapshot file is in place and durable.
    SaveDone,
    /// Stop the process at once with code 1: a promise of durability cannot be kept any more.
    Exit,
}

/// Who waits for a disk answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ticket {
    Aof(aof::Wait),
    Load(load::Wait),
    Save(save::Wait),
    /// Nobody: the outcome changes nothing.
    Nobody,
}

#[derive(Debug, Default)]
pub(super) struct Outbox {
    actions: VecDeque<Action>,
    tickets: VecDeque<Ticket>,
}

impl Outbox {
    pub fn push(&mut self, action: Action) {
        debug_assert!(
            !matches!(action, Action::Disk(_)),
            "disk requests need a ticket"
        );
        self.actions.push_back(action);
    }

    pub fn disk(&mut self, request: DiskRequest, ticket: Ticket) {
        self.actions.push_back(Action::Disk(request));
        self.tickets.push_back(ticket);
    }

    pub fn log(&mut self, level: LogLevel, text: String) {
        self.actions.push_back(Action::Log { level, text });
    }

    pub fn notice(&mut self, text: String) {
        self.log(LogLevel::Notice, text);
    }

    pub fn warn(&mut self, text: String) {
        self.log(LogLevel::Warning, text);
    }

    /// Whether everything that was wanted of the disk has been answered.
    pub fn is_quiet(&self) -> bool {
        self.tickets.is_empty()
    }

    /// Takes something back that was not carried out yet; false if it was.
    pub fn take_back(&mut self, action: &Action) -> bool {
        let at = self.actions.iter().position(|a| a == action);
        at.and_then(|at| self.actions.remove(at)).is_some()
    }

    pub fn next_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// Who waits for the next answer. An answer that nobody asked for is nobody's.
    pub fn next_ticket(&mut self) -> Ticket {
        self.tickets.pop_front().unwrap_or(Ticket::Nobody)
    }
}
