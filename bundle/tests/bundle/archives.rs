//! Archives that are refused, each attack with its refusal.

use std::io::{self, Read, Write as _};

use annex_bundle::{ArchiveError, Discard, Limits, Memory, unpack};

use crate::support::tars::{Entry, bundle_with, header, tar, with, zstd};
use crate::support::{COMPONENT, MANIFEST, bundle, files};

fn refusal(archive: &[u8]) -> ArchiveError {
    unpack(archive, &Limits::default(), Discard).expect_err("it was accepted")
}

fn code(archive: &[u8]) -> &'static str {
    refusal(archive).code()
}

#[test]
fn an_archive_of_another_program_is_a_bundle() {
    // Other owner, other time, other order, other compression: the same content.
    let mut entries = with(Vec::new());
    entries.reverse();
    let other = zstd(&tar(&entries));
    let found = unpack(other.as_slice(), &Limits::default(), Discard).unwrap();
    let bundle = bundle();
    assert_eq!(found.content_hash, bundle.unpacked.content_hash);
    assert_ne!(found.archive, bundle.unpacked.archive);
}

#[test]
fn a_record_of_zeros_at_the_end_is_no_more_than_an_end() {
    let mut bytes = tar(&with(Vec::new()));
    bytes.resize(bytes.len().next_multiple_of(10_240), 0);
    assert!(unpack(zstd(&bytes).as_slice(), &Limits::default(), Discard).is_ok());
    bytes.resize(bytes.len() + 10_240, 0);
    assert_eq!(code(&zstd(&bytes)), "TrailingData");
}

#[test]
fn a_sink_gets_every_file_whole() {
    let mut memory = Memory::default();
    unpack(bundle().archive.as_slice(), &Limits::default(), &mut memory).unwrap();
    let found: Vec<_> =
        memory.into_files().into_iter().map(|(path, bytes)| (path.as_str().to_owned(), bytes)).collect();
    let mut expected: Vec<_> =
        files().into_iter().map(|(path, bytes)| (path.to_owned(), bytes.to_vec())).collect();
    expected.sort();
    assert_eq!(found, expected);
}

#[test]
fn bytes_that_trickle_in_give_the_same_verdict() {
    struct Trickle<'a>(&'a [u8]);
    impl Read for Trickle<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let size = buffer.len().min(1);
            self.0.read(&mut buffer[..size])
        }
    }
    let bundle = bundle();
    let found = unpack(Trickle(&bundle.archive), &Limits::default(), Discard).unwrap();
    assert_eq!(found, bundle.unpacked);
}

#[test]
fn one_flipped_bit_anywhere_changes_the_verdict() {
    let bundle = bundle();
    for at in 0..bundle.archive.len() * 8 {
        let mut archive = bundle.archive.clone();
        archive[at / 8] ^= 1 << (at % 8);
        if let Ok(found) = unpack(archive.as_slice(), &Limits::default(), Discard) {
            // A bit that means nothing to zstd or tar. The digest is what finds it, and no content slips in.
            assert_ne!(found.archive, bundle.unpacked.archive, "bit {at}");
        }
    }
}

#[test]
fn an_archive_that_is_cut_off_anywhere_is_refused() {
    let archive = bundle().archive;
    for end in 0..archive.len() {
        assert_eq!(code(&archive[..end]), "Truncated", "after {end} bytes");
    }
    // Cut off within, though the frame is whole.
    let tar = tar(&with(Vec::new()));
    for end in [tar.len() - 1, tar.len() - 512, tar.len() - 513, tar.len() - 1024, 1000, 512, 100, 0] {
        assert_eq!(code(&zstd(&tar[..end])), "Truncated", "after {end} bytes");
    }
}

#[test]
fn nothing_follows_the_end() {
    let archive = bundle().archive;
    for more in [b"x".as_slice(), &[0], &archive, &zstd(b""), b"\x50\x2a\x4d\x18\x04\0\0\0hide"] {
        assert_eq!(code(&[archive.as_slice(), more].concat()), "TrailingData");
    }
    let tar = tar(&with(Vec::new()));
    let hidden = Entry::file("ui/hidden.js", "x").to_bytes();
    assert_eq!(code(&zstd(&[tar.as_slice(), &hidden].concat())), "TrailingData");
    // After one block of zeros, where a lenient reader goes on.
    assert_eq!(code(&zstd(&[&tar[..tar.len() - 512], &hidden, &[0; 1024]].concat())), "TrailingData");
}

