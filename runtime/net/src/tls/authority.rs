//! A small private authority: it vouches for the servers and clients of one operator.
//!
//! Keys are ECDSA on P-256, certificates X.509 version 3 \[RFC5280\].

use super::error::TlsFileError;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use std::time::{Duration, SystemTime};
use zeroize::Zeroizing;

/// How long before its making a certificate is valid, for clocks that are behind.
const CLOCK_SLACK: Duration = Duration::from_hours(1);

const DAY: Duration = Duration::from_hours(24);

/// Most days that a certificate is valid: what the dates of X.509 can hold, with room.
const MAX_DAYS: u32 = 36_500;

/// An authority: its certificate and private key, both as PEM.
pub struct Authority {
    certificate: String,
    key: Zeroizing<String>,
}

impl Authority {
    /// Makes an authority with a fresh key, valid for `days`.
    ///
    /// # Errors
    ///
    /// [`TlsFileError::Authority`] if the name cannot stand in a certificate.
    pub fn create(name: &str, days: u32) -> Result<Self, TlsFileError> {
        let key = KeyPair::generate().map_err(failed)?;
        let mut params = params(name, Vec::new(), days)?;
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let certificate = params.self_signed(&key).map_err(failed)?.pem();
        Ok(Self { certificate, key: Zeroizing::new(key.serialize_pem()) })
    }

    /// An authority that was made before.
    #[must_use]
    pub fn from_pem(certificate: String, key: Zeroizing<String>) -> Self {
        Self { certificate, key }
    }

    /// Its certificate, as PEM: public.
    #[must_use]
    pub fn certificate(&self) -> &str {
        &self.certificate
    }

    /// Its private key, as PEM.
    #[must_use]
    pub fn key(&self) -> &str {
        &self.key
    }

    /// Issues the identity of a server that is reached as any of `hosts`: names or addresses.
    ///
    /// # Errors
    ///
    /// [`TlsFileError::Authority`] if the authority's key is damaged or a host is malformed.
    pub fn server(
        &self,
        name: &str,
        hosts: Vec<String>,
        days: u32,
    ) -> Result<Zeroizing<String>, TlsFileError> {
        self.issue(name, hosts, days, ExtendedKeyUsagePurpose::ServerAuth)
    }

    /// Issues the identity of a client.
    ///
    /// # Errors
    ///
    /// As [`Authority::server`].
    pub fn client(&self, name: &str, days: u32) -> Result<Zeroizing<String>, TlsFileError> {
        self.issue(name, Vec::new(), days, ExtendedKeyUsagePurpose::ClientAuth)
    }

    /// A fresh key, its certificate and the authority's, as PEM: what [`super::Identity`] reads.
    fn issue(
        &self,
        name: &str,
        hosts: Vec<String>,
        days: u32,
        usage: ExtendedKeyUsagePurpose,
    ) -> Result<Zeroizing<String>, TlsFileError> {
        let issuer_key = KeyPair::from_pem(&self.key).map_err(failed)?;
        let issuer = Issuer::from_ca_cert_pem(&self.certificate, issuer_key).map_err(failed)?;
        let key = KeyPair::generate().map_err(failed)?;
        let mut params = params(name, hosts, days)?;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![usage];
        params.use_authority_key_identifier_extension = true;
        let certificate = params.signed_by(&key, &issuer).map_err(failed)?.pem();
        let key = Zeroizing::new(key.serialize_pem());
        Ok(Zeroizing::new([key.as_str(), &certificate, &self.certificate].concat()))
    }
}

fn params(name: &str, hosts: Vec<String>, days: u32) -> Result<CertificateParams, TlsFileError> {
    let mut params = CertificateParams::new(hosts).map_err(failed)?;
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    let now = SystemTime::now();
    params.not_before = (now - CLOCK_SLACK).into();
    params.not_after = (now + DAY * days.min(MAX_DAYS)).into();
    Ok(params)
}

fn failed(error: rcgen::Error) -> TlsFileError {
    if matches!(error, rcgen::Error::RingUnspecified) {
        return TlsFileError::NoRandomness;
    }
    TlsFileError::Authority(error.to_string())
}
