//! What the gateway and the runner say to each other: the grant of a call, and the call itself.
//!
//! A runner executes nothing that the gateway has not granted. A [`Grant`] says whose call of which content it is, what the guest may do
//! and use, and of which body; it is good for a few seconds, once, and for one audience. [`KeyRing::sign`] makes its [token](Token) and
//! [`admit`] accepts it. Nothing here does I/O or knows the time: whoever asks says what time it is.
//!
//! ```
//! # use annex_grant::*;
//! # use std::time::Duration;
//! # let file = |name: &str, text: &str| (name.to_owned(), text.as_bytes().to_vec());
//! let gateway = KeyRing::parse(&[file("k1", "a secret of at least 32 visible characters")])?;
//! let audience: Audience = "annex-1s8uv2zt5c3nc1hy/exec".parse()?;
//! // What that runner is given verifies for that audience and for no other.
//! let (id, derived) = gateway.derived(&audience).remove(0);
//! let runner = KeyRing::parse(&[file(id.as_str(), &derived)])?;
//! # let body = br#"{"context":{}}"#;
//! # let now = UnixMillis(1_000_000);
//! # let grant = Grant {
//! #     audience: audience.clone(), tenant: "acme".parse()?, install: "uid".parse()?, extension: "com.example.hello".parse()?,
//! #     content: annex_core::ContentHash::from_sha256([0; 32]), capabilities: Capabilities::default(),
//! #     limits: Limits { timeout_ms: 1000, memory_mb: 64, fuel: None }, nonce: Nonce([1; 16]), issued: now,
//! #     expires: now.after(Duration::from_secs(5)), body: BodyDigest::of(body),
//! # };
//! let token = gateway.sign(&grant)?;
//!
//! let expected = Expected { audience: &audience, now, skew: Duration::from_secs(5) };
//! let replays = ReplayGuard::new(100_000);
//! let granted = admit(token.as_str(), body, &runner, expected, &replays)?;
//! assert_eq!(granted, grant);
//! assert_eq!(admit(token.as_str(), body, &runner, expected, &replays), Err(Refusal::Replayed));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod admit;
mod audience;
mod base64_bytes;
mod capabilities;
mod encoding;
mod execute;
mod grant;
mod key;
mod key_ring;
mod order;
mod refusal;
mod replay;
mod runner_error;
mod secrets;
mod storage;
mod time;
mod token;

pub use admit::{Expected, admit};
pub use audience::{Audience, AudienceError};
pub use base64_bytes::Base64Bytes;
pub use capabilities::{Capabilities, CapabilityError};
pub use execute::{
    EXECUTE_PATH, ExecuteContext, ExecuteRequest, ExecuteResponse, Header, HttpRequest, Limits,
};
pub use grant::{BodyDigest, Grant, LONGEST_LIFE, Nonce};
pub use key::{KeyId, KeyIdError};
pub use key_ring::{KeyRing, KeyRingError, SignError};
pub use order::{LARGEST_ORDER, ORDER_PATH, Order, OrderContext};
pub use refusal::Refusal;
pub use replay::ReplayGuard;
pub use runner_error::{RunnerError, RunnerErrorCode};
pub use secrets::{BROKER_AUDIENCE, SECRETS_CAPABILITY, SECRETS_PATH, SecretAnswer, SecretQuestion};
pub use storage::{
    KV_CAPABILITY, KV_PATH, KvAnswer, KvQuestion, KvRefusal, KvRefusalCode, LARGEST_KV_ANSWER,
    LARGEST_KV_QUESTION,
};
pub use time::UnixMillis;
pub use token::{BROKER_TOKEN_HEADER, LONGEST_TOKEN, TOKEN_HEADER, Token};