#[test]
fn what_is_no_single_plain_frame_is_refused() {
    let archive = bundle().archive;
    let skippable = [b"\x50\x2a\x4d\x18\x04\0\0\0hide", archive.as_slice()].concat();
    assert_eq!(code(&skippable), "SkippableFrame");
    assert_eq!(code(b"PK\x03\x04 and so on, for long enough"), "NotZstd");
    assert_eq!(code(&tar(&with(Vec::new()))), "NotZstd");
    assert_eq!(code(b""), "Truncated");
    // The content in two frames.
    let tar = tar(&with(Vec::new()));
    assert_eq!(code(&[zstd(&tar[..1024]), zstd(&tar[1024..])].concat()), "TrailingData");
    let mut wide = zstd::Encoder::new(Vec::new(), 3).unwrap();
    wide.window_log(24).unwrap();
    wide.write_all(&tar).unwrap();
    assert_eq!(code(&wide.finish().unwrap()), "UnsupportedFrame");
}

#[test]
fn a_bomb_is_refused_before_it_goes_off() {
    // 400 MiB of zeros in some ten thousand bytes.
    let mut bomb = zstd::Encoder::new(Vec::new(), 1).unwrap();
    let head: Vec<u8> = with(Vec::new()).iter().flat_map(Entry::to_bytes).collect();
    bomb.write_all(&head).unwrap();
    let size = 200 << 20;
    for name in ["ui/a", "ui/b"] {
        bomb.write_all(&header(name.as_bytes(), b'0', size, "", b"ustar\x0000")).unwrap();
        io::copy(&mut io::repeat(0).take(size as u64), &mut bomb).unwrap();
    }
    bomb.write_all(&[0; 1024]).unwrap();
    let bomb = bomb.finish().unwrap();
    assert!(bomb.len() < 1 << 20);

    struct Count(u64);
    impl annex_bundle::Sink for Count {
        fn begin(&mut self, _: &annex_bundle::BundlePath, _: u64) -> io::Result<()> {
            Ok(())
        }
        fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
            self.0 += bytes.len() as u64;
            Ok(())
        }
    }
    let mut count = Count(0);
    let error = unpack(bomb.as_slice(), &Limits::default(), &mut count).unwrap_err();
    assert_eq!(error.code(), "RatioTooHigh");
    assert!(count.0 <= Limits::RATIO_FLOOR + (1 << 20), "{} bytes came out", count.0);
}

#[test]
fn sizes_have_their_limits() {
    let limits = |limits: Limits| unpack(bundle().archive.as_slice(), &limits, Discard).unwrap_err().code();
    let all = Limits::default();
    assert_eq!(limits(Limits { archive: bundle().archive.len() as u64 - 1, ..all }), "TooLarge");
    // The frame says how much it unpacks to, and is believed when it says too much.
    assert_eq!(limits(Limits { unpacked: 5000, ..all }), "UnpackedTooLarge");
    assert_eq!(limits(Limits { entries: 3, ..all }), "TooManyEntries");
    assert_eq!(limits(Limits { file: 34, ..all }), "FileTooLarge");
    assert_eq!(limits(Limits { path: 15, ..all }), "PathTooLong");
    assert_eq!(limits(Limits { depth: 2, ..all }), "PathTooDeep");
    let exact = Limits { archive: bundle().archive.len() as u64, entries: 4, path: 16, depth: 3, ..all };
    assert!(unpack(bundle().archive.as_slice(), &exact, Discard).is_ok());

    // Without its size in the frame, it is counted.
    let mut silent = zstd::Encoder::new(Vec::new(), 3).unwrap();
    silent.include_contentsize(false).unwrap();
    silent.write_all(&tar(&with(Vec::new()))).unwrap();
    let error = unpack(silent.finish().unwrap().as_slice(), &Limits { unpacked: 5000, ..all }, Discard);
    assert_eq!(error.unwrap_err().code(), "UnpackedTooLarge");

    let manifest = vec![b' '; (256 << 10) + 1];
    assert_eq!(code(&zstd(&tar(&[Entry::file("manifest.json", manifest)]))), "FileTooLarge");
}

/// A tar of a million files that is made while it is read: nobody ever has it whole.
struct Million {
    next: usize,
    encoder: zstd::Encoder<'static, Vec<u8>>,
    read: usize,
}

