//! Which hosts, by which scheme, and what of a guest's head goes there.

use annex_engine::{EgressError, Patience};
use http::StatusCode;

use crate::namespace::{OTHER_PUBLIC, inside};
use crate::server::{HELLO, Server, answers};
use crate::world::{HONEST, World, get, send};

#[test]
fn both_lists_must_have_the_host() {
    for list in ["", "other.example.com", "honest.example.com:8443", "http://honest.example.com"] {
        inside(move || async move {
            let mut world = World::whose_operator_allows(list).await;
            let uri = format!("https://{HONEST}/");
            assert_eq!(world.get(&uri).await.unwrap_err(), EgressError::Denied, "{list}");
            // Nobody is even asked for the address: that question would itself be a message to the outside.
            assert_eq!((world.names.asked(HONEST), world.honest.connections().await), (0, 0), "{list}");
        });
    }
    inside(|| async {
        let uri = format!("https://{HONEST}/");
        let mut world = World::new().await;
        for manifest in [&[][..], &["other.example.com"], &["example.com"], &["honest.example.com:8443"]] {
            let refused = send(&*world.call_of(manifest), get(&uri), Patience::default()).await.unwrap_err();
            assert_eq!(refused, EgressError::Denied, "{manifest:?}");
        }
        assert_eq!((world.names.asked(HONEST), world.honest.connections().await), (0, 0));
        assert_eq!(world.metrics.requests("denied"), 4);
        world.is_unharmed().await;
    });
}

#[test]
fn plain_http_goes_where_the_operator_says_so() {
    inside(|| async {
        let world = World::new().await;
        let mut plain = Server::start(OTHER_PUBLIC, 80, None, answers(HELLO)).await;
        world.names.leads("old.plain.example", &[&[OTHER_PUBLIC]]);
        world.names.leads("new.example.com", &[&[OTHER_PUBLIC]]);
        assert_eq!(world.get("http://old.plain.example/").await.unwrap().status, StatusCode::OK);
        assert_eq!(plain.connections().await, 1);
        for uri in ["http://new.example.com/", "http://new.example.com:443/", "http://new.example.com:8443/"]
        {
            assert_eq!(world.get(uri).await.unwrap_err(), EgressError::Denied, "{uri}");
        }
        assert_eq!(plain.connections().await, 1);
        world.is_unharmed().await;
    });
}

#[test]
fn the_guests_host_and_what_is_between_neighbours_do_not_go_out() {
    inside(|| async {
        let mut world = World::new().await;
        let mut request = get("https://Honest.Example.com./notes?x=1");
        for (name, value) in [
            ("host", "other.example.com"),
            ("connection", "upgrade, x-hidden"),
            ("upgrade", "websocket"),
            ("x-hidden", "1"),
            ("proxy-authorization", "Basic x"),
            ("transfer-encoding", "chunked"),
            ("authorization", "Bearer mine"),
        ] {
            request.headers_mut().insert(name, value.parse().unwrap());
        }
        assert_eq!(send(&*world.call(), request, Patience::default()).await.unwrap().body, "hello");
        let head = world.honest.head().await;
        let mut lines: Vec<&str> = head.trim_end().split("\r\n").collect();
        lines.sort_unstable();
        assert_eq!(
            lines,
            [
                "GET /notes?x=1 HTTP/1.1",
                "authorization: Bearer mine",
                "connection: close",
                "host: honest.example.com"
            ]
        );
    });
}

#[test]
fn a_name_that_nobody_knows_is_unknown() {
    inside(|| async {
        let world = World::new().await;
        assert_eq!(world.get("https://nobody.example.com/").await.unwrap_err(), EgressError::NameUnknown);
        world.names.leads("nobody.example.com", &[&[]]);
        assert_eq!(world.get("https://nobody.example.com/").await.unwrap_err(), EgressError::NameUnknown);
        world.names.leads("gone.example.com", &[&[OTHER_PUBLIC]]);
        assert_eq!(world.get("https://gone.example.com/").await.unwrap_err(), EgressError::Unreachable);
        assert_eq!(world.metrics.requests("name_unknown"), 2);
        assert_eq!(world.metrics.requests("unreachable"), 1);
        world.is_unharmed().await;
    });
}
