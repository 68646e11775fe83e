use super::*;
use crate::rng::Rng;
use crate::time::Queue;
use proptest::prelude::*;

const A: Host = 0;
const B: Host = 1;

/// Two hosts, B listening on port 1; runs until nothing happens before `until`.
struct Bench {
    net: Network,
    queue: Queue<NetEvent>,
    now: Micros,
    log: Vec<(Host, EndRef, Notice)>,
}

impl Bench {
    fn new(settings: NetSettings, seed: u64) -> Bench {
        let mut net = Network::new(2, settings, Rng::from_state(seed));
        net.listen(B, &[1]);
        Bench {
            net,
            queue: Queue::default(),
            now: 0,
            log: Vec::new(),
        }
    }

    fn run(&mut self, until: Micros) {
        let mut later = Vec::new();
        loop {
            for (at, event) in self.net.schedule.drain(..) {
                self.queue.push(at, event);
            }
            self.log.extend(self.net.notices.drain(..));
            match self.queue.pop() {
                Some((at, event)) if at <= until => {
                    self.now = at;
                    self.net.on_event(at, event);
                }
                Some(beyond) => later.push(beyond),
                None => break,
            }
        }
        for (at, event) in later {
            self.queue.push(at, event);
        }
        self.now = until;
    }

    fn open(&mut self) -> (EndRef, EndRef) {
        let a = self.net.connect(self.now, A, B, 1);
        self.run(self.now + 10 * SEC);
        assert!(
            self.log
                .iter()
                .any(|(_, end, notice)| *end == a && *notice == Notice::Connected)
        );
        (a, a.peer())
    }

    fn read_all(&mut self, end: EndRef) -> Vec<u8> {
        let bytes = self.net.readable(end).to_vec();
        self.net.consume(end, bytes.len());
        bytes
    }

    fn closed(&self, end: EndRef) -> Option<&'static str> {
        self.log.iter().find_map(|(_, at, notice)| match notice {
            Notice::Closed { reason } if *at == end => Some(*reason),
            _ => None,
        })
    }
}

fn settings(chop: Chop) -> NetSettings {
    NetSettings {
        chop,
        chopped_per_mille: 1000,
        ..NetSettings::default()
    }
}

proptest! {
    #[test]
    fn bytes_arrive_whole_and_in_order_however_they_are_cut(
        seed: u64,
        sends in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..300), 1..20),
        chop in prop_oneof![
            Just(Chop::Whole), (1u32..40).prop_map(Chop::Random), (1u32..500).prop_map(Chop::Bytes)
        ],
        bandwidth in prop_oneof![Just(0u64), 1_000u64..1_000_000],
    ) {
        let mut config = settings(chop);
        config.link.bandwidth = bandwidth;
        let mut bench = Bench::new(config, seed);
        let (a, b) = bench.open();
        let mut got = Vec::new();
        for bytes in &sends {
            prop_assert_eq!(bench.net.send(bench.now, a, bytes, 0), bytes.len());
            bench.run(bench.now + 100);
            got.extend(bench.read_all(b));
        }
        bench.run(bench.now + 60 * SEC);
        got.extend(bench.read_all(b));
        prop_assert_eq!(got, sends.concat());
    }

    #[test]
    fn a_reset_delivers_a_prefix_and_tells_both_ends(seed: u64, len in 1usize..2000, wait in 0u64..1000) {
        let mut bench = Bench::new(settings(Chop::Random(50)), seed);
        let (a, b) = bench.open();
        let sent: Vec<u8> = (0..len).map(|i| i as u8).collect();
        bench.net.send(bench.now, a, &sent, 0);
        bench.run(bench.now + wait);
        let mut got = bench.read_all(b);
        bench.net.reset(bench.now, a.conn);
        bench.run(bench.now + 10 * SEC);
        got.extend(bench.read_all(b));
        prop_assert!(sent.starts_with(&got));
        prop_assert_eq!(bench.closed(a), Some("Connection reset by peer"));
        prop_assert_eq!(bench.closed(b), Some("Connection reset by peer"));
    }
}

#[test]
fn one_byte_runs_are_delivered_one_by_one() {
    let mut config = settings(Chop::Bytes(100));
    config.link.bandwidth = 1000;
    let mut bench = Bench::new(config, 3);
    let (a, b) = bench.open();
    bench.log.clear();
    bench.net.send(bench.now, a, b"abcdefgh", 0);
    bench.run(bench.now + 10 * SEC);
    let notices = bench
        .log
        .iter()
        .filter(|(_, end, notice)| *end == b && *notice == Notice::Readable);
    assert_eq!(notices.count(), 8);
}

#[test]
fn a_reader_that_does_not_read_stops_the_sender() {
    let config = NetSettings {
        window: 100,
        ..NetSettings::default()
    };
    let mut bench = Bench::new(config, 1);
    let (a, b) = bench.open();
    assert_eq!(bench.net.send(bench.now, a, &[1; 150], 0), 100);
    bench.run(bench.now + SEC);
    assert_eq!(bench.net.send(bench.now, a, &[1; 50], 0), 0);
    bench.net.consume(b, 30);
    bench.run(bench.now + SEC);
    assert!(
        bench
            .log
            .iter()
            .any(|(_, end, notice)| *end == a && *notice == Notice::Writable)
    );
    assert_eq!(bench.net.send(bench.now, a, &[1; 50], 0), 30);
}

