//! When two replies count as the same.

use super::table::Policy;
use crate::resp::Value;
use std::mem::discriminant;

/// Whether the replies agree as far as the policy asks.
pub fn agree(policy: Policy, subject: &Value, oracle: &Value) -> bool {
    if subject.is_error()
        || oracle.is_error()
        || *subject == Value::Closed
        || *oracle == Value::Closed
    {
        return subject == oracle;
    }
    match policy {
        Policy::Exact => sorted_maps(subject) == sorted_maps(oracle),
        Policy::Idle => sorted_maps(&without_idle(subject)) == sorted_maps(&without_idle(oracle)),
        Policy::Masked(fields) => {
            sorted_maps(&masked(subject, fields)) == sorted_maps(&masked(oracle, fields))
        }
        Policy::Near(distance) => near(distance, subject, oracle),
        Policy::Pairs => pairs(subject) == pairs(oracle),
        Policy::Random => {
            discriminant(subject) == discriminant(oracle)
                && subject.items().len() == oracle.items().len()
                && subject
                    .items()
                    .iter()
                    .zip(&oracle.items())
                    .all(|(a, b)| agree(Policy::Random, a, b))
        }
        // A whole iteration has been turned into a sorted list by the runner; within EXEC there is none.
        Policy::Scan => match (subject, oracle) {
            (Value::Set(_), Value::Set(_)) => sorted_maps(subject) == sorted_maps(oracle),
            _ => discriminant(subject) == discriminant(oracle),
        },
        Policy::Times => times(subject, oracle),
        Policy::Type => discriminant(subject) == discriminant(oracle),
        Policy::Unordered => unordered(subject) == unordered(oracle),
    }
}

/// The same value with maps and sets in order, at every depth.
fn sorted_maps(value: &Value) -> Value {
    match value {
        Value::Map(entries) => {
            let mut entries: Vec<_> = entries
                .iter()
                .map(|(k, v)| (sorted_maps(k), sorted_maps(v)))
                .collect();
            entries.sort();
            Value::Map(entries)
        }
        Value::Set(items) => {
            let mut items: Vec<_> = items.iter().map(sorted_maps).collect();
            items.sort();
            Value::Set(items)
        }
        Value::Array(items) => Value::Array(items.iter().map(sorted_maps).collect()),
        Value::Push(items) => Value::Push(items.iter().map(sorted_maps).collect()),
        other => other.clone(),
    }
}

/// The same value with lists in order, too.
fn unordered(value: &Value) -> Value {
    match value {
        Value::Array(items) => {
            let mut items: Vec<_> = items.iter().map(unordered).collect();
            items.sort();
            Value::Array(items)
        }
        other => sorted_maps(other),
    }
}

fn pairs(value: &Value) -> Value {
    match value {
        Value::Array(items) if items.len() % 2 == 0 => {
            let entries = items
                .chunks(2)
                .map(|pair| (pair[0].clone(), pair[1].clone()));
            Value::Array(match sorted_maps(&Value::Map(entries.collect())) {
                Value::Map(entries) => entries.into_iter().flat_map(|(k, v)| [k, v]).collect(),
                other => vec![other],
            })
        }
        other => sorted_maps(other),
    }
}

fn masked(value: &Value, fields: &[&str]) -> Value {
    let hidden = |key: &Value| fields.iter().any(|field| key.bytes() == field.as_bytes());
    match value {
        Value::Map(entries) => {
            let entries = entries.iter().map(|(k, v)| {
                let value = if hidden(k) {
                    Value::Null
                } else {
                    masked(v, fields)
                };
                (k.clone(), value)
            });
            Value::Map(entries.collect())
        }
        Value::Array(items) => {
            let at = |i: usize| i % 2 == 1 && hidden(&items[i - 1]);
            let items = items.iter().enumerate().map(|(i, v)| {
                if at(i) {
                    Value::Null
                } else {
                    masked(v, fields)
                }
            });
            Value::Array(items.collect())
        }
        other => other.clone(),
    }
}

