//! R2 and R3 on the wire: a history's every position names one byte, for all time.
//!
//! ```text
//! replica → primary   PING … PSYNC id n            REPLCONF ACK n …
//! primary → replica   +PONG … +FULLRESYNC id n     $EOF:mark or $len, payload, then the stream from n on
//!                           or +CONTINUE [id]      the stream from where it was asked for
//! ```
//!
//! The ledger keeps every byte that a node has sent as part of a history. Where a history continues another one, the
//! common part is the older one's, so a byte that differs between two nodes is found whatever ids they use. A grant to
//! continue is judged by the ledger's own tree of histories, and an acknowledgement by what its sender has applied.

use super::Violation;
use crate::network::{ConnRef, EndRef};
use crate::probe::Standing;
use crate::resp;
use crate::time::Micros;
use std::collections::BTreeMap;

type Id = [u8; 40];

/// Follows all replication links, and remembers all bytes.
#[derive(Debug, Default)]
pub struct Stream {
    links: BTreeMap<ConnRef, Link>,
    histories: BTreeMap<Id, Ledger>,
    /// For each id: the id that it continues, and the position from which on it is its own.
    parents: BTreeMap<Id, (Id, u64)>,
    /// Bytes of streams that were compared with others.
    pub compared: u64,
}

#[derive(Debug, Default)]
struct Link {
    request: Vec<u8>,
    /// What the replica asked to continue: an id and a position.
    asked: Option<(Id, u64)>,
    answer: Vec<u8>,
    stage: Stage,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Stage {
    /// Lines of the handshake.
    #[default]
    Lines,
    /// A full copy was granted, from this position; its first line is awaited.
    Head(Id, u64),
    /// In a payload that ends with this mark.
    Marked(Id, u64, [u8; 40]),
    /// In a payload of which so much is left.
    Counted(Id, u64, u64),
    /// In the stream, at this position.
    Stream(Id, u64),
    /// Not replication.
    Other,
}

#[derive(Debug, Default)]
struct Ledger {
    first: u64,
    bytes: Vec<Option<u8>>,
}

impl Stream {
    /// A node shows where it stands: a primary tells what its history continues.
    pub fn observe(&mut self, standing: &Standing) {
        if standing.primary
            && !standing.loading
            && let Some(previous) = standing.previous
        {
            self.parents.entry(standing.replid).or_insert(previous);
        }
    }

    /// A node, which stands there, sent bytes to another node.
    pub fn sniff(
        &mut self,
        node: u16,
        at: Micros,
        end: EndRef,
        bytes: &[u8],
        standing: &Standing,
    ) -> Option<Violation> {
        let mut link = self.links.remove(&end.conn).unwrap_or_default();
        let found = if link.stage == Stage::Other {
            None
        } else if end.side == 0 {
            link.request.extend_from_slice(bytes);
            read_requests(&mut link, standing)
        } else {
            link.answer.extend_from_slice(bytes);
            self.read_answers(&mut link)
        };
        self.links.insert(end.conn, link);
        let (invariant, text) = found?;
        Some(Violation::safety(
            invariant,
            at,
            format!("node {node}: {text}"),
        ))
    }

    fn read_answers(&mut self, link: &mut Link) -> Option<(&'static str, String)> {
        loop {
            let answer = &mut link.answer;
            match link.stage {
                Stage::Other => return None,
                Stage::Lines => {
                    let end = answer.iter().position(|&byte| byte == b'\n')?;
                    let line: Vec<u8> = answer.drain(..=end).collect();
                    let line = String::from_utf8_lossy(&line).into_owned();
                    let mut words = line.split_whitespace();
                    match words.next() {
                        Some("+FULLRESYNC") => {
                            let id = words.next().and_then(id_of)?;
                            let position = words.next()?.parse().ok()?;
                            link.stage = Stage::Head(id, position);
                        }
                        Some("+CONTINUE") => {
                            let (asked, position) = link.asked?;
                            let id = words.next().and_then(id_of).unwrap_or(asked);
                            link.stage = Stage::Stream(id, position);
                            if !self.is_prefix(asked, position, id) {
                                let text = format!(
                                    "lets {}:{position} continue as {}, which is another history",
                                    String::from_utf8_lossy(&asked),
                                    String::from_utf8_lossy(&id),
                                );
                                return Some(("R3", text));
                            }
                        }
                        _ => {}
                    }
                }
                Stage::Head(id, position) => {
                    let blanks = answer.iter().take_while(|&&byte| byte == b'\n').count();
                    answer.drain(..blanks);
                    let end = answer.iter().position(|&byte| byte == b'\n')?;
                    let line: Vec<u8> = answer.drain(..=end).collect();
                    let line = String::from_utf8_lossy(&line).into_owned();
                    let line = line.trim_end();
                    link.stage = match line.strip_prefix("$EOF:") {
                        Some(mark) => Stage::Marked(id, position, id_of(mark)?),
                        None => Stage::Counted(id, position, line.get(1..)?.parse().ok()?),
                    };
                }
                Stage::Marked(id, position, mark) => {
                    let found = answer.windows(mark.len()).position(|part| part == mark);
                    match found {
                        Some(start) => {
                            answer.drain(..start + mark.len());
                            link.stage = Stage::Stream(id, position);
                        }
                        None => {
                            let done = (answer.len() + 1).saturating_sub(mark.len());
                            answer.drain(..done);
                            return None;
                        }
                    }
                }
                Stage::Counted(id, position, left) => {
                    let taken = left.min(answer.len() as u64);
                    answer.drain(..taken as usize);
                    if taken < left {
                        link.stage = Stage::Counted(id, position, left - taken);
                        return None;
                    }
                    link.stage = Stage::Stream(id, position);
                }
                Stage::Stream(id, position) => {
                    let bytes = std::mem::take(answer);
                    link.stage = Stage::Stream(id, position + bytes.len() as u64);
                    return self.enter(id, position, &bytes).map(|text| ("R2", text));
                }
            }
        }
    }

