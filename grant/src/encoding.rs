//! A grant as bytes. Every field has a fixed place, and its length before it where that varies: two grants never have the same bytes, and
//! one grant never has two.

use annex_core::ContentHash;

use crate::{Audience, BodyDigest, Capabilities, Grant, KeyId, LONGEST_LIFE, Limits, Nonce, UnixMillis};

/// Bytes of another version are not looked at further.
const VERSION: u8 = 1;

/// None: it has a field that no grant can have.
pub(crate) fn write(key: &KeyId, grant: &Grant) -> Option<Vec<u8>> {
    // Field by field, so that one that is added cannot be forgotten here.
    let Grant {
        audience,
        tenant,
        install,
        extension,
        content,
        capabilities,
        limits,
        nonce,
        issued,
        expires,
        body,
    } = grant;
    if !is_life(*issued, *expires) {
        return None;
    }
    let mut out = Vec::with_capacity(512);
    out.push(VERSION);
    text(&mut out, key.as_str())?;
    text(&mut out, audience.as_str())?;
    text(&mut out, tenant.as_str())?;
    text(&mut out, install.as_str())?;
    text(&mut out, extension.as_str())?;
    out.extend(content.as_bytes());
    out.push(u8::try_from(capabilities.iter().len()).ok()?);
    for name in capabilities.iter() {
        text(&mut out, name)?;
    }
    out.extend(limits.timeout_ms.to_be_bytes());
    out.extend(limits.memory_mb.to_be_bytes());
    out.push(u8::from(limits.fuel.is_some()));
    out.extend(limits.fuel.unwrap_or_default().to_be_bytes());
    out.extend(nonce.0);
    out.extend(issued.0.to_be_bytes());
    out.extend(expires.0.to_be_bytes());
    out.extend(body.0);
    Some(out)
}

/// None: these are no grant's bytes. Nothing of it is believed before the MAC was checked.
pub(crate) fn read(bytes: &[u8]) -> Option<(KeyId, Grant)> {
    let mut from = Reader(bytes);
    if from.byte()? != VERSION {
        return None;
    }
    let key = from.text()?.parse().ok()?;
    let audience: Audience = from.text()?.parse().ok()?;
    let tenant = from.text()?.parse().ok()?;
    let install = from.text()?.parse().ok()?;
    let extension = from.text()?.parse().ok()?;
    let content = ContentHash::from_sha256(from.array()?);
    let capabilities = capabilities(&mut from)?;
    let limits = limits(&mut from)?;
    let nonce = Nonce(from.array()?);
    let issued = UnixMillis(u64::from_be_bytes(from.array()?));
    let expires = UnixMillis(u64::from_be_bytes(from.array()?));
    let body = BodyDigest(from.array()?);
    let grant = Grant {
        audience,
        tenant,
        install,
        extension,
        content,
        capabilities,
        limits,
        nonce,
        issued,
        expires,
        body,
    };
    (from.0.is_empty() && is_life(issued, expires)).then_some((key, grant))
}

fn is_life(issued: UnixMillis, expires: UnixMillis) -> bool {
    issued < expires && expires.since(issued) <= LONGEST_LIFE
}

fn capabilities(from: &mut Reader<'_>) -> Option<Capabilities> {
    let count = usize::from(from.byte()?);
    if count > Capabilities::MOST {
        return None;
    }
    let names = (0..count).map(|_| from.text()).collect::<Option<Vec<_>>>()?;
    // In order and each once, so that a set has one spelling.
    let ordered = names.iter().zip(names.iter().skip(1)).all(|(one, next)| one < next);
    Capabilities::of(names).ok().filter(|_| ordered)
}

fn limits(from: &mut Reader<'_>) -> Option<Limits> {
    let timeout_ms = u32::from_be_bytes(from.array()?);
    let memory_mb = u32::from_be_bytes(from.array()?);
    let has_fuel = from.byte()?;
    let fuel = match (has_fuel, u64::from_be_bytes(from.array()?)) {
        (0, 0) => None,
        (1, fuel) => Some(fuel),
        _ => return None,
    };
    Some(Limits { timeout_ms, memory_mb, fuel })
}

/// Every text has at most 253 bytes.
fn text(out: &mut Vec<u8>, text: &str) -> Option<()> {
    out.push(u8::try_from(text.len()).ok()?);
    out.extend(text.as_bytes());
    Some(())
}

/// What is left to read. Nothing is allocated by a length that was read.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (first, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*first)
    }

    fn text(&mut self) -> Option<&'a str> {
        let length = usize::from(self.byte()?);
        let (first, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        std::str::from_utf8(first).ok()
    }
}
