use std::{fs, sync::Arc};

use annex_bundle::{
    Denylist, Discard, KeyType, Limits, PublishPolicy, RegistryKey, RegistryKeys, SigningKey, TrustBundle,
    issue_receipt, pack_files, sign, verify_at_publish,
};
use annex_core::InstallIdentity;
use axum::{Router, extract::Path, http::StatusCode, routing::get};
use clap::Parser;
use jiff::Timestamp;
use parking_lot::Mutex;
use serde_json::json;
use tempfile::TempDir;

use super::*;

#[derive(Parser)]
struct Args {
    #[command(flatten)]
    verify: VerifyArgs,
}

/// What a registry hands out; it changes while it is asked.
#[derive(Clone, Default)]
struct Served {
    archive: Vec<u8>,
    signature: Vec<u8>,
    receipt: Vec<u8>,
    broken: bool,
    asked: usize,
}

struct Rig {
    served: Arc<Mutex<Served>>,
    bundles: Bundles,
    identity: InstallIdentity,
    folder: TempDir,
    registry: SigningKey,
}

fn key() -> SigningKey {
    SigningKey::generate(KeyType::Ed25519).unwrap()
}

impl Rig {
    async fn new() -> Self {
        let (publisher, registry) = (key(), key());
        let manifest = json!({ "name": "com.example.hello", "publisher": "example.com", "version": "1.0.0" })
            .to_string();
        let files: [(&str, &[u8]); 2] =
            [("manifest.json", manifest.as_bytes()), ("main.wasm", b"\0asm\x0d\0\x01\0 a component")];
        let mut archive = Vec::new();
        let unpacked = pack_files(files, &Limits::default(), &mut archive).unwrap();
        let signature = sign(&unpacked, &publisher, &[], Timestamp::now()).unwrap();
        let trust = format!("# annex-publisher: example.com\n{}", publisher.public_key().to_pem());
        let parsed = TrustBundle::parse(trust.as_bytes()).unwrap();
        let policy = PublishPolicy {
            trust: &parsed,
            denylist: &Denylist::default(),
            now: Timestamp::now(),
            limits: &Limits::default(),
        };
        let verified = verify_at_publish(&archive[..], Some(&signature), &policy, Discard).unwrap();
        let receipt = issue_receipt(&verified, &registry).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name).display().to_string();
        fs::write(at("trust"), trust).unwrap();
        fs::write(at("denylist"), "").unwrap();
        fs::write(at("keys"), keys(&registry)).unwrap();
        fs::write(at("tokens"), "0123456789abcdef0123456789abcdef").unwrap();

        let served = Arc::new(Mutex::new(Served { archive, signature, receipt, ..Served::default() }));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let answers = served.clone();
        let file = async move |Path((_, file)): Path<(String, String)>| {
            let mut served = answers.lock();
            served.asked += 1;
            if served.broken {
                return (StatusCode::SERVICE_UNAVAILABLE, Vec::new());
            }
            let bytes = match file.as_str() {
                "bundle.tar.zst" => served.archive.clone(),
                "bundle.sig" => served.signature.clone(),
                _ => served.receipt.clone(),
            };
            (if bytes.is_empty() { StatusCode::NOT_FOUND } else { StatusCode::OK }, bytes)
        };
        let router = Router::new().route("/bundles/sha256/{hash}/{file}", get(file));
        tokio::spawn(annex_service::serve_until(
            listener,
            annex_service::Tls::default(),
            router,
            std::future::pending(),
        ));
        let args =
            ["x", "--registry-url", &url, "--trust-bundle", &at("trust"), "--denylist", &at("denylist")];
        let more = ["--registry-keys", &at("keys"), "--runner-tokens", &at("tokens")];
        let args = Args::try_parse_from(args.into_iter().chain(more)).ok().unwrap();
        let bundles = args.verify.bundles(false).unwrap().unwrap();
        let identity = json!({ "tenant_id": "acme", "extension_id": "com.example.hello",
            "content_hash": unpacked.content_hash.to_string() });
        Self { served, bundles, identity: serde_json::from_value(identity).unwrap(), folder, registry }
    }

    async fn verify(&self) -> Result<(), Unverified> {
        self.bundles.verify(&self.identity, "1.0.0").await
    }

    async fn refusal(&self) -> String {
        match self.verify().await {
            Err(Unverified::Refused(message)) => message,
            other => panic!("{other:?}"),
        }
    }

    async fn write(&self, name: &str, content: &str) {
        fs::write(self.folder.path().join(name), content).unwrap();
        self.bundles.policy.check().await;
    }

    fn asked(&self) -> usize {
        self.served.lock().asked
    }
}

