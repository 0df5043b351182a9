//! Annex's domain: identifiers, host names, digests, versions, addresses, the plan of a flow, what extensions need of
//! each other, and what storage is.
//!
//! Nothing here knows Kubernetes and nothing does I/O, so every rule can be tried with plain values. Identifiers are
//! types that can only be made by parsing: who holds a [`HostName`] or a [`ContentHash`] need not check it again.

mod text_type;

pub mod address;
pub mod dependencies;
pub mod digest;
pub mod extension;
pub mod flow;
pub mod host;
pub mod identity;
pub mod slug;
pub mod storage;
pub mod version;

#[cfg(test)]
mod properties;

pub use address::{AddressPolicy, ForbiddenAddress, IpNet};
pub use digest::{ContentHash, ContentHashError};
pub use extension::{ExtensionName, ExtensionNameError};
pub use host::{
    DomainError, DomainRoot, DomainRootError, HostName, HostNameError, LabelError, MAX_NAME_LENGTH,
    check_label, check_labels, compute_domain, is_number,
};
pub use identity::{ExtensionId, IDENTITY_PATH, IdError, InstallId, InstallIdentity, TenantId};
pub use slug::{Slug, SlugError};
pub use storage::{CallContext, Kv, KvError, MAX_KEY_BYTES, MAX_LISTED_KEYS, MAX_VALUE_BYTES};
pub use version::{RequirementError, VersionNameError, highest, parse_requirement, version_object_name};
