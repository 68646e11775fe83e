//! Values of a file, looked at without a server: whether each is one, and how large.

use super::dataset::{self, Limits};
use super::object::type_name;
use crate::config::Config;
use crate::rdb;
use crate::store::{Hasher, Object, OwnedValue, Store};
use alloc::string::String;

/// Takes values apart as a server with the default configuration would.
pub struct Examiner {
    limits: Limits,
}

/// What a value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Examined {
    /// Its type, as TYPE names it.
    pub type_name: &'static str,
    /// Its elements: fields, members, entries; of a string, bytes.
    pub elements: u64,
}

impl Examiner {
    /// An examiner.
    #[expect(
        clippy::new_without_default,
        reason = "it stands for a server's configuration, not for nothing"
    )]
    pub fn new() -> Examiner {
        let store = Store::new(1, Hasher::new((0, 0), false));
        Examiner {
            limits: Limits::new(&Config::default(), &store),
        }
    }

    /// Looks at one value.
    ///
    /// # Errors
    /// What is damaged, in the words in which a server refuses it.
    pub fn examine(&self, value: rdb::Value) -> Result<Examined, String> {
        let value = dataset::owned(value, &self.limits)?;
        let elements = match &value {
            OwnedValue::Bytes(bytes) => bytes.len(),
            OwnedValue::Int(number) => alloc::format!("{number}").len(),
            OwnedValue::Object(object) => match object {
                Object::Str(bytes) => bytes.len(),
                Object::Hash(hash) => hash.len(),
                Object::Set(set) => set.len(),
                Object::Stream(stream) => stream.entries.len() as usize,
                Object::ZSet(set) => set.len(),
                Object::List(list) => list.len(),
            },
        };
        Ok(Examined {
            type_name: type_name(value.view()),
            elements: elements as u64,
        })
    }
}
