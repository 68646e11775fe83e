//! SORT and SORT_RO: the elements of a list, set or sorted set, in order of their own or of other keys.
//!
//! The elements' texts are gathered in one buffer, with what they are sorted by, so that no look-up of
//! another key gets in the way of the collection, and sorting moves small items only.

use alloc::vec::Vec;
use core::cmp::Ordering;
use core::ops::Range;

use super::collection::{self, edit, of};
use super::context::{Data, Text};
use super::error::CommandError;
use super::list_limits;
use super::string::integer;
use super::table::Outcome;
use super::zset_limits;
use crate::config::NotifyEvents;
use crate::store::{Object, ValueRef};
use crate::value::list::{End, List};
use crate::value::number::parse_f64;
use crate::value::zset::ZSet;

/// What of a pattern counts where C reads strings: up to the first NUL byte.
fn c_str(bytes: &[u8]) -> &[u8] {
    &bytes[..memchr::memchr(0, bytes).unwrap_or(bytes.len())]
}

/// What is looked up for an element.
#[derive(Clone, Copy, Debug)]
enum Pattern<'a> {
    /// `#`: the element itself.
    Element,
    /// No `*`: nothing.
    Nothing,
    /// The element is put between the two; then a field of the hash there is meant, if one is named.
    Key {
        before: &'a [u8],
        after: &'a [u8],
        field: Option<&'a [u8]>,
    },
}

impl<'a> Pattern<'a> {
    fn parse(pattern: &'a [u8]) -> Pattern<'a> {
        if c_str(pattern) == b"#" {
            return Pattern::Element;
        }
        let Some(star) = memchr::memchr(b'*', c_str(pattern)) else {
            return Pattern::Nothing;
        };
        let (before, after) = (&pattern[..star], &pattern[star + 1..]);
        let seen = c_str(after);
        let arrow = memchr::memmem::find(seen, b"->").filter(|arrow| seen.len() > arrow + 2);
        Pattern::Key {
            before,
            after: &after[..arrow.unwrap_or(after.len())],
            field: arrow.map(|arrow| &after[arrow + 2..]),
        }
    }
}

/// The options.
struct Options<'a> {
    descending: bool,
    alpha: bool,
    limit: (i64, i64),
    by: Option<&'a [u8]>,
    gets: Vec<Pattern<'a>>,
    store: Option<&'a [u8]>,
}

impl<'a> Options<'a> {
    fn parse(
        mut args: &'a [&'a [u8]],
        read_only: bool,
        cluster: bool,
        reads_all_keys: bool,
    ) -> Result<Options<'a>, CommandError> {
        let mut o = Options {
            descending: false,
            alpha: false,
            limit: (0, -1),
            by: None,
            gets: Vec::new(),
            store: None,
        };
        while let [word, rest @ ..] = args {
            let is = |name: &[u8]| word.eq_ignore_ascii_case(name);
            args = match rest {
                _ if is(b"asc") => {
                    o.descending = false;
                    rest
                }
                _ if is(b"desc") => {
                    o.descending = true;
                    rest
                }
                _ if is(b"alpha") => {
                    o.alpha = true;
                    rest
                }
                [start, count, rest @ ..] if is(b"limit") => {
                    o.limit = (integer(start)?, integer(count)?);
                    rest
                }
                [key, rest @ ..] if is(b"store") && !read_only => {
                    o.store = Some(key);
                    rest
                }
                [pattern, rest @ ..] if is(b"by") => {
                    if cluster && c_str(pattern).contains(&b'*') {
                        return Err(CommandError::fixed(
                            "ERR BY option of SORT denied in Cluster mode.",
                        ));
                    }
                    if !reads_all_keys && c_str(pattern).contains(&b'*') {
                        return Err(CommandError::fixed(
                            "ERR BY option of SORT denied due to insufficient ACL permissions.",
                        ));
                    }
                    o.by = Some(pattern);
                    rest
                }
                [pattern, rest @ ..] if is(b"get") => {
                    if cluster {
                        return Err(CommandError::fixed(
                            "ERR GET option of SORT denied in Cluster mode.",
                        ));
                    }
                    if !reads_all_keys {
                        return Err(CommandError::fixed(
                            "ERR GET option of SORT denied due to insufficient ACL permissions.",
                        ));
                    }
                    o.gets.push(Pattern::parse(pattern));
                    rest
                }
                _ => return Err(CommandError::SYNTAX),
            };
        }
        Ok(o)
    }

    /// The elements wanted of `len`, by their numbers in order.
    fn range(&self, len: usize) -> Range<usize> {
        let (start, count) = self.limit;
        let start = usize::try_from(start.max(0)).unwrap_or(len).min(len);
        let count = usize::try_from(count).unwrap_or(len).min(len);
        start..(start + count).min(len)
    }
}

/// An element, and what it is sorted by.
struct Item {
    /// Its text in the buffer.
    text: Range<usize>,
    /// Its weight.
    score: f64,
    /// The text that it is sorted by, if it is another, and is there.
    by: Option<Range<usize>>,
    /// Its place in the collection.
    number: usize,
}

