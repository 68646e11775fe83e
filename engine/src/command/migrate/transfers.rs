//! Keys on their way to other servers: what each MIGRATE has sent and been told, the connections that are kept
//! for the next one, and the keys that nobody may write meanwhile.
//!
//! ```text
//! Waiting ── a connection is kept ───────────────┐
//!    │                                           ▼
//!    └─ Opening ── it is open ─────────────▶ Talking ── the last reply ──▶ Over
//!          └─ refused, or too late ─▶ Over      └─ cut off before the first reply: once back to Waiting
//! ```
//!
//! Redis stands still until the target has answered; here only the keys do. A key that is being moved can be read,
//! but what may write it waits until the move is over ([`Transfers::locks`]): so the copy that was sent is the
//! value that is deleted. Nothing is deleted that the target has not acknowledged.
//!
//! A transaction or script cannot leave it at that: what comes after its MIGRATE is to be carried out with it. So
//! everybody waits until its transfer is over ([`Transfers::holds_all`]).

use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::string::String;
use alloc::vec::Vec;

use crate::face::{ConnId, Now};

/// Connections kept for later at most.
const MOST_IDLE: usize = 64;

/// How long a connection is kept, in microseconds.
const IDLE_US: u64 = 10_000_000;

/// The longest line of a reply, in bytes: replies to RESTORE are short.
const LONGEST_LINE: usize = 1 << 16;

/// What MIGRATE was told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Order {
    /// The target's host.
    pub host: String,
    /// The target's port.
    pub port: u16,
    /// The target's database.
    pub target_db: i64,
    /// How long the target may be silent, in microseconds.
    pub timeout_us: u64,
    /// The database of the keys.
    pub db: usize,
    /// The keys that are there.
    pub keys: Vec<Vec<u8>>,
    /// They stay here.
    pub copy: bool,
    /// They may be there already.
    pub replace: bool,
    /// Words of AUTH, if it is to be said.
    pub auth: Vec<Vec<u8>>,
}

/// How a MIGRATE ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Who asked; nobody, if it is the one of a transaction or script.
    pub client: Option<ConnId>,
    /// The database of the keys.
    pub db: usize,
    /// Keys that are to be deleted: the target has them.
    pub moved: Vec<Vec<u8>>,
    /// What the client is told, if not OK.
    pub error: Option<Vec<u8>>,
}

/// The line of replies that a target owes.
#[derive(Debug)]
struct Talk {
    conn: ConnId,
    /// When the target has been silent for too long, in monotonic microseconds.
    until_us: u64,
    /// Replies to AUTH and SELECT that are still to come.
    preludes: usize,
    /// The keys that were sent: indexes of the order's.
    sent: Vec<usize>,
    /// Replies to RESTORE that came.
    answered: usize,
    /// The beginning of a line.
    line: Vec<u8>,
    /// The first error that the target replied.
    error: Option<Vec<u8>>,
    /// It was a reply to AUTH or SELECT: no key counts as moved.
    barred: bool,
    /// What the target acknowledged: indexes of the order's keys.
    acknowledged: Vec<usize>,
}

#[derive(Debug)]
enum Stage {
    Waiting,
    Opening { conn: ConnId, until_us: u64 },
    Talking(Talk),
}

#[derive(Debug)]
struct Transfer {
    client: Option<ConnId>,
    order: Order,
    stage: Stage,
    /// It was cut off once, and began anew.
    retried: bool,
}

/// A connection that waits for the next MIGRATE to its target.
#[derive(Debug)]
struct Idle {
    conn: ConnId,
    host: String,
    port: u16,
    /// The database that is selected there, if known.
    selected: Option<i64>,
    until_us: u64,
}

/// What a transfer needs next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Need {
    /// A connection: see [`Transfers::opening`].
    Connection {
        /// Which transfer.
        ticket: u64,
        /// Where to.
        host: String,
        /// Where to.
        port: u16,
    },
    /// The commands, over this connection: see [`Transfers::sent`].
    Commands {
        /// Which transfer.
        ticket: u64,
        /// The connection.
        conn: ConnId,
        /// The database that is selected there, if known.
        selected: Option<i64>,
    },
}

/// The MIGRATE that a transaction or script has come to: there is one at most, since everybody waits for it.
#[derive(Debug, Default)]
enum Nested {
    #[default]
    None,
    UnderWay,
    Over(Outcome),
}

