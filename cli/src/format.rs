//! The forms in which commands print what they found.

use clap::ValueEnum;
use serde::Serialize;

use crate::outcome::Failure;

/// What commands that say one thing print.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum Format {
    /// For people
    #[default]
    Text,
    /// For programs
    Json,
    /// For programs and people
    Yaml,
}

impl Format {
    /// `value` for programs, or what `text` makes of it for people.
    pub(crate) fn print<T: Serialize>(
        self,
        value: &T,
        text: impl FnOnce(&T) -> String,
    ) -> Result<String, Failure> {
        match self {
            Self::Text => Ok(text(value)),
            Self::Json => json(value),
            Self::Yaml => yaml(value),
        }
    }
}

/// As JSON that is read by people, too.
pub(crate) fn json(value: &impl Serialize) -> Result<String, Failure> {
    serde_json::to_string_pretty(value).map_err(|error| Failure::Unable(format!("writing json: {error}")))
}

/// As YAML.
pub(crate) fn yaml(value: &impl Serialize) -> Result<String, Failure> {
    serde_saphyr::to_string(value).map_err(|error| Failure::Unable(format!("writing yaml: {error}")))
}
