use super::{key::Scope, object::Object};

/// Which objects a list or a watch is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Selection {
    pub(crate) scope: Scope,
    pub(crate) labels: Vec<Requirement>,
    pub(crate) fields: Vec<FieldRequirement>,
}

impl Selection {
    #[cfg(test)]
    pub(crate) fn all_of(scope: Scope) -> Self {
        Self { scope, labels: Vec::new(), fields: Vec::new() }
    }

    pub(crate) fn matches(&self, object: &Object) -> bool {
        self.scope.holds(&object.key)
            && self.labels.iter().all(|required| required.holds(object))
            && self.fields.iter().all(|required| required.holds(object))
    }

    /// Whether a change can make an object enter or leave. Its place never changes, its labels do.
    pub(crate) fn depends_on_content(&self) -> bool {
        !self.labels.is_empty()
    }
}

/// One part of a label selector.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Requirement {
    In(String, Vec<String>),
    NotIn(String, Vec<String>),
    Exists(String),
    Absent(String),
}

impl Requirement {
    fn holds(&self, object: &Object) -> bool {
        let among = |name: &str, values: &[String]| {
            object.label(name).is_some_and(|label| values.iter().any(|value| value == label))
        };
        match self {
            Self::In(name, values) => among(name, values),
            Self::NotIn(name, values) => !among(name, values),
            Self::Exists(name) => object.label(name).is_some(),
            Self::Absent(name) => object.label(name).is_none(),
        }
    }

    fn parse(text: &str) -> Result<Self, String> {
        let text = text.trim();
        for (operator, is_in) in [(" notin ", false), (" notin(", false), (" in ", true), (" in(", true)] {
            if let Some((name, values)) = text.split_once(operator) {
                let values = values.trim().trim_start_matches('(').trim_end_matches(')');
                let values = values.split(',').map(|value| value.trim().to_owned()).collect();
                let name = name_of(name)?;
                return Ok(if is_in { Self::In(name, values) } else { Self::NotIn(name, values) });
            }
        }
        if let Some((name, value)) = text.split_once("!=") {
            return Ok(Self::NotIn(name_of(name)?, vec![value.trim().to_owned()]));
        }
        if let Some((name, value)) = text.split_once("==").or_else(|| text.split_once('=')) {
            return Ok(Self::In(name_of(name)?, vec![value.trim().to_owned()]));
        }
        match text.strip_prefix('!') {
            Some(name) => Ok(Self::Absent(name_of(name)?)),
            None => Ok(Self::Exists(name_of(text)?)),
        }
    }
}

fn name_of(text: &str) -> Result<String, String> {
    let name = text.trim();
    let allowed = |character: char| character.is_ascii_alphanumeric() || "-_./".contains(character);
    if name.is_empty() || !name.chars().all(allowed) {
        return Err(format!("unable to parse requirement: {text:?} is no label key"));
    }
    Ok(name.to_owned())
}

/// A label selector, as it is in a query.
pub(crate) fn label_selector(text: &str) -> Result<Vec<Requirement>, String> {
    split_outside_brackets(text).into_iter().map(Requirement::parse).collect()
}

fn split_outside_brackets(text: &str) -> Vec<&str> {
    let mut depth = 0_usize;
    let outside = |character: char| {
        match character {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            _ => {}
        }
        depth == 0 && character == ','
    };
    text.split(outside).filter(|part| !part.trim().is_empty()).collect()
}

/// One part of a field selector. Only what every kind has can be selected by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FieldRequirement {
    field: Field,
    value: String,
    equal: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Field {
    Name,
    Namespace,
}

impl FieldRequirement {
    fn holds(&self, object: &Object) -> bool {
        let value = match self.field {
            Field::Name => &object.key.name,
            Field::Namespace => &object.key.namespace,
        };
        (**value == *self.value) == self.equal
    }

    fn parse(text: &str) -> Result<Self, String> {
        let (field, value, equal) = if let Some((field, value)) = text.split_once("!=") {
            (field, value, false)
        } else {
            let parts = text.split_once("==").or_else(|| text.split_once('='));
            let (field, value) = parts.ok_or_else(|| format!("invalid selector: {text:?}"))?;
            (field, value, true)
        };
        let field = match field.trim() {
            "metadata.name" => Field::Name,
            "metadata.namespace" => Field::Namespace,
            other => return Err(format!("field label not supported: {other}")),
        };
        Ok(Self { field, value: value.trim().to_owned(), equal })
    }
}

/// A field selector, as it is in a query.
pub(crate) fn field_selector(text: &str) -> Result<Vec<FieldRequirement>, String> {
    text.split(',').filter(|part| !part.trim().is_empty()).map(FieldRequirement::parse).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::json;

    use super::*;
    use crate::store::{key::Key, object::EventType};

    fn object() -> Object {
        let fields =
            json!({"metadata": {"name": "x", "labels": {"app": "web", "example.com/tier": "front"}}});
        let key = Arc::new(Key::new("c", "n", "x"));
        Object::new(key, 1, EventType::Added, fields.as_object().unwrap())
    }

    fn selects(labels: &str, fields: &str) -> bool {
        let selection = Selection {
            scope: Scope::Everything,
            labels: label_selector(labels).unwrap(),
            fields: field_selector(fields).unwrap(),
        };
        selection.matches(&object())
    }

    #[test]
    fn labels_are_selected_as_kubernetes_does() {
        for selector in [
            "",
            "app=web",
            "app == web",
            "app",
            "!other",
            "other!=x",
            "app in (web, db)",
            "app in (web,db),example.com/tier=front",
            "app notin (db)",
            "other notin (db)",
        ] {
            assert!(selects(selector, ""), "{selector}");
        }
        for selector in
            ["app=db", "other", "!app", "app!=web", "app in (db)", "app notin (web,db)", "app=web,other"]
        {
            assert!(!selects(selector, ""), "{selector}");
        }
    }

    #[test]
    fn name_and_namespace_are_the_fields() {
        for selector in ["metadata.name=x", "metadata.name!=y,metadata.namespace=n", "metadata.name==x"] {
            assert!(selects("", selector), "{selector}");
        }
        for selector in ["metadata.name=y", "metadata.namespace!=n"] {
            assert!(!selects("", selector), "{selector}");
        }
        assert_eq!(
            field_selector("status.phase=Running").unwrap_err(),
            "field label not supported: status.phase"
        );
    }

    #[test]
    fn what_is_no_selector_is_an_error() {
        assert!(label_selector("=web").is_err());
        assert!(label_selector("a b").is_err());
        assert!(field_selector("metadata.name").is_err());
    }
}
