//! What the program does when nobody says otherwise, as it says itself.
#![allow(missing_docs)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "all of it is test: a panic is how a test fails"
)]

use std::process::Command;

/// What `--help` says of the setting with this variable.
fn help_of(variable: &str) -> String {
    let output =
        Command::new(env!("CARGO_BIN_EXE_annex-controller")).arg("--help").env_clear().output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let help = String::from_utf8(output.stdout).unwrap();
    let named = format!("[env: {variable}=");
    let (before, after) = help.split_once(&named).unwrap_or_else(|| panic!("no {variable} in {help}"));
    let option = before.rsplit("\n\n").next().unwrap();
    format!("{option}{named}{}", after.split("\n\n").next().unwrap())
}

/// How long 30d is, a test beside the parser says.
#[test]
fn tokens_are_replaced_after_thirty_days() {
    let help = help_of("ANNEX_TOKEN_MAX_AGE");
    assert!(help.contains("--token-max-age") && help.contains("[default: 30d]"), "{help}");
}

#[test]
fn nothing_that_is_unsafe_is_on() {
    for variable in
        ["ANNEX_ALLOW_UNSIGNED", "ANNEX_ENVIRONMENT_ALLOW_INSECURE_TLS", "KNATIVE_AUTO_CREATE_CDC"]
    {
        let help = help_of(variable);
        // A flag, and off as long as it is not given.
        assert!(!help.contains("[default: true]"), "{help}");
    }
    assert!(!help_of("ANNEX_ENVIRONMENT_ALLOWED_NETWORKS").contains("[default:"));
    assert!(help_of("ANNEX_LISTEN").contains("[default: 127.0.0.1:"), "{}", help_of("ANNEX_LISTEN"));
}