/// All transfers.
#[derive(Debug, Default)]
pub struct Transfers {
    nested: Nested,
    under_way: BTreeMap<u64, Transfer>,
    next_ticket: u64,
    /// Whose each connection in use is.
    users: BTreeMap<ConnId, u64>,
    /// Transfers that need something.
    needs: VecDeque<Need>,
    /// Connections for later, the oldest first.
    idle: Vec<Idle>,
    /// Keys that are being moved, with their databases.
    locked: BTreeSet<(Vec<u8>, usize)>,
    /// What ended, in order; with the keys that are locked until that is carried out.
    over: VecDeque<(Outcome, Order)>,
    /// Connections that are to be closed.
    to_close: Vec<ConnId>,
    /// A client that waits for keys was passed over for the sake of a locked one.
    skipped: bool,
}

impl Transfers {
    /// Begins the transfer of a transaction's or script's MIGRATE: see [`Transfers::holds_all`].
    pub fn begin_nested(&mut self, order: Order) {
        self.nested = Nested::UnderWay;
        self.start(None, order);
    }

    /// Begins the transfer of a client's MIGRATE.
    pub fn begin(&mut self, client: ConnId, order: Order) {
        self.start(Some(client), order);
    }

    fn start(&mut self, client: Option<ConnId>, order: Order) {
        for key in &order.keys {
            self.locked.insert((key.clone(), order.db));
        }
        let ticket = self.next_ticket;
        self.next_ticket += 1;
        let transfer = Transfer {
            client,
            order,
            stage: Stage::Waiting,
            retried: false,
        };
        self.under_way.insert(ticket, transfer);
        self.look_for_connection(ticket);
    }

    /// Whether anything is under way, or its end was not carried out yet.
    pub fn is_empty(&self) -> bool {
        self.under_way.is_empty() && self.over.is_empty()
    }

    /// Whether a transaction or script waits for its transfer's end, and everybody with it.
    #[inline]
    pub fn holds_all(&self) -> bool {
        matches!(self.nested, Nested::UnderWay)
    }

    /// Whether the transfer of a transaction or script is over, which goes on as soon as it can.
    pub fn nested_is_over(&self) -> bool {
        matches!(self.nested, Nested::Over(_))
    }

    /// How it ended, to be carried out now.
    pub fn take_nested(&mut self) -> Option<Outcome> {
        if !self.nested_is_over() {
            return None;
        }
        match core::mem::take(&mut self.nested) {
            Nested::Over(outcome) => Some(outcome),
            Nested::None | Nested::UnderWay => None,
        }
    }

    /// Whether there is nothing to do, not even for kept connections.
    #[inline]
    pub fn is_quiet(&self) -> bool {
        self.is_empty() && self.idle.is_empty() && self.to_close.is_empty()
    }

    /// Number of connections, in use and kept.
    pub fn connections(&self) -> usize {
        self.users.len() + self.idle.len()
    }

    /// Whether a key is being moved; in any database, if `db` is `None`.
    pub fn locks(&self, db: Option<usize>, key: &[u8]) -> bool {
        if self.locked.is_empty() {
            return false;
        }
        let (first, last) = db.map_or((0, usize::MAX), |db| (db, db));
        let range = (key.to_vec(), first)..=(key.to_vec(), last);
        self.locked.range(range).next().is_some()
    }

    /// A client that waits for keys cannot be served while some are locked: it is to be thought of at the end.
    pub fn note_skipped(&mut self) {
        self.skipped = true;
    }

    /// Whether [`Transfers::note_skipped`] was called since the last time.
    pub fn forget_skipped(&mut self) -> bool {
        core::mem::take(&mut self.skipped)
    }

    /// What the next transfer needs.
    pub fn next_need(&mut self) -> Option<Need> {
        self.needs.pop_front()
    }

    /// What a transfer is to move.
    pub fn order(&self, ticket: u64) -> Option<&Order> {
        self.under_way.get(&ticket).map(|transfer| &transfer.order)
    }

    /// The connection that a transfer needed is being opened.
    pub fn opening(&mut self, ticket: u64, conn: ConnId, now: Now) {
        if let Some(transfer) = self.under_way.get_mut(&ticket) {
            let until_us = now.mono_us.saturating_add(transfer.order.timeout_us);
            transfer.stage = Stage::Opening { conn, until_us };
            self.users.insert(conn, ticket);
        }
    }

