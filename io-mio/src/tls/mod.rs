//! TLS by rustls: what the `tls-…` directives ask for, made into contexts that connections share.
//!
//! [`Tls::load`] reads all files anew and makes all three contexts or none: so CONFIG SET replaces them
//! for the handshakes that follow, a wrong file changes nothing, and connections keep the context that
//! they began with. What was wrong is told in the log, in Redis's words where it has any.
//!
//! ```text
//! clients   → our certificate; asks for theirs by tls-auth-clients
//! bus       → our certificate; always wants theirs
//! outgoing  ← to a primary or another node: shows the client certificate, or ours if there is none
//! ```
//!
//! Different from OpenSSL, on purpose or by need: TLS 1.0 and 1.1 do not exist; there are no suites without
//! forward secrecy, and none with finite-field Diffie-Hellman (so `tls-dh-params-file` has no effect).

mod files;
mod sessions;
mod stream;
mod suites;
mod verify;
mod version1;

pub use stream::TlsStream;

use crate::log::Logger;
use reprise_engine::config::{Config, TlsAuthClients};
use rustls::client::Resumption;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::ServerName;
use rustls::server::{NoClientAuth, NoServerSessionStorage, WebPkiClientVerifier};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{
    CertificateError, ClientConfig, ClientConnection, Error, InconsistentKeys, RootCertStore,
    ServerConfig, ServerConnection, SupportedProtocolVersion, version,
};
use sessions::Sessions;
use std::net::IpAddr;
use std::sync::Arc;

/// The contexts that new connections get.
#[derive(Clone)]
pub struct Tls {
    clients: Arc<ServerConfig>,
    /// `None` without certificates of authorities, by which alone the bus knows its peers.
    bus: Option<Arc<ServerConfig>>,
    outgoing: Arc<ClientConfig>,
}

/// Whether anything is to speak TLS.
pub fn wanted(config: &Config) -> bool {
    config.tls_port != 0 || config.tls_replication || config.tls_cluster
}

impl Tls {
    /// Makes the contexts, or says in the log why it cannot.
    pub fn load(config: &Config, log: &Logger) -> Option<Tls> {
        load(config, log).map_err(|why| log.warning(&why)).ok()
    }

    /// The server's end of a connection, of clients or of the bus.
    pub fn accept(&self, bus: bool) -> Result<ServerConnection, Error> {
        let context = if bus {
            let without = || Error::General("no certificates of authorities".into());
            self.bus.as_ref().ok_or_else(without)?
        } else {
            &self.clients
        };
        ServerConnection::new(Arc::clone(context))
    }

    /// The client's end of a connection to a peer.
    pub fn connect(&self, peer: IpAddr) -> Result<ClientConnection, Error> {
        ClientConnection::new(Arc::clone(&self.outgoing), ServerName::from(peer))
    }
}

fn load(config: &Config, log: &Logger) -> Result<Tls, String> {
    if config.tls_cert_file.is_empty() {
        return Err("No tls-cert-file configured!".into());
    }
    if config.tls_key_file.is_empty() {
        return Err("No tls-key-file configured!".into());
    }
    let known_authorities =
        !(config.tls_ca_cert_file.is_empty() && config.tls_ca_cert_dir.is_empty());
    let by_certificate = config.tls_auth_clients != TlsAuthClients::No;
    if (by_certificate || config.tls_cluster || config.tls_replication) && !known_authorities {
        return Err(
            "Either tls-ca-cert-file or tls-ca-cert-dir must be specified when tls-cluster, tls-replication or \
             tls-auth-clients are enabled!"
                .into(),
        );
    }
    let versions = versions(&config.tls_protocols)?;
    let provider = Arc::new(CryptoProvider {
        cipher_suites: suites::chosen(&config.tls_ciphers, &config.tls_ciphersuites)?,
        ..rustls::crypto::ring::default_provider()
    });
    let ours = identity(
        &provider,
        &config.tls_cert_file,
        &config.tls_key_file,
        &config.tls_key_file_pass,
    )?;
    let as_client =
        if config.tls_client_cert_file.is_empty() || config.tls_client_key_file.is_empty() {
            Arc::clone(&ours)
        } else {
            identity(
                &provider,
                &config.tls_client_cert_file,
                &config.tls_client_key_file,
                &config.tls_client_key_file_pass,
            )?
        };
    let authorities = Arc::new(files::authorities(
        &config.tls_ca_cert_file,
        &config.tls_ca_cert_dir,
    )?);
    check_dh_params(config, log)?;

    let maker = ServerMaker {
        config,
        provider: &provider,
        versions: &versions,
        ours: &ours,
        authorities: &authorities,
    };
    let bus = known_authorities
        .then(|| maker.make(TlsAuthClients::Yes))
        .transpose()?;
    let mut outgoing = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&versions)
        .map_err(unusable)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verify::Servers::new(
            Arc::clone(&authorities),
            &provider,
        )))
        .with_client_cert_resolver(Arc::new(SingleCertAndKey::from(as_client)));
    // Peers are addresses; and a link between servers is opened too seldom for resuming to matter.
    outgoing.enable_sni = false;
    outgoing.resumption = Resumption::disabled();
    Ok(Tls {
        clients: maker.make(config.tls_auth_clients)?,
        bus,
        outgoing: Arc::new(outgoing),
    })
}