impl Read for Million {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.encoder.get_ref().len() < buffer.len() && self.next < 1_000_000 {
            // Content that hardly compresses, so that it is the number which is refused and not the ratio.
            let mut state = self.next as u64 + 1;
            let noise: Vec<u8> = std::iter::repeat_with(|| {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                (state >> 32) as u8
            })
            .take(64)
            .collect();
            self.encoder.write_all(&Entry::file(format!("ui/{}", self.next), noise).to_bytes())?;
            self.next += 1;
        }
        let ready = self.encoder.get_mut();
        let count = ready.len().min(buffer.len());
        buffer[..count].copy_from_slice(&ready[..count]);
        ready.drain(..count);
        self.read += count;
        Ok(count)
    }
}

#[test]
fn a_million_tiny_files_are_refused_at_the_limit() {
    let mut million = Million { next: 0, encoder: zstd::Encoder::new(Vec::new(), 1).unwrap(), read: 0 };
    let error = unpack(&mut million, &Limits::default(), Discard).unwrap_err();
    assert_eq!(error.code(), "TooManyEntries");
    assert!(million.next < 50_000, "{} of the million were asked for", million.next);
}

#[test]
fn links_and_devices_are_refused() {
    for (kind, link) in [
        (b'2', "/etc/passwd"),
        (b'2', "../../outside"),
        (b'1', "/etc/passwd"),
        (b'1', "manifest.json"),
        (b'3', ""),
        (b'4', ""),
        (b'5', ""),
        (b'6', ""),
        (b'7', ""),
        (b'S', ""),
        (0, ""),
    ] {
        let entry = Entry { link, ..Entry::of_kind("ui/x", kind, "") };
        assert_eq!(code(&bundle_with(vec![entry])), "NotAFile", "{}", char::from(kind));
    }
    // A link that is called a file.
    let entry = Entry { link: "/etc/passwd", ..Entry::file("ui/x", "") };
    assert_eq!(code(&bundle_with(vec![entry])), "BadHeader");
}

#[test]
fn extensions_of_tar_that_rename_or_resize_are_refused() {
    for (kind, content) in [
        (b'x', "22 path=../../outside\n"),
        (b'x', "12 size=99\n"),
        (b'g', "22 path=../../outside\n"),
        (b'L', "../../outside"),
        (b'K', "../../outside"),
    ] {
        let entries = vec![Entry::of_kind("ui/x", kind, content), Entry::file("ui/y", "")];
        assert_eq!(code(&bundle_with(entries)), "TarExtension", "{}", char::from(kind));
    }
    let gnu = Entry { magic: b"ustar  \0", ..Entry::file("ui/x", "") };
    assert_eq!(code(&bundle_with(vec![gnu])), "TarExtension");
}

#[test]
fn paths_that_lead_out_are_refused() {
    for path in [
        "../x",
        "ui/../../x",
        "ui/..",
        "/etc/passwd",
        "//host/x",
        "./manifest.json",
        "ui/./x",
        "ui//x",
        "ui\\..\\..\\x",
        "C:\\Windows\\x",
        "C:/Windows/x",
        "\\\\host\\share",
        "ui/nul",
        "ui/COM1.js",
        "ui/x:stream",
        "ui/x.",
        "ui/a\nb",
        "ui/e\u{301}.js",
    ] {
        assert_eq!(code(&bundle_with(vec![Entry::file(path, "")])), "UnsafePath", "{path}");
    }
    assert_eq!(code(&bundle_with(vec![Entry::file(b"ui/\xff", "")])), "UnsafePath");
    // NUL ends a name; what stands behind it would be another name to another reader.
    assert_eq!(code(&bundle_with(vec![Entry::file(b"ui/x\0/../../y", "")])), "BadHeader");
    let message = refusal(&bundle_with(vec![Entry::file("ui/\u{1b}[2J", "")])).to_string();
    assert_eq!(message, "the path ui/\\u{1b}[2J has a control character");
}

#[test]
fn paths_have_a_length_and_a_depth() {
    let long = format!("ui/{}/{}", "a".repeat(152), "b".repeat(100));
    assert_eq!(long.len(), 256);
    assert_eq!(code(&bundle_with(vec![Entry::file(&long, "")])), "PathTooLong");
    let deep = format!("ui{}", "/a".repeat(16));
    assert_eq!(code(&bundle_with(vec![Entry::file(&deep, "")])), "PathTooDeep");
    assert!(
        unpack(bundle_with(vec![Entry::file(&deep[2..], "")]).as_slice(), &Limits::default(), Discard)
            .is_err()
    );
    assert!(
        unpack(
            bundle_with(vec![Entry::file(&deep[..deep.len() - 2], "")]).as_slice(),
            &Limits::default(),
            Discard
        )
        .is_ok()
    );
}

