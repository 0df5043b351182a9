//! An outside world for a test: a network namespace in which a public address is this machine's own, with a name, and a server that
//! everybody here trusts. Nothing that is sent leaves it.
//!
//! It takes root, or `unshare --map-root-user cargo test`, and Linux.

use std::{env, fs, panic::resume_unwind, path::Path, process::Command, thread};

use annex_service::{Certificates, KeyPairFiles};
use axum::{Router, routing::get};
use nix::sched::{CloneFlags, unshare};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use tempfile::TempDir;
use tokio::net::TcpListener;

/// Public by its number; nobody else has it in here.
const ADDRESS: &str = "45.33.10.1";

/// Where this machine has the certificates that it trusts.
fn trusted() -> String {
    env::var("SSL_CERT_FILE").unwrap_or_else(|_| "/etc/ssl/certs/ca-certificates.crt".to_owned())
}

/// Runs a test in such a world, where `https://NAME/PATH` answers with `body`.
pub fn inside<F: Future<Output = ()>>(
    name: &'static str,
    path: &'static str,
    body: &'static str,
    test: impl FnOnce() -> F + Send + 'static,
) {
    // The namespaces belong to the thread, and end with it and with what it starts, however the test ends.
    let thread = thread::spawn(move || {
        if let Err(error) = unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS) {
            panic!(
                "a network namespace cannot be made ({error}): run as root, or with `unshare --map-root-user`"
            );
        }
        let files = files(name);
        run("mount", &["--make-rprivate", "/"]);
        for (file, over) in [("hosts", "/etc/hosts"), ("authority.pem", &trusted())] {
            run("mount", &["--bind", files.path().join(file).to_str().unwrap(), over]);
        }
        run("ip", &["link", "set", "lo", "up"]);
        run("ip", &["addr", "add", &format!("{ADDRESS}/32"), "dev", "lo"]);
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(async {
            serve(files.path(), path, body).await;
            test().await;
        });
    });
    if let Err(panic) = thread.join() {
        resume_unwind(panic);
    }
}

fn files(name: &str) -> TempDir {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, "authority");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new([name.to_owned()]).unwrap().signed_by(&key, &authority).unwrap();

    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
    write("authority.pem", &authority.pem());
    write("tls.crt", &certificate.pem());
    write("tls.key", &key.serialize_pem());
    // With a dot at its end, which keeps search domains away, it is another one to this file.
    write("hosts", &format!("127.0.0.1 localhost\n{ADDRESS} {name} {name}.\n"));
    folder
}

async fn serve(files: &Path, path: &str, body: &'static str) {
    annex_service::install_tls_provider();
    let pair = KeyPairFiles { cert: files.join("tls.crt"), key: files.join("tls.key") };
    let tls = Certificates::default().listener("outside", Some(pair)).unwrap();
    let listener = TcpListener::bind((ADDRESS, 443)).await.unwrap();
    let router = Router::new().route(path, get(move || async move { body }));
    tokio::spawn(annex_service::serve_until(listener, tls, router, std::future::pending()));
}

fn run(program: &str, arguments: &[&str]) {
    let status = Command::new(program).args(arguments).status();
    assert!(status.is_ok_and(|status| status.success()), "`{program} {}` failed", arguments.join(" "));
}
