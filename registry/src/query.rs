//! Parameters of a URL.

use std::borrow::Cow;

/// The parameter that is there once. A second one could be what another part of the way goes by.
pub(crate) fn one<'q>(query: Option<&'q str>, name: &'static str) -> Result<Cow<'q, str>, &'static str> {
    match optional(query, name)? {
        Some(value) => Ok(value),
        None => Err("a parameter is missing from the query"),
    }
}

/// The parameter that is there once or not at all.
pub(crate) fn optional<'q>(
    query: Option<&'q str>,
    name: &'static str,
) -> Result<Option<Cow<'q, str>>, &'static str> {
    let mut values =
        form_urlencoded::parse(query.unwrap_or_default().as_bytes()).filter(|(key, _)| key == name);
    let first = values.next();
    if values.next().is_some() {
        return Err("a parameter is there twice in the query");
    }
    Ok(first.map(|(_, value)| value))
}
