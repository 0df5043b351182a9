//! What requests and tenants have in common: nothing but the process.

use std::sync::Arc;

use annex_egress::EgressLimits;
use annex_engine::{EgressError, Patience};
use http_body_util::BodyExt as _;
use tokio::sync::Semaphore;
use tokio::time::{Duration, timeout};

use crate::namespace::{OTHER_PUBLIC, inside};
use crate::server::{Does, Server};
use crate::world::{HONEST, World, context, get, limits};

const NAME: &str = "attack.example.com";
const URI: &str = "https://attack.example.com/";

fn honest() -> String {
    format!("https://{HONEST}/")
}

#[test]
fn no_connection_is_used_twice() {
    inside(|| async {
        let mut world = World::new().await;
        let call = world.call();
        for tenant in ["one", "one", "other"] {
            let answer = call.send(&context(tenant), get(&honest()), Patience::default()).await.unwrap();
            assert_eq!(answer.into_body().collect().await.unwrap().to_bytes(), "hello");
        }
        assert_eq!(world.honest.connections().await, 3);
        assert_eq!(world.metrics.requests("answered"), 3);
    });
}

#[test]
fn a_tenant_that_holds_its_requests_has_no_more() {
    inside(|| async {
        let world = World::with(EgressLimits { requests_per_tenant: 2, ..limits() }).await;
        let body = Does::Stops(b"HTTP/1.1 200 OK\r\n\r\nhalf");
        let mut server = Server::start(OTHER_PUBLIC, 443, Some(world.authority.server(&[NAME])), body).await;
        world.names.leads(NAME, &[&[OTHER_PUBLIC]]);
        let call = world.call();
        let send = |tenant, uri: &str| {
            let (call, context, request) = (Arc::clone(&call), context(tenant), get(uri));
            async move { call.send(&context, request, Patience::default()).await }
        };
        let held = [send("hoarder", URI).await.unwrap(), send("hoarder", URI).await.unwrap()];
        let refused = send("hoarder", &honest()).await.err();
        assert_eq!(refused, Some(EgressError::TooManyRequests));
        assert!(send("other", &honest()).await.is_ok());
        // Whoever lets go of a body lets go of its connection, too.
        drop(held);
        server.ended(2).await;
        assert!(send("hoarder", &honest()).await.is_ok());
    });
}

#[test]
fn a_guest_that_ends_ends_its_requests() {
    inside(|| async {
        let world = World::new().await;
        let mut server =
            Server::start(OTHER_PUBLIC, 443, Some(world.authority.server(&[NAME])), Does::Stops(b"")).await;
        world.names.leads(NAME, &[&[OTHER_PUBLIC]]);
        let call = world.call();
        let (context, request) = (context("tenant"), get(URI));
        let waiting = tokio::spawn(async move { call.send(&context, request, Patience::default()).await });
        server.head().await;
        waiting.abort();
        server.ended(1).await;
        world.is_unharmed().await;
    });
}

#[test]
fn a_look_up_that_nobody_waits_for_still_takes_its_place() {
    inside(|| async {
        let open = Arc::new(Semaphore::new(0));
        let limits = EgressLimits { requests_per_tenant: 1, ..limits() };
        let world = World::whose_lookups_wait_for(Arc::clone(&open), limits).await;
        let patience = Patience { connect: Some(Duration::from_millis(50)), ..Patience::default() };
        assert_eq!(world.get_with(&honest(), patience).await.unwrap_err(), EgressError::Timeout);
        assert_eq!(world.get(&honest()).await.unwrap_err(), EgressError::TooManyRequests);
        assert_eq!(world.names.asked(HONEST), 1);
        // Enough for all that come.
        open.add_permits(1000);
        let freed = async {
            while let Err(error) = world.get(&honest()).await {
                assert_eq!(error, EgressError::TooManyRequests);
                tokio::task::yield_now().await;
            }
        };
        timeout(Duration::from_secs(10), freed).await.unwrap();
    });
}
