use super::*;
use bytes::Bytes;
use proptest::prelude::{Just, any, prop, prop_assert, prop_assert_eq, prop_oneof, proptest};
use proptest::strategy::Strategy;

const FILE: FileId = FileId(1);

struct Bench {
    disk: Disk,
    op: u64,
}

impl Bench {
    fn new(seed: u64, holes: bool) -> Bench {
        let settings = DiskSettings {
            sector: 16,
            holes,
            ..DiskSettings::default()
        };
        Bench {
            disk: Disk::new(settings, Rng::from_state(seed)),
            op: 0,
        }
    }

    fn run(&mut self, request: DiskRequest) -> Result<DiskReply, DiskError> {
        self.op += 1;
        let due = self.disk.submit(self.op * SEC, OpId(self.op), request);
        let (op, result, next) = self.disk.complete(due.unwrap()).unwrap();
        assert_eq!((op, next), (OpId(self.op), None));
        result
    }

    fn open(&mut self, path: &str, mode: OpenMode) {
        self.run(DiskRequest::Open {
            file: FILE,
            path: path.into(),
            mode,
        })
        .unwrap();
    }

    fn write(&mut self, bytes: &[u8]) -> Result<DiskReply, DiskError> {
        self.run(DiskRequest::Write {
            file: FILE,
            data: vec![Bytes::copy_from_slice(bytes)],
        })
    }

    fn content(&self, path: &str) -> Option<Vec<u8>> {
        self.disk.visible_image().get(path).cloned()
    }

    fn sync(&mut self) -> Result<DiskReply, DiskError> {
        self.run(DiskRequest::Sync { file: FILE })
    }

    fn sync_dir(&mut self) {
        self.run(DiskRequest::SyncDir { path: ".".into() }).unwrap();
    }
}

#[derive(Clone, Debug)]
enum Step {
    Write(Vec<u8>),
    Sync,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let write = prop::collection::vec(1u8.., 1..60).prop_map(Step::Write);
    prop::collection::vec(prop_oneof![3 => write, 1 => Just(Step::Sync)], 1..30)
}

proptest! {
    #[test]
    fn what_was_synced_survives_power_failure_and_the_rest_only_in_part(
        seed: u64, steps in steps(), holes: bool,
    ) {
        let mut bench = Bench::new(seed, holes);
        bench.open("a.aof", OpenMode::Append);
        bench.sync_dir();
        let (mut written, mut synced) = (Vec::new(), 0);
        for step in steps {
            match step {
                Step::Write(bytes) => {
                    bench.write(&bytes).unwrap();
                    written.extend(bytes);
                }
                Step::Sync => {
                    bench.sync().unwrap();
                    synced = written.len();
                }
            }
        }
        prop_assert_eq!(bench.content("a.aof").unwrap(), written.clone());
        let report = bench.disk.power_failed();
        let left = bench.content("a.aof").unwrap();
        prop_assert!(left.starts_with(&written[..synced]));
        prop_assert!(left.len() <= written.len());
        let damaged = report.damaged.first().map(|(_, at)| *at as usize);
        let good = left.iter().zip(&written).take_while(|(a, b)| a == b).count();
        prop_assert_eq!(damaged.unwrap_or(left.len()), good);
        prop_assert!(holes || damaged.is_none());
        if let Some(at) = damaged {
            bench.disk.repair("a.aof", at as u64);
            prop_assert!(written.starts_with(&bench.content("a.aof").unwrap()));
        }
    }

    #[test]
    fn a_killed_process_loses_nothing_that_was_written(seed: u64, bytes in prop::collection::vec(any::<u8>(), 1..99)) {
        let mut bench = Bench::new(seed, true);
        bench.open("a", OpenMode::Create);
        bench.write(&bytes).unwrap();
        bench.disk.process_died();
        prop_assert_eq!(bench.content("a").unwrap(), bytes);
    }

    #[test]
    fn an_unsynced_rename_leaves_the_old_or_the_new_file_and_never_a_mixture(seed: u64) {
        let mut bench = Bench::new(seed, true);
        for (path, text) in [("manifest", b"old".as_slice()), ("temp", b"new")] {
            bench.open(path, OpenMode::Create);
            bench.write(text).unwrap();
            bench.sync().unwrap();
            if path == "manifest" {
                bench.sync_dir();
            }
        }
        bench.run(DiskRequest::Rename { from: "temp".into(), to: "manifest".into() }).unwrap();
        bench.disk.power_failed();
        let left = bench.content("manifest").unwrap();
        prop_assert!(left == b"old" || left == b"new", "{left:?}");
    }
}

