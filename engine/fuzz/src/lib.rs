//! What is fuzzed, as plain functions: libfuzzer calls them for hours, and the tests of `annex-engine` call them on stable Rust with the
//! corpus and some thousands of its mutations.
//!
//! Each panics where something holds not that must hold for every input.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::{Arc, LazyLock, Mutex};

use annex_bundle::Manifest;
use annex_engine::{Capabilities, Capability, Engine, EngineOptions, InProcess, LoadError};
use bytes::Bytes;

/// Each import that takes a grant, and two that nobody gets.
const IMPORTS: [(&str, Option<Capability>); 8] = [
    ("wasi:http/outgoing-handler@0.2.0", Some(Capability::HttpFetch)),
    ("annex:host/storage-kv@0.1.0", Some(Capability::StorageKv)),
    ("annex:host/secrets@0.1.0", Some(Capability::Secrets)),
    ("annex:host/log@0.1.0", Some(Capability::Log)),
    ("annex:host/metrics@0.1.0", Some(Capability::Metrics)),
    ("annex:host/context@0.1.0", Some(Capability::Context)),
    ("wasi:sockets/tcp@0.2.0", None),
    ("annex:host/admin@0.1.0", None),
];

/// A line of what an Install grants, with spaces between, or `*` where it says nothing; and a manifest. What its component then may import
/// is what both name and there is: no more, no less. Says what that is; None: there is no such extension, or none with such a grant.
pub fn links(bytes: &[u8]) -> Option<Vec<&'static str>> {
    let end = bytes.iter().position(|byte| *byte == b'\n')?;
    let (line, manifest) = (str::from_utf8(&bytes[..end]).ok()?, &bytes[end + 1..]);
    let manifest = Manifest::from_json(manifest).ok()?;
    let asked: Vec<String> = manifest.capabilities.iter().map(ToString::to_string).collect();
    let granted: Option<Vec<String>> = (line != "*").then(|| line.split(' ').map(str::to_owned).collect());
    let both = |name: &str| {
        asked.iter().any(|asked| asked == name)
            && granted.as_ref().is_none_or(|granted| granted.iter().any(|granted| granted == name))
    };

    let grant = annex_grant::Capabilities::granted(&asked, granted.as_deref()).ok()?;
    let capabilities = match Capabilities::named(grant.iter()) {
        Ok(capabilities) => capabilities,
        Err(unknown) => {
            assert!(both(unknown) && unknown.parse::<Capability>().is_err(), "{unknown}");
            return None;
        }
    };
    let linked = linked(capabilities);
    for capability in Capability::ALL {
        assert_eq!(linked.contains(&capability.name()), both(capability.name()), "{capability}");
    }
    Some(linked)
}

/// What components find, each of which imports one thing.
fn linked(capabilities: Capabilities) -> Vec<&'static str> {
    // There are 64 sets, and each takes some milliseconds.
    static FOUND: Mutex<BTreeMap<Capabilities, Vec<&'static str>>> = Mutex::new(BTreeMap::new());
    if let Some(linked) = FOUND.lock().unwrap().get(&capabilities) {
        return linked.clone();
    }
    let mut linked = Vec::new();
    for (number, (import, needs)) in (0..).zip(IMPORTS) {
        match (load(number, import, capabilities.clone()), needs) {
            // That it handles no request is said of what is linked already.
            (LoadError::NoHandler, Some(capability)) => linked.push(capability.name()),
            (LoadError::CapabilityMissing { capability, .. }, Some(needs)) => assert_eq!(capability, needs),
            (LoadError::UnknownImport { .. }, None) => {}
            (error, _) => panic!("{import}: {error}"),
        }
    }
    FOUND.lock().unwrap().insert(capabilities, linked.clone());
    linked
}

fn load(number: u8, import: &str, capabilities: Capabilities) -> LoadError {
    static RUNTIME: LazyLock<tokio::runtime::Runtime> =
        LazyLock::new(|| tokio::runtime::Builder::new_current_thread().build().unwrap());
    static ENGINE: LazyLock<Engine> = LazyLock::new(|| {
        let options = EngineOptions { concurrency: 1, memory_bytes: 1 << 20, ..EngineOptions::default() };
        Engine::new(options, Arc::new(InProcess), None).unwrap()
    });
    let component = wat::parse_str(format!(r#"(component (import "{import}" (instance)))"#)).unwrap();
    let hash = format!("sha256:{}", format!("{number:02x}").repeat(32)).parse().unwrap();
    let component = async move { Ok::<_, Infallible>(Bytes::from(component)) };
    RUNTIME.block_on(ENGINE.load(hash, capabilities, component)).err().unwrap()
}