fn keys(registry: &SigningKey) -> String {
    RegistryKeys::new(vec![RegistryKey::new(registry.public_key().clone(), Timestamp::UNIX_EPOCH, None)])
        .to_json()
}

fn install_ring() {
    annex_service::install_tls_provider();
}

#[tokio::test]
async fn bytes_are_read_once_and_trust_is_asked_each_time() {
    install_ring();
    let rig = Rig::new().await;
    assert_eq!(rig.verify().await, Ok(()));
    assert_eq!(rig.verify().await, Ok(()));
    assert_eq!(rig.asked(), 3, "signature, receipt and archive, once");
    let trust = fs::read_to_string(rig.folder.path().join("trust")).unwrap();
    rig.write("trust", "").await;
    assert!(rig.refusal().await.contains("UntrustedSigner"));
    rig.write("trust", &trust).await;
    assert_eq!(rig.verify().await, Ok(()));
    rig.write("denylist", "publisher example.com\n").await;
    assert!(rig.refusal().await.contains("Denied"));
    rig.write("denylist", "").await;
    rig.write("keys", &keys(&key())).await;
    assert!(rig.refusal().await.contains("UntrustedReceipt"));
    rig.write("keys", &keys(&rig.registry)).await;
    assert_eq!(rig.verify().await, Ok(()));
    assert_eq!(rig.asked(), 3);
    rig.bundles.forget(&rig.identity.content_hash);
    assert_eq!(rig.verify().await, Ok(()));
    assert_eq!(rig.asked(), 6, "asked for again");
}

#[tokio::test]
async fn what_is_not_what_was_published_is_refused() {
    install_ring();
    let rig = Rig::new().await;
    let good = rig.served.lock().clone();
    type Change = fn(&mut Served);
    let cases: [(&str, Change); 6] = [
        ("EnvelopeInvalid", |served| served.signature = b" ".to_vec()),
        ("ReceiptInvalid", |served| served.receipt = b"{}".to_vec()),
        ("DigestMismatch", |served| served.archive.push(0)),
        ("Truncated", |served| served.archive.truncate(served.archive.len() - 1)),
        ("BundleMissing", |served| served.receipt.clear()),
        ("BundleMissing", |served| served.archive.clear()),
    ];
    for (code, change) in cases {
        {
            let mut served = rig.served.lock();
            *served = good.clone();
            change(&mut served);
        }
        rig.bundles.forget(&rig.identity.content_hash);
        let message = rig.refusal().await;
        assert!(message.contains(code), "{code}: {message}");
        let asked = rig.asked();
        assert_eq!(rig.refusal().await, message);
        assert_eq!(rig.asked(), asked, "what was refused is not fetched again for a while");
    }
    *rig.served.lock() = good;
    rig.bundles.forget(&rig.identity.content_hash);
    let other = rig.bundles.verify(&rig.identity, "2.0.0").await;
    assert!(matches!(other, Err(Unverified::Refused(message)) if message.contains("CatalogMismatch")));
}

#[tokio::test]
async fn a_registry_that_does_not_answer_refuses_nothing() {
    install_ring();
    let rig = Rig::new().await;
    rig.served.lock().broken = true;
    assert!(matches!(rig.verify().await, Err(Unverified::Unknown(_))));
    rig.served.lock().broken = false;
    assert_eq!(rig.verify().await, Ok(()));
    rig.served.lock().broken = true;
    assert_eq!(rig.verify().await, Ok(()), "it is known");
}

#[test]
fn without_a_registry_nothing_starts_unless_the_operator_says_so() {
    install_ring();
    let args = Args::try_parse_from(["x"]).ok().unwrap();
    assert!(args.verify.bundles(false).is_err());
    assert!(args.verify.bundles(true).unwrap().is_none());
}
