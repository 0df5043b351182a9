//! The two scripts by which a page of the platform shows an extension, for whoever serves or copies them.
//!
//! What they promise each other is in their own comments; `e2e/tests/browser` shows it in Chromium.

/// `annex-embed.js`, a module: the platform's side. It makes the frame and hands the user's token to the extension's origin.
pub const EMBED: &str = include_str!("annex-embed.js");

/// `annex-extension.js`: the extension's side, copied into `ui/`. It gives the page `annex.fetch`.
pub const EXTENSION: &str = include_str!("annex-extension.js");
