use std::{fmt, time::SystemTime};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use rustls::{
    RootCertStore,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    sign::CertifiedKey,
};
use secrecy::{ExposeSecret as _, SecretString};
use x509_cert::{Certificate, der::Decode as _};

use super::api_url::ApiUrl;
use crate::conditions::Because;

/// What opens one API server. Who has one knows that all of it can be used: certificates parse, a key belongs to its
/// certificate, a token fits into a header. Its `Debug` shows no secret.
pub(super) struct Credentials {
    server: ApiUrl,
    /// Absent: the system's.
    authorities: Option<Vec<Authority>>,
    insecure: bool,
    auth: Auth,
}

/// Who vouches for the server.
struct Authority {
    certificate: CertificateDer<'static>,
    /// None where its dates cannot be read: then it counts, as it does to rustls.
    not_after: Option<SystemTime>,
}

impl Authority {
    fn of(certificate: CertificateDer<'static>) -> Self {
        let not_after = Certificate::from_der(&certificate).ok().and_then(|certificate| {
            let since_epoch = certificate.tbs_certificate().validity().not_after.to_unix_duration();
            SystemTime::UNIX_EPOCH.checked_add(since_epoch)
        });
        Self { certificate, not_after }
    }

    /// What rustls does not ask of an authority that it is told to trust, and everybody else does, kubectl among them: the key of one
    /// that is over may long be in other hands.
    fn has_ended(&self, now: SystemTime) -> bool {
        self.not_after.is_some_and(|not_after| not_after < now)
    }
}

/// Whom the credentials speak for.
pub(super) enum Auth {
    Token(SecretString),
    ClientCertificate {
        /// base64 of PEM, as a kubeconfig holds it.
        chain: String,
        key: SecretString,
    },
}

impl Auth {
    /// A bearer token.
    pub(super) fn token(token: SecretString) -> Result<Self, Because> {
        if token.expose_secret().bytes().all(|byte| byte.is_ascii_graphic()) {
            Ok(Self::Token(token))
        } else {
            Err(invalid(
                "the token of the kubeconfig's user has a space, a line break or another character that no token has",
            ))
        }
    }

    /// A certificate and its key, both base64 of PEM.
    pub(super) fn client_certificate(chain: &str, key: &SecretString) -> Result<Self, Because> {
        let chain_pem = decode("client-certificate-data", chain)?;
        let certificates = certificates("client-certificate-data", &chain_pem)?;
        let mut key_pem = decode("client-key-data", key.expose_secret())?;
        let parsed = PrivateKeyDer::from_pem_slice(&key_pem)
            .map_err(|_| invalid("client-key-data of the kubeconfig's user holds no PEM private key"))?;
        CertifiedKey::from_der(certificates, parsed, &rustls::crypto::ring::default_provider()).map_err(
            |_| {
                invalid(
                    "client-key-data of the kubeconfig's user is of a kind that is not supported, or does not belong to \
                     client-certificate-data",
                )
            },
        )?;
        // kube appends the certificate to the key, and two PEM markers on one line are none.
        key_pem.push(b'\n');
        Ok(Self::ClientCertificate {
            chain: STANDARD.encode(chain_pem),
            key: SecretString::from(STANDARD.encode(key_pem)),
        })
    }
}

impl Credentials {
    /// `authority` is base64 of PEM certificates.
    pub(super) fn new(
        server: ApiUrl,
        authority: Option<&str>,
        insecure: bool,
        auth: Auth,
    ) -> Result<Self, Because> {
        const FIELD: &str = "certificate-authority-data";
        if insecure && authority.is_some() {
            return Err(invalid(
                "the kubeconfig's cluster has certificate-authority-data, and insecure-skip-tls-verify, which would ignore it",
            ));
        }
        let authorities = match authority {
            None => None,
            Some(authority) => {
                let authorities = certificates(FIELD, &decode(FIELD, authority)?)?;
                let mut store = RootCertStore::empty();
                for authority in &authorities {
                    store.add(authority.clone()).map_err(|_| {
                        invalid(format!("{FIELD} of the kubeconfig holds a certificate that cannot be read"))
                    })?;
                }
                Some(authorities.into_iter().map(Authority::of).collect())
            }
        };
        Ok(Self { server, authorities, insecure, auth })
    }

    pub(super) fn server(&self) -> &ApiUrl {
        &self.server
    }

    /// The configuration of a client with these credentials and nothing else: nothing of the process's own environment. None: every
    /// authority of the kubeconfig has ended.
    pub(super) fn config(&self, now: SystemTime) -> Option<kube::Config> {
        let mut config = kube::Config::new(self.server.uri().clone());
        config.root_cert = self.authorities.as_ref().map(|authorities| {
            let in_time = authorities.iter().filter(|authority| !authority.has_ended(now));
            in_time.map(|authority| authority.certificate.to_vec()).collect()
        });
        if config.root_cert.as_ref().is_some_and(Vec::is_empty) {
            return None;
        }
        config.accept_invalid_certs = self.insecure;
        match &self.auth {
            Auth::Token(token) => config.auth_info.token = Some(token.clone()),
            Auth::ClientCertificate { chain, key } => {
                config.auth_info.client_certificate_data = Some(chain.clone());
                config.auth_info.client_key_data = Some(key.clone());
            }
        }
        Some(config)
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials")
            .field("server", &self.server)
            .field("insecure", &self.insecure)
            .finish_non_exhaustive()
    }
}

