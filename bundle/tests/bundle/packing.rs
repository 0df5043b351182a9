//! Packing: always the same bytes, and always what can be unpacked.

use std::collections::BTreeMap;
use std::io::{self, Read};

use annex_bundle::{BundlePath, Discard, Limits, Memory, pack, pack_files, unpack};
use proptest::prelude::*;

use crate::support::tars::{Entry, tar, zstd};
use crate::support::{COMPONENT, MANIFEST, bundle, files, fixture};

#[test]
fn the_same_files_give_the_same_bytes_in_whatever_order() {
    let mut reversed = files();
    reversed.reverse();
    let mut archive = Vec::new();
    pack_files(reversed, &Limits::default(), &mut archive).unwrap();
    assert_eq!(archive, bundle().archive);
}

#[test]
fn the_bytes_are_those_of_every_other_machine() {
    // If this fails because zstd was updated, say so in the release notes: archives differ, content hashes do not.
    assert_eq!(
        bundle().unpacked.archive.to_string(),
        "sha256:7cb6cf65e227d677d47d9bef92c648cdc2d60780454dafb812ac1f055aa6e77a"
    );
    // Made with the commands of docs/bundle-format.md.
    let content_hash = "sha256:3921c85e5846b90ae267c6dc27fbae17d5440c7820dece7848f8fb21b36cb95a";
    assert_eq!(bundle().unpacked.content_hash.to_string(), content_hash);
}

#[test]
fn the_commands_of_the_page_make_a_bundle() {
    let found = unpack(fixture("gnu.tar.zst").as_slice(), &Limits::default(), Discard).unwrap();
    assert_eq!(found.content_hash, bundle().unpacked.content_hash);
}

#[test]
fn it_does_not_matter_in_which_pieces_files_are_read() {
    struct Pieces<'a>(&'a [u8], usize);
    impl Read for Pieces<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let size = buffer.len().min(self.1);
            self.0.read(&mut buffer[..size])
        }
    }
    // Larger than a block of zstd, and not all alike.
    let page: Vec<u8> =
        (0..400_000_u32).flat_map(|n| (n.wrapping_mul(2_654_435_761) >> (n % 13)).to_le_bytes()).collect();
    let mut files = files();
    files[2].1 = &page;
    let contents: BTreeMap<_, _> =
        files.iter().map(|(path, bytes)| (BundlePath::parse(path.as_bytes()).unwrap(), *bytes)).collect();
    let sizes = contents.iter().map(|(path, bytes)| (path.clone(), bytes.len() as u64)).collect();
    let packed = |piece| {
        let mut archive = Vec::new();
        pack(&sizes, |path| Ok(Pieces(contents[path], piece)), &Limits::default(), &mut archive).unwrap();
        archive
    };
    let whole = packed(usize::MAX);
    assert_eq!(packed(1000), whole);
    assert_eq!(packed(131_071), whole);
}

#[test]
fn a_file_that_changes_its_size_meanwhile_is_told() {
    let sizes: BTreeMap<_, _> = files()
        .iter()
        .map(|(path, bytes)| (BundlePath::parse(path.as_bytes()).unwrap(), bytes.len() as u64))
        .collect();
    for content in [b"short".as_slice(), &[b'x'; 1000]] {
        let error = pack(
            &sizes,
            |path| match path.as_str() {
                "ui/index.html" => Ok(content),
                other => Ok(files().into_iter().find(|(path, _)| *path == other).unwrap().1),
            },
            &Limits::default(),
            Vec::new(),
        );
        let error = error.unwrap_err();
        assert_eq!(
            (error.code(), error.to_string().as_str()),
            ("SizeChanged", "ui/index.html changed its size while it was read; pack again")
        );
    }
    let error = pack(
        &sizes,
        |_| Err::<&[u8], _>(io::Error::from(io::ErrorKind::NotFound)),
        &Limits::default(),
        Vec::new(),
    );
    assert_eq!(error.unwrap_err().code(), "ReadFileFailed");
}

