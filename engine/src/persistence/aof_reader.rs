//! Reading commands out of an append-only file, in pieces.
//!
//! ```text
//! file     (command | note)…
//! command  *<arguments>\r\n, then for each:  $<bytes>\r\n <bytes> \r\n
//! note     #…\n                               no data: `#TS:<Unix seconds>`, checksums (see `aof_sum.rs`), and the like
//! ```
//!
//! The grammar is held to the byte, so that the place of damage is known exactly: whoever reads can tell a
//! file that ends too early (or in nothing but zeros) from one that is wrong in the middle.

use super::aof_sum::{Sum, Verdict};
use alloc::vec::Vec;
use core::mem;

/// A command: its arguments.
pub type Command = Vec<Vec<u8>>;

/// Longer notes are damage.
const MAX_NOTE: usize = 1024;
/// `*` or `$`, and what no number exceeds.
const MAX_DIGITS: usize = 18;
const LINE_END: &[u8; 2] = b"\r\n";

/// What comes next in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// A command; [`CommandReader::offset`] is where it ends.
    Command(Command),
    /// A note, without its line end. It says nothing about the data.
    Note(Vec<u8>),
    /// Feed more.
    NeedMore,
    /// The file cannot contain what it announces: it was cut short.
    Short,
    /// The byte at this offset cannot stand there.
    Damage(u64),
    /// The bytes from here up to the present offset are not those that were written, by their checksum.
    Rot(u64),
}

/// Takes a file's bytes apart. Allocates in proportion to what was fed, whatever the file announces.
#[derive(Debug)]
pub struct CommandReader {
    buffer: Vec<u8>,
    at: usize,
    /// Offset in the file of `buffer[at]`.
    offset: u64,
    file_len: u64,
    /// Of what was taken since the last checksum.
    sum: Sum,
    /// Arguments of the command under way that are complete.
    args: Command,
    state: State,
}

#[derive(Debug, PartialEq, Eq)]
enum State {
    /// Between commands.
    Between,
    /// So many arguments are to come.
    Args(u64),
    /// An argument of which `left` bytes are to come, then so many arguments.
    Bytes {
        arg: Vec<u8>,
        left: u64,
        args_left: u64,
    },
}

impl CommandReader {
    /// A reader that begins at an offset in a file of `file_len` bytes.
    pub fn new(offset: u64, file_len: u64) -> CommandReader {
        CommandReader {
            buffer: Vec::new(),
            at: 0,
            offset,
            file_len,
            sum: Sum::default(),
            args: Vec::new(),
            state: State::Between,
        }
    }

    /// The file's next bytes.
    pub fn feed(&mut self, bytes: &[u8]) {
        self.buffer.drain(..mem::take(&mut self.at));
        self.buffer.extend_from_slice(bytes);
    }

    /// Where in the file the first byte stands that was not taken.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Whether the file may end here: nothing is unfinished.
    pub fn at_boundary(&self) -> bool {
        self.state == State::Between && self.at == self.buffer.len()
    }

    /// Bytes fed that were not taken.
    pub fn rest(&self) -> &[u8] {
        &self.buffer[self.at..]
    }

