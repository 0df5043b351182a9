//! What is fuzzed, as plain functions: libfuzzer calls them for hours, and the tests of `annex-bundle` call them on stable Rust with the
//! corpus and some thousands of its mutations.
//!
//! Each panics where something holds not that must hold for every input.

use std::io;
use std::sync::LazyLock;

use annex_bundle::{
    BundlePath, Denylist, Discard, Limits, Manifest, Memory, PublishPolicy, Sink, TrustBundle, Unpacked,
    pack_files, unpack, verify_at_publish,
};

/// Small, so that a bomb costs a fuzzer no time.
const LIMITS: Limits = Limits {
    archive: 1 << 20,
    unpacked: 8 << 20,
    ratio: 100,
    entries: 100,
    file: 8 << 20,
    path: 255,
    depth: 16,
};

/// A manifest that is read says the same when it is written and read again, and has no endpoint where lifecycle handlers are called.
pub fn manifest(bytes: &[u8]) {
    if let Ok(manifest) = Manifest::from_json(bytes) {
        let mut firsts =
            manifest.endpoints.iter().filter_map(|endpoint| endpoint.path.as_str().split('/').nth(1));
        assert!(!firsts.any(|first| first.eq_ignore_ascii_case(".annex")));
        let written = manifest.to_json();
        assert_eq!(Manifest::from_json(written.as_bytes()).as_ref(), Ok(&manifest));
    }
}

/// An archive that is read has safe paths only, and packs again to the same content.
pub fn archive(bytes: &[u8]) {
    let mut sink = Checking::default();
    let Ok(found) = unpack(bytes, &LIMITS, &mut sink) else { return };
    assert_eq!(found.size, bytes.len() as u64);
    let files = sink.memory.into_files();
    assert_eq!(files.len(), found.listing.files().len());
    let again =
        pack_files(files.iter().map(|(path, bytes)| (path.as_str(), bytes.as_slice())), &LIMITS, Vec::new());
    // A name that only another split of the header's two fields holds does not pack; everything else does.
    match again {
        Ok(again) => assert_eq!(again.content_hash, found.content_hash),
        Err(error) => assert_eq!(error.code(), "PathDoesNotFit"),
    }
}

/// The same, behind the compression, which no mutation gets through.
pub fn tar(bytes: &[u8]) {
    if let Ok(compressed) = zstd::encode_all(bytes, 1) {
        archive(&compressed);
    }
}

/// Nothing verifies but what the one key that is trusted has ever signed.
pub fn envelope(bytes: &[u8]) {
    static TRUST: LazyLock<TrustBundle> = LazyLock::new(|| {
        let key = include_str!("../signer.pub.pem");
        let root = include_str!("../../tests/fixtures/rsa-root.pem");
        TrustBundle::parse(format!("# annex-publisher: example.com\n{key}{root}").as_bytes()).unwrap()
    });
    static SIGNED: LazyLock<Unpacked> = LazyLock::new(|| unpack(BUNDLE, &LIMITS, Discard).unwrap());
    const BUNDLE: &[u8] = include_bytes!("../corpus/archive/bundle.tar.zst");
    let policy = PublishPolicy {
        trust: &TRUST,
        denylist: &Denylist::default(),
        now: "2030-01-01T00:00:00Z".parse().unwrap(),
        limits: &LIMITS,
    };
    if let Ok(verified) = verify_at_publish(BUNDLE, Some(bytes), &policy, Discard) {
        assert_eq!(verified.unpacked, *SIGNED);
        assert_eq!(verified.statement.content_hash, SIGNED.content_hash);
        assert_eq!(verified.signer.anchor, None);
    }
}

/// Whoever is in a trust bundle, a signature by somebody who is not does not verify.
pub fn trust_bundle(bytes: &[u8]) {
    const CHAINED: &[u8] = include_bytes!("../corpus/envelope/chained.sig");
    if let Ok(trust) = TrustBundle::parse(bytes) {
        let now = "2030-01-01T00:00:00Z".parse().unwrap();
        // Its chain is signed with what is never accepted.
        let verdict = annex_bundle::check_signature(Some(CHAINED), &trust, &Denylist::default(), now);
        assert!(verdict.is_err());
    }
}

/// Keeps files, after a look at what the sink is promised.
#[derive(Default)]
struct Checking {
    memory: Memory,
    announced: u64,
}

impl Sink for Checking {
    fn begin(&mut self, path: &BundlePath, size: u64) -> io::Result<()> {
        let text = path.as_str();
        assert!(!text.starts_with('/') && !text.contains(['\\', ':', '\0']));
        assert!(text.split('/').all(|segment| !matches!(segment, "" | "." | "..")));
        assert!(text.len() <= LIMITS.path && text.split('/').count() <= LIMITS.depth);
        self.announced = size;
        self.memory.begin(path, size)
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.announced = self.announced.checked_sub(bytes.len() as u64).expect("more than announced");
        self.memory.write(bytes)
    }

    fn end(&mut self) -> io::Result<()> {
        assert_eq!(self.announced, 0, "less than announced");
        self.memory.end()
    }
}
