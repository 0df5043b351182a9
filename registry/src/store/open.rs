//! Which store.

use std::{fmt, path::PathBuf, sync::Arc, time::Duration};

use anyhow::{Context as _, bail};
use object_store::{
    ClientOptions, RetryConfig, aws::AmazonS3Builder, local::LocalFileSystem, prefix::PrefixStore,
};

use super::BundleStore;

/// Where bundles are kept, as command line arguments.
#[derive(clap::Args, Clone, Debug)]
pub struct StoreArgs {
    /// A folder, made if it is missing, or s3://BUCKET[/PREFIX].
    #[arg(long = "bundle-store", env = "BUNDLE_STORE_BASE", value_name = "FOLDER or URL")]
    pub base: String,
    /// How S3 is reached.
    #[command(flatten)]
    pub s3: S3Args,
}

/// How S3 is reached. Absent: as Amazon's own tools find it. The key is in the variables S3_ACCESS_KEY and S3_SECRET_KEY.
#[derive(clap::Args, Clone, Default)]
pub struct S3Args {
    /// Another S3 than Amazon's: its scheme, host and port.
    #[arg(long = "s3-endpoint", env = "S3_ENDPOINT", value_name = "URL")]
    endpoint: Option<String>,
    /// The region of the bucket.
    #[arg(long = "s3-region", env = "S3_REGION")]
    region: Option<String>,
}

/// The key of S3, which is no argument: command lines are seen by every user of a machine.
const ACCESS_KEY: &str = "S3_ACCESS_KEY";
const SECRET_KEY: &str = "S3_SECRET_KEY";

/// How long one request to S3 may take: a runner that reads a bundle slowly is not to be cut off.
const REQUEST: Duration = Duration::from_secs(900);
/// How long S3 is tried again: publishers and runners wait meanwhile, and can try again themselves.
const RETRY: Duration = Duration::from_secs(10);

impl fmt::Debug for S3Args {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("S3Args").field("endpoint", &self.endpoint).finish_non_exhaustive()
    }
}

impl StoreArgs {
    /// Opens the store. A folder is made; S3 is not asked yet.
    ///
    /// # Errors
    /// The folder cannot be made, or the URL is none of a store.
    pub fn open(&self) -> anyhow::Result<BundleStore> {
        match self.base.split_once("://") {
            None => BundleStore::in_folder(self.base.clone().into()),
            Some(("s3", rest)) => self.s3.open(rest),
            Some((scheme, _)) => bail!(
                "--bundle-store: {scheme}:// is no store that is known; it is a folder or s3://BUCKET/PREFIX"
            ),
        }
    }
}

impl BundleStore {
    /// Keeps bundles in a folder, which is made. What is written is on the disk before it counts.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn in_folder(folder: PathBuf) -> anyhow::Result<Self> {
        let failed = || format!("--bundle-store {} cannot be used", folder.display());
        std::fs::create_dir_all(&folder).with_context(failed)?;
        let objects = LocalFileSystem::new_with_prefix(&folder).with_context(failed)?.with_fsync(true);
        Ok(Self { objects: Arc::new(objects), folder: Some(folder) })
    }
}

impl S3Args {
    fn open(&self, place: &str) -> anyhow::Result<BundleStore> {
        let (bucket, prefix) = place.split_once('/').unwrap_or((place, ""));
        // What is not given here Amazon's own variables may say (AWS_…), or the machine's identity.
        let mut builder = AmazonS3Builder::from_env()
            .with_bucket_name(bucket)
            .with_client_options(ClientOptions::new().with_timeout(REQUEST))
            .with_retry(RetryConfig { max_retries: 4, retry_timeout: RETRY, ..RetryConfig::default() });
        if let Some(endpoint) = &self.endpoint {
            builder = builder.with_endpoint(endpoint).with_allow_http(endpoint.starts_with("http://"));
        }
        if let Some(region) = &self.region {
            builder = builder.with_region(region);
        }
        if let Ok(id) = std::env::var(ACCESS_KEY) {
            let secret = std::env::var(SECRET_KEY)
                .with_context(|| format!("{ACCESS_KEY} is given, {SECRET_KEY} is not"))?;
            builder = builder.with_access_key_id(id).with_secret_access_key(secret);
        }
        let store = builder.build().context("--bundle-store: S3 cannot be used")?;
        Ok(match prefix.trim_matches('/') {
            "" => BundleStore::over(Arc::new(store)),
            prefix => BundleStore::over(Arc::new(PrefixStore::new(store, prefix))),
        })
    }
}
