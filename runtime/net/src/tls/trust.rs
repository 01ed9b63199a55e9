//! Whom a party accepts as its peer.
//!
//! A certificate must come from an authority that is trusted, and its key must be on the list if there is
//! one. Without an authority the list alone decides: then the certificate is only the envelope of its key, and
//! of it nothing counts but its dates. Every peer proves that it has the private key [RFC8446, 4.4.3].

use super::certificate::{Certificate, KeyPin};
use super::error::{Refused, TlsFileError};
use super::identity::{Identity, certificates};
use heq_mutation::broken;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, DistinguishedName, Error, OtherError,
    RootCertStore, ServerConfig, SignatureScheme,
};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

/// Whom to accept.
#[derive(Clone, Debug, Default)]
pub struct Trust {
    /// PEM files of authorities that may vouch for the peer; none: those that one's own file names.
    pub authorities: Vec<Vec<u8>>,
    /// The keys that are accepted; none: all that an authority vouches for.
    pub keys: Option<BTreeSet<KeyPin>>,
}

/// How a client makes connections.
#[derive(Clone, Debug)]
pub struct ClientTls {
    pub(super) config: Arc<ClientConfig>,
    /// The name that the server's certificate must have, if not that of the address.
    pub(super) server_name: Option<String>,
}

/// How a server accepts connections.
#[derive(Clone, Debug)]
pub struct ServerTls {
    pub(super) config: Arc<ServerConfig>,
}

impl ClientTls {
    /// Connections as `identity` to servers that `trust` accepts.
    ///
    /// # Errors
    ///
    /// [`TlsFileError`] if key and certificates cannot be used, or no server could be accepted.
    pub fn new(
        identity: &Identity,
        trust: &Trust,
        server_name: Option<String>,
    ) -> Result<Self, TlsFileError> {
        let provider = provider();
        let roots = roots(identity, trust)?;
        let chain = roots
            .map(|roots| {
                WebPkiServerVerifier::builder_with_provider(roots, provider.clone()).build()
            })
            .transpose()
            .map_err(|error| TlsFileError::Unusable(error.to_string()))?;
        let rule = Rule::new(&provider, trust, Refused::Pin);
        let verifier = Arc::new(AcceptServer { chain, rule });
        let (certificates, key) = identity.parts();
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(unusable)?
            .dangerous()
            .with_custom_certificate_verifier(verifier)
            .with_client_auth_cert(certificates, key)
            .map_err(unusable)?;
        // Every session has keys of its own, whatever happened to those before it.
        config.resumption = rustls::client::Resumption::disabled();
        Ok(Self { config: Arc::new(config), server_name })
    }
}

impl ServerTls {
    /// Connections as `identity` from clients that `trust` accepts.
    ///
    /// # Errors
    ///
    /// [`TlsFileError`] if key and certificates cannot be used, or no client could be accepted.
    pub fn new(identity: &Identity, trust: &Trust) -> Result<Self, TlsFileError> {
        let provider = provider();
        let roots = roots(identity, trust)?;
        let chain = roots
            .map(|roots| {
                WebPkiClientVerifier::builder_with_provider(roots, provider.clone()).build()
            })
            .transpose()
            .map_err(|error| TlsFileError::Unusable(error.to_string()))?;
        let rule = Rule::new(&provider, trust, Refused::List);
        let verifier = Arc::new(AcceptClient { chain, rule });
        let (certificates, key) = identity.parts();
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(unusable)?
            .with_client_cert_verifier(verifier)
            .with_single_cert(certificates, key)
            .map_err(unusable)?;
        config.send_tls13_tickets = 0;
        config.session_storage = Arc::new(rustls::server::NoServerSessionStorage {});
        Ok(Self { config: Arc::new(config) })
    }
}

