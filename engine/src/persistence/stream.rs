//! A snapshot on its way into a temporary file: opened, written in pieces, synced, closed.
//!
//! Whoever owns the stream renames the file when it is complete. Pieces are pushed without waiting for
//! the disk, but only while few bytes are under way: the snapshot's producer asks
//! [`Stream::wants_more`], so memory stays bounded however slow the disk is.

use super::outbox::{Outbox, Ticket};
use crate::face::{DiskError, DiskReply, DiskRequest, FileId, OpenMode};
use alloc::collections::VecDeque;
use alloc::string::String;
use alloc::vec;
use bytes::Bytes;

/// With incremental syncs, one each so many bytes, so that the last one is short (Redis: 4 MB).
const SYNC_EVERY: u64 = 4 << 20;
/// The producer is held up from this many bytes under way.
const MAX_UNDER_WAY: u64 = 4 << 20;

/// An operation of the stream under way. The number tells streams apart: answers for one that was called
/// off are nobody's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct StreamWait {
    pub stream: u32,
    pub op: StreamOp,
}

/// What an operation of a stream does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum StreamOp {
    Open,
    Write,
    Sync,
    Close,
}

#[derive(Debug)]
pub(super) enum StreamProgress {
    Going,
    /// The file is complete, durable and closed.
    Finished,
    Failed(StreamOp, DiskError),
}

#[derive(Debug)]
pub(super) struct Stream {
    number: u32,
    file: FileId,
    pub path: String,
    incremental_sync: bool,
    opened: bool,
    ended: bool,
    /// Sizes of the writes under way.
    under_way: VecDeque<u64>,
    under_way_bytes: u64,
    unsynced: u64,
    /// Bytes pushed so far.
    pub len: u64,
    wrap: fn(StreamWait) -> Ticket,
}

impl Stream {
    /// Opens the file. `wrap` makes the owner's tickets.
    pub fn start(
        number: u32,
        file: FileId,
        path: String,
        incremental_sync: bool,
        wrap: fn(StreamWait) -> Ticket,
        outbox: &mut Outbox,
    ) -> Stream {
        let request = DiskRequest::Open {
            file,
            path: path.clone(),
            mode: OpenMode::Create,
        };
        let stream = Stream {
            number,
            file,
            path,
            incremental_sync,
            opened: false,
            ended: false,
            under_way: VecDeque::new(),
            under_way_bytes: 0,
            unsynced: 0,
            len: 0,
            wrap,
        };
        outbox.disk(request, stream.ticket(StreamOp::Open));
        stream
    }

    /// Whether the producer should go on.
    pub fn wants_more(&self) -> bool {
        !self.ended && self.under_way_bytes < MAX_UNDER_WAY
    }

    /// The next piece.
    pub fn push(&mut self, piece: Bytes, outbox: &mut Outbox) {
        if piece.is_empty() {
            return;
        }
        let bytes = piece.len() as u64;
        self.len += bytes;
        self.unsynced += bytes;
        self.under_way_bytes += bytes;
        self.under_way.push_back(bytes);
        outbox.disk(
            DiskRequest::Write {
                file: self.file,
                data: vec![piece],
            },
            self.ticket(StreamOp::Write),
        );
        if self.incremental_sync && self.unsynced >= SYNC_EVERY {
            self.unsynced = 0;
            outbox.disk(
                DiskRequest::Sync { file: self.file },
                self.ticket(StreamOp::Sync),
            );
        }
    }

    /// No more pieces: make the file durable and close it.
    pub fn end(&mut self, outbox: &mut Outbox) {
        self.ended = true;
        outbox.disk(
            DiskRequest::Sync { file: self.file },
            self.ticket(StreamOp::Sync),
        );
        outbox.disk(
            DiskRequest::Close { file: self.file },
            self.ticket(StreamOp::Close),
        );
    }

    /// The answer to an operation of this stream. After a failure the owner must [`abort`](Stream::abort) it.
    pub fn on_disk(
        &mut self,
        wait: StreamWait,
        result: Result<DiskReply, DiskError>,
    ) -> StreamProgress {
        if wait.stream != self.number {
            return StreamProgress::Going;
        }
        if wait.op == StreamOp::Write {
            self.under_way_bytes -= self.under_way.pop_front().unwrap_or(0);
        }
        match (result, wait.op) {
            (Err(error), op) => StreamProgress::Failed(op, error),
            (Ok(_), StreamOp::Open) => {
                self.opened = true;
                StreamProgress::Going
            }
            (Ok(_), StreamOp::Close) => {
                self.opened = false;
                StreamProgress::Finished
            }
            (Ok(_), _) => StreamProgress::Going,
        }
    }

    /// Gives the file up and deletes it.
    pub fn abort(self, outbox: &mut Outbox) {
        // Close even if it is not known yet to be open; but not twice.
        if !self.ended {
            outbox.disk(DiskRequest::Close { file: self.file }, Ticket::Nobody);
        }
        outbox.disk(DiskRequest::Remove { path: self.path }, Ticket::Nobody);
    }

    fn ticket(&self, op: StreamOp) -> Ticket {
        (self.wrap)(StreamWait {
            stream: self.number,
            op,
        })
    }
}
