//! Headers that are between two neighbours on the wire.

use http::{
    HeaderMap,
    header::{self, HeaderName},
};

/// Those of RFC 9110, section 7.6.1, and what would change how a message is read.
const HOP_BY_HOP: [HeaderName; 10] = [
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    HeaderName::from_static("http2-settings"),
];

/// The names of the headers that end here and do not go on to the next: these ten, whether there are any or not, and what `connection` names.
pub fn hop_by_hop(headers: &HeaderMap) -> Vec<HeaderName> {
    let values = headers.get_all(header::CONNECTION).iter().filter_map(|value| value.to_str().ok());
    let named = values.flat_map(|value| value.split(',')).filter_map(|name| name.trim().parse().ok());
    HOP_BY_HOP.into_iter().chain(named).collect()
}
