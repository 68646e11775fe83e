//! Looking collections up, changing them, and deleting them when they are empty: the same for every type.

use super::context::Data;
use super::error::CommandError;
use crate::config::NotifyEvents;
use crate::random::Random;
use crate::resp::Output;
use crate::store::{Collection, Deadline, Key, Place, Value, ValueRef};

/// What a command that reads a collection works with.
pub(super) struct Reading<'d, C> {
    /// The collection, if the key is there.
    pub value: Option<&'d C>,
    /// The reply.
    pub out: &'d mut Output,
    /// Randomness.
    pub random: &'d mut Random,
}

/// Draws with repetition in one reply, if nothing else sets them an end.
const MOST_DRAWS: u64 = 1 << 24;

/// How many draws with repetition are made of those that a client wants. It gets fewer only if it will be cut off:
/// what is more than its output may hold need not be drawn.
///
/// # Errors
/// It is too many.
pub(super) fn draws(d: &Data<'_>, wanted: u64) -> Result<usize, CommandError> {
    /// Bytes of the shortest element.
    const SHORTEST: u64 = 6;
    let limits = &d.config.client_output_buffer_limit;
    let limit = match d.subscribed {
        true => limits.pubsub.hard_bytes,
        false => limits.normal.hard_bytes,
    };
    let draws = match limit / SHORTEST + 1 {
        _ if wanted <= MOST_DRAWS => wanted,
        fatal if limit > 0 && !d.scripted && fatal <= MOST_DRAWS => fatal.min(wanted),
        _ => return Err(CommandError::fixed("ERR value is out of range")),
    };
    Ok(draws as usize)
}

/// The collection that a value is.
///
/// # Errors
/// [`CommandError::WRONG_TYPE`].
#[inline]
pub(super) fn of<C: Collection>(value: ValueRef<'_>) -> Result<&C, CommandError> {
    match value {
        ValueRef::Object(object) => C::of(object),
        _ => None,
    }
    .ok_or(CommandError::WRONG_TYPE)
}

/// Looks the command's first key up to read the collection in it.
///
/// # Errors
/// [`CommandError::WRONG_TYPE`].
#[inline]
pub(super) fn read<'d, C: Collection>(
    d: &'d mut Data<'_>,
    key: &[u8],
) -> Result<Reading<'d, C>, CommandError> {
    let key = d.first_key(key);
    let found = d.look(key);
    let Data {
        store,
        out,
        random,
        db,
        ..
    } = d;
    let value = match found {
        Some(place) => Some(of(store.entry(*db, place).value())?),
        None => None,
    };
    Ok(Reading { value, out, random })
}

/// Looks a key up to change the collection in it.
///
/// # Errors
/// [`CommandError::WRONG_TYPE`].
#[inline]
pub(super) fn find<C: Collection>(
    d: &mut Data<'_>,
    key: Key<'_>,
) -> Result<Option<Place>, CommandError> {
    let found = d.look_to_write(key);
    if let Some(place) = found {
        of::<C>(d.value(place))?;
    }
    Ok(found)
}

/// Lets `change` work on the collection at a key, which is made if absent. `found` is what [`find`] said.
///
/// Others (a snapshot, a copy) may hold the collection too: then `change` gets one of its own, that shares
/// what it does not change.
#[inline]
pub(super) fn edit<C: Collection, R>(
    d: &mut Data<'_>,
    key: Key<'_>,
    found: Option<Place>,
    change: impl FnOnce(&mut C) -> R,
) -> R {
    let Some(place) = found else {
        let mut collection = C::default();
        let result = change(&mut collection);
        put(d, key, collection);
        return result;
    };
    let mut change = Some(change);
    let edited = d.store.modify(d.db, key, place, |object| {
        let collection = C::of_mut(object)?;
        change.take().map(|change| change(collection))
    });
    match (edited.flatten(), change) {
        (Some(result), _) => result,
        // `found` is of a collection of this type: that was checked.
        (None, Some(change)) => change(&mut C::default()),
        (None, None) => unreachable!("a change gives a result"),
    }
}

/// Puts a collection at a key, whatever was there; an empty one is not kept.
pub(super) fn put<C: Collection>(d: &mut Data<'_>, key: Key<'_>, collection: C) {
    if collection.is_empty() {
        return;
    }
    d.notify_if_new(d.db, key);
    let access = d.access();
    let value = Value::Object(collection.into_object());
    d.store.set(d.db, key, value, Deadline::Clear, access);
}

/// Deletes a key whose collection has become empty, and says so to whom it may concern.
#[inline]
pub(super) fn delete_if_empty<C: Collection>(d: &mut Data<'_>, key: Key<'_>, place: Place) {
    if of::<C>(d.value(place)).is_ok_and(Collection::is_empty) {
        d.store.delete(d.db, key, place);
        d.notify(NotifyEvents::GENERIC, "del", key.bytes);
    }
}
