//! An entry: one key and its value in one allocation.
//!
//! ```text
//!  0        3     4      5           6        7          8
//! +--------+-----+------+-----------+--------+----------+----------+---------+--------+-----+-------+
//! | access | kind| flags| value len | (high) | key len  | deadline | key len | slot   | key | value |
//! | 24 bits| u8  | u8   | u16       |        | u8       | u64?     | u32?    | 0/8/24 |     | bytes |
//! +--------+-----+------+-----------+--------+----------+----------+---------+--------+-----+-------+
//! ```
//!
//! The deadline is there if the entry expires, the long key length if the key has 255 bytes or more.
//! The *slot* is what the kind asks for: nothing for a short string, whose bytes follow the key; an
//! `i64` for an integer; an [`Object`] for everything else. A key of 16 bytes with a value of 16
//! takes 40 bytes, whole.
//!
//! The allocation's size is rounded up as allocators do, so a value that grows a little is
//! overwritten in place, and the bytes accounted are the bytes taken.
#![allow(unsafe_code)]

use crate::value::own::own;
use alloc::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use alloc::rc::Rc;
use alloc::vec::Vec;
use core::marker::PhantomData;
use core::ops::Deref;
use core::ptr::{self, NonNull};

use crate::value::hash::Hash;
use crate::value::hashtable::Ahead;
use crate::value::list::List;
use crate::value::long_text::LongText;
use crate::value::set::Set;
use crate::value::size_class::size_class;
use crate::value::stream::Stream;
use crate::value::zset::ZSet;

/// Values that are not held inside the entry itself, or not wholly: a small hash, set or sorted set has one
/// allocation beside it. A clone shares all that is large.
#[derive(Clone, Debug)]
pub enum Object {
    /// A string too long to be inline.
    Str(LongText),
    /// A hash.
    Hash(Hash),
    /// A set.
    Set(Set),
    /// A stream.
    Stream(Rc<Stream>),
    /// A sorted set.
    ZSet(ZSet),
    /// A list.
    List(Rc<List>),
}

/// A type of values that are held in an [`Object`] and changed in place: what commands on all of them have
/// in common.
pub trait Collection: Clone + Default {
    /// The collection, if the object is one of this type.
    fn of(object: &Object) -> Option<&Self>;

    /// The same, to be changed. If others (a snapshot, a copy) hold the collection too, what changes is copied first.
    fn of_mut(object: &mut Object) -> Option<&mut Self>;

    /// The object that holds it.
    fn into_object(self) -> Object;

    /// Whether it has no elements: then its key goes.
    fn is_empty(&self) -> bool;
}

macro_rules! collections {
    ($($variant:ident: $ty:ty, $holds:ident;)*) => {
        $(impl Collection for $ty {
            #[inline]
            fn of(object: &Object) -> Option<&Self> {
                match object {
                    Object::$variant(value) => Some(value),
                    _ => None,
                }
            }

            #[inline]
            fn of_mut(object: &mut Object) -> Option<&mut Self> {
                match object {
                    Object::$variant(value) => Some(collections!(@$holds value)),
                    _ => None,
                }
            }

            fn into_object(self) -> Object {
                Object::$variant(self.into())
            }

            fn is_empty(&self) -> bool {
                <$ty>::is_empty(self)
            }
        })*
    };
    (@itself $value:ident) => { $value };
    (@counted $value:ident) => { own($value) };
}

collections! {
    Hash: Hash, itself;
    Set: Set, itself;
    Stream: Stream, counted;
    ZSet: ZSet, itself;
    List: List, counted;
}

impl Object {
    /// Bytes of a string, elements of a collection, entries of a stream.
    #[inline]
    pub fn len(&self) -> usize {
        match self {
            Object::Str(s) => s.len(),
            Object::Hash(h) => h.len(),
            Object::Set(s) => s.len(),
            Object::Stream(s) => s.entries.len() as usize,
            Object::ZSet(z) => z.len(),
            Object::List(l) => l.len(),
        }
    }

