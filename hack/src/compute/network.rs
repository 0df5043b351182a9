//! The cluster's own network: a network namespace, and a pair of addresses that connects it with this machine.
//!
//! Everything of the node runs inside: its routes, the chains of kube-proxy and the pods' addresses meet nobody else's, and
//! are gone with the namespace. So two checkouts, or a machine with a cluster of its own, do not disturb one another.

use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::command::{run, run_quietly};
use crate::private_file;
use crate::process::hex;

/// Where pairs of addresses are looked for: the second and third are for machines whose private network has the first.
const RANGES: [Block; 3] = [
    Block { base: Ipv4Addr::new(10, 89, 0, 0), prefix: 16 },
    Block { base: Ipv4Addr::new(172, 30, 0, 0), prefix: 16 },
    Block { base: Ipv4Addr::new(192, 168, 240, 0), prefix: 20 },
];
/// Four addresses: the network's, this machine's, the node's, broadcast.
const PAIR: u32 = 4;
const PAIR_PREFIX: u8 = 30;

/// The name of everything that this state directory has on the machine.
pub(crate) fn name(state_dir: &Path) -> String {
    let digest: String =
        hex(&Sha256::digest(state_dir.as_os_str().as_encoded_bytes())).chars().take(8).collect();
    format!("annex-{digest}")
}

/// The addresses of a cluster, recorded because its certificates and its data name them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Network {
    pub(crate) name: String,
    /// This machine, as pods see it.
    pub(crate) host: Ipv4Addr,
    /// The node, as this machine sees it.
    pub(crate) node: Ipv4Addr,
}

impl Network {
    /// The recorded network of this name, or one whose addresses nobody on this machine uses. Makes nothing yet.
    pub(crate) fn choose(name: &str, record: &Path) -> Result<Self> {
        let recorded = Self::load(record)?.filter(|network| network.name == name);
        if let Some(network) = &recorded
            && network.exists()
        {
            return Ok(network.clone());
        }
        let used = used_blocks(&run("ip", &["-json", "-4", "route", "show", "table", "all"])?)?;
        if let Some(network) = recorded.filter(|network| is_free(u32::from(network.host) - 1, &used)) {
            return Ok(network);
        }
        let Some((host, node)) = free_pair(name, &used) else {
            bail!(
                "this machine has routes for every address that the cluster could have: 10.89.0.0/16, 172.30.0.0/16 and 192.168.240.0/20"
            );
        };
        let network = Self { name: name.to_owned(), host, node };
        let text = serde_json::to_vec_pretty(&network).context("cannot render JSON")?;
        private_file::write(record, &text)?;
        Ok(network)
    }

    pub(crate) fn load(record: &Path) -> Result<Option<Self>> {
        match fs::read(record) {
            Ok(text) => serde_json::from_slice(&text)
                .map(Some)
                .with_context(|| format!("{} is damaged: remove it", record.display())),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).with_context(|| format!("cannot read {}", record.display())),
        }
    }

    /// The file by which processes enter.
    pub(crate) fn namespace(&self) -> PathBuf {
        namespace(&self.name)
    }

    fn exists(&self) -> bool {
        self.namespace().exists()
    }

    /// Whether namespace, link and addresses are all as [`Network::create`] makes them.
    pub(crate) fn is_whole(&self) -> bool {
        let has = |output: Result<String>, address: Ipv4Addr| {
            output.is_ok_and(|text| text.contains(&format!("inet {address}/{PAIR_PREFIX} ")))
        };
        self.exists()
            && has(run("ip", &["-4", "addr", "show", "dev", &self.name, "up"]), self.host)
            && has(run("ip", &["-n", &self.name, "-4", "addr", "show", "dev", "eth0", "up"]), self.node)
    }

    /// Makes it anew; nothing of it may be there.
    pub(crate) fn create(&self) -> Result<()> {
        let (host, node) = (format!("{}/{PAIR_PREFIX}", self.host), format!("{}/{PAIR_PREFIX}", self.node));
        let (name, gateway) = (self.name.as_str(), self.host.to_string());
        run("ip", &["netns", "add", name])?;
        run("ip", &["link", "add", name, "type", "veth", "peer", "name", "eth0", "netns", name])?;
        run("ip", &["addr", "add", &host, "dev", name])?;
        run("ip", &["link", "set", name, "up"])?;
        run("ip", &["-n", name, "link", "set", "lo", "up"])?;
        run("ip", &["-n", name, "addr", "add", &node, "dev", "eth0"])?;
        run("ip", &["-n", name, "link", "set", "eth0", "up"])?;
        // Whatever leaves the cluster comes to this machine, which answers for its own addresses and forwards nothing.
        run("ip", &["-n", name, "route", "add", "default", "via", &gateway])?;
        let enter = format!("--net={}", self.namespace().display());
        run("nsenter", &[&enter, "sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward"]).map(drop)
    }
}

