//! The files of an extension's pages, beside nginx with the same files.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;

use anyhow::{Context as _, Result};
use http::Request;
use serde_json::{Map, Value, json};

use super::calls::Gateway;
use super::load::{Answered, Prepared, closed_loop, joined, on_a_thread};
use super::process::{Process, free_address};
use super::published::{HOST, Published, answer_to};
use super::{Arguments, spread};
use crate::figures::{milliseconds, percentile};

const CONNECTIONS: usize = 16;
const EXTENSION: &str = "com.example.pages";

/// What a page with a framework is made of, in KiB.
const FILES: [(&str, usize); 6] = [
    ("ui/index.html", 2),
    ("ui/app.css", 12),
    ("ui/logo.png", 30),
    ("ui/app.js", 60),
    ("ui/font.woff2", 100),
    ("ui/photo.jpg", 400),
];

pub(super) async fn measure(arguments: &Arguments, figures: &mut Map<String, Value>) -> Result<()> {
    let published = Published::new().await?;
    let files: Vec<_> = FILES.iter().map(|(path, kib)| (*path, content(*kib))).collect();
    let component = fs::read(&arguments.hello)?;
    let hash = published.publish(EXTENSION, &component, &files)?;
    published.install(EXTENSION, &hash);
    let ours = published.runner(&arguments.runner, &Gateway::new()?, "pages")?;
    let below = format!("/ext-ui/{EXTENSION}/{hash}");
    // The same paths, so that both read the same requests.
    let root = published.at("nginx");
    for (path, bytes) in &files {
        let file = root.join("www").join(below.trim_start_matches('/')).join(path.trim_start_matches("ui/"));
        fs::create_dir_all(file.parent().context("a file has a folder")?)?;
        fs::write(file, bytes)?;
    }
    let (peer, peer_address) = nginx(&arguments.nginx, &root)?;
    let paths: Vec<String> =
        FILES.iter().map(|(path, _)| format!("{below}/{}", path.trim_start_matches("ui/"))).collect();
    let requests = |count: usize, of: &[String]| -> Result<Vec<Prepared>> {
        let one =
            |path: &String| Request::get(path.as_str()).header("host", HOST).body(bytes::Bytes::new().into());
        of.iter().cycle().take(count).map(|path| Ok(one(path)?)).collect()
    };
    let count = arguments.calls / 2;
    // The first ones fetch the bundle and fill the page cache.
    round(ours.public, requests(count / 4, &paths)?)?;
    round(peer_address, requests(count / 4, &paths)?)?;
    let mut ratios = Vec::new();
    for number in 0..arguments.rounds {
        let our = round(ours.public, requests(count, &paths)?)?;
        let their = round(peer_address, requests(count, &paths)?)?;
        println!("static {number}: ours {}; nginx {}", shown(&our), shown(&their));
        ratios.push(our.per_second() / their.per_second());
        if number == 0 {
            figures.insert("static_rps".into(), json!(our.per_second().round()));
            figures.insert("nginx_rps".into(), json!(their.per_second().round()));
        }
    }
    spread(figures, "static_ratio", ratios);
    // Each kind of file alone, once: where the difference lies.
    let mut each = Map::new();
    for (path, (name, kib)) in paths.iter().zip(FILES) {
        let of = std::slice::from_ref(path);
        let our = round(ours.public, requests(count, of)?)?;
        let their = round(peer_address, requests(count, of)?)?;
        println!("static {name} of {kib} KiB: ours {}; nginx {}", shown(&our), shown(&their));
        each.insert(
            format!("{kib}_kib"),
            json!(crate::figures::rounded(our.per_second() / their.per_second())),
        );
    }
    figures.insert("static_ratio_by_size".into(), each.into());
    drop(peer);
    ours.process.end()
}

/// nginx as it is fastest here: a worker for each processor, files sent by the kernel and kept open, no log.
fn nginx(program: &Path, root: &Path) -> Result<(Process, SocketAddr)> {
    let address = free_address()?;
    let root = root.display();
    let workers = std::thread::available_parallelism()?;
    let configuration = format!(
        "daemon off; worker_processes {workers}; pid {root}/pid; error_log {root}/error.log; user root;
events {{ worker_connections 1024; }}
http {{
  access_log off; sendfile on; tcp_nopush on; tcp_nodelay on; keepalive_requests 1000000; keepalive_timeout 60s;
  open_file_cache max=1000; open_file_cache_valid 60s; types {{ text/html html; text/css css; text/javascript js; }}
  client_body_temp_path {root}/t1; proxy_temp_path {root}/t2; fastcgi_temp_path {root}/t3; uwsgi_temp_path {root}/t4; scgi_temp_path {root}/t5;
  server {{ listen {address} reuseport; root {root}/www; }}
}}\n"
    );
    let file = format!("{root}/nginx.conf");
    fs::write(&file, configuration)?;
    let is_up = || answer_to(address, "/").is_some();
    let log = format!("{root}/log");
    Ok((Process::start(program, ["-p", &root.to_string(), "-c", &file], Path::new(&log), is_up)?, address))
}

fn round(address: SocketAddr, requests: Vec<Prepared>) -> Result<Answered> {
    let mut requests = requests.into_iter();
    joined(on_a_thread(0, move || closed_loop(address, CONNECTIONS, move || requests.next())))?.all()
}

fn shown(answered: &Answered) -> String {
    let p99 = percentile(&answered.latencies, 0.99);
    format!("{:.0}/s, p99 {} ms", answered.per_second(), milliseconds(p99))
}

/// Bytes that look like text to nobody's compression: neither side is asked to compress.
fn content(kib: usize) -> Vec<u8> {
    (0..kib * 1024).map(|at| u8::try_from(at * 7 % 251).unwrap_or_default()).collect()
}
