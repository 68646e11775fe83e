//! Certificates of X.509 version 1, of which `openssl x509 -req` without extensions makes so many: also
//! Redis's own script for test certificates. rustls takes none.
//!
//! Such a certificate says nothing of what it is for, so it is taken for the peer itself only, if one of the
//! authorities has signed it directly, and does not restrict names.
//!
//! ```text
//! Certificate := SEQUENCE { tbs, algorithm, BIT STRING signature }
//! tbs         := SEQUENCE { INTEGER serial, algorithm, issuer, SEQUENCE { from, until }, subject, key, … }
//! key         := SEQUENCE { algorithm, BIT STRING }
//! ```
//!
//! (From version 2 on, tbs begins with a version instead of the serial number.) Source: RFC 5280, section 4.1.

use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls13_signature_with_raw_key};
use rustls::pki_types::{
    CertificateDer, SignatureVerificationAlgorithm, SubjectPublicKeyInfoDer, UnixTime,
};
use rustls::{CertificateError, DigitallySignedStruct, Error, RootCertStore};

const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const SEQUENCE: u8 = 0x30;

/// The parts that matter, as they are in the certificate.
pub struct Version1<'a> {
    /// What is signed.
    tbs: &'a [u8],
    algorithm: &'a [u8],
    signature: &'a [u8],
    issuer: &'a [u8],
    from: u64,
    until: u64,
    key: Key<'a>,
}

struct Key<'a> {
    whole: &'a [u8],
    algorithm: &'a [u8],
    bits: &'a [u8],
}

/// A value of DER: its tag, itself, and with tag and length.
struct Value<'a> {
    tag: u8,
    content: &'a [u8],
    whole: &'a [u8],
}

/// Takes the first value off.
fn value<'a>(rest: &mut &'a [u8]) -> Option<Value<'a>> {
    let (&tag, tail) = rest.split_first()?;
    let (&first, tail) = tail.split_first()?;
    let (len, head) = match usize::from(first) {
        short @ 0..=0x7f => (short, 2),
        // Nothing in a certificate is longer than three bytes can say.
        long @ 0x81..=0x83 => {
            let bytes = tail.get(..long - 0x80)?;
            let len = bytes.iter().fold(0, |n, &b| n << 8 | usize::from(b));
            (len, 2 + bytes.len())
        }
        _ => return None,
    };
    let whole = rest.get(..head.checked_add(len)?)?;
    *rest = &rest[whole.len()..];
    Some(Value {
        tag,
        content: &whole[head..],
        whole,
    })
}

/// Takes the first value off, which is to have this tag.
fn expect<'a>(rest: &mut &'a [u8], tag: u8) -> Option<Value<'a>> {
    value(rest).filter(|found| found.tag == tag)
}

/// Whole bytes.
fn bits<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    expect(rest, BIT_STRING)?.content.strip_prefix(&[0])
}

/// The content of a key: without its own tag and length.
fn key<'a>(content: &'a [u8], whole: &'a [u8]) -> Option<Key<'a>> {
    let mut rest = content;
    Some(Key {
        whole,
        algorithm: expect(&mut rest, SEQUENCE)?.content,
        bits: bits(&mut rest)?,
    })
}

/// Seconds since the Unix epoch.
fn time(rest: &mut &[u8]) -> Option<u64> {
    let found = value(rest)?;
    let text = std::str::from_utf8(found.content).ok()?.strip_suffix('Z')?;
    let digits = |from: usize| text.get(from..from + 2)?.parse::<u64>().ok();
    let (year, at) = match (found.tag, text.len()) {
        (UTC_TIME, 12) => {
            let year = digits(0)?;
            (year + if year < 50 { 2000 } else { 1900 }, 2)
        }
        (GENERALIZED_TIME, 14) => (digits(0)? * 100 + digits(2)?, 4),
        _ => return None,
    };
    let (month, day) = (digits(at)?, digits(at + 2)?);
    let (hour, minute, second) = (digits(at + 4)?, digits(at + 6)?, digits(at + 8)?);
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) || year < 1970 {
        return None;
    }
    // Years begin in March: the leap day is their last.
    let (y, m) = if month > 2 {
        (year, month - 3)
    } else {
        (year - 1, month + 9)
    };
    let days = y * 365 + y / 4 - y / 100 + y / 400 + (m * 153 + 2) / 5 + day - 1;
    let days = days.checked_sub(719_468)?;
    Some(((days * 24 + hour) * 60 + minute) * 60 + second)
}

