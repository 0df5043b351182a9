//! From a component to machine code.
//!
//! Only what is compiled here, or by a process that we started, is ever run: a component is always taken for a component, so
//! that compiled code of a publisher is refused as the wrong bytes.

mod child;
mod in_process;
mod process;

use async_trait::async_trait;
use bytes::Bytes;

pub use child::compile_standard_input;
pub use in_process::{InProcess, precompile};
pub use process::{CompileLimits, CompilerProcess};

use crate::options::CodeOptions;

/// Makes machine code of a component. Whoever implements it vouches for the code: it is run as it is.
#[async_trait]
pub trait Compiler: Send + Sync {
    /// Compiles a component by the given rules.
    ///
    /// # Errors
    /// When the bytes are no component, or cannot be compiled within limits.
    async fn compile(&self, component: Bytes, options: CodeOptions) -> Result<Vec<u8>, CompileError>;
}

/// Why a component was not compiled.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CompileError {
    /// It is none, or it uses what the engine has switched off.
    #[error("this is no WebAssembly component: {reason}")]
    NotAComponent {
        /// What the compiler said, shortened.
        reason: String,
    },
    /// The compiler took longer than it may.
    #[error("the compiler took longer than it may")]
    Timeout,
    /// The compiler was ended: it needed more memory or time of the processor than it may, or it failed.
    #[error("the compiler ended early: {how}")]
    Ended {
        /// The signal or the exit status.
        how: String,
    },
    /// The code is larger than it may be.
    #[error("the compiled code has more than {limit} bytes")]
    CodeTooLarge {
        /// How many it may have.
        limit: usize,
    },
    /// The compiler cannot be run.
    #[error("the compiler cannot be run: {reason}")]
    Unavailable {
        /// What the system said.
        reason: String,
    },
}

impl CompileError {
    pub(crate) fn unavailable(error: impl std::fmt::Display) -> Self {
        Self::Unavailable { reason: crate::shown::line(error) }
    }
}
