//! Snapshots for replicas: when one starts, who is in it, how its bytes are framed.
//!
//! One snapshot at a time, made by the engine's stepwise walk. All replicas that wait when it begins
//! are in it, and each is promised the stream from the snapshot's offset on. Two framings:
//!
//! ```text
//! streamed as it is made (diskless):   $EOF:<40 characters>\r\n  <bytes>  <the same 40 characters>
//! through a file, length known:        $<length>\r\n             <bytes>
//! ```
//!
//! After a streamed one nothing more is sent until the replica acknowledges: a Redis replica that
//! stores the payload in a file looks for the mark at the very end of what it has received.

use super::primary::{Background, Filter, LinkState, Serving};
use super::{Action, Cx, Settings, seconds};
use alloc::format;
use alloc::vec::Vec;
use bytes::Bytes;

/// A snapshot that was asked for or is under way.
#[derive(Debug)]
pub(super) struct Snapshot {
    phase: Phase,
    /// Streamed to the replicas' sockets; otherwise to a file first.
    diskless: bool,
    filter: Filter,
    /// The offset as of which it is taken, once it began.
    offset: u64,
    /// The end mark of a streamed one.
    mark: Bytes,
    /// What came of one that needs its length first and went to no file: kept until it is complete.
    held: Vec<Bytes>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// The engine has not begun yet.
    Requested,
    /// It is being made.
    Running,
    /// Its file is being sent.
    Sending,
}

impl Snapshot {
    /// Whether its bytes go to the replicas as they are made.
    pub fn is_streamed(&self) -> bool {
        self.diskless && self.phase != Phase::Requested
    }
}

fn in_snapshot(state: LinkState) -> bool {
    matches!(state, LinkState::WaitEnd | LinkState::SendBulk)
}

impl Serving {
    /// A replica was put into the queue: attach it to the snapshot under way, start one, or say for
    /// what it waits.
    pub(super) fn queue_for_snapshot(&mut self, cx: &mut Cx<'_>) {
        match &self.snapshot {
            Some(snapshot) if snapshot.diskless => cx
                .out
                .notice("Current BGSAVE has socket target. Waiting for next BGSAVE for SYNC"),
            Some(snapshot) if snapshot.phase == Phase::Requested => {
                cx.out.notice("Waiting for end of BGSAVE for SYNC");
            }
            Some(_) => self.attach_newest(cx),
            None => self.wait_or_start(cx),
        }
    }

    fn wait_or_start(&mut self, cx: &mut Cx<'_>) {
        let Some(link) = self.links.last() else {
            return;
        };
        if self.background == Background::Save {
            cx.out.notice(
                "Can't attach the replica to the current BGSAVE. Waiting for next BGSAVE for SYNC",
            );
            return;
        }
        let delay = cx.settings.diskless_sync_delay_s;
        if cx.settings.diskless_sync && link.announced.eof && delay > 0 {
            cx.out.notice("Delay next BGSAVE for diskless SYNC");
            self.start_snapshot_if_due(cx);
        } else if self.background == Background::Idle {
            self.start_snapshot(cx);
        } else {
            cx.out.notice(
                "No BGSAVE in progress, but another BG operation is active. BGSAVE for replication delayed",
            );
        }
    }

    /// The newest replica joins a snapshot that goes to a file, if another one in it already makes us
    /// keep the journal from its offset on, and it can take the same file.
    fn attach_newest(&mut self, cx: &mut Cx<'_>) {
        let Some((new, others)) = self.links.split_last_mut() else {
            return;
        };
        let fits = self
            .snapshot
            .as_ref()
            .filter(|snapshot| snapshot.phase == Phase::Running)
            .filter(|snapshot| snapshot.filter == new.announced.filter)
            .filter(|_| {
                others.iter().any(|other| {
                    let (a, b) = (&other.announced, &new.announced);
                    other.state == LinkState::WaitEnd
                        && (!a.rdb_only || b.rdb_only)
                        && (b.eof || !a.eof)
                        && (b.psync2 || !a.psync2)
                })
            });
        match fits {
            Some(snapshot) => {
                new.promise(cx, snapshot.offset);
                cx.out.notice("Waiting for end of BGSAVE for SYNC");
            }
            None => cx.out.notice(
                "Can't attach the replica to the current BGSAVE. Waiting for next BGSAVE for SYNC",
            ),
        }
    }

