//! Which addresses may be connected to on somebody else's word.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

pub use ipnet::IpNet;

/// Says of an address whether Annex may connect to it when a tenant, or code of a tenant's extension, asks for it.
///
/// Without exceptions only public unicast addresses pass: whatever leads into the platform itself, to a machine's own services, or
/// to a cloud's metadata is refused. It judges addresses, never names: resolve a name once, judge every address, and connect to
/// one of those, because a second look-up may answer differently.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AddressPolicy {
    allowed: Vec<IpNet>,
    blocked: Vec<IpNet>,
}

/// Why an address may not be connected to. It names the kind of address only: the address itself may be news to who asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum ForbiddenAddress {
    /// `0.0.0.0/8`, `::`.
    #[error("an unspecified address")]
    Unspecified,
    /// `127.0.0.0/8`, `::1`.
    #[error("a loopback address")]
    Loopback,
    /// RFC 1918, unique local and site-local.
    #[error("a private address")]
    Private,
    /// `100.64.0.0/10`.
    #[error("an address shared behind a carrier's translation")]
    Shared,
    /// `169.254.0.0/16`, `fe80::/10`.
    #[error("a link-local address")]
    LinkLocal,
    /// Where a cloud answers its machines, with their credentials among other things.
    #[error("a cloud's metadata address")]
    Metadata,
    /// `224.0.0.0/4`, `ff00::/8`.
    #[error("a multicast address")]
    Multicast,
    /// Documentation and benchmarks.
    #[error("an address for documentation or benchmarks")]
    Documentation,
    /// A form that carries an IPv4 address through IPv6 and could lead anywhere.
    #[error("an address that embeds another")]
    Embedding,
    /// Everything else that is no public unicast address.
    #[error("a reserved address")]
    Reserved,
    /// Of a network that the operator blocks.
    #[error("an address that this platform's operator blocks")]
    Blocked,
}

impl AddressPolicy {
    /// A policy with these networks as exceptions: whatever is in one of them passes, loopback included. An IPv4 network covers
    /// the IPv4-mapped and NAT64 forms of its addresses too.
    #[must_use]
    pub fn new(allowed: Vec<IpNet>) -> Self {
        Self { allowed, blocked: Vec::new() }
    }

    /// The same policy without these networks, whatever else allows them: public ones that are the platform's own. An IPv4 network
    /// covers the IPv4-mapped and NAT64 forms of its addresses too.
    #[must_use]
    pub fn without(mut self, blocked: impl IntoIterator<Item = IpNet>) -> Self {
        self.blocked.extend(blocked);
        self
    }

    /// Judges one address.
    ///
    /// # Errors
    /// The address is no public one, and no exception covers it; or it is blocked.
    pub fn check(&self, address: IpAddr) -> Result<(), ForbiddenAddress> {
        let address = address.to_canonical();
        if self.blocked.iter().any(|network| network.contains(&address)) {
            return Err(ForbiddenAddress::Blocked);
        }
        if self.allowed.iter().any(|network| network.contains(&address)) {
            return Ok(());
        }
        match address {
            IpAddr::V4(address) => forbidden_v4(address).map_or(Ok(()), Err),
            IpAddr::V6(address) => match translated(address) {
                // Where only IPv6 is spoken, a public IPv4 server is reached in this form.
                Some(embedded) => self.check(IpAddr::V4(embedded)),
                None => forbidden_v6(address).map_or(Ok(()), Err),
            },
        }
    }
}

/// The IPv4 address that a NAT64 gateway with the well-known prefix `64:ff9b::/96` connects to.
fn translated(address: Ipv6Addr) -> Option<Ipv4Addr> {
    match address.segments() {
        [0x64, 0xff9b, 0, 0, 0, 0, ..] => {
            let [.., a, b, c, d] = address.octets();
            Some(Ipv4Addr::new(a, b, c, d))
        }
        _ => None,
    }
}