    /// A connection is open.
    pub fn opened(&mut self, conn: ConnId) {
        if let Some(&ticket) = self.users.get(&conn) {
            self.needs.push_back(Need::Commands {
                ticket,
                conn,
                selected: None,
            });
        }
    }

    /// The commands were sent: so many that do not move keys, then one for each of these keys of the order.
    pub fn sent(&mut self, ticket: u64, conn: ConnId, preludes: usize, keys: Vec<usize>, now: Now) {
        let Some(transfer) = self.under_way.get_mut(&ticket) else {
            return;
        };
        transfer.stage = Stage::Talking(Talk {
            conn,
            until_us: now.mono_us.saturating_add(transfer.order.timeout_us),
            preludes,
            sent: keys,
            answered: 0,
            line: Vec::new(),
            error: None,
            barred: false,
            acknowledged: Vec::new(),
        });
        self.end_if_answered(ticket, now);
    }

    /// The network took some of what was sent: the target is not silent.
    pub fn progress(&mut self, conn: ConnId, now: Now) {
        let Some(transfer) =
            (self.users.get(&conn)).and_then(|ticket| self.under_way.get_mut(ticket))
        else {
            return;
        };
        if let Stage::Talking(talk) = &mut transfer.stage {
            talk.until_us = now.mono_us.saturating_add(transfer.order.timeout_us);
        }
    }

    /// The target says something.
    pub fn receive(&mut self, conn: ConnId, bytes: &[u8], now: Now) {
        let Some(&ticket) = self.users.get(&conn) else {
            // Nobody asked it anything.
            return self.drop_idle(|idle| idle.conn == conn);
        };
        self.progress(conn, now);
        let Some(Transfer {
            stage: Stage::Talking(talk),
            ..
        }) = self.under_way.get_mut(&ticket)
        else {
            return;
        };
        for piece in bytes.split_inclusive(|&b| b == b'\n') {
            talk.line.extend_from_slice(piece);
            if talk.line.ends_with(b"\n") {
                let line = core::mem::take(&mut talk.line);
                talk.reply(line.trim_ascii_end());
            }
        }
        if talk.line.len() > LONGEST_LINE {
            self.to_close.push(conn);
            return self.cut_off(conn, Fault::Reading, false);
        }
        self.end_if_answered(ticket, now);
    }

    /// A connection ended.
    pub fn closed(&mut self, conn: ConnId) {
        self.idle.retain(|idle| idle.conn != conn);
        self.cut_off(conn, Fault::Reading, true);
    }

    /// Gives up what has been silent for too long. `unsent` says whether the network still has to take some of what
    /// is to be sent.
    pub fn give_up_overdue(&mut self, now: Now, unsent: impl Fn(ConnId) -> bool) {
        let overdue: Vec<ConnId> = (self.under_way.values())
            .filter_map(|transfer| transfer.stage.deadline())
            .filter(|&(until, _)| until <= now.mono_us)
            .map(|(_, conn)| conn)
            .collect();
        for conn in overdue {
            let fault = if unsent(conn) {
                Fault::Writing
            } else {
                Fault::Reading
            };
            self.to_close.push(conn);
            self.cut_off(conn, fault, false);
        }
        self.drop_idle(|idle| idle.until_us <= now.mono_us);
    }

    /// This server may move nothing any more: all transfers end with this error.
    pub fn abort(&mut self, error: &[u8]) {
        self.needs.clear();
        self.to_close.extend(self.users.keys());
        self.users.clear();
        for (_, transfer) in core::mem::take(&mut self.under_way) {
            let outcome = Outcome {
                client: transfer.client,
                db: transfer.order.db,
                moved: Vec::new(),
                error: Some(error.to_vec()),
            };
            self.put_over(outcome, transfer.order);
        }
        // The target has these; but it is not for this server any more to delete them.
        let nested = match &mut self.nested {
            Nested::Over(outcome) => Some(outcome),
            Nested::None | Nested::UnderWay => None,
        };
        for outcome in (self.over.iter_mut()).map(|(o, _)| o).chain(nested) {
            outcome.moved.clear();
            outcome.error.get_or_insert_with(|| error.to_vec());
        }
    }

    /// The next connection to close.
    pub fn next_to_close(&mut self) -> Option<ConnId> {
        self.to_close.pop()
    }

    /// Whether the end of a transfer is to be carried out.
    pub fn any_over(&self) -> bool {
        !self.over.is_empty()
    }

    /// The next transfer's end, to be carried out now. Its keys are unlocked.
    pub fn next_over(&mut self) -> Option<Outcome> {
        let (outcome, order) = self.over.pop_front()?;
        self.unlock(order);
        Some(outcome)
    }