    /// What stands, or should stand, behind what was taken, in words.
    pub fn expected(&self) -> &'static str {
        match self.state {
            State::Between => "a command: '*', the number of its words, and the line's end",
            State::Args(_) => "a word of a command: '$', its length, and the line's end",
            State::Bytes { .. } => "the line's end behind a word of that length",
        }
    }

    /// Takes the next command or note.
    pub fn next_command(&mut self) -> Next {
        loop {
            let step = match mem::replace(&mut self.state, State::Between) {
                State::Between => self.between(),
                State::Args(0) => return Next::Command(mem::take(&mut self.args)),
                State::Args(left) => self.argument_head(left),
                State::Bytes {
                    arg,
                    left,
                    args_left,
                } => self.argument_bytes(arg, left, args_left),
            };
            match step {
                Ok(state) => self.state = state,
                Err((state, next)) => {
                    self.state = state;
                    return next;
                }
            }
        }
    }

    fn between(&mut self) -> Result<State, (State, Next)> {
        match self.rest().first() {
            Some(b'#') => {
                let note = self
                    .rest()
                    .iter()
                    .take(MAX_NOTE)
                    .position(|&byte| byte == b'\n');
                match note {
                    Some(end) => {
                        let line = self.rest()[..end].trim_ascii_end().to_vec();
                        let from = self.offset - self.sum.bytes();
                        match self.sum.check(&line) {
                            Verdict::Other => self.take(end + 1),
                            Verdict::Rotten => return Err((State::Between, Next::Rot(from))),
                            Verdict::Sound => {
                                self.take(end + 1);
                                self.sum.reset();
                            }
                        }
                        Err((State::Between, Next::Note(line)))
                    }
                    None if self.rest().len() >= MAX_NOTE => {
                        Err((State::Between, Next::Damage(self.offset)))
                    }
                    None => Err((State::Between, Next::NeedMore)),
                }
            }
            _ => match self.number(b'*') {
                Ok(0) => Err((State::Between, Next::Damage(self.offset))),
                Ok(count) => Ok(State::Args(count)),
                Err(next) => Err((State::Between, next)),
            },
        }
    }

    fn argument_head(&mut self, left: u64) -> Result<State, (State, Next)> {
        match self.number(b'$') {
            Ok(bytes) if self.offset.saturating_add(bytes + 2) > self.file_len => {
                Err((State::Args(left), Next::Short))
            }
            Ok(bytes) => Ok(State::Bytes {
                arg: Vec::new(),
                left: bytes,
                args_left: left - 1,
            }),
            Err(next) => Err((State::Args(left), next)),
        }
    }

    fn argument_bytes(
        &mut self,
        mut arg: Vec<u8>,
        mut left: u64,
        args_left: u64,
    ) -> Result<State, (State, Next)> {
        let here = self
            .rest()
            .len()
            .min(usize::try_from(left).unwrap_or(usize::MAX));
        // `left` is known to be in the file, yet what is allocated follows what has arrived.
        arg.reserve_exact(here.max(arg.len().min(left as usize)));
        arg.extend_from_slice(&self.buffer[self.at..self.at + here]);
        self.take(here);
        left -= here as u64;
        let unfinished = |arg, next| {
            Err((
                State::Bytes {
                    arg,
                    left,
                    args_left,
                },
                next,
            ))
        };
        if left > 0 {
            return unfinished(arg, Next::NeedMore);
        }
        for (index, expected) in LINE_END.iter().enumerate() {
            match self.rest().get(index) {
                None => return unfinished(arg, Next::NeedMore),
                Some(byte) if byte != expected => {
                    let damage = Next::Damage(self.offset + index as u64);
                    return unfinished(arg, damage);
                }
                Some(_) => {}
            }
        }
        self.take(LINE_END.len());
        self.args.push(arg);
        Ok(State::Args(args_left))
    }

    /// Takes a line of `mark` and a number. Nothing is taken unless the whole line is there.
    fn number(&mut self, mark: u8) -> Result<u64, Next> {
        let line = self.rest();
        let damage = |index: usize| Next::Damage(self.offset + index as u64);
        match line.first() {
            None => return Err(Next::NeedMore),
            Some(&first) if first != mark => return Err(damage(0)),
            Some(_) => {}
        }
        let digits = line[1..]
            .iter()
            .take_while(|byte| byte.is_ascii_digit())
            .count();
        let end = 1 + digits;
        if digits > MAX_DIGITS {
            return Err(damage(MAX_DIGITS));
        }
        for (index, expected) in LINE_END.iter().enumerate() {
            match line.get(end + index) {
                None => return Err(Next::NeedMore),
                Some(byte) if byte != expected || digits == 0 => return Err(damage(end + index)),
                Some(_) => {}
            }
        }
        let value = line[1..end]
            .iter()
            .fold(0, |value, digit| value * 10 + u64::from(digit - b'0'));
        self.take(end + 2);
        Ok(value)
    }

    fn take(&mut self, count: usize) {
        self.sum.update(&self.buffer[self.at..self.at + count]);
        self.at += count;
        self.offset += count as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::format;
    use alloc::vec;
    use proptest::prelude::*;

    fn encode(command: &[&[u8]]) -> Vec<u8> {
        let mut text = format!("*{}\r\n", command.len()).into_bytes();
        for arg in command {
            text.extend_from_slice(format!("${}\r\n", arg.len()).as_bytes());
            text.extend_from_slice(arg);
            text.extend_from_slice(b"\r\n");
        }
        text
    }

    /// The commands up to the end or the first fault, and the last answer.
    fn read(file: &[u8], step: usize) -> (Vec<(Command, u64)>, Next, bool) {
        let mut reader = CommandReader::new(0, file.len() as u64);
        let (mut found, mut last) = (Vec::new(), Next::NeedMore);
        for piece in file.chunks(step) {
            reader.feed(piece);
            loop {
                last = reader.next_command();
                match last {
                    Next::Command(command) => found.push((command, reader.offset())),
                    Next::Note(_) => {}
                    _ => break,
                }
            }
            if last != Next::NeedMore {
                break;
            }
        }
        (found, last, reader.at_boundary())
    }

    #[test]
    fn commands_and_notes() {
        let mut file = b"#TS:1700000000\r\n".to_vec();
        file.extend(encode(&[b"SET", b"k", b"a\r\nb\0"]));
        file.extend(b"#anything\n");
        file.extend(encode(&[b"DEL", b""]));
        for step in 1..file.len() {
            let (found, last, whole) = read(&file, step);
            let commands: Vec<_> = found.into_iter().map(|(command, _)| command).collect();
            let expected: Vec<Command> = vec![
                vec![b"SET".into(), b"k".into(), b"a\r\nb\0".into()],
                vec![b"DEL".into(), b"".into()],
            ];
            assert_eq!((commands, last, whole), (expected, Next::NeedMore, true));
        }
    }

    #[test]
    fn damage_is_found_at_its_place() {
        let at = |file: &[u8]| read(file, 3).1;
        assert_eq!(at(b"SET"), Next::Damage(0));
        assert_eq!(at(b"*0\r\n"), Next::Damage(4));
        assert_eq!(at(b"*-1\r\n"), Next::Damage(1));
        assert_eq!(at(b"*1\n"), Next::Damage(2));
        assert_eq!(at(b"*1\r\n:1\r\n"), Next::Damage(4));
        assert_eq!(at(b"*1\r\n$1\r\nabc\r\n"), Next::Damage(9));
        assert_eq!(at(b"*1\r\n$1\r\na\r\r"), Next::Damage(10));
        assert_eq!(at(b"*12\0\0\0\0\0"), Next::Damage(3));
        assert_eq!(at(b"*1111111111111111111\r\n"), Next::Damage(18));
        assert_eq!(at(b"*1\r\n$100\r\nabc\r\n"), Next::Short);
        assert_eq!(at(&[b'#'; 2000]), Next::Damage(0));
    }

    proptest! {
        #[test]
        fn a_cut_keeps_the_whole_commands(
            commands in proptest::collection::vec(proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..20), 1..4), 1..6),
            cut: prop::sample::Index, step in 1usize..50,
        ) {
            let (mut file, mut ends) = (Vec::new(), Vec::new());
            for command in &commands {
                file.extend(encode(&command.iter().map(Vec::as_slice).collect::<Vec<_>>()));
                ends.push(file.len());
            }
            let cut = cut.index(file.len() + 1);
            let whole = ends.iter().take_while(|&&end| end <= cut).count();
            let (found, last, at_boundary) = read(&file[..cut], step);
            let read_commands: Vec<_> = found.iter().map(|(command, _)| command.clone()).collect();
            prop_assert_eq!(&read_commands[..], &commands[..whole]);
            prop_assert!(matches!(last, Next::NeedMore | Next::Short));
            prop_assert_eq!(at_boundary, cut == 0 || ends.contains(&cut));
        }

        #[test]
        fn any_file_is_answered(file in proptest::collection::vec(prop_oneof![any::<u8>(), prop::sample::select(b"*$#\r\n0123".to_vec())], 0..100), step in 1usize..40) {
            let (_, last, _) = read(&file, step);
            prop_assert!(!matches!(last, Next::Command(_)));
        }
    }
}
