//! What a request says of its install besides its host. Pure.

use annex_core::InstallIdentity;

/// Whether nothing in the query speaks of another install than the host is.
///
/// The host decides, and `tenant`, `extension` and `hash` are the words by which the registry's API calls the rest. Left out they are
/// not missed; were a wrong one ignored, a link made for one install would show another's pages without a word.
pub(super) fn agrees(query: Option<&str>, identity: &InstallIdentity) -> bool {
    form_urlencoded::parse(query.unwrap_or_default().as_bytes()).all(|(name, value)| match &*name {
        "tenant" => value == identity.tenant_id.as_str(),
        "extension" => value == identity.extension_id.as_str(),
        "hash" => value == identity.content_hash.to_string(),
        // A page's own.
        _ => true,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const HASH: &str = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    #[test]
    fn a_query_may_repeat_what_the_host_is_and_nothing_else() {
        let identity = InstallIdentity {
            tenant_id: "acme".parse().unwrap(),
            extension_id: "com.example.hello".parse().unwrap(),
            content_hash: HASH.parse().unwrap(),
        };
        let asked = |query: &str| agrees(Some(query), &identity);
        assert!(agrees(None, &identity));
        let all = format!("tenant=acme&extension=com.example.hello&hash={}", HASH.replace(':', "%3A"));
        for good in ["", "x=1", "tenants=globex", "tenant=acme", "%74enant=%61cme", &all] {
            assert!(asked(good), "{good}");
        }
        for bad in [
            "tenant=globex",
            "tenant=",
            "tenant",
            "tenant=ACME",
            "%74enant=globex",
            "tenant=acme&tenant=globex",
            "x=1&extension=com.example.other",
            "hash=sha256:ff",
            "hash=0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
        ] {
            assert!(!asked(bad), "{bad}");
        }
    }
}
