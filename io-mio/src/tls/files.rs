//! Certificates and keys from PEM files.

use crate::log::words;
use pkcs8::{EncryptedPrivateKeyInfo, SecretDocument};
use rustls::RootCertStore;
use rustls::pki_types::pem::{Error as PemError, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use std::fs::{self, File};
use std::io::Read;

/// No file of certificates or keys is longer than this.
const LONGEST: u64 = 16 << 20;

/// Reads a file, or says why not.
pub fn read(path: &str) -> Result<Vec<u8>, String> {
    let mut text = Vec::new();
    File::open(path)
        .and_then(|file| file.take(LONGEST).read_to_end(&mut text))
        .map_err(|error| words(&error))?;
    Ok(text)
}

/// All certificates of a file, at least one.
pub fn certificates(path: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&read(path)?).collect();
    match found {
        Ok(found) if found.is_empty() => Err("no certificate in PEM form in it".into()),
        Ok(found) => Ok(found),
        Err(error) => Err(reason(&error)),
    }
}

/// The first private key of a file; `password` opens an encrypted one.
pub fn private_key(path: &str, password: &[u8]) -> Result<PrivateKeyDer<'static>, String> {
    let text = read(path)?;
    if let Some(block) = block(&text, "ENCRYPTED PRIVATE KEY") {
        return decrypted(block, password);
    }
    if text.windows(10).any(|window| window == b"Proc-Type:") {
        return Err(
            "it is encrypted in the old way of OpenSSL, which is not supported: convert it with `openssl pkcs8 -topk8`"
                .into(),
        );
    }
    PrivateKeyDer::from_pem_slice(&text).map_err(|error| reason(&error))
}

fn reason(error: &PemError) -> String {
    match error {
        PemError::NoItemsFound => "nothing in PEM form in it".into(),
        other => other.to_string(),
    }
}

/// One block of a PEM text, with its first and last line.
fn block<'a>(text: &'a [u8], label: &str) -> Option<&'a str> {
    let text = std::str::from_utf8(text).ok()?;
    let from = text.find(&format!("-----BEGIN {label}-----"))?;
    let end = format!("-----END {label}-----");
    let len = text[from..].find(&end)? + end.len();
    Some(&text[from..from + len])
}

fn decrypted(block: &str, password: &[u8]) -> Result<PrivateKeyDer<'static>, String> {
    if password.is_empty() {
        return Err("it is encrypted, and tls-key-file-pass is empty".into());
    }
    let (_, document) = SecretDocument::from_pem(block).map_err(|error| error.to_string())?;
    let sealed = EncryptedPrivateKeyInfo::try_from(document.as_bytes())
        .map_err(|error| error.to_string())?;
    let open = sealed
        .decrypt(password)
        .map_err(|_| "the password is wrong, or the encryption unknown")?;
    Ok(PrivatePkcs8KeyDer::from(open.as_bytes().to_vec()).into())
}

/// The authorities of a file, and of all files of a directory (there, what is none is passed over, and
/// names need not be hashes).
pub fn authorities(file: &str, dir: &str) -> Result<RootCertStore, String> {
    let failed =
        |why: String| format!("Failed to configure CA certificate(s) file/directory: {why}");
    let mut store = RootCertStore::empty();
    if !file.is_empty() {
        let found = certificates(file).map_err(|why| failed(format!("{file}: {why}")))?;
        for certificate in found {
            store
                .add(certificate)
                .map_err(|error| failed(format!("{file}: {error}")))?;
        }
    }
    if !dir.is_empty() {
        let entries =
            fs::read_dir(dir).map_err(|error| failed(format!("{dir}: {}", words(&error))))?;
        for entry in entries.flatten().filter(|entry| entry.path().is_file()) {
            let path = entry.path();
            let found = certificates(&path.to_string_lossy()).unwrap_or_default();
            store.add_parsable_certificates(found);
        }
    }
    Ok(store)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_with_a_file_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = dir.path().join(name);
            fs::write(&path, text).unwrap();
            path.to_str().unwrap().to_string()
        };
        assert_eq!(
            certificates("/nowhere/a.pem").unwrap_err(),
            "No such file or directory"
        );
        assert!(certificates(&write("empty", "")).is_err());
        assert!(private_key(&write("text", "hello"), b"").is_err());
        let old = "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-256-CBC,00\n\nAAAA\n-----END RSA PRIVATE KEY-----\n";
        assert!(
            private_key(&write("old", old), b"x")
                .unwrap_err()
                .contains("openssl pkcs8")
        );
        let sealed =
            "-----BEGIN ENCRYPTED PRIVATE KEY-----\nMAA=\n-----END ENCRYPTED PRIVATE KEY-----\n";
        let sealed = write("sealed", sealed);
        assert!(
            private_key(&sealed, b"")
                .unwrap_err()
                .contains("tls-key-file-pass is empty")
        );
        assert!(private_key(&sealed, b"x").is_err());
        assert!(
            authorities("", dir.path().to_str().unwrap())
                .unwrap()
                .is_empty()
        );
        assert!(authorities("", "/nowhere").is_err());
    }
}