impl<'a> Version1<'a> {
    /// Reads a certificate; `None` if it is of another version, or none at all.
    pub fn read(certificate: &'a CertificateDer<'_>) -> Option<Version1<'a>> {
        let mut outer: &[u8] = certificate.as_ref();
        let mut rest = expect(&mut outer, SEQUENCE)?.content;
        let tbs = expect(&mut rest, SEQUENCE)?;
        let algorithm = expect(&mut rest, SEQUENCE)?;
        let signature = bits(&mut rest)?;
        let mut fields = tbs.content;
        expect(&mut fields, INTEGER)?;
        let inner_algorithm = expect(&mut fields, SEQUENCE)?;
        let issuer = expect(&mut fields, SEQUENCE)?.content;
        let mut validity = expect(&mut fields, SEQUENCE)?.content;
        let (from, until) = (time(&mut validity)?, time(&mut validity)?);
        expect(&mut fields, SEQUENCE)?;
        let own = expect(&mut fields, SEQUENCE)?;
        (inner_algorithm.content == algorithm.content).then_some(())?;
        Some(Version1 {
            tbs: tbs.whole,
            algorithm: algorithm.content,
            signature,
            issuer,
            from,
            until,
            key: key(own.content, own.whole)?,
        })
    }

    /// Whether one of the authorities has signed it, and it is in force.
    pub fn verify(
        &self,
        authorities: &RootCertStore,
        now: UnixTime,
        algorithms: &WebPkiSupportedAlgorithms,
    ) -> Result<(), Error> {
        let refused = |why| Err(Error::InvalidCertificate(why));
        if now.as_secs() < self.from {
            return refused(CertificateError::NotValidYet);
        }
        if now.as_secs() > self.until {
            return refused(CertificateError::Expired);
        }
        let mut why = CertificateError::UnknownIssuer;
        let issuers = authorities
            .roots
            .iter()
            .filter(|root| root.subject.as_ref() == self.issuer && root.name_constraints.is_none());
        for issuer in issuers {
            let info = issuer.subject_public_key_info.as_ref();
            if key(info, info).is_some_and(|key| self.is_signed_by(&key, algorithms)) {
                return Ok(());
            }
            why = CertificateError::BadSignature;
        }
        refused(why)
    }

    fn is_signed_by(&self, key: &Key<'_>, algorithms: &WebPkiSupportedAlgorithms) -> bool {
        algorithms
            .all
            .iter()
            .filter(|algorithm| algorithm.signature_alg_id().as_ref() == self.algorithm)
            .any(|algorithm| is_signed(*algorithm, key, self.tbs, self.signature))
    }

    /// [`rustls::crypto::verify_tls12_signature`] with this certificate's key.
    pub fn verify_tls12(
        &self,
        message: &[u8],
        dss: &DigitallySignedStruct,
        algorithms: &WebPkiSupportedAlgorithms,
    ) -> Result<HandshakeSignatureValid, Error> {
        let good = algorithms
            .mapping
            .iter()
            .filter(|(scheme, _)| *scheme == dss.scheme)
            .flat_map(|(_, algorithms)| *algorithms)
            .any(|algorithm| is_signed(*algorithm, &self.key, message, dss.signature()));
        if good {
            Ok(HandshakeSignatureValid::assertion())
        } else {
            Err(Error::InvalidCertificate(CertificateError::BadSignature))
        }
    }

    /// [`rustls::crypto::verify_tls13_signature`] with this certificate's key.
    pub fn verify_tls13(
        &self,
        message: &[u8],
        dss: &DigitallySignedStruct,
        algorithms: &WebPkiSupportedAlgorithms,
    ) -> Result<HandshakeSignatureValid, Error> {
        let key = SubjectPublicKeyInfoDer::from(self.key.whole);
        verify_tls13_signature_with_raw_key(message, &key, dss, algorithms)
    }
}

