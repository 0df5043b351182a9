use std::time::Duration;

use annex_grant::{
    Audience, BodyDigest, Capabilities, Grant, LONGEST_LIFE, LONGEST_TOKEN, Limits, Nonce, Refusal,
    ReplayGuard, SignError, UnixMillis,
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use proptest::prelude::*;

use crate::support::{BODY, LIFE, NOW, OTHER, SECRET, SKEW, admit, at, audience, grant, ring};

#[test]
fn what_was_granted_is_what_is_admitted() {
    let keys = ring(&[("k1", SECRET)]);
    let token = keys.sign(&grant()).unwrap();
    assert_eq!(admit(token.as_str(), BODY, &keys, NOW), Ok(grant()));
    assert!(!format!("{token:?}").contains(token.as_str()), "it belongs into no log");
}

#[test]
fn it_is_good_for_one_body() {
    let keys = ring(&[("k1", SECRET)]);
    let token = keys.sign(&grant()).unwrap();
    for body in [&b""[..], b"{}", &[BODY, b" "].concat(), &BODY[1..]] {
        assert_eq!(admit(token.as_str(), body, &keys, NOW), Err(Refusal::BodyMismatch), "{body:?}");
    }
}

#[test]
fn it_is_good_from_when_it_was_issued_until_it_expires_as_far_as_clocks_agree() {
    let keys = ring(&[("k1", SECRET)]);
    let token = keys.sign(&grant()).unwrap();
    let millis = |moment: UnixMillis, by: i64| UnixMillis(moment.0.checked_add_signed(by).unwrap());
    let skew = i64::try_from(SKEW.as_millis()).unwrap();
    for (now, expected) in [
        (millis(NOW, -skew - 1), Err(Refusal::NotYetValid)),
        (millis(NOW, -skew), Ok(())),
        (NOW, Ok(())),
        (millis(NOW.after(LIFE), skew - 1), Ok(())),
        (millis(NOW.after(LIFE), skew), Err(Refusal::Expired)),
        (UnixMillis(0), Err(Refusal::NotYetValid)),
        (UnixMillis(u64::MAX), Err(Refusal::Expired)),
    ] {
        assert_eq!(admit(token.as_str(), BODY, &keys, now).map(drop), expected, "{now:?}");
    }
}

#[test]
fn it_is_good_for_one_audience() {
    let keys = ring(&[("k1", SECRET)]);
    let token = keys.sign(&grant()).unwrap();
    let other: Audience = "annex-acme/exec".parse().unwrap();
    assert_eq!(keys.verify(token.as_str(), at(NOW, &other)), Err(Refusal::WrongAudience));
}

#[test]
fn it_is_good_once() {
    let keys = ring(&[("k1", SECRET)]);
    let token = keys.sign(&grant()).unwrap();
    let (replays, audience) = (ReplayGuard::new(10), audience());
    let admit =
        |body| annex_grant::admit(token.as_str(), body, &keys, at(NOW, &audience), &replays).map(drop);
    assert_eq!(admit(b"other"), Err(Refusal::BodyMismatch), "what is refused uses nothing up");
    assert_eq!(admit(BODY), Ok(()));
    assert_eq!(admit(BODY), Err(Refusal::Replayed));
}

#[test]
fn another_secret_under_the_same_name_signs_nothing_that_is_good_here() {
    let token = ring(&[("k1", OTHER)]).sign(&grant()).unwrap();
    assert_eq!(admit(token.as_str(), BODY, &ring(&[("k1", SECRET)]), NOW), Err(Refusal::BadMac));
    assert_eq!(admit(token.as_str(), BODY, &ring(&[("k2", OTHER)]), NOW), Err(Refusal::UnknownKey));
}

#[test]
fn what_is_no_token_is_malformed() {
    let keys = ring(&[("k1", SECRET)]);
    let token = keys.sign(&grant()).unwrap();
    let token = token.as_str();
    let bytes = URL_SAFE_NO_PAD.decode(token).unwrap();
    let mut of_version_2 = bytes.clone();
    of_version_2[0] = 2;
    for bad in [
        String::new(),
        "x".repeat(100),
        format!("{token}="),
        format!(" {token}"),
        format!("{token}\n"),
        token.replace(['-', '_'], "+"),
        "A".repeat(LONGEST_TOKEN + 1),
        "A".repeat(LONGEST_TOKEN - 3),
        URL_SAFE_NO_PAD.encode(&of_version_2),
        URL_SAFE_NO_PAD.encode([&bytes[..], b"\0"].concat()),
        URL_SAFE_NO_PAD.encode(&bytes[..31]),
    ] {
        // One in which there is nothing to replace is the token itself.
        if bad != token {
            assert_eq!(admit(&bad, BODY, &keys, NOW), Err(Refusal::Malformed), "{bad}");
        }
    }
}

#[test]
fn what_no_grant_can_say_is_not_signed() {
    let keys = ring(&[("k1", SECRET)]);
    for (what, bad) in [
        ("ends as it begins", Grant { expires: NOW, ..grant() }),
        ("ends before it begins", Grant { issued: NOW.after(LIFE + LIFE), ..grant() }),
        ("lives too long", Grant { expires: NOW.after(LONGEST_LIFE + Duration::from_millis(1)), ..grant() }),
    ] {
        assert_eq!(keys.sign(&bad).map(drop), Err(SignError::Unrepresentable), "{what}");
    }
    let longest = Grant { expires: NOW.after(LONGEST_LIFE), ..grant() };
    assert!(keys.sign(&longest).is_ok());
}

#[test]
fn the_largest_grant_fits_a_header() {
    let long = "k".repeat(64);
    let keys = ring(&[(&long, SECRET)]);
    let text = "x".repeat(253);
    let largest = Grant {
        audience: text.parse().unwrap(),
        tenant: text.parse().unwrap(),
        install: text.parse().unwrap(),
        extension: text.parse().unwrap(),
        capabilities: Capabilities::of((0..64).map(|number| format!("{number:064}"))).unwrap(),
        limits: Limits { timeout_ms: u32::MAX, memory_mb: u32::MAX, fuel: Some(u64::MAX) },
        ..grant()
    };
    let token = keys.sign(&largest).unwrap();
    assert_eq!(keys.verify(token.as_str(), at(NOW, &largest.audience)), Ok(largest.clone()));
}

#[test]
fn every_bit_that_is_flipped_is_noticed() {
    let keys = ring(&[("k1", SECRET)]);
    let token = keys.sign(&grant()).unwrap();
    let bytes = URL_SAFE_NO_PAD.decode(token.as_str()).unwrap();
    for at in 0..bytes.len() {
        for bit in 0..8 {
            let mut flipped = bytes.clone();
            flipped[at] ^= 1 << bit;
            let flipped = URL_SAFE_NO_PAD.encode(flipped);
            assert!(admit(&flipped, BODY, &keys, NOW).is_err(), "byte {at}, bit {bit}");
        }
    }
    for at in 0..token.as_str().len() {
        for byte in 0..128_u8 {
            let mut text = token.as_str().as_bytes().to_vec();
            if std::mem::replace(&mut text[at], byte) == byte {
                continue;
            }
            let text = String::from_utf8(text).unwrap();
            assert!(admit(&text, BODY, &keys, NOW).is_err(), "{:?} at {at}", char::from(byte));
        }
    }
}

#[test]
fn every_part_of_it_is_too_little() {
    let keys = ring(&[("k1", SECRET)]);
    let token = keys.sign(&grant()).unwrap();
    let bytes = URL_SAFE_NO_PAD.decode(token.as_str()).unwrap();
    for end in 0..bytes.len() {
        assert!(admit(&URL_SAFE_NO_PAD.encode(&bytes[..end]), BODY, &keys, NOW).is_err(), "{end}");
    }
}

fn text() -> impl Strategy<Value = String> {
    "[ -~äß☃]{1,60}"
}

fn any_grant() -> impl Strategy<Value = Grant> {
    let names = (text(), text(), text(), "[!-\\-/-~]{1,253}");
    let limits = (any::<u32>(), any::<u32>(), any::<Option<u64>>());
    let times = (0..u64::MAX / 2, 1..=900_000_u64);
    let capabilities = prop::collection::btree_set("[!-~]{1,64}", 0..64);
    (names, limits, times, capabilities, any::<([u8; 32], [u8; 16], Vec<u8>)>()).prop_map(
        |(
            (tenant, install, extension, audience),
            (timeout_ms, memory_mb, fuel),
            (issued, life),
            names,
            bytes,
        )| {
            let (content, nonce, body) = bytes;
            Grant {
                audience: audience.parse().unwrap(),
                tenant: tenant.parse().unwrap(),
                install: install.parse().unwrap(),
                extension: extension.parse().unwrap(),
                content: annex_core::ContentHash::from_sha256(content),
                capabilities: Capabilities::of(names).unwrap(),
                limits: Limits { timeout_ms, memory_mb, fuel },
                nonce: Nonce(nonce),
                issued: UnixMillis(issued),
                expires: UnixMillis(issued + life),
                body: BodyDigest::of(&body),
            }
        },
    )
}

proptest! {
    #[test]
    fn whatever_is_granted_is_read_as_it_was_written(grant in any_grant()) {
        let keys = ring(&[("k1", SECRET)]);
        let token = keys.sign(&grant).unwrap();
        prop_assert_eq!(keys.verify(token.as_str(), at(grant.issued, &grant.audience)), Ok(grant));
    }

    #[test]
    fn two_grants_never_have_one_token(one in any_grant(), other in any_grant()) {
        let keys = ring(&[("k1", SECRET)]);
        let (first, second) = (keys.sign(&one).unwrap(), keys.sign(&other).unwrap());
        prop_assert_eq!(one == other, first.as_str() == second.as_str());
    }

    #[test]
    fn a_change_anywhere_is_refused(grant in any_grant(), at_share in 0.0..1.0_f64, flip in 1..=255_u8) {
        let keys = ring(&[("k1", SECRET)]);
        let token = keys.sign(&grant).unwrap();
        let mut bytes = URL_SAFE_NO_PAD.decode(token.as_str()).unwrap();
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss, reason = "a share of a length")]
        let place = (at_share * bytes.len() as f64) as usize;
        bytes[place] ^= flip;
        let changed = URL_SAFE_NO_PAD.encode(bytes);
        prop_assert!(keys.verify(&changed, at(grant.issued, &grant.audience)).is_err());
    }

    #[test]
    fn whatever_comes_is_refused_and_breaks_nothing(text in "\\PC*") {
        let keys = ring(&[("k1", SECRET)]);
        prop_assert!(keys.verify(&text, at(NOW, &audience())).is_err());
    }
}