    /// When a delayed snapshot is due, if one waits.
    pub(super) fn snapshot_due(&self, settings: &Settings) -> Option<u64> {
        if self.snapshot.is_some() || self.background != Background::Idle {
            return None;
        }
        let waiting = || {
            self.links
                .iter()
                .filter(|link| link.state == LinkState::WaitStart)
        };
        let oldest = waiting().map(|link| link.since_us).min()?;
        let max = settings.diskless_sync_max_replicas;
        if !settings.diskless_sync || (max > 0 && waiting().count() >= max) {
            return Some(0);
        }
        Some(oldest.saturating_add(seconds(settings.diskless_sync_delay_s)))
    }

    pub(super) fn start_snapshot_if_due(&mut self, cx: &mut Cx<'_>) {
        if self
            .snapshot_due(cx.settings)
            .is_some_and(|due| due <= cx.now.mono_us)
        {
            self.start_snapshot(cx);
        }
    }

    fn start_snapshot(&mut self, cx: &mut Cx<'_>) {
        let waiting = || {
            self.links
                .iter()
                .filter(|link| link.state == LinkState::WaitStart)
        };
        let Some(filter) = waiting().map(|link| link.announced.filter).next() else {
            return;
        };
        let included = || waiting().filter(|link| link.announced.filter == filter);
        let streams = cx.settings.diskless_sync || filter != Filter::ALL;
        let diskless = streams && included().all(|link| link.announced.eof);
        let target = if diskless { "replicas sockets" } else { "disk" };
        cx.out
            .notice(format!("Starting BGSAVE for SYNC with target: {target}"));
        cx.out.push(Action::WantSnapshot {
            diskless,
            filter,
            replicas: included().map(|link| link.conn).collect(),
        });
        self.snapshot = Some(Snapshot {
            phase: Phase::Requested,
            diskless,
            filter,
            offset: 0,
            mark: Bytes::copy_from_slice(&cx.ids.mark()),
            held: Vec::new(),
        });
    }

    pub(super) fn background(&mut self, cx: &mut Cx<'_>, work: Background) {
        self.background = work;
        self.start_snapshot_if_due(cx);
    }

    pub(super) fn snapshot_began(&mut self, cx: &mut Cx<'_>) {
        let Some(snapshot) = &mut self.snapshot else {
            return;
        };
        if snapshot.phase != Phase::Requested {
            return;
        }
        cx.journal.seal();
        if !cx.following {
            // Who starts here knows of no SELECT. (A primary's stream that we pass on is not ours to
            // change: there the snapshot says which database it is in.)
            cx.journal.forget_db();
        }
        snapshot.phase = Phase::Running;
        snapshot.offset = cx.journal.end();
        for link in &mut self.links {
            let included = link.state == LinkState::WaitStart
                && link.announced.filter == snapshot.filter
                && (link.announced.eof || !snapshot.diskless);
            if !included {
                continue;
            }
            link.promise(cx, snapshot.offset);
            if snapshot.diskless {
                let mut head = b"$EOF:".to_vec();
                head.extend_from_slice(&snapshot.mark);
                head.extend_from_slice(b"\r\n");
                link.send(cx.now, cx.out, Bytes::from(head));
            }
        }
    }

    pub(super) fn snapshot_size(&mut self, cx: &mut Cx<'_>, bytes: u64) {
        let Some(snapshot) = &mut self.snapshot else {
            return;
        };
        if snapshot.diskless || snapshot.phase != Phase::Running {
            return;
        }
        snapshot.phase = Phase::Sending;
        for link in &mut self.links {
            if link.state == LinkState::WaitEnd {
                link.state = LinkState::SendBulk;
                link.send(cx.now, cx.out, Bytes::from(format!("${bytes}\r\n")));
            }
        }
    }

    pub(super) fn snapshot_chunk(&mut self, cx: &mut Cx<'_>, bytes: &Bytes) {
        let Some(snapshot) = self.snapshot.as_mut().filter(|_| !bytes.is_empty()) else {
            return;
        };
        if !snapshot.diskless && snapshot.phase == Phase::Running {
            return snapshot.held.push(bytes.clone());
        }
        for link in &mut self.links {
            if in_snapshot(link.state) {
                cx.stats.output_bytes += bytes.len() as u64;
                link.send(cx.now, cx.out, bytes.clone());
            }
        }
    }

