//! What a new project calls things.

use std::path::Path;

use annex_bundle::Publisher;
use annex_core::ExtensionName;

use crate::outcome::Failure;

/// The names that the templates leave open.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Names {
    /// The extension's.
    pub(super) name: ExtensionName,
    pub(super) publisher: Publisher,
    /// The last label of the name.
    pub(super) slug: String,
    /// What people see.
    pub(super) title: String,
}

impl Names {
    /// What was not given is made of the folder's name and the publisher.
    pub(super) fn choose(
        dir: &Path,
        publisher: &Publisher,
        name: Option<&ExtensionName>,
    ) -> Result<Self, Failure> {
        let name = match name {
            Some(name) => name.clone(),
            None => made_of(dir, publisher)?,
        };
        let slug = name.as_str().rsplit('.').next().unwrap_or_default().to_owned();
        let title = title(&slug);
        Ok(Self { name, publisher: publisher.clone(), slug, title })
    }
}

fn made_of(dir: &Path, publisher: &Publisher) -> Result<ExtensionName, Failure> {
    // `.` has no name, but the folder that it is has.
    let path = std::path::absolute(dir).unwrap_or_else(|_| dir.to_owned());
    let folder = path.file_name().map(|name| name.to_string_lossy().to_lowercase()).unwrap_or_default();
    let words = folder.split(|c: char| !c.is_ascii_lowercase() && !c.is_ascii_digit());
    let label = words.filter(|word| !word.is_empty()).collect::<Vec<_>>().join("-");
    let turned = publisher.as_str().rsplit('.').collect::<Vec<_>>().join(".");
    format!("{turned}.{label}").parse::<ExtensionName>().map_err(|error| {
        Failure::Usage(format!(
            "no name can be made of {} and {publisher}, as it {error}; give one with --name, such as com.example.notes",
            dir.display()
        ))
    })
}

/// `time-and-billing` as `Time and billing`.
fn title(slug: &str) -> String {
    let text = slug.replace('-', " ");
    let mut characters = text.chars();
    characters.next().map_or_else(String::new, |first| first.to_uppercase().chain(characters).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(dir: &str, publisher: &str, name: Option<&str>) -> Result<Names, Failure> {
        let name = name.map(|name| name.parse().unwrap());
        Names::choose(Path::new(dir), &publisher.parse().unwrap(), name.as_ref())
    }

    #[test]
    fn what_was_not_given_is_made_of_the_folder() {
        let made = names("/x/Time & Billing", "acme.example.org", None).unwrap();
        assert_eq!(made.name.as_str(), "org.example.acme.time-billing");
        assert_eq!((made.slug.as_str(), made.title.as_str()), ("time-billing", "Time billing"));
        let made = names("/x", "example.com", Some("com.other.notes")).unwrap();
        assert_eq!((made.name.as_str(), made.title.as_str()), ("com.other.notes", "Notes"));
    }

    #[test]
    fn a_folder_without_letters_needs_a_name() {
        assert!(
            matches!(names("/日本", "example.com", None), Err(Failure::Usage(text)) if text.contains("--name"))
        );
    }
}
