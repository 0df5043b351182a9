use std::sync::Arc;

use annex_apis::{Extension, ExtensionVersion, Tenant};

use crate::named::Named;

/// The provider's own workspace, as it is watched.
#[derive(Clone, Debug, Default)]
pub struct Catalog {
    /// The extensions.
    pub extensions: Arc<Named<Extension>>,
    /// Their versions.
    pub versions: Arc<Named<ExtensionVersion>>,
    /// Who is a tenant.
    pub tenants: Arc<Named<Tenant>>,
}

impl Catalog {
    /// Whether all of it was read once.
    pub fn is_synced(&self) -> bool {
        self.extensions.is_synced() && self.versions.is_synced() && self.tenants.is_synced()
    }
}
