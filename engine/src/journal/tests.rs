//! The log against a plain `Vec<u8>`.

use super::*;
use alloc::format;
use alloc::vec::Vec;
use proptest::prelude::*;

/// The log as anyone would write it: all bytes ever, and marks.
struct Model {
    base: u64,
    bytes: Vec<u8>,
    sealed: u64,
    retained: u64,
    db: Option<u32>,
}

impl Model {
    fn new(base: u64) -> Model {
        Model {
            base,
            bytes: Vec::new(),
            sealed: base,
            retained: base,
            db: None,
        }
    }

    fn end(&self) -> u64 {
        self.base + self.bytes.len() as u64
    }

    fn slice(&self, from: u64, to: u64) -> &[u8] {
        &self.bytes[(from - self.base) as usize..(to - self.base) as usize]
    }
}

#[derive(Clone, Debug)]
enum Step {
    Raw(usize),
    Command(Vec<usize>),
    Select(u32),
    ForgetDb,
    Seal,
    SealEach(usize),
    Read(u16, u64),
    Retain(u16),
    Rebase(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0usize..3000).prop_map(Step::Raw),
        1 => (0usize..200_000).prop_map(Step::Raw),
        6 => prop::collection::vec(0usize..300, 1..6).prop_map(Step::Command),
        3 => (0u32..20).prop_map(Step::Select),
        1 => Just(Step::ForgetDb),
        6 => Just(Step::Seal),
        2 => (1usize..80).prop_map(Step::SealEach),
        6 => (any::<u16>(), prop_oneof![0u64..5000, Just(u64::MAX)]).prop_map(|(a, b)| Step::Read(a, b)),
        3 => any::<u16>().prop_map(Step::Retain),
        1 => (0u64..1 << 40).prop_map(Step::Rebase),
    ]
}

/// A point `part`/65535 of the way between two offsets.
fn between(from: u64, to: u64, part: u16) -> u64 {
    from + ((to - from) as u128 * u128::from(part) / 65535) as u64
}

fn command(args: &[Vec<u8>]) -> Vec<u8> {
    let mut out = format!("*{}\r\n", args.len()).into_bytes();
    for arg in args {
        out.extend_from_slice(format!("${}\r\n", arg.len()).as_bytes());
        out.extend_from_slice(arg);
        out.extend_from_slice(b"\r\n");
    }
    out
}

fn read_all(journal: &Journal, from: u64, max: u64) -> Vec<u8> {
    journal.read(from, max).flatten().collect()
}

proptest! {
    #[test]
    fn behaves_like_a_vec(base in 0u64..1 << 40, steps in prop::collection::vec(step(), 0..120)) {
        let mut journal = Journal::new(base);
        let mut model = Model::new(base);
        let mut byte = 0u8;
        let mut fill = |n: usize| -> Vec<u8> {
            (0..n).map(|_| { byte = byte.wrapping_mul(37).wrapping_add(11); byte }).collect()
        };
        for step in steps {
            match step {
                Step::Raw(n) => {
                    let bytes = fill(n);
                    journal.append_raw(&bytes);
                    model.bytes.extend_from_slice(&bytes);
                }
                Step::Command(lens) => {
                    let args: Vec<Vec<u8>> = lens.into_iter().map(&mut fill).collect();
                    let slices: Vec<&[u8]> = args.iter().map(|arg| &arg[..]).collect();
                    journal.append_command(&slices);
                    model.bytes.extend_from_slice(&command(&args));
                }
                Step::Select(db) => {
                    journal.select(db);
                    if model.db != Some(db) {
                        model.db = Some(db);
                        let args = [b"SELECT".to_vec(), format!("{db}").into_bytes()];
                        model.bytes.extend_from_slice(&command(&args));
                    }
                }
                Step::ForgetDb => {
                    journal.forget_db();
                    model.db = None;
                }
                Step::Seal => {
                    journal.seal();
                    model.sealed = model.end();
                }
                Step::SealEach(n) => {
                    for _ in 0..n {
                        let bytes = fill(20);
                        journal.append_raw(&bytes);
                        journal.seal();
                        model.bytes.extend_from_slice(&bytes);
                    }
                    model.sealed = model.end();
                }
                Step::Read(part, max) => {
                    let from = between(model.retained, model.sealed, part);
                    let to = model.sealed.min(from.saturating_add(max));
                    prop_assert!(read_all(&journal, from, max) == model.slice(from, to));
                }
                Step::Retain(part) => {
                    model.retained = between(model.retained, model.sealed, part);
                    journal.retain_from(model.retained);
                }
                Step::Rebase(offset) => {
                    journal.rebase(offset);
                    model = Model::new(offset);
                }
            }
            prop_assert_eq!(journal.end(), model.end());
            prop_assert_eq!(journal.sealed(), model.sealed);
            prop_assert!(journal.start() <= model.retained);
            prop_assert!(journal.bytes_held() as u64 >= journal.end() - journal.start());
        }
        journal.seal();
        prop_assert!(read_all(&journal, model.retained, u64::MAX) == model.slice(model.retained, model.end()));
    }
}

