//! What is wrong with parameters, for people, without any of their values.

use jsonschema::ValidationError;
use jsonschema::error::{TypeKind, ValidationErrorKind as Kind};
use serde_json::Value;

/// How many failures a message tells.
const MAX_FAILURES: usize = 3;

/// How long a message is, in characters.
const MAX_MESSAGE: usize = 512;

/// How long one failure of it is, so that all of them are in it.
const MAX_FAILURE: usize = 140;

/// Up to which length a message says what a schema has: values, or a pattern.
const MAX_QUOTE: usize = 60;

pub(crate) const UNSATISFIED: &str = "parameters do not satisfy the version's schema";

/// The first few failures.
pub(crate) fn of_parameters<'e>(errors: impl Iterator<Item = ValidationError<'e>>) -> String {
    let mut told: Vec<String> = Vec::new();
    let mut more = 0_usize;
    for failure in errors.flat_map(|error| failures(&error)) {
        match failure {
            failure if told.contains(&failure) => {}
            failure if told.len() < MAX_FAILURES => told.push(failure),
            _ => more = more.saturating_add(1),
        }
    }
    if more > 0 {
        told.push(format!("and {more} more"));
    }
    shorten(&format!("{UNSATISFIED}: {}", told.join("; ")))
}

/// Why it is no schema. What it has is the publisher's, and published.
pub(crate) fn of_schema(error: &ValidationError) -> String {
    let place = Some(error.instance_path().as_str()).filter(|place| !place.is_empty()).unwrap_or("all of it");
    shorten(&format!("the version's schema is none: {place}: {error}"))
}

/// At most 512 characters, on one line: names and patterns may have anything in them.
pub(crate) fn shorten(message: &str) -> String {
    cut(message, MAX_MESSAGE)
}

fn cut(text: &str, length: usize) -> String {
    let mut rest = text.chars().map(visible);
    let mut cut: String = rest.by_ref().take(length.saturating_sub(1)).collect();
    if let Some(next) = rest.next() {
        cut.push(if rest.next().is_none() { next } else { '…' });
    }
    cut
}

fn visible(character: char) -> char {
    let is_visible =
        character.is_alphanumeric() || character.is_ascii_graphic() || matches!(character, ' ' | '…');
    if is_visible { character } else { char::REPLACEMENT_CHARACTER }
}

/// One for each name that is missing or too much, else one.
fn failures(error: &ValidationError) -> Vec<String> {
    let place = error.instance_path().as_str();
    let member = |name: &str| format!("{place}/{}", name.replace('~', "~0").replace('/', "~1"));
    let failures = match error.kind() {
        Kind::Required { property } => {
            vec![(member(property.as_str().unwrap_or_default()), "is missing".to_owned())]
        }
        Kind::AdditionalProperties { unexpected } | Kind::UnevaluatedProperties { unexpected } => {
            unexpected.iter().map(|name| (member(name), "is not known to it".to_owned())).collect()
        }
        // Where no member is known at all, the one that there is is not named.
        Kind::FalseSchema if error.schema_path().as_str().ends_with("/additionalProperties") => {
            vec![(place.to_owned(), "has members that are not known to it".to_owned())]
        }
        kind => vec![(place.to_owned(), wanted(kind))],
    };
    let told = |(place, wanted): (String, String)| {
        let place = if place.is_empty() { "the whole" } else { &place };
        let room = MAX_FAILURE.saturating_sub(wanted.chars().count()).saturating_sub(1);
        format!("{} {wanted}", cut(place, room))
    };
    failures.into_iter().map(told).collect()
}

/// What a value should have been. Nothing of what it is: it may be secret.
fn wanted(kind: &Kind) -> String {
    match kind {
        Kind::Type { kind: TypeKind::Single(wanted) } => format!("is no {wanted}"),
        Kind::Type { kind: TypeKind::Multiple(wanted) } => {
            let wanted: Vec<_> = wanted.iter().map(|wanted| wanted.as_str()).collect();
            format!("is no {}", wanted.join(" or "))
        }
        Kind::Enum { options } => match options.as_array().map(|options| listed(options)) {
            Some(Some(options)) => format!("is none of {options}"),
            _ => "is none of the values that are allowed".to_owned(),
        },
        Kind::Constant { expected_value } => match listed(std::slice::from_ref(&**expected_value)) {
            Some(expected) => format!("is not {expected}"),
            None => "is not the only value that is allowed".to_owned(),
        },
        Kind::Pattern { pattern } if pattern.chars().count() <= MAX_QUOTE => {
            format!("does not match {pattern}")
        }
        Kind::Pattern { .. } => "does not match the pattern".to_owned(),
        Kind::Maximum { limit } => format!("is more than {limit}"),
        Kind::Minimum { limit } => format!("is less than {limit}"),
        Kind::ExclusiveMaximum { limit } => format!("is not less than {limit}"),
        Kind::ExclusiveMinimum { limit } => format!("is not more than {limit}"),
        Kind::MultipleOf { multiple_of } => format!("is no multiple of {multiple_of}"),
        Kind::MaxLength { limit } => format!("is longer than {limit}"),
        Kind::MinLength { limit } => format!("is shorter than {limit}"),
        Kind::MaxItems { limit } => format!("has more than {limit} items"),
        Kind::AdditionalItems { limit } => format!("has more than {limit} items"),
        Kind::MinItems { limit } => format!("has fewer than {limit} items"),
        Kind::MaxProperties { limit } => format!("has more than {limit} members"),
        Kind::MinProperties { limit } => format!("has fewer than {limit} members"),
        Kind::UniqueItems => "has an item twice".to_owned(),
        Kind::UnevaluatedItems { .. } => "has items that are not known to it".to_owned(),
        Kind::Contains => "has too few or too many items of a kind".to_owned(),
        Kind::PropertyNames { .. } => "has a member whose name is not allowed".to_owned(),
        Kind::AnyOf { .. } | Kind::OneOfNotValid { .. } => "is none of the alternatives".to_owned(),
        Kind::OneOfMultipleValid { .. } => "is more than one of the alternatives".to_owned(),
        Kind::Not { .. } => "is what is excluded".to_owned(),
        Kind::FalseSchema => "is not allowed".to_owned(),
        other => format!("does not satisfy {}", cut(other.keyword(), MAX_QUOTE)),
    }
}

/// All that would do, unless it is long.
fn listed(options: &[Value]) -> Option<String> {
    let mut listed = String::new();
    for option in options {
        let separator = if listed.is_empty() { "" } else { ", " };
        let text = match option {
            Value::String(text) => text.clone(),
            Value::Array(_) | Value::Object(_) => return None,
            other => other.to_string(),
        };
        listed = format!("{listed}{separator}{text}");
        if listed.chars().count() > MAX_QUOTE {
            return None;
        }
    }
    Some(listed)
}
