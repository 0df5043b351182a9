//! The system's resolver, where search domains lead names astray.

use std::net::IpAddr;
use std::sync::{Arc, Mutex};

use annex_egress::{Resolver as _, SystemResolver};
use tokio::net::{UdpSocket, lookup_host};

use crate::namespace::{OTHER_PUBLIC, PRIVATE, inside_with_resolv_conf};

/// As in a pod of Kubernetes: a name with less than five dots is looked for in the cluster first.
const RESOLV_CONF: &str = "nameserver 127.0.0.1\nsearch default.svc.cluster.local\noptions ndots:5\n";

/// A name server to which every name of the cluster has a private address, and every other one a public one. What it was asked is in
/// the list.
async fn name_server() -> Arc<Mutex<Vec<String>>> {
    let socket = UdpSocket::bind("127.0.0.1:53").await.unwrap();
    let asked = Arc::new(Mutex::new(Vec::new()));
    let names = Arc::clone(&asked);
    tokio::spawn(async move {
        let mut question = [0; 512];
        loop {
            let (length, peer) = socket.recv_from(&mut question).await.unwrap();
            let (name, answer) = answer(&question[..length]);
            names.lock().unwrap().push(name);
            socket.send_to(&answer, peer).await.unwrap();
        }
    });
    asked
}

/// The name of a question, and what is answered (RFC 1035, section 4.1).
fn answer(question: &[u8]) -> (String, Vec<u8>) {
    let mut labels: Vec<&str> = Vec::new();
    let mut at = 12;
    while question[at] != 0 {
        let end = at + 1 + usize::from(question[at]);
        labels.push(str::from_utf8(&question[at + 1..end]).unwrap());
        at = end;
    }
    let name = labels.join(".");
    let is_for_ipv4 = question[at + 1..at + 3] == [0, 1];
    let address: IpAddr =
        if name.ends_with(".cluster.local") { PRIVATE } else { OTHER_PUBLIC }.parse().unwrap();
    let IpAddr::V4(address) = address else { unreachable!() };
    // The same id; an answer, by one that recurses, without an error; one question, and one answer or none.
    let mut answer = [&question[..2], &[0x81, 0x80, 0, 1, 0, is_for_ipv4.into(), 0, 0, 0, 0]].concat();
    answer.extend(&question[12..at + 5]);
    if is_for_ipv4 {
        // The name of the question, type A, class IN, no time to live, four bytes.
        answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4]);
        answer.extend(address.octets());
    }
    (name, answer)
}

#[test]
fn a_name_is_asked_for_as_it_stands() {
    inside_with_resolv_conf(RESOLV_CONF, || async {
        let asked = name_server().await;
        let found = SystemResolver.addresses("api.example.com").await.unwrap();
        assert!(!found.is_empty());
        assert!(found.iter().all(|address| *address == OTHER_PUBLIC.parse::<IpAddr>().unwrap()), "{found:?}");
        assert!(asked.lock().unwrap().iter().all(|name| name == "api.example.com"), "{asked:?}");
        // What happens to whoever asks without the dot.
        let astray: Vec<_> = lookup_host("api.example.com:443").await.unwrap().collect();
        assert_eq!(astray[0].ip(), PRIVATE.parse::<IpAddr>().unwrap());
    });
}
