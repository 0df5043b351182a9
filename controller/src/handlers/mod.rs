//! What the controller has runners do: prepare a content before it answers, call an extension's lifecycle handlers, and remove what it stored.
//!
//! It asks the runner itself, with a grant of its own: the gateway need not be there for an extension to be installed, and no request
//! of the outside ever gets to a lifecycle handler.

mod args;

use std::{collections::BTreeMap, time::Duration};

use annex_apis::{ExtensionVersion, RunnerReference};
use annex_core::{InstallId, InstallIdentity};
use annex_grant::{
    BodyDigest, Capabilities, ExecuteContext, ExecuteRequest, Grant, HttpRequest, KeyRing, Limits, Nonce,
    Order, OrderContext, RunnerError, RunnerErrorCode, UnixMillis,
};
use annex_runner_client::{Executed, NoPlace, NotExecuted, Ordered, Place, Runners, sign};
use annex_service::{Followed, RequestId};
use bytes::Bytes;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Serialize;
use uuid::Uuid;

pub(crate) use args::HandlerArgs;

/// How much longer than the call its grant lives: it travels, and the runner may be slow to begin.
const GRANT_MARGIN: Duration = Duration::from_secs(5);
/// How much of what a handler says of its failure is shown.
const LONGEST_WORDS: usize = 512;
/// Memory of a call whose version names none, in MiB.
pub(crate) const DEFAULT_MEMORY_MIB: u32 = 128;

/// The way to the runners.
pub(crate) struct Handlers {
    runners: Runners,
    keys: Followed<KeyRing>,
    /// How long a handler may take whose version names no time, and how long a content may take to be prepared.
    timeout: Duration,
}

/// Whose handlers, and where they run.
#[derive(Clone, Debug)]
pub(crate) struct Callee<'a> {
    pub(crate) runner: &'a RunnerReference,
    pub(crate) identity: &'a InstallIdentity,
    /// The Install's uid.
    pub(crate) install: &'a str,
    pub(crate) version: &'a ExtensionVersion,
    /// What the Install grants of what the version asks for.
    pub(crate) granted: Option<&'a [String]>,
    /// What a handler may use of memory, in MiB.
    pub(crate) memory_mib: u32,
    pub(crate) config: BTreeMap<String, serde_json::Value>,
}

/// What a lifecycle handler is told. One module's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Change<'a> {
    /// `install`, `upgrade` or `uninstall`.
    pub(crate) action: &'static str,
    pub(crate) module: &'a str,
    /// Its version before. None: it was not there.
    pub(crate) from: Option<&'a str>,
    /// Its version afterwards. None: it is not to be there.
    pub(crate) to: Option<&'a str>,
    /// Whether what it stored is going to be removed.
    pub(crate) purge: bool,
}

/// Why something was not done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum NotDone {
    /// Nobody could be asked just now. It is no fault of the extension's.
    Away(String),
    /// Somebody was asked and was not heard of any more, so that it may have been done. It is no fault of the extension's.
    Unheard(String),
    /// The extension has failed. `for_good`: it says that asking again is of no use.
    Failed { reason: &'static str, message: String, for_good: bool },
    /// There is no way to that runner.
    NoWay(String),
}

impl Handlers {
    /// Has the runner fetch, verify, compile and link the content.
    pub(crate) async fn prepare(&self, callee: &Callee<'_>) -> Result<(), NotDone> {
        self.order(callee, self.place(callee)?, Order::Prepare, false).await
    }

    /// Has everything removed that the extension stored in the workspace, also before it ran where it does now.
    pub(crate) async fn purge(&self, callee: &Callee<'_>) -> Result<(), NotDone> {
        let place = self.runners.storage_of(Some(callee.runner)).map_err(no_way)?;
        self.order(callee, place, Order::Purge, true).await
    }

