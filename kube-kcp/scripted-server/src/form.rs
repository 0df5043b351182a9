use hyper::body::Bytes;
use serde_json::json;

use crate::{
    kind::Kind,
    store::{EventType, Object},
};

const METADATA_START: &[u8] = br#"{"kind":"PartialObjectMetadata","apiVersion":"meta.k8s.io/v1","metadata":"#;
const LINE_START: &[u8] = br#"{"type":""#;
const LINE_OBJECT: &[u8] = br#"","object":"#;

/// How much of the objects was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    Whole,
    Metadata,
}

impl Form {
    /// What the header `Accept` asks for.
    pub(crate) fn accepted(accept: &str) -> Self {
        if accept.contains("as=PartialObjectMetadata") { Self::Metadata } else { Self::Whole }
    }

    /// What is sent of an object; what surrounds it is [`Form::around`].
    pub(crate) fn part(self, object: &Object) -> Bytes {
        match self {
            Self::Whole => object.json(),
            Self::Metadata => object.metadata(),
        }
    }

    pub(crate) fn around(self) -> (&'static [u8], &'static [u8]) {
        match self {
            Self::Whole => (b"", b""),
            Self::Metadata => (METADATA_START, b"}"),
        }
    }

    pub(crate) fn object(self, object: &Object) -> Bytes {
        match self {
            Self::Whole => object.json(),
            Self::Metadata => {
                let (before, after) = self.around();
                [before, &object.metadata(), after].concat().into()
            }
        }
    }

    /// An event of a watch. That of the whole object's own change is shared by all watches.
    pub(crate) fn line(self, event: EventType, object: &Object) -> Bytes {
        if self == Self::Whole && event == object.event {
            return object.line();
        }
        let (before, after) = self.around();
        let part = self.part(object);
        let parts =
            [LINE_START, event.name().as_bytes(), LINE_OBJECT, before, &part, after, b"}\n".as_slice()];
        parts.concat().into()
    }

    /// Kind and apiVersion of one object in this form.
    fn types(self, kind: &Kind) -> (String, String) {
        match self {
            Self::Whole => (kind.name.clone(), kind.api_version()),
            Self::Metadata => ("PartialObjectMetadata".to_owned(), "meta.k8s.io/v1".to_owned()),
        }
    }

    /// What a list begins with, up to its first item.
    pub(crate) fn list_start(self, kind: &Kind, revision: u64, continue_token: Option<&str>) -> Bytes {
        let (name, api_version) = self.types(kind);
        let metadata = match continue_token {
            Some(token) => json!({"resourceVersion": revision.to_string(), "continue": token}),
            None => json!({"resourceVersion": revision.to_string()}),
        };
        let (name, api_version) = (json!(format!("{name}List")), json!(api_version));
        format!(r#"{{"kind":{name},"apiVersion":{api_version},"metadata":{metadata},"items":["#).into()
    }

    /// An event that says how far the watch is.
    pub(crate) fn bookmark(self, kind: &Kind, revision: u64, ends_initial_events: bool) -> Bytes {
        let (name, api_version) = self.types(kind);
        let revision = revision.to_string();
        let metadata = if ends_initial_events {
            let annotations = json!({"k8s.io/initial-events-end": "true"});
            json!({"resourceVersion": revision, "creationTimestamp": null, "annotations": annotations})
        } else {
            json!({"resourceVersion": revision, "creationTimestamp": null})
        };
        let object = json!({"kind": name, "apiVersion": api_version, "metadata": metadata});
        event_line("BOOKMARK", &object)
    }
}

/// An event with any object.
pub(crate) fn event_line(event: &str, object: &serde_json::Value) -> Bytes {
    format!("{{\"type\":\"{event}\",\"object\":{object}}}\n").into()
}
