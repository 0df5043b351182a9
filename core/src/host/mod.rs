//! Host names: how they are made of a tenant and an extension, and how a request's is read.

mod compute;
mod domain_root;
mod host_name;
mod label;

pub use compute::{DomainError, compute_domain};
pub use domain_root::{DomainRoot, DomainRootError};
pub use host_name::{HostName, HostNameError};
pub use label::{LabelError, check_label, check_labels, is_number};

/// The most characters of a DNS name as text, without a trailing dot (RFC 1035, section 2.3.4: 255 octets on the wire).
pub const MAX_NAME_LENGTH: usize = 253;
