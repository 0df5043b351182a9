use std::{fmt, str::FromStr};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use k8s_openapi::api::core::v1::Secret;
use serde::Deserialize;
use sha2::{Digest as _, Sha256};

use crate::{NAMESPACE, SERVICE_ACCOUNT, Seed, objects::namespaced};

const TYPE: &str = "kubernetes.io/service-account-token";
const OWNER_ANNOTATION: &str = "kubernetes.io/service-account.name";

/// The name of a token Secret: `annex-token` in a new workspace, `annex-token-` and ten hex digits after a rotation.
///
/// A name is never used twice. kcp makes the very same token again for another Secret of the same name and ServiceAccount,
/// so a token that was revoked would be valid again.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TokenName(String);

/// Not the name of a token Secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not the name of a token Secret")]
pub struct NotATokenName;

impl TokenName {
    const BASE: &str = "annex-token";
    const DIGITS: usize = 10;

    /// The one that a new workspace begins with. Not for a workspace that may have had one.
    #[must_use]
    pub fn first() -> Self {
        Self(Self::BASE.to_owned())
    }

    /// The name that belongs to `origin`: another origin, another name; the same, the same.
    #[must_use]
    pub fn of_origin(origin: &[&str]) -> Self {
        use fmt::Write as _;
        let mut name = format!("{}-", Self::BASE);
        // Between the parts stands what is in none of them.
        for byte in Sha256::digest(origin.join("\n")).iter().take(Self::DIGITS / 2) {
            // Writing to a String cannot fail.
            let _ = write!(name, "{byte:02x}");
        }
        Self(name)
    }
}

impl fmt::Display for TokenName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for TokenName {
    type Err = NotATokenName;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let rest = text.strip_prefix(Self::BASE).ok_or(NotATokenName)?;
        let is_digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        let is_suffix = |suffix: &str| suffix.len() == Self::DIGITS && suffix.bytes().all(is_digit);
        if rest.is_empty() || rest.strip_prefix('-').is_some_and(is_suffix) {
            Ok(Self(text.to_owned()))
        } else {
            Err(NotATokenName)
        }
    }
}

/// A token of the seeded ServiceAccount, and the Secret that it lives as long as. Has no `Debug` that shows it.
#[derive(Clone)]
pub struct Token {
    name: TokenName,
    secret: String,
}

/// What is in a token Secret.
#[derive(Debug)]
pub enum TokenState {
    /// kcp has not filled it in yet.
    Unfilled,
    /// Not the seeded ServiceAccount's token, whoever put it there.
    Foreign,
    /// The token.
    Filled(Token),
}

impl Token {
    /// Reads a token Secret. The signature is not checked, which only kcp can; but what was pasted over a token is noticed,
    /// and a kubeconfig that opens nothing is not made of it.
    #[must_use]
    pub fn of(name: &TokenName, secret: &Secret) -> TokenState {
        if !Self::is_held_by(secret) {
            return TokenState::Foreign;
        }
        let Some(bytes) =
            secret.data.as_ref().and_then(|data| data.get("token")).filter(|it| !it.0.is_empty())
        else {
            return TokenState::Unfilled;
        };
        match String::from_utf8(bytes.0.clone()) {
            Ok(token) if Claims::of(&token).is_some_and(|claims| claims.are_of(name)) => {
                TokenState::Filled(Self { name: name.clone(), secret: token })
            }
            _ => TokenState::Foreign,
        }
    }

    /// Whether a Secret is one that holds a token of the seeded ServiceAccount.
    #[must_use]
    pub fn is_held_by(secret: &Secret) -> bool {
        let owner = secret.metadata.annotations.as_ref().and_then(|all| all.get(OWNER_ANNOTATION));
        secret.type_.as_deref() == Some(TYPE) && owner.map(String::as_str) == Some(SERVICE_ACCOUNT)
    }

    /// The name of its Secret.
    #[must_use]
    pub fn name(&self) -> &TokenName {
        &self.name
    }

    /// The token itself: never for a log, an error, an Event or a condition.
    #[must_use]
    pub fn secret(&self) -> &str {
        &self.secret
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Token").field("name", &self.name).finish_non_exhaustive()
    }
}

