//! The cluster's certificates and the kubeconfigs that hold them.

use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose,
};
use serde_json::json;

use super::config::{API_PORT, API_SERVICE, NODE};
use super::network::Network;
use crate::{kubeconfig, private_file};

/// Somebody with a certificate. What signs in as a user also gets a kubeconfig.
struct Holder {
    name: &'static str,
    user: &'static str,
    group: Option<&'static str>,
    /// What a server is called, besides its addresses.
    names: &'static [&'static str],
    serves: bool,
}

const HOLDERS: [Holder; 6] = [
    Holder {
        name: "apiserver",
        user: "kube-apiserver",
        group: None,
        names: &["kubernetes", "kubernetes.default", "kubernetes.default.svc", "localhost"],
        serves: true,
    },
    Holder {
        name: "kubelet",
        user: "system:node:node1",
        group: Some("system:nodes"),
        names: &[NODE],
        serves: true,
    },
    Holder { name: "admin", user: "admin", group: Some("system:masters"), names: &[], serves: false },
    Holder {
        name: "controller-manager",
        user: "system:kube-controller-manager",
        group: None,
        names: &[],
        serves: false,
    },
    Holder { name: "scheduler", user: "system:kube-scheduler", group: None, names: &[], serves: false },
    Holder { name: "proxy", user: "system:kube-proxy", group: None, names: &[], serves: false },
];

/// Where everything is that [`Pki::ensure`] makes.
#[derive(Clone, Debug)]
pub(super) struct Pki {
    folder: PathBuf,
}

impl Pki {
    pub(super) fn new(compute: &Path) -> Self {
        Self { folder: compute.join("pki") }
    }

    pub(super) fn authority(&self) -> PathBuf {
        self.folder.join("ca.crt")
    }

    pub(super) fn certificate(&self, holder: &str) -> PathBuf {
        self.folder.join(format!("{holder}.crt"))
    }

    pub(super) fn key(&self, holder: &str) -> PathBuf {
        self.folder.join(format!("{holder}.key"))
    }

    /// What service accounts' tokens are checked with.
    pub(super) fn tokens_public(&self) -> PathBuf {
        self.folder.join("tokens.pub")
    }

    pub(super) fn kubeconfig(&self, holder: &str) -> PathBuf {
        self.folder.join(format!("{holder}.kubeconfig"))
    }

    /// Makes what is missing, and everything but the authority anew when the addresses have changed.
    pub(super) fn ensure(&self, network: &Network) -> Result<()> {
        let addresses = self.folder.join("addresses");
        let current = format!("{} {}", network.host, network.node);
        if fs::read_to_string(&addresses).is_ok_and(|made| made == current) {
            return Ok(());
        }
        let authority = authority_params()?;
        let key = self.ensure_key("ca")?;
        let certificate = authority.self_signed(&key).context("cannot make a certificate")?;
        // Signed again it differs, and what trusts the old one has to keep doing so.
        if !self.authority().is_file() {
            private_file::write(&self.authority(), certificate.pem().as_bytes())?;
        }
        let issuer = Issuer::new(authority, key);
        let tokens = self.ensure_key("tokens")?;
        private_file::write(&self.tokens_public(), tokens.public_key_pem().as_bytes())?;
        for holder in &HOLDERS {
            let key = self.ensure_key(holder.name)?;
            let certificate = holder_params(holder, network)?
                .signed_by(&key, &issuer)
                .with_context(|| format!("cannot make the certificate of {}", holder.name))?;
            private_file::write(&self.certificate(holder.name), certificate.pem().as_bytes())?;
            private_file::write(
                &self.kubeconfig(holder.name),
                &self.render_kubeconfig(holder.name, network.node)?,
            )?;
        }
        // Last: an interrupted run begins again.
        private_file::write(&addresses, current.as_bytes())
    }

    fn ensure_key(&self, name: &str) -> Result<KeyPair> {
        let path = self.key(name);
        if let Ok(text) = fs::read_to_string(&path) {
            return KeyPair::from_pem(&text)
                .with_context(|| format!("{} is no key: remove it", path.display()));
        }
        let key = KeyPair::generate().context("cannot make a key")?;
        private_file::write(&path, key.serialize_pem().as_bytes())?;
        Ok(key)
    }

    /// With the certificates in it: it works wherever it is copied to.
    fn render_kubeconfig(&self, holder: &str, node: Ipv4Addr) -> Result<Vec<u8>> {
        let encoded = |path: PathBuf| {
            fs::read(&path)
                .map(|bytes| STANDARD.encode(bytes))
                .with_context(|| format!("cannot read {}", path.display()))
        };
        let cluster = json!({
            "server": format!("https://{node}:{API_PORT}"),
            "certificate-authority-data": encoded(self.authority())?,
        });
        let user = json!({
            "client-certificate-data": encoded(self.certificate(holder))?,
            "client-key-data": encoded(self.key(holder))?,
        });
        kubeconfig::single("compute", &cluster, holder, &user)
    }
}

/// Always the same, so that the issuer can be had again from its key alone.
fn authority_params() -> Result<CertificateParams> {
    let mut params = CertificateParams::new(Vec::new()).context("cannot make a certificate")?;
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, "annex-compute");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
    Ok(params)
}

fn holder_params(holder: &Holder, network: &Network) -> Result<CertificateParams> {
    let mut names: Vec<String> = holder.names.iter().map(|name| (*name).to_owned()).collect();
    if holder.serves {
        names.extend([Ipv4Addr::LOCALHOST, network.node, API_SERVICE].map(|address| address.to_string()));
    }
    let mut params = CertificateParams::new(names).context("cannot make a certificate")?;
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, holder.user);
    if let Some(group) = holder.group {
        params.distinguished_name.push(DnType::OrganizationName, group);
    }
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    if holder.serves {
        params.extended_key_usages.push(ExtendedKeyUsagePurpose::ServerAuth);
    }
    Ok(params)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sandbox::Sandbox;

    #[test]
    fn new_addresses_get_new_certificates_from_the_same_authority() {
        let sandbox = Sandbox::new("pki");
        let pki = Pki::new(sandbox.path());
        let network = |node| Network { name: "n".to_owned(), host: Ipv4Addr::new(10, 89, 0, 1), node };
        let read = |path: PathBuf| fs::read(path).unwrap();
        pki.ensure(&network(Ipv4Addr::new(10, 89, 0, 2))).unwrap();
        let (authority, first) = (read(pki.authority()), read(pki.certificate("apiserver")));
        pki.ensure(&network(Ipv4Addr::new(10, 89, 0, 2))).unwrap();
        assert_eq!(read(pki.certificate("apiserver")), first);
        pki.ensure(&network(Ipv4Addr::new(10, 89, 0, 6))).unwrap();
        assert_ne!(read(pki.certificate("apiserver")), first);
        assert_eq!(read(pki.authority()), authority);
        let admin: serde_json::Value = serde_json::from_slice(&read(pki.kubeconfig("admin"))).unwrap();
        assert_eq!(admin.pointer("/clusters/0/cluster/server").unwrap(), "https://10.89.0.6:6443");
    }
}
