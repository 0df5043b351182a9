//! The runner under TLS, to browsers and to the registry. The registry is a double.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "all of it is test: a panic is how a test fails"
)]

mod support;

use std::fs;
use std::path::Path;

use annex_service::{Certificates, KeyPairFiles, Tls};
use rcgen::generate_simple_self_signed;
use reqwest::{Certificate, Client};
use support::{Behaviour, IDENTITY, KNOWN, RegistryDouble, Runner, eventually};
use tempfile::TempDir;

/// A certificate of 127.0.0.1 and of [`KNOWN`] that signs itself, as files.
struct Identity {
    folder: TempDir,
}

impl Identity {
    fn new() -> Self {
        let names = ["127.0.0.1", KNOWN].map(str::to_owned);
        let made = generate_simple_self_signed(names).unwrap();
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("tls.crt"), made.cert.pem()).unwrap();
        fs::write(folder.path().join("tls.key"), made.signing_key.serialize_pem()).unwrap();
        Self { folder }
    }

    fn file(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }

    fn path(&self, name: &str) -> Box<Path> {
        self.folder.path().join(name).into()
    }

    fn tls(&self) -> Tls {
        let files = KeyPairFiles { cert: self.path("tls.crt").into(), key: self.path("tls.key").into() };
        Certificates::default().listener("test", Some(files)).unwrap()
    }

    /// A client that trusts this one alone.
    fn client(&self) -> Client {
        let pem = fs::read(self.path("tls.crt")).unwrap();
        Client::builder().tls_certs_only([Certificate::from_pem(&pem).unwrap()]).no_proxy().build().unwrap()
    }
}

async fn registry(identity: &Identity) -> RegistryDouble {
    RegistryDouble::start_with("127.0.0.1:0".parse().unwrap(), Behaviour::Answers, identity.tls()).await
}

#[tokio::test]
async fn both_listeners_serve_tls_each_with_its_own_certificate() {
    let registry = RegistryDouble::start(Behaviour::Answers).await;
    let (public, internal) = (Identity::new(), Identity::new());
    let args = [
        ("--tls-cert-file", public.file("tls.crt")),
        ("--tls-key-file", public.file("tls.key")),
        ("--operations-tls-cert-file", internal.file("tls.crt")),
        ("--operations-tls-key-file", internal.file("tls.key")),
    ];
    let args: Vec<&str> = args.iter().flat_map(|(name, value)| [*name, value.as_str()]).collect();
    let runner = Runner::start_as(&registry.url(), &args).await.unwrap();

    let url = format!("https://{}/", runner.public);
    let answer = public.client().get(&url).header("host", KNOWN).send().await.unwrap();
    assert_eq!(answer.text().await.unwrap(), IDENTITY);
    let url = format!("https://{}", runner.internal);
    let client = internal.client();
    eventually("ready", async || client.get(format!("{url}/readyz")).send().await.unwrap().status() == 200)
        .await;
    let metrics = client.get(format!("{url}/metrics")).send().await.unwrap().text().await.unwrap();
    for listener in ["public", "operations"] {
        assert!(metrics.contains(&format!(r#"annex_runner_tls_not_after_seconds{{listener="{listener}"}}"#)));
    }
    assert!(public.client().get(&url).send().await.is_err(), "each has its own");
    assert_eq!(runner.get(KNOWN).await.status, 400, "plain HTTP is told that it is wrong here");
}

#[tokio::test]
async fn one_listener_can_be_switched_alone() {
    let registry = RegistryDouble::start(Behaviour::Answers).await;
    let identity = Identity::new();
    let (cert, key) = (identity.file("tls.crt"), identity.file("tls.key"));
    let args = ["--operations-tls-cert-file", &cert, "--operations-tls-key-file", &key];
    let runner = Runner::start_as(&registry.url(), &args).await.unwrap();
    assert_eq!(runner.get(KNOWN).await.body, IDENTITY);
    assert_eq!(runner.internal("/healthz").await.status, 400);
}

#[tokio::test]
async fn an_https_registry_is_checked_by_the_given_authority() {
    let identity = Identity::new();
    let registry = registry(&identity).await;
    let (file, text) = (identity.file("tls.crt"), fs::read_to_string(identity.path("tls.crt")).unwrap());
    for args in [["--registry-ca-file", &file], ["--registry-ca", &text]] {
        let runner = Runner::start_as(&registry.url(), &args).await.unwrap();
        let answer = runner.get(KNOWN).await;
        assert_eq!((answer.status, answer.body.as_str()), (200, IDENTITY));
    }
}

#[tokio::test]
async fn a_registry_of_another_authority_is_not_believed() {
    let registry = registry(&Identity::new()).await;
    let ca = Identity::new();
    let runner =
        Runner::start_as(&registry.url(), &["--registry-ca-file", &ca.file("tls.crt")]).await.unwrap();
    let answer = runner.get(KNOWN).await;
    assert_eq!((answer.status, answer.code().as_str()), (502, "RegistryUnavailable"));
    assert_eq!(registry.questions(), 0, "nothing was asked");
    eventually("it is told", async || runner.internal("/readyz").await.body.contains("(last: unreachable)"))
        .await;
}

#[tokio::test]
async fn what_cannot_be_meant_is_refused_at_the_start() {
    let identity = Identity::new();
    let (ca, key) = (identity.file("tls.crt"), identity.file("tls.key"));
    for (url, args, message) in [
        ("http://127.0.0.1:1", vec!["--registry-ca-file", &ca], "not asked over https"),
        ("https://127.0.0.1:1", vec!["--registry-ca-file", &key], "holds no PEM certificate"),
        ("https://127.0.0.1:1", vec!["--registry-ca-file", "/absent"], "cannot be read"),
        ("https://127.0.0.1:1", vec!["--registry-ca", "no pem"], "--registry-ca holds no PEM certificate"),
        (
            "http://127.0.0.1:1",
            vec!["--tls-cert-file", &ca, "--tls-key-file", &ca],
            "holds no PEM private key",
        ),
        ("http://127.0.0.1:1", vec!["--tls-cert-file", &ca], "--tls-key-file"),
    ] {
        let error = Runner::start_as(url, &args).await.err().expect(message);
        assert!(format!("{error:#}").contains(message), "{error:#}");
    }
}
