//! Parameters that an Install takes out of Secrets. Pure.

use std::fmt;

use k8s_openapi::api::core::v1::Secret;
use serde_json::{Map, Value};

use crate::MANAGED_ENVIRONMENT_SECRET_TYPE;

/// The types of Secrets that open kcp. Nothing of theirs is handed to an extension, even if its Install names them.
pub const CREDENTIALS_OF_KCP: [&str; 2] =
    [MANAGED_ENVIRONMENT_SECRET_TYPE, "kubernetes.io/service-account-token"];

/// As large as all parameters may be.
const LARGEST: usize = 64 << 10;

/// Why there are no parameters in a Secret. No variant holds anything of what is in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoParameters {
    /// It opens kcp.
    Credential,
    /// It has no such key.
    NoKey,
    /// The key's value is larger than 64 KiB.
    TooLarge,
    /// The key's value is no JSON object.
    NoObject,
}

impl fmt::Display for NoParameters {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Credential => "is a credential of kcp, of which nothing is handed to an extension",
            Self::NoKey => "has no such key",
            Self::TooLarge => "has more than 64 KiB there",
            Self::NoObject => "has no JSON object there",
        })
    }
}

/// The parameters in this key of a Secret.
///
/// # Errors
/// There are none.
pub fn parameters_in(secret: &Secret, key: &str) -> Result<Map<String, Value>, NoParameters> {
    if secret.type_.as_deref().is_some_and(|type_| CREDENTIALS_OF_KCP.contains(&type_)) {
        return Err(NoParameters::Credential);
    }
    let value = secret.data.as_ref().and_then(|data| data.get(key)).ok_or(NoParameters::NoKey)?;
    if value.0.len() > LARGEST {
        return Err(NoParameters::TooLarge);
    }
    serde_json::from_slice(&value.0).map_err(|_| NoParameters::NoObject)
}

#[cfg(test)]
mod tests {
    use k8s_openapi::ByteString;

    use super::*;

    fn secret(type_: &str, value: &[u8]) -> Secret {
        Secret {
            type_: Some(type_.to_owned()),
            data: Some([("json".to_owned(), ByteString(value.to_vec()))].into()),
            ..Secret::default()
        }
    }

    #[test]
    fn they_are_an_object_and_nothing_that_opens_kcp() {
        let found = parameters_in(&secret("Opaque", br#"{"colour": "red"}"#), "json").unwrap();
        assert_eq!(found["colour"], "red");
        for (type_, value, key, why) in [
            ("Opaque", &b"{}"[..], "yaml", NoParameters::NoKey),
            ("Opaque", b"[]", "json", NoParameters::NoObject),
            ("Opaque", b"{\"a\": 1} x", "json", NoParameters::NoObject),
            ("Opaque", b"\xff", "json", NoParameters::NoObject),
            ("kubernetes.io/service-account-token", b"{}", "json", NoParameters::Credential),
            (MANAGED_ENVIRONMENT_SECRET_TYPE, b"{}", "json", NoParameters::Credential),
        ] {
            assert_eq!(parameters_in(&secret(type_, value), key), Err(why));
        }
        let large = format!("{{\"a\": \"{}\"}}", "a".repeat(LARGEST));
        assert_eq!(parameters_in(&secret("Opaque", large.as_bytes()), "json"), Err(NoParameters::TooLarge));
        let deep = format!("{}{}", "{\"a\":".repeat(5000), "}".repeat(5000));
        assert_eq!(parameters_in(&secret("Opaque", deep.as_bytes()), "json"), Err(NoParameters::NoObject));
    }
}
