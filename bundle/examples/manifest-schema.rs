//! Prints the JSON Schema of the manifest: `cargo run -p annex-bundle --example manifest-schema > docs/manifest.schema.json`.

use std::io::{self, Write as _};

fn main() -> io::Result<()> {
    let schema = serde_json::to_string_pretty(&annex_bundle::manifest_schema())?;
    writeln!(io::stdout().lock(), "{schema}")
}
