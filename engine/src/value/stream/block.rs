//! A block: a run of a stream's entries in one listpack, in Redis's own format, so that a snapshot
//! copies it as it is.
//!
//! ```text
//! block   live | deleted | n | field … n times | 0 | entry …
//! entry   flags | ms | seq | value … n times | pieces              with SAME_FIELDS
//!         flags | ms | seq | k | (field | value) … k times | pieces
//! ```
//!
//! Every word is an entry of the listpack. `ms` and `seq` are the differences (modulo 2⁶⁴) between the
//! id and that of the block, which is the id of its first entry and stands beside the block. The names
//! in front are those of the first entry; an entry with the same ones has [`SAME_FIELDS`] and leaves
//! them out. `pieces` is the number of words of the entry before it, so that a block can be read
//! backwards; the 0 in front of the first entry ends that walk.
//!
//! A deleted entry stays, with the flag [`DELETED`]. `live` and `deleted` count both kinds.

use super::id::StreamId;
use crate::value::listpack::{Entry, Iter, Listpack, Malformed, Pos};
use crate::value::number::parse_i64;

/// The entry is deleted.
const DELETED: i64 = 1;
/// The entry's fields are those of the block.
const SAME_FIELDS: i64 = 2;

/// A run of entries. Its bytes are always well-formed, and its counters right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    list: Listpack,
}

/// An entry of a stream.
#[derive(Clone, Debug)]
pub struct Item<'a> {
    /// Its id.
    pub id: StreamId,
    /// Number of its fields.
    pub len: usize,
    flags: i64,
    /// Where its flags are.
    at: Pos,
    /// The block's fields, if they are the entry's.
    names: Option<Iter<'a>>,
    /// Fields and values, or values alone.
    body: Iter<'a>,
}

impl<'a> Item<'a> {
    /// Whether the entry is deleted.
    pub fn is_deleted(&self) -> bool {
        self.flags & DELETED != 0
    }

    /// Its fields with their values.
    pub fn pairs(&self) -> Pairs<'a> {
        Pairs {
            left: self.len,
            names: self.names.clone(),
            body: self.body.clone(),
        }
    }
}

/// Fields of an entry with their values.
#[derive(Clone, Debug)]
pub struct Pairs<'a> {
    left: usize,
    names: Option<Iter<'a>>,
    body: Iter<'a>,
}

impl<'a> Iterator for Pairs<'a> {
    type Item = (Entry<'a>, Entry<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        let field = match &mut self.names {
            Some(names) => names.next()?,
            None => self.body.next()?,
        };
        Some((field, self.body.next()?))
    }
}

/// A number in a block.
fn int(entry: Option<Entry<'_>>) -> Option<i64> {
    match entry? {
        Entry::Int(n) => Some(n),
        Entry::Str(_) => None,
    }
}

/// What precedes the first entry.
struct Head<'a> {
    live: i64,
    deleted: i64,
    fields: usize,
    names: Iter<'a>,
    /// From the first entry on.
    items: Iter<'a>,
}

impl Block {
    /// A block without entries, for entries with these fields: the first must follow at once.
    pub fn new(pairs: &[&[u8]]) -> Block {
        let mut list = Listpack::new();
        let fields = pairs.chunks_exact(2).map(|pair| pair[0]);
        // With room for the entry that comes now.
        let room = 64 + pairs.iter().map(|text| text.len() + 4).sum::<usize>();
        list.append_with(room, |w| {
            w.int(0);
            w.int(0);
            w.int(fields.len() as i64);
            fields.for_each(|field| w.text(field));
            w.int(0);
        });
        Block { list }
    }

    /// Takes bytes of any origin, after checking all of them.
    pub fn from_bytes(bytes: alloc::vec::Vec<u8>) -> Result<Block, Malformed> {
        let block = Block {
            list: Listpack::from_bytes(bytes)?,
        };
        block.check().ok_or(Malformed)?;
        Ok(block)
    }

    fn check(&self) -> Option<()> {
        let head = self.head()?;
        let (mut live, mut deleted) = (0i64, 0i64);
        let mut words = head.items;
        while words.pos().is_some() {
            let flags = int(words.next())?;
            int(words.next())?;
            int(words.next())?;
            let same = flags & SAME_FIELDS != 0;
            let fields = if same {
                head.fields as i64
            } else {
                int(words.next())?
            };
            let texts = fields.checked_mul(if same { 1 } else { 2 })?;
            // A count of more than there is runs into the end, in so many steps as there are words.
            for _ in 0..texts {
                words.next()?;
            }
            let pieces = texts.checked_add(if same { 3 } else { 4 })?;
            let right = fields >= 0 && (0..=127).contains(&flags);
            if !right || int(words.next())? != pieces {
                return None;
            }
            *(if flags & DELETED != 0 {
                &mut deleted
            } else {
                &mut live
            }) += 1;
        }
        (live == head.live && deleted == head.deleted && live + deleted > 0).then_some(())
    }

