//! What an extension is handed as its configuration. Pure.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::{ExtensionVersion, Install, Tenant};

/// What the platform made for the extension is below this name, whatever parameter has it.
pub const PLATFORM_CONFIG: &str = "annex";

/// How a [`DependencyStatus`](crate::DependencyStatus) begins that is of an interface. No extension's name has a space.
pub const INTERFACE_PREFIX: &str = "interface ";

/// These parameters of an Install, and below [`PLATFORM_CONFIG`] what the platform made for it: its version, host and URL, where it runs, what a call
/// may use, and of each extension that it depends on and that is there the version and where it is reached, and of each interface the same of
/// the extension that provides it. It is made anew for each call: what changes is there at the next one.
///
/// `memory_mib` is what a call may use; `dependency` finds the Install of an extension in the same workspace.
pub fn config<I: AsRef<Install>>(
    install: &Install,
    version: &ExtensionVersion,
    parameters: BTreeMap<String, Value>,
    memory_mib: u32,
    dependency: impl Fn(&str) -> Option<I>,
) -> BTreeMap<String, Value> {
    let status = install.status.as_ref();
    let needed = || status.into_iter().flat_map(|status| &status.dependencies);
    let reached = |extension: &str| {
        let found = dependency(extension)?;
        let there = found.as_ref().status.as_ref()?;
        let url = there.url.as_ref()?;
        let api = format!("{url}api/ext/{extension}");
        let told = [("version", json!(there.installed_version)), ("url", json!(url)), ("api", json!(api))];
        Some(told.into_iter().map(|(name, value)| (name.to_owned(), value)).collect::<Map<_, _>>())
    };
    let dependencies: Map<String, Value> = needed()
        .filter_map(|needed| Some((needed.extension.clone(), reached(&needed.extension)?.into())))
        .collect();
    let interfaces: Map<String, Value> = needed()
        .filter_map(|needed| {
            let interface = needed.extension.strip_prefix(INTERFACE_PREFIX)?;
            let provider = needed.provided_by.as_deref()?;
            let mut told = reached(provider)?;
            told.insert("extension".to_owned(), json!(provider));
            told.insert("interface".to_owned(), json!(needed.installed_version));
            Some((interface.to_owned(), told.into()))
        })
        .collect();
    let platform = json!({
        "version": version.spec.version,
        "host": status.and_then(|status| status.host.as_ref()),
        "url": status.and_then(|status| status.url.as_ref()),
        "environment": install.spec.environment_ref.as_ref().map(|environment| &environment.name),
        "limits": { "memoryMiB": memory_mib },
        "dependencies": dependencies,
        "interfaces": interfaces,
    });
    let mut config = parameters;
    config.insert(PLATFORM_CONFIG.to_owned(), platform);
    config
}

/// What a call of this version may use of memory, in MiB: what it asks for, or `default_mib`, and no more than the tenant has for a call.
#[must_use]
pub fn memory_mib(tenant: &Tenant, version: &ExtensionVersion, default_mib: u32) -> u32 {
    let positive =
        |number: Option<i32>| number.and_then(|number| u32::try_from(number).ok()).filter(|n| *n > 0);
    let own = version.spec.limits.as_ref().and_then(|limits| positive(limits.memory_mib));
    let own = own.unwrap_or(default_mib);
    positive(tenant.spec.quota.memory_mib).map_or(own, |most| own.min(most))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn install(spec: Value, status: Value) -> Install {
        serde_json::from_value(json!({
            "apiVersion": "annex.sh/v1alpha1", "kind": "Install", "metadata": { "name": "a" }, "spec": spec, "status": status,
        }))
        .unwrap()
    }

    #[test]
    fn what_the_platform_made_is_beside_the_parameters_and_cannot_be_spoofed_by_them() {
        let version: ExtensionVersion = serde_json::from_value(json!({
            "apiVersion": "annex.sh/v1alpha1", "kind": "ExtensionVersion", "metadata": { "name": "com.example.a-1.0.0" },
            "spec": { "extension": "com.example.a", "version": "1.0.0", "publisher": "p", "contentHash": "sha256:" },
        }))
        .unwrap();
        let own = install(
            json!({ "extension": "com.example.a", "parameters": { "colour": "blue", "annex": { "url": "http://evil/" } } }),
            json!({ "host": "t--a.apps.test", "url": "http://t--a.apps.test/", "dependencies": [
                { "extension": "com.example.base", "version": "^1", "satisfied": true },
                { "extension": "com.example.away", "version": "^1", "satisfied": true },
                { "extension": "interface users", "version": "^1", "providedBy": "com.example.idp", "installedVersion": "1.4.0",
                  "satisfied": true },
                { "extension": "interface mail", "version": "^1", "providedBy": "com.example.away", "satisfied": true },
                { "extension": "interface own", "version": "^1", "installedVersion": "1.0.0", "satisfied": true },
            ] }),
        );
        let idp = install(
            json!({ "extension": "com.example.idp" }),
            json!({ "installedVersion": "3.0.0", "url": "http://t--idp.apps.test/" }),
        );
        let base = install(
            json!({ "extension": "com.example.base" }),
            json!({ "installedVersion": "1.2.0", "url": "http://t--base.apps.test/" }),
        );
        let config = config(&own, &version, own.spec.parameters.clone(), 64, |extension| {
            let there = [("com.example.base", &base), ("com.example.idp", &idp)];
            there
                .iter()
                .find(|(name, _)| *name == extension)
                .map(|(_, install)| Arc::new(Install::clone(install)))
        });
        assert_eq!(config["colour"], "blue");
        assert_eq!(
            config["annex"],
            json!({
                "version": "1.0.0", "host": "t--a.apps.test", "url": "http://t--a.apps.test/", "environment": null,
                "limits": { "memoryMiB": 64 },
                "dependencies": { "com.example.base": {
                    "version": "1.2.0", "url": "http://t--base.apps.test/", "api": "http://t--base.apps.test/api/ext/com.example.base",
                } },
                "interfaces": { "users": {
                    "extension": "com.example.idp", "interface": "1.4.0", "version": "3.0.0", "url": "http://t--idp.apps.test/",
                    "api": "http://t--idp.apps.test/api/ext/com.example.idp",
                } },
            })
        );
    }
}