    pub(super) fn snapshot_ended(&mut self, cx: &mut Cx<'_>, ok: bool) {
        if ok {
            self.send_held(cx);
        }
        let Some(snapshot) = self.snapshot.take() else {
            return;
        };
        if snapshot.phase == Phase::Requested {
            self.refuse_waiting(cx, snapshot.filter);
        } else if ok {
            self.complete(cx, &snapshot);
        } else {
            self.abandon_snapshot(cx);
        }
        self.start_snapshot_if_due(cx);
    }

    /// A snapshot that needs its length first is complete, and here: now the length is known.
    fn send_held(&mut self, cx: &mut Cx<'_>) {
        let held = match &mut self.snapshot {
            Some(snapshot) => core::mem::take(&mut snapshot.held),
            None => return,
        };
        if !held.is_empty() {
            self.snapshot_size(cx, held.iter().map(|bytes| bytes.len() as u64).sum());
            for bytes in &held {
                self.snapshot_chunk(cx, bytes);
            }
        }
    }

    fn complete(&mut self, cx: &mut Cx<'_>, snapshot: &Snapshot) {
        let mut ready = Vec::new();
        for link in &mut self.links {
            if !in_snapshot(link.state) {
                continue;
            }
            if snapshot.diskless {
                link.send(cx.now, cx.out, snapshot.mark.clone());
                cx.out.notice(format!(
                    "Streamed RDB transfer with replica {} succeeded (socket). Waiting for REPLCONF ACK from slave to enable streaming",
                    link.name()
                ));
            }
            link.put_online(cx);
            if link.state == LinkState::Online && !snapshot.diskless {
                ready.push(link.conn);
            }
        }
        for conn in ready {
            self.start_stream(conn);
        }
    }

    /// The snapshot broke off: nobody who was in it can use what it got.
    fn abandon_snapshot(&mut self, cx: &mut Cx<'_>) {
        while let Some(link) = self.links.iter().find(|link| in_snapshot(link.state)) {
            let conn = link.conn;
            cx.out
                .warning("SYNC failed. BGSAVE child returned an error");
            self.disconnect(cx, conn);
        }
    }

    /// The snapshot could not even begin: say so to those who wait for it, and close.
    fn refuse_waiting(&mut self, cx: &mut Cx<'_>, filter: Filter) {
        cx.out.warning("BGSAVE for replication failed");
        for link in &mut self.links {
            if link.state == LinkState::WaitStart && link.announced.filter == filter {
                let error = b"-ERR BGSAVE failed, replication can't continue\r\n";
                link.send(cx.now, cx.out, Bytes::from_static(error));
                link.state = LinkState::Closing;
            }
        }
    }

    /// Replicas left: a snapshot without an audience ends, and another may start.
    pub(super) fn check_snapshot_audience(&mut self, cx: &mut Cx<'_>) {
        let Some(snapshot) = &self.snapshot else {
            return;
        };
        let requested = snapshot.phase == Phase::Requested;
        let attends = |state| match requested {
            true => state == LinkState::WaitStart,
            false => in_snapshot(state),
        };
        if self.links.iter().any(|link| attends(link.state)) {
            return;
        }
        if snapshot.is_streamed() {
            cx.out
                .warning("Diskless rdb transfer, last replica dropped, killing fork child.");
        }
        self.snapshot = None;
        let queued = cx.out.0.len();
        cx.out
            .retract(|action| matches!(action, Action::WantSnapshot { .. }));
        if cx.out.0.len() == queued {
            cx.out.push(Action::CancelSnapshot);
        }
        self.start_snapshot_if_due(cx);
    }

    pub(super) fn snapshot_pending(&self) -> u64 {
        let attached = self.links.iter().filter(|link| in_snapshot(link.state));
        attached.map(|link| link.pending).max().unwrap_or(0)
    }
}

impl super::primary::Link {
    /// Takes the replica into a snapshot as of `offset`: from there on the journal is its stream.
    fn promise(&mut self, cx: &mut Cx<'_>, offset: u64) {
        self.state = LinkState::WaitEnd;
        self.position = offset;
        if !self.pre_psync {
            let answer = format!("+FULLRESYNC {} {offset}\r\n", cx.ids.current());
            self.send(cx.now, cx.out, Bytes::from(answer));
        }
    }
}
