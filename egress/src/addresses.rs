//! From a host to the addresses that may be connected to.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use annex_core::AddressPolicy;
use annex_engine::EgressError;

use crate::destination::Destination;
use crate::host::Host;
use crate::resolver::Resolver;
use crate::slots::Slot;

/// The most addresses that are tried. A name that has more is tried at its first ones.
const MAX_TRIED: usize = 4;
/// The most addresses of a name. With more it is a mistake, or somebody's try at our memory.
const MAX_ADDRESSES: usize = 64;

/// Looks the host up, once, and judges every address.
///
/// The slot is held until the look-up has ended, even if nobody waits for it any more: a system's resolver cannot be interrupted.
pub(crate) async fn find(
    destination: &Destination,
    resolver: &Arc<dyn Resolver>,
    policy: &AddressPolicy,
    slot: &Arc<Slot>,
) -> Result<Vec<SocketAddr>, EgressError> {
    let found = match destination.host() {
        Host::Address(address) => vec![*address],
        Host::Name(name) => {
            let (name, resolver, slot) = (name.clone(), Arc::clone(resolver), Arc::clone(slot));
            let lookup = tokio::spawn(async move {
                let found = resolver.addresses(&name).await;
                drop(slot);
                found
            });
            lookup.await.ok().and_then(Result::ok).ok_or(EgressError::NameUnknown)?
        }
    };
    vet(&found, destination.port(), policy)
}

/// The addresses, if every one of them may be connected to. A name with one that may not be is refused whole: whoever puts a private
/// address beside a public one is after the one that a careless client takes.
fn vet(found: &[IpAddr], port: u16, policy: &AddressPolicy) -> Result<Vec<SocketAddr>, EgressError> {
    if found.is_empty() || found.len() > MAX_ADDRESSES {
        return Err(EgressError::NameUnknown);
    }
    let mut vetted: Vec<SocketAddr> = Vec::new();
    for address in found {
        policy.check(*address).map_err(|_| EgressError::AddressDenied)?;
        // The form that was judged is the form that is connected to. Flow and scope, which a resolver may add, are gone.
        let address = SocketAddr::new(address.to_canonical(), port);
        if !vetted.contains(&address) {
            vetted.push(address);
        }
    }
    vetted.truncate(MAX_TRIED);
    Ok(vetted)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn judge(found: &[&str], blocked: &[&str]) -> Result<Vec<String>, EgressError> {
        let found: Vec<IpAddr> = found.iter().map(|text| text.parse().unwrap()).collect();
        let policy = AddressPolicy::default().without(blocked.iter().map(|text| text.parse().unwrap()));
        vet(&found, 443, &policy).map(|vetted| vetted.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn a_name_with_one_address_that_is_not_public_is_refused_whole() {
        for bad in [
            "10.0.0.1",
            "127.0.0.1",
            "0.0.0.0",
            "169.254.169.254",
            "100.64.0.1",
            "198.18.0.1",
            "192.0.2.1",
            "224.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "fd00:ec2::254",
            "fe80::1",
            "fec0::1",
            "fc00::1",
            "ff02::1",
            "2001:db8::1",
            "::ffff:10.0.0.1",
            "::ffff:169.254.169.254",
            "::10.0.0.1",
            "64:ff9b::10.0.0.1",
            "64:ff9b:1::10.0.0.1",
            "2002:a00:1::1",
            "2001:0:a00:1::",
        ] {
            assert_eq!(judge(&["8.8.8.8", bad], &[]), Err(EgressError::AddressDenied), "{bad}");
            assert_eq!(judge(&[bad, "8.8.8.8"], &[]), Err(EgressError::AddressDenied), "{bad}");
        }
    }

    #[test]
    fn the_operators_own_networks_are_refused() {
        assert_eq!(judge(&["52.1.2.3"], &["52.1.0.0/16"]), Err(EgressError::AddressDenied));
        assert_eq!(judge(&["64:ff9b::52.1.2.3"], &["52.1.0.0/16"]), Err(EgressError::AddressDenied));
        assert_eq!(judge(&["52.2.2.3"], &["52.1.0.0/16"]).unwrap(), ["52.2.2.3:443"]);
    }

    #[test]
    fn what_is_judged_is_what_is_connected_to() {
        assert_eq!(judge(&["::ffff:8.8.8.8", "8.8.8.8"], &[]).unwrap(), ["8.8.8.8:443"]);
        let many = ["8.8.8.1", "8.8.8.2", "8.8.8.3", "8.8.8.4", "8.8.8.5"];
        assert_eq!(judge(&many, &[]).unwrap().len(), MAX_TRIED);
        assert_eq!(judge(&[], &[]), Err(EgressError::NameUnknown));
        assert_eq!(judge(&["8.8.8.8"; MAX_ADDRESSES + 1], &[]), Err(EgressError::NameUnknown));
    }

    #[test]
    fn the_addresses_that_are_not_tried_are_judged_too() {
        let many = ["8.8.8.1", "8.8.8.2", "8.8.8.3", "8.8.8.4", "8.8.8.5", "10.0.0.1"];
        assert_eq!(judge(&many, &[]), Err(EgressError::AddressDenied));
    }

    proptest! {
        #[test]
        fn whatever_is_let_through_passes_the_policy(bits in proptest::collection::vec(any::<(bool, u128)>(), 1..6)) {
            let found: Vec<IpAddr> = bits
                .into_iter()
                .map(|(v6, bits)| {
                    if v6 { IpAddr::from(bits.to_be_bytes()) } else { IpAddr::from((bits as u32).to_be_bytes()) }
                })
                .collect();
            let policy = AddressPolicy::default();
            let every = found.iter().all(|address| policy.check(*address).is_ok());
            match vet(&found, 1, &policy) {
                Ok(vetted) => {
                    prop_assert!(every);
                    prop_assert!(vetted.iter().all(|address| found.contains(&address.ip())));
                }
                Err(error) => prop_assert!(!every && error == EgressError::AddressDenied),
            }
        }
    }
}
