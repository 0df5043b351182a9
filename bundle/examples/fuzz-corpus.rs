//! Writes the seeds of `fuzz/corpus` anew: `cargo run -p annex-bundle --example fuzz-corpus`. The key that signs the envelope is
//! thrown away, so that nobody, the fuzzer included, can ever sign another one.

use std::error::Error;
use std::fs;
use std::io::Write as _;
use std::path::Path;

use annex_bundle::{KeyType, Limits, SigningKey, pack_files, sign};

const MANIFEST: &str = include_str!("../tests/bundle/manifest.full.json");
const COMPONENT: &[u8] = b"\0asm\x0d\0\x01\0";

fn main() -> Result<(), Box<dyn Error>> {
    let fuzz = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz");
    let seed = |target: &str, name: &str, bytes: &[u8]| {
        let folder = fuzz.join("corpus").join(target);
        fs::create_dir_all(&folder)?;
        fs::write(folder.join(name), bytes)
    };

    seed("manifest", "full.json", MANIFEST.as_bytes())?;
    let least =
        r#"{"name":"com.example.hello","publisher":"example.com","version":"0.1.0","ui":{"entry":"ui/a"}}"#;
    seed("manifest", "least.json", least.as_bytes())?;

    let files =
        [("manifest.json", least.as_bytes()), ("main.wasm", COMPONENT), ("ui/a", b"a"), ("sbom.json", b"{}")];
    let mut archive = Vec::new();
    let unpacked = pack_files(files, &Limits::default(), &mut archive)?;
    seed("archive", "bundle.tar.zst", &archive)?;
    let tar = zstd::decode_all(archive.as_slice())?;
    seed("tar", "bundle.tar", &tar)?;
    let mut silent = zstd::Encoder::new(Vec::new(), 1)?;
    silent.include_contentsize(false)?;
    silent.include_checksum(true)?;
    silent.write_all(&tar)?;
    seed("archive", "checksum.tar.zst", &silent.finish()?)?;

    let key = SigningKey::generate(KeyType::Ed25519)?;
    fs::write(fuzz.join("signer.pub.pem"), key.public_key().to_pem())?;
    let signature = sign(&unpacked, &key, &[], "2026-11-03T12:00:00Z".parse()?)?;
    seed("envelope", "pinned.sig", &signature)?;
    let fixture = |name: &str| fs::read(format!("{}/tests/fixtures/{name}", env!("CARGO_MANIFEST_DIR")));
    let chained = SigningKey::from_pem(&fixture("p256.key")?)?;
    let leaf = annex_bundle::Certificate::all_from_pem(&fixture("pkcs1-leaf.pem")?)?;
    seed("envelope", "chained.sig", &sign(&unpacked, &chained, &leaf, "2026-11-03T12:00:00Z".parse()?)?)?;

    let bound = |pem: &[u8]| [b"# annex-publisher: example.com\n".as_slice(), pem].concat();
    seed("trust_bundle", "key.pem", &bound(key.public_key().to_pem().as_bytes()))?;
    seed("trust_bundle", "rsa.pem", &bound(&fixture("rsa3072.pub.pem")?))?;
    seed(
        "trust_bundle",
        "anchors.pem",
        &[fixture("p384-root.pem")?, bound(&fixture("rsa-root.pem")?)].concat(),
    )?;
    Ok(())
}
