//! Who a party is: private key and certificates, as a PEM file has them.

use super::certificate::Certificate;
use super::error::TlsFileError;
use rustls::pki_types::pem::{PemObject, SectionKind};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// A party's private key, its certificate with those that lead to an authority, and the authorities that the
/// file names.
///
/// A PEM file of one private key and certificates: the first is the party's own; those that issued themselves
/// are authorities that the peer's certificate may come from; others lead from the first to an authority.
pub struct Identity {
    key: PrivateKeyDer<'static>,
    chain: Vec<CertificateDer<'static>>,
    authorities: Vec<CertificateDer<'static>>,
    own: Certificate,
}

impl Identity {
    /// Reads a PEM file's content.
    ///
    /// # Errors
    ///
    /// [`TlsFileError`] if it is damaged, or has no key or certificate.
    pub fn from_pem(pem: &[u8]) -> Result<Self, TlsFileError> {
        let mut key = None;
        let mut all = Vec::new();
        for section in <(SectionKind, Vec<u8>)>::pem_slice_iter(pem) {
            let (kind, der) = section.map_err(|_| TlsFileError::NotPem)?;
            if kind == SectionKind::Certificate {
                all.push(CertificateDer::from(der));
            } else if let Some(found) = PrivateKeyDer::from_pem(kind, der) {
                key.get_or_insert(found);
            }
        }
        let mut all = all.into_iter();
        let first = all.next().ok_or(TlsFileError::NoCertificate)?;
        let own = Certificate::parse(&first).ok_or(TlsFileError::BadCertificate)?;
        let (mut chain, mut authorities) = (vec![first], Vec::new());
        for certificate in all {
            let parsed = Certificate::parse(&certificate).ok_or(TlsFileError::BadCertificate)?;
            let place = if parsed.is_self_issued { &mut authorities } else { &mut chain };
            place.push(certificate);
        }
        Ok(Self { key: key.ok_or(TlsFileError::NoKey)?, chain, authorities, own })
    }

    /// What the party's own certificate says.
    #[must_use]
    pub fn certificate(&self) -> &Certificate {
        &self.own
    }

    pub(super) fn authorities(&self) -> &[CertificateDer<'static>] {
        &self.authorities
    }

    /// Key and certificates as a connection takes them.
    pub(super) fn parts(&self) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
        (self.chain.clone(), self.key.clone_key())
    }
}

/// The certificates of a PEM file.
pub(super) fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, TlsFileError> {
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let all = all.map_err(|_| TlsFileError::NotPem)?;
    if all.is_empty() { Err(TlsFileError::NoCertificate) } else { Ok(all) }
}

impl Certificate {
    /// What the certificates of a PEM file say, in its order.
    ///
    /// # Errors
    ///
    /// [`TlsFileError`] if there is none or one is malformed.
    pub fn all_from_pem(pem: &[u8]) -> Result<Vec<Self>, TlsFileError> {
        let parse = |der: &CertificateDer<'_>| Self::parse(der).ok_or(TlsFileError::BadCertificate);
        certificates(pem)?.iter().map(parse).collect()
    }
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Identity").field("own", &self.own).finish_non_exhaustive()
    }
}