/// The file that stands for a network namespace.
pub(crate) fn namespace(name: &str) -> PathBuf {
    Path::new("/run/netns").join(name)
}

/// Removes namespace and link, as far as they are there.
pub(crate) fn remove(name: &str) -> Result<()> {
    // Once the link is gone on one side it is on the other, some time after the namespace.
    run_quietly("ip", &["link", "delete", name]);
    if namespace(name).exists() {
        run("ip", &["netns", "delete", name])?;
    }
    Ok(())
}

/// Some of the addresses, as routes name them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Block {
    base: Ipv4Addr,
    prefix: u8,
}

impl Block {
    fn size(self) -> u32 {
        1_u32.checked_shl(32 - u32::from(self.prefix)).unwrap_or(u32::MAX)
    }

    fn overlaps(self, first: u32, size: u32) -> bool {
        let base = u32::from(self.base);
        let last = base.saturating_add(self.size() - 1);
        first <= last && base <= first.saturating_add(size - 1)
    }

    /// `10.0.0.0/8`, `10.1.2.3`; nothing for `default`.
    fn parse(text: &str) -> Option<Self> {
        let (base, prefix) = text.split_once('/').unwrap_or((text, "32"));
        let prefix = prefix.parse().ok().filter(|prefix| (1..=32).contains(prefix))?;
        Some(Self { base: base.parse().ok()?, prefix })
    }
}

fn used_blocks(routes: &str) -> Result<Vec<Block>> {
    let routes: Vec<Value> = serde_json::from_str(routes).context("`ip -json route` prints no JSON")?;
    Ok(routes.iter().filter_map(|route| Block::parse(route.get("dst")?.as_str()?)).collect())
}

fn is_free(first: u32, used: &[Block]) -> bool {
    !used.iter().any(|block| block.overlaps(first, PAIR))
}

/// This machine's and the node's address. Begins at a place of the name's own, so that two that choose at the same moment
/// hardly meet.
fn free_pair(name: &str, used: &[Block]) -> Option<(Ipv4Addr, Ipv4Addr)> {
    let digest = Sha256::digest(name);
    let start = digest.iter().take(4).fold(0_u32, |sum, byte| sum << 8 | u32::from(*byte));
    RANGES.iter().find_map(|range| {
        let pairs = range.size() / PAIR;
        let nth = |step: u32| u32::from(range.base) + (start % pairs + step) % pairs * PAIR;
        let first = (0..pairs).map(nth).find(|first| is_free(*first, used))?;
        Some((Ipv4Addr::from(first + 1), Ipv4Addr::from(first + 2)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blocks(list: &[&str]) -> Vec<Block> {
        list.iter().map(|text| Block::parse(text).unwrap()).collect()
    }

    #[test]
    fn an_interfaces_name_fits() {
        let name = name(Path::new("/a/very/long/folder/of/somebody/in/which/the/checkout/is/.annex"));
        assert!(name.len() <= 15 && name.starts_with("annex-"), "{name}");
        assert_ne!(name, super::name(Path::new("/b")));
    }

    #[test]
    fn two_environments_take_different_addresses() {
        let (first, second) = (free_pair("annex-1", &[]).unwrap(), free_pair("annex-2", &[]).unwrap());
        assert_ne!(first, second);
        assert_eq!(free_pair("annex-1", &[]).unwrap(), first);
        assert_eq!(u32::from(first.1), u32::from(first.0) + 1);
        assert_eq!(u32::from(first.0) % PAIR, 1);
    }

    #[test]
    fn addresses_in_use_are_avoided() {
        let (host, node) = free_pair("annex-1", &[]).unwrap();
        let next = free_pair("annex-1", &blocks(&[&format!("{node}/32")])).unwrap();
        assert_ne!(next.0, host);
        assert_eq!(next.0.octets().get(..2), Some([10, 89].as_slice()));
        let elsewhere = free_pair("annex-1", &blocks(&["10.0.0.0/8"])).unwrap();
        assert_eq!(elsewhere.0.octets().get(..2), Some([172, 30].as_slice()));
        assert_eq!(free_pair("annex-1", &blocks(&["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"])), None);
    }

    #[test]
    fn reads_what_ip_prints() {
        let routes = r#"[{"dst":"default","gateway":"192.0.2.1"},{"dst":"192.0.2.0/24"},{"type":"local","dst":"192.0.2.2"}]"#;
        assert_eq!(used_blocks(routes).unwrap(), blocks(&["192.0.2.0/24", "192.0.2.2"]));
        assert!(used_blocks("not json").is_err());
    }
}
