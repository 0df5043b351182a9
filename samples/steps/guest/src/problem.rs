//! What goes wrong, as the caller is told.

use crate::annex::host::storage_kv;

pub struct Problem {
    pub status: u16,
    pub message: String,
}

impl Problem {
    pub fn new(status: u16, message: impl Into<String>) -> Self {
        Self { status, message: message.into() }
    }
}

// So that `?` is all that a call of storage.kv takes.
impl From<storage_kv::Error> for Problem {
    fn from(error: storage_kv::Error) -> Self {
        use storage_kv::Error;
        match error {
            Error::BadKey => Self::new(400, "a key has 1 byte to 1 KiB"),
            Error::ValueTooLarge => Self::new(413, "a value has 64 KiB at the most"),
            Error::QuotaExceeded => Self::new(507, "there is no more room; delete something first"),
            Error::CallBudgetSpent => Self::new(500, "this is more than one call may read and write"),
            Error::Unavailable => Self::new(503, "try again later"),
        }
    }
}
