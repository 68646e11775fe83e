//! REPLCONF: what replicas say of themselves, their acknowledgements, and a primary's wish for one.
//!
//! `REPLCONF option value [option value …]`. Options are taken one by one; those before a wrong one
//! stay in force, as in Redis.

use super::Cx;
use super::primary::{Announced, Filter, Serving, parse_i64};
use crate::ConnId;
use crate::resp::error_text;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

/// Redis takes addresses shorter than this.
const MAX_HOST_BYTES: usize = 256;

/// What REPLCONF replies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReplconfReply {
    /// This error (without the leading `-` and the line end).
    Error(Vec<u8>),
    /// `+OK`.
    Ok,
    /// No reply at all.
    Silent,
}

use ReplconfReply::{Error, Ok, Silent};

impl Serving {
    /// `None` if the primary wants an acknowledgement from us.
    pub(super) fn replconf(
        &mut self,
        cx: &mut Cx<'_>,
        conn: ConnId,
        args: &[&[u8]],
    ) -> Option<ReplconfReply> {
        if args.len().is_multiple_of(2) {
            return Some(Error(b"ERR syntax error".to_vec()));
        }
        for pair in args[1..].chunks_exact(2) {
            let (option, value) = (pair[0], pair[1]);
            if option.eq_ignore_ascii_case(b"ack") {
                let offset = |value| parse_i64(value).and_then(|n| u64::try_from(n).ok());
                let synced = match args[1..] {
                    [_, _, name, value] if name.eq_ignore_ascii_case(b"fack") => offset(value),
                    _ => None,
                };
                if let Some(applied) = offset(value) {
                    self.ack(cx, conn, applied, synced);
                }
                return Some(Silent);
            }
            if option.eq_ignore_ascii_case(b"getack") {
                return None;
            }
            let announced = match self.links.iter_mut().find(|link| link.conn == conn) {
                Some(link) => &mut link.announced,
                None => self.announced.entry(conn).or_default(),
            };
            if let Err(error) = announced.set(option, value) {
                return Some(Error(error));
            }
        }
        Some(Ok)
    }
}

impl Announced {
    fn set(&mut self, option: &[u8], value: &[u8]) -> Result<(), Vec<u8>> {
        match option.to_ascii_lowercase().as_slice() {
            b"capa" => match value.to_ascii_lowercase().as_slice() {
                b"eof" => self.eof = true,
                b"psync2" => self.psync2 = true,
                // A newer replica's: not for us to know.
                _ => {}
            },
            b"ip-address" => self.ip = Some(ip_address(value)?),
            b"listening-port" => self.port = integer(value)?,
            b"rdb-filter-only" => self.filter = filter(value)?,
            b"rdb-only" => {
                self.rdb_only = match integer(value)? {
                    0 => false,
                    1 => true,
                    _ => {
                        let error = b"ERR value is out of range, value must between 0 and 1";
                        return Err(error.to_vec());
                    }
                };
            }
            _ => {
                return Err(error_text(&[b"ERR Unrecognized REPLCONF option: ", option]));
            }
        }
        Result::Ok(())
    }
}

fn integer(value: &[u8]) -> Result<i64, Vec<u8>> {
    parse_i64(value).ok_or_else(|| b"ERR value is not an integer or out of range".to_vec())
}

fn ip_address(value: &[u8]) -> Result<String, Vec<u8>> {
    if value.len() >= MAX_HOST_BYTES {
        return Err(format!(
            "ERR REPLCONF ip-address provided by replica instance is too long: {} bytes",
            value.len()
        )
        .into_bytes());
    }
    Result::Ok(printable(value))
}

/// The parts named are in the snapshot, all others are not.
fn filter(value: &[u8]) -> Result<Filter, Vec<u8>> {
    if value.iter().filter(|byte| **byte == b'"').count() % 2 == 1 {
        return Err(b"ERR Missing rdb-filter-only values".to_vec());
    }
    let mut filter = Filter {
        data: false,
        functions: false,
    };
    let words = value.split(u8::is_ascii_whitespace);
    for word in words.filter(|word| !word.is_empty()) {
        if !word.eq_ignore_ascii_case(b"functions") {
            return Err(error_text(&[
                b"ERR Unsupported rdb-filter-only option: ",
                word,
            ]));
        }
        filter.functions = true;
    }
    Result::Ok(filter)
}

/// Text of a peer, fit for one line of a reply, a log or INFO.
fn printable(text: &[u8]) -> String {
    String::from_utf8_lossy(text).replace(|c: char| c.is_control(), " ")
}