/// XPENDING's entries without their third part.
fn without_idle(value: &Value) -> Value {
    match value {
        Value::Array(entries) => {
            let entries = entries.iter().map(|entry| match entry {
                Value::Array(parts) if parts.len() == 4 => {
                    let mut parts = parts.clone();
                    parts[2] = Value::Null;
                    Value::Array(parts)
                }
                other => other.clone(),
            });
            Value::Array(entries.collect())
        }
        other => other.clone(),
    }
}

/// Whether two replies differ in nothing but recent times.
fn times(subject: &Value, oracle: &Value) -> bool {
    const RECENT: std::ops::Range<i64> = 1_500_000_000_000..9_000_000_000_000;
    match (sorted_maps(subject), sorted_maps(oracle)) {
        (Value::Int(a), Value::Int(b)) if RECENT.contains(&a) && RECENT.contains(&b) => {
            a.abs_diff(b) < 60_000
        }
        (Value::Array(a), Value::Array(b)) => {
            a.len() == b.len() && a.iter().zip(&b).all(|(a, b)| times(a, b))
        }
        (Value::Map(a), Value::Map(b)) => {
            let same = |((k, v), (l, w)): (&(Value, Value), &(Value, Value))| k == l && times(v, w);
            a.len() == b.len() && a.iter().zip(&b).all(same)
        }
        (a, b) => a == b,
    }
}

fn near(distance: i64, subject: &Value, oracle: &Value) -> bool {
    match (subject, oracle) {
        // Negative numbers are answers (no key, no expiry), not times.
        (Value::Int(a), Value::Int(b)) if *a >= 0 && *b >= 0 => {
            a.abs_diff(*b) <= distance.unsigned_abs()
        }
        (Value::Array(a), Value::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| near(distance, a, b))
        }
        _ => subject == oracle,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(words: &[&str]) -> Value {
        Value::Array(words.iter().map(Value::bulk).collect())
    }

    #[test]
    fn policies_forgive_what_they_say_and_nothing_else() {
        let (ab, ba, ac) = (list(&["a", "b"]), list(&["b", "a"]), list(&["a", "c"]));
        assert!(agree(Policy::Exact, &ab, &ab) && !agree(Policy::Exact, &ab, &ba));
        assert!(agree(Policy::Unordered, &ab, &ba) && !agree(Policy::Unordered, &ab, &ac));
        assert!(agree(Policy::Random, &ab, &ac) && !agree(Policy::Random, &ab, &list(&["a"])));
        let (xy, yx) = (list(&["x", "1", "y", "2"]), list(&["y", "2", "x", "1"]));
        assert!(
            agree(Policy::Pairs, &xy, &yx)
                && !agree(Policy::Pairs, &xy, &list(&["x", "2", "y", "1"]))
        );
        assert!(agree(
            Policy::Masked(&["x"]),
            &xy,
            &list(&["x", "9", "y", "2"])
        ));
        assert!(!agree(
            Policy::Masked(&["x"]),
            &xy,
            &list(&["x", "1", "y", "9"])
        ));
        assert!(agree(Policy::Near(5), &Value::Int(100), &Value::Int(105)));
        assert!(!agree(Policy::Near(5), &Value::Int(0), &Value::Int(-1)));
        assert!(agree(Policy::Type, &Value::Int(1), &Value::Int(2)));
        assert!(!agree(Policy::Type, &Value::Int(1), &Value::bulk("1")));
    }

    #[test]
    fn errors_are_compared_to_the_letter_whatever_the_policy() {
        assert!(!agree(
            Policy::Type,
            &Value::error("ERR a"),
            &Value::error("ERR b")
        ));
        assert!(agree(
            Policy::Random,
            &Value::error("ERR a"),
            &Value::error("ERR a")
        ));
        assert!(!agree(
            Policy::Type,
            &Value::error("ERR a"),
            &Value::simple("OK")
        ));
    }
}