/// The elements and their order.
#[derive(Default)]
struct Items {
    buffer: Vec<u8>,
    list: Vec<Item>,
}

impl Items {
    fn push(&mut self, text: &[u8]) {
        let start = self.buffer.len();
        self.buffer.extend_from_slice(text);
        self.list.push(Item {
            text: start..self.buffer.len(),
            score: 0.0,
            by: None,
            number: self.list.len(),
        });
    }

    fn text(&self, item: &Item) -> &[u8] {
        &self.buffer[item.text.clone()]
    }

    /// Brings the items of `range` to their places.
    fn sort(&mut self, range: Range<usize>, compare: impl Fn(&[u8], &Item, &Item) -> Ordering) {
        let buffer = &self.buffer;
        // What compares equal stays in the order that it had.
        let compare =
            |a: &Item, b: &Item| compare(buffer, a, b).then_with(|| a.number.cmp(&b.number));
        if range.is_empty() {
            return;
        }
        let mut items = &mut self.list[..];
        if range.end < items.len() {
            items.select_nth_unstable_by(range.end - 1, compare);
            items = &mut items[..range.end];
        }
        if range.start > 0 {
            items.select_nth_unstable_by(range.start, compare);
            items = &mut items[range.start..];
        }
        items.sort_unstable_by(compare);
    }
}

/// The number that a text is to C's `strtod`, if it is one wholly.
fn weight(text: &[u8]) -> Option<f64> {
    let text = c_str(text);
    if text.is_empty() {
        return Some(0.0);
    }
    let is_space = |b: &u8| matches!(b, b' ' | b'\t'..=b'\r');
    let start = text.iter().position(|b| !is_space(b)).unwrap_or(text.len());
    parse_f64(&text[start..])
}

