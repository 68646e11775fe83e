//! One direction of a connection: what was sent, in order, and how far it has come.

use crate::time::Micros;
use std::collections::VecDeque;

#[derive(Debug, Default)]
pub(super) struct Pipe {
    /// `head..head+ready` is delivered and unread, the rest on its way.
    pub buf: Vec<u8>,
    pub head: usize,
    pub ready: usize,
    pub items: VecDeque<(Micros, Item)>,
    pub last_at: Micros,
    pub armed: Option<Micros>,
    pub hold_until: Micros,
    pub blocked_since: Option<Micros>,
    pub sender_waits: bool,
    pub sent: u64,
    /// Fin or Rst was queued: nothing may follow.
    pub ended: bool,
    /// The receiver's machine vanished: what is sent goes nowhere.
    pub void: bool,
    pub stamp: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Item {
    Syn { tries: u32 },
    SynAck,
    Open,
    Data { len: u32, stamp: u32 },
    Fin,
    Rst,
}

impl Pipe {
    pub(super) fn take(&mut self, n: usize) {
        debug_assert!(n <= self.ready);
        self.head += n;
        self.ready -= n;
        if self.head == self.buf.len() {
            self.buf.clear();
            self.head = 0;
        } else if self.head >= 64 * 1024 {
            self.buf.drain(..self.head);
            self.head = 0;
        }
    }

    pub(super) fn discard_ready(&mut self) {
        self.take(self.ready);
    }

    pub(super) fn drop_moving(&mut self, n: usize) {
        let start = self.head + self.ready;
        self.buf.drain(start..start + n);
    }

    /// The receiver vanished: nothing on its way arrives, nothing more will.
    pub(super) fn vanish(&mut self) {
        self.items.clear();
        self.ready = 0;
        self.head = 0;
        self.buf.clear();
        self.void = true;
    }
}
