//! `POST /api/bundles`.
//!
//! Nothing is believed of an upload before its signature was looked at, nothing is kept before all of its bytes were, and nothing is in the
//! catalog before the store has it. So whatever ends this at whatever point leaves a catalog that is true; and repeating it ends it.

use std::{io::SeekFrom, sync::Arc, time::Duration};

use annex_answering::{
    Caller, Refusal, Wish,
    questions::{answer, ask, read, unexpected},
};
use annex_apis::{Extension, ExtensionSpec, ExtensionVersion};
use annex_bundle::{
    Discard, Signed, Statement, Verified, check_loadable, check_signature, issue_receipt, verify_at_publish,
};
use annex_core::{VersionNameError, version_object_name};
use axum::{
    Json,
    body::Body,
    extract::State,
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use jiff::Timestamp;
use kube::{
    Api, ResourceExt as _,
    api::{ListParams, PostParams},
};
use serde_json::json;
use tokio::{fs::File, io::AsyncSeekExt as _, time::timeout};

use crate::{
    app::App,
    refusal::{disk_full, of_bundle, store_unavailable},
    reverify::VERIFIED,
    store::{NewBundle, StoreError, Stored},
    upload::{Part, Upload, disk},
    version::{extension, extension_version, slug},
};

/// How long whoever publishes waits until it is said that the version is verified. It is published all the same.
const VERIFIED_WITHIN: Duration = Duration::from_secs(10);

/// Publishes a bundle.
pub(crate) async fn publish(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Refusal> {
    let result = publish_as(&app, &headers, body).await;
    app.metrics.published(match &result {
        Ok(published) if published.created => "Created",
        Ok(_) => "Unchanged",
        Err(refusal) => refusal.code,
    });
    result.map(Published::into_response)
}

async fn publish_as(app: &App, headers: &HeaderMap, body: Body) -> Result<Published, Refusal> {
    let caller = app.callers.identify(headers).await?;
    let _place = app.places.take(caller.name())?;
    let mut upload = Upload::begin(headers, body, app.patience)?;
    let received = receive(app, &caller, &mut upload).await;
    let (signature, archive, admitted) = match received {
        Ok(received) => received,
        Err(refusal) => {
            // Whoever is cut off while sending does not see the answer, which comes at once.
            tokio::spawn(upload.drain());
            return Err(refusal);
        }
    };
    let (verified, archive) = verify(app, &signature, archive).await?;
    let kept = keep(app, &verified, &signature, archive).await?;
    let created_extension = match admitted.extension {
        Some(_) => false,
        None => make_extension(app, &verified).await?,
    };
    let has_sbom = verified.unpacked.listing.get("sbom.json").is_some();
    let version =
        extension_version(&verified.unpacked.manifest, has_sbom, &kept.signed.statement, &kept.signature)
            .map_err(|error| unnameable(&error))?;
    let created = make_version(app, &version).await?;
    if created {
        tracing::info!(
            version = version.name_any(),
            content = %verified.unpacked.content_hash,
            publisher = %verified.unpacked.manifest.publisher,
            by = caller.name(),
            "published"
        );
        wait_until_verified(app, &version.name_any()).await;
    } else if kept.anew {
        // It may have been judged to be missing.
        app.mended.notify_one();
    }
    Ok(Published { version, kept, created, created_extension })
}

/// Who may publish what, as far as that is known from the signature.
struct Admitted {
    extension: Option<Extension>,
}

async fn receive(
    app: &App,
    caller: &Caller,
    upload: &mut Upload,
) -> Result<(Bytes, File, Admitted), Refusal> {
    let (mut signature, mut archive, mut admitted) = (None, None, None);
    while let Some(part) = upload.next().await? {
        match part {
            Part::Signature(_) if signature.is_some() => {
                return Err(Refusal::malformed("there is more than one part named signature"));
            }
            Part::Archive(_) if archive.is_some() => {
                return Err(Refusal::malformed("there is more than one part named archive"));
            }
            Part::Signature(bytes) => {
                admitted = Some(admit(app, caller, &bytes).await?);
                signature = Some(bytes);
            }
            Part::Archive(field) => archive = Some(upload.save(field, &app.scratch).await?),
        }
    }
    let archive = archive.ok_or_else(|| Refusal::malformed("there is no part named archive"))?;
    match (signature, admitted) {
        (Some(signature), Some(admitted)) => Ok((signature, archive, admitted)),
        _ => Err(of_bundle(&annex_bundle::Refusal::Unsigned)),
    }
}

/// Whether the signature is trusted, and whether the caller may publish what it speaks of. What they may not publish they learn nothing
/// about.
async fn admit(app: &App, caller: &Caller, signature: &[u8]) -> Result<Admitted, Refusal> {
    let statement = {
        let policy = app.policy.now();
        let policy = policy.publish(Timestamp::now());
        let signed = check_signature(Some(signature), policy.trust, policy.denylist, policy.now);
        signed.map_err(|refusal| of_bundle(&refusal))?.statement
    };
    let name = statement.name.as_str();
    let publish = Wish { verb: "publish", resource: "extensions", subresource: "", namespace: "", name };
    if !caller.may(&app.provider, publish).await? {
        return Err(Refusal::forbidden(format!(
            "you may not publish {name}: that needs the verb publish on extensions/{name} in group annex.sh"
        )));
    }
    let known = read::<Extension>(&app.provider, "Extension", name).await?;
    match &known {
        Some(known) => same_publisher(known, &statement)?,
        None => {
            let create =
                Wish { verb: "create", resource: "extensions", subresource: "", namespace: "", name };
            if !caller.may(&app.provider, create).await? {
                return Err(Refusal::forbidden(format!(
                    "{name} is not in the catalog, and you may not add it: that needs the verb create on extensions"
                )));
            }
            slug_is_free(app, &Extension::new(name, ExtensionSpec::default())).await?;
        }
    }
    let version =
        version_object_name(&statement.name, &statement.version).map_err(|error| unnameable(&error))?;
    if let Some(published) = read::<ExtensionVersion>(&app.provider, "ExtensionVersion", &version).await? {
        same_content(&published, &statement.content_hash.to_string())?;
    }
    Ok(Admitted { extension: known })
}

fn same_publisher(known: &Extension, statement: &Statement) -> Result<(), Refusal> {
    if known.spec.publisher == statement.publisher.as_str() {
        return Ok(());
    }
    Err(Refusal::new(
        StatusCode::UNPROCESSABLE_ENTITY,
        "PublisherMismatch",
        format!(
            "the catalog has {} as {}'s, not as {}'s",
            statement.name, known.spec.publisher, statement.publisher
        ),
    ))
}

fn same_content(published: &ExtensionVersion, content_hash: &str) -> Result<(), Refusal> {
    if published.spec.content_hash == content_hash {
        return Ok(());
    }
    Err(Refusal::new(
        StatusCode::CONFLICT,
        "VersionExists",
        format!("{} is published with other content; publish another version", published.name_any()),
    ))
}

/// Whether no other Extension has the new one's part of host names. kcp cannot see to that by itself; it is asked anew, because the index
/// may not know yet what another registry has just made. Two registries that make two Extensions in the same moment can still meet: then
/// the host goes to whoever installs first, and the other gets DomainConflict.
async fn slug_is_free(app: &App, new: &Extension) -> Result<(), Refusal> {
    let Some(wanted) = slug(new) else { return Ok(()) };
    let all = Api::<Extension>::all(app.provider.clone());
    let extensions = ask("Extensions", all.list(&ListParams::default())).await?;
    let others = extensions.items.iter().filter(|other| other.metadata.name != new.metadata.name);
    if !others.into_iter().any(|other| slug(other).as_ref() == Some(&wanted)) {
        return Ok(());
    }
    Err(Refusal::new(
        StatusCode::CONFLICT,
        "SlugTaken",
        format!(
            "another extension has {wanted} in its host names, which {} would get: have the platform's operator make the Extension with a spec.slug",
            new.name_any()
        ),
    ))
}

async fn verify(app: &App, signature: &Bytes, archive: File) -> Result<(Verified, File), Refusal> {
    let (policy, signature, file) = (app.policy.now(), signature.clone(), archive.into_std().await);
    let verdict = tokio::task::spawn_blocking(move || {
        let verdict = verify_at_publish(&file, Some(&signature), &policy.publish(Timestamp::now()), Discard);
        (verdict, file)
    });
    let (verdict, file) = verdict.await.map_err(|error| {
        tracing::error!(%error, "verifying an upload");
        Refusal::internal()
    })?;
    let verified = verdict.map_err(|refusal| of_bundle(&refusal))?;
    Ok((verified, File::from_std(file)))
}

/// What the store has of a content.
struct Kept {
    signature: Bytes,
    signed: Signed,
    published_at: Timestamp,
    /// It was missing there, or was of no use.
    anew: bool,
}

/// Puts it into the store. What is there already stays, unless nobody could load it any more: because the registry's key for it is gone, or the
/// publisher's.
async fn keep(app: &App, verified: &Verified, signature: &Bytes, mut archive: File) -> Result<Kept, Refusal> {
    let policy = app.policy.now();
    let content = verified.unpacked.content_hash;
    let mut anew = false;
    // A second round to read what was written, a third where another registry was faster.
    for _ in 0..3 {
        let there = app.store.get_whole(&content).await;
        let usable = |stored: Stored| {
            let loadable =
                check_loadable(Some(&stored.signature), Some(&stored.receipt), &policy.load()).ok()?;
            let same = loadable.signed.statement.content_hash == content
                && loadable.signed.statement.archive.digest == stored.marker.archive;
            same.then_some(Kept {
                signature: stored.signature,
                published_at: loadable.receipt.published_at,
                signed: loadable.signed,
                anew,
            })
        };
        let replace = match there {
            Ok(None) => false,
            Ok(Some(stored)) => match usable(stored) {
                Some(kept) => return Ok(kept),
                None => true,
            },
            Err(StoreError::Damaged(..)) => true,
            Err(error) => return Err(store(&error)),
        };
        if !policy.keys().published().signs_at(&policy.keys().signing().id(), Timestamp::now()) {
            tracing::error!("the signing key is not published for this time: receipts cannot be signed");
            return Err(Refusal::internal());
        }
        let receipt = issue_receipt(verified, policy.keys().signing()).map_err(|error| {
            tracing::error!(%error, "signing a receipt");
            Refusal::internal()
        })?;
        let bundle = NewBundle {
            content,
            archive: verified.unpacked.archive,
            size: verified.unpacked.size,
            signature,
            receipt: &receipt,
        };
        archive.seek(SeekFrom::Start(0)).await.map_err(|error| disk(&error))?;
        app.store.put(&bundle, &mut archive, replace).await.map_err(|error| store(&error))?;
        anew = true;
    }
    Err(store_unavailable())
}

pub(crate) fn store(error: &StoreError) -> Refusal {
    match error {
        StoreError::Full => {
            tracing::warn!("the content store is full");
            disk_full()
        }
        StoreError::Source(error) => disk(error),
        StoreError::Damaged(..) | StoreError::Failed(_) => {
            tracing::warn!(error = %Chain(error), "the content store");
            store_unavailable()
        }
    }
}

/// An error and what it comes of.
struct Chain<'a>(&'a StoreError);

impl std::fmt::Display for Chain<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{}", self.0)?;
        let mut cause = std::error::Error::source(self.0);
        while let Some(error) = cause {
            write!(formatter, ": {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}

/// Adds the Extension to the catalog. False: somebody else has, meanwhile.
async fn make_extension(app: &App, verified: &Verified) -> Result<bool, Refusal> {
    let new = extension(&verified.unpacked.manifest);
    let api = Api::<Extension>::all(app.provider.clone());
    let _one_at_a_time = app.making.lock().await;
    slug_is_free(app, &new).await?;
    match answer("Extension", api.create(&PostParams::default(), &new)).await? {
        Ok(made) => {
            app.catalog.extensions.put(made);
            Ok(true)
        }
        Err(status) if status.code == 409 => {
            let known = read::<Extension>(&app.provider, "Extension", &new.name_any()).await?;
            known.map_or(Ok(()), |known| same_publisher(&known, &verified.statement))?;
            Ok(false)
        }
        Err(status) => Err(refused_by_catalog("Extension", &status)),
    }
}

/// Adds the version to the catalog. It is here that one of several wins. False: it is there already, with this content.
async fn make_version(app: &App, version: &ExtensionVersion) -> Result<bool, Refusal> {
    let api = Api::<ExtensionVersion>::all(app.provider.clone());
    match answer("ExtensionVersion", api.create(&PostParams::default(), version)).await? {
        Ok(made) => {
            app.catalog.versions.put(made);
            Ok(true)
        }
        Err(status) if status.code == 409 => {
            let published =
                read::<ExtensionVersion>(&app.provider, "ExtensionVersion", &version.name_any()).await?;
            // Gone in this very moment: somebody deletes what is being published.
            let published = published.ok_or_else(Refusal::kcp)?;
            same_content(&published, &version.spec.content_hash)?;
            Ok(false)
        }
        Err(status) => Err(refused_by_catalog("ExtensionVersion", &status)),
    }
}

fn unnameable(error: &VersionNameError) -> Refusal {
    Refusal::new(
        StatusCode::UNPROCESSABLE_ENTITY,
        "RefusedByCatalog",
        format!("the catalog's name for this version {error}"),
    )
}

fn refused_by_catalog(what: &'static str, status: &kube::core::Status) -> Refusal {
    if !matches!(status.code, 400 | 422) {
        return unexpected(what, status);
    }
    let message: String = status.message.chars().filter(|c| !c.is_control()).take(1024).collect();
    Refusal::new(
        StatusCode::UNPROCESSABLE_ENTITY,
        "RefusedByCatalog",
        format!("kcp refuses the {what}: {message}"),
    )
}

async fn wait_until_verified(app: &App, name: &str) {
    let mut changes = app.catalog.versions.subscribe();
    let verified = || {
        let version = app.catalog.versions.get(name);
        let conditions = version.and_then(|version| Some(version.status.clone()?.conditions));
        conditions.is_some_and(|conditions| conditions.iter().any(|condition| condition.type_ == VERIFIED))
    };
    let waiting = async { while !verified() && changes.changed().await.is_ok() {} };
    if timeout(VERIFIED_WITHIN, waiting).await.is_err() {
        tracing::warn!(
            version = name,
            "published, but nobody has said yet that it is verified: does a registry lead?"
        );
    }
}

/// What a publisher is told.
struct Published {
    version: ExtensionVersion,
    kept: Kept,
    created: bool,
    created_extension: bool,
}

impl Published {
    fn into_response(self) -> Response {
        let (statement, spec) = (&self.kept.signed.statement, &self.version.spec);
        let status = if self.created { StatusCode::CREATED } else { StatusCode::OK };
        let body = json!({
            "name": self.version.name_any(),
            "extension": spec.extension,
            "version": spec.version,
            "publisher": spec.publisher,
            "contentHash": spec.content_hash,
            "archive": { "digest": statement.archive.digest.to_string(), "size": statement.archive.size },
            "capabilities": spec.capabilities,
            "keyId": self.kept.signed.signer.key.to_string(),
            "publishedAt": self.kept.published_at.to_string(),
            "created": self.created,
            "createdExtension": self.created_extension,
        });
        (status, Json(body)).into_response()
    }
}
