//! Handlers of the guest's own life: they note what they are told, and then do what their name says.

use crate::host::annex::host::{context, storage_kv};
use crate::reply::Reply;

const NOTES: &str = "lifecycle";

/// `what` is the handler's name, and `told` the body.
pub fn handle(what: &str, told: &[u8]) -> Reply {
    let before = storage_kv::get(NOTES).unwrap().unwrap_or_default();
    let line = [before.as_slice(), told, b"\n"].concat();
    storage_kv::set(NOTES, &line).unwrap();
    let answer = |status: u16, text: &str| Reply { status, ..Reply::text(text) };
    match what {
        "fail" => answer(500, "the migration failed"),
        "look" => answer(422, &format!("this is what I am handed: {}", context::current().config)),
        "spin" => crate::attacks::spin(),
        "refuse" => answer(422, r#"{"message": "this cannot be migrated"}"#),
        // Of the same words the third time.
        "flaky" if String::from_utf8_lossy(&line).lines().filter(|line| line.as_bytes() == told).count() < 3 => {
            answer(503, "not yet")
        }
        _ => answer(204, ""),
    }
}

/// All that they were told.
pub fn told() -> String {
    String::from_utf8(storage_kv::get(NOTES).unwrap().unwrap_or_default()).unwrap()
}
