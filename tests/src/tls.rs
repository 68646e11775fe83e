//! Certificates made for a test, and a client that speaks TLS.

use crate::resp::{self, Fault, Value};
use crate::server::Launch;
use crate::wait::SOON;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::client::WebPkiServerVerifier;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use std::fs;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::sync::Arc;
use tempfile::TempDir;

/// An authority, and certificates that it vouches for, as PEM files.
pub struct Authority {
    dir: TempDir,
    issuer: Issuer<'static, KeyPair>,
}

impl Default for Authority {
    fn default() -> Authority {
        Authority::new()
    }
}

impl Authority {
    /// A new authority, known to nobody else.
    pub fn new() -> Authority {
        let dir = tempfile::Builder::new()
            .prefix("reprise-tls-")
            .tempdir()
            .expect("a directory for certificates");
        let mut params = CertificateParams::new(Vec::new()).expect("parameters");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params
            .distinguished_name
            .push(DnType::CommonName, "Test authority");
        let key = KeyPair::generate().expect("a key");
        let cert = params.self_signed(&key).expect("a certificate");
        fs::write(dir.path().join("ca.crt"), cert.pem()).expect("ca.crt");
        Authority {
            dir,
            issuer: Issuer::new(params, key),
        }
    }

    /// Makes NAME.crt and NAME.key, for this machine.
    pub fn issue(&self, name: &str) {
        let names = ["localhost", "127.0.0.1", name].map(str::to_owned);
        let mut params = CertificateParams::new(names).expect("parameters");
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().expect("a key");
        let cert = params.signed_by(&key, &self.issuer).expect("a certificate");
        fs::write(self.path(&format!("{name}.crt")), cert.pem()).expect("the certificate");
        fs::write(self.path(&format!("{name}.key")), key.serialize_pem()).expect("the key");
    }

    /// The path of a file.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The path of a file, as directives and options have it.
    pub fn file(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }

    /// Directives for a server with the certificate NAME and a TLS port; clients need no certificate.
    #[must_use]
    pub fn serve(&self, launch: Launch, name: &str, tls_port: u16) -> Launch {
        launch
            .set("tls-port", &tls_port.to_string())
            .set("tls-cert-file", &self.file(&format!("{name}.crt")))
            .set("tls-key-file", &self.file(&format!("{name}.key")))
            .set("tls-ca-cert-file", &self.file("ca.crt"))
            .set("tls-auth-clients", "no")
    }

    /// Options of redis-cli, with the certificate NAME.
    pub fn cli_options(&self, name: &str) -> Vec<String> {
        [
            "--tls".to_owned(),
            "--cacert".to_owned(),
            self.file("ca.crt"),
            "--cert".to_owned(),
            self.file(&format!("{name}.crt")),
            "--key".to_owned(),
            self.file(&format!("{name}.key")),
        ]
        .to_vec()
    }

    /// A connection that trusts this authority; with the certificate that another one has given, if so wished.
    pub fn connect(&self, port: u16, shown: Option<(&Authority, &str)>) -> io::Result<TlsConn> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut roots = RootCertStore::empty();
        let ca = CertificateDer::from_pem_file(self.path("ca.crt")).expect("ca.crt");
        roots.add(ca).expect("an authority");
        let verifier =
            WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider.clone())
                .build()
                .expect("a verifier");
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_webpki_verifier(verifier);
        let config = match shown {
            None => config.with_no_client_auth(),
            Some((by, name)) => {
                let cert = by.path(&format!("{name}.crt"));
                let key = by.path(&format!("{name}.key"));
                let cert = CertificateDer::from_pem_file(cert).expect("the certificate");
                let key = PrivateKeyDer::from_pem_file(key).expect("the key");
                config
                    .with_client_auth_cert(vec![cert], key)
                    .expect("a pair")
            }
        };
        TlsConn::open(port, config)
    }
}

/// A connection over TLS.
pub struct TlsConn {
    stream: StreamOwned<ClientConnection, TcpStream>,
    received: Vec<u8>,
}

impl TlsConn {
    fn open(port: u16, config: ClientConfig) -> io::Result<TlsConn> {
        let name = ServerName::try_from("localhost").expect("a name");
        let session = ClientConnection::new(Arc::new(config), name).map_err(io::Error::other)?;
        let socket = TcpStream::connect(("127.0.0.1", port))?;
        socket.set_read_timeout(Some(SOON))?;
        let mut stream = StreamOwned::new(session, socket);
        while stream.conn.is_handshaking() {
            stream.conn.complete_io(&mut stream.sock)?;
        }
        Ok(TlsConn {
            stream,
            received: Vec::new(),
        })
    }

    /// Sends one command and waits for its reply; [`Value::Closed`] at the end, of whatever kind.
    pub fn cmd<A: AsRef<[u8]>>(&mut self, args: &[A]) -> Value {
        self.send_raw(&resp::command(args));
        self.reply()
    }

    /// Sends a command given as words in one line.
    pub fn run(&mut self, line: &str) -> Value {
        self.cmd(&line.split_whitespace().collect::<Vec<_>>())
    }

    /// Sends bytes as they are. A connection that is gone swallows them.
    pub fn send_raw(&mut self, bytes: &[u8]) {
        let _ = self.stream.write_all(bytes);
        let _ = self.stream.flush();
    }

    /// The next reply.
    pub fn reply(&mut self) -> Value {
        let mut buffer = vec![0; 64 << 10];
        loop {
            if !self.received.is_empty() {
                match resp::parse(&self.received) {
                    Ok((value, length)) => {
                        self.received.drain(..length);
                        return value;
                    }
                    Err(Fault::Malformed(why)) => panic!("{why}"),
                    Err(Fault::Incomplete) => {}
                }
            }
            match self.stream.read(&mut buffer) {
                Ok(0) | Err(_) => return Value::Closed,
                Ok(n) => self.received.extend_from_slice(&buffer[..n]),
            }
        }
    }

    /// Waits for the end; true if the server said that it is one.
    pub fn ends_in_order(&mut self) -> bool {
        let mut buffer = vec![0; 64 << 10];
        loop {
            match self.stream.read(&mut buffer) {
                Ok(0) => return true,
                Ok(_) => {}
                Err(_) => return false,
            }
        }
    }

    /// Tells the server that this is the end, and keeps the socket.
    pub fn finish(&mut self) {
        self.stream.conn.send_close_notify();
        let _ = self.stream.flush();
    }

    /// The certificate that the server has shown.
    pub fn server_certificate(&self) -> Vec<u8> {
        let certificates = self.stream.conn.peer_certificates();
        certificates
            .and_then(|shown| shown.first())
            .map(|first| first.to_vec())
            .unwrap_or_default()
    }

    /// The version and the suite, as rustls names them.
    pub fn agreed(&self) -> String {
        format!(
            "{:?} {:?}",
            self.stream.conn.protocol_version(),
            self.stream
                .conn
                .negotiated_cipher_suite()
                .map(|s| s.suite())
        )
    }
}
