use std::sync::Arc;

use annex_apis::{Extension, ExtensionVersion, Tenant};

use crate::store::Store;

/// The kinds of the provider's own workspace, by name.
#[derive(Debug, Default)]
pub(crate) struct Catalog {
    pub(crate) extensions: Arc<Store<Extension>>,
    pub(crate) versions: Arc<Store<ExtensionVersion>>,
    pub(crate) tenants: Arc<Store<Tenant>>,
}
