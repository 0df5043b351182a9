//! What the operator sets about executing.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use annex_core::IpNet;
use annex_egress::OperatorList;
use annex_grant::{Audience, KeyRing};
use annex_storage::StoreUrl;
use clap::Args;
use reqwest::Url;

/// How calls are executed. Without keys nothing is.
#[derive(Debug, Clone, Args)]
pub struct ExecuteArgs {
    /// By what the gateway's grants are verified: a folder with a file for each key, called by the key's id, as a mounted Secret has
    /// them. Read again when it changes. Without keys, and without a trust bundle, nothing is executed.
    #[arg(long, env = "EXT_GRANT_KEYS_DIR", value_name = "FOLDER")]
    pub grant_keys_dir: Option<PathBuf>,

    /// The same, as text, for a pod that has nothing mounted: ID=KEY, with white space between several.
    // Not shown in --help: its value would be.
    #[arg(
        long,
        env = "EXT_GRANT_KEYS",
        hide_env_values = true,
        value_name = "KEYS",
        conflicts_with = "grant_keys_dir"
    )]
    pub grant_keys: Option<GrantKeys>,

    /// Who this runner is to the gateway: only grants for it are accepted.
    #[arg(long, env = "RUNNER_AUDIENCE", default_value = "direct", value_name = "NAME")]
    pub audience: Audience,

    /// Where the extensions' storage is: `sqlite:///absolute/path`, or `postgres://…`. Absent: the gateway's broker stores for the call's
    /// grant, and without one what an extension reads or writes is unavailable.
    #[arg(long, env = "EXT_STORAGE_URL", hide_env_values = true, value_name = "URL")]
    pub storage_url: Option<StoreUrl>,

    /// The hosts that extensions may reach, as far as their manifests ask for them. Empty: none.
    #[arg(long, env = "EXT_EGRESS_ALLOWLIST", default_value = "", value_name = "HOSTS")]
    pub egress_allowlist: OperatorList,

    /// Networks that they do not reach though they are public, such as the cluster's own.
    #[arg(long, env = "EXT_EGRESS_BLOCKED", value_delimiter = ',', value_name = "NETWORKS")]
    pub egress_blocked: Vec<IpNet>,

    /// Where the gateway's broker gives secrets, and stores where there is no --storage-url, for the call's grant. Absent: no secrets are
    /// given.
    #[arg(long, env = "EXT_BROKER_URL", value_name = "URL")]
    pub broker_url: Option<Url>,

    /// The PEM certificates that an https broker is checked by, and no others. Absent: the system's.
    #[arg(long, env = "EXT_BROKER_CA_FILE", value_name = "FILE", requires = "broker_url")]
    pub broker_ca_file: Option<PathBuf>,

    /// The same, as text: for a pod that has nothing mounted. Without a broker it says nothing.
    // PEM begins with hyphens, which a value otherwise must not.
    #[arg(
        long,
        env = "EXT_BROKER_CA",
        value_name = "PEM",
        conflicts_with = "broker_ca_file",
        allow_hyphen_values = true
    )]
    pub broker_ca: Option<String>,

    /// The folder for compiled code, for this runner alone. Absent: `code` beside the folder for bundles.
    #[arg(long, env = "EXT_CODE_CACHE_DIR", value_name = "FOLDER")]
    pub code_cache_dir: Option<PathBuf>,

    /// How many bytes of compiled code stay there; what was not used for the longest goes first.
    #[arg(
        long,
        env = "EXT_CODE_CACHE_MAX_BYTES",
        default_value_t = 1 << 30,
        value_name = "BYTES",
        value_parser = clap::value_parser!(u64).range(1..)
    )]
    pub code_cache_max_bytes: u64,

    /// The program that compiles, called with `compile`. Absent: this one.
    #[arg(long, hide = true, value_name = "FILE")]
    pub compiler: Option<PathBuf>,

    /// Calls at one time, over all tenants. One tenant has a quarter of them at the most, one install an eighth.
    #[arg(
        long,
        env = "EXT_CONCURRENCY",
        default_value_t = 256,
        value_name = "CALLS",
        value_parser = clap::value_parser!(u32).range(8..=4096)
    )]
    pub concurrency: u32,

    /// The most memory that a call may have, in MiB. Its extension's and tenant's limits may be lower.
    #[arg(
        long,
        env = "EXT_MEMORY_MAX_MIB",
        default_value_t = 256,
        value_name = "MIB",
        value_parser = clap::value_parser!(u32).range(1..=4096)
    )]
    pub memory_max_mib: u32,

    /// Counts what guests execute, so that limits of fuel can be given. Slower by a tenth to a half.
    #[arg(long, env = "EXT_FUEL", default_value_t = false, action = clap::ArgAction::Set, value_name = "true|false")]
    pub fuel: bool,
}

impl ExecuteArgs {
    /// Whether there are keys.
    pub fn has_keys(&self) -> bool {
        self.grant_keys_dir.is_some() || self.grant_keys.is_some()
    }
}

/// Keys as text. Never shown.
#[derive(Clone)]
pub struct GrantKeys(pub(super) Vec<(String, Vec<u8>)>);

impl FromStr for GrantKeys {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let pair = |word: &str| {
            let (id, key) = word.split_once('=').ok_or("a key is ID=KEY")?;
            Ok((id.to_owned(), key.as_bytes().to_vec()))
        };
        let files = text.split_whitespace().map(pair).collect::<Result<Vec<_>, &str>>()?;
        // Checked here, so that it is a flag that is wrong, and not a runner that does not start.
        KeyRing::parse(&files).map_err(|error| error.to_string())?;
        Ok(Self(files))
    }
}

impl fmt::Debug for GrantKeys {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} grant keys", self.0.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_read_and_never_shown() {
        let key = "x".repeat(40);
        let keys: GrantKeys = format!("k1={key}\nk2={key}").parse().unwrap();
        assert_eq!(format!("{keys:?}"), "2 grant keys");
        for wrong in ["", "k1", "k1=short", &format!("k 1={key}")] {
            let error = wrong.parse::<GrantKeys>().unwrap_err();
            assert!(!error.contains("short") && !error.contains(&key), "{error}");
        }
    }
}
