//! The pieces of `cargo xtask bench bundle`, also for use by hand. `bundle-throughput make FOLDER MIB` writes a signed bundle that
//! unpacks to that size, `bundle-throughput verify FOLDER` hashes, verifies and unpacks it once, as a runner does, and says how much
//! memory it took. Set its time beside `zstd -d` and `sha256sum` of the same bytes:
//!
//! ```text
//! cargo build --release -p annex-bundle --example bundle-throughput
//! bundle-throughput make /tmp/t 190
//! time bundle-throughput verify /tmp/t
//! time sh -c 'zstd -d -f -q /tmp/t/bundle.tar.zst -o /tmp/t/bundle.tar && sha256sum /tmp/t/bundle.tar'
//! ```

use std::error::Error;
use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

use annex_bundle::{
    BundlePath, Denylist, KeyType, Limits, PublishPolicy, SigningKey, Sink, TrustBundle, pack, sign,
    verify_at_publish,
};

const MANIFEST: &str =
    r#"{"name":"com.example.large","publisher":"example.com","version":"1.0.0","ui":{"entry":"ui/0.bin"}}"#;
const COMPONENT: &[u8] = b"\0asm\x0d\0\x01\0";
const NOW: &str = "2026-11-03T12:00:00Z";

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["make", folder, mib] => make(Path::new(folder), mib.parse()?),
        ["verify", folder] => verify(Path::new(folder)),
        _ => Err("usage: bundle-throughput make FOLDER MIB | bundle-throughput verify FOLDER".into()),
    }
}

/// Pages of which about half is noise, as in compiled code and images.
fn make(folder: &Path, mib: u64) -> Result<(), Box<dyn Error>> {
    fs::create_dir_all(folder)?;
    let mut sizes = std::collections::BTreeMap::new();
    let path = |text: &str| BundlePath::parse(text.as_bytes());
    sizes.insert(path("manifest.json")?, MANIFEST.len() as u64);
    sizes.insert(path("main.wasm")?, COMPONENT.len() as u64);
    for index in 0..mib {
        sizes.insert(path(&format!("ui/{index}.bin"))?, 1 << 20);
    }
    let open = |path: &BundlePath| -> io::Result<Box<dyn io::Read>> {
        Ok(match path.as_str() {
            "manifest.json" => Box::new(MANIFEST.as_bytes()),
            "main.wasm" => Box::new(COMPONENT),
            other => {
                Box::new(Noise(other.bytes().fold(1, |seed, byte| seed * 31 + u64::from(byte))).take(1 << 20))
            }
        })
    };
    let mut out = io::BufWriter::new(File::create(folder.join("bundle.tar.zst"))?);
    let packed = pack(&sizes, open, &Limits::default(), &mut out)?;
    out.flush()?;
    let key = SigningKey::generate(KeyType::Ed25519)?;
    fs::write(folder.join("bundle.sig"), sign(&packed, &key, &[], NOW.parse()?)?)?;
    let trust = format!("# annex-publisher: example.com\n{}", key.public_key().to_pem());
    fs::write(folder.join("trust.pem"), trust)?;
    Ok(())
}

struct Noise(u64);

impl io::Read for Noise {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        for chunk in buffer.chunks_mut(16) {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            for (to, from) in chunk.iter_mut().zip(self.0.to_le_bytes().into_iter().chain(*b"constant")) {
                *to = from;
            }
        }
        Ok(buffer.len())
    }
}

fn verify(folder: &Path) -> Result<(), Box<dyn Error>> {
    let trust = TrustBundle::parse(&fs::read(folder.join("trust.pem"))?)?;
    let signature = fs::read(folder.join("bundle.sig"))?;
    let policy = PublishPolicy {
        trust: &trust,
        denylist: &Denylist::default(),
        now: NOW.parse()?,
        limits: &Limits::default(),
    };
    let archive = File::open(folder.join("bundle.tar.zst"))?;
    let sink = Folder { root: folder.join("unpacked"), file: None };
    let verified = verify_at_publish(archive, Some(&signature), &policy, sink)?;
    writeln!(io::stdout(), "{}", verified.unpacked.content_hash)?;
    if let Some(peak) = peak_kib() {
        writeln!(io::stdout(), "peak {peak} KiB")?;
    }
    Ok(())
}

/// The most memory that this process ever held, where the system says it as Linux does.
fn peak_kib() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix("kB")?.trim().parse().ok()
}

struct Folder {
    root: PathBuf,
    file: Option<File>,
}

impl Sink for Folder {
    fn begin(&mut self, path: &BundlePath, _: u64) -> io::Result<()> {
        let path = self.root.join(path.as_str());
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        self.file = Some(File::create(path)?);
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.as_mut().map_or(Ok(()), |file| file.write_all(bytes))
    }
}
