//! Which CPUs a thread may run on: `server_cpulist` for the poll loop, `bio_cpulist` for the others.
//!
//! ```text
//! list  := range (',' range)…
//! range := first | first '-' last | first '-' last ':' stride
//! ```

use crate::sys;

/// No machine has more.
const MOST: usize = 1024;

/// Binds this thread to the CPUs of a list; not at all, as in Redis, if the list is empty or wrong.
pub fn bind(list: &str) {
    if let Some(cpus) = parse(list) {
        // Where the system refuses, the thread runs wherever it may.
        let _ = sys::bind_to_cpus(&cpus);
    }
}

fn parse(list: &str) -> Option<Vec<usize>> {
    let mut cpus = Vec::new();
    for range in list.split(',') {
        let (range, stride) = match range.split_once(':') {
            Some((range, stride)) => (range, number(stride)?),
            None => (range, 1),
        };
        let (first, last) = match range.split_once('-') {
            Some((first, last)) => (number(first)?, number(last)?),
            None => (number(range)?, number(range)?),
        };
        if stride == 0 || last < first {
            return None;
        }
        cpus.extend((first..=last).step_by(stride));
    }
    Some(cpus)
}

fn number(text: &str) -> Option<usize> {
    text.trim().parse().ok().filter(|&n| n < MOST)
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn lists() {
        assert_eq!(parse("1"), Some(vec![1]));
        assert_eq!(parse("0,2-4, 6-10:2"), Some(vec![0, 2, 3, 4, 6, 8, 10]));
        for wrong in ["", "a", "3-1", "1-5:0", "1,", "99999999"] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
    }
}