    /// Whether it holds nothing.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Heap bytes that the object owns.
    pub fn memory(&self) -> usize {
        match self {
            Object::Str(s) => s.memory(),
            Object::Hash(h) => h.memory_bytes(),
            Object::Set(s) => s.memory_bytes(),
            Object::Stream(s) => s.memory_bytes() + size_of::<Stream>() + 16,
            Object::ZSet(z) => z.memory_bytes(),
            Object::List(l) => l.memory_bytes() + size_of::<List>() + 16,
        }
    }

    /// The lookup of an element that is about to be made, if it is worth fetching ahead.
    #[inline]
    pub fn ahead(&self, element: &[u8]) -> Option<Ahead<'_>> {
        match self {
            Object::Hash(hash) => hash.ahead(element),
            Object::Set(set) => set.ahead(element),
            _ => None,
        }
    }

    /// Frees some of a value that is wanted no more, about `budget` elements; true when it is gone
    /// (or others share it, who will free it).
    pub fn free_some(&mut self, budget: usize) -> bool {
        match self {
            Object::Str(_) => true,
            Object::Hash(h) => h.free_step(budget),
            Object::Set(s) => s.free_step(budget),
            Object::Stream(s) => Rc::get_mut(s).is_none_or(|s| s.free_step(budget)),
            Object::ZSet(z) => z.free_step(budget),
            Object::List(l) => Rc::get_mut(l).is_none_or(|l| l.free_step(budget)),
        }
    }
}

