//! Servers that are not who they should be.

use annex_engine::EgressError;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::namespace::{OTHER_PUBLIC, inside};
use crate::pki::{Authority, self_signed};
use crate::server::{HELLO, Server, answers};
use crate::world::World;

const NAME: &str = "attack.example.com";

/// A server with this certificate is not spoken to, and hears nothing of the request.
async fn is_refused(world: &World, tls: TlsAcceptor) {
    let mut server = Server::start(OTHER_PUBLIC, 443, Some(tls), answers(HELLO)).await;
    world.names.leads(NAME, &[&[OTHER_PUBLIC]]);
    assert_eq!(world.get("https://attack.example.com/secret").await.unwrap_err(), EgressError::Tls);
    server.ended(1).await;
    assert!(server.no_head_came());
    world.is_unharmed().await;
}

#[test]
fn a_certificate_of_another_name_is_refused() {
    inside(|| async {
        let world = World::new().await;
        is_refused(&world, world.authority.server(&["other.example.com", "example.com", OTHER_PUBLIC])).await;
    });
}

#[test]
fn a_certificate_of_nobody_is_refused() {
    inside(|| async {
        let world = World::new().await;
        is_refused(&world, self_signed(NAME)).await;
    });
    inside(|| async {
        let world = World::new().await;
        is_refused(&world, Authority::new().server(&[NAME])).await;
    });
}

#[test]
fn a_certificate_that_has_ended_is_refused() {
    inside(|| async {
        let world = World::new().await;
        let ended = world.authority.server_with(&[NAME], |params| {
            params.not_before = rcgen::date_time_ymd(2000, 1, 1);
            params.not_after = rcgen::date_time_ymd(2020, 1, 1);
        });
        is_refused(&world, ended).await;
    });
}

#[test]
fn a_server_that_speaks_something_else_is_refused() {
    inside(|| async {
        let world = World::new().await;
        world.names.leads(NAME, &[&[OTHER_PUBLIC]]);
        let listener = TcpListener::bind((OTHER_PUBLIC, 443)).await.unwrap();
        let speaks = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            stream.write_all(b"SSH-2.0-OpenSSH_9.6\r\n").await.unwrap();
            // Until it hangs up.
            while stream.read(&mut [0; 1024]).await.is_ok_and(|count| count > 0) {}
        };
        let (refused, ()) = tokio::join!(world.get("https://attack.example.com/"), speaks);
        assert_eq!(refused.unwrap_err(), EgressError::Tls);
        assert_eq!(world.metrics.requests("tls"), 1);
        world.is_unharmed().await;
    });
}
