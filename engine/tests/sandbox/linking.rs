//! Only what was granted is linked.

use annex_engine::{Capabilities, Capability, LoadError};

use crate::bench::{engine, everything, load, refusal};
use crate::{guest, wat_guest};

#[tokio::test]
async fn each_capability_that_is_missing_is_named() {
    let engine = engine();
    for missing in Capability::ALL {
        let granted: Capabilities = Capability::ALL.into_iter().filter(|one| *one != missing).collect();
        let error = refusal(&engine, guest::component(), granted).await;
        let LoadError::CapabilityMissing { capability, import } = &error else { panic!("{error}") };
        assert_eq!(*capability, missing);
        assert!(error.to_string().contains(missing.name()), "{error}");
        assert!(error.to_string().contains(import), "{error}");
        assert_eq!(error.code(), "CapabilityMissing");
    }
}

#[tokio::test]
async fn what_no_capability_gives_is_refused() {
    let engine = engine();
    for import in
        ["wasi:sockets/tcp@0.2.0", "wasi:sockets/ip-name-lookup@0.2.0", "annex:host/admin@0.1.0", "whatever"]
    {
        let error = refusal(&engine, wat_guest::importing(import), everything()).await;
        assert_eq!(error, LoadError::UnknownImport { import: import.to_owned() });
    }
}

#[tokio::test]
async fn an_import_of_another_type_is_refused() {
    let component = wat_guest::binary(
        r#"(component (import "annex:host/log@0.1.0" (instance (export "write" (func (param "message" string))))))"#,
    );
    let error = refusal(&engine(), component, everything()).await;
    assert_eq!(error.code(), "ImportMismatch", "{error}");
}

#[tokio::test]
async fn an_import_of_another_version_is_refused() {
    let component = wat_guest::binary(
        r#"(component (import "annex:host/log@7.0.0" (instance (export "write" (func (param "message" string))))))"#,
    );
    let error = refusal(&engine(), component, everything()).await;
    assert_eq!(error.code(), "ImportMismatch", "{error}");
}

#[tokio::test]
async fn a_component_without_a_handler_is_refused() {
    let error = refusal(&engine(), wat_guest::binary("(component)"), everything()).await;
    assert_eq!(error, LoadError::NoHandler);
}

#[tokio::test]
async fn a_component_that_needs_nothing_is_granted_nothing() {
    let component = wat_guest::component(wat_guest::IDLE);
    assert!(load(&engine(), component, Capabilities::none()).await.is_ok());
}