fn forbidden_v4(address: Ipv4Addr) -> Option<ForbiddenAddress> {
    use ForbiddenAddress as Is;
    match address.octets() {
        // Two clouds' metadata outside of the link-local range: one in public space, one among the protocol assignments.
        [169, 254, 169, 254] | [168, 63, 129, 16] | [100, 100, 100, 200] | [192, 0, 0, 192] => {
            Some(Is::Metadata)
        }
        [0, ..] => Some(Is::Unspecified),
        [127, ..] => Some(Is::Loopback),
        [10, ..] | [172, 16..=31, ..] | [192, 168, ..] => Some(Is::Private),
        [100, 64..=127, ..] => Some(Is::Shared),
        [169, 254, ..] => Some(Is::LinkLocal),
        [192, 0, 2, _] | [198, 51, 100, _] | [203, 0, 113, _] | [198, 18..=19, ..] => Some(Is::Documentation),
        [192, 0, 0, _] => Some(Is::Reserved),
        // Relays of 6to4, withdrawn.
        [192, 88, 99, _] => Some(Is::Embedding),
        [224..=239, ..] => Some(Is::Multicast),
        [240..=255, ..] => Some(Is::Reserved),
        _ => None,
    }
}

fn forbidden_v6(address: Ipv6Addr) -> Option<ForbiddenAddress> {
    use ForbiddenAddress as Is;
    match address.segments() {
        [0, 0, 0, 0, 0, 0, 0, 0] => Some(Is::Unspecified),
        [0, 0, 0, 0, 0, 0, 0, 1] => Some(Is::Loopback),
        [0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254] | [0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254] => Some(Is::Metadata),
        // IPv4-compatible, IPv4-translated, local NAT64, 6to4 and Teredo.
        [0, 0, 0, 0, 0, 0, ..]
        | [0, 0, 0, 0, 0xffff, 0, ..]
        | [0x64, 0xff9b, 1, ..]
        | [0x2002, ..]
        | [0x2001, 0, ..] => Some(Is::Embedding),
        [0x2001, 0xdb8, ..] | [0x3fff, 0..=0xfff, ..] | [0x2001, 2, 0, ..] => Some(Is::Documentation),
        // Protocol assignments, ORCHID among them.
        [0x2001, 0..=0x1ff, ..] => Some(Is::Reserved),
        [0xfc00..=0xfdff, ..] | [0xfec0..=0xfeff, ..] => Some(Is::Private),
        [0xfe80..=0xfebf, ..] => Some(Is::LinkLocal),
        [0xff00..=0xffff, ..] => Some(Is::Multicast),
        // All public unicast addresses that were ever given out.
        [0x2000..=0x3fff, ..] => None,
        _ => Some(Is::Reserved),
    }
}

#[cfg(test)]
mod tests {
    use ForbiddenAddress as Is;
    use proptest::prelude::*;

    use super::*;

    fn check(policy: &AddressPolicy, address: &str) -> Result<(), ForbiddenAddress> {
        policy.check(address.parse().unwrap())
    }

    fn allowing(networks: &[&str]) -> AddressPolicy {
        AddressPolicy::new(networks.iter().map(|network| network.parse().unwrap()).collect())
    }