    /// Enters bytes of a history into the ledger; what is wrong with them.
    fn enter(&mut self, id: Id, mut position: u64, mut bytes: &[u8]) -> Option<String> {
        while !bytes.is_empty() {
            let (owner, until) = self.owner(id, position);
            let len = bytes
                .len()
                .min(usize::try_from(until - position).unwrap_or(usize::MAX));
            let (part, rest) = bytes.split_at(len);
            let ledger = self.histories.entry(owner).or_default();
            match ledger.enter(position, part) {
                Ok(compared) => self.compared += compared,
                Err(index) => {
                    let known = ledger.around(position + index as u64);
                    let sent = &part[index.saturating_sub(30)..part.len().min(index + 30)];
                    return Some(format!(
                        "sends, as byte {} of history {}, {:?}; others have sent {:?} there",
                        position + index as u64,
                        String::from_utf8_lossy(&id),
                        String::from_utf8_lossy(sent),
                        String::from_utf8_lossy(&known),
                    ));
                }
            }
            position += len as u64;
            bytes = rest;
        }
        None
    }

    /// The oldest history to which a position of this one belongs, and up to where that is so.
    fn owner(&self, mut id: Id, position: u64) -> (Id, u64) {
        let mut until = u64::MAX;
        for _ in 0..64 {
            match self.parents.get(&id) {
                Some(&(parent, fork)) if position < fork => (id, until) = (parent, until.min(fork)),
                _ => break,
            }
        }
        (id, until)
    }

    /// Whether history `asked` up to `position` is a prefix of history `id`.
    fn is_prefix(&self, asked: Id, position: u64, mut id: Id) -> bool {
        let mut bound = u64::MAX;
        for _ in 0..64 {
            if id == asked {
                return position <= bound;
            }
            let Some(&(parent, fork)) = self.parents.get(&id) else {
                return false;
            };
            (id, bound) = (parent, bound.min(fork));
        }
        true
    }
}

fn read_requests(link: &mut Link, standing: &Standing) -> Option<(&'static str, String)> {
    loop {
        let blanks = link.request.iter().take_while(|&&byte| byte == b'\n');
        let blanks = blanks.count();
        link.request.drain(..blanks);
        if link.request.first().is_some_and(|&byte| byte != b'*') {
            link.stage = Stage::Other; // The cluster's bus.
            link.request.clear();
            return None;
        }
        let Ok(Some((argv, len))) = resp::parse_request(&link.request) else {
            return None;
        };
        link.request.drain(..len);
        let words: Vec<_> = argv
            .iter()
            .map(|arg| String::from_utf8_lossy(arg))
            .collect();
        let words: Vec<&str> = words.iter().map(|word| &**word).collect();
        match words[..] {
            ["PSYNC", id, number] => {
                let number: u64 = number.parse().unwrap_or(0);
                link.asked = id_of(id).zip(number.checked_sub(1));
            }
            ["REPLCONF", "ACK", offset, ..] => {
                let offset: u64 = offset.parse().unwrap_or(u64::MAX);
                if offset > standing.offset {
                    let applied = standing.offset;
                    return Some((
                        "R2",
                        format!("acknowledges {offset}, has applied {applied}"),
                    ));
                }
            }
            _ => {}
        }
    }
}

impl Ledger {
    /// How many bytes were known already; or the index of the first that differs.
    fn enter(&mut self, position: u64, bytes: &[u8]) -> Result<u64, usize> {
        if self.bytes.is_empty() {
            self.first = position;
        }
        if position < self.first {
            let missing = (self.first - position) as usize;
            self.bytes.splice(..0, std::iter::repeat_n(None, missing));
            self.first = position;
        }
        let start = (position - self.first) as usize;
        if self.bytes.len() < start + bytes.len() {
            self.bytes.resize(start + bytes.len(), None);
        }
        let mut compared = 0;
        for (index, (known, &byte)) in self.bytes[start..].iter_mut().zip(bytes).enumerate() {
            match known {
                Some(known) if *known != byte => return Err(index),
                Some(_) => compared += 1,
                None => *known = Some(byte),
            }
        }
        Ok(compared)
    }

