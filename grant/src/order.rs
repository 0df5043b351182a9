//! `POST /v1/orders`, by the controller to a runner: what is done for an extension without calling it.

use annex_core::{ContentHash, ExtensionId, InstallId, TenantId};
use serde::{Deserialize, Serialize};

use crate::Grant;

/// Where a runner takes orders, on its internal listener; and the gateway's broker, [`Order::Purge`] alone. The answer is 204.
pub const ORDER_PATH: &str = "/v1/orders";
/// A longer body is no [`Order`].
pub const LARGEST_ORDER: usize = 8 << 10;

/// What is to be done. It comes with a grant, as a call does; the word for what is to be done is in the body, of which the grant has the
/// digest: a grant for one thing is none for another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum Order {
    /// Fetches, verifies, compiles and links the content with what the grant has, so that the next call finds it ready.
    Prepare(OrderContext),
    /// Removes for good everything that the extension stored in the tenant's workspace.
    Purge(OrderContext),
}

/// For whom. What the grant says, too, must be the same.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OrderContext {
    /// Names it in logs.
    pub request_id: String,
    /// The tenant, by the id that the outside knows it by.
    pub tenant_id: TenantId,
    /// The extension.
    pub extension_id: ExtensionId,
    /// The Install's `metadata.uid`.
    pub install_id: InstallId,
    /// The content.
    pub content_hash: ContentHash,
}

impl Order {
    /// For whom.
    #[must_use]
    pub fn context(&self) -> &OrderContext {
        match self {
            Self::Prepare(context) | Self::Purge(context) => context,
        }
    }

    /// Whether the grant says the same. The body is under its MAC already; this keeps whoever signed from mixing two up.
    #[must_use]
    pub fn agrees(&self, grant: &Grant) -> bool {
        let context = self.context();
        context.tenant_id == grant.tenant
            && context.extension_id == grant.extension
            && context.install_id == grant.install
            && context.content_hash == grant.content
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_order_has_one_spelling_and_says_what_is_to_be_done() {
        let context = json!({
            "request_id": "r", "tenant_id": "acme", "extension_id": "com.example.hello",
            "install_id": "0f5a2b31-7ab6-4a56-a0b2-3f5f9c1b3a11", "content_hash": format!("sha256:{}", "0a".repeat(32)),
        });
        for word in ["prepare", "purge"] {
            let written = json!({ word: context });
            let order: Order = serde_json::from_str(&written.to_string()).unwrap();
            assert_eq!(serde_json::to_value(&order).unwrap(), written);
            assert_eq!(order.context().tenant_id.as_str(), "acme");
            assert!(serde_json::to_vec(&order).unwrap().len() < LARGEST_ORDER);
        }
        for wrong in [
            json!(context),
            json!({ "execute": context }),
            json!({ "prepare": context, "purge": context }),
            json!({ "purge": {} }),
            json!("purge"),
        ] {
            assert!(serde_json::from_str::<Order>(&wrong.to_string()).is_err(), "{wrong}");
        }
    }
}
