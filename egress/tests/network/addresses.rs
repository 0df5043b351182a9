//! Names that lead where nobody may go.

use std::time::Duration;

use annex_egress::EgressLimits;
use annex_engine::EgressError;
use http::StatusCode;

use crate::namespace::{METADATA, METADATA_V6, OTHER_PUBLIC, PRIVATE, PUBLIC, PUBLIC_V6, SILENT, inside};
use crate::server::{HELLO, Server, answers};
use crate::world::{HONEST, World, limits};

const NAME: &str = "attack.example.com";
const URI: &str = "https://attack.example.com:8443/";

/// A name that leads to these addresses at once is refused, and the server there, which could be reached, sees nobody.
async fn is_refused(address: &str, listens: &str) {
    let world = World::new().await;
    let tls = Some(world.authority.server(&[NAME]));
    let mut server = Server::start(listens, 8443, tls, answers(HELLO)).await;
    world.names.leads(NAME, &[&[address]]);
    assert_eq!(world.get(URI).await.unwrap_err(), EgressError::AddressDenied, "{address}");
    assert_eq!(server.connections().await, 0, "{address}");
    assert_eq!(world.metrics.requests("address_denied"), 1);
    world.is_unharmed().await;
}

#[test]
fn a_private_address_is_refused() {
    inside(|| is_refused(PRIVATE, PRIVATE));
}

#[test]
fn a_metadata_address_is_refused() {
    inside(|| is_refused(METADATA, METADATA));
    inside(|| is_refused(METADATA_V6, METADATA_V6));
}

#[test]
fn this_machine_itself_is_refused() {
    inside(|| is_refused("127.0.0.1", "127.0.0.1"));
    inside(|| is_refused("::1", "::1"));
    inside(|| is_refused("0.0.0.0", "127.0.0.1"));
    inside(|| is_refused("::", "::1"));
}

#[test]
fn a_private_address_that_is_written_as_ipv6_is_refused() {
    inside(|| is_refused("::ffff:10.20.30.40", PRIVATE));
    inside(|| is_refused("::ffff:169.254.169.254", METADATA));
    inside(|| is_refused("64:ff9b::10.20.30.40", PRIVATE));
}

#[test]
fn the_operators_own_public_network_is_refused() {
    inside(|| async {
        let world = World::whose_operator_blocks(&["45.33.10.2/32"]).await;
        let mut server =
            Server::start(OTHER_PUBLIC, 8443, Some(world.authority.server(&[NAME])), answers(HELLO)).await;
        for address in [OTHER_PUBLIC, "::ffff:45.33.10.2"] {
            world.names.leads(NAME, &[&[address]]);
            assert_eq!(world.get(URI).await.unwrap_err(), EgressError::AddressDenied);
        }
        assert_eq!(server.connections().await, 0);
        world.is_unharmed().await;
    });
}

#[test]
fn a_public_address_is_connected_to() {
    for (address, listens) in
        [(OTHER_PUBLIC, OTHER_PUBLIC), (PUBLIC_V6, PUBLIC_V6), ("::ffff:45.33.10.2", OTHER_PUBLIC)]
    {
        inside(move || async move {
            let world = World::new().await;
            let tls = Some(world.authority.server(&[NAME]));
            let mut server = Server::start(listens, 8443, tls, answers(HELLO)).await;
            world.names.leads(NAME, &[&[address]]);
            assert_eq!(world.get(URI).await.unwrap().status, StatusCode::OK);
            assert_eq!(server.connections().await, 1);
        });
    }
}

#[test]
fn a_name_with_a_public_and_a_private_address_is_refused_whole() {
    inside(|| async {
        let world = World::new().await;
        let tls = || Some(world.authority.server(&[NAME]));
        let mut public = Server::start(OTHER_PUBLIC, 8443, tls(), answers(HELLO)).await;
        let mut private = Server::start(PRIVATE, 8443, tls(), answers(HELLO)).await;
        for addresses in [[OTHER_PUBLIC, PRIVATE], [PRIVATE, OTHER_PUBLIC]] {
            world.names.leads(NAME, &[&addresses]);
            assert_eq!(world.get(URI).await.unwrap_err(), EgressError::AddressDenied);
        }
        assert_eq!((public.connections().await, private.connections().await), (0, 0));
        world.is_unharmed().await;
    });
}