fn is_signed(
    algorithm: &dyn SignatureVerificationAlgorithm,
    key: &Key<'_>,
    message: &[u8],
    signature: &[u8],
) -> bool {
    algorithm.public_key_alg_id().as_ref() == key.algorithm
        && algorithm
            .verify_signature(key.bits, message, signature)
            .is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustls::pki_types::pem::PemObject;
    use std::time::Duration;

    fn certificate(text: &str) -> CertificateDer<'static> {
        CertificateDer::from_pem_slice(text.as_bytes()).unwrap()
    }

    fn store(text: &str) -> RootCertStore {
        let mut store = RootCertStore::empty();
        store.add(certificate(text)).unwrap();
        store
    }

    fn at(unix_s: u64) -> UnixTime {
        UnixTime::since_unix_epoch(Duration::from_secs(unix_s))
    }

    /// In the first year of the certificates below.
    const IN_FORCE: u64 = 1_797_875_410;

    #[test]
    fn only_what_an_authority_has_signed_and_is_in_force() {
        let algorithms = rustls::crypto::ring::default_provider().signature_verification_algorithms;
        let peer = certificate(PEER);
        let read = Version1::read(&peer).unwrap();
        let verify = |ca, now| read.verify(&store(ca), at(now), &algorithms);
        assert_eq!(verify(AUTHORITY, IN_FORCE), Ok(()));
        let why = |result| match result {
            Err(Error::InvalidCertificate(why)) => why,
            other => panic!("{other:?}"),
        };
        assert_eq!(why(verify(AUTHORITY, 1)), CertificateError::NotValidYet);
        assert_eq!(why(verify(AUTHORITY, 1 << 40)), CertificateError::Expired);
        assert_eq!(
            why(verify(NAMESAKE, IN_FORCE)),
            CertificateError::BadSignature
        );
        assert_eq!(
            why(verify(STRANGER, IN_FORCE)),
            CertificateError::UnknownIssuer
        );
        assert!(
            Version1::read(&certificate(AUTHORITY)).is_none(),
            "it is of version 3"
        );
    }

    #[test]
    fn damage_is_found_wherever_it_is() {
        let algorithms = rustls::crypto::ring::default_provider().signature_verification_algorithms;
        let (authorities, whole) = (store(AUTHORITY), certificate(PEER));
        for n in 0..whole.len() {
            let mut bytes = whole.to_vec();
            bytes[n] ^= 1;
            let damaged = CertificateDer::from(bytes);
            let taken = Version1::read(&damaged)
                .is_some_and(|read| read.verify(&authorities, at(IN_FORCE), &algorithms).is_ok());
            assert!(!taken, "byte {n}");
            let cut = CertificateDer::from(&whole[..n]);
            assert!(Version1::read(&cut).is_none());
        }
    }

    #[test]
    fn times() {
        let seconds = |tag: u8, text: &str| {
            let mut der = vec![tag, text.len() as u8];
            der.extend(text.as_bytes());
            time(&mut der.as_slice())
        };
        assert_eq!(seconds(UTC_TIME, "700101000000Z"), Some(0));
        assert_eq!(seconds(UTC_TIME, "000229123456Z"), Some(951_827_696));
        assert_eq!(
            seconds(GENERALIZED_TIME, "20991231235959Z"),
            Some(4_102_444_799)
        );
        for wrong in [
            "",
            "7001010000Z",
            "701301000000Z",
            "70010100000xZ",
            "700101000000",
        ] {
            assert_eq!(seconds(UTC_TIME, wrong), None, "{wrong}");
        }
    }

    // Certificates of 100 years, made by OpenSSL 3.0.
    const AUTHORITY: &str = "\
-----BEGIN CERTIFICATE-----
MIIBbjCCARWgAwIBAgIUfZcP9WknbpnKWa5sojRDPeP4hrUwCgYIKoZIzj0EAwIw
DDEKMAgGA1UEAwwBQTAgFw0yNjExMjExNzQ5NDdaGA8yMTI2MTAyODE3NDk0N1ow
DDEKMAgGA1UEAwwBQTBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABPnwJyFkYbkV
OJqxzYVkMQfh0WXUN0eiKpnezC9gdaw3C3YKJ7anglXGnwkiR+bk7hz/lZzssSFs
ZFq6oU2er9SjUzBRMB0GA1UdDgQWBBQburmaUR50PvQ24wmEiCWCC6Y2BzAfBgNV
HSMEGDAWgBQburmaUR50PvQ24wmEiCWCC6Y2BzAPBgNVHRMBAf8EBTADAQH/MAoG
CCqGSM49BAMCA0cAMEQCIGd6XgUj3XJo1z9imYrOcPRuFIJj+SJ149e6roBqPSoA
AiAnz7V+6wAuoJfAWb19RE9/m7AR48snWB9aAi0TryX6eA==
-----END CERTIFICATE-----
";
    const NAMESAKE: &str = "\
-----BEGIN CERTIFICATE-----
MIIBbzCCARWgAwIBAgIUBVBkIoOZt5EI1d3SbFOXbLwDNP8wCgYIKoZIzj0EAwIw
DDEKMAgGA1UEAwwBQTAgFw0yNjExMjExNzQ5NDhaGA8yMTI2MTAyODE3NDk0OFow
DDEKMAgGA1UEAwwBQTBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABECyo5ksxqZh
9updA+NgXz1CNmR8ocJ7xxmu3Tel4oTG0y3VyhmEwOCYtGePjJcDQjp0Mi5SgQWJ
pvNxnMcGNDCjUzBRMB0GA1UdDgQWBBR8jl9YixJ/YaezluCwGQRwiP4mvjAfBgNV
HSMEGDAWgBR8jl9YixJ/YaezluCwGQRwiP4mvjAPBgNVHRMBAf8EBTADAQH/MAoG
CCqGSM49BAMCA0gAMEUCIQDlscyusYdxwoLodkmuTmj9eig1ENTg4XxVUp0F292B
dgIgVsxClDUAXv7FLmDvIdVI36hdH0Ey6XqzBYU0V7H7fK0=
-----END CERTIFICATE-----
";
    const STRANGER: &str = "\
-----BEGIN CERTIFICATE-----
MIIBcDCCARWgAwIBAgIUWIz5R4RmeyMk9OBTmAjJOBleemIwCgYIKoZIzj0EAwIw
DDEKMAgGA1UEAwwBQzAgFw0yNjExMjExNzQ5NDlaGA8yMTI2MTAyODE3NDk0OVow
DDEKMAgGA1UEAwwBQzBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABIGs/LSOVEqp
7ueDUVNMK8ptnmolq4IcYoBue2WDqxW+1Eerkn+zL3Y7hljVzKFLitWHTG2X+ri5
b9lvwttbBcyjUzBRMB0GA1UdDgQWBBTxicgsiXFvqaqN8vWZx1C+ndfv5TAfBgNV
HSMEGDAWgBTxicgsiXFvqaqN8vWZx1C+ndfv5TAPBgNVHRMBAf8EBTADAQH/MAoG
CCqGSM49BAMCA0kAMEYCIQC7ZCr42cEM2pwewAv3Y23/F+9izvqYF0CXd6kYxXld
2QIhAKxnYUBfqygNZE4w2Nncu0q0bANMzih9YTB94xzllS74
-----END CERTIFICATE-----
";
    const PEER: &str = "\
-----BEGIN CERTIFICATE-----
MIIBFTCBuwIUfIsUt3cNoqsyste/S+CuirZjS10wCgYIKoZIzj0EAwIwDDEKMAgG
A1UEAwwBQTAgFw0yNjExMjExNzQ5NTNaGA8yMTI2MTAyODE3NDk1M1owDDEKMAgG
A1UEAwwBUDBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABOGSG/e4CCZWRlByOuHT
vowBxojTyTmGiC4c2mNuaeri0gzajJfCnSyeXVSTCCgoYaQrz4Mc4mZwORMnLJAV
e+owCgYIKoZIzj0EAwIDSQAwRgIhAKFpPcMLSnmmn7RhBnB6rA/ujntvALITLN96
Ic53HKmwAiEA+fs09eQqCZrSEZBznlH8jqI+TgLWKU5A2b174jxIsP4=
-----END CERTIFICATE-----
";
}