#[test]
fn what_would_not_unpack_is_not_packed() {
    let refused = |more: &[(&str, &[u8])]| {
        let mut files = files();
        files.extend_from_slice(more);
        pack_files(files, &Limits::default(), Vec::new()).unwrap_err().code()
    };
    assert_eq!(refused(&[("../x", b"")]), "UnsafePath");
    assert_eq!(refused(&[("README.md", b"")]), "UnknownFile");
    assert_eq!(refused(&[("ui/INDEX.html", b"")]), "CollidingPath");
    assert_eq!(refused(&[(&format!("ui/{}", "a".repeat(101)), b"")]), "PathDoesNotFit");
    assert_eq!(refused(&[("main.wasm", b"\0asm\x01\0\0\0")]), "NotAComponent");
    assert_eq!(refused(&[("manifest.json", b"{}")]), "MissingField");
    assert_eq!(refused(&[("ui/zeros", &vec![0; 20 << 20])]), "RatioTooHigh");
    let small = Limits { archive: 100, ..Limits::default() };
    assert_eq!(pack_files(files(), &small, Vec::new()).unwrap_err().code(), "TooLarge");
    let small = Limits { unpacked: 5000, ..Limits::default() };
    assert_eq!(pack_files(files(), &small, Vec::new()).unwrap_err().code(), "UnpackedTooLarge");
}

#[test]
fn a_full_disk_is_told() {
    struct Full;
    impl io::Write for Full {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::Error::from(io::ErrorKind::StorageFull))
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    assert_eq!(pack_files(files(), &Limits::default(), Full).unwrap_err().code(), "WriteFailed");
}

/// Files of a UI, none of which collides with another.
fn pages() -> impl Strategy<Value = BTreeMap<String, Vec<u8>>> {
    let name = "ui/[a-z0-9äß日_]{1,12}(/[a-z0-9-]{1,20}){0,3}\\.(js|css|html)";
    prop::collection::btree_map(name, prop::collection::vec(any::<u8>(), 0..3000), 0..12).prop_filter(
        "names that some file system takes for one",
        |pages| {
            let mut files: BTreeMap<String, Vec<u8>> = pages.clone();
            files.insert("ui/index.html".to_owned(), Vec::new());
            let entries: Vec<_> = files.keys().map(|path| Entry::file(path, "")).collect();
            let mut all = vec![Entry::file("manifest.json", MANIFEST), Entry::file("main.wasm", COMPONENT)];
            all.extend(entries);
            unpack(zstd(&tar(&all)).as_slice(), &Limits::default(), Discard).is_ok()
        },
    )
}

fn with_pages(pages: &BTreeMap<String, Vec<u8>>) -> Vec<(&str, &[u8])> {
    let mut files: BTreeMap<&str, &[u8]> = files().into_iter().collect();
    files.extend(pages.iter().map(|(path, bytes)| (path.as_str(), bytes.as_slice())));
    files.into_iter().collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_was_packed_unpacks_to_the_same_files(pages in pages()) {
        let files = with_pages(&pages);
        let mut archive = Vec::new();
        let packed = pack_files(files.iter().copied(), &Limits::default(), &mut archive).unwrap();
        let mut memory = Memory::default();
        let found = unpack(archive.as_slice(), &Limits::default(), &mut memory).unwrap();
        prop_assert_eq!(&found, &packed);
        let unpacked = memory.into_files();
        prop_assert_eq!(unpacked.len(), files.len());
        for (path, bytes) in files {
            let path = BundlePath::parse(path.as_bytes()).unwrap();
            prop_assert_eq!(unpacked[&path].as_slice(), bytes);
        }
    }

    #[test]
    fn the_content_hash_does_not_depend_on_the_packing(pages in pages(), level in 1..19, seed in any::<u64>()) {
        let files = with_pages(&pages);
        let packed = pack_files(files.iter().copied(), &Limits::default(), Vec::new()).unwrap();
        let mut entries: Vec<_> = files.iter().map(|(path, bytes)| Entry::file(path, *bytes)).collect();
        // Any order will do.
        entries.sort_by_key(|entry| entry.name.iter().fold(seed, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3)));
        let other = zstd::encode_all(tar(&entries).as_slice(), level).unwrap();
        let found = unpack(other.as_slice(), &Limits::default(), Discard).unwrap();
        prop_assert_eq!(found.content_hash, packed.content_hash);
    }

    #[test]
    fn other_content_has_another_hash(pages in pages(), bit in any::<prop::sample::Index>()) {
        let mut page = b"some page of some length".to_vec();
        let mut changed = pages.clone();
        changed.insert("ui/page".to_owned(), page.clone());
        let before = pack_files(with_pages(&changed), &Limits::default(), Vec::new()).unwrap();
        let at = bit.index(page.len() * 8);
        page[at / 8] ^= 1 << (at % 8);
        changed.insert("ui/page".to_owned(), page);
        let after = pack_files(with_pages(&changed), &Limits::default(), Vec::new()).unwrap();
        prop_assert_ne!(before.content_hash, after.content_hash);
    }
}
