//! Why a component is not loaded.

use crate::capability::Capability;
use crate::compile::CompileError;

/// Why a component is not loaded. Messages may be shown to its publisher; nothing in them is longer than a line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LoadError {
    /// Whoever was to bring the bytes could not.
    #[error("the component cannot be fetched: {reason}")]
    Source {
        /// What they said.
        reason: String,
    },
    /// As many wait for components as may. Whoever asks for one that is ready is not turned away.
    #[error("as many components are being loaded as may be at one time; try again")]
    TooManyLoads,
    /// More bytes than the engine takes.
    #[error("the component has {bytes} bytes, more than {limit}")]
    TooLarge {
        /// How many it has.
        bytes: usize,
        /// How many it may have.
        limit: usize,
    },
    /// The bytes are no component, or one that uses what the engine has switched off.
    #[error("this is no WebAssembly component: {reason}")]
    NotAComponent {
        /// What the compiler said, shortened.
        reason: String,
    },
    /// It wants more memory, tables or instances than the engine has for anyone.
    #[error("the component needs more than an instance may have: {reason}")]
    TooDemanding {
        /// Of what, shortened.
        reason: String,
    },
    /// It imports what was not granted.
    #[error("the capability {capability} is not granted, and the component imports {import}")]
    CapabilityMissing {
        /// What would have to be granted.
        capability: Capability,
        /// What it imports.
        import: String,
    },
    /// It imports what no capability gives.
    #[error("the component imports {import}, which no capability gives")]
    UnknownImport {
        /// What it imports, shortened.
        import: String,
    },
    /// An import has another type than the host's, or another version.
    #[error("an import does not fit the host: {reason}")]
    ImportMismatch {
        /// Which one, shortened.
        reason: String,
    },
    /// It exports no `wasi:http/incoming-handler` of version 0.2.
    #[error("the component exports no wasi:http/incoming-handler of version 0.2")]
    NoHandler,
    /// It could not be compiled within the limits of the compiler, or the compiler is not there.
    #[error("the component cannot be compiled: {0}")]
    Compiler(CompileError),
}

impl LoadError {
    /// Every code, in the order of the variants.
    pub const CODES: [&str; 10] = [
        "SourceUnavailable",
        "TooManyLoads",
        "ComponentTooLarge",
        "NotAComponent",
        "ComponentTooDemanding",
        "CapabilityMissing",
        "UnknownImport",
        "ImportMismatch",
        "NoHandler",
        "CompilerFailed",
    ];

    /// The word that a program knows it by. It never changes, the message may.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Source { .. } => "SourceUnavailable",
            Self::TooManyLoads => "TooManyLoads",
            Self::TooLarge { .. } => "ComponentTooLarge",
            Self::NotAComponent { .. } => "NotAComponent",
            Self::TooDemanding { .. } => "ComponentTooDemanding",
            Self::CapabilityMissing { .. } => "CapabilityMissing",
            Self::UnknownImport { .. } => "UnknownImport",
            Self::ImportMismatch { .. } => "ImportMismatch",
            Self::NoHandler => "NoHandler",
            Self::Compiler(_) => "CompilerFailed",
        }
    }

    /// Whether the content is why, so that trying again soon would only cost the same once more. What depends on what was
    /// granted is found without a compiler.
    pub(crate) fn is_of_the_content(&self) -> bool {
        match self {
            Self::TooLarge { .. }
            | Self::NotAComponent { .. }
            | Self::TooDemanding { .. }
            | Self::Compiler(
                CompileError::NotAComponent { .. }
                | CompileError::Timeout
                | CompileError::Ended { .. }
                | CompileError::CodeTooLarge { .. },
            ) => true,
            Self::Source { .. }
            | Self::TooManyLoads
            | Self::CapabilityMissing { .. }
            | Self::UnknownImport { .. }
            | Self::ImportMismatch { .. }
            | Self::NoHandler
            | Self::Compiler(CompileError::Unavailable { .. }) => false,
        }
    }
}

impl From<CompileError> for LoadError {
    fn from(error: CompileError) -> Self {
        match error {
            CompileError::NotAComponent { reason } => Self::NotAComponent { reason },
            error => Self::Compiler(error),
        }
    }
}