#[test]
fn an_entry_twice_is_refused() {
    let again = || Entry::file("ui/index.html", "other");
    assert_eq!(code(&bundle_with(vec![again()])), "DuplicatePath");
    assert_eq!(code(&bundle_with(vec![Entry::file("manifest.json", MANIFEST)])), "DuplicatePath");
}

#[test]
fn names_that_some_file_system_takes_for_one_are_refused() {
    for (one, other) in [
        ("ui/a.js", "ui/A.js"),
        ("ui/straße", "ui/STRASSE"),
        ("ui/é", "ui/É"),
        ("ui/ﬁ", "ui/fi"),
        ("ui/ſ", "ui/s"),
        ("ui/x²", "ui/x2"),
        // By their folders.
        ("ui/lib/a", "ui/Lib/b"),
        // A file where the other's folder must be.
        ("ui/x", "ui/x/y"),
        ("ui/x/y", "ui/x"),
        ("ui/x/y", "ui/X"),
    ] {
        let entries = || vec![Entry::file(one, ""), Entry::file(other, "")];
        assert_eq!(code(&bundle_with(entries())), "CollidingPath", "{one} {other}");
    }
    assert_eq!(
        code(&zstd(&tar(&[Entry::file("ui/index.html", ""), Entry::file("ui/INDEX.html", "")]))),
        "CollidingPath"
    );
}

#[test]
fn only_what_a_bundle_has_is_in_it() {
    for path in [
        "README.md",
        "Manifest.json",
        "main.wasm.map",
        "UI/index.html",
        "ui",
        "uix/index.html",
        ".git/config",
    ] {
        assert_eq!(code(&bundle_with(vec![Entry::file(path, "")])), "UnknownFile", "{path}");
    }
    let sbom = bundle_with(vec![Entry::file("sbom.json", "{}")]);
    assert!(unpack(sbom.as_slice(), &Limits::default(), Discard).is_ok());
}

#[test]
fn what_a_bundle_must_have_is_in_it() {
    let without = |missing: &str| {
        let mut entries = with(Vec::new());
        entries.retain(|entry| entry.name != missing.as_bytes());
        zstd(&tar(&entries))
    };
    assert_eq!(refusal(&without("manifest.json")).to_string(), "manifest.json is missing");
    assert_eq!(refusal(&without("main.wasm")).to_string(), "main.wasm is missing");
    assert_eq!(code(&without("ui/index.html")), "EntryMissing");
    assert_eq!(code(&zstd(&tar(&[]))), "MissingFile");

    let undeclared = MANIFEST.replace(",\n  \"ui\": {\"entry\": \"ui/index.html\"}", "");
    let entries = [
        Entry::file("manifest.json", undeclared),
        Entry::file("main.wasm", COMPONENT),
        Entry::file("ui/x", ""),
    ];
    assert_eq!(code(&zstd(&tar(&entries))), "UndeclaredUi");
    assert!(unpack(zstd(&tar(&entries[..2])).as_slice(), &Limits::default(), Discard).is_ok());
}

#[test]
fn main_wasm_is_a_component() {
    let with_wasm =
        |wasm: &[u8]| zstd(&tar(&[Entry::file("manifest.json", MANIFEST), Entry::file("main.wasm", wasm)]));
    assert!(refusal(&with_wasm(b"\0asm\x01\0\0\0")).to_string().starts_with("main.wasm is a core module"));
    for wasm in
        [b"".as_slice(), b"\0asm", b"\0asm\x0d\0\x01", b"\0asm\x0e\0\x01\0", b"#!/bin/sh", b"\0asm\x0d\0\0\0"]
    {
        assert_eq!(code(&with_wasm(wasm)), "NotAComponent");
    }
}

#[test]
fn a_reader_or_a_sink_that_fails_ends_it() {
    struct Broken;
    impl Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::Error::other("the line is dead"))
        }
    }
    let error = unpack(Broken, &Limits::default(), Discard).unwrap_err();
    assert_eq!(
        (error.code(), error.to_string().as_str()),
        ("ReadFailed", "reading the archive failed: the line is dead")
    );

    struct Full;
    impl annex_bundle::Sink for Full {
        fn begin(&mut self, _: &annex_bundle::BundlePath, _: u64) -> io::Result<()> {
            Ok(())
        }
        fn write(&mut self, _: &[u8]) -> io::Result<()> {
            Err(io::Error::from(io::ErrorKind::StorageFull))
        }
    }
    let error = unpack(bundle().archive.as_slice(), &Limits::default(), Full).unwrap_err();
    assert_eq!(error.code(), "StoreFailed");
    assert!(error.to_string().starts_with("storing main.wasm failed: "), "{error}");
}