/// A value as a reader sees it.
#[derive(Clone, Copy, Debug)]
pub enum ValueRef<'a> {
    /// A short string.
    Inline(&'a [u8]),
    /// A string that is a 64-bit integer in canonical form.
    Int(i64),
    /// Anything else.
    Object(&'a Object),
}

/// A value on its way into an entry.
#[derive(Clone, Debug)]
pub enum Value<'a> {
    /// String bytes; inline or not as their length says.
    Bytes(&'a [u8]),
    /// A string that is an integer.
    Int(i64),
    /// Anything else.
    Object(Object),
}

/// Longest string that is kept inside the entry, in bytes.
pub const INLINE_MAX: usize = 512;

const KIND_INLINE: u8 = 0;
const KIND_INT: u8 = 1;
const KIND_OBJECT: u8 = 2;

const FLAG_DEADLINE: u8 = 1;
const FLAG_LONG_KEY: u8 = 2;
const FLAG_MARK: u8 = 4;
const FLAG_RAW: u8 = 8;

const HEADER: usize = 8;

#[repr(C, align(8))]
struct Header {
    access: [u8; 3],
    kind: u8,
    flags: u8,
    value_len: [u8; 2],
    key_len: u8,
}

/// An owned entry.
///
/// Invariant: the pointer is an allocation of [`size_class`]`(total)` bytes, aligned to 8, that
/// begins with an initialised [`Header`], followed by the parts that the header announces, all
/// initialised. Whoever has the `Entry` owns the allocation and the object in it.
pub struct Entry(NonNull<Header>);

#[inline]
fn slot_size(kind: u8) -> usize {
    match kind {
        KIND_INLINE => 0,
        KIND_INT => 8,
        _ => size_of::<Object>(),
    }
}

const _: () = assert!(
    size_of::<Header>() == HEADER && size_of::<Object>() == 24 && align_of::<Object>() == 8
);

impl Entry {
    /// A new entry.
    pub fn new(key: &[u8], value: Value<'_>, deadline: Option<u64>, access: u32) -> Entry {
        let (kind, bytes): (u8, &[u8]) = match &value {
            Value::Bytes(b) if b.len() <= INLINE_MAX => (KIND_INLINE, b),
            Value::Int(_) => (KIND_INT, &[]),
            _ => (KIND_OBJECT, &[]),
        };
        let long_key = key.len() >= 255;
        let mut flags = 0;
        let mut slot_at = HEADER;
        if deadline.is_some() {
            flags |= FLAG_DEADLINE;
            slot_at += 8;
        }
        if long_key {
            flags |= FLAG_LONG_KEY;
            slot_at += 8;
        }
        let key_at = slot_at + slot_size(kind);
        let total = size_class(key_at + key.len() + bytes.len());
        let layout = layout(total);
        // SAFETY: `total` is at least the header's 8 bytes.
        let raw = unsafe { alloc(layout) };
        let Some(at) = NonNull::new(raw) else {
            handle_alloc_error(layout)
        };
        // The table keeps 16 bits of hash above the address.
        assert!(
            raw.addr() >> 48 == 0,
            "an allocation beyond 48 bits of address"
        );
        let header = Header {
            access: [access as u8, (access >> 8) as u8, (access >> 16) as u8],
            kind,
            flags,
            value_len: (bytes.len() as u16).to_le_bytes(),
            key_len: if long_key { 255 } else { key.len() as u8 },
        };
        // SAFETY: all writes lie inside the `total` bytes just allocated (sizes summed above) at
        // offsets that are multiples of 8 where the type needs it.
        unsafe {
            at.cast::<Header>().write(header);
            if let Some(deadline) = deadline {
                at.add(HEADER).cast::<u64>().write(deadline);
            }
            if long_key {
                at.add(slot_at - 8).cast::<u64>().write(key.len() as u64);
            }
            match value {
                Value::Bytes(b) if b.len() <= INLINE_MAX => {}
                Value::Bytes(b) => {
                    at.add(slot_at)
                        .cast::<Object>()
                        .write(Object::Str(b.to_vec().into()));
                }
                Value::Int(n) => at.add(slot_at).cast::<i64>().write(n),
                Value::Object(o) => at.add(slot_at).cast::<Object>().write(o),
            }
            ptr::copy_nonoverlapping(key.as_ptr(), at.add(key_at).as_ptr(), key.len());
            ptr::copy_nonoverlapping(
                bytes.as_ptr(),
                at.add(key_at + key.len()).as_ptr(),
                bytes.len(),
            );
        }
        Entry(at.cast())
    }

    /// Gives the allocation up to whoever keeps the pointer (the table).
    #[inline]
    pub(super) fn into_raw(self) -> *mut u8 {
        let raw = self.0.as_ptr().cast();
        core::mem::forget(self);
        raw
    }

    /// Takes an allocation back.
    ///
    /// # Safety
    /// `raw` came from [`Entry::into_raw`], and nobody else takes it back.
    #[inline]
    pub(super) unsafe fn from_raw(raw: *mut u8) -> Entry {
        // SAFETY: into_raw never gives a null pointer.
        Entry(unsafe { NonNull::new_unchecked(raw.cast()) })
    }

    /// A look at the entry.
    #[inline]
    pub fn view(&self) -> EntryRef<'_> {
        EntryRef(self.0, PhantomData)
    }

    /// The entry, to be changed.
    #[inline]
    pub fn view_mut(&mut self) -> EntryMut<'_> {
        EntryMut(EntryRef(self.0, PhantomData))
    }

    /// Takes the value out to be put elsewhere; a short string is copied.
    pub fn into_parts(self) -> Parts {
        self.view().to_parts()
    }
}

/// What an entry holds besides its key, by itself.
#[derive(Clone, Debug)]
pub struct Parts {
    /// The value.
    pub value: OwnedValue,
    /// When it expires, in Unix milliseconds.
    pub deadline: Option<u64>,
    /// The access clock.
    pub access: u32,
    /// See [`EntryRef::is_raw`].
    pub raw: bool,
}

/// A look at an entry that lives at least for `'a`.
#[derive(Clone, Copy)]
pub struct EntryRef<'a>(NonNull<Header>, PhantomData<&'a Header>);

/// Exclusive access to an entry, for changes that need no other allocation.
pub struct EntryMut<'a>(EntryRef<'a>);

impl<'a> Deref for EntryMut<'a> {
    type Target = EntryRef<'a>;

    fn deref(&self) -> &EntryRef<'a> {
        &self.0
    }
}

