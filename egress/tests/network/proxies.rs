//! Proxies that the environment names.

use std::env;
use std::process::Command;

use crate::namespace::{OTHER_PUBLIC, inside};
use crate::server::{HELLO, Server, answers};
use crate::world::World;

const VARIABLES: [&str; 6] =
    ["HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"];
const PROXY: &str = "http://45.33.10.2:3128";

/// The environment is a process's: the test that has it runs in one of its own.
#[test]
fn no_proxy_is_asked_whatever_the_environment_names() {
    let mut again = Command::new(env::current_exe().unwrap());
    again.args(["--exact", "proxies::with_proxies_in_the_environment", "--ignored"]);
    again.envs(VARIABLES.map(|variable| (variable, PROXY)));
    let output = again.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.contains("1 passed"), "{said}");
}

#[test]
#[ignore = "runs in a process that the test above starts"]
fn with_proxies_in_the_environment() {
    assert!(VARIABLES.iter().all(|variable| env::var(variable).as_deref() == Ok(PROXY)));
    inside(|| async {
        let mut world = World::new().await;
        let mut proxy = Server::start(OTHER_PUBLIC, 3128, None, answers(HELLO)).await;
        world.is_unharmed().await;
        assert_eq!(proxy.connections().await, 0);
        assert_eq!(world.honest.connections().await, 1);
    });
}
