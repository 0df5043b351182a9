//! What the tests are made of.

pub mod form;
pub mod kcp;

use std::{fs, path::PathBuf, sync::Arc, time::Duration};

use annex_apis::{Install, Tenant};
use annex_bundle::{KeyType, Limits, RegistryKey, RegistryKeys, SigningKey, Unpacked, pack_files, sign};
use annex_registry::{
    App, BundleStore, Callers, Catalog, Installs, Metrics, Patience, Places, Policy, Scratch, TrustArgs,
};
use annex_service::{Followed, RunnerTokens};
use axum::{Router, body::Body, http::Request};
use http_body_util::BodyExt as _;
use jiff::Timestamp;
use kube_kcp::{Brake, Index, ObjectKey, ShardUrl};
use serde_json::{Value, json};
use tempfile::TempDir;
use tower::ServiceExt as _;

use form::Form;
use kcp::Kcp;

pub const RUNNER: &str = "0123456789abcdef0123456789abcdef-runner";
pub const COMPONENT: &[u8] = b"\0asm\x0d\0\x01\0 a component";

/// A registry, and all that is around it.
pub struct World {
    pub app: Arc<App>,
    pub kcp: Kcp,
    pub folder: TempDir,
    pub publisher: SigningKey,
    pub index: Arc<Index<Install>>,
}

/// An answer.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: axum::http::HeaderMap,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or(Value::Null)
    }

    /// The status and the code of a refusal, which has a message, too.
    pub fn refusal(&self) -> (u16, String) {
        let body = self.json();
        let fields = body.as_object().unwrap_or_else(|| panic!("no JSON: {self:?}"));
        assert!(fields.len() == 2 && !body["message"].as_str().unwrap().is_empty(), "{body}");
        assert!(!body["message"].as_str().unwrap().chars().any(char::is_control), "{body}");
        (self.status, body["code"].as_str().unwrap().to_owned())
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

/// What may differ.
pub struct Options {
    pub scratch: Option<Scratch>,
    pub patience: Patience,
    pub uploads: usize,
    pub synced: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self { scratch: None, patience: Patience::default(), uploads: 8, synced: true }
    }
}

impl World {
    pub async fn new() -> Self {
        Self::with(Options::default()).await
    }