impl<'a> EntryRef<'a> {
    /// Looks at an entry that the table owns.
    ///
    /// # Safety
    /// `raw` came from [`Entry::into_raw`]; the entry lives, and is not written, during `'a`.
    #[inline]
    pub(super) unsafe fn from_raw(raw: *mut u8) -> EntryRef<'a> {
        // SAFETY: into_raw never gives a null pointer.
        EntryRef(unsafe { NonNull::new_unchecked(raw.cast()) }, PhantomData)
    }

    #[inline]
    fn header(self) -> &'a Header {
        // SAFETY: the invariant.
        unsafe { self.0.as_ref() }
    }

    #[inline]
    fn at(self, offset: usize) -> *mut u8 {
        self.0.as_ptr().cast::<u8>().wrapping_add(offset)
    }

    #[inline]
    fn slot_at(self) -> usize {
        let flags = self.header().flags;
        HEADER
            + usize::from(flags & FLAG_DEADLINE != 0) * 8
            + usize::from(flags & FLAG_LONG_KEY != 0) * 8
    }

    #[inline]
    fn key_at(self) -> usize {
        self.slot_at() + slot_size(self.header().kind)
    }

    #[inline]
    fn key_len(self) -> usize {
        let header = self.header();
        if header.flags & FLAG_LONG_KEY == 0 {
            return usize::from(header.key_len);
        }
        // SAFETY: the flag says that the length is there, before the slot.
        unsafe { self.at(self.slot_at() - 8).cast::<u64>().read() as usize }
    }

    #[inline]
    fn value_len(self) -> usize {
        usize::from(u16::from_le_bytes(self.header().value_len))
    }

    /// The key.
    #[inline]
    pub fn key(self) -> &'a [u8] {
        // SAFETY: the invariant: `key_len` bytes at `key_at` are initialised.
        unsafe { core::slice::from_raw_parts(self.at(self.key_at()), self.key_len()) }
    }

    /// The value.
    #[inline]
    pub fn value(self) -> ValueRef<'a> {
        // SAFETY: the invariant: what the kind announces is there.
        unsafe {
            match self.header().kind {
                KIND_INLINE => {
                    let at = self.at(self.key_at() + self.key_len());
                    ValueRef::Inline(core::slice::from_raw_parts(at, self.value_len()))
                }
                KIND_INT => ValueRef::Int(self.at(self.slot_at()).cast::<i64>().read()),
                _ => ValueRef::Object(&*self.at(self.slot_at()).cast::<Object>()),
            }
        }
    }

    /// When the key expires, in Unix milliseconds.
    #[inline]
    pub fn deadline(self) -> Option<u64> {
        if self.header().flags & FLAG_DEADLINE == 0 {
            return None;
        }
        // SAFETY: the flag says that it is there, right after the header.
        Some(unsafe { self.at(HEADER).cast::<u64>().read() })
    }

    /// The access clock: 24 bits of LRU time or LFU counter.
    #[inline]
    pub fn access(self) -> u32 {
        let a = self.header().access;
        u32::from_le_bytes([a[0], a[1], a[2], 0])
    }

    /// The snapshot's mark: saved before the walk came here, or newer than the snapshot.
    #[inline]
    pub fn marked(self) -> bool {
        self.header().flags & FLAG_MARK != 0
    }

    /// Whether a short string was made by a command that leaves raw strings (APPEND, SETRANGE).
    pub fn is_raw(self) -> bool {
        self.header().flags & FLAG_RAW != 0
    }

    /// Bytes of the entry's own allocation.
    #[inline]
    pub fn size(self) -> usize {
        size_class(self.key_at() + self.key_len() + self.value_len())
    }

    /// Bytes of the entry and of what it owns.
    #[inline]
    pub fn memory(self) -> usize {
        match self.value() {
            ValueRef::Object(o) => self.size() + o.memory(),
            _ => self.size(),
        }
    }

    /// Value, deadline and clock, by themselves; objects are shared.
    pub fn to_parts(self) -> Parts {
        Parts {
            value: self.value().to_owned(),
            deadline: self.deadline(),
            access: self.access(),
            raw: self.is_raw(),
        }
    }
}