    async fn order(
        &self,
        callee: &Callee<'_>,
        place: Place,
        order: fn(OrderContext) -> Order,
        asks_the_broker: bool,
    ) -> Result<(), NotDone> {
        let (install, request_id) = (id(callee)?, RequestId::default());
        let order = order(OrderContext {
            request_id: request_id.as_str().to_owned(),
            tenant_id: callee.identity.tenant_id.clone(),
            extension_id: callee.identity.extension_id.clone(),
            install_id: install.clone(),
            content_hash: callee.identity.content_hash,
        });
        let body = Bytes::from(serde_json::to_vec(&order).map_err(|_| internal())?);
        let grant = self.grant(callee, &place, install, limits(callee, self.timeout), &body)?;
        let presented = sign(&self.keys.get(), &grant, asks_the_broker).map_err(|_| internal())?;
        match self.runners.order(&place, &presented, body, &request_id, self.timeout).await {
            Ok(Ordered::Done) => Ok(()),
            Ok(Ordered::Refused(error)) => Err(refused(&error)),
            Err(error) => Err(away(&error)),
        }
    }

    /// Calls a handler of the content for one of its modules.
    pub(crate) async fn call(
        &self,
        callee: &Callee<'_>,
        handler: &str,
        change: &Change<'_>,
    ) -> Result<(), NotDone> {
        let (place, install) = (self.place(callee)?, id(callee)?);
        let request_id = RequestId::default();
        let limits = limits(callee, self.timeout);
        let request = ExecuteRequest {
            context: ExecuteContext {
                request_id: request_id.as_str().to_owned(),
                tenant_id: callee.identity.tenant_id.clone(),
                extension_id: callee.identity.extension_id.clone(),
                install_id: install.clone(),
                content_hash: callee.identity.content_hash,
                version: callee.version.spec.version.clone(),
                config: callee.config.clone(),
            },
            http: HttpRequest {
                method: "POST".to_owned(),
                path: format!("/.annex/lifecycle/{}", segment(handler)),
                query: None,
                headers: vec![("content-type".to_owned(), "application/json".to_owned())],
                body_b64: Some(annex_grant::Base64Bytes(serde_json::to_vec(change).map_err(|_| internal())?)),
            },
            limits,
        };
        let body = Bytes::from(serde_json::to_vec(&request).map_err(|_| internal())?);
        let grant = self.grant(callee, &place, install, limits, &body)?;
        let presented = sign(&self.keys.get(), &grant, false).map_err(|_| internal())?;
        // Knative may have to start a runner within it. The runner's own clock begins later, and it is the runner that says whose fault it was.
        let within = self.timeout + GRANT_MARGIN;
        match self.runners.execute(&place, &presented, body, &request_id, within).await {
            Ok(Executed::Answer(answer)) if (200..300).contains(&answer.status) => Ok(()),
            Ok(Executed::Answer(answer)) => Err(said(answer.status, answer.body_b64.map(|body| body.0))),
            Ok(Executed::Refused { error, .. }) => Err(refused(&error)),
            Err(error) => Err(away(&error)),
        }
    }
}

impl Handlers {
    pub(crate) fn new(args: &HandlerArgs, keys: Followed<KeyRing>) -> anyhow::Result<Self> {
        Ok(Self { runners: Runners::new(&args.settings()?)?, keys, timeout: args.timeout() })
    }

    fn place(&self, callee: &Callee<'_>) -> Result<Place, NotDone> {
        self.runners.of(Some(callee.runner)).map_err(no_way)
    }

    fn grant(
        &self,
        callee: &Callee<'_>,
        place: &Place,
        install: InstallId,
        limits: Limits,
        body: &[u8],
    ) -> Result<Grant, NotDone> {
        let asked = &callee.version.spec.capabilities;
        let now = UnixMillis::from(std::time::SystemTime::now());
        Ok(Grant {
            audience: place.audience.clone(),
            tenant: callee.identity.tenant_id.clone(),
            install,
            extension: callee.identity.extension_id.clone(),
            content: callee.identity.content_hash,
            capabilities: Capabilities::granted(asked, callee.granted).map_err(|_| internal())?,
            limits,
            nonce: Nonce(Uuid::new_v4().into_bytes()),
            issued: now,
            expires: now.after(self.timeout + GRANT_MARGIN),
            body: BodyDigest::of(body),
        })
    }
}

fn id(callee: &Callee<'_>) -> Result<InstallId, NotDone> {
    callee.install.parse().map_err(|_| internal())
}

fn no_way(_: NoPlace) -> NotDone {
    NotDone::NoWay("the platform cannot reach the runner of this install".to_owned())
}

