//! The one way out of the sandbox: an [`annex_engine::Egress`] that sends what operator and manifest both allow, to addresses that
//! were vetted, and nothing else.
//!
//! | question | where |
//! |---|---|
//! | which hosts? | [`OperatorList`], `EXT_EGRESS_ALLOWLIST`; [`ManifestList`], `egress[]`; both must allow, empty allows nothing |
//! | which addresses? | public ones; every address of a name is judged, and one that was judged is connected to |
//! | how much, how long? | [`EgressLimits`] |
//! | who is asked for addresses? | [`Resolver`] |
//! | what is counted? | [`EgressMetrics`] |
//!
//! HTTP/1.1, one connection for each request. A redirect is an answer like any other: if the guest follows it, that is a new
//! request. What a guest or a server can try, and the test that shows what it gets, is in `docs/threat-model.md`.
//!
//! ```no_run
//! use std::sync::Arc;
//!
//! use annex_egress::{EgressMetrics, EgressOptions, ManifestList, OperatorList, SystemResolver, WayOut};
//!
//! # fn example(setting: &str, egress: Vec<String>) -> Result<(), Box<dyn std::error::Error>> {
//! // Once in a process.
//! let list: OperatorList = setting.parse()?;
//! let way_out =
//!     WayOut::new(list, &EgressOptions::default(), Arc::new(SystemResolver), EgressMetrics::default())?;
//! // Once for an extension.
//! let manifest = Arc::new(ManifestList::parse(egress.iter().map(String::as_str))?);
//! // Once for each call.
//! let mut host = annex_engine::Host::in_memory();
//! host.egress = way_out.for_call(manifest);
//! # Ok(())
//! # }
//! ```

mod addresses;
mod allowlist;
mod body;
mod connection;
mod destination;
mod failure;
mod head;
mod host;
mod limits;
mod meter;
mod metrics;
mod options;
mod resolver;
mod rule;
mod slots;
mod tls;
mod way_out;

pub use allowlist::{AllowlistError, MAX_RULES, ManifestList, OperatorList};
pub use destination::{Destination, DestinationError, Scheme};
pub use host::{Host, HostError};
pub use limits::EgressLimits;
pub use metrics::{EgressMetrics, code};
pub use options::{EgressOptions, SetupError};
pub use resolver::{Resolver, SystemResolver};
pub use rule::RuleError;
pub use way_out::WayOut;
