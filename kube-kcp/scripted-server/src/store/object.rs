use std::{ops::Range, sync::Arc};

use hyper::body::Bytes;
use serde_json::{Map, Value};

use super::key::Key;

pub(crate) type Fields = Map<String, Value>;

/// What happened to an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EventType {
    Added,
    Modified,
    Deleted,
}

impl EventType {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Added => "ADDED",
            Self::Modified => "MODIFIED",
            Self::Deleted => "DELETED",
        }
    }
}

/// One version of an object. Its JSON is made once, as the line that a watch sends; lists, gets and requests for the metadata take
/// parts of that line. So all watches and lists share the same bytes.
#[derive(Debug)]
pub(crate) struct Object {
    pub(crate) key: Arc<Key>,
    pub(crate) revision: u64,
    /// What made this version.
    pub(crate) event: EventType,
    labels: Box<[(Box<str>, Box<str>)]>,
    line: Bytes,
    whole: Range<usize>,
    metadata: Range<usize>,
}

impl Object {
    pub(crate) fn new(key: Arc<Key>, revision: u64, event: EventType, fields: &Fields) -> Self {
        let mut line = Vec::with_capacity(512);
        line.extend_from_slice(br#"{"type":""#);
        line.extend_from_slice(event.name().as_bytes());
        line.extend_from_slice(br#"","object":"#);
        let start = line.len();
        let mut metadata = start..start;
        line.push(b'{');
        // In the order that people know, and so that the metadata can be cut out.
        for name in ["apiVersion", "kind", "metadata"] {
            let value = fields.get(name).unwrap_or(&Value::Null);
            let text = write_field(&mut line, name, value);
            if name == "metadata" {
                metadata = text;
            }
        }
        for (name, value) in fields {
            if !matches!(name.as_str(), "apiVersion" | "kind" | "metadata") {
                write_field(&mut line, name, value);
            }
        }
        line.push(b'}');
        let whole = start..line.len();
        line.extend_from_slice(b"}\n");
        line.shrink_to_fit();
        let labels = fields.get("metadata").and_then(|metadata| metadata.get("labels"));
        let labels = labels.and_then(Value::as_object).into_iter().flatten();
        let labels = labels.filter_map(|(name, value)| Some((name.as_str().into(), value.as_str()?.into())));
        Self { key, revision, event, labels: labels.collect(), line: line.into(), whole, metadata }
    }

    pub(crate) fn json(&self) -> Bytes {
        self.line.slice(self.whole.clone())
    }

    pub(crate) fn metadata(&self) -> Bytes {
        self.line.slice(self.metadata.clone())
    }

    /// The event that made this version, as a watch sends it.
    pub(crate) fn line(&self) -> Bytes {
        self.line.clone()
    }

    pub(crate) fn label(&self, name: &str) -> Option<&str> {
        self.labels.iter().find(|label| *label.0 == *name).map(|label| &*label.1)
    }

    pub(crate) fn fields(&self) -> Fields {
        // What was written here is read here, and is an object.
        serde_json::from_slice(&self.json()).unwrap_or_default()
    }

    pub(crate) fn metadata_fields(&self) -> Fields {
        serde_json::from_slice(&self.metadata()).unwrap_or_default()
    }
}

/// Where the value's text is.
fn write_field(line: &mut Vec<u8>, name: &str, value: &Value) -> Range<usize> {
    if line.last() != Some(&b'{') {
        line.push(b',');
    }
    // Names and values of JSON always have a text, and a `Vec` takes all of it.
    let _ = serde_json::to_writer(&mut *line, name);
    line.push(b':');
    let start = line.len();
    let _ = serde_json::to_writer(&mut *line, value);
    start..line.len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn its_json_and_its_metadata_are_parts_of_one_line() {
        let fields = json!({"data": {"a": "b"}, "kind": "ConfigMap", "apiVersion": "v1",
            "metadata": {"name": "x", "labels": {"l": "v"}}});
        let key = Arc::new(Key::new("c", "n", "x"));
        let object = Object::new(key, 7, EventType::Modified, fields.as_object().unwrap());
        assert_eq!(
            object.line(),
            "{\"type\":\"MODIFIED\",\"object\":{\"apiVersion\":\"v1\",\"kind\":\"ConfigMap\",\
             \"metadata\":{\"labels\":{\"l\":\"v\"},\"name\":\"x\"},\"data\":{\"a\":\"b\"}}}\n"
        );
        assert_eq!(object.metadata(), r#"{"labels":{"l":"v"},"name":"x"}"#);
        assert_eq!(Value::Object(object.fields()), fields);
        assert_eq!((object.label("l"), object.label("m")), (Some("v"), None));
        let line = object.line();
        assert!(line.as_ptr_range().contains(&object.json().as_ptr()), "nothing was copied");
    }
}