impl<'a> EntryMut<'a> {
    /// Takes an entry that the table owns to be changed.
    ///
    /// # Safety
    /// `raw` came from [`Entry::into_raw`]; nobody else uses the entry during `'a`.
    #[inline]
    pub(super) unsafe fn from_raw(raw: *mut u8) -> EntryMut<'a> {
        // SAFETY: as required of our caller.
        EntryMut(unsafe { EntryRef::from_raw(raw) })
    }

    #[inline]
    fn header_mut(&mut self) -> &mut Header {
        // SAFETY: the invariant, and `&mut self`.
        unsafe { self.0.0.as_mut() }
    }

    /// The value, if it is an object, to be changed.
    #[inline]
    pub fn object_mut(&mut self) -> Option<&mut Object> {
        if self.header().kind != KIND_OBJECT {
            return None;
        }
        // SAFETY: the kind says that an object is there; `&mut self` makes the access unique.
        Some(unsafe { &mut *self.at(self.slot_at()).cast::<Object>() })
    }

    /// Overwrites a value in place if kind and size class allow; false if nothing was done.
    #[inline]
    pub fn overwrite(&mut self, value: &Value<'_>) -> bool {
        match *value {
            Value::Bytes(b) if self.header().kind == KIND_INLINE && b.len() <= INLINE_MAX => {
                let value_at = self.key_at() + self.key_len();
                if size_class(value_at + b.len()) != size_class(value_at + self.value_len()) {
                    return false;
                }
                // SAFETY: the new value ends inside the allocation, whose size is the class; `b`
                // cannot overlap it, as `self` is borrowed uniquely.
                unsafe { ptr::copy_nonoverlapping(b.as_ptr(), self.at(value_at), b.len()) };
                let header = self.header_mut();
                header.value_len = (b.len() as u16).to_le_bytes();
                header.flags &= !FLAG_RAW;
                true
            }
            Value::Int(n) if self.header().kind == KIND_INT => {
                // SAFETY: the kind says that the slot is an i64.
                unsafe { self.at(self.slot_at()).cast::<i64>().write(n) };
                true
            }
            _ => false,
        }
    }

    /// Changes the deadline in place if there is room for it (there was one before, and is one now).
    pub fn overwrite_deadline(&mut self, deadline: Option<u64>) -> bool {
        match (deadline, self.deadline()) {
            (Some(new), Some(_)) => {
                // SAFETY: the flag says that it is there.
                unsafe { self.at(HEADER).cast::<u64>().write(new) };
                true
            }
            (None, None) => true,
            _ => false,
        }
    }

    /// Sets the access clock.
    #[inline]
    pub fn touch(&mut self, access: u32) {
        let [a, b, c, _] = access.to_le_bytes();
        self.header_mut().access = [a, b, c];
    }

    /// Sets or clears the mark.
    #[inline]
    pub fn mark(&mut self, on: bool) {
        let flags = &mut self.header_mut().flags;
        *flags = if on {
            *flags | FLAG_MARK
        } else {
            *flags & !FLAG_MARK
        };
    }

    /// Notes that a short string is raw.
    pub fn set_raw(&mut self) {
        self.header_mut().flags |= FLAG_RAW;
    }
}

/// A value that is nobody's.
#[derive(Clone, Debug)]
pub enum OwnedValue {
    /// String bytes.
    Bytes(Vec<u8>),
    /// A string that is an integer.
    Int(i64),
    /// Anything else.
    Object(Object),
}

impl From<Object> for OwnedValue {
    fn from(object: Object) -> OwnedValue {
        OwnedValue::Object(object)
    }
}

