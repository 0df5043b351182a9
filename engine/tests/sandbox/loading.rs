//! Components become extensions once.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use annex_engine::{
    Capabilities, CodeCache, CodeOptions, CompileError, Compiler, Engine, EngineOptions, LoadError,
    precompile,
};
use async_trait::async_trait;
use bytes::Bytes;
use sha2::{Digest as _, Sha256};
use tokio::sync::Semaphore;

use crate::bench::{content_hash, engine, engine_with, everything, load, options, refusal};
use crate::{guest, wat_guest};

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
    // And of the same code.
    assert_eq!(compiler.0.load(Ordering::Relaxed), 1);
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
async fn a_source_that_is_away_is_asked_again() {
    let (engine, compiler) = counting(None);
    let hash = load(&engine, idle(), everything()).await.unwrap().content_hash();
    engine.forget(hash).await;
    let away = async { Err::<Bytes, _>("away") };
    assert_eq!(engine.load(hash, everything(), away).await.unwrap_err().code(), "SourceUnavailable");
    assert!(load(&engine, idle(), everything()).await.is_ok());
    assert_eq!(compiler.0.load(Ordering::Relaxed), 2);
}

/// Says nothing but this, and counts how often.
struct Saying(CompileError, AtomicUsize);

#[async_trait]
impl Compiler for Saying {
    async fn compile(&self, _: Bytes, _: CodeOptions) -> Result<Vec<u8>, CompileError> {
        self.1.fetch_add(1, Ordering::Relaxed);
        Err(self.0.clone())
    }
}

fn saying(error: CompileError, refusals_kept: Duration) -> (Engine, Arc<Saying>) {
    let compiler = Arc::new(Saying(error, AtomicUsize::new(0)));
    let options = EngineOptions { refusals_kept, ..options() };
    (Engine::new(options, Arc::clone(&compiler) as _, None).unwrap(), compiler)
}

#[tokio::test]
async fn a_bad_component_is_compiled_once_whoever_asks() {
    for error in [
        CompileError::NotAComponent { reason: "bad".into() },
        CompileError::Timeout,
        CompileError::Ended { how: "signal 9".into() },
        CompileError::CodeTooLarge { limit: 1 },
    ] {
        let (engine, compiler) = saying(error, Duration::from_secs(3600));
        let first = load(&engine, idle(), everything()).await.unwrap_err();
        for granted in [everything(), Capabilities::none()] {
            assert_eq!(load(&engine, idle(), granted).await.unwrap_err(), first);
        }
        assert_eq!(compiler.1.load(Ordering::Relaxed), 1, "{first}");
    }
}

#[tokio::test]
async fn a_compiler_that_is_away_is_asked_again() {
    let away = CompileError::Unavailable { reason: "away".into() };
    let (engine, compiler) = saying(away, Duration::from_secs(3600));
    for _ in 0..2 {
        assert_eq!(load(&engine, idle(), everything()).await.unwrap_err().code(), "CompilerFailed");
    }
    assert_eq!(compiler.1.load(Ordering::Relaxed), 2);
}

#[tokio::test]
async fn a_refusal_is_forgotten_after_a_time_or_when_asked_to() {
    let (engine, compiler) = saying(CompileError::Timeout, Duration::from_millis(20));
    let again = async {
        while compiler.1.load(Ordering::Relaxed) < 2 {
            load(&engine, idle(), everything()).await.unwrap_err();
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), again).await.unwrap();

    let (engine, compiler) = saying(CompileError::Timeout, Duration::from_secs(3600));
    load(&engine, idle(), everything()).await.unwrap_err();
    engine.forget(content_hash(&idle())).await;
    load(&engine, idle(), everything()).await.unwrap_err();
    assert_eq!(compiler.1.load(Ordering::Relaxed), 2);
}

/// Waits until it is let go, and then compiles.
struct Held(Counting, Semaphore);

#[async_trait]
impl Compiler for Held {
    async fn compile(&self, component: Bytes, options: CodeOptions) -> Result<Vec<u8>, CompileError> {
        let compiled = self.0.compile(component, options).await;
        self.1.acquire().await.unwrap().forget();
        compiled
    }
}

fn held(loads: usize) -> (Engine, Arc<Held>) {
    let compiler = Arc::new(Held(Counting::default(), Semaphore::new(0)));
    let options = EngineOptions { loads, ..options() };
    (Engine::new(options, Arc::clone(&compiler) as _, None).unwrap(), compiler)
}

/// Begins to load, and gives up as soon as it is being compiled.
async fn give_up(engine: &Engine, compiler: &Held) {
    let compiles = async {
        while compiler.0.0.load(Ordering::Relaxed) == 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        loaded = load(engine, idle(), everything()) => panic!("{loaded:?}"),
        () = compiles => {}
    }
}

