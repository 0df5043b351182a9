//! Whose a value is.

use annex_core::{CallContext, ExtensionId, TenantId};

/// Tenant and extension, and nothing else: not the install, which may be made anew, and nothing of the key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Owner {
    pub(crate) tenant: TenantId,
    pub(crate) extension: ExtensionId,
}

impl From<&CallContext> for Owner {
    fn from(context: &CallContext) -> Self {
        Self { tenant: context.tenant.clone(), extension: context.extension.clone() }
    }
}
