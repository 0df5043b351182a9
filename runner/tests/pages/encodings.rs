//! What travels compressed.

use std::io::Read as _;

use crate::{
    support::Answer,
    world::{World, files, get, page},
};

fn decoded(answer: &Answer) -> Vec<u8> {
    let (mut decoded, bytes) = (Vec::new(), &answer.bytes[..]);
    match answer.header("content-encoding") {
        Some("gzip") => flate2::read::GzDecoder::new(bytes).read_to_end(&mut decoded).map(drop),
        Some("br") => brotli::BrotliDecompress(&mut &bytes[..], &mut decoded),
        Some("zstd") => zstd::stream::copy_decode(bytes, &mut decoded),
        other => panic!("{other:?}"),
    }
    .unwrap();
    decoded
}

#[tokio::test]
async fn text_is_compressed_for_who_takes_it() {
    let (_world, runner, hash) = World::with_hello().await;
    for (name, whole) in files().into_iter().filter(|(name, _)| matches!(*name, "ui/app.js" | "ui/big.css")) {
        let path = page(&hash, name.trim_start_matches("ui/"));
        let plain = get(&runner, &path, &[]).await;
        let strong = plain.header("etag").unwrap().to_owned();
        for (accepts, encoding) in [
            ("zstd", "zstd"),
            ("br", "br"),
            ("gzip", "gzip"),
            ("gzip, deflate, br, zstd", "zstd"),
            ("gzip, br;q=0, zstd;q=0", "gzip"),
        ] {
            let answer = get(&runner, &path, &[("accept-encoding", accepts)]).await;
            assert_eq!(
                (answer.status, answer.header("content-encoding")),
                (200, Some(encoding)),
                "{accepts}"
            );
            assert!(answer.bytes.len() * 2 < whole.len(), "{accepts}: {} bytes", answer.bytes.len());
            assert!(decoded(&answer) == whole, "{accepts} {name}");
            // Of what is kept in that encoding it is known, and of a larger file it is not.
            let kept = (whole.len() <= 1 << 20).then(|| answer.bytes.len().to_string());
            assert_eq!(answer.header("content-length"), kept.as_deref(), "{name}");
            let vary = answer.header("vary").unwrap_or_default();
            assert!(vary.eq_ignore_ascii_case("accept-encoding"), "{vary}");
            assert_eq!(answer.header("cache-control"), plain.header("cache-control"));
            assert_eq!(answer.header("content-type"), plain.header("content-type"));

            // The tag says that it is the same, not that its bytes are; and with it the next download is saved.
            let weak = answer.header("etag").unwrap();
            assert_eq!(weak, format!("W/{strong}"), "{accepts}");
            let again = get(&runner, &path, &[("accept-encoding", accepts), ("if-none-match", weak)]).await;
            assert_eq!((again.status, again.header("content-encoding")), (304, None), "{accepts}");
            let part = [("accept-encoding", accepts), ("range", "bytes=0-9"), ("if-range", weak)];
            assert_eq!(get(&runner, &path, &part).await.status, 200, "no part by a weak tag");
        }
        for accepts in ["identity", "gzip;q=0", "compress", ""] {
            let answer = get(&runner, &path, &[("accept-encoding", accepts)]).await;
            assert_eq!((answer.status, answer.header("content-encoding")), (200, None), "{accepts:?}");
            assert!(answer.bytes == whole, "{accepts:?}");
            assert_eq!(answer.header("etag"), Some(&*strong));
        }
    }
}

#[tokio::test]
async fn what_would_not_get_smaller_is_sent_as_it_is() {
    let (_world, runner, hash) = World::with_hello().await;
    let all = ("accept-encoding", "gzip, br, zstd");
    for name in ["logo.png", "index.html", "empty.txt"] {
        let answer = get(&runner, &page(&hash, name), &[all]).await;
        assert_eq!((answer.status, answer.header("content-encoding")), (200, None), "{name}");
        let whole = files().into_iter().find(|(path, _)| *path == format!("ui/{name}")).unwrap().1;
        assert_eq!(answer.bytes, whole, "{name}");
    }
    // A part of what is compressed would be a part of other bytes.
    let answer = get(&runner, &page(&hash, "app.js"), &[all, ("range", "bytes=0-2000")]).await;
    assert_eq!((answer.status, answer.header("content-encoding")), (206, None));
    assert_eq!(answer.bytes.len(), 2001);
    assert!(answer.header("etag").unwrap().starts_with('"'));
}
