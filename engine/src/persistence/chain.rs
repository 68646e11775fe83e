//! Disk operations that make sense only one after the other: each leaves when the one before it
//! succeeded, and the first failure ends them.
//!
//! This is what makes file sets crash-safe: the order of the steps is the order of the guarantees, and
//! it can be read in one place, where the list is built.

use super::outbox::{Outbox, Ticket};
use crate::face::{DiskError, DiskReply, DiskRequest};
use alloc::collections::VecDeque;

/// A row of disk operations, each with a name for when it fails.
#[derive(Debug)]
pub(super) struct Chain<S> {
    steps: VecDeque<(S, DiskRequest)>,
    current: Option<S>,
}

/// What an answer meant for the chain.
#[derive(Debug)]
pub(super) enum Progress<S> {
    Going,
    Done,
    Failed(S, DiskError),
}

impl<S: Copy> Chain<S> {
    /// Starts on `steps`; there must be one.
    pub fn start(
        steps: impl IntoIterator<Item = (S, DiskRequest)>,
        ticket: Ticket,
        outbox: &mut Outbox,
    ) -> Chain<S> {
        let mut chain = Chain {
            steps: steps.into_iter().collect(),
            current: None,
        };
        chain.advance(ticket, outbox);
        chain
    }

    /// The step under way.
    pub fn current(&self) -> Option<S> {
        self.current
    }

    /// Takes the answer of the step under way and sends the next.
    pub fn on_disk(
        &mut self,
        result: &Result<DiskReply, DiskError>,
        ticket: Ticket,
        outbox: &mut Outbox,
    ) -> Progress<S> {
        if let (Err(error), Some(step)) = (result, self.current) {
            self.steps.clear();
            return Progress::Failed(step, error.clone());
        }
        self.advance(ticket, outbox);
        if self.current.is_none() {
            Progress::Done
        } else {
            Progress::Going
        }
    }

    fn advance(&mut self, ticket: Ticket, outbox: &mut Outbox) {
        self.current = self.steps.pop_front().map(|(step, request)| {
            outbox.disk(request, ticket);
            step
        });
    }
}
