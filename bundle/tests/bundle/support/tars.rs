//! Archives that no honest program writes. Not made with the code under test.

/// An entry with whatever header.
pub struct Entry {
    pub name: Vec<u8>,
    pub kind: u8,
    pub content: Vec<u8>,
    pub link: &'static str,
    /// The magic and version.
    pub magic: &'static [u8; 8],
}

impl Entry {
    pub fn file(name: impl AsRef<[u8]>, content: impl Into<Vec<u8>>) -> Self {
        Self::of_kind(name, b'0', content)
    }

    pub fn of_kind(name: impl AsRef<[u8]>, kind: u8, content: impl Into<Vec<u8>>) -> Self {
        let name = name.as_ref().to_vec();
        Self { name, kind, content: content.into(), link: "", magic: b"ustar\x0000" }
    }

    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = header(&self.name, self.kind, self.content.len(), self.link, self.magic).to_vec();
        bytes.extend(&self.content);
        bytes.resize(bytes.len().next_multiple_of(512), 0);
        bytes
    }
}

pub fn header(name: &[u8], kind: u8, size: usize, link: &str, magic: &[u8; 8]) -> [u8; 512] {
    let mut block = [0; 512];
    let (prefix, name) = if name.len() > 100 {
        (&name[..name.len() - 101], &name[name.len() - 100..])
    } else {
        (&b""[..], name)
    };
    block[..name.len()].copy_from_slice(name);
    block[345..345 + prefix.len()].copy_from_slice(prefix);
    block[100..108].copy_from_slice(b"0000644\0");
    block[108..116].copy_from_slice(b"0001750\0");
    block[116..124].copy_from_slice(b"0001750\0");
    block[124..136].copy_from_slice(format!("{size:011o}\0").as_bytes());
    block[136..148].copy_from_slice(b"14000000000\0");
    block[156] = kind;
    block[157..157 + link.len()].copy_from_slice(link.as_bytes());
    block[257..265].copy_from_slice(magic);
    block[265..269].copy_from_slice(b"user");
    seal(&mut block);
    block
}

/// Makes the checksum right.
pub fn seal(block: &mut [u8; 512]) {
    block[148..156].copy_from_slice(b"        ");
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
}

pub fn tar(entries: &[Entry]) -> Vec<u8> {
    let mut bytes: Vec<u8> = entries.iter().flat_map(Entry::to_bytes).collect();
    bytes.extend([0; 1024]);
    bytes
}

pub fn zstd(bytes: &[u8]) -> Vec<u8> {
    zstd::encode_all(bytes, 3).unwrap()
}

/// A bundle with these entries beside those that it must have.
pub fn bundle_with(entries: Vec<Entry>) -> Vec<u8> {
    zstd(&tar(&with(entries)))
}

pub fn with(mut entries: Vec<Entry>) -> Vec<Entry> {
    let mut all: Vec<_> = super::files().into_iter().map(|(path, bytes)| Entry::file(path, bytes)).collect();
    all.append(&mut entries);
    all
}
