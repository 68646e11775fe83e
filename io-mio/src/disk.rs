//! The disk thread: carries out the engine's disk requests, one after the other, in their order.
//!
//! ```text
//! loop ── requests of a turn, at once ──▶ thread
//!      ◀── answers, a write's together with that of the sync behind it ──
//! ```
//!
//! Each side sleeps when it has nothing to do, and is woken only then: the thread parks, the loop waits for events or
//! (for a short time, while replies wait for a sync) for the thread.

mod files;

use crate::cpus;
use files::Disk;
use mio::Waker;
use reprise_engine::{DiskError, DiskReply, DiskRequest, OpId};
use std::collections::VecDeque;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering, fence};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

/// What came of a request.
pub type Answer = Result<DiskReply, DiskError>;

/// The poll loop's end of the disk thread.
pub struct DiskThread {
    shared: Arc<Shared>,
    thread: Thread,
    /// Requests of this turn.
    next: Vec<(OpId, DiskRequest)>,
    /// Answers taken from the thread.
    answers: VecDeque<Answered>,
    /// Requests that were not answered yet: without any, nobody wakes the loop.
    under_way: usize,
}

struct Answered {
    op: OpId,
    answer: Answer,
    took: Duration,
    /// The request was a sync.
    sync: bool,
}

/// What both sides see.
struct Shared {
    requests: Mailbox<(OpId, DiskRequest)>,
    answers: Mailbox<Answered>,
    /// The loop is gone, or cannot be woken: the process is about to end.
    over: AtomicBool,
}

/// How a side sleeps, and so how it is woken.
mod sleep {
    pub const AWAKE: u8 = 0;
    pub const PARKED: u8 = 1;
    /// In the poll.
    pub const POLLING: u8 = 2;
}

/// Things for one side, and whether it sleeps until there are some.
struct Mailbox<T> {
    items: Mutex<VecDeque<T>>,
    asleep: AtomicU8,
}

impl<T> Default for Mailbox<T> {
    fn default() -> Mailbox<T> {
        Mailbox {
            items: Mutex::default(),
            asleep: AtomicU8::new(sleep::AWAKE),
        }
    }
}

impl<T> Mailbox<T> {
    fn items(&self) -> MutexGuard<'_, VecDeque<T>> {
        // Nobody panics with the lock; and if: a queue is always whole.
        self.items.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts some in. How the other side sleeps: it is to be woken, and counts as awake.
    fn put(&self, some: impl IntoIterator<Item = T>) -> u8 {
        self.items().extend(some);
        // Either we see that it sleeps, or it sees what we put in.
        fence(Ordering::SeqCst);
        self.asleep.swap(sleep::AWAKE, Ordering::Relaxed)
    }

    /// Says that this side is about to sleep. False if there is something: then it must not.
    fn may_sleep(&self, how: u8) -> bool {
        self.asleep.store(how, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        let empty = self.items().is_empty();
        if !empty {
            self.woke();
        }
        empty
    }

    /// Says that this side is awake.
    fn woke(&self) {
        self.asleep.store(sleep::AWAKE, Ordering::Relaxed);
    }
}

impl DiskThread {
    /// Starts the thread, on these CPUs. `waker` is woken when an answer is there and the loop waits for events. It is
    /// the thread that calls this that runs the loop.
    pub fn start(waker: Arc<Waker>, cpus: String) -> io::Result<DiskThread> {
        let shared = Arc::new(Shared {
            requests: Mailbox::default(),
            answers: Mailbox::default(),
            over: AtomicBool::new(false),
        });
        let desk = Desk {
            shared: Arc::clone(&shared),
            disk: Disk::default(),
            poll_loop: thread::current(),
            waker,
        };
        let handle = thread::Builder::new().name("disk".into()).spawn(move || {
            cpus::bind(&cpus);
            desk.serve();
        })?;
        Ok(DiskThread {
            shared,
            thread: handle.thread().clone(),
            next: Vec::new(),
            answers: VecDeque::new(),
            under_way: 0,
        })
    }

    /// Takes a request, to be handed over by [`submit`](DiskThread::submit).
    pub fn request(&mut self, op: OpId, request: DiskRequest) {
        self.next.push((op, request));
        self.under_way += 1;
    }

    /// Hands over what was requested.
    pub fn submit(&mut self) {
        if !self.next.is_empty() && self.shared.requests.put(self.next.drain(..)) != sleep::AWAKE {
            self.thread.unpark();
        }
    }

    /// The next answer, if one is there, and how long it took to come by.
    pub fn answer(&mut self) -> Option<(OpId, Answer, Duration)> {
        if self.under_way == 0 {
            return None;
        }
        if self.answers.is_empty() {
            self.answers.append(&mut self.shared.answers.items());
        }
        let next = self.answers.pop_front()?;
        self.under_way -= 1;
        Some((next.op, next.answer, next.took))
    }

