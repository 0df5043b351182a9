//! A publisher, a registry, an operator's files, and runners that use them.

use std::{fs, path::PathBuf};

use annex_bundle::{
    Denylist, Discard, KeyType, Limits, PublishPolicy, RegistryKey, RegistryKeys, SigningKey, TrustBundle,
    issue_receipt, pack_files, sign, verify_at_publish,
};
use jiff::Timestamp;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{
    published::{PublishedRegistry, Stored},
    support::{Answer, Runner, say},
};

pub const HELLO: &str = "com.example.hello";
pub const HOST: &str = "acme--hello.apps.localhost";
pub const PAGE: &str = "<!doctype html><script src=\"app.js\"></script>";

/// What most tests install: some of everything.
pub fn files() -> Vec<(&'static str, Vec<u8>)> {
    vec![
        ("ui/index.html", PAGE.as_bytes().to_vec()),
        // Larger than what is worth compressing, and than what is read at once.
        ("ui/app.js", "const words = ['one', 'two'];\n".repeat(100).into_bytes()),
        ("ui/big.css", ".a{color:red}\n".repeat(100_000).into_bytes()),
        ("ui/logo.png", (0..4000_u32).map(|number| (number % 251) as u8).collect()),
        ("ui/data/größe & more.json", b"{}".to_vec()),
        ("ui/empty.txt", Vec::new()),
    ]
}

pub struct World {
    pub registry: PublishedRegistry,
    publisher: SigningKey,
    key: SigningKey,
    folder: TempDir,
}

impl World {
    pub async fn new() -> Self {
        let (publisher, key) = (generate(), generate());
        let world = Self {
            registry: PublishedRegistry::start().await,
            publisher,
            key,
            folder: tempfile::tempdir().unwrap(),
        };
        world.write("trust.pem", &world.trust());
        world.write("denylist", "");
        let public = RegistryKey::new(world.key.public_key().clone(), Timestamp::UNIX_EPOCH, None);
        world.write("keys.json", &RegistryKeys::new(vec![public]).to_json());
        world
    }

    /// With [`files`] on [`HOST`], and a runner.
    pub async fn with_hello() -> (Self, Runner, String) {
        let world = Self::new().await;
        let hash = world.publish(HELLO, "ui/index.html", &files());
        world.install(HOST, HELLO, &hash);
        let runner = world.runner(&[]).await;
        (world, runner, hash)
    }

    /// Packs, signs and receives a bundle. Returns its content hash.
    pub fn publish(&self, name: &str, entry: &str, files: &[(&str, Vec<u8>)]) -> String {
        let mut manifest = json!({ "name": name, "publisher": "example.com", "version": "1.0.0" });
        if !entry.is_empty() {
            manifest["ui"] = json!({ "entry": entry });
        }
        self.publish_as(&manifest, b"\0asm\x0d\0\x01\0 a component", files)
    }

    /// The same, of any manifest and component.
    pub fn publish_as(&self, manifest: &Value, component: &[u8], files: &[(&str, Vec<u8>)]) -> String {
        let manifest = manifest.to_string();
        let own = [("manifest.json", manifest.as_bytes()), ("main.wasm", component)];
        let given = files.iter().map(|(path, bytes)| (*path, &bytes[..]));
        let mut archive = Vec::new();
        let unpacked = pack_files(own.into_iter().chain(given), &Limits::default(), &mut archive).unwrap();
        let signature = sign(&unpacked, &self.publisher, &[], Timestamp::now()).unwrap();
        let trust = TrustBundle::parse(self.trust().as_bytes()).unwrap();
        let policy = PublishPolicy {
            trust: &trust,
            denylist: &Denylist::default(),
            now: Timestamp::now(),
            limits: &Limits::default(),
        };
        let verified = verify_at_publish(&archive[..], Some(&signature), &policy, Discard).unwrap();
        let receipt = issue_receipt(&verified, &self.key).unwrap();
        let hash = unpacked.content_hash;
        self.registry.known().bundles.insert(hash.hex(), Stored { archive, signature, receipt });
        hash.to_string()
    }

    pub fn install(&self, host: &str, extension: &str, hash: &str) {
        let identity = json!({ "tenant_id": "acme", "extension_id": extension, "content_hash": hash });
        self.registry.known().installs.insert(host.to_owned(), identity);
    }

    /// A file of the operator's.
    pub fn write(&self, name: &str, content: &str) {
        fs::write(self.at(name), content).unwrap();
    }

    pub fn trust(&self) -> String {
        format!("# annex-publisher: example.com\n{}", self.publisher.public_key().to_pem())
    }

    pub fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A runner that verifies, with a cache of this world's.
    pub async fn runner(&self, more: &[&str]) -> Runner {
        self.try_runner(more).await.unwrap()
    }

    pub async fn try_runner(&self, more: &[&str]) -> anyhow::Result<Runner> {
        self.runner_that_remembers("0", more).await
    }

    /// One that takes what the registry said so many milliseconds ago for what it would say now.
    pub async fn runner_that_remembers(&self, milliseconds: &str, more: &[&str]) -> anyhow::Result<Runner> {
        let at = |name: &str| self.at(name).display().to_string();
        let (trust, denylist, keys, cache) = (at("trust.pem"), at("denylist"), at("keys.json"), at("cache"));
        let args = ["--trust-bundle", &trust, "--denylist", &denylist, "--registry-keys", &keys];
        // A lookup of a busy machine is not what is tested here.
        let patient =
            ["--cache-dir", &cache, "--lookup-timeout-ms", "20000", "--lookup-ttl-ms", milliseconds];
        let fixed = [&args[..], &patient].concat();
        Runner::start_as(&self.registry.url, &[&fixed[..], more].concat()).await
    }
}

fn generate() -> SigningKey {
    SigningKey::generate(KeyType::Ed25519).unwrap()
}

/// The path of a file of [`HELLO`].
pub fn page(hash: &str, file: &str) -> String {
    format!("/ext-ui/{HELLO}/{hash}/{file}")
}

/// Asks [`HOST`].
pub async fn get(runner: &Runner, path: &str, headers: &[(&str, &str)]) -> Answer {
    ask(runner, "GET", path, HOST, headers).await
}

pub async fn ask(runner: &Runner, method: &str, path: &str, host: &str, headers: &[(&str, &str)]) -> Answer {
    let headers: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let request = format!("{method} {path} HTTP/1.1\r\nhost: {host}\r\n{headers}connection: close\r\n\r\n");
    say(runner.public, request.as_bytes()).await
}

/// Ends a runner, and waits until it has let go of its cache.
pub async fn end(runner: Runner) {
    runner.stop.cancel();
    runner.serving.await.unwrap();
}