impl OwnedValue {
    /// As a reader sees it. (Bytes that an entry would hold as an object are still shown inline.)
    pub fn view(&self) -> ValueRef<'_> {
        match self {
            OwnedValue::Bytes(b) => ValueRef::Inline(b),
            OwnedValue::Int(n) => ValueRef::Int(*n),
            OwnedValue::Object(o) => ValueRef::Object(o),
        }
    }

    /// As it goes into an entry.
    pub fn as_value(&self) -> Value<'_> {
        match self {
            OwnedValue::Bytes(b) => Value::Bytes(b),
            OwnedValue::Int(n) => Value::Int(*n),
            OwnedValue::Object(o) => Value::Object(o.clone()),
        }
    }
}

impl ValueRef<'_> {
    /// When the first of the value's own fields expires, in Unix milliseconds.
    #[inline]
    pub fn next_time(self) -> Option<u64> {
        match self {
            ValueRef::Object(Object::Hash(hash)) => hash.next_time(),
            _ => None,
        }
    }

    /// A copy that lives by itself; objects are shared.
    pub fn to_owned(self) -> OwnedValue {
        match self {
            ValueRef::Inline(b) => OwnedValue::Bytes(b.to_vec()),
            ValueRef::Int(n) => OwnedValue::Int(n),
            ValueRef::Object(o) => OwnedValue::Object(o.clone()),
        }
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        let size = self.view().size();
        // SAFETY: the invariant: the object, if there is one, is initialised and ours; the
        // allocation was made with this layout.
        unsafe {
            let view = self.view();
            if view.header().kind == KIND_OBJECT {
                ptr::drop_in_place(view.at(view.slot_at()).cast::<Object>());
            }
            dealloc(self.0.as_ptr().cast(), layout(size));
        }
    }
}

impl core::fmt::Debug for EntryRef<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("EntryRef")
            .field("key", &self.key())
            .field("value", &self.value())
            .finish()
    }
}

fn layout(size: usize) -> Layout {
    // Invariant: a key and an inline value are far below isize::MAX.
    Layout::from_size_align(size, 8).expect("an entry's size fits the address space")
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    #[test]
    fn parts_come_back() {
        for key_len in [0, 1, 16, 254, 255, 256, 70_000] {
            for value_len in [0, 1, 16, 44, INLINE_MAX, INLINE_MAX + 1, 100_000] {
                for deadline in [None, Some(1234)] {
                    let (key, value) = (vec![7u8; key_len], vec![9u8; value_len]);
                    let mut e = Entry::new(&key, Value::Bytes(&value), deadline, 0xABCDEF);
                    let mut e = e.view_mut();
                    assert_eq!(e.key(), key);
                    match e.value() {
                        ValueRef::Inline(b) => assert_eq!(b, value),
                        ValueRef::Object(Object::Str(s)) => assert_eq!(**s, value),
                        other => panic!("{other:?}"),
                    }
                    assert_eq!(
                        (e.deadline(), e.access(), e.marked()),
                        (deadline, 0xABCDEF, false)
                    );
                    e.mark(true);
                    e.touch(5);
                    assert_eq!((e.access(), e.marked(), e.key()), (5, true, &key[..]));
                }
            }
        }
    }

    #[test]
    fn sixteen_and_sixteen_take_forty() {
        assert_eq!(
            Entry::new(&[0; 16], Value::Bytes(&[0; 16]), None, 0)
                .view()
                .size(),
            40
        );
        assert_eq!(
            Entry::new(&[0; 16], Value::Int(7), None, 0).view().size(),
            32
        );
    }

    #[test]
    fn overwriting_stays_within_the_class() {
        let mut e = Entry::new(b"key", Value::Bytes(b"12345"), Some(3), 0);
        let mut e = e.view_mut();
        let size = e.size();
        assert!(e.overwrite(&Value::Bytes(b"1")));
        assert!(matches!(e.value(), ValueRef::Inline(b"1")));
        assert!(!e.overwrite(&Value::Bytes(&[0; 64])) && !e.overwrite(&Value::Int(1)));
        assert!(e.size() <= size && e.overwrite_deadline(Some(9)) && !e.overwrite_deadline(None));
        assert_eq!(e.deadline(), Some(9));
    }
}