#[tokio::test]
async fn whoever_gives_up_does_not_stop_the_compiler() {
    let (engine, compiler) = held(2);
    give_up(&engine, &compiler).await;
    compiler.1.add_permits(1);
    load(&engine, idle(), everything()).await.unwrap();
    assert_eq!(compiler.0.0.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn so_many_wait_for_components() {
    let (engine, compiler) = held(1);
    give_up(&engine, &compiler).await;
    // It still waits, though nobody waits for it.
    assert_eq!(load(&engine, idle(), everything()).await.unwrap_err(), LoadError::TooManyLoads);
    compiler.1.add_permits(1);
    let there = async {
        while load(&engine, idle(), everything()).await.is_err() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), there).await.unwrap();
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
    let file = code_file(folder.path());
    let mut code = fs::read(&file).unwrap();
    let middle = code.len() / 2;
    code[middle] ^= 0x80;
    fs::write(&file, &code).unwrap();

    let (engine, compiler) = counting(open());
    load(&engine, idle(), everything()).await.unwrap();
    assert_eq!(compiler.0.load(Ordering::Relaxed), 1);
    assert_ne!(fs::read(&file).unwrap(), code);
}

/// Loads a component whose digest is said to be that of `digest_of`.
async fn load_known(engine: &Engine, digest_of: &Bytes, bytes: Option<Bytes>) -> Result<usize, LoadError> {
    let asked = Arc::new(AtomicUsize::new(0));
    let source = {
        let asked = Arc::clone(&asked);
        async move {
            asked.fetch_add(1, Ordering::Relaxed);
            bytes.ok_or("must not be asked for")
        }
    };
    let digest = Some(Sha256::digest(digest_of).into());
    engine.load_known(content_hash(digest_of), everything(), digest, source).await?;
    Ok(asked.load(Ordering::Relaxed))
}

#[tokio::test]
async fn bytes_that_are_known_are_not_needed_where_their_code_is() {
    let folder = tempfile::tempdir().unwrap();
    let open = || Some(CodeCache::open(folder.path(), 1 << 30).unwrap());
    let (engine, _) = counting(open());
    assert_eq!(load_known(&engine, &idle(), Some(idle())).await, Ok(1), "there is none yet");
    let (engine, compiler) = counting(open());
    assert_eq!(load_known(&engine, &idle(), None).await, Ok(0));
    assert_eq!(compiler.0.load(Ordering::Relaxed), 0);

    // Code of something else, under the name of what is wanted: as if somebody had renamed a file.
    let other = wat_guest::component(r#"(func (export "handle") (param i32 i32) (drop (i32.const 7)))"#);
    let file = code_file(folder.path());
    let (engine, _) = counting(open());
    assert_eq!(load_known(&engine, &other, Some(other.clone())).await, Ok(1));
    let of_other = code_files(folder.path()).into_iter().find(|path| *path != file).unwrap();
    fs::copy(of_other, &file).unwrap();
    let (engine, compiler) = counting(open());
    assert_eq!(load_known(&engine, &idle(), Some(idle())).await, Ok(1));
    assert_eq!(compiler.0.load(Ordering::Relaxed), 1);

    // Code that was cut off anywhere.
    let whole = fs::read(&file).unwrap();
    for length in [0, 1, 31, 32, 33, whole.len() / 2, whole.len() - 1] {
        fs::write(&file, &whole[..length]).unwrap();
        let (engine, compiler) = counting(open());
        assert_eq!(load_known(&engine, &idle(), Some(idle())).await, Ok(1), "{length} bytes");
        assert_eq!(compiler.0.load(Ordering::Relaxed), 1, "{length} bytes");
        assert_eq!(fs::read(&file).unwrap(), whole, "it is there again");
    }
}

#[tokio::test]
async fn bytes_that_are_not_those_that_were_verified_are_not_compiled() {
    let other = wat_guest::component(r#"(func (export "handle") (param i32 i32) (drop (i32.const 7)))"#);
    let (engine, compiler) = counting(None);
    let error = load_known(&engine, &idle(), Some(other)).await.unwrap_err();
    assert_eq!(error, LoadError::Source { reason: "it is not what was verified".into() });
    assert_eq!(compiler.0.load(Ordering::Relaxed), 0);
    assert_eq!(
        load_known(&engine, &idle(), Some(idle())).await,
        Ok(1),
        "and the right ones are asked for again"
    );
}

fn code_files(folder: &Path) -> Vec<PathBuf> {
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    files.filter(|path| path.extension().is_some_and(|extension| extension == "code")).collect()
}

/// The one file of code in a folder.
fn code_file(folder: &Path) -> PathBuf {
    let [file] = &code_files(folder)[..] else { panic!("one file of code") };
    file.clone()
}

#[tokio::test]
async fn a_publishers_compiled_code_is_no_component() {
    let code = precompile(&idle(), CodeOptions::default()).unwrap();
    let error = refusal(&engine(), code.into(), everything()).await;
    assert_eq!(error.code(), "NotAComponent");
}

#[tokio::test]
async fn other_bytes_are_no_component() {
    for bytes in [&b""[..], b"\0asm\x01\0\0\0", b"(component)", b"\0asm\x0d\0\x01\0garbage"] {
        let error = refusal(&engine(), Bytes::copy_from_slice(bytes), everything()).await;
        assert_eq!(error.code(), "NotAComponent", "{bytes:?}");
    }
}

#[tokio::test]
async fn a_component_is_so_large() {
    let limit = guest::component().len();
    let engine = engine_with(EngineOptions { component_bytes: limit, ..options() });
    let error = refusal(&engine, vec![0; limit + 1].into(), everything()).await;
    assert_eq!(error, LoadError::TooLarge { bytes: limit + 1, limit });
}

#[tokio::test]
async fn a_component_asks_for_no_more_than_there_is() {
    // 65 MiB, where the engine has 64.
    let memory = format!("(memory 1040) {}", wat_guest::IDLE);
    let table = format!("(table 200000 funcref) {}", wat_guest::IDLE);
    let tables = format!("{} {}", "(table 1 funcref)".repeat(20), wat_guest::IDLE);
    for module in [memory, table, tables] {
        let error = refusal(&engine(), wat_guest::component(&module), everything()).await;
        assert_eq!(error.code(), "ComponentTooDemanding", "{error}");
    }
}

#[tokio::test]
async fn threads_and_large_memories_are_switched_off() {
    for memory in ["(memory 1 1 shared)", "(memory i64 1)"] {
        let component = wat_guest::component(&format!("{memory} {}", wat_guest::IDLE));
        let error = refusal(&engine(), component, everything()).await;
        assert_eq!(error.code(), "NotAComponent", "{memory}: {error}");
    }
}
