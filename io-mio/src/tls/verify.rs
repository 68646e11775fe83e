//! How peers are known: by an authority that vouches for them.
//!
//! Those that we connect to are not known by their name: the links between servers are made to addresses,
//! and Redis does so too. In either direction certificates of version 1 are taken as well ([`Version1`]).

use super::version1::Version1;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::crypto::{
    CryptoProvider, WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature,
};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{DigitallySignedStruct, DistinguishedName, Error, RootCertStore, SignatureScheme};
use std::sync::Arc;

/// What both directions have in common.
#[derive(Debug)]
struct Trust {
    authorities: Arc<RootCertStore>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl Trust {
    fn new(authorities: Arc<RootCertStore>, provider: &CryptoProvider) -> Trust {
        Trust {
            authorities,
            algorithms: provider.signature_verification_algorithms,
        }
    }

    /// Whether it is a good certificate of version 1; `None` if it is of another.
    fn version1(
        &self,
        certificate: &CertificateDer<'_>,
        now: UnixTime,
    ) -> Option<Result<(), Error>> {
        let read = Version1::read(certificate)?;
        Some(read.verify(&self.authorities, now, &self.algorithms))
    }

    fn tls12(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        match Version1::read(cert) {
            Some(read) => read.verify_tls12(message, dss, &self.algorithms),
            None => verify_tls12_signature(message, cert, dss, &self.algorithms),
        }
    }

    fn tls13(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        match Version1::read(cert) {
            Some(read) => read.verify_tls13(message, dss, &self.algorithms),
            None => verify_tls13_signature(message, cert, dss, &self.algorithms),
        }
    }
}

/// Knows servers: any certificate that one of the authorities vouches for.
#[derive(Debug)]
pub struct Servers(Trust);

impl Servers {
    /// A verifier that trusts `authorities`.
    pub fn new(authorities: Arc<RootCertStore>, provider: &CryptoProvider) -> Servers {
        Servers(Trust::new(authorities, provider))
    }
}

impl ServerCertVerifier for Servers {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let Servers(trust) = self;
        match trust.version1(end_entity, now) {
            Some(result) => result?,
            None => verify_server_cert_signed_by_trust_anchor(
                &ParsedCertificate::try_from(end_entity)?,
                &trust.authorities,
                intermediates,
                now,
                trust.algorithms.all,
            )?,
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.tls12(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.tls13(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.algorithms.supported_schemes()
    }
}

/// Knows clients: as rustls does, and by certificates of version 1.
#[derive(Debug)]
pub struct Clients {
    rest: Arc<dyn ClientCertVerifier>,
    trust: Trust,
}

impl Clients {
    /// A verifier that trusts `authorities`; `rest` is rustls's, which does too.
    pub fn new(
        rest: Arc<dyn ClientCertVerifier>,
        authorities: Arc<RootCertStore>,
        provider: &CryptoProvider,
    ) -> Clients {
        let trust = Trust::new(authorities, provider);
        Clients { rest, trust }
    }
}

impl ClientCertVerifier for Clients {
    fn offer_client_auth(&self) -> bool {
        self.rest.offer_client_auth()
    }

    fn client_auth_mandatory(&self) -> bool {
        self.rest.client_auth_mandatory()
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.rest.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        match self.trust.version1(end_entity, now) {
            Some(result) => result.map(|()| ClientCertVerified::assertion()),
            None => self.rest.verify_client_cert(end_entity, intermediates, now),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.trust.tls12(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.trust.tls13(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.rest.supported_verify_schemes()
    }
}
