use annex_grant::{Audience, KeyRing, KeyRingError, Refusal, SignError};

use crate::support::{BODY, NOW, OTHER, SECRET, admit, at, audience, files, grant, ring};

fn refused(of: &[(&str, &str)]) -> KeyRingError {
    KeyRing::parse(&files(of)).unwrap_err()
}

#[test]
fn a_key_is_replaced_without_a_call_that_fails() {
    let former = ring(&[("k1", SECRET)]);
    let added = ring(&[("k1", SECRET), ("k2", OTHER), ("current", "k1\n")]);
    let moved = ring(&[("k1", SECRET), ("k2", OTHER), ("current", "k2\n")]);
    let gone = ring(&[("k2", OTHER)]);
    for (signs, verifies) in [
        (&former, &former),
        (&former, &added),
        (&added, &former),
        (&moved, &added),
        (&added, &moved),
        (&moved, &gone),
    ] {
        let token = signs.sign(&grant()).unwrap();
        assert_eq!(admit(token.as_str(), BODY, verifies, NOW), Ok(grant()), "{signs:?} {verifies:?}");
    }
    let token = former.sign(&grant()).unwrap();
    assert_eq!(admit(token.as_str(), BODY, &gone, NOW), Err(Refusal::UnknownKey));
}

#[test]
fn of_several_keys_none_signs_unless_one_is_named() {
    let several = ring(&[("k1", SECRET), ("k2", OTHER)]);
    assert!(!several.can_sign());
    assert_eq!(several.sign(&grant()).map(drop), Err(SignError::NoCurrentKey));
    let token = ring(&[("k2", OTHER)]).sign(&grant()).unwrap();
    assert_eq!(admit(token.as_str(), BODY, &several, NOW), Ok(grant()), "it verifies all the same");
}

#[test]
fn what_is_no_ring_is_refused_and_not_quoted() {
    assert_eq!(refused(&[]), KeyRingError::Empty);
    assert_eq!(refused(&[("current", "k1")]), KeyRingError::Empty);
    assert_eq!(refused(&[("a.b", SECRET)]), KeyRingError::Name("a.b".into()));
    assert_eq!(refused(&[("k1", SECRET), ("current", "k2")]), KeyRingError::Current);
    assert_eq!(refused(&[("k1", SECRET), ("current", "")]), KeyRingError::Current);
    let many: Vec<String> = (0..17).map(|number| format!("k{number}")).collect();
    let many: Vec<(&str, &str)> = many.iter().map(|name| (name.as_str(), SECRET)).collect();
    assert_eq!(refused(&many), KeyRingError::TooMany);
    assert!(KeyRing::parse(&files(&many[..16])).is_ok());
    let hex = "0a".repeat(32);
    for bad in [
        "",
        "short",
        "0123456789abcdef0123456789abcde\n",
        "0123456789abcdef\n0123456789abcdef",
        "é123456789abcdef0123456789abcdef",
        &"x".repeat(513),
        &format!("aud.direct.{}", &hex[2..]),
        &format!("aud.direct.{}", hex.to_uppercase()),
        &format!("aud..{hex}"),
        &format!("aud.{hex}0123456789abcdef"),
    ] {
        let error = refused(&[("k1", bad)]);
        assert_eq!(error, KeyRingError::Secret("k1".parse().unwrap()), "{bad}");
        assert!(bad.is_empty() || !error.to_string().contains(bad), "{error}");
    }
    let debug = format!("{:?}", ring(&[("k1", SECRET)]));
    assert!(debug.contains("k1") && !debug.contains("0123"), "{debug}");
}

#[test]
fn white_space_after_a_secret_is_not_part_of_it() {
    let token = ring(&[("k1", SECRET)]).sign(&grant()).unwrap();
    assert_eq!(admit(token.as_str(), BODY, &ring(&[("k1", &format!("{SECRET}\r\n"))]), NOW), Ok(grant()));
}

#[test]
fn who_takes_over_a_runner_has_no_key_of_another() {
    let gateway = ring(&[("k1", SECRET), ("k2", OTHER), ("current", "k2")]);
    let other: Audience = "annex-acme/exec".parse().unwrap();
    let runner = |audience: &Audience| {
        let derived = gateway.derived(audience);
        let files: Vec<_> = derived.iter().map(|(id, text)| (id.as_str(), text.as_str())).collect();
        assert_eq!(files.len(), 2);
        ring(&files)
    };
    let token = gateway.sign(&grant()).unwrap();
    let own = runner(&audience());
    assert_eq!(own.verify(token.as_str(), at(NOW, &audience())), Ok(grant()));
    assert_eq!(runner(&other).verify(token.as_str(), at(NOW, &other)), Err(Refusal::WrongAudience));
    // What it holds makes grants for itself alone, and derives nothing further.
    let alone: Vec<_> = gateway.derived(&other).into_iter().take(1).collect();
    let alone = ring(&[(alone[0].0.as_str(), &alone[0].1)]);
    assert_eq!(alone.sign(&grant()).map(drop), Err(SignError::WrongAudience));
    assert!(alone.derived(&audience()).is_empty());
    // Nor does it help to put the secret of one audience under the name of another.
    let renamed = gateway.derived(&other)[1].1.replace("aud.annex-acme/exec.", "aud.direct.");
    let forged = ring(&[("k2", &renamed)]).sign(&grant()).unwrap();
    assert_eq!(gateway.verify(forged.as_str(), at(NOW, &audience())), Err(Refusal::BadMac));
}
