//! A compiler in a process of its own. Programs of the system stand for it, and misbehave.

use std::sync::Arc;
use std::time::{Duration, Instant};

use annex_engine::{
    CodeOptions, CompileError, CompileLimits, Compiler as _, CompilerProcess, Engine, EngineOptions,
};
use bytes::Bytes;

use crate::bench::{Bench, options};
use crate::guest;

fn shell(script: &str) -> CompilerProcess {
    CompilerProcess {
        program: "/bin/sh".into(),
        arguments: vec!["-c".into(), script.into(), "compiler".into()],
        limits: CompileLimits { timeout: Duration::from_secs(20), ..CompileLimits::default() },
    }
}

async fn compile(compiler: &CompilerProcess, component: impl Into<Bytes>) -> Result<Vec<u8>, CompileError> {
    compiler.compile(component.into(), CodeOptions::default()).await
}

#[tokio::test]
async fn what_it_writes_is_the_code() {
    // More than a pipe holds, in both directions.
    let component = vec![7; 1 << 20];
    assert_eq!(compile(&shell("cat"), component.clone()).await.unwrap(), component);
}

#[tokio::test]
async fn it_is_told_whether_to_count() {
    let compiler = shell(r#"cat >/dev/null; printf %s "$*""#);
    assert_eq!(compile(&compiler, "").await.unwrap(), b"");
    let counting = compiler.compile(Bytes::new(), CodeOptions { fuel: true }).await;
    assert_eq!(counting.unwrap(), b"--fuel");
}

#[tokio::test]
async fn what_is_no_component_is_said_in_one_line() {
    let error = compile(&shell("echo 'no\tgood' >&2; exit 1"), "x").await.unwrap_err();
    assert_eq!(error, CompileError::NotAComponent { reason: "no good".into() });
}

#[tokio::test]
async fn a_failure_of_its_own_is_no_fault_of_the_component() {
    for (script, how) in
        [("exit 2", "exit status 2"), ("exit 1", "exit status 1"), ("kill -9 $$", "signal 9")]
    {
        assert_eq!(compile(&shell(script), "x").await.unwrap_err(), CompileError::Ended { how: how.into() });
    }
}

#[tokio::test]
async fn it_takes_so_long() {
    let mut compiler = shell("sleep 60");
    compiler.limits.timeout = Duration::from_millis(200);
    let started = Instant::now();
    assert_eq!(compile(&compiler, "x").await.unwrap_err(), CompileError::Timeout);
    assert!(started.elapsed() < Duration::from_secs(10));
}

#[tokio::test]
async fn it_writes_so_much() {
    let mut compiler = shell("cat /dev/zero");
    compiler.limits.code_bytes = 1000;
    assert_eq!(compile(&compiler, "x").await.unwrap_err(), CompileError::CodeTooLarge { limit: 1000 });
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn it_computes_so_long() {
    let mut compiler = shell("while :; do :; done");
    compiler.limits.cpu_seconds = 1;
    // SIGKILL, because soft and hard limit are the same.
    let error = compile(&compiler, "x").await.unwrap_err();
    assert!(
        matches!(&error, CompileError::Ended { how } if how == "signal 9" || how == "signal 24"),
        "{error}"
    );
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn its_limits_hold_before_it_has_the_first_byte() {
    let mut compiler = shell("cat >/dev/null; ulimit -t; ulimit -v; ulimit -f; ulimit -c");
    compiler.limits.cpu_seconds = 7;
    compiler.limits.memory_bytes = 1 << 30;
    let said = String::from_utf8(compile(&compiler, "x").await.unwrap()).unwrap();
    assert_eq!(said, "7\n1048576\n0\n0\n");
}

#[tokio::test]
async fn it_gets_no_environment() {
    let said = compile(&shell("cat >/dev/null; echo \"${HOME-none} ${CARGO_MANIFEST_DIR-none}\""), "x").await;
    assert_eq!(said.unwrap(), b"none none\n");
}

#[tokio::test]
async fn one_that_is_not_there_is_unavailable() {
    let compiler = CompilerProcess { program: "/nonexistent/compiler".into(), ..shell("") };
    let error = compile(&compiler, "x").await.unwrap_err();
    assert!(matches!(error, CompileError::Unavailable { .. }), "{error}");
}

/// The example `compiler`, which cargo builds with the tests.
fn real() -> CompilerProcess {
    let test = std::env::current_exe().unwrap();
    let program = test.ancestors().nth(2).unwrap().join("examples/compiler");
    assert!(program.exists(), "run all targets of the package: cargo test -p annex-engine");
    CompilerProcess { program, arguments: Vec::new(), limits: CompileLimits::default() }
}

#[tokio::test]
async fn the_code_of_a_process_fits_an_engine_with_a_pool() {
    for code in [CodeOptions { fuel: false }, CodeOptions { fuel: true }] {
        let options = EngineOptions { code, ..options() };
        let engine = Engine::new(options, Arc::new(real()), None).unwrap();
        let bench = Bench::with(engine, guest::component()).await;
        bench.is_unharmed().await;
    }
}

#[tokio::test]
async fn a_process_says_what_is_no_component() {
    let error = compile(&real(), "nonsense").await.unwrap_err();
    assert_eq!(error, CompileError::NotAComponent { reason: "it does not begin as one".into() });
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_component_that_takes_too_much_ends_its_compiler_only() {
    let mut compiler = real();
    compiler.limits.memory_bytes = 64 << 20;
    let error = compile(&compiler, guest::component()).await.unwrap_err();
    assert!(matches!(error, CompileError::Ended { .. }), "{error}");
}
