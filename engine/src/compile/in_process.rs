//! Compiling in this process.

use async_trait::async_trait;
use bytes::Bytes;

use super::{CompileError, Compiler};
use crate::config;
use crate::options::CodeOptions;
use crate::shown;

/// What a component's binary begins with: the magic number, version 13, and the layer of components.
const PREAMBLE: [u8; 8] = [0x00, b'a', b's', b'm', 0x0d, 0x00, 0x01, 0x00];

/// Compiles a component. It blocks for as long as that takes, and memory and time are the caller's to bound: see
/// [`CompilerProcess`](super::CompilerProcess).
///
/// # Errors
/// When the bytes are no component, or it uses what the engine has switched off.
pub fn precompile(component: &[u8], options: CodeOptions) -> Result<Vec<u8>, CompileError> {
    let refused = |reason| CompileError::NotAComponent { reason };
    if !component.starts_with(&PREAMBLE) {
        let reason = match component {
            [0x00, b'a', b's', b'm', ..] => "it is a core module; build it for wasm32-wasip2",
            _ => "it does not begin as one",
        };
        return Err(refused(reason.to_owned()));
    }
    // Without a pool: nothing is run here, and the code fits an engine that has one.
    let engine = wasmtime::Engine::new(&config::code(options)).map_err(CompileError::unavailable)?;
    engine.precompile_component(component).map_err(|error| refused(shown::line(format!("{error:#}"))))
}

/// Compiles in this process, on a thread for blocking work. A component that makes the compiler take too much takes it from
/// everybody, so this is for tests and for a developer's own machine.
#[derive(Debug, Clone, Copy, Default)]
pub struct InProcess;

#[async_trait]
impl Compiler for InProcess {
    async fn compile(&self, component: Bytes, options: CodeOptions) -> Result<Vec<u8>, CompileError> {
        let compiled = tokio::task::spawn_blocking(move || precompile(&component, options)).await;
        compiled.map_err(|error| {
            if error.is_panic() {
                // This component's doing, where a missing thread is nobody's.
                CompileError::Ended { how: "it panicked".to_owned() }
            } else {
                CompileError::unavailable(error)
            }
        })?
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reason(bytes: &[u8]) -> String {
        match precompile(bytes, CodeOptions::default()) {
            Err(CompileError::NotAComponent { reason }) => reason,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_smallest_component_compiles() {
        assert!(precompile(&PREAMBLE, CodeOptions::default()).is_ok());
    }

    #[test]
    fn other_bytes_are_no_component() {
        assert_eq!(reason(b""), "it does not begin as one");
        assert_eq!(reason(b"(component)"), "it does not begin as one");
        assert!(reason(b"\0asm\x01\0\0\0").contains("core module"));
        assert!(!reason(&[&PREAMBLE[..], b"\xff"].concat()).is_empty());
    }

    #[test]
    fn compiled_code_is_no_component() {
        let code = precompile(&PREAMBLE, CodeOptions::default()).unwrap();
        assert_eq!(reason(&code), "it does not begin as one");
    }
}
