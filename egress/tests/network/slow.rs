//! Servers that take their time.

use std::time::Duration;

use annex_egress::EgressLimits;
use annex_engine::{EgressError, Patience};
use tokio::time::timeout;

use crate::namespace::{OTHER_PUBLIC, SILENT, inside};
use crate::server::{Does, Server};
use crate::world::{World, limits};

const NAME: &str = "attack.example.com";
const URI: &str = "https://attack.example.com/";
const SHORT: Duration = Duration::from_millis(300);

async fn attack(world: &World, does: Does) -> Server {
    world.names.leads(NAME, &[&[OTHER_PUBLIC]]);
    Server::start(OTHER_PUBLIC, 443, Some(world.authority.server(&[NAME])), does).await
}

/// A guest's own patience ends it, long before all that a request has is over.
async fn times_out(world: &World, patience: Patience) {
    let refused = timeout(Duration::from_secs(20), world.get_with(URI, patience)).await;
    assert_eq!(refused.expect("it goes on").unwrap_err(), EgressError::Timeout);
}

#[test]
fn an_address_that_swallows_everything_times_out() {
    inside(|| async {
        let world = World::new().await;
        world.names.leads(NAME, &[&[SILENT]]);
        let patience = Patience { connect: Some(SHORT), ..Patience::default() };
        times_out(&world, patience).await;
        world.is_unharmed().await;
    });
}

#[test]
fn a_server_that_does_not_even_shake_hands_times_out() {
    inside(|| async {
        let world = World::new().await;
        world.names.leads(NAME, &[&[OTHER_PUBLIC]]);
        let mut server = Server::start(OTHER_PUBLIC, 443, None, Does::Stops(b"")).await;
        let patience = Patience { connect: Some(SHORT), ..Patience::default() };
        times_out(&world, patience).await;
        server.ended(1).await;
        world.is_unharmed().await;
    });
}

#[test]
fn a_server_that_never_answers_times_out() {
    inside(|| async {
        let world = World::new().await;
        let mut server = attack(&world, Does::Stops(b"")).await;
        let patience = Patience { first_byte: Some(SHORT), ..Patience::default() };
        times_out(&world, patience).await;
        server.ended(1).await;
        assert_eq!(world.metrics.requests("timeout"), 1);
        world.is_unharmed().await;
    });
}

#[test]
fn a_server_that_stops_in_the_middle_times_out() {
    for half in [&b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf"[..], b"HTTP/1.1 200 OK\r\n\r\n"] {
        inside(move || async move {
            let world = World::new().await;
            let mut server = attack(&world, Does::Stops(half)).await;
            let patience = Patience { between_bytes: Some(SHORT), ..Patience::default() };
            times_out(&world, patience).await;
            server.ended(1).await;
            world.is_unharmed().await;
        });
    }
}

/// It always has another byte before the time between two of them is over, so all of it must have an end.
async fn a_trickle_ends(first: &'static [u8], again: &'static [u8]) {
    let world = World::with(EgressLimits { total: Duration::from_secs(3), ..limits() }).await;
    let mut server = attack(&world, Does::Trickles(first, again, Duration::from_millis(20))).await;
    let patience = Patience { between_bytes: Some(Duration::from_secs(2)), ..Patience::default() };
    times_out(&world, patience).await;
    server.ended(1).await;
    world.is_unharmed().await;
}

#[test]
fn a_server_that_trickles_its_body_times_out() {
    inside(|| a_trickle_ends(b"HTTP/1.1 200 OK\r\n\r\n", b"x"));
}

#[test]
fn a_server_that_trickles_its_head_times_out() {
    inside(|| a_trickle_ends(b"HTTP/1.1 200 OK\r\nx-long: ", b"x"));
}
