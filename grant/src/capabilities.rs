use std::collections::BTreeSet;

/// What a guest may be given: names such as `storage.kv`, each once, in their order. At most 64 of at most 64 visible ASCII characters.
/// Which ones there are, the runner decides.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Capabilities(BTreeSet<String>);

/// What no capabilities are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CapabilityError {
    /// A name is empty, too long or not visible ASCII.
    #[error("a capability has 1 to 64 visible ASCII characters")]
    Name,
    /// There are more than 64.
    #[error("there are more than 64 capabilities")]
    TooMany,
}

impl Capabilities {
    pub(crate) const MOST: usize = 64;
    const LONGEST: usize = 64;

    /// These, in whatever order and however often they come.
    ///
    /// # Errors
    /// See [`CapabilityError`].
    pub fn of<S: Into<String>>(names: impl IntoIterator<Item = S>) -> Result<Self, CapabilityError> {
        let mut set = BTreeSet::new();
        for name in names {
            let name = name.into();
            if !(1..=Self::LONGEST).contains(&name.len()) || !name.bytes().all(|byte| byte.is_ascii_graphic())
            {
                return Err(CapabilityError::Name);
            }
            set.insert(name);
            if set.len() > Self::MOST {
                return Err(CapabilityError::TooMany);
            }
        }
        Ok(Self(set))
    }

    /// What is asked for, as far as it is granted: all of it where nothing is said of grants.
    ///
    /// # Errors
    /// See [`CapabilityError`].
    pub fn granted(asked: &[String], granted: Option<&[String]>) -> Result<Self, CapabilityError> {
        let is_granted = |name: &&String| granted.is_none_or(|granted| granted.contains(name));
        Self::of(asked.iter().filter(is_granted).cloned())
    }

    /// Whether one of them is `name`.
    #[must_use]
    pub fn contains(&self, name: &str) -> bool {
        self.0.contains(name)
    }

    /// Their names, in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }
}