fn internal() -> NotDone {
    NotDone::Away("the platform could not make the call; it is tried again by itself".to_owned())
}

/// What the version names, and what the platform gives where it names nothing.
fn limits(callee: &Callee<'_>, timeout: Duration) -> Limits {
    let own = callee.version.spec.limits.clone().unwrap_or_default();
    let positive =
        |number: Option<i32>| number.and_then(|number| u32::try_from(number).ok()).filter(|n| *n > 0);
    let whole = u32::try_from(timeout.as_millis()).unwrap_or(u32::MAX);
    Limits {
        timeout_ms: positive(own.timeout_ms).map_or(whole, |own| own.min(whole)),
        memory_mb: callee.memory_mib,
        fuel: None,
    }
}

/// What needs no escape in a path (RFC 3986, "unreserved") has none.
const ESCAPED: AsciiSet = NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// A handler's name as one segment of a path. It begins with a letter or a digit, so it is no dot segment.
fn segment(handler: &str) -> String {
    utf8_percent_encode(handler, &ESCAPED).to_string()
}

/// What the guest said of its failure: for people, of whom the tenant is one.
fn said(status: u16, body: Option<Vec<u8>>) -> NotDone {
    let body = body.unwrap_or_default();
    let text = match serde_json::from_slice::<serde_json::Value>(&body) {
        Ok(serde_json::Value::Object(fields)) => {
            fields.get("message").and_then(|message| message.as_str()).unwrap_or_default().to_owned()
        }
        _ => String::from_utf8_lossy(&body).into_owned(),
    };
    let text: String = text
        .chars()
        .map(|character| if character.is_control() { ' ' } else { character })
        .take(LONGEST_WORDS)
        .collect();
    let message = match text.trim() {
        "" => format!("it answered {status}"),
        text => format!("it answered {status}: {text}"),
    };
    // What the extension says of itself: these ask to be asked again.
    let for_good = (400..500).contains(&status) && ![408, 425, 429].contains(&status);
    NotDone::Failed { reason: "LifecycleFailed", message, for_good }
}

/// What a runner says of an extension, or of itself.
fn refused(error: &RunnerError) -> NotDone {
    let failed = |message: &str, for_good| NotDone::Failed {
        reason: error.code.as_str(),
        message: message.to_owned(),
        for_good,
    };
    match error.code {
        RunnerErrorCode::CapabilityDenied => {
            let capability: String = error.message.chars().filter(char::is_ascii_graphic).take(64).collect();
            failed(&format!("it needs the capability {capability}, which the Install does not grant"), true)
        }
        RunnerErrorCode::VerificationFailed => failed("the runner does not trust its bytes", true),
        // Of what is loaded the message begins with the engine's word for why it cannot be.
        RunnerErrorCode::GuestFailed => {
            let word: String =
                error.message.chars().take_while(char::is_ascii_alphanumeric).take(64).collect();
            failed(&format!("it failed in the sandbox: {word}"), false)
        }
        RunnerErrorCode::GuestLimit => {
            failed("it asked for more memory or resources than it may have", false)
        }
        RunnerErrorCode::ResponseTooLarge => failed("its answer is too large", false),
        RunnerErrorCode::Timeout => failed("it took longer than it may", false),
        RunnerErrorCode::MalformedRequest
        | RunnerErrorCode::GrantRefused
        | RunnerErrorCode::RequestTooLarge
        | RunnerErrorCode::Busy
        | RunnerErrorCode::BundleUnavailable
        | RunnerErrorCode::Draining => NotDone::Away(answers(error.code)),
        RunnerErrorCode::Internal | RunnerErrorCode::Unknown => NotDone::Unheard(answers(error.code)),
    }
}

fn answers(code: RunnerErrorCode) -> String {
    format!("the runner answers {}; it is tried again by itself", code.as_str())
}

fn away(error: &NotExecuted) -> NotDone {
    let message = format!("{error}; it is tried again by itself");
    match error {
        NotExecuted::Unreachable(_) => NotDone::Away(message),
        NotExecuted::Timeout
        | NotExecuted::BrokeOff(_)
        | NotExecuted::TooLarge(_)
        | NotExecuted::Malformed => NotDone::Unheard(message),
    }
}