#[test]
fn unsealed_bytes_are_not_seen() {
    let mut journal = Journal::new(7);
    journal.append_raw(b"abc");
    assert_eq!((journal.sealed(), journal.end()), (7, 10));
    assert_eq!(read_all(&journal, 7, 100), b"");
    // A tail that had to start a new block stays hidden all the same.
    journal.append_raw(&[b'x'; 3 * BLOCK_BYTES]);
    assert_eq!(read_all(&journal, 7, 100), b"");
    journal.seal();
    assert_eq!(read_all(&journal, 7, 4), b"abcx");
}

#[test]
fn sealing_copies_nothing_and_readers_share() {
    let mut journal = Journal::new(0);
    journal.append_raw(&[1; 1000]);
    let written = journal.tail.as_ptr();
    journal.seal();
    let (a, b) = (journal.read(0, 9).next(), journal.read(0, 9).next());
    assert_eq!(a.unwrap().as_ptr(), written);
    assert_eq!(b.unwrap().as_ptr(), written);
}

#[test]
fn a_reader_keeps_its_bytes_after_they_are_dropped() {
    let mut journal = Journal::new(0);
    journal.append_raw(b"hello");
    journal.seal();
    let bytes = journal.read(0, 5).next();
    journal.retain_from(5);
    assert_eq!((journal.start(), journal.chunks.len()), (5, 0));
    assert_eq!(bytes.unwrap(), "hello");
}

#[test]
fn many_small_seals_make_few_chunks() {
    let mut journal = Journal::new(0);
    for _ in 0..100_000 {
        journal.append_raw(b"0123456789");
        journal.seal();
    }
    assert!(journal.chunks.len() < 100_000 / MERGE_RUN + MERGE_RUN);
    // The log's memory stays near its content: one million bytes here.
    assert!(journal.bytes_held() < 1_300_000, "{}", journal.bytes_held());
}

#[test]
fn select_is_written_on_change_only() {
    let mut journal = Journal::new(0);
    journal.select(0);
    journal.select(0);
    journal.select(11);
    journal.forget_db();
    journal.select(11);
    journal.seal();
    let zero = "*2\r\n$6\r\nSELECT\r\n$1\r\n0\r\n";
    let eleven = "*2\r\n$6\r\nSELECT\r\n$2\r\n11\r\n";
    let expected = format!("{zero}{eleven}{eleven}");
    assert_eq!(read_all(&journal, 0, u64::MAX), expected.as_bytes());
}

#[test]
#[should_panic(expected = "journal read at 3")]
fn reading_what_was_dropped_is_a_bug() {
    let mut journal = Journal::new(0);
    journal.append_raw(b"hello");
    journal.seal();
    journal.retain_from(5);
    let _ = journal.read(3, 1);
}
