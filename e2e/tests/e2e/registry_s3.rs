//! Bundles in S3 in place of a folder.

use std::{
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use annex_e2e::{Publisher, World, packed, until};
use serde_json::json;
use tokio::task::block_in_place;
use xtask::Part;

use crate::{environment::alone, registry::alice};

/// A server of versitygw, with one bucket in a folder. It ends with this value.
struct S3 {
    process: Option<Child>,
    program: PathBuf,
    port: u16,
    folder: tempfile::TempDir,
}

const BUCKET: &str = "bundles";
const ACCESS_KEY: &str = "annex-test";
const SECRET_KEY: &str = "annex-test-secret";

impl S3 {
    fn new() -> anyhow::Result<Self> {
        let program = block_in_place(xtask::s3_server)?;
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let folder = tempfile::tempdir()?;
        for name in ["data", "sidecar"] {
            std::fs::create_dir_all(folder.path().join(name).join(BUCKET))?;
        }
        Ok(Self { process: None, program, port, folder })
    }

    async fn start(&mut self) -> anyhow::Result<()> {
        let folder = |name| self.folder.path().join(name);
        let child = Command::new(&self.program)
            .args(["--quiet", "--port", &format!("127.0.0.1:{}", self.port), "posix", "--sidecar"])
            .arg(folder("sidecar"))
            .arg(folder("data"))
            .envs([("ROOT_ACCESS_KEY", ACCESS_KEY), ("ROOT_SECRET_KEY", SECRET_KEY)])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        self.process = Some(child);
        until("S3 listens", || async {
            Ok(tokio::net::TcpStream::connect(("127.0.0.1", self.port)).await.ok())
        })
        .await
        .map(drop)
    }

    fn stop(&mut self) -> anyhow::Result<()> {
        if let Some(mut process) = self.process.take() {
            process.kill()?;
            process.wait()?;
        }
        Ok(())
    }

    /// What is kept of bundles.
    fn files(&self) -> anyhow::Result<Vec<String>> {
        let mut files = Vec::new();
        for bundle in entries(&self.folder.path().join("data").join(BUCKET).join("annex/sha256"))? {
            for file in entries(&bundle)? {
                files.push(file.file_name().expect("a name").to_string_lossy().into_owned());
            }
        }
        Ok(files)
    }
}

impl Drop for S3 {
    fn drop(&mut self) {
        drop(self.stop());
    }
}

fn entries(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    if !folder.is_dir() {
        return Ok(Vec::new());
    }
    std::fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect()
}

fn restart_registry(world: &World, args: &[&str]) -> anyhow::Result<()> {
    block_in_place(|| {
        world.stack.stop(Part::Registry)?;
        let keys = [("S3_ACCESS_KEY", ACCESS_KEY), ("S3_SECRET_KEY", SECRET_KEY)];
        world.stack.configure(Part::Registry, args, if args.is_empty() { &[] } else { &keys });
        world.stack.start(Part::Registry)
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn bundles_can_be_kept_in_s3() -> anyhow::Result<()> {
    let (world, _turn) = alone().await;
    let publisher = alice(world).await?;
    let mut s3 = S3::new()?;
    s3.start().await?;
    let endpoint = format!("http://127.0.0.1:{}", s3.port);
    let store = format!("s3://{BUCKET}/annex");
    let args = ["--bundle-store", &store, "--s3-endpoint", &endpoint, "--s3-region", "us-east-1"];
    restart_registry(world, &args)?;
    let outcome = used(world, &publisher, &mut s3).await;
    restart_registry(world, &[])?;
    outcome
}

async fn used(world: &World, publisher: &Publisher, s3: &mut S3) -> anyhow::Result<()> {
    // More than one part of an upload, of what cannot be packed any smaller.
    let mut seed = 7_u64;
    let noise: String = std::iter::repeat_with(|| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        char::from(b'0' + u8::try_from(seed % 64).expect("less than 64"))
    })
    .take(20 << 20)
    .collect();
    let (archive, unpacked) = packed("com.example.s3", "1.0.0", &noise)?;
    assert!(archive.len() > 8 << 20, "{} bytes", archive.len());
    let signature = publisher.signature(&unpacked)?;

    // Two at once: one makes it, and of the other nothing is left.
    let (one, other) = tokio::join!(
        publisher.upload(&archive, Some(&signature)),
        publisher.upload(&archive, Some(&signature))
    );
    let (one, other) = (one?, other?);
    let mut codes = [one.0.as_u16(), other.0.as_u16()];
    codes.sort_unstable();
    assert_eq!(codes, [200, 201], "{} {}", one.1, other.1);
    let files = s3.files()?;
    assert_eq!(files.len(), 4, "{files:?}");
    assert!(files.contains(&"bundle.json".to_owned()), "{files:?}");

    let workspace = world.user("bob").await?.tenant("globex-s3").await?;
    workspace.install("x", "com.example.s3", json!({})).await?;
    workspace.installed("x").await?;

    // Without S3 nothing is published, and that is said; with it again all goes on.
    s3.stop()?;
    let (status, body) = publisher.publish("com.example.s3", "1.1.0", "two").await?;
    assert_eq!((status.as_u16(), &body["code"]), (503, &json!("StoreUnavailable")), "{body}");
    let operations = world.stack.ops_url(Part::Registry);
    until("the registry says what it waits for", || async {
        let text = world.runner()?.said(&format!("{operations}/readyz")).await?;
        Ok(text.contains("the content store").then_some(()))
    })
    .await?;
    s3.start().await?;
    let (status, body) = publisher.publish("com.example.s3", "1.1.0", "two").await?;
    assert_eq!(status.as_u16(), 201, "{body}");
    workspace.installs().delete("x", &Default::default()).await?;
    Ok(())
}
