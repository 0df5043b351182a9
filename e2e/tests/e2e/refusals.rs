//! Each bad input has its own reason, on the object of the person who can mend it, and heals by itself once mended.

use annex_apis::{Tenant, provider::accepted_claims};
use annex_e2e::{condition, until, when};
use k8s_openapi::api::core::v1::Secret;
use kube::{
    Api,
    api::{DeleteParams, Patch, PostParams},
};
use kube_kcp::kinds::{APIBinding, AcceptablePermissionClaim, ClaimState};
use serde_json::json;
use xtask::Part;

use crate::{
    environment::{alone, hash, publish, publish_version, refusal, shared, withdraw},
    tenants::bind,
};

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_extension_and_an_impossible_version() -> anyhow::Result<()> {
    let (world, _turn) = shared().await;
    let workspace = world.user("alice").await?.tenant("acme-unknown").await?;
    workspace.install("x", "com.example.later", json!({ "version": "^2" })).await?;
    let refused = workspace.refused("x", "ExtensionNotFound").await?;
    assert!(condition(&refused, "Ready").expect("Ready").message.contains("com.example.later"));

    publish(world, "com.example.later", &["1.0.0"]).await?;
    let says_what_there_is = |install: &annex_apis::Install| {
        condition(install, "Ready")
            .is_some_and(|ready| ready.reason == "NoMatchingVersion" && ready.message.contains("1.0.0"))
    };
    when(&workspace.installs(), "x", "NoMatchingVersion says what there is", says_what_there_is).await?;

    publish_version(world, "com.example.later", "2.1.0", json!({})).await?;
    publish_version(world, "com.example.later", "3.0.0", json!({})).await?;
    let installed = workspace.installed("x").await?.status.expect("a status");
    assert_eq!(
        installed.installed_version.as_deref(),
        Some("2.1.0"),
        "the highest that satisfies, not the newest"
    );

    workspace.change("x", json!({ "version": "two" })).await?;
    let refused = workspace.refused("x", "InvalidVersion").await?;
    assert!(condition(&refused, "Ready").expect("Ready").message.contains("2.1.0 goes on as it was"));
    assert_eq!(condition(&refused, "DomainReady").expect("DomainReady").status, "True");
    let host = installed.host.expect("a host");
    let (code, identity) = world.runner()?.get(&host).await?;
    assert_eq!(
        (code.as_u16(), &identity["content_hash"]),
        (200, &json!(hash("2.1.0"))),
        "what was installed goes on"
    );
    workspace.change("x", json!({ "version": "=3.0.0" })).await?;
    let status = workspace.installed("x").await?.status.expect("a status");
    assert_eq!(status.content_hash, Some(hash("3.0.0")));
    withdraw(world, "com.example.later").await?;
    workspace.refused("x", "ExtensionNotFound").await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn manual_stays_until_the_version_changes_and_automatic_follows() -> anyhow::Result<()> {
    let (world, _turn) = shared().await;
    publish(world, "com.example.follow", &["1.0.0", "1.1.0-rc.1"]).await?;
    let alice = world.user("alice").await?;
    let (manual, automatic) = tokio::try_join!(alice.tenant("acme-manual"), alice.tenant("acme-automatic"))?;
    manual.install("x", "com.example.follow", json!({})).await?;
    automatic.install("x", "com.example.follow", json!({ "upgradePolicy": "Automatic" })).await?;
    for workspace in [&manual, &automatic] {
        let status = workspace.installed("x").await?.status.expect("a status");
        assert_eq!(status.installed_version.as_deref(), Some("1.0.0"), "a pre-release is not taken by *");
    }
    publish_version(world, "com.example.follow", "1.2.0", json!({})).await?;
    publish_version(world, "com.example.follow", "1.3.0", json!({ "yanked": true })).await?;
    let is = |version: &'static str| {
        move |install: &annex_apis::Install| {
            install.status.as_ref().is_some_and(|status| status.installed_version.as_deref() == Some(version))
        }
    };
    when(&automatic.installs(), "x", "1.2.0 is installed", is("1.2.0")).await?;
    let status = manual.installed("x").await?.status.expect("a status");
    assert_eq!(status.installed_version.as_deref(), Some("1.0.0"));
    manual.change("x", json!({ "version": "^1.0.0" })).await?;
    when(&manual.installs(), "x", "1.2.0 is installed", is("1.2.0")).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_install_of_one_extension() -> anyhow::Result<()> {
    let (world, _turn) = shared().await;
    let workspace = world.user("alice").await?.tenant("acme-twice").await?;
    workspace.install("first", "com.example.hello", json!({})).await?;
    workspace.installed("first").await?;
    workspace.install("second", "com.example.hello", json!({})).await?;
    let refused = workspace.refused("second", "AlreadyInstalled").await?;
    assert!(condition(&refused, "Ready").expect("Ready").message.contains("default/first"));
    workspace.installs().delete("first", &DeleteParams::default()).await?;
    workspace.installed("second").await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_that_is_missing_or_unlabelled() -> anyhow::Result<()> {
    let (world, _turn) = shared().await;
    let workspace = world.user("alice").await?.tenant("acme-names-secrets").await?;
    let more = json!({ "secrets": [{ "name": "api-key" }], "parametersFrom": [{ "name": "parameters", "key": "json" }] });
    workspace.install("x", "com.example.hello", more).await?;
    let refused = workspace.refused("x", "SecretNotFound").await?;
    let message = &condition(&refused, "Ready").expect("Ready").message;
    assert!(
        message.contains("api-key")
            && message.contains("parameters")
            && message.contains("annex.sh/managed=true")
    );

    let secrets: Api<Secret> = Api::namespaced(workspace.client.clone(), "default");
    for name in ["api-key", "parameters"] {
        let secret = json!({ "apiVersion": "v1", "kind": "Secret", "metadata": { "name": name }, "stringData": { "json": "{}" } });
        secrets.create(&PostParams::default(), &serde_json::from_value(secret)?).await?;
    }
    let label = Patch::Merge(json!({ "metadata": { "labels": { "annex.sh/managed": "true" } } }));
    secrets.patch("parameters", &Default::default(), &label).await?;
    let only_key = |install: &annex_apis::Install| {
        condition(install, "Ready")
            .is_some_and(|ready| ready.reason == "SecretNotFound" && !ready.message.contains("parameters"))
    };
    when(&workspace.installs(), "x", "only the unlabelled one is missing", only_key).await?;
    secrets.patch("api-key", &Default::default(), &label).await?;
    workspace.installed("x").await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn claims_that_are_rejected_or_narrowed() -> anyhow::Result<()> {
    let (world, _turn) = shared().await;
    let alice = world.user("alice").await?;
    alice.order("acme-claims", "root", "universal").await?;
    let workspace = alice.ready("acme-claims").await?;
    let mut claims = accepted_claims();
    for claim in &mut claims {
        match claim.claim.resource.as_str() {
            "secrets" => claim.state = ClaimState::Rejected,
            "roles" => drop(claim.selector.match_labels.insert("more".into(), "narrow".into())),
            _ => {}
        }
    }
    bind(&workspace, "annex.sh", claims).await?;
    let apply =
        || async { Ok(workspace.install("x", "com.example.hello", json!({})).await.is_ok().then_some(())) };
    until("the API is bound", apply).await?;
    let refused = workspace.refused("x", "ClaimsNotAccepted").await?;
    let message = &condition(&refused, "Ready").expect("Ready").message;
    assert!(message.contains("secrets") && message.contains("roles.rbac.authorization.k8s.io"), "{message}");
    assert!(!message.contains("namespaces"), "{message}");

    let bindings: Api<APIBinding> = Api::all(workspace.client.clone());
    let patch = |claims: Vec<AcceptablePermissionClaim>| {
        Patch::Merge(json!({ "spec": { "permissionClaims": claims } }))
    };
    bindings.patch("annex.sh", &Default::default(), &patch(accepted_claims())).await?;
    workspace.installed("x").await?;

    // Taken back later: said, but no reason to stop what runs.
    bindings.patch("annex.sh", &Default::default(), &patch(Vec::new())).await?;
    workspace.install_with("x", "Resolved", "True", "ClaimsNotAccepted").await?;
    workspace.installed("x").await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_platform_does_not_allow() -> anyhow::Result<()> {
    let (world, _turn) = shared().await;
    let workspace = world.user("alice").await?.tenant("acme-allowed").await?;
    let tenants: Api<Tenant> = Api::all(world.admin().await?.at("root:annex")?);
    let name = workspace.cluster.as_str();
    when(&tenants, name, "the Tenant is there", |_| true).await?;
    let spec = |spec: serde_json::Value| Patch::Merge(json!({ "spec": spec }));
    tenants
        .patch(name, &Default::default(), &spec(json!({ "allowedExtensions": ["com.example.other"] })))
        .await?;
    workspace.install("x", "com.example.hello", json!({})).await?;
    workspace.refused("x", "ExtensionNotAllowed").await?;
    tenants.patch(name, &Default::default(), &spec(json!({ "allowedExtensions": null }))).await?;
    let host = workspace.installed("x").await?.status.expect("a status").host.expect("a host");

    tenants.patch(name, &Default::default(), &spec(json!({ "suspended": true }))).await?;
    workspace.refused("x", "TenantSuspended").await?;
    world.runner()?.is_nobodys(&host).await?;
    assert_eq!(world.runner()?.get(&host).await?.0, 404, "a suspended tenant's extensions do not answer");
    tenants.patch(name, &Default::default(), &spec(json!({ "suspended": false }))).await?;
    workspace.installed("x").await?;
    assert_eq!(world.runner()?.get(&host).await?.0, 200);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_environment_that_is_not_there_or_cannot_be_used() -> anyhow::Result<()> {
    let (world, _turn) = shared().await;
    let workspace = world.user("alice").await?.tenant("acme-environment").await?;
    workspace.install("x", "com.example.hello", json!({ "environmentRef": { "name": "mine" } })).await?;
    let refused = workspace.refused("x", "EnvironmentNotFound").await?;
    assert_eq!(condition(&refused, "EnvironmentReady").expect("EnvironmentReady").status, "False");
    assert_eq!(condition(&refused, "DomainReady").expect("DomainReady").status, "Unknown");
    let environment = json!({ "apiVersion": "annex.sh/v1alpha1", "kind": "ManagedEnvironment", "metadata": { "name": "mine" },
        "spec": { "apiURL": "https://example.com", "credentialsSecretRef": { "name": "x" } } });
    let environments: Api<annex_apis::ManagedEnvironment> =
        Api::namespaced(workspace.client.clone(), "default");
    environments.create(&PostParams::default(), &serde_json::from_value(environment)?).await?;
    let refused = workspace.refused("x", "EnvironmentNotReady").await?;
    assert!(
        condition(&refused, "EnvironmentReady").expect("EnvironmentReady").message.contains("SecretNotFound")
    );
    workspace.change("x", json!({ "environmentRef": null })).await?;
    workspace.installed("x").await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unverified_version_is_refused_unless_the_operator_says_otherwise() -> anyhow::Result<()> {
    let (world, _turn) = alone().await;
    publish(world, "com.example.unsigned", &["1.0.0"]).await?;
    let workspace = world.user("alice").await?.tenant("acme-unsigned").await?;
    let restart = |allow: &str| {
        tokio::task::block_in_place(|| {
            world.stack.stop(Part::Controller)?;
            world.stack.configure(Part::Controller, &[], &[("ANNEX_ALLOW_UNSIGNED", allow)]);
            world.stack.start(Part::Controller)
        })
    };
    restart("false")?;
    let strict = async {
        workspace.install("x", "com.example.unsigned", json!({})).await?;
        workspace.refused("x", "Unsigned").await?;
        verified(world, "com.example.unsigned-1.0.0", "False", "UntrustedSigner").await?;
        let refused = workspace.refused("x", "VerificationFailed").await?;
        assert!(condition(&refused, "Ready").expect("Ready").message.contains("UntrustedSigner"));
        // Only the registry says that something is verified.
        verified(world, "com.example.unsigned-1.0.0", "True", "Verified").await?;
        workspace.refused("x", "Unsigned").await?;
        anyhow::Ok(())
    }
    .await;
    // Whatever came of it, the other tests need the environment as it was.
    restart("true")?;
    strict?;
    // What somebody looked at and refused is not the same as what nobody looked at: the flag does not let it in.
    verified(world, "com.example.unsigned-1.0.0", "False", "Revoked").await?;
    workspace.refused("x", "VerificationFailed").await?;
    let other = world.user("alice").await?.tenant("acme-waived").await?;
    other.install("x", "com.example.hello", json!({})).await?;
    let waived = other.installed("x").await?;
    assert_eq!(condition(&waived, "Verified").expect("Verified").reason, "UnsignedAllowed");
    Ok(())
}

/// Plays the registry, which writes this condition.
async fn verified(world: &annex_e2e::World, name: &str, status: &str, reason: &str) -> anyhow::Result<()> {
    let versions: Api<annex_apis::ExtensionVersion> = Api::all(world.admin().await?.at("root:annex")?);
    let condition = json!({ "type": "Verified", "status": status, "reason": reason, "message": "by a test",
        "lastTransitionTime": "2026-01-01T00:00:00Z" });
    let patch = Patch::Merge(json!({ "status": { "conditions": [condition] } }));
    versions.patch_status(name, &Default::default(), &patch).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_suspended_stays_as_it_is() -> anyhow::Result<()> {
    let (world, _turn) = shared().await;
    publish(world, "com.example.suspend", &["1.0.0", "2.0.0"]).await?;
    let workspace = world.user("alice").await?.tenant("acme-suspends").await?;
    workspace.install("x", "com.example.suspend", json!({ "suspend": true, "version": "^1" })).await?;
    workspace.refused("x", "Suspended").await?;
    workspace.change("x", json!({ "suspend": false })).await?;
    workspace.installed("x").await?;
    workspace.change("x", json!({ "suspend": true, "version": "^2" })).await?;
    let suspended = workspace.install_with("x", "Ready", "True", "Suspended").await?;
    assert_eq!(suspended.status.expect("a status").installed_version.as_deref(), Some("1.0.0"));
    workspace.change("x", json!({ "suspend": false })).await?;
    let status = workspace.installed("x").await?.status.expect("a status");
    assert_eq!(status.installed_version.as_deref(), Some("2.0.0"));
    workspace.change("x", json!({ "suspend": true })).await?;
    workspace.installs().delete("x", &DeleteParams::default()).await?;
    workspace.gone("x").await
}

/// What the schema refuses is refused where its author sees it, in words.
#[tokio::test(flavor = "multi_thread")]
async fn what_admission_refuses_it_explains() -> anyhow::Result<()> {
    let (world, _turn) = shared().await;
    let workspace = world.user("alice").await?.tenant("acme-admission").await?;
    for (extension, more, said) in [
        ("Notes", json!({}), "spec.extension must be a reverse DNS name such as com.example.notes"),
        ("com.example.hello", json!({ "timeout": "" }), "spec.timeout must be a duration such as 10m"),
        ("com.example.hello", json!({ "timeout": "soon" }), "spec.timeout must be a duration such as 10m"),
        ("com.example.hello", json!({ "retries": 1000 }), "spec.retries"),
        ("com.example.hello", json!({ "secrets": [{ "name": "a" }, { "name": "a" }] }), "Duplicate value"),
    ] {
        let (code, message) = refusal(workspace.install("bad", extension, more).await);
        assert_eq!(code, 422, "{message}");
        assert!(message.contains(said), "{message}");
    }
    workspace.install("x", "com.example.hello", json!({})).await?;
    let (code, message) = refusal(workspace.change("x", json!({ "extension": "com.example.other" })).await);
    assert_eq!(code, 422);
    assert!(message.contains("spec.extension cannot change"), "{message}");
    let environments: Api<annex_apis::ManagedEnvironment> =
        Api::namespaced(workspace.client.clone(), "default");
    for (url, said) in [
        ("http://a.example.com", "must begin with https://"),
        ("https://u:p@a.example.com", "user information"),
    ] {
        let environment = json!({ "apiVersion": "annex.sh/v1alpha1", "kind": "ManagedEnvironment", "metadata": { "name": "bad" },
            "spec": { "apiURL": url, "credentialsSecretRef": { "name": "x" } } });
        let result = environments.create(&PostParams::default(), &serde_json::from_value(environment)?).await;
        let (code, message) = refusal(result.map_err(Into::into));
        assert_eq!(code, 422);
        assert!(message.contains(said), "{message}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_controller_does_not_start_with_an_impossible_domain_root() -> anyhow::Result<()> {
    let (world, _turn) = shared().await;
    let long = "a".repeat(64);
    for (root, said) in [
        ("localhost", "label"),
        ("a..b", "label"),
        (&format!("{long}.example.com"), "label"),
        ("a_b.example.com", "label"),
    ] {
        let mut command = world.stack.command(Part::Controller, &["--domain-root", root])?;
        let output =
            command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped()).output()?;
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success(), "{root}");
        assert!(stderr.contains("domain root") && stderr.contains(said), "{root}: {stderr}");
    }
    Ok(())
}