#[test]
fn every_fate_of_unsynced_data_and_names_occurs() {
    let (mut gone, mut whole, mut part, mut hole, mut nameless) = (0, 0, 0, 0, 0);
    for seed in 0..400 {
        let mut bench = Bench::new(seed, true);
        bench.open("a", OpenMode::Append);
        bench.write(&[7; 100]).unwrap();
        let report = bench.disk.power_failed();
        match bench.content("a") {
            None => nameless += 1,
            Some(_) if !report.damaged.is_empty() => hole += 1,
            Some(left) if left.is_empty() => gone += 1,
            Some(left) if left.len() == 100 => whole += 1,
            Some(_) => part += 1,
        }
    }
    for count in [gone, whole, part, hole, nameless] {
        assert!(count > 10, "{gone} {whole} {part} {hole} {nameless}");
    }
}

#[test]
fn a_failed_sync_forgets_the_data_and_the_next_one_lies() {
    let mut bench = Bench::new(1, false);
    bench.open("a", OpenMode::Append);
    bench.sync_dir();
    bench.write(b"durable").unwrap();
    bench.sync().unwrap();
    bench.write(b"doomed!").unwrap();
    bench.disk.faults().sync_eio = 1000;
    assert_eq!(bench.sync().unwrap_err().kind, DiskErrorKind::Io);
    bench.disk.faults().sync_eio = 0;
    assert_eq!(bench.sync(), Ok(DiskReply::Done));
    assert_eq!(bench.content("a").unwrap(), b"durabledoomed!");
    bench.write(b"later").unwrap();
    bench.sync().unwrap();
    bench.disk.power_failed();
    assert_eq!(bench.content("a").unwrap(), b"durable\0\0\0\0\0\0\0later");
}

#[test]
fn a_full_disk_takes_what_fits_and_recovers() {
    let mut bench = Bench::new(1, false);
    bench.open("a", OpenMode::Append);
    bench.disk.limit_space(5);
    let error = bench.write(b"12345678").unwrap_err();
    assert_eq!((error.kind, error.written), (DiskErrorKind::NoSpace, 5));
    assert_eq!(bench.write(b"9").unwrap_err().written, 0);
    bench.disk.faults().space = None;
    bench.write(b"678").unwrap();
    assert_eq!(bench.content("a").unwrap(), b"12345678");
}

#[test]
fn a_directory_that_was_not_synced_takes_its_files_with_it() {
    let mut lost = 0;
    for seed in 0..100 {
        let mut bench = Bench::new(seed, false);
        bench
            .run(DiskRequest::MakeDir { path: "d".into() })
            .unwrap();
        bench.open("d/a", OpenMode::Append);
        bench
            .run(DiskRequest::SyncDir { path: "d".into() })
            .unwrap();
        bench.disk.power_failed();
        lost += usize::from(bench.content("d/a").is_none());
    }
    assert!((10..90).contains(&lost), "{lost}");
}

#[test]
fn requests_are_answered_in_their_order_and_a_crash_ends_them() {
    let mut bench = Bench::new(1, false);
    let due = bench
        .disk
        .submit(0, OpId(1), DiskRequest::MakeDir { path: "d".into() });
    assert!(
        bench
            .disk
            .submit(0, OpId(2), DiskRequest::List { path: "d".into() })
            .is_none()
    );
    let (op, _, next) = bench.disk.complete(due.unwrap()).unwrap();
    assert_eq!(op, OpId(1));
    let (op, result, next) = bench.disk.complete(next.unwrap()).unwrap();
    assert_eq!(
        (op, result, next),
        (OpId(2), Ok(DiskReply::Names(vec![])), None)
    );
    let missing = DiskRequest::Open {
        file: FILE,
        path: "nope/x".into(),
        mode: OpenMode::Append,
    };
    assert!(bench.disk.submit(0, OpId(3), missing).is_some());
    bench.disk.process_died();
    assert!(bench.disk.complete(SEC).is_none());
}

/// A server cannot notice what no checksum covers, and the operator has a copy of one file only.
#[test]
fn what_rots_can_be_noticed_and_put_back() {
    let text = b"abc#SUM:3:x\r\nlost#SUM:0:\r\nmore#SUM:4:y\r\n";
    for pick in 0..400u64 {
        let mut bench = Bench::new(1, false);
        bench.open("a.incr.aof", OpenMode::Append);
        let data = vec![Bytes::from_static(text)];
        bench.run(DiskRequest::Write { file: FILE, data }).unwrap();
        bench.run(DiskRequest::Sync { file: FILE }).unwrap();
        bench
            .run(DiskRequest::SyncDir {
                path: String::new(),
            })
            .unwrap();
        let found = bench.disk.rot(pick << 54 | pick, pick % 3 == 0);
        let Some((_, at)) = found else { continue };
        assert!(pick % 3 == 0 || !(13..17).contains(&at), "{at}");
        assert!(bench.disk.rot(pick + 1, false).is_none());
        assert!(bench.disk.restore_rotten());
        let all = bench.disk.files.visible("a.incr.aof");
        assert_eq!(all, Some(&text[..]));
    }
}