/// Calls `emit` with what a pattern means for an element.
fn look_up<R>(
    d: &mut Data<'_>,
    pattern: Pattern<'_>,
    element: &[u8],
    emit: impl FnOnce(&mut Data<'_>, Option<&[u8]>) -> R,
) -> R {
    let (before, after, field) = match pattern {
        Pattern::Element => return emit(d, Some(element)),
        Pattern::Nothing => return emit(d, None),
        Pattern::Key {
            before,
            after,
            field,
        } => (before, after, field),
    };
    let name: smallvec::SmallVec<[u8; 128]> = [before, element, after]
        .into_iter()
        .flatten()
        .copied()
        .collect();
    let key = d.key(&name);
    let Some(place) = d.look(key) else {
        return emit(d, None);
    };
    let value: Option<smallvec::SmallVec<[u8; 128]>> = match (d.value(place), field) {
        (ValueRef::Object(Object::Hash(hash)), Some(field)) => hash
            .at(d.due_before())
            .get(field)
            .map(|value| value.text().iter().copied().collect()),
        (_, Some(_)) => None,
        (value, None) => Text::of(value).map(|text| text.iter().copied().collect()),
    };
    emit(d, value.as_deref())
}

/// What is to be sorted: its elements in their own order, of which only those of `range` are gathered if
/// they are not to be sorted.
///
/// # Errors
/// [`CommandError::WRONG_TYPE`].
fn gather(
    d: &mut Data<'_>,
    key: &[u8],
    o: &mut Options<'_>,
) -> Result<(Items, bool), CommandError> {
    let mut sorted = o.by.is_none_or(|by| c_str(by).contains(&b'*'));
    let mut items = Items::default();
    let key = d.first_key(key);
    let Some(place) = d.look(key) else {
        return Ok((items, sorted));
    };
    if of::<ZSet>(d.value(place)).is_ok_and(|set| set.as_pack().is_some()) {
        // As in Redis, which gives small ones their large form first.
        let limits = zset_limits(d.config, d.store);
        edit(d, key, Some(place), |set: &mut ZSet| {
            set.make_room(0, usize::MAX, &limits);
        });
    }
    match d.value(place) {
        ValueRef::Object(Object::List(list)) => {
            let range = if sorted {
                0..list.len()
            } else {
                o.range(list.len())
            };
            let from = if !sorted && o.descending {
                End::Back
            } else {
                End::Front
            };
            list.visit(range.start, range.len(), from, |element| {
                items.push(&element.text());
                true
            });
        }
        ValueRef::Object(Object::Set(set)) => {
            if !sorted && (o.store.is_some() || d.scripted) {
                // What is stored, or a script sees, must be the same on every replica, so it gets an order.
                (sorted, o.alpha, o.by) = (true, true, None);
            }
            let range = if sorted {
                0..set.len()
            } else {
                o.range(set.len())
            };
            for member in set.iter().skip(range.start).take(range.len()) {
                items.push(&member.text());
            }
        }
        ValueRef::Object(Object::ZSet(set)) => {
            let range = if sorted {
                0..set.len()
            } else {
                o.range(set.len())
            };
            let back = !sorted && o.descending;
            let ranks = if back {
                set.len() - range.end..set.len() - range.start
            } else {
                range
            };
            for (member, _) in set.slice(ranks, back) {
                items.push(&member.text());
            }
        }
        _ => return Err(CommandError::WRONG_TYPE),
    }
    sorted &= !items.list.is_empty();
    Ok((items, sorted))
}

/// Works out what each element is sorted by; returns whether all weights are numbers.
fn weigh(d: &mut Data<'_>, items: &mut Items, o: &Options<'_>, by: Option<Pattern<'_>>) -> bool {
    let mut all = true;
    for i in 0..items.list.len() {
        let text = items.list[i].text.clone();
        let Some(pattern) = by else {
            if !o.alpha {
                let score = weight(&items.buffer[text]);
                all &= score.is_some();
                items.list[i].score = score.unwrap_or(0.0);
            }
            continue;
        };
        let element: smallvec::SmallVec<[u8; 64]> = items.buffer[text].into();
        look_up(d, pattern, &element, |_, value| {
            let Some(value) = value else {
                return;
            };
            if o.alpha {
                let start = items.buffer.len();
                items.buffer.extend_from_slice(value);
                items.list[i].by = Some(start..items.buffer.len());
            } else {
                let score = weight(value);
                all &= score.is_some();
                items.list[i].score = score.unwrap_or(0.0);
            }
        });
    }
    all
}

fn sort_items(items: &mut Items, o: &Options<'_>, by_pattern: bool, range: Range<usize>) {
    let directed = |order: Ordering| if o.descending { order.reverse() } else { order };
    // Texts are compared wholly if the result is stored, and as C's strings if it is replied.
    let stored = o.store.is_some();
    let texts = |a: &[u8], b: &[u8]| {
        if stored {
            a.cmp(b)
        } else {
            c_str(a).cmp(c_str(b))
        }
    };
    items.sort(range, |buffer, a, b| {
        let text = |range: &Range<usize>| &buffer[range.clone()];
        directed(match (o.alpha, by_pattern) {
            (false, _) => (a.score.partial_cmp(&b.score))
                .unwrap_or(Ordering::Equal)
                .then_with(|| text(&a.text).cmp(text(&b.text))),
            (true, false) => texts(text(&a.text), text(&b.text)),
            (true, true) => match (&a.by, &b.by) {
                (Some(a), Some(b)) => texts(text(a), text(b)),
                (a, b) => a.is_some().cmp(&b.is_some()),
            },
        })
    });
}

fn sort_any(d: &mut Data<'_>, args: &[&[u8]], read_only: bool) -> Outcome {
    let mut o = Options::parse(
        &args[2..],
        read_only,
        d.config.cluster_enabled,
        d.reads_all_keys,
    )?;
    let (mut items, sorted) = gather(d, args[1], &mut o)?;
    let by = o.by.map(Pattern::parse);
    let range = if sorted {
        let by = by.filter(|by| matches!(by, Pattern::Key { .. }));
        if !weigh(d, &mut items, &o, by) {
            return Err(CommandError::fixed(
                "ERR One or more scores can't be converted into double",
            ));
        }
        let range = o.range(items.list.len());
        sort_items(&mut items, &o, by.is_some(), range.clone());
        range
    } else {
        0..items.list.len()
    };
    match o.store {
        None => reply(d, &items, &o, range),
        Some(key) => store_result(d, &items, &o, range, key),
    }
    Ok(())
}

fn reply(d: &mut Data<'_>, items: &Items, o: &Options<'_>, range: Range<usize>) {
    d.out.array(range.len() * o.gets.len().max(1));
    for item in &items.list[range] {
        let element = items.text(item);
        if o.gets.is_empty() {
            d.out.bulk(element);
        }
        for get in &o.gets {
            look_up(d, *get, element, |d, value| match value {
                Some(value) => d.out.bulk(value),
                None => d.out.null(),
            });
        }
    }
}

fn store_result(d: &mut Data<'_>, items: &Items, o: &Options<'_>, range: Range<usize>, key: &[u8]) {
    let limits = list_limits(d.config);
    let mut list = List::new();
    for item in &items.list[range] {
        let element = items.text(item);
        if o.gets.is_empty() {
            list.push(End::Back, element, &limits);
        }
        for get in &o.gets {
            look_up(d, *get, element, |_, value| {
                list.push(End::Back, value.unwrap_or_default(), &limits);
            });
        }
    }
    let key = d.key(key);
    let len = list.len();
    if len > 0 {
        collection::put(d, key, list);
        d.changed(key.bytes);
        d.effects.dirty += len as u64 - 1;
        d.notify(NotifyEvents::LIST, "sortstore", key.bytes);
    } else {
        d.clear_destination(key);
    }
    d.out.int(len as i64);
}

/// `SORT key [BY pattern] [LIMIT offset count] [GET pattern …] [ASC|DESC] [ALPHA] [STORE destination]`.
/// <https://redis.io/commands/sort/>
pub(super) fn sort(d: &mut Data<'_>, args: &[&[u8]]) -> Outcome {
    sort_any(d, args, false)
}

/// `SORT_RO key …`, as SORT without STORE. <https://redis.io/commands/sort_ro/>
pub(super) fn sort_ro(d: &mut Data<'_>, args: &[&[u8]]) -> Outcome {
    sort_any(d, args, true)
}
