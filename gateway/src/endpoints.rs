//! Which endpoint of a version a request is for.

use annex_apis::Endpoint;

use crate::path::ExtensionPath;

/// The endpoint of this method that describes the path best: from the left, a literal segment before a parameter, and that before the
/// rest. A path that is there with another method is not there.
pub(crate) fn endpoint<'a>(
    endpoints: &'a [Endpoint],
    method: &str,
    path: &ExtensionPath,
) -> Option<&'a Endpoint> {
    let of_method = endpoints.iter().filter(|endpoint| endpoint.method == method);
    let fitting = of_method.filter_map(|endpoint| Some((fit(&endpoint.path, path)?, endpoint)));
    fitting.min_by(|(one, _), (other, _)| one.cmp(other)).map(|(_, endpoint)| endpoint)
}

/// Whether the Install lets everybody call it, identity or none: it is listed as the manifest spells it.
pub(crate) fn is_public(public: &[String], endpoint: &Endpoint) -> bool {
    let is_it = |listed: &String| {
        listed
            .split_once(' ')
            .is_some_and(|(method, path)| method == endpoint.method && path == endpoint.path)
    };
    public.iter().any(is_it)
}

/// How a segment is described. In the order of preference.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Fit {
    Literal,
    Parameter,
    Rest,
}

/// None: it does not describe it. The rest is one segment at least.
fn fit(pattern: &str, path: &ExtensionPath) -> Option<Vec<Fit>> {
    let pattern = pattern.strip_prefix('/')?;
    let mut wanted = pattern.split('/').filter(|_| !pattern.is_empty());
    let mut fits = Vec::new();
    for segment in path.segments() {
        match wanted.next()? {
            rest if rest.starts_with("{*") => {
                fits.push(Fit::Rest);
                return Some(fits);
            }
            parameter if parameter.starts_with('{') => fits.push(Fit::Parameter),
            literal if literal == segment => fits.push(Fit::Literal),
            _ => return None,
        }
    }
    wanted.next().is_none().then_some(fits)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(method: &str, path: &str) -> Option<String> {
        let patterns = [
            "/",
            "/notes",
            "/notes/{id}",
            "/notes/latest",
            "/notes/{id}/tags/{tag}",
            "/files/{*path}",
            "/files/{name}",
            "/files/readme/{part}",
        ];
        let endpoints: Vec<Endpoint> = patterns
            .iter()
            .map(|path| Endpoint { method: "GET".into(), path: (*path).into(), handler: "h".into() })
            .collect();
        let path = ExtensionPath::parse(path).unwrap();
        endpoint(&endpoints, method, &path).map(|endpoint| endpoint.path.clone())
    }

    #[test]
    fn the_best_description_is_taken() {
        for (path, pattern) in [
            ("/", Some("/")),
            ("", Some("/")),
            ("/notes", Some("/notes")),
            ("/%6eotes", Some("/notes")),
            ("/notes/7", Some("/notes/{id}")),
            ("/notes/latest", Some("/notes/latest")),
            ("/notes/latest/tags/x", Some("/notes/{id}/tags/{tag}")),
            ("/files/a", Some("/files/{name}")),
            ("/files/a/b", Some("/files/{*path}")),
            ("/files/readme/1", Some("/files/readme/{part}")),
            ("/files", None),
            ("/notes/7/tags", None),
            ("/other", None),
            ("/Notes", None),
            ("/%7Bid%7D", None),
        ] {
            assert_eq!(found("GET", path).as_deref(), pattern, "{path}");
        }
        assert_eq!(found("POST", "/notes"), None);
        assert_eq!(found("get", "/notes"), None);
    }

    #[test]
    fn only_what_is_listed_is_public() {
        let endpoint = Endpoint { method: "GET".into(), path: "/notes/{id}".into(), handler: "h".into() };
        let public = |listed: &str| is_public(&[listed.to_owned()], &endpoint);
        assert!(public("GET /notes/{id}"));
        for other in
            ["GET /notes", "POST /notes/{id}", "GET  /notes/{id}", "* *", "/notes/{id}", "", "GET /notes/7"]
        {
            assert!(!public(other), "{other}");
        }
    }
}