    /// Waits for the end of a sync, but not for longer than this; whether it came.
    pub fn await_sync(&mut self, patience: Duration) -> bool {
        let until = Instant::now() + patience;
        loop {
            self.answers.append(&mut self.shared.answers.items());
            if self.answers.iter().any(|answered| answered.sync) {
                return true;
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            if self.shared.answers.may_sleep(sleep::PARKED) {
                thread::park_timeout(left);
                self.shared.answers.woke();
            }
        }
    }

    /// The loop is about to wait for events: from now on an answer wakes it. False if one is there already.
    pub fn may_sleep(&self) -> bool {
        self.under_way == 0
            || (self.answers.is_empty() && self.shared.answers.may_sleep(sleep::POLLING))
    }

    /// The loop is awake, and looks for answers by itself.
    pub fn woke(&self) {
        if self.under_way > 0 {
            self.shared.answers.woke();
        }
    }
}

impl Drop for DiskThread {
    fn drop(&mut self) {
        self.shared.over.store(true, Ordering::SeqCst);
        self.thread.unpark();
    }
}

/// The thread's end.
struct Desk {
    shared: Arc<Shared>,
    disk: Disk,
    poll_loop: Thread,
    waker: Arc<Waker>,
}

impl Desk {
    fn serve(mut self) {
        let shared = Arc::clone(&self.shared);
        while !shared.over.load(Ordering::SeqCst) {
            while let Some((op, request)) = self.next(|_| true) {
                self.carry_out(op, request);
            }
            if shared.requests.may_sleep(sleep::PARKED) {
                thread::park();
                shared.requests.woke();
            }
        }
    }

    /// The next request, if it is one that is wanted.
    fn next(&self, wanted: impl FnOnce(&DiskRequest) -> bool) -> Option<(OpId, DiskRequest)> {
        let mut requests = self.shared.requests.items();
        let (_, first) = requests.front()?;
        if wanted(first) {
            requests.pop_front()
        } else {
            None
        }
    }

    fn carry_out(&mut self, op: OpId, request: DiskRequest) {
        let written = match &request {
            DiskRequest::Write { file, .. } => Some(*file),
            _ => None,
        };
        let first = self.answer(op, request);
        // Who waits for a write with a sync behind it waits for both.
        let sync = written.and_then(|written| {
            self.next(|next| matches!(next, DiskRequest::Sync { file } if *file == written))
        });
        let second = sync.map(|(op, request)| self.answer(op, request));
        match self.shared.answers.put([first].into_iter().chain(second)) {
            sleep::PARKED => self.poll_loop.unpark(),
            sleep::POLLING if self.waker.wake().is_err() => {
                self.shared.over.store(true, Ordering::SeqCst);
            }
            _ => {}
        }
    }

    fn answer(&mut self, op: OpId, request: DiskRequest) -> Answered {
        let sync = matches!(request, DiskRequest::Sync { .. });
        let since = Instant::now();
        let answer = self.disk.carry_out(request);
        let took = since.elapsed();
        Answered {
            op,
            answer,
            took,
            sync,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use reprise_engine::{FileId, OpenMode};

    const FILE: FileId = FileId(1);

    fn start() -> (DiskThread, mio::Poll, tempfile::TempDir) {
        let poll = mio::Poll::new().unwrap();
        let waker = Arc::new(Waker::new(poll.registry(), mio::Token(0)).unwrap());
        let disk = DiskThread::start(waker, String::new()).unwrap();
        (disk, poll, tempfile::tempdir().unwrap())
    }

    fn open(disk: &mut DiskThread, dir: &tempfile::TempDir) {
        let path = dir.path().join("a").to_str().unwrap().to_string();
        let (file, mode) = (FILE, OpenMode::Append);
        disk.request(OpId(1), DiskRequest::Open { file, path, mode });
    }

    fn write(disk: &mut DiskThread, op: u64) {
        let data = vec![Bytes::from_static(b"x")];
        disk.request(OpId(op), DiskRequest::Write { file: FILE, data });
    }

    #[test]
    fn answers_come_in_order_and_wake_a_loop_that_polls() {
        let (mut disk, mut poll, dir) = start();
        open(&mut disk, &dir);
        (2..200).for_each(|op| write(&mut disk, op));
        disk.submit();
        let (mut events, mut last) = (mio::Events::with_capacity(1), 0);
        while last < 199 {
            if disk.may_sleep() {
                poll.poll(&mut events, None).unwrap();
            }
            disk.woke();
            while let Some((OpId(op), answer, _)) = disk.answer() {
                assert!(answer.is_ok() && op == last + 1);
                last = op;
            }
        }
    }

    #[test]
    fn who_waits_for_a_sync_gets_it_with_its_write() {
        let (mut disk, _poll, dir) = start();
        open(&mut disk, &dir);
        for op in (2..200).step_by(2) {
            write(&mut disk, op);
            disk.request(OpId(op + 1), DiskRequest::Sync { file: FILE });
            disk.submit();
            while !disk.await_sync(Duration::from_secs(60)) {}
            let mut seen = Vec::new();
            while let Some((op, answer, _)) = disk.answer() {
                assert!(answer.is_ok());
                seen.push(op);
            }
            assert_eq!(seen[seen.len() - 2..], [OpId(op), OpId(op + 1)]);
        }
        assert!(
            !disk.await_sync(Duration::from_millis(1)),
            "nothing is under way"
        );
    }
}