fn decode(field: &str, data: &str) -> Result<Vec<u8>, Because> {
    // Wrapped lines come from people who encode by hand.
    let data: String = data.split_ascii_whitespace().collect();
    STANDARD.decode(data).map_err(|_| invalid(format!("{field} of the kubeconfig is no base64")))
}

fn certificates(field: &str, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, Because> {
    let unusable = || invalid(format!("{field} of the kubeconfig holds no PEM certificate"));
    let certificates: Vec<_> =
        CertificateDer::pem_slice_iter(pem).collect::<Result<_, _>>().map_err(|_| unusable())?;
    if certificates.is_empty() { Err(unusable()) } else { Ok(certificates) }
}

fn invalid(message: impl Into<String>) -> Because {
    Because::new("CredentialsInvalid", message)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rcgen::{CertificateParams, KeyPair};

    use super::*;

    fn pair() -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(vec!["me".to_owned()]).unwrap().self_signed(&key).unwrap();
        (STANDARD.encode(certificate.pem()), STANDARD.encode(key.serialize_pem().trim_end()))
    }

    fn secret(text: &str) -> SecretString {
        SecretString::from(text)
    }

    #[track_caller]
    fn refused<T>(result: Result<T, Because>, said: &str) {
        let Err(because) = result else { panic!("this is to be refused") };
        assert_eq!(because.reason, "CredentialsInvalid");
        assert!(because.message.contains(said), "{}", because.message);
    }

    #[test]
    fn a_key_belongs_to_its_certificate() {
        let ((chain, key), (_, foreign)) = (pair(), pair());
        refused(Auth::client_certificate(&chain, &secret(&foreign)), "does not belong");
        refused(Auth::client_certificate(&key, &secret(&key)), "no PEM certificate");
        refused(Auth::client_certificate(&chain, &secret(&chain)), "no PEM private key");
        let auth = Auth::client_certificate(&chain, &secret(&key)).unwrap();
        // What kube makes of it, though the key did not end with a line break.
        let server = ApiUrl::parse("https://a").unwrap();
        let config =
            Credentials::new(server, Some(&chain), false, auth).unwrap().config(SystemTime::now()).unwrap();
        annex_service::install_tls_provider();
        let bounds = kube_kcp::Bounds { addresses: Vec::new(), answer_bytes: 1, answer_objects: 1 };
        assert!(kube_kcp::Connection::bounded(config, bounds).is_ok());
    }

    #[test]
    fn an_authority_is_a_certificate_that_counts() {
        let new = |authority: Option<&str>, insecure| {
            let auth = Auth::token(secret("t")).unwrap();
            Credentials::new(ApiUrl::parse("https://a").unwrap(), authority, insecure, auth)
        };
        let (chain, key) = pair();
        let config = |authority| new(authority, false).unwrap().config(SystemTime::now()).unwrap();
        assert_eq!(config(Some(&chain)).root_cert.unwrap().len(), 1);
        assert!(config(None).root_cert.is_none());
        refused(new(Some(&key), false), "no PEM certificate");
        refused(new(Some("???"), false), "no base64");
        let broken = STANDARD.encode("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
        refused(new(Some(&broken), false), "cannot be read");
        refused(new(Some(&chain), true), "would ignore it");
    }

    #[test]
    fn an_authority_counts_until_its_end() {
        let until = |year| {
            let mut params = CertificateParams::default();
            params.not_after = rcgen::date_time_ymd(year, 1, 1);
            params.self_signed(&KeyPair::generate().unwrap()).unwrap().pem()
        };
        let year = Duration::from_secs(366 * 24 * 60 * 60);
        let of = |pem: String, now| {
            let auth = Auth::token(secret("t")).unwrap();
            let authorities = STANDARD.encode(pem);
            let all = Credentials::new(ApiUrl::parse("https://a").unwrap(), Some(&authorities), false, auth);
            all.unwrap().config(now).map(|config| config.root_cert.unwrap().len())
        };
        // Renewed ones are handed out beside the former.
        let both = || [until(2030), until(2040)].concat();
        assert_eq!(of(both(), SystemTime::UNIX_EPOCH + 59 * year), Some(2));
        assert_eq!(of(both(), SystemTime::UNIX_EPOCH + 61 * year), Some(1));
        assert_eq!(of(both(), SystemTime::UNIX_EPOCH + 71 * year), None);
    }
}