/// What a ServiceAccount's token that lives in a Secret says of itself.
#[derive(Deserialize)]
struct Claims {
    #[serde(rename = "kubernetes.io/serviceaccount/namespace")]
    namespace: String,
    #[serde(rename = "kubernetes.io/serviceaccount/service-account.name")]
    service_account: String,
    #[serde(rename = "kubernetes.io/serviceaccount/secret.name")]
    secret: String,
}

impl Claims {
    fn of(token: &str) -> Option<Self> {
        let mut parts = token.split('.');
        let (_header, payload, _signature) = (parts.next()?, parts.next()?, parts.next()?);
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).ok()?).ok()
    }

    fn are_of(&self, name: &TokenName) -> bool {
        self.namespace == NAMESPACE && self.service_account == SERVICE_ACCOUNT && self.secret == name.0
    }
}

impl Seed {
    /// The Secret that kcp fills with the ServiceAccount's token. The ServiceAccount has to be there first: kcp deletes a
    /// token Secret whose ServiceAccount it does not find.
    #[must_use]
    pub fn token_secret(name: &TokenName) -> Secret {
        let mut metadata = namespaced(&name.0);
        metadata.annotations = Some([(OWNER_ANNOTATION.to_owned(), SERVICE_ACCOUNT.to_owned())].into());
        Secret { metadata, type_: Some(TYPE.into()), ..Secret::default() }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use k8s_openapi::ByteString;
    use serde_json::json;

    use super::*;

    fn with_token(name: &TokenName, token: &str) -> Secret {
        let data = Some([("token".to_owned(), ByteString(token.as_bytes().to_vec()))].into());
        Secret { data, ..Seed::token_secret(name) }
    }

    fn token_of(name: &str) -> String {
        let payload = json!({
            "iss": "kubernetes/serviceaccount",
            "kubernetes.io/serviceaccount/namespace": "annex",
            "kubernetes.io/serviceaccount/service-account.name": "annex",
            "kubernetes.io/serviceaccount/secret.name": name,
        });
        format!("e30.{}.c2ln", URL_SAFE_NO_PAD.encode(payload.to_string()))
    }

    pub(crate) fn filled(name: &TokenName) -> Token {
        match Token::of(name, &with_token(name, &token_of(&name.to_string()))) {
            TokenState::Filled(token) => token,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn names_come_from_their_origin_and_have_one_spelling() {
        let names = [
            TokenName::first(),
            TokenName::of_origin(&["uid", "1"]),
            TokenName::of_origin(&["uid", "2"]),
            TokenName::of_origin(&["uid1", ""]),
        ];
        for (at, name) in names.iter().enumerate() {
            assert_eq!(name.to_string().parse().as_ref(), Ok(name));
            assert!(names[at + 1..].iter().all(|other| other != name), "{name}");
        }
        assert_eq!(names[1], TokenName::of_origin(&["uid", "1"]));
        for other in [
            "",
            "annex",
            "annex-tokens",
            "annex-token-",
            "annex-token-2",
            "annex-token-mine",
            "annex-token-0123456789a",
            "annex-token-012345678A",
            "my-annex-token",
        ] {
            assert_eq!(other.parse::<TokenName>(), Err(NotATokenName), "{other}");
        }
    }

    #[test]
    fn what_was_pasted_over_a_token_is_foreign() {
        let name = &TokenName::first();
        assert_eq!(filled(name).secret(), token_of("annex-token"));
        assert!(matches!(Token::of(name, &Seed::token_secret(name)), TokenState::Unfilled));
        assert!(matches!(Token::of(name, &with_token(name, "")), TokenState::Unfilled));
        let others = ["junk", "a.b.c", "e30.e30.e30", &token_of("annex-token-0123456789"), &token_of("x")];
        for other in others {
            assert!(matches!(Token::of(name, &with_token(name, other)), TokenState::Foreign), "{other}");
        }
        let mut secret = with_token(name, &token_of("annex-token"));
        secret.metadata.annotations.as_mut().unwrap().insert(OWNER_ANNOTATION.into(), "default".into());
        assert!(matches!(Token::of(name, &secret), TokenState::Foreign));
    }

    #[test]
    fn a_token_is_not_shown() {
        let token = filled(&TokenName::first());
        assert!(!format!("{token:?}").contains(&token.secret()[..8]), "{token:?}");
    }
}
