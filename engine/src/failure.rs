//! What the end of a guest means.

use std::fmt;

use wasmtime::component::ResourceTableError;
use wasmtime::{PoolConcurrencyLimitError, Trap};
use wasmtime_wasi::I32Exit;
use wasmtime_wasi_http::FieldMapError;

use crate::call_error::{CallError, Scope};
use crate::limiter::Refused;
use crate::limits::CallLimits;

/// What the epoch ends a guest with.
#[derive(Debug)]
pub(crate) struct TimeIsOver;

impl fmt::Display for TimeIsOver {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("the time of the call is over")
    }
}

impl std::error::Error for TimeIsOver {}

/// What the end of a guest means.
pub(crate) fn failure(error: &wasmtime::Error, refused: Option<Refused>, limits: &CallLimits) -> CallError {
    tracing::debug!(error = format!("{error:#}"), "a guest ended abnormally");
    if error.downcast_ref::<TimeIsOver>().is_some() {
        return CallError::Timeout { limit: limits.timeout };
    }
    if let Some(ResourceTableError::Full) = error.downcast_ref() {
        return CallError::TooManyResources { limit: limits.resources };
    }
    if let Some(FieldMapError::TotalSizeTooBig | FieldMapError::TooManyFields) = error.downcast_ref() {
        return CallError::HeadersTooLarge { limit: limits.header_bytes };
    }
    if error.downcast_ref::<PoolConcurrencyLimitError>().is_some() {
        // The pool has room for all that are admitted. Whoever was just dropped may not have given theirs back yet.
        return CallError::Busy { scope: Scope::Engine };
    }
    let trap = error.downcast_ref::<Trap>();
    if trap == Some(&Trap::OutOfFuel) {
        return CallError::OutOfFuel;
    }
    // A guest that is refused memory mostly gives up, which by itself says nothing of memory.
    match refused {
        Some(Refused::Memory) => CallError::MemoryLimit { limit: limits.memory_bytes },
        Some(Refused::Table) => CallError::TableLimit { limit: limits.table_elements },
        None if error.downcast_ref::<I32Exit>().is_some() => CallError::Trap { reason: "it exited" },
        None => CallError::Trap { reason: trap.map_or("it misused a host function", reason) },
    }
}

fn reason(trap: &Trap) -> &'static str {
    match trap {
        Trap::StackOverflow => "it recursed too deep",
        Trap::UnreachableCodeReached => "it gave up",
        Trap::MemoryOutOfBounds | Trap::HeapMisaligned => "it reached outside its memory",
        Trap::TableOutOfBounds | Trap::IndirectCallToNull | Trap::BadSignature => {
            "it called what is no function"
        }
        Trap::IntegerOverflow | Trap::IntegerDivisionByZero | Trap::BadConversionToInteger => {
            "it computed what has no result"
        }
        _ => "it ended abnormally",
    }
}
