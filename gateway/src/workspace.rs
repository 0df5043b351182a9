//! Which workspace a request is for.

use annex_answering::Refusal;
use axum::http::HeaderMap;
use kube_kcp::ClusterName;

use crate::refusals::{no_workspace, workspaces_disagree};

/// By its name, which is that of its logical cluster.
pub(crate) const WORKSPACE_HEADER: &str = "x-annex-workspace";

/// The workspace that the header names, if there is one.
///
/// # Errors
/// There are two, or it names none.
pub(crate) fn named(headers: &HeaderMap) -> Result<Option<ClusterName>, Refusal> {
    let mut values = headers.get_all(WORKSPACE_HEADER).iter();
    let Some(value) = values.next() else { return Ok(None) };
    let malformed =
        || Refusal::malformed(format!("{WORKSPACE_HEADER} is not the name of one logical cluster"));
    if values.next().is_some() {
        return Err(malformed());
    }
    value.to_str().ok().and_then(|text| text.parse().ok()).map(Some).ok_or_else(malformed)
}

/// The one that all agree on who say one: the extension's own host, the header, and where the token comes from.
///
/// # Errors
/// They do not, or nobody says one.
pub(crate) fn agreed(
    by_host: Option<&ClusterName>,
    by_header: Option<&ClusterName>,
    by_token: Option<&ClusterName>,
) -> Result<ClusterName, Refusal> {
    let mut said = [by_host, by_header, by_token].into_iter().flatten();
    let first = said.next().ok_or_else(no_workspace)?;
    if said.all(|other| other == first) { Ok(first.clone()) } else { Err(workspaces_disagree()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_who_say_one_say_the_same() {
        let (one, other): (ClusterName, ClusterName) = ("one".parse().unwrap(), "other".parse().unwrap());
        let agreed = |sources: [Option<&ClusterName>; 3]| {
            agreed(sources[0], sources[1], sources[2]).map_err(|refusal| refusal.code)
        };
        assert_eq!(agreed([None; 3]), Err("WorkspaceUnknown"));
        for place in 0..3 {
            let mut alone = [None; 3];
            alone[place] = Some(&one);
            assert_eq!(agreed(alone), Ok(one.clone()));
            let mut differing = [Some(&one); 3];
            assert_eq!(agreed(differing), Ok(one.clone()));
            differing[place] = Some(&other);
            assert_eq!(agreed(differing), Err("WorkspaceMismatch"));
            differing[(place + 1) % 3] = None;
            assert_eq!(agreed(differing), Err("WorkspaceMismatch"));
        }
    }

    #[test]
    fn the_header_names_one_logical_cluster() {
        let named = |values: &[&str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(WORKSPACE_HEADER, value.parse().unwrap());
            }
            named(&headers).map_err(|refusal| refusal.code)
        };
        assert_eq!(named(&[]), Ok(None));
        assert_eq!(named(&["1s8uv2zt5c3nc1hy"]), Ok(Some("1s8uv2zt5c3nc1hy".parse().unwrap())));
        for bad in [&[""][..], &["root:acme"], &["a/b"], &["*"], &["a", "a"], &["../a"]] {
            assert_eq!(named(bad), Err("MalformedRequest"), "{bad:?}");
        }
    }
}