    pub async fn with(options: Options) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let (registry, publisher) = (key(), key());
        fs::write(at("registry.key"), registry.to_pem().as_bytes()).unwrap();
        fs::write(at("keys.json"), published(&[&registry])).unwrap();
        fs::write(at("trust.pem"), trusting(&publisher, "example.com")).unwrap();
        fs::write(at("denylist"), "").unwrap();
        let args = TrustArgs {
            trust: Some(at("trust.pem")),
            denylist: Some(at("denylist")),
            key: at("registry.key"),
            keys: at("keys.json"),
        };
        let kcp = Kcp::default();
        let catalog = Catalog::default();
        if options.synced {
            catalog.extensions.finish_list(&Default::default());
            catalog.versions.finish_list(&Default::default());
            catalog.tenants.finish_list(&Default::default());
        }
        let index: Arc<Index<Install>> = Arc::default();
        let runners =
            Followed::load("tokens", Vec::new(), |_| RunnerTokens::parse(RUNNER.as_bytes())).unwrap();
        let client = kcp.client();
        let synced = options.synced;
        let app = App {
            provider: client.clone(),
            workspaces: {
                let client = client.clone();
                Arc::new(move |_| Ok(client.clone()))
            },
            callers: Callers::new(client.clone()),
            runners,
            policy: Policy::load(&args).unwrap(),
            store: BundleStore::in_folder(at("bundles")).unwrap(),
            scratch: options.scratch.unwrap_or_else(|| Scratch::in_folder(std::env::temp_dir())),
            patience: options.patience,
            places: Places::new(options.uploads),
            making: tokio::sync::Mutex::default(),
            mended: tokio::sync::Notify::new(),
            catalog,
            installs: Arc::new(Installs::new(index.clone(), move || synced)),
            metrics: Metrics::default(),
        };
        Self { app: Arc::new(app), kcp, folder, publisher, index }
    }

    /// Judges as the registry that leads does, until this is dropped.
    pub fn judging(&self) -> Judging {
        let (app, client) = (self.app.clone(), self.kcp.client());
        Judging(tokio::spawn(async move { annex_registry::judge(&app, &client).await }))
    }

    pub fn router(&self) -> Router {
        annex_registry::router(self.app.clone())
    }

    pub async fn send(&self, request: Request<Body>) -> Answer {
        let response = self.router().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let body = body.collect().await.unwrap().to_bytes().to_vec();
        assert!(parts.headers.contains_key("x-request-id"));
        Answer { status: parts.status.as_u16(), headers: parts.headers, body }
    }

    pub async fn get(&self, path: &str, token: &str) -> Answer {
        self.get_with(path, token, &[]).await
    }

    pub async fn get_with(&self, path: &str, token: &str, headers: &[(&str, &str)]) -> Answer {
        let mut request = Request::get(path);
        if !token.is_empty() {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.send(request.body(Body::empty()).unwrap()).await
    }

    pub async fn publish(&self, token: &str, form: Form) -> Answer {
        self.send(form.request(token)).await
    }

    /// A bundle that its publisher has signed, published by alice.
    pub async fn published(&self, bundle: &Bundle) -> Answer {
        self.publish("alice", bundle.form(&self.publisher)).await
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Everything in the content store, by its path below `sha256/<hash>/`.
    pub fn stored(&self) -> Vec<String> {
        let mut names = Vec::new();
        for bundle in fs::read_dir(self.file("bundles/sha256")).into_iter().flatten().flatten() {
            for file in fs::read_dir(bundle.path()).unwrap().flatten() {
                names.push(file.file_name().into_string().unwrap());
            }
        }
        names.sort();
        names
    }

    /// Trust, denylist and keys are read again.
    pub async fn reload(&self) {
        self.app.policy.trust.check().await;
        self.app.policy.denylist.check().await;
        self.app.policy.keys.check().await;
    }

    /// An Install of that workspace, whose status says where it answers.
    pub fn install(&self, cluster: &str, uid: &str, host: &str, content: &str) -> ObjectKey {
        self.app.catalog.tenants.put(Tenant::new(cluster, Default::default()));
        let install: Install = serde_json::from_value(json!({
            "apiVersion": "annex.sh/v1alpha1", "kind": "Install",
            "metadata": { "name": "hello", "namespace": "default", "uid": uid },
            "spec": { "extension": "com.example.hello" },
            "status": { "routes": [{ "host": host, "contentHash": content }] },
        }))
        .unwrap();
        let key = ObjectKey {
            cluster: cluster.parse().unwrap(),
            namespace: "default".into(),
            name: "hello".into(),
        };
        let change = self.index.apply(&shard(), key.clone(), install);
        assert!(!self.app.installs.changed(&change));
        key
    }

    /// A list that does not hold anything.
    pub fn lose_everything(&self) -> bool {
        let changes = self.index.finish_list(&shard(), &Default::default(), &Brake::default());
        changes.iter().all(|change| self.app.installs.changed(change))
    }
}

pub struct Judging(tokio::task::JoinHandle<()>);

impl Drop for Judging {
    fn drop(&mut self) {
        self.0.abort();
    }
}

fn shard() -> ShardUrl {
    "https://shard.test:6443/services/apiexport/x/annex.sh".parse().unwrap()
}

pub fn key() -> SigningKey {
    SigningKey::generate(KeyType::Ed25519).unwrap()
}

pub fn published(keys: &[&SigningKey]) -> String {
    let keys = keys.iter().map(|key| RegistryKey::new(key.public_key().clone(), Timestamp::UNIX_EPOCH, None));
    RegistryKeys::new(keys.collect()).to_json()
}

pub fn trusting(key: &SigningKey, publisher: &str) -> String {
    format!("# annex-publisher: {publisher}\n{}", key.public_key().to_pem())
}

/// An archive and what is known of it.
pub struct Bundle {
    pub archive: Vec<u8>,
    pub unpacked: Unpacked,
}

impl Bundle {
    pub fn of(name: &str, version: &str, page: &str) -> Self {
        Self::by("example.com", name, version, page)
    }

    pub fn by(publisher: &str, name: &str, version: &str, page: &str) -> Self {
        Self::with(
            &json!({
                "name": name, "publisher": publisher, "version": version, "capabilities": ["storage.kv", "log"],
                "ui": { "entry": "ui/index.html" },
            }),
            page,
        )
    }

    pub fn with(manifest: &Value, page: &str) -> Self {
        let manifest = manifest.to_string();
        let files: [(&str, &[u8]); 3] = [
            ("manifest.json", manifest.as_bytes()),
            ("main.wasm", COMPONENT),
            ("ui/index.html", page.as_bytes()),
        ];
        let mut archive = Vec::new();
        let unpacked = pack_files(files, &Limits::default(), &mut archive).unwrap();
        Self { archive, unpacked }
    }

    pub fn signed(&self, key: &SigningKey) -> Vec<u8> {
        sign(&self.unpacked, key, &[], Timestamp::now()).unwrap()
    }

    pub fn form(&self, key: &SigningKey) -> Form {
        Form::new(&self.archive).signature(&self.signed(key))
    }

    pub fn hash(&self) -> String {
        self.unpacked.content_hash.to_string()
    }
}

pub fn hello(page: &str) -> Bundle {
    Bundle::of("com.example.hello", "1.2.3", page)
}

/// Waits until it is so; a test that hangs is ended by its own patience.
pub async fn until(what: &str, is: impl Fn() -> bool) {
    for _ in 0..500 {
        if is() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{what} does not come true");
}