/// What the contexts of the server's end have in common.
struct ServerMaker<'a> {
    config: &'a Config,
    provider: &'a Arc<CryptoProvider>,
    versions: &'a [&'static SupportedProtocolVersion],
    ours: &'a Arc<CertifiedKey>,
    authorities: &'a Arc<RootCertStore>,
}

impl ServerMaker<'_> {
    fn make(&self, auth: TlsAuthClients) -> Result<Arc<ServerConfig>, String> {
        let verifier = WebPkiClientVerifier::builder_with_provider(
            Arc::clone(self.authorities),
            Arc::clone(self.provider),
        );
        let verifier = match auth {
            TlsAuthClients::No => Ok(Arc::new(NoClientAuth) as _),
            TlsAuthClients::Optional => verifier.allow_unauthenticated().build(),
            TlsAuthClients::Yes => verifier.build(),
        };
        let verifier = verifier.map_err(|error| {
            format!("Failed to configure CA certificate(s) file/directory: {error}")
        })?;
        let verifier = Arc::new(verify::Clients::new(
            verifier,
            Arc::clone(self.authorities),
            self.provider,
        ));
        let mut made = ServerConfig::builder_with_provider(Arc::clone(self.provider))
            .with_protocol_versions(self.versions)
            .map_err(unusable)?
            .with_client_cert_verifier(verifier)
            .with_cert_resolver(Arc::new(SingleCertAndKey::from(Arc::clone(self.ours))));
        made.ignore_client_order = self.config.tls_prefer_server_ciphers;
        if self.config.tls_session_caching {
            made.session_storage = Arc::new(Sessions::new(
                self.config.tls_session_cache_size,
                self.config.tls_session_cache_timeout,
            ));
        } else {
            made.session_storage = Arc::new(NoServerSessionStorage {});
            made.send_tls13_tickets = 0;
        }
        Ok(Arc::new(made))
    }
}

fn unusable(error: Error) -> String {
    format!("Failed to configure TLS: {error}")
}

/// The versions that `tls-protocols` names and that there are here.
fn versions(protocols: &str) -> Result<Vec<&'static SupportedProtocolVersion>, String> {
    let mut found: Vec<&'static SupportedProtocolVersion> = Vec::new();
    for name in protocols.split(' ').filter(|name| !name.is_empty()) {
        let version = match name.to_ascii_lowercase().as_str() {
            "tlsv1.3" => &version::TLS13,
            "tlsv1.2" => &version::TLS12,
            "tlsv1" | "tlsv1.1" => continue,
            _ => {
                return Err(
                    "Invalid tls-protocols specified. Use a combination of 'TLSv1', 'TLSv1.1', 'TLSv1.2' and \
                     'TLSv1.3'."
                        .into(),
                );
            }
        };
        if !found.contains(&version) {
            found.push(version);
        }
    }
    match (found.is_empty(), protocols.trim().is_empty()) {
        (true, true) => Ok(vec![&version::TLS13, &version::TLS12]),
        (true, false) => Err(format!(
            "None of the tls-protocols '{protocols}' is supported: there are TLSv1.2 and TLSv1.3."
        )),
        _ => Ok(found),
    }
}

/// A certificate, those that vouch for it, and its key.
fn identity(
    provider: &CryptoProvider,
    cert_file: &str,
    key_file: &str,
    password: &[u8],
) -> Result<Arc<CertifiedKey>, String> {
    let no_cert = |why: String| format!("Failed to load certificate: {cert_file}: {why}");
    let no_key = |why: String| format!("Failed to load private key: {key_file}: {why}");
    let chain = files::certificates(cert_file).map_err(no_cert)?;
    let key = files::private_key(key_file, password).map_err(no_key)?;
    let key = provider
        .key_provider
        .load_private_key(key)
        .map_err(|error| no_key(error.to_string()))?;
    let made = CertifiedKey::new(chain, key);
    match made.keys_match() {
        Err(Error::InconsistentKeys(InconsistentKeys::KeyMismatch)) => {
            Err(no_key("it is not the key of the certificate".into()))
        }
        Err(error @ Error::InvalidCertificate(CertificateError::BadEncoding)) => {
            Err(no_cert(error.to_string()))
        }
        // An old form of certificate may be shown, though we would not take it from a peer.
        _ => Ok(Arc::new(made)),
    }
}

/// They would have no effect; but a file that is not there is an error all the same.
fn check_dh_params(config: &Config, log: &Logger) -> Result<(), String> {
    let path = &config.tls_dh_params_file;
    if path.is_empty() {
        return Ok(());
    }
    files::read(path).map_err(|why| format!("Failed to load {path}: {why}"))?;
    log.notice(
        "tls-dh-params-file has no effect: no suite with finite-field Diffie-Hellman is supported.",
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn protocols() {
        let names = |text| {
            versions(text).map(|found| {
                found
                    .iter()
                    .map(|version| version.version)
                    .collect::<Vec<_>>()
            })
        };
        use rustls::ProtocolVersion::{TLSv1_2, TLSv1_3};
        assert_eq!(names("").unwrap(), [TLSv1_3, TLSv1_2]);
        assert_eq!(
            names("TLSv1.2  TLSv1.1 tlsv1.3").unwrap(),
            [TLSv1_2, TLSv1_3]
        );
        assert_eq!(names("TLSv1.2").unwrap(), [TLSv1_2]);
        assert!(names("TLSv1.1").unwrap_err().contains("None of"));
        assert!(names("SSLv3").unwrap_err().starts_with("Invalid"));
    }
}
