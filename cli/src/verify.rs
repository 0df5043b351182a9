//! `kubectl annex verify`.

use std::fmt::Write as _;
use std::path::PathBuf;

use annex_bundle::signature::MAX_SIGNATURE;
use annex_bundle::{
    Denylist, Discard, Limits, PublishPolicy, Refusal, TrustBundle, Verified, verify_at_publish,
};
use clap::Args;
use jiff::Timestamp;
use serde::Serialize;

use crate::files;
use crate::format::Format;
use crate::outcome::{Failure, Outcome};
use crate::shell::quoted;

pub(crate) const HELP: &str = "\
Reads FILE and FILE.sig, and says whether a registry with this trust bundle would take them now. Nothing is sent anywhere, and \
nothing but the verdict is kept.

The trust bundle is as in SIGNING_TRUST_BUNDLE: authorities as CERTIFICATE, keys as PUBLIC KEY with a line \
`# annex-publisher: NAME` above each. `keygen --publisher` writes such a file.

Examples:
  kubectl annex verify notes.tar.zst --trust publisher.key.pub
  kubectl annex verify notes.tar.zst --trust trust.pem --denylist denied.txt -o json

Exit codes: 0 verified, 1 refused (with one of the codes of docs/bundle-format.md; -o json and yaml have it, too), \
2 wrong usage, 3 a file could not be read.";

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// The archive; its signature is FILE.sig
    pub(crate) file: PathBuf,
    /// The trust bundle
    #[arg(long, value_name = "PEM")]
    pub(crate) trust: PathBuf,
    /// What is revoked: digests, keys, certificates, publishers
    #[arg(long, value_name = "TXT")]
    pub(crate) denylist: Option<PathBuf>,
    /// How to print it
    #[arg(short, long, value_enum, default_value_t)]
    pub(crate) output: Format,
}

/// More than the largest denylist and the largest trust bundle.
const MAX_POLICY: usize = 17 << 20;

/// What a program reads of a refusal.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Refused {
    verified: bool,
    code: &'static str,
    message: String,
}

/// What was found.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Found {
    verified: bool,
    name: String,
    version: String,
    publisher: String,
    content_hash: String,
    archive: Archive,
    capabilities: Vec<String>,
    egress: Vec<String>,
    signed_at: Timestamp,
    key_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    certificate: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    anchor: Option<String>,
}

#[derive(Debug, Serialize)]
struct Archive {
    digest: String,
    size: u64,
}

/// Verifies the archive.
pub(crate) fn run(arguments: &Arguments) -> Outcome {
    let verdict = match verdict(arguments) {
        Ok(verdict) => verdict,
        Err(failure) => return Outcome::Failed(failure),
    };
    match verdict {
        Ok(verified) => arguments.output.print(&Found::of(&verified), Found::text).into(),
        // Not a verdict: the bytes could not be had.
        Err(Refusal::Archive(error)) if error.code() == "ReadFailed" => {
            Outcome::Failed(Failure::Unable(format!("{}: {error}", arguments.file.display())))
        }
        Err(refusal) => refused(arguments, &refusal),
    }
}

fn verdict(arguments: &Arguments) -> Result<Result<Verified, Refusal>, Failure> {
    let trust = &arguments.trust;
    let trust = TrustBundle::parse(&files::read(trust, MAX_POLICY)?)
        .map_err(|error| Failure::refused(error.code(), format!("{}: {error}", trust.display())))?;
    let denylist = match &arguments.denylist {
        None => Denylist::default(),
        Some(path) => Denylist::parse(&files::read(path, MAX_POLICY)?)
            .map_err(|error| Failure::refused(error.code(), format!("{}: {error}", path.display())))?,
    };
    let archive = files::open(&arguments.file)?;
    let signature = files::read_if_there(&files::signature_of(&arguments.file), MAX_SIGNATURE)?;
    let policy = PublishPolicy {
        trust: &trust,
        denylist: &denylist,
        now: Timestamp::now(),
        limits: &Limits::default(),
    };
    Ok(verify_at_publish(archive, signature.as_deref(), &policy, Discard))
}

fn refused(arguments: &Arguments, refusal: &Refusal) -> Outcome {
    let mut message = refusal.to_string();
    if matches!(refusal, Refusal::Unsigned) {
        let file = quoted(&arguments.file.display().to_string());
        let _ = write!(message, "; kubectl annex sign {file} --key KEY makes {file}.sig");
    }
    let failure = Failure::refused(refusal.code(), &message);
    let refused = Refused { verified: false, code: refusal.code(), message };
    match arguments.output.print(&refused, |_| String::new()) {
        Ok(printed) if !printed.is_empty() => Outcome::FailedWith { printed, failure },
        Ok(_) => Outcome::Failed(failure),
        Err(failure) => Outcome::Failed(failure),
    }
}

impl Found {
    fn of(verified: &Verified) -> Self {
        let (unpacked, signer) = (&verified.unpacked, &verified.signer);
        let manifest = &unpacked.manifest;
        Self {
            verified: true,
            name: manifest.name.to_string(),
            version: manifest.version.to_string(),
            publisher: manifest.publisher.to_string(),
            content_hash: unpacked.content_hash.to_string(),
            archive: Archive { digest: unpacked.archive.to_string(), size: unpacked.size },
            capabilities: manifest.capabilities.iter().map(ToString::to_string).collect(),
            egress: manifest.egress.iter().map(ToString::to_string).collect(),
            signed_at: verified.statement.signed_at,
            key_id: signer.key.to_string(),
            certificate: signer.certificate.map(|fingerprint| fingerprint.to_string()),
            anchor: signer.anchor.map(|fingerprint| fingerprint.to_string()),
        }
    }

    fn text(&self) -> String {
        let list = |items: &[String]| if items.is_empty() { "none".to_owned() } else { items.join(", ") };
        let mut lines = vec![
            ("name", self.name.clone()),
            ("version", self.version.clone()),
            ("publisher", self.publisher.clone()),
            ("content hash", self.content_hash.clone()),
            ("archive", format!("{} ({} bytes)", self.archive.digest, self.archive.size)),
            ("capabilities", list(&self.capabilities)),
            ("egress", list(&self.egress)),
            ("signed at", self.signed_at.to_string()),
            ("key", self.key_id.clone()),
        ];
        lines.extend(self.certificate.clone().map(|certificate| ("certificate", certificate)));
        lines.extend(self.anchor.clone().map(|anchor| ("authority", anchor)));
        let mut text = "verified\n".to_owned();
        for (name, value) in lines {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "  {name:<13} {value}");
        }
        text
    }
}
