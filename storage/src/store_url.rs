use std::convert::Infallible;
use std::fmt;
use std::str::FromStr;

/// A database's URL, as an operator gives it. It may hold a password, and is never shown.
#[derive(Clone)]
pub struct StoreUrl(String);

impl StoreUrl {
    /// For [`Store::open`](crate::Store::open), which says whether it is one.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

// It takes everything: the error of a flag quotes what was given.
impl FromStr for StoreUrl {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Debug for StoreUrl {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("StoreUrl")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_never_shown() {
        let url: StoreUrl = "postgres://user:secret@host/db".parse().unwrap();
        assert_eq!(format!("{url:?}"), "StoreUrl");
        assert_eq!(url.expose(), "postgres://user:secret@host/db");
    }
}