    fn head(&self) -> Option<Head<'_>> {
        let mut words = self.list.iter();
        let live = int(words.next())?;
        let deleted = int(words.next())?;
        let fields = usize::try_from(int(words.next())?).ok()?;
        let names = words.clone();
        words.pass(fields);
        (int(words.next())? == 0).then_some(Head {
            live,
            deleted,
            fields,
            names,
            items: words,
        })
    }

    /// The block in Redis's format.
    pub fn bytes(&self) -> &[u8] {
        self.list.bytes()
    }

    /// Bytes on the heap.
    pub fn memory_bytes(&self) -> usize {
        // Beside the listpack: the block itself in its counted cell.
        self.list.memory_bytes() + size_of::<Block>() + 16
    }

    /// Number of entries that are not deleted.
    pub fn live(&self) -> u64 {
        int(self.list.iter().next()).unwrap_or(0) as u64
    }

    /// Number of entries, deleted ones included.
    pub fn total(&self) -> u64 {
        let mut words = self.list.iter();
        let live = int(words.next()).unwrap_or(0);
        let deleted = int(words.next()).unwrap_or(0);
        (live + deleted) as u64
    }

    /// Adds an entry of these fields and values; the block's own id is `base`.
    pub fn append(&mut self, base: StreamId, id: StreamId, pairs: &[&[u8]]) {
        let Some(head) = self.head() else {
            return;
        };
        let same = head.fields == pairs.len() / 2
            && (head.names.clone().zip(pairs.iter().step_by(2))).all(|(name, text)| match name {
                Entry::Str(name) => name == *text,
                Entry::Int(n) => parse_i64(text) == Some(n),
            });
        let live = head.live;
        let texts = pairs.iter().map(|text| text.len() + 4).sum::<usize>();
        self.list.append_with(texts + 24, |w| {
            w.int(if same { SAME_FIELDS } else { 0 });
            w.int(id.ms.wrapping_sub(base.ms) as i64);
            w.int(id.seq.wrapping_sub(base.seq) as i64);
            let fields = pairs.len() / 2;
            if same {
                pairs.iter().skip(1).step_by(2).for_each(|v| w.text(v));
                w.int(fields as i64 + 3);
            } else {
                w.int(fields as i64);
                pairs.iter().for_each(|text| w.text(text));
                w.int(fields as i64 * 2 + 4);
            }
        });
        if let Some(first) = self.list.first() {
            self.list.replace_int(first, live + 1);
        }
    }

    /// All entries in order, deleted ones too; the block's own id is `base`.
    pub fn items(&self, base: StreamId) -> Items<'_> {
        let head = self.head();
        let end = self.list.last();
        Items {
            list: &self.list,
            base,
            fields: head.as_ref().map_or(0, |h| h.fields),
            names: head.as_ref().map_or(self.list.iter(), |h| h.names.clone()),
            rest: head.map(|h| h.items),
            end,
        }
    }

    /// Marks as deleted: the entries from the first on of which `which` says `Some(true)`, until it says
    /// `None`. Returns how many there were.
    pub fn delete(
        &mut self,
        base: StreamId,
        mut which: impl FnMut(&Item<'_>) -> Option<bool>,
    ) -> u64 {
        let mut marks = alloc::vec::Vec::new();
        for item in self.items(base) {
            if item.is_deleted() {
                // Nobody is asked of what is gone, but where to stop.
                if which(&item).is_none() {
                    break;
                }
                continue;
            }
            match which(&item) {
                Some(true) => marks.push((item.at, item.flags)),
                Some(false) => {}
                None => break,
            }
        }
        for (at, flags) in &marks {
            // One byte stays one byte: no place moves.
            self.list.replace_int(*at, flags | DELETED);
        }
        let gone = marks.len() as i64;
        let counts = self.head().map(|h| (h.live, h.deleted));
        if let (Some((live, deleted)), Some(first)) = (counts, self.list.first())
            && gone > 0
        {
            self.list.replace_int(first, live - gone);
            if let Some(second) = self.list.next(first) {
                self.list.replace_int(second, deleted + gone);
            }
        }
        gone as u64
    }
}

/// The entries of a block, from either end. One that is walked from both does not stop in the middle.
#[derive(Clone, Debug)]
pub struct Items<'a> {
    list: &'a Listpack,
    base: StreamId,
    fields: usize,
    names: Iter<'a>,
    rest: Option<Iter<'a>>,
    /// The last word of the entry that comes next from the end.
    end: Option<Pos>,
}

impl<'a> Items<'a> {
    /// Reads the entry that begins at `words`, and passes over it.
    fn read(&self, words: &mut Iter<'a>) -> Option<Item<'a>> {
        let at = words.pos()?;
        let flags = int(words.next())?;
        let ms = int(words.next())? as u64;
        let seq = int(words.next())? as u64;
        let same = flags & SAME_FIELDS != 0;
        let len = if same {
            self.fields
        } else {
            usize::try_from(int(words.next())?).ok()?
        };
        let body = words.clone();
        words.pass(if same { len + 1 } else { len * 2 + 1 });
        Some(Item {
            id: StreamId {
                ms: self.base.ms.wrapping_add(ms),
                seq: self.base.seq.wrapping_add(seq),
            },
            len,
            flags,
            at,
            names: same.then(|| self.names.clone()),
            body,
        })
    }
}

impl<'a> Iterator for Items<'a> {
    type Item = Item<'a>;

    fn next(&mut self) -> Option<Item<'a>> {
        let mut words = self.rest.take()?;
        let item = self.read(&mut words);
        self.rest = Some(words);
        item
    }
}

impl DoubleEndedIterator for Items<'_> {
    fn next_back(&mut self) -> Option<Self::Item> {
        let mut at = self.end?;
        let pieces = int(Some(self.list.get(at)))?;
        if pieces == 0 {
            return None;
        }
        for _ in 0..pieces {
            at = self.list.prev(at)?;
        }
        self.end = self.list.prev(at);
        let mut words = self.list.iter_from(at);
        self.read(&mut words)
    }
}
