//! D3: what was in memory before an orderly restart is in memory after it.

use super::Violation;
use crate::probe::DumpedKey;
use crate::time::Micros;

/// Compares the dumps before and after. Keys whose deadline has passed since may be gone.
pub fn compare(
    node: u16,
    at: Micros,
    unix_ms: u64,
    before: &[DumpedKey],
    after: &[DumpedKey],
) -> Option<Violation> {
    let alive = |key: &&DumpedKey| key.expires_ms.is_none_or(|expires| expires > unix_ms);
    let before: Vec<_> = before.iter().filter(alive).collect();
    let after: Vec<_> = after.iter().filter(alive).collect();
    if before == after {
        return None;
    }
    let lost = before.iter().filter(|key| !after.contains(key)).take(5);
    let gained = after.iter().filter(|key| !before.contains(key)).take(5);
    let show = |key: &&DumpedKey| {
        format!(
            "db{} {:?} {:?}",
            key.db,
            String::from_utf8_lossy(&key.key),
            key.expires_ms
        )
    };
    let text = format!(
        "node {node}: the data changed over a restart: {} keys before, {} after; only before: {:?}; only after: {:?}",
        before.len(),
        after.len(),
        lost.map(show).collect::<Vec<_>>(),
        gained.map(show).collect::<Vec<_>>(),
    );
    Some(Violation::safety("D3", at, text))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str, digest: u8, expires_ms: Option<u64>) -> DumpedKey {
        DumpedKey {
            db: 0,
            key: name.into(),
            digest: [digest; 20],
            expires_ms,
        }
    }

    #[test]
    fn only_what_expired_meanwhile_may_differ() {
        let before = [
            key("a", 1, None),
            key("b", 2, Some(50)),
            key("c", 3, Some(500)),
        ];
        let check = |after: &[DumpedKey]| compare(0, 0, 100, &before, after);
        assert_eq!(check(&before), None);
        assert_eq!(check(&[before[0].clone(), before[2].clone()]), None);
        assert!(check(&[before[0].clone()]).is_some());
        assert!(check(&[key("a", 9, None), before[2].clone()]).is_some());
        assert!(check(&[before[0].clone(), key("c", 3, Some(501))]).is_some());
        assert!(check(&[before[0].clone(), before[2].clone(), key("d", 4, None)]).is_some());
    }
}