fn unusable(error: Error) -> TlsFileError {
    TlsFileError::Unusable(error.to_string())
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// The authorities, if there are any; without them there must be a list of keys.
fn roots(identity: &Identity, trust: &Trust) -> Result<Option<Arc<RootCertStore>>, TlsFileError> {
    let mut roots = RootCertStore::empty();
    let mut all = Vec::new();
    if trust.authorities.is_empty() {
        all.extend_from_slice(identity.authorities());
    }
    for pem in &trust.authorities {
        all.extend(certificates(pem)?);
    }
    for certificate in all {
        roots.add(certificate).map_err(|_| TlsFileError::BadCertificate)?;
    }
    match (roots.is_empty(), &trust.keys) {
        (false, _) => Ok(Some(Arc::new(roots))),
        (true, Some(_)) => Ok(None),
        (true, None) => Err(TlsFileError::NobodyTrusted),
    }
}

/// The list of keys, and how signatures are verified.
#[derive(Debug)]
struct Rule {
    keys: Option<BTreeSet<KeyPin>>,
    refused: Refused,
    algorithms: WebPkiSupportedAlgorithms,
}

impl Rule {
    fn new(provider: &CryptoProvider, trust: &Trust, refused: Refused) -> Self {
        let algorithms = provider.signature_verification_algorithms;
        Self { keys: trust.keys.clone(), refused, algorithms }
    }

    /// Checks the dates and the list.
    fn check(&self, certificate: &CertificateDer<'_>, now: UnixTime) -> Result<(), Error> {
        let parsed = Certificate::parse(certificate).ok_or(CertificateError::BadEncoding)?;
        let now = UNIX_EPOCH + Duration::from_secs(now.as_secs());
        if !parsed.is_valid_at(now)
            && !broken!(
                "certificates are valid at any time",
                "heq-net lib a_certificate_counts_within_its_dates"
            )
        {
            let is_early = now < parsed.not_before;
            let error =
                if is_early { CertificateError::NotValidYet } else { CertificateError::Expired };
            return Err(error.into());
        }
        let is_other = self.keys.as_ref().is_some_and(|keys| !keys.contains(&parsed.pin));
        if is_other
            && !broken!(
                "keys beside the list are taken",
                "heq-net tls whoever_is_not_trusted_is_told_why"
            )
        {
            return Err(CertificateError::Other(OtherError(Arc::new(self.refused))).into());
        }
        Ok(())
    }

    fn signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &self.algorithms)
    }
}

/// No handshake of an older version gets as far as this.
fn old_version() -> Error {
    Error::General("TLS 1.2 is not spoken".to_owned())
}

#[derive(Debug)]
struct AcceptServer {
    chain: Option<Arc<WebPkiServerVerifier>>,
    rule: Rule,
}

impl ServerCertVerifier for AcceptServer {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if let Some(chain) = &self.chain
            && !broken!(
                "any authority vouches for a server",
                "heq-net tls whoever_is_not_trusted_is_told_why"
            )
        {
            chain.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)?;
        }
        self.rule.check(end_entity, now)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(old_version())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.rule.signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.rule.algorithms.supported_schemes()
    }
}

#[derive(Debug)]
struct AcceptClient {
    chain: Option<Arc<dyn ClientCertVerifier>>,
    rule: Rule,
}

impl ClientCertVerifier for AcceptClient {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        // A client has one identity; what it is asked for would only tell whom this server trusts.
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        if let Some(chain) = &self.chain
            && !broken!(
                "any authority vouches for a client",
                "heq-net tls whoever_is_not_trusted_is_told_why"
            )
        {
            chain.verify_client_cert(end_entity, intermediates, now)?;
        }
        self.rule.check(end_entity, now)?;
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(old_version())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.rule.signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.rule.algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tls::Authority;

    /// Where a list of keys decides alone, nothing else looks at them.
    #[test]
    fn a_certificate_counts_within_its_dates() {
        let authority = Authority::create("test authority", 10).unwrap();
        let identity =
            Identity::from_pem(authority.client("alice", 10).unwrap().as_bytes()).unwrap();
        let keys = Some([identity.certificate().pin].into());
        let trust = Trust { keys, ..Trust::default() };
        let rule = Rule::new(&provider(), &trust, Refused::List);
        let (certificates, _) = identity.parts();
        let check = |days: i64| {
            let now = UnixTime::now().as_secs().saturating_add_signed(days * 24 * 3600);
            let now = UnixTime::since_unix_epoch(Duration::from_secs(now));
            rule.check(&certificates[0], now)
        };
        assert_eq!(check(0), Ok(()));
        assert_eq!(check(-30), Err(CertificateError::NotValidYet.into()));
        assert_eq!(check(30), Err(CertificateError::Expired.into()));
    }
}
