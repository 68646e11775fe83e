//! Cipher suites by the names and expressions of OpenSSL.
//!
//! `tls-ciphersuites` lists suites of TLS 1.3 by name. `tls-ciphers` chooses suites of TLS 1.2 by a list of
//! names and classes, of which those here that mean anything for the suites that there are:
//!
//! ```text
//! list  := item (':' | ',' | ' ') item …
//! item  := classes         adds what is not there yet, at the end
//!        | '-' classes     removes
//!        | '!' classes     removes for good
//!        | '+' classes     moves to the end
//!        | '@STRENGTH'     sorts by the length of the key
//!        | 'DEFAULT'       all, in the usual order
//! classes := name ('+' name)…     suites that are in all of them
//! ```
//!
//! What is unknown adds nothing, as in OpenSSL; a list that leaves nothing is refused.
//! Source: openssl-ciphers(1).

use rustls::SupportedCipherSuite;
use rustls::crypto::ring::cipher_suite as suite;

struct Suite {
    suite: SupportedCipherSuite,
    /// OpenSSL's name, then classes that it is in besides [`COMMON`].
    names: &'static [&'static str],
    bits: u16,
}

/// Classes of all suites of TLS 1.2 here.
const COMMON: &[&str] = &[
    "ALL", "HIGH", "DEFAULT", "ECDHE", "EECDH", "kECDHE", "kEECDH", "AEAD", "TLSv1.2",
];

/// Suites of TLS 1.2, in their usual order.
static TLS12: [Suite; 6] = [
    Suite {
        suite: suite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
        names: &[
            "ECDHE-ECDSA-AES256-GCM-SHA384",
            "ECDSA",
            "aECDSA",
            "AES",
            "AES256",
            "AESGCM",
            "SUITEB192",
        ],
        bits: 256,
    },
    Suite {
        suite: suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
        names: &[
            "ECDHE-ECDSA-AES128-GCM-SHA256",
            "ECDSA",
            "aECDSA",
            "AES",
            "AES128",
            "AESGCM",
        ],
        bits: 128,
    },
    Suite {
        suite: suite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
        names: &[
            "ECDHE-ECDSA-CHACHA20-POLY1305",
            "ECDSA",
            "aECDSA",
            "CHACHA20",
        ],
        bits: 256,
    },
    Suite {
        suite: suite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
        names: &[
            "ECDHE-RSA-AES256-GCM-SHA384",
            "aRSA",
            "AES",
            "AES256",
            "AESGCM",
        ],
        bits: 256,
    },
    Suite {
        suite: suite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
        names: &[
            "ECDHE-RSA-AES128-GCM-SHA256",
            "aRSA",
            "AES",
            "AES128",
            "AESGCM",
        ],
        bits: 128,
    },
    Suite {
        suite: suite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
        names: &["ECDHE-RSA-CHACHA20-POLY1305", "aRSA", "CHACHA20"],
        bits: 256,
    },
];

/// Suites of TLS 1.3, in their usual order.
static TLS13: [(&str, SupportedCipherSuite); 3] = [
    ("TLS_AES_256_GCM_SHA384", suite::TLS13_AES_256_GCM_SHA384),
    (
        "TLS_CHACHA20_POLY1305_SHA256",
        suite::TLS13_CHACHA20_POLY1305_SHA256,
    ),
    ("TLS_AES_128_GCM_SHA256", suite::TLS13_AES_128_GCM_SHA256),
];

/// The suites that the two directives choose, or the line for the log.
pub fn chosen(ciphers: &str, ciphersuites: &str) -> Result<Vec<SupportedCipherSuite>, String> {
    let mut found = tls13(ciphersuites)
        .ok_or_else(|| format!("Failed to configure ciphersuites: {ciphersuites}"))?;
    let tls12 = tls12(ciphers).ok_or_else(|| format!("Failed to configure ciphers: {ciphers}"))?;
    found.extend(tls12.iter().map(|&at| TLS12[at].suite));
    Ok(found)
}