    fn unlock(&mut self, order: Order) {
        for key in order.keys {
            self.locked.remove(&(key, order.db));
        }
    }

    /// A transfer is over. (Between the end of a transaction's own and what it does with that nobody writes.)
    fn put_over(&mut self, outcome: Outcome, order: Order) {
        if outcome.client.is_some() {
            return self.over.push_back((outcome, order));
        }
        self.unlock(order);
        self.nested = Nested::Over(outcome);
    }

    /// When [`Transfers::give_up_overdue`] has something to do, in monotonic microseconds.
    pub fn deadline(&self) -> Option<u64> {
        let talks = (self.under_way.values()).filter_map(|t| Some(t.stage.deadline()?.0));
        talks.chain(self.idle.iter().map(|i| i.until_us)).min()
    }

    /// A transfer needs the commands sent over a kept connection, or else a connection.
    fn look_for_connection(&mut self, ticket: u64) {
        let Some(transfer) = self.under_way.get(&ticket) else {
            return;
        };
        let (host, port) = (&transfer.order.host, transfer.order.port);
        let kept = (self.idle.iter()).position(|i| i.port == port && i.host == *host);
        let kept = kept
            .filter(|_| !transfer.retried)
            .map(|i| self.idle.remove(i));
        let need = match kept {
            Some(idle) => {
                self.users.insert(idle.conn, ticket);
                Need::Commands {
                    ticket,
                    conn: idle.conn,
                    selected: idle.selected,
                }
            }
            None => Need::Connection {
                ticket,
                host: host.clone(),
                port,
            },
        };
        self.needs.push_back(need);
    }

    fn drop_idle(&mut self, which: impl Fn(&Idle) -> bool) {
        for idle in self.idle.extract_if(.., |idle| which(idle)) {
            self.to_close.push(idle.conn);
        }
    }

    /// All replies are there: the transfer is over, and its connection can be used again.
    fn end_if_answered(&mut self, ticket: u64, now: Now) {
        let Some(Transfer {
            stage: Stage::Talking(talk),
            order,
            ..
        }) = self.under_way.get(&ticket)
        else {
            return;
        };
        if talk.preludes > 0 || talk.answered < talk.sent.len() {
            return;
        }
        let idle = Idle {
            conn: talk.conn,
            host: order.host.clone(),
            port: order.port,
            selected: talk.error.is_none().then_some(order.target_db),
            until_us: now.mono_us.saturating_add(IDLE_US),
        };
        self.users.remove(&talk.conn);
        if self.idle.len() >= MOST_IDLE {
            self.to_close.push(self.idle.remove(0).conn);
        }
        self.idle.push(idle);
        self.end(ticket, None);
    }

    /// A connection is of no use any more.
    fn cut_off(&mut self, conn: ConnId, fault: Fault, may_retry: bool) {
        let Some(ticket) = self.users.remove(&conn) else {
            return;
        };
        self.needs
            .retain(|need| !matches!(need, Need::Commands { conn: c, .. } if *c == conn));
        let Some(transfer) = self.under_way.get_mut(&ticket) else {
            return;
        };
        let fault = match &transfer.stage {
            // (Redis finds out that it was refused when it writes.)
            Stage::Opening { .. } if may_retry => Fault::Writing,
            Stage::Opening { .. } => Fault::Connecting,
            Stage::Waiting => fault,
            Stage::Talking(talk) if talk.answered > 0 => fault,
            Stage::Talking(_) if !may_retry || transfer.retried => fault,
            // A connection that was kept may have been closed at the other end long ago. Nothing has been
            // acknowledged: to begin anew is safe.
            Stage::Talking(_) => {
                transfer.retried = true;
                transfer.stage = Stage::Waiting;
                return self.look_for_connection(ticket);
            }
        };
        self.end(ticket, Some(fault));
    }

    fn end(&mut self, ticket: u64, fault: Option<Fault>) {
        let Some(transfer) = self.under_way.remove(&ticket) else {
            return;
        };
        let Transfer {
            client,
            order,
            stage,
            ..
        } = transfer;
        let (mut error, mut moved) = (None, Vec::new());
        if let Stage::Talking(talk) = stage {
            error = talk.error.map(|line| {
                let mut text = b"ERR Target instance replied with error: ".to_vec();
                text.extend_from_slice(&line);
                text
            });
            if !order.copy {
                let keys = talk.acknowledged.iter();
                moved = keys.map(|&i| order.keys[i].clone()).collect();
            }
        }
        let outcome = Outcome {
            client,
            db: order.db,
            moved,
            error: error.or(fault.map(|fault| fault.text().to_vec())),
        };
        self.put_over(outcome, order);
    }
}