    #[test]
    fn only_public_unicast_passes() {
        let table = [
            (Is::Unspecified, &["0.0.0.0", "0.1.2.3", "::"][..]),
            (Is::Loopback, &["127.0.0.1", "127.255.0.9", "::1", "::ffff:127.0.0.1"]),
            (
                Is::Private,
                &[
                    "10.0.0.1",
                    "172.16.0.1",
                    "172.31.255.255",
                    "192.168.1.1",
                    "::ffff:10.1.2.3",
                    "fc00::1",
                    "fd12:3456::1",
                    "fec0::1",
                ],
            ),
            (Is::Shared, &["100.64.0.1", "100.127.255.255", "64:ff9b::100.64.0.1"]),
            (Is::LinkLocal, &["169.254.1.1", "fe80::1", "febf::1", "::ffff:169.254.1.1"]),
            (
                Is::Metadata,
                &[
                    "169.254.169.254",
                    "::ffff:169.254.169.254",
                    "64:ff9b::169.254.169.254",
                    "168.63.129.16",
                    "100.100.100.200",
                    "192.0.0.192",
                    "fd00:ec2::254",
                ],
            ),
            (Is::Multicast, &["224.0.0.1", "239.255.255.255", "ff02::1"]),
            (
                Is::Documentation,
                &[
                    "192.0.2.1",
                    "198.51.100.1",
                    "203.0.113.1",
                    "198.18.0.1",
                    "198.19.255.255",
                    "2001:db8::1",
                    "3fff::1",
                ],
            ),
            (
                Is::Embedding,
                &[
                    "::10.0.0.1",
                    "::8.8.8.8",
                    "::ffff:0:127.0.0.1",
                    "64:ff9b:1::a00:1",
                    "2002:7f00:1::",
                    "2001:0:7f00:1::",
                    "192.88.99.1",
                ],
            ),
            (
                Is::Reserved,
                &["192.0.0.1", "240.0.0.1", "255.255.255.255", "100::1", "2001:10::1", "5f00::1", "4000::1"],
            ),
        ];
        let policy = AddressPolicy::default();
        for (kind, addresses) in table {
            for address in addresses {
                assert_eq!(check(&policy, address), Err(kind), "{address}");
            }
        }
        for public in [
            "8.8.8.8",
            "1.1.1.1",
            "100.63.255.255",
            "100.128.0.1",
            "172.32.0.1",
            "192.0.1.1",
            "::ffff:8.8.8.8",
            "64:ff9b::8.8.8.8",
            "2606:4700::1111",
            "2a00:1450:4001::1",
            "2001:200::1",
        ] {
            assert_eq!(check(&policy, public), Ok(()), "{public}");
        }
    }

    #[test]
    fn an_exception_opens_its_network_in_each_form_and_no_other() {
        let policy = allowing(&["10.1.0.0/16", "fd12::/32", "127.0.0.1/32"]);
        for open in ["10.1.2.3", "::ffff:10.1.2.3", "64:ff9b::10.1.2.3", "fd12::5", "127.0.0.1"] {
            assert_eq!(check(&policy, open), Ok(()), "{open}");
        }
        assert_eq!(check(&policy, "10.2.0.1"), Err(Is::Private));
        assert_eq!(check(&policy, "127.0.0.2"), Err(Is::Loopback));
        assert_eq!(check(&policy, "fd13::5"), Err(Is::Private));
        assert_eq!(check(&policy, "::10.1.2.3"), Err(Is::Embedding));
    }

    #[test]
    fn a_blocked_network_is_blocked_in_each_form_whatever_allows_it() {
        let block = |policy: AddressPolicy| {
            policy.without(["52.1.0.0/16", "10.1.0.0/16", "2a00:1450::/32"].map(|net| net.parse().unwrap()))
        };
        let policy = block(allowing(&["10.0.0.0/8"]));
        for blocked in ["52.1.2.3", "::ffff:52.1.2.3", "64:ff9b::52.1.2.3", "10.1.2.3", "2a00:1450:4001::1"] {
            assert_eq!(check(&policy, blocked), Err(Is::Blocked), "{blocked}");
        }
        for open in ["52.2.0.1", "10.2.0.1", "2a00:1451::1"] {
            assert_eq!(check(&policy, open), Ok(()), "{open}");
        }
    }

    #[test]
    fn what_is_refused_is_not_repeated() {
        let refused = check(&AddressPolicy::default(), "10.9.8.7").unwrap_err();
        assert_eq!(refused.to_string(), "a private address");
    }

    proptest! {
        #[test]
        fn the_mapped_and_translated_forms_are_judged_as_the_address_itself(bits in any::<u32>()) {
            let policy = allowing(&["10.0.0.0/8"]);
            let plain = Ipv4Addr::from_bits(bits);
            let [a, b] = [(bits >> 16) as u16, (bits & 0xffff) as u16];
            let verdict = policy.check(plain.into());
            prop_assert_eq!(policy.check(plain.to_ipv6_mapped().into()), verdict);
            prop_assert_eq!(policy.check(Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, a, b).into()), verdict);
        }

        #[test]
        fn what_the_standard_library_knows_to_be_internal_never_passes(bits in any::<u32>()) {
            let address = Ipv4Addr::from_bits(bits);
            let internal = address.is_private() || address.is_loopback() || address.is_link_local()
                || address.is_multicast() || address.is_broadcast() || address.is_unspecified()
                || address.is_documentation();
            prop_assert!(!internal || AddressPolicy::default().check(address.into()).is_err());
        }
    }
}