fn tls13(list: &str) -> Option<Vec<SupportedCipherSuite>> {
    if list.is_empty() {
        return Some(TLS13.iter().map(|(_, suite)| *suite).collect());
    }
    let mut found = Vec::new();
    for name in list.split([':', ',', ' ']).filter(|name| !name.is_empty()) {
        match TLS13.iter().find(|(known, _)| *known == name) {
            Some((_, suite)) if !found.contains(suite) => found.push(*suite),
            Some(_) => {}
            // OpenSSL has them, and there are always others beside them.
            None if name.starts_with("TLS_AES_128_CCM") => {}
            None => return None,
        }
    }
    (!found.is_empty()).then_some(found)
}

/// Positions in [`TLS12`].
fn tls12(list: &str) -> Option<Vec<usize>> {
    if list.is_empty() {
        return Some((0..TLS12.len()).collect());
    }
    let (mut found, mut banned) = (Vec::new(), Vec::new());
    for item in list.split([':', ',', ' ']).filter(|item| !item.is_empty()) {
        let (sign, classes) = match item.split_at_checked(1) {
            Some((sign @ ("-" | "!" | "+" | "@"), rest)) => (sign, rest),
            _ => ("", item),
        };
        let hit = |at: &usize| {
            let Suite { names, .. } = &TLS12[*at];
            classes
                .split('+')
                .all(|class| names.contains(&class) || COMMON.contains(&class))
        };
        match sign {
            "@" if classes == "STRENGTH" => {
                found.sort_by_key(|&at: &usize| std::cmp::Reverse(TLS12[at].bits));
            }
            "@" => {}
            "-" => found.retain(|at| !hit(at)),
            "!" => {
                banned.extend((0..TLS12.len()).filter(hit));
                found.retain(|at| !hit(at));
            }
            "+" => found.sort_by_key(hit),
            _ => {
                let new: Vec<usize> = (0..TLS12.len())
                    .filter(hit)
                    .filter(|at| !found.contains(at) && !banned.contains(at))
                    .collect();
                found.extend(new);
            }
        }
    }
    (!found.is_empty()).then_some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(list: &str) -> String {
        let found = tls12(list).unwrap_or_default();
        let names: Vec<&str> = found.iter().map(|&at| TLS12[at].names[0]).collect();
        names.join(":")
    }

    #[test]
    fn expressions_choose_as_openssl_does() {
        assert_eq!(tls12("").unwrap().len(), 6);
        assert_eq!(names("DEFAULT:!MEDIUM"), names(""));
        assert_eq!(names("AES128-SHA256"), "");
        assert_eq!(
            names("ECDHE-RSA-AES128-GCM-SHA256 AES128-SHA256"),
            "ECDHE-RSA-AES128-GCM-SHA256"
        );
        assert_eq!(
            names("ECDHE+AESGCM:!aECDSA"),
            "ECDHE-RSA-AES256-GCM-SHA384:ECDHE-RSA-AES128-GCM-SHA256"
        );
        assert_eq!(
            names("aRSA:+AES128:-CHACHA20"),
            "ECDHE-RSA-AES256-GCM-SHA384:ECDHE-RSA-AES128-GCM-SHA256"
        );
        assert_eq!(
            names("AES128:AES256:!ECDSA:@STRENGTH"),
            "ECDHE-RSA-AES256-GCM-SHA384:ECDHE-RSA-AES128-GCM-SHA256"
        );
        assert_eq!(names("!aRSA:aRSA"), "");
        assert_eq!(names("-aRSA:aRSA+CHACHA20"), "ECDHE-RSA-CHACHA20-POLY1305");
    }

    #[test]
    fn what_leaves_nothing_is_refused() {
        assert_eq!(
            chosen("foo", "").unwrap_err(),
            "Failed to configure ciphers: foo"
        );
        assert_eq!(
            chosen("", "TLS_NULL").unwrap_err(),
            "Failed to configure ciphersuites: TLS_NULL"
        );
        let one = chosen("CHACHA20", "TLS_AES_128_GCM_SHA256:TLS_AES_128_CCM_SHA256").unwrap();
        assert_eq!(one.len(), 3);
    }
}