impl Stage {
    /// When the target has been silent for too long, on which connection.
    fn deadline(&self) -> Option<(u64, ConnId)> {
        match self {
            Stage::Waiting => None,
            Stage::Opening { conn, until_us } => Some((*until_us, *conn)),
            Stage::Talking(talk) => Some((talk.until_us, talk.conn)),
        }
    }
}

impl Talk {
    /// The next reply came, without its line end.
    fn reply(&mut self, line: &[u8]) {
        let error = line.strip_prefix(b"-");
        if let Some(error) = error {
            self.error.get_or_insert_with(|| error.to_vec());
        }
        if self.preludes > 0 {
            self.preludes -= 1;
            self.barred |= error.is_some();
        } else if let Some(&key) = self.sent.get(self.answered) {
            self.answered += 1;
            if error.is_none() && !self.barred {
                self.acknowledged.push(key);
            }
        }
    }
}

/// What was under way when the connection failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    Connecting,
    Reading,
    Writing,
}

impl Fault {
    fn text(self) -> &'static [u8] {
        match self {
            Fault::Connecting => super::CANNOT_CONNECT,
            Fault::Reading => b"IOERR error or timeout reading to target instance",
            Fault::Writing => b"IOERR error or timeout writing to target instance",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    const CLIENT: fn() -> ConnId = || ConnId::accepted(1, 0);

    fn at(ms: u64) -> Now {
        Now {
            mono_us: ms * 1000,
            unix_us: 0,
        }
    }

    fn order(keys: &[&str]) -> Order {
        Order {
            host: "h".into(),
            port: 1,
            timeout_us: 1_000_000,
            keys: keys.iter().map(|k| k.as_bytes().to_vec()).collect(),
            ..Order::default()
        }
    }

    /// Begins, connects and sends; the connection.
    fn begun(transfers: &mut Transfers, n: u64, keys: &[&str], now: Now) -> ConnId {
        transfers.begin(CLIENT(), order(keys));
        let (ticket, conn) = match transfers.next_need() {
            Some(Need::Connection { ticket, .. }) => {
                let conn = ConnId::outgoing(n);
                transfers.opening(ticket, conn, now);
                transfers.opened(conn);
                assert!(
                    matches!(transfers.next_need(), Some(Need::Commands { conn: c, .. }) if c == conn)
                );
                (ticket, conn)
            }
            Some(Need::Commands { ticket, conn, .. }) => (ticket, conn),
            None => panic!("it needs something"),
        };
        transfers.sent(ticket, conn, 1, (0..keys.len()).collect(), now);
        conn
    }

    #[test]
    fn keys_are_locked_until_the_last_reply_and_what_was_acknowledged_has_moved() {
        let mut transfers = Transfers::default();
        let conn = begun(&mut transfers, 1, &["a", "b", "c"], at(0));
        assert!(transfers.locks(Some(0), b"b") && transfers.locks(None, b"b"));
        assert!(!transfers.locks(Some(1), b"b") && !transfers.locks(None, b"x"));
        transfers.receive(conn, b"+OK\r\n+OK\r\n-BUSY", at(1));
        assert!(transfers.next_over().is_none());
        transfers.receive(conn, b"KEY it is there\r\n+OK\r\n", at(2));
        assert!(transfers.any_over() && transfers.locks(None, b"b"));
        let over = transfers.next_over().unwrap();
        assert_eq!(over.moved, [b"a".to_vec(), b"c".to_vec()]);
        assert_eq!(
            over.error.unwrap(),
            b"ERR Target instance replied with error: BUSYKEY it is there"
        );
        assert!(!transfers.locks(None, b"b") && transfers.is_empty());
    }

    #[test]
    fn nothing_has_moved_if_the_target_let_nobody_in() {
        let mut transfers = Transfers::default();
        let conn = begun(&mut transfers, 1, &["a"], at(0));
        transfers.receive(conn, b"-ERR DB index is out of range\r\n+OK\r\n", at(1));
        let over = transfers.next_over().unwrap();
        assert_eq!(over.moved, Vec::<Vec<u8>>::new());
        assert!(over.error.unwrap().ends_with(b"out of range"));
    }

    #[test]
    fn a_connection_is_kept_for_ten_seconds_and_one_that_was_cut_is_replaced_once() {
        let mut transfers = Transfers::default();
        let conn = begun(&mut transfers, 1, &["a"], at(0));
        transfers.receive(conn, b"+OK\r\n+OK\r\n", at(1));
        assert_eq!(begun(&mut transfers, 2, &["b"], at(2)), conn);
        transfers.closed(conn);
        // Another connection, from the beginning.
        let Some(Need::Connection { ticket, .. }) = transfers.next_need() else {
            panic!("it tries again");
        };
        let conn = ConnId::outgoing(3);
        transfers.opening(ticket, conn, at(3));
        transfers.opened(conn);
        let selected = match transfers.next_need() {
            Some(Need::Commands { selected, .. }) => selected,
            other => panic!("{other:?}"),
        };
        assert_eq!(selected, None);
        transfers.sent(ticket, conn, 1, vec![0], at(3));
        transfers.closed(conn);
        assert_eq!(transfers.next_need(), None);
        let errors: Vec<_> = core::iter::from_fn(|| transfers.next_over())
            .map(|o| o.error)
            .collect();
        let expected = b"IOERR error or timeout reading to target instance".to_vec();
        assert_eq!(errors, [None, Some(expected)]);
        let conn = begun(&mut transfers, 4, &["a"], at(10));
        transfers.receive(conn, b"+OK\r\n+OK\r\n", at(10));
        transfers.give_up_overdue(at(10_009), |_| false);
        assert_eq!(transfers.next_to_close(), None);
        assert_eq!(transfers.deadline(), Some(10_010_000));
        transfers.give_up_overdue(at(10_010), |_| false);
        assert_eq!(transfers.next_to_close(), Some(conn));
        assert_eq!(transfers.connections(), 0);
    }

    #[test]
    fn a_silent_target_is_given_up() {
        let mut transfers = Transfers::default();
        let conn = begun(&mut transfers, 1, &["a", "b"], at(0));
        transfers.receive(conn, b"+OK\r\n+OK\r\n", at(900));
        transfers.give_up_overdue(at(1800), |_| false);
        assert!(transfers.next_over().is_none());
        transfers.give_up_overdue(at(1900), |_| false);
        let over = transfers.next_over().unwrap();
        assert_eq!(over.moved, [b"a".to_vec()]);
        assert!(
            over.error
                .unwrap()
                .starts_with(b"IOERR error or timeout reading")
        );
        assert_eq!(transfers.next_to_close(), Some(conn));
        let conn = begun(&mut transfers, 2, &["a"], at(2000));
        transfers.give_up_overdue(at(3000), |c| c == conn);
        let over = transfers.next_over().unwrap();
        assert!(
            over.error
                .unwrap()
                .starts_with(b"IOERR error or timeout writing")
        );
        transfers.begin(CLIENT(), order(&["k"]));
        let Some(Need::Connection { ticket, .. }) = transfers.next_need() else {
            panic!("it needs a connection");
        };
        transfers.opening(ticket, ConnId::outgoing(3), at(4000));
        transfers.give_up_overdue(at(5000), |_| false);
        let over = transfers.next_over().unwrap();
        assert!(
            over.error
                .unwrap()
                .starts_with(b"IOERR error or timeout connecting")
        );
    }

    #[test]
    fn an_abort_ends_all_and_moves_nothing() {
        let mut transfers = Transfers::default();
        let conn = begun(&mut transfers, 1, &["a"], at(0));
        transfers.receive(conn, b"+OK\r\n+OK\r\n", at(1));
        begun(&mut transfers, 2, &["b"], at(2));
        transfers.abort(b"UNBLOCKED");
        for _ in 0..2 {
            let over = transfers.next_over().unwrap();
            assert!(over.moved.is_empty());
            assert_eq!(over.error.as_deref(), Some(&b"UNBLOCKED"[..]));
        }
        transfers.begin_nested(order(&["c"]));
        assert!(transfers.holds_all());
        transfers.abort(b"UNBLOCKED");
        assert!(!transfers.holds_all() && transfers.next_over().is_none());
        let over = transfers.take_nested().unwrap();
        assert!(over.moved.is_empty() && over.error.is_some() && transfers.take_nested().is_none());
        assert!(transfers.is_empty() && !transfers.locks(None, b"b"));
    }
}
