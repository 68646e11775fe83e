//! Commands on the time that keys have to live.

use alloc::format;
use smallvec::SmallVec;

use super::context::{Data, Overdue};
use super::error::CommandError;
use super::string::{EX, EXAT, PX, PXAT, TimeUnit, integer};
use super::table::Outcome;
use crate::config::NotifyEvents;
use crate::value::number::ItoaBuffer;

/// On what a deadline that is to be set must improve.
#[derive(Clone, Copy, Default)]
struct Conditions {
    /// NX: there must be none yet.
    absent: bool,
    /// XX: there must be one.
    present: bool,
    /// GT: it must be later than the one there is.
    later: bool,
    /// LT: it must be earlier than the one there is.
    earlier: bool,
}

impl Conditions {
    fn parse(args: &[&[u8]]) -> Result<Conditions, CommandError> {
        let mut c = Conditions::default();
        for arg in args {
            let flag = match arg.to_ascii_lowercase().as_slice() {
                b"nx" => &mut c.absent,
                b"xx" => &mut c.present,
                b"gt" => &mut c.later,
                b"lt" => &mut c.earlier,
                _ => return Err(CommandError::showing(&[b"ERR Unsupported option ", arg])),
            };
            *flag = true;
        }
        if c.absent && (c.present || c.later || c.earlier) {
            return Err(CommandError::fixed(
                "ERR NX and XX, GT or LT options at the same time are not compatible",
            ));
        }
        if c.later && c.earlier {
            return Err(CommandError::fixed(
                "ERR GT and LT options at the same time are not compatible",
            ));
        }
        Ok(c)
    }

    /// Whether a deadline may be replaced. None at all counts as infinitely late.
    fn allow(self, old: Option<u64>, new: i64) -> bool {
        let old = old.map(|at| i64::try_from(at).unwrap_or(i64::MAX));
        match old {
            None => !self.present && !self.later,
            Some(_) if self.absent => false,
            Some(old) if self.later => new > old,
            Some(old) if self.earlier => new < old,
            Some(_) => true,
        }
    }
}

/// Sets a key's deadline; `command` is the name for errors.
fn set_deadline(d: &mut Data<'_>, args: &[&[u8]], unit: TimeUnit, command: &str) -> Outcome {
    let conditions = Conditions::parse(&args[3..])?;
    let time = integer(args[2])?;
    let scaled = if unit.seconds {
        time.checked_mul(1000)
    } else {
        Some(time)
    };
    let origin = if unit.absolute {
        0
    } else {
        d.now.unix_ms() as i64
    };
    let at = scaled.and_then(|t| t.checked_add(origin)).ok_or_else(|| {
        CommandError::text(format!("ERR invalid expire time in '{command}' command"))
    })?;
    let key = d.first_key(args[1]);
    let Some(place) = d.look_to_write(key) else {
        d.out.int(0);
        return Ok(());
    };
    if !conditions.allow(d.store.entry(d.db, place).deadline(), at) {
        d.out.int(0);
        return Ok(());
    }
    // On a replica, and out of a file, a key's time passes by the primary's DEL alone.
    if at <= d.now.unix_ms() as i64 && d.overdue == Overdue::Delete {
        d.store.delete(d.db, key, place);
        let verb: &[u8] = if d.config.lazyfree_lazy_expire {
            b"UNLINK"
        } else {
            b"DEL"
        };
        d.effects.instead(d.db, &[verb, args[1]]);
        d.notify(NotifyEvents::GENERIC, "del", args[1]);
    } else {
        let ms = at.max(0);
        d.store.set_deadline(d.db, key, place, Some(ms as u64));
        d.notify(NotifyEvents::GENERIC, "expire", args[1]);
        if unit != PXAT {
            let digits = ItoaBuffer::new(ms);
            let mut words: SmallVec<[&[u8]; 8]> =
                smallvec::smallvec![&b"PEXPIREAT"[..], args[1], &digits[..]];
            words.extend_from_slice(&args[3..]);
            d.effects.instead(d.db, &words);
        }
    }
    d.changed(args[1]);
    d.out.int(1);
    Ok(())
}

/// `EXPIRE key seconds [NX|XX|GT|LT]`. <https://redis.io/commands/expire/>
pub(super) fn expire(d: &mut Data<'_>, args: &[&[u8]]) -> Outcome {
    set_deadline(d, args, EX, "expire")
}

/// `PEXPIRE key milliseconds [NX|XX|GT|LT]`. <https://redis.io/commands/pexpire/>
pub(super) fn pexpire(d: &mut Data<'_>, args: &[&[u8]]) -> Outcome {
    set_deadline(d, args, PX, "pexpire")
}

/// `EXPIREAT key unix-seconds [NX|XX|GT|LT]`. <https://redis.io/commands/expireat/>
pub(super) fn expireat(d: &mut Data<'_>, args: &[&[u8]]) -> Outcome {
    set_deadline(d, args, EXAT, "expireat")
}

/// `PEXPIREAT key unix-milliseconds [NX|XX|GT|LT]`. <https://redis.io/commands/pexpireat/>
pub(super) fn pexpireat(d: &mut Data<'_>, args: &[&[u8]]) -> Outcome {
    set_deadline(d, args, PXAT, "pexpireat")
}

/// Replies the time that a key has left, or its deadline: -1 if it has none, -2 if there is no key.
fn reply_deadline(d: &mut Data<'_>, args: &[&[u8]], unit: TimeUnit) -> Outcome {
    let key = d.first_key(args[1]);
    let Some(place) = d.peek(key) else {
        d.out.int(-2);
        return Ok(());
    };
    let Some(at) = d.store.entry(d.db, place).deadline() else {
        d.out.int(-1);
        return Ok(());
    };
    let ms = if unit.absolute {
        at
    } else {
        at.saturating_sub(d.now.unix_ms())
    };
    let time = if unit.seconds {
        ms.saturating_add(500) / 1000
    } else {
        ms
    };
    d.out.int(time as i64);
    Ok(())
}

/// `TTL key`. <https://redis.io/commands/ttl/>
pub(super) fn ttl(d: &mut Data<'_>, args: &[&[u8]]) -> Outcome {
    reply_deadline(d, args, EX)
}

/// `PTTL key`. <https://redis.io/commands/pttl/>
pub(super) fn pttl(d: &mut Data<'_>, args: &[&[u8]]) -> Outcome {
    reply_deadline(d, args, PX)
}

/// `EXPIRETIME key`. <https://redis.io/commands/expiretime/>
pub(super) fn expiretime(d: &mut Data<'_>, args: &[&[u8]]) -> Outcome {
    reply_deadline(d, args, EXAT)
}

/// `PEXPIRETIME key`. <https://redis.io/commands/pexpiretime/>
pub(super) fn pexpiretime(d: &mut Data<'_>, args: &[&[u8]]) -> Outcome {
    reply_deadline(d, args, PXAT)
}

/// `PERSIST key`. <https://redis.io/commands/persist/>
pub(super) fn persist(d: &mut Data<'_>, args: &[&[u8]]) -> Outcome {
    let key = d.first_key(args[1]);
    let expiring = d
        .look_to_write(key)
        .filter(|&place| d.store.entry(d.db, place).deadline().is_some());
    if let Some(place) = expiring {
        d.store.set_deadline(d.db, key, place, None);
        d.changed(args[1]);
        d.notify(NotifyEvents::GENERIC, "persist", args[1]);
    }
    d.out.int(i64::from(expiring.is_some()));
    Ok(())
}
