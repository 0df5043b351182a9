//! Components become extensions once.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use annex_engine::{
    Capabilities, CodeCache, CodeOptions, CompileError, Compiler, Engine, EngineOptions, LoadError,
    precompile,
};
use async_trait::async_trait;
use bytes::Bytes;

use crate::bench::{engine, engine_with, everything, load, options};
use crate::wat_guest;

/// Compiles, and counts how often.
#[derive(Default)]
struct Counting(AtomicUsize);

#[async_trait]
impl Compiler for Counting {
    async fn compile(&self, component: Bytes, options: CodeOptions) -> Result<Vec<u8>, CompileError> {
        self.0.fetch_add(1, Ordering::Relaxed);
        tokio::task::yield_now().await;
        precompile(&component, options)
    }
}

fn counting(cache: Option<CodeCache>) -> (Engine, Arc<Counting>) {
    let compiler = Arc::new(Counting::default());
    (Engine::new(options(), Arc::clone(&compiler) as _, cache).unwrap(), compiler)
}

fn idle() -> Bytes {
    wat_guest::component(wat_guest::IDLE)
}

#[tokio::test]
async fn whoever_asks_at_the_same_time_waits_for_one_compilation() {
    let (engine, compiler) = counting(None);
    let (a, b, c) = tokio::join!(
        load(&engine, idle(), everything()),
        load(&engine, idle(), everything()),
        load(&engine, idle(), everything()),
    );
    assert!(a.is_ok() && b.is_ok() && c.is_ok());
    assert_eq!(compiler.0.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn another_grant_is_another_extension() {
    let (engine, compiler) = counting(None);
    let all = load(&engine, idle(), everything()).await.unwrap();
    let none = load(&engine, idle(), Capabilities::none()).await.unwrap();
    assert_eq!(all.content_hash(), none.content_hash());
    assert_ne!(all.capabilities(), none.capabilities());
    assert_eq!(compiler.0.load(Ordering::Relaxed), 2);
}

#[tokio::test]
async fn the_bytes_are_asked_for_only_when_they_are_needed() {
    let engine = engine();
    let extension = load(&engine, idle(), everything()).await.unwrap();
    let unused = async { Err::<Bytes, _>("must not be asked for") };
    assert!(engine.load(extension.content_hash(), everything(), unused).await.is_ok());

    engine.forget(extension.content_hash()).await;
    let unreachable = async { Err::<Bytes, _>("the registry\nis away") };
    let error = engine.load(extension.content_hash(), everything(), unreachable).await.unwrap_err();
    assert_eq!(error, LoadError::Source { reason: "the registry is away".into() });
}

#[tokio::test]
async fn a_failure_is_not_kept() {
    let engine = engine();
    let hash = load(&engine, idle(), everything()).await.unwrap().content_hash();
    engine.forget(hash).await;
    let away = async { Err::<Bytes, _>("away") };
    assert!(engine.load(hash, everything(), away).await.is_err());
    assert!(load(&engine, idle(), everything()).await.is_ok());
}

#[tokio::test]
async fn code_on_disk_spares_a_compilation() {
    let folder = tempfile::tempdir().unwrap();
    let open = || Some(CodeCache::open(folder.path(), 1 << 30).unwrap());
    let (engine, compiler) = counting(open());
    load(&engine, idle(), everything()).await.unwrap();
    assert_eq!(compiler.0.load(Ordering::Relaxed), 1);

    let (engine, compiler) = counting(open());
    load(&engine, idle(), everything()).await.unwrap();
    assert_eq!(compiler.0.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn code_that_was_changed_on_disk_is_not_run() {
    let folder = tempfile::tempdir().unwrap();
    let open = || Some(CodeCache::open(folder.path(), 1 << 30).unwrap());
    let (engine, _) = counting(open());
    load(&engine, idle(), everything()).await.unwrap();
    let file = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().path());
    let file = file.filter(|path| path.extension().is_some_and(|extension| extension == "code"));
    let [file] = &file.collect::<Vec<_>>()[..] else { panic!("one file of code") };
    let mut code = fs::read(file).unwrap();
    let middle = code.len() / 2;
    code[middle] ^= 0x80;
    fs::write(file, &code).unwrap();

    let (engine, compiler) = counting(open());
    load(&engine, idle(), everything()).await.unwrap();
    assert_eq!(compiler.0.load(Ordering::Relaxed), 1);
    assert_ne!(fs::read(file).unwrap(), code);
}

#[tokio::test]
async fn a_publishers_compiled_code_is_no_component() {
    let code = precompile(&idle(), CodeOptions::default()).unwrap();
    let error = load(&engine(), code.into(), everything()).await.unwrap_err();
    assert_eq!(error.code(), "NotAComponent");
}

#[tokio::test]
async fn other_bytes_are_no_component() {
    for bytes in [&b""[..], b"\0asm\x01\0\0\0", b"(component)", b"\0asm\x0d\0\x01\0garbage"] {
        let error = load(&engine(), Bytes::copy_from_slice(bytes), everything()).await.unwrap_err();
        assert_eq!(error.code(), "NotAComponent", "{bytes:?}");
    }
}

#[tokio::test]
async fn a_component_is_so_large() {
    let engine = engine_with(EngineOptions { component_bytes: 100, ..options() });
    let error = load(&engine, vec![0; 101].into(), everything()).await.unwrap_err();
    assert_eq!(error, LoadError::TooLarge { bytes: 101, limit: 100 });
}

#[tokio::test]
async fn a_component_asks_for_no_more_than_there_is() {
    // 65 MiB, where the engine has 64.
    let memory = format!("(memory 1040) {}", wat_guest::IDLE);
    let table = format!("(table 200000 funcref) {}", wat_guest::IDLE);
    let tables = format!("{} {}", "(table 1 funcref)".repeat(20), wat_guest::IDLE);
    for module in [memory, table, tables] {
        let error = load(&engine(), wat_guest::component(&module), everything()).await.unwrap_err();
        assert_eq!(error.code(), "ComponentTooDemanding", "{error}");
    }
}

#[tokio::test]
async fn threads_and_large_memories_are_switched_off() {
    for memory in ["(memory 1 1 shared)", "(memory i64 1)"] {
        let component = wat_guest::component(&format!("{memory} {}", wat_guest::IDLE));
        let error = load(&engine(), component, everything()).await.unwrap_err();
        assert_eq!(error.code(), "NotAComponent", "{memory}: {error}");
    }
}
