//! Whom TLS trusts: the authorities of the system, and certificates that the user names.
//!
//! Reading some hundred certificates takes milliseconds and a disk, so it is done on a thread of
//! its own, once, when the first stream is to be secured. Where a system has none (a bare
//! container), those that Mozilla trusts are built in.

use std::fmt;
use std::sync::{Arc, mpsc};

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
};

/// What streams are secured with, as far as it is known.
pub(super) enum Trust {
    /// Nobody has asked for it.
    Unread {
        named: Vec<CertificateDer<'static>>,
        wake: Box<dyn Fn() + Send>,
    },
    /// The system's certificates are being read.
    Reading(mpsc::Receiver<Arc<ClientConfig>>),
    Known(Arc<ClientConfig>),
}

/// Why a file of certificates is not taken. The user's fault.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CaError {
    /// No PEM section is a certificate.
    #[error("it has no certificate in PEM form")]
    Empty,
    /// A section is broken, or what is in it is no certificate.
    #[error("certificate {0} in it is broken")]
    Broken(usize),
}

/// Reads the certificates of a PEM file, for `ReactorConfig::ca_certificates`: DER each.
///
/// # Errors
/// [`CaError`]: the user's fault; nothing of the file is to be trusted.
pub fn parse_ca(pem: &[u8]) -> Result<Vec<Vec<u8>>, CaError> {
    let mut found = Vec::new();
    for (certificate, number) in CertificateDer::pem_slice_iter(pem).zip(1..) {
        let certificate = certificate.map_err(|_| CaError::Broken(number))?;
        RootCertStore::empty().add(certificate.clone()).map_err(|_| CaError::Broken(number))?;
        found.push(certificate.to_vec());
    }
    if found.is_empty() { Err(CaError::Empty) } else { Ok(found) }
}

impl Trust {
    pub(super) fn new(named: Vec<Vec<u8>>, wake: Box<dyn Fn() + Send>) -> Self {
        Self::Unread { named: named.into_iter().map(CertificateDer::from).collect(), wake }
    }

    /// Returns what streams are secured with; `None` while it is being read: `wake` is called.
    pub(super) fn config(&mut self) -> Option<Arc<ClientConfig>> {
        if let Self::Unread { named, wake } = self {
            let (tell, told) = mpsc::channel();
            let (named, wake) = (std::mem::take(named), std::mem::replace(wake, Box::new(|| {})));
            let spare = named.clone();
            let read = move || {
                // Who asked may have gone.
                let _ = tell.send(Arc::new(config(named)));
                wake();
            };
            let thread = std::thread::Builder::new().name("certificates".to_owned()).spawn(read);
            *self = match thread {
                Ok(_) => Self::Reading(told),
                // Without threads the loop has to wait for it.
                Err(_) => Self::Known(Arc::new(config(spare))),
            };
        }
        if let Self::Reading(told) = self {
            *self = Self::Known(told.try_recv().ok()?);
        }
        match self {
            Self::Known(config) => Some(Arc::clone(config)),
            Self::Unread { .. } | Self::Reading(_) => None,
        }
    }
}

fn config(named: Vec<CertificateDer<'static>>) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    // What is unreadable of the system's is left out: the rest may be what is needed.
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if roots.is_empty() {
        roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    }
    roots.add_parsable_certificates(named.iter().cloned());
    // Never the process's: a program that has linked two would be ended by it.
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let inner = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider));
    let inner = inner.build().expect("there are roots");
    let mut config = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .expect("the provider speaks them")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Verifier { inner, named, provider }))
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    config
}

/// Tells whether a server was refused because its certificate is an authority's own. There is only
/// the text to know it by.
pub(super) fn is_of_authority(error: &CertificateError) -> bool {
    matches!(error, CertificateError::Other(other) if other.0.to_string() == "CaUsedAsEndEntity")
}

/// The usual rules, and one more: a certificate that the user has named is trusted for its name
/// even if it calls itself an authority, which a server's own may not. That is what `openssl req
/// -x509` makes, and what people put in front of a tracker of theirs.
struct Verifier {
    inner: Arc<WebPkiServerVerifier>,
    named: Vec<CertificateDer<'static>>,
    provider: Arc<CryptoProvider>,
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Verifier").field("named", &self.named.len()).finish_non_exhaustive()
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let usual = self.inner.verify_server_cert(
            end_entity,
            intermediates,
            server_name,
            ocsp_response,
            now,
        );
        match usual {
            // Its time was found to be right before: that has an error of its own.
            Err(Error::InvalidCertificate(error))
                if is_of_authority(&error) && self.named.contains(end_entity) =>
            {
                let certificate = ParsedCertificate::try_from(end_entity)?;
                rustls::client::verify_server_name(&certificate, server_name)?;
                Ok(ServerCertVerified::assertion())
            }
            usual => usual,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
