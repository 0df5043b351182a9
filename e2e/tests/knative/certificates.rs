//! Domains with a wildcard certificate.

use annex_e2e::{Kind, until};
use base64::Engine as _;
use kube::ResourceExt as _;
use serde_json::json;

use crate::environment::{Reconfigured, alone, hello, namespace};

struct Certificate {
    pem: String,
    secret: serde_json::Value,
}

/// A wildcard certificate that nobody but itself vouches for.
fn wildcard() -> anyhow::Result<Certificate> {
    let made = rcgen::generate_simple_self_signed(vec!["*.apps.localhost".to_owned()])?;
    let encoded = |text: String| base64::engine::general_purpose::STANDARD.encode(text);
    let data =
        json!({ "tls.crt": encoded(made.cert.pem()), "tls.key": encoded(made.signing_key.serialize_pem()) });
    Ok(Certificate { pem: made.cert.pem(), secret: json!({ "type": "kubernetes.io/tls", "data": data }) })
}

/// A browser that trusts this certificate alone, and finds every host where the ingress is.
fn browser(pem: &str, host: &str) -> anyhow::Result<reqwest::Client> {
    Ok(reqwest::Client::builder()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .tls_certs_only(reqwest::Certificate::from_pem_bundle(pem.as_bytes())?)
        .resolve(host, ([127, 0, 0, 1], 0).into())
        .timeout(std::time::Duration::from_secs(10))
        .build()?)
}

#[tokio::test(flavor = "multi_thread")]
async fn domains_answer_with_the_wildcard_certificate_and_follow_it() -> anyhow::Result<()> {
    let (world, cluster, _turn) = alone().await?;
    let settings = world.stack.settings();
    let first = wildcard()?;
    // The one Secret of its namespace that the controller may read.
    cluster.create(Kind::Secret, "annex-system", "annex-domain-tls", first.secret.clone()).await?;
    let authority = world.stack.paths().state().join("services/domains.crt");
    std::fs::write(&authority, &first.pem)?;
    let https_port = settings.https_port.to_string();
    let tls = Reconfigured::start(
        world,
        &[
            "--runner-url",
            &format!("https://127.0.0.1:{https_port}"),
            "--runner-ca-file",
            authority.to_str().expect("a path in Unicode"),
        ],
        &[("EXT_DOMAIN_TLS_SECRET", "annex-system/annex-domain-tls"), ("EXT_DOMAIN_PORT", &https_port)],
    )?;
    let mut tenants = Vec::new();
    for (user, name) in [("alice", "kn-tls-acme"), ("bob", "kn-tls-globex")] {
        let (workspace, host) = hello(world, user, name).await?;
        let url = workspace.installs().get("hello").await?.status.expect("a status").url.expect("a url");
        assert_eq!(url, format!("https://{host}:{https_port}/"));
        let body: serde_json::Value =
            serde_json::from_str(&browser(&first.pem, &host)?.get(&url).send().await?.text().await?)?;
        assert_eq!(body["tenant_id"], json!(workspace.cluster.to_string()));
        tenants.push((workspace, host, url));
    }
    // In the clear one is only sent to where it is not.
    let (workspace, host, url) = &tenants[0];
    let clear = format!("http://{host}:{}/", settings.runner_port);
    let answer = browser(&first.pem, host)?.get(clear).send().await?;
    assert_eq!(answer.status().as_u16(), 301);
    assert!(answer.headers()["location"].to_str()?.starts_with("https://"));

    // A renewed certificate is served without anybody asking, and a copy changed by hand is mended.
    let second = wildcard()?;
    cluster.patch(Kind::Secret, "annex-system", "annex-domain-tls", second.secret.clone()).await?;
    let renewed = browser(&second.pem, host)?;
    until("the renewed certificate is served", || async {
        Ok(renewed.get(url).send().await.ok().map(|answer| answer.status()))
    })
    .await?;
    let namespace = namespace(workspace);
    cluster.patch(Kind::Secret, &namespace, "annex-domain-tls", first.secret).await?;
    cluster
        .when(Kind::Secret, &namespace, "annex-domain-tls", "is the renewed one again", |object| {
            object.data["data"] == second.secret["data"]
        })
        .await?;
    let copy = cluster.get(Kind::Secret, &namespace, "annex-domain-tls").await?.expect("a copy");
    assert_eq!(copy.labels().get("annex.sh/cluster"), Some(&workspace.cluster.to_string()));

    // Without a certificate the same domains answer in the clear again.
    drop(tls);
    let answers = browser(&second.pem, host)?;
    let clear = format!("http://{host}:{}/", settings.runner_port);
    until("it answers in the clear", || async {
        let status = answers.get(&clear).send().await.ok().map(|answer| answer.status().as_u16());
        Ok(status.filter(|status| *status == 200))
    })
    .await?;
    cluster.delete(Kind::Secret, "annex-system", "annex-domain-tls").await?;
    Ok(())
}