#[test]
fn a_name_that_changes_its_mind_is_asked_once_for_a_request() {
    inside(|| async {
        let world = World::new().await;
        let tls = || Some(world.authority.server(&[NAME]));
        let mut public = Server::start(OTHER_PUBLIC, 8443, tls(), answers(HELLO)).await;
        let mut private = Server::start(PRIVATE, 8443, tls(), answers(HELLO)).await;
        world.names.leads(NAME, &[&[OTHER_PUBLIC], &[PRIVATE]]);
        // Whoever looked up again after the judgement would be at the private address now.
        assert_eq!(world.get(URI).await.unwrap().body, "hello");
        assert_eq!(world.names.asked(NAME), 1);
        assert_eq!((public.connections().await, private.connections().await), (1, 0));
        // And the next request does not live on the first one's judgement.
        assert_eq!(world.get(URI).await.unwrap_err(), EgressError::AddressDenied);
        assert_eq!((public.connections().await, private.connections().await), (1, 0));
        world.is_unharmed().await;
    });
}

#[test]
fn a_redirect_is_the_guests_to_follow_and_vetted_anew() {
    inside(|| async {
        let world = World::new().await;
        let tls = |name| Some(world.authority.server(&[name]));
        let mut metadata = Server::start(METADATA, 8443, tls("metadata.example.com"), answers(HELLO)).await;
        let mut by_address = Server::start(METADATA, 80, None, answers(HELLO)).await;
        let to_name = "https://metadata.example.com:8443/latest";
        let to_address = "http://169.254.169.254/latest";
        world.names.leads("metadata.example.com", &[&[METADATA]]);
        world.names.leads(NAME, &[&[OTHER_PUBLIC]]);
        let redirect =
            |to: &str| format!("HTTP/1.1 302 Found\r\nlocation: {to}\r\ncontent-length: 0\r\n\r\n");
        let _first = Server::start(OTHER_PUBLIC, 8443, tls(NAME), answers(redirect(to_name))).await;
        let _second = Server::start(OTHER_PUBLIC, 443, tls(NAME), answers(redirect(to_address))).await;
        for (uri, to, error) in [
            (URI, to_name, EgressError::AddressDenied),
            ("https://attack.example.com/", to_address, EgressError::Denied),
        ] {
            let answer = world.get(uri).await.unwrap();
            assert_eq!(
                (answer.status, &answer.headers["location"]),
                (StatusCode::FOUND, &to.parse().unwrap())
            );
            assert_eq!(world.get(to).await.unwrap_err(), error);
        }
        assert_eq!((metadata.connections().await, by_address.connections().await), (0, 0));
        world.is_unharmed().await;
    });
}

#[test]
fn an_address_in_the_uri_is_refused_in_every_spelling() {
    inside(|| async {
        let world = World::whose_operator_allows("*.example.com, http://45.33.10.2").await;
        let mut private = Server::start(PRIVATE, 80, None, answers(HELLO)).await;
        for host in [
            "10.20.30.40",
            "10.20.30.40.",
            "169090600",
            "0x0a141e28",
            "0x0a.0x14.0x1e.0x28",
            "012.024.036.050",
            "10.20.7720",
            "[::ffff:10.20.30.40]",
            "[::ffff:0a14:1e28]",
            "[::10.20.30.40]",
            "[64:ff9b::10.20.30.40]",
        ] {
            assert_eq!(
                world.get(&format!("http://{host}/")).await.unwrap_err(),
                EgressError::Denied,
                "{host}"
            );
        }
        assert_eq!(private.connections().await, 0);
        world.is_unharmed().await;
    });
}

#[test]
fn a_public_address_that_both_lists_name_is_reached() {
    inside(|| async {
        let world = World::new().await;
        let mut server = Server::start(OTHER_PUBLIC, 80, None, answers(HELLO)).await;
        assert_eq!(world.get("http://45.33.10.2/").await.unwrap().body, "hello");
        assert!(server.head().await.contains("\r\nhost: 45.33.10.2\r\n"));
        assert_eq!(world.get("http://45.33.10.1/").await.unwrap_err(), EgressError::Denied);
        assert_eq!(world.names.asked(HONEST), 0);
    });
}

#[test]
fn an_address_that_does_not_answer_leaves_time_for_the_next() {
    inside(|| async {
        let limits = EgressLimits { connect: Duration::from_secs(4), ..limits() };
        let world = World::with(limits).await;
        world.names.leads(HONEST, &[&[SILENT, PUBLIC]]);
        world.is_unharmed().await;
    });
}