    fn around(&self, position: u64) -> Vec<u8> {
        let at = (position - self.first) as usize;
        let part = &self.bytes[at.saturating_sub(30)..self.bytes.len().min(at + 30)];
        part.iter().map(|byte| byte.unwrap_or(b'?')).collect()
    }
}

fn id_of(text: &str) -> Option<Id> {
    text.as_bytes().try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::ConnRef;

    const A: Id = [b'a'; 40];
    const B: Id = [b'b'; 40];

    fn standing(offset: u64) -> Standing {
        Standing {
            loading: false,
            offset,
            ..Standing::default()
        }
    }

    /// Sends bytes over connection `conn`, byte by byte.
    fn send(stream: &mut Stream, conn: u32, side: u8, bytes: &str) -> Option<&'static str> {
        let end = EndRef {
            conn: ConnRef::for_test(conn),
            side,
        };
        let mut found = None;
        for byte in bytes.as_bytes() {
            let next = stream.sniff(0, 1, end, &[*byte], &standing(50));
            found = found.or(next.map(|violation| violation.invariant));
        }
        found
    }

    fn id(id: Id) -> String {
        String::from_utf8_lossy(&id).into_owned()
    }

    fn psync(id: &str, number: u64) -> String {
        let number = number.to_string();
        format!(
            "*1\r\n$4\r\nPING\r\n\n*3\r\n$5\r\nPSYNC\r\n$40\r\n{id}\r\n${}\r\n{number}\r\n",
            number.len()
        )
    }

    fn ledger() -> Stream {
        let mut stream = Stream::default();
        let full = format!(
            "+PONG\r\n+FULLRESYNC {} 10\r\n\n$EOF:{}\r\npayload{}",
            id(A),
            id([b'e'; 40]),
            id([b'e'; 40])
        );
        assert_eq!(send(&mut stream, 1, 1, &full), None);
        assert_eq!(send(&mut stream, 1, 1, "abcdef"), None);
        stream
    }

    #[test]
    fn a_byte_that_differs_from_what_others_sent_there_is_found() {
        let mut stream = ledger();
        let counted = format!("+FULLRESYNC {} 12\r\n$3\r\nxyz", id(A));
        assert_eq!(send(&mut stream, 2, 1, &counted), None);
        assert_eq!(send(&mut stream, 2, 1, "cdefgh"), None);
        assert_eq!(stream.compared, 4);
        assert_eq!(send(&mut stream, 1, 1, "gX"), Some("R2"));
    }

    #[test]
    fn the_common_part_of_two_histories_is_one() {
        let mut stream = ledger();
        let promoted = Standing {
            previous: Some((A, 13)),
            replid: B,
            ..standing(13)
        };
        stream.observe(&promoted);
        // B continues A up to position 13: "abc" is A's, what follows is its own.
        send(&mut stream, 3, 0, &psync(&id(A), 12));
        let granted = format!("+CONTINUE {}\r\n", id(B));
        assert_eq!(send(&mut stream, 3, 1, &granted), None);
        assert_eq!(send(&mut stream, 3, 1, "bcXYZ"), None);
        send(&mut stream, 4, 0, &psync(&id(B), 11));
        assert_eq!(send(&mut stream, 4, 1, "+CONTINUE\r\n"), None);
        assert_eq!(send(&mut stream, 4, 1, "aX"), Some("R2"));
    }

    #[test]
    fn a_grant_to_continue_another_history_is_found() {
        for (number, asked, verdict) in [
            (14, A, None),
            (15, A, Some("R3")),
            (1, [b'c'; 40], Some("R3")),
        ] {
            let mut stream = ledger();
            let promoted = Standing {
                previous: Some((A, 13)),
                replid: B,
                ..standing(13)
            };
            stream.observe(&promoted);
            send(&mut stream, 3, 0, &psync(&id(asked), number));
            let granted = format!("+CONTINUE {}\r\n", id(B));
            assert_eq!(send(&mut stream, 3, 1, &granted), verdict, "{number}");
        }
    }

    #[test]
    fn nobody_acknowledges_what_it_has_not_applied() {
        let mut stream = Stream::default();
        let ack = |n: &str| format!("*3\r\n$8\r\nREPLCONF\r\n$3\r\nACK\r\n$2\r\n{n}\r\n");
        assert_eq!(send(&mut stream, 1, 0, &ack("50")), None);
        assert_eq!(send(&mut stream, 1, 0, &ack("51")), Some("R2"));
        assert_eq!(send(&mut stream, 2, 0, "RCmb*3\r\n"), None);
    }
}
