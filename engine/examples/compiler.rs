//! A compiler to be run as a `CompilerProcess`. `--fuel` makes code that counts.

use std::process::ExitCode;

use annex_engine::{CodeOptions, compile_standard_input};

fn main() -> ExitCode {
    compile_standard_input(CodeOptions { fuel: std::env::args().any(|argument| argument == "--fuel") })
}