#[test]
fn a_one_way_block_stalls_one_direction_only_and_heals() {
    let mut bench = Bench::new(NetSettings::default(), 5);
    let (a, b) = bench.open();
    bench.net.block(bench.now, A, B, true);
    bench.net.send(bench.now, a, b"to b", 0);
    bench.net.send(bench.now, b, b"to a", 0);
    bench.run(bench.now + 5 * SEC);
    assert_eq!(
        (bench.read_all(a), bench.read_all(b)),
        (b"to a".to_vec(), vec![])
    );
    bench.net.block(bench.now, A, B, false);
    bench.run(bench.now + 5 * SEC);
    assert_eq!(bench.read_all(b), b"to b");
    assert_eq!(bench.closed(a), None);
}

#[test]
fn patience_ends_a_stalled_sender_and_keepalive_its_peer() {
    let mut bench = Bench::new(NetSettings::default(), 5);
    let (a, b) = bench.open();
    bench.net.block(bench.now, A, B, true);
    bench.net.send(bench.now, a, b"x", 0);
    bench.run(bench.now + 61 * SEC);
    assert_eq!(bench.closed(a), Some("Connection timed out"));
    bench.net.close(bench.now, a);
    bench.net.block(bench.now, A, B, false);
    bench.run(bench.now + 60 * SEC);
    assert_eq!(bench.closed(b), Some("Connection timed out"));
}

#[test]
fn a_dead_process_is_felt_at_once_and_a_dead_machine_only_by_keepalive_or_its_return() {
    let mut bench = Bench::new(NetSettings::default(), 9);
    let (a, _) = bench.open();
    bench.net.process_died(bench.now, B);
    bench.run(bench.now + SEC);
    assert!(bench.closed(a).is_some());

    for returns in [false, true] {
        let mut bench = Bench::new(NetSettings::default(), 9);
        let (a, _) = bench.open();
        bench.net.machine_died(bench.now, B);
        bench.net.send(bench.now, a, b"into the void", 0);
        bench.run(bench.now + 10 * SEC);
        assert_eq!(bench.closed(a), None);
        if returns {
            bench.net.machine_up(bench.now, B);
            bench.run(bench.now + 10 * SEC);
            assert_eq!(bench.closed(a), Some("Connection reset by peer"));
        } else {
            bench.run(bench.now + 60 * SEC);
            assert_eq!(bench.closed(a), Some("Connection timed out"));
        }
    }
}

#[test]
fn connecting_fails_as_the_system_would_say() {
    let mut bench = Bench::new(NetSettings::default(), 2);
    bench.net.refuse(B, true);
    let refused = bench.net.connect(bench.now, A, B, 1);
    let nobody = bench.net.connect(bench.now, A, B, 2);
    bench.run(bench.now + SEC);
    assert_eq!(bench.closed(refused), Some("Connection refused"));
    assert_eq!(bench.closed(nobody), Some("Connection refused"));
    bench.net.machine_died(bench.now, B);
    let void = bench.net.connect(bench.now, A, B, 1);
    bench.run(bench.now + 30 * SEC);
    assert_eq!(bench.closed(void), None);
    bench.run(bench.now + 200 * SEC);
    assert_eq!(bench.closed(void), Some("Connection timed out"));
}

#[test]
fn a_stalled_connection_delivers_after_its_successor() {
    let mut bench = Bench::new(NetSettings::default(), 4);
    let (old_a, old_b) = bench.open();
    bench.net.stall(old_a.conn, bench.now + 20 * SEC);
    bench.net.send(bench.now, old_a, b"old", 0);
    let new_a = bench.net.connect(bench.now, A, B, 1);
    bench.run(bench.now + SEC);
    bench.net.send(bench.now, new_a, b"new", 0);
    bench.run(bench.now + SEC);
    assert_eq!(bench.read_all(new_a.peer()), b"new");
    assert_eq!(bench.read_all(old_b), b"");
    bench.run(bench.now + 30 * SEC);
    assert_eq!(bench.read_all(old_b), b"old");
}

#[test]
fn slots_are_recycled_but_names_are_not() {
    let mut bench = Bench::new(NetSettings::default(), 4);
    let (a, b) = bench.open();
    bench.net.close(bench.now, a);
    bench.run(bench.now + SEC);
    assert_eq!(bench.closed(b), Some(""));
    bench.net.close(bench.now, b);
    bench.run(bench.now + SEC);
    assert_eq!(bench.net.live().count(), 0);
    let (again, _) = bench.open();
    assert_eq!(again.conn.index, a.conn.index);
    assert_ne!(again.conn, a.conn);
    assert_eq!(bench.net.send(bench.now, a, b"late", 0), 4);
    assert_eq!(bench.net.readable(again.peer()), b"");
}
