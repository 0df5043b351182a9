//! JSON as strictly as it can be read, with the place of every mistake.
//!
//! serde's derived readers take the last of two equal keys, let unknown ones pass and stop at the first type error without
//! saying where. What is signed or decides over code must have one meaning only, to us and to whoever reads it elsewhere.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;

use serde::de::{self, DeserializeSeed, MapAccess, SeqAccess, Visitor};

use crate::code::codes;
use crate::shown::shown;

/// Deeper nesting is refused, long before it could exhaust a stack.
pub const MAX_DEPTH: usize = 32;

/// The largest whole number that every JSON reader takes for the same one (2^53 - 1).
pub const MAX_NUMBER: i64 = 9_007_199_254_740_991;

/// What is wrong with a JSON document, and where. The place is a JSON pointer (RFC 6901); empty means the whole document.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DocumentError {
    /// Too many bytes.
    #[error("has {length} bytes, more than {limit}")]
    TooLarge {
        /// How many it has.
        length: usize,
        /// How many it may have.
        limit: usize,
    },
    /// No JSON.
    #[error("{} is no JSON: {reason}", place(pointer))]
    Syntax {
        /// The value that was being read.
        pointer: String,
        /// What the parser says, with line and column.
        reason: String,
    },
    /// Nested too deeply.
    #[error("{} is nested more than {MAX_DEPTH} deep", place(pointer))]
    TooDeep {
        /// Where.
        pointer: String,
    },
    /// A key twice in one object.
    #[error("{} is there twice", place(pointer))]
    DuplicateKey {
        /// The second one.
        pointer: String,
    },
    /// A number that readers of JSON would take for different ones.
    #[error("{} is a number beyond 2^53 - 1, which not every reader of JSON understands", place(pointer))]
    NumberOutOfRange {
        /// Where.
        pointer: String,
    },
    /// A field that does not exist.
    #[error("{} is no known field; look for a misspelling", place(pointer))]
    UnknownField {
        /// Where.
        pointer: String,
    },
    /// A field that must be there.
    #[error("{} is missing", place(pointer))]
    MissingField {
        /// Where it should be.
        pointer: String,
    },
    /// A value that the field cannot have.
    #[error("{} {reason}", place(pointer))]
    Invalid {
        /// Where.
        pointer: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Two entries of a list that must differ.
    #[error("{pointer} says again what {first} says")]
    Repeated {
        /// The second one.
        pointer: String,
        /// The first one.
        first: String,
    },
}

/// The pointer as a message has it: that of the whole document is empty, which nobody would see.
fn place(pointer: &str) -> &str {
    if pointer.is_empty() { "the document" } else { pointer }
}

codes!(DocumentError {
    TooLarge => "DocumentTooLarge",
    Syntax => "DocumentSyntax",
    TooDeep => "DocumentTooDeep",
    DuplicateKey => "DuplicateKey",
    NumberOutOfRange => "NumberOutOfRange",
    UnknownField => "UnknownField",
    MissingField => "MissingField",
    Invalid => "InvalidField",
    Repeated => "RepeatedItem",
});

/// Any JSON value.
#[derive(Debug, Clone, PartialEq)]
enum Node {
    Null,
    Bool(bool),
    Integer(i64),
    Float(f64),
    Text(String),
    List(Vec<Node>),
    Map(BTreeMap<String, Node>),
}

/// A value and where it is in its document.
#[derive(Debug)]
pub(crate) struct Field {
    node: Node,
    pointer: String,
}

/// The fields of an object that nobody has taken yet.
pub(crate) struct Fields {
    map: BTreeMap<String, Node>,
    pointer: String,
}

/// Reads a whole document of at most `limit` bytes.
pub(crate) fn read(bytes: &[u8], limit: usize) -> Result<Field, DocumentError> {
    if bytes.len() > limit {
        return Err(DocumentError::TooLarge { length: bytes.len(), limit });
    }
    let place = RefCell::new(Place::default());
    let mut parser = serde_json::Deserializer::from_slice(bytes);
    let parsed = NodeReader { place: &place }.deserialize(&mut parser).and_then(|node| {
        parser.end()?;
        Ok(node)
    });
    parsed.map(|node| Field { node, pointer: String::new() }).map_err(|error| {
        let mut place = place.borrow_mut();
        place
            .refusal
            .take()
            .unwrap_or_else(|| DocumentError::Syntax { pointer: place.pointer(), reason: error.to_string() })
    })
}

impl Field {
    /// What `read` makes of the object's fields, of which there are no others than `known`.
    pub(crate) fn object<T>(
        self,
        known: &[&str],
        read: impl FnOnce(&mut Fields) -> Result<T, DocumentError>,
    ) -> Result<T, DocumentError> {
        self.open_object(|fields| {
            // First, because a misspelled field is mostly why another one is missing.
            match fields.map.keys().find(|key| !known.contains(&key.as_str())) {
                Some(key) => Err(DocumentError::UnknownField { pointer: join(&fields.pointer, key) }),
                None => read(fields),
            }
        })
    }

    /// What `read` makes of the object's fields. Those that it does not take are ignored.
    pub(crate) fn open_object<T>(
        self,
        read: impl FnOnce(&mut Fields) -> Result<T, DocumentError>,
    ) -> Result<T, DocumentError> {
        let Node::Map(map) = self.node else { return Err(self.is("an object")) };
        read(&mut Fields { map, pointer: self.pointer })
    }

    /// The list's entries, at most `max`.
    pub(crate) fn list(self, max: usize) -> Result<Vec<Field>, DocumentError> {
        let Node::List(nodes) = self.node else { return Err(self.is("a list")) };
        if nodes.len() > max {
            let reason = format!("has {} entries, more than {max}", nodes.len());
            return Err(DocumentError::Invalid { pointer: self.pointer, reason });
        }
        Ok(nodes
            .into_iter()
            .enumerate()
            .map(|(index, node)| Field { node, pointer: format!("{}/{index}", self.pointer) })
            .collect())
    }

    /// The text.
    pub(crate) fn text(self) -> Result<String, DocumentError> {
        match self.node {
            Node::Text(text) => Ok(text),
            _ => Err(self.is("a text")),
        }
    }

    /// The text of `lengths` characters, none of which is a control character.
    pub(crate) fn line(self, lengths: RangeInclusive<usize>) -> Result<String, DocumentError> {
        let pointer = self.pointer.clone();
        let text = self.text()?;
        let length = text.chars().count();
        let reason = if !lengths.contains(&length) {
            format!("has {length} characters, not {} to {}", lengths.start(), lengths.end())
        } else if text.chars().any(char::is_control) {
            "has a control character".to_owned()
        } else {
            return Ok(text);
        };
        Err(DocumentError::Invalid { pointer, reason })
    }

    /// What the text means.
    pub(crate) fn parse<T: FromStr<Err: fmt::Display>>(self) -> Result<T, DocumentError> {
        self.check(|text| text.parse().map_err(|error: T::Err| error.to_string()))
    }

    /// What `read` makes of the text.
    pub(crate) fn check<T>(self, read: impl FnOnce(&str) -> Result<T, String>) -> Result<T, DocumentError> {
        let pointer = self.pointer.clone();
        read(&self.text()?).map_err(|reason| DocumentError::Invalid { pointer, reason })
    }

    /// True or false.
    pub(crate) fn boolean(self) -> Result<bool, DocumentError> {
        match self.node {
            Node::Bool(value) => Ok(value),
            _ => Err(self.is("true or false")),
        }
    }

    /// The whole number in `range`.
    pub(crate) fn integer(self, range: RangeInclusive<i64>) -> Result<i64, DocumentError> {
        let Node::Integer(number) = self.node else { return Err(self.is("a whole number")) };
        if range.contains(&number) {
            return Ok(number);
        }
        let reason = format!("is {number}, not {} to {}", range.start(), range.end());
        Err(DocumentError::Invalid { pointer: self.pointer, reason })
    }

    /// The value as serde_json has it, whatever it is.
    pub(crate) fn into_json(self) -> serde_json::Value {
        self.node.into_json()
    }

    /// Where the value is.
    pub(crate) fn pointer(&self) -> &str {
        &self.pointer
    }

    fn is(&self, wanted: &str) -> DocumentError {
        let found = match self.node {
            Node::Null => "null",
            Node::Bool(_) => "a truth value",
            Node::Integer(_) => "a whole number",
            Node::Float(_) => "a fraction",
            Node::Text(_) => "a text",
            Node::List(_) => "a list",
            Node::Map(_) => "an object",
        };
        let reason = format!("is {found}, not {wanted}");
        DocumentError::Invalid { pointer: self.pointer.clone(), reason }
    }
}

impl Fields {
    /// The field, where it is there. `null` is a value and not an absent field.
    pub(crate) fn take(&mut self, key: &str) -> Option<Field> {
        self.map.remove(key).map(|node| Field { node, pointer: join(&self.pointer, key) })
    }

    /// The field, which must be there.
    pub(crate) fn need(&mut self, key: &str) -> Result<Field, DocumentError> {
        self.take(key).ok_or_else(|| DocumentError::MissingField { pointer: join(&self.pointer, key) })
    }

    /// What `read` makes of each entry of a list that may be absent.
    pub(crate) fn list<T>(
        &mut self,
        key: &str,
        max: usize,
        read: impl FnMut(Field) -> Result<T, DocumentError>,
    ) -> Result<Vec<T>, DocumentError> {
        match self.take(key) {
            Some(field) => field.list(max)?.into_iter().map(read).collect(),
            None => Ok(Vec::new()),
        }
    }
}

impl Node {
    fn into_json(self) -> serde_json::Value {
        use serde_json::Value;
        match self {
            Self::Null => Value::Null,
            Self::Bool(value) => Value::Bool(value),
            Self::Integer(number) => Value::from(number),
            Self::Float(number) => Value::from(number),
            Self::Text(text) => Value::String(text),
            Self::List(nodes) => Value::Array(nodes.into_iter().map(Self::into_json).collect()),
            Self::Map(map) => {
                Value::Object(map.into_iter().map(|(key, node)| (key, node.into_json())).collect())
            }
        }
    }
}

/// Refuses the second of two entries with the same key. `keys` has the key of each entry of the list at `pointer`.
pub(crate) fn all_differ<K: Ord>(pointer: &str, keys: impl Iterator<Item = K>) -> Result<(), DocumentError> {
    let mut seen = BTreeMap::new();
    for (index, key) in keys.enumerate() {
        if let Some(first) = seen.insert(key, index) {
            return Err(DocumentError::Repeated {
                pointer: format!("{pointer}/{index}"),
                first: format!("{pointer}/{first}"),
            });
        }
    }
    Ok(())
}

fn join(pointer: &str, key: &str) -> String {
    format!("{pointer}/{}", shown(key.replace('~', "~0").replace('/', "~1").as_bytes()))
}

/// How far the parser has come, and what it must not take.
#[derive(Default)]
struct Place {
    steps: Vec<Step>,
    refusal: Option<DocumentError>,
}

enum Step {
    Key(String),
    Index(usize),
}

impl Place {
    fn pointer(&self) -> String {
        self.steps.iter().fold(String::new(), |pointer, step| match step {
            Step::Key(key) => join(&pointer, key),
            Step::Index(index) => format!("{pointer}/{index}"),
        })
    }
}

#[derive(Clone, Copy)]
struct NodeReader<'p> {
    place: &'p RefCell<Place>,
}

impl NodeReader<'_> {
    /// The error that makes the parser stop; what it says is in the place.
    fn refuse<E: de::Error>(self, refusal: impl FnOnce(String) -> DocumentError) -> E {
        let mut place = self.place.borrow_mut();
        place.refusal = Some(refusal(place.pointer()));
        E::custom("refused")
    }

    fn enter<E: de::Error>(self, step: Step) -> Result<(), E> {
        let depth = {
            let mut place = self.place.borrow_mut();
            place.steps.push(step);
            place.steps.len()
        };
        if depth > MAX_DEPTH {
            return Err(self.refuse(|pointer| DocumentError::TooDeep { pointer }));
        }
        Ok(())
    }

    // A value that fails does not leave: the place of the mistake stays.
    fn leave(self) {
        self.place.borrow_mut().steps.pop();
    }
}

impl<'de> DeserializeSeed<'de> for NodeReader<'_> {
    type Value = Node;

    fn deserialize<D: de::Deserializer<'de>>(self, deserializer: D) -> Result<Node, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for NodeReader<'_> {
    type Value = Node;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a JSON value")
    }

    fn visit_unit<E: de::Error>(self) -> Result<Node, E> {
        Ok(Node::Null)
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<Node, E> {
        Ok(Node::Bool(value))
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<Node, E> {
        if number < -MAX_NUMBER {
            return Err(self.refuse(|pointer| DocumentError::NumberOutOfRange { pointer }));
        }
        Ok(Node::Integer(number))
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<Node, E> {
        match i64::try_from(number) {
            Ok(number) if number <= MAX_NUMBER => Ok(Node::Integer(number)),
            _ => Err(self.refuse(|pointer| DocumentError::NumberOutOfRange { pointer })),
        }
    }

    fn visit_f64<E: de::Error>(self, number: f64) -> Result<Node, E> {
        #[expect(clippy::cast_precision_loss, reason = "2^53 - 1 is exact in an f64")]
        let most = MAX_NUMBER as f64;
        if !number.is_finite() || number.abs() > most {
            return Err(self.refuse(|pointer| DocumentError::NumberOutOfRange { pointer }));
        }
        Ok(Node::Float(number))
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Node, E> {
        Ok(Node::Text(text.to_owned()))
    }

    fn visit_string<E: de::Error>(self, text: String) -> Result<Node, E> {
        Ok(Node::Text(text))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut entries: A) -> Result<Node, A::Error> {
        let mut nodes = Vec::new();
        loop {
            self.enter(Step::Index(nodes.len()))?;
            match entries.next_element_seed(self)? {
                Some(node) => nodes.push(node),
                None => break,
            }
            self.leave();
        }
        self.leave();
        Ok(Node::List(nodes))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Node, A::Error> {
        let mut map = BTreeMap::new();
        while let Some(key) = entries.next_key::<String>()? {
            self.enter(Step::Key(key.clone()))?;
            if map.contains_key(&key) {
                return Err(self.refuse(|pointer| DocumentError::DuplicateKey { pointer }));
            }
            let node = entries.next_value_seed(self)?;
            self.leave();
            map.insert(key, node);
        }
        Ok(Node::Map(map))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(text: &str) -> DocumentError {
        read(text.as_bytes(), 1 << 20).unwrap_err()
    }

    #[test]
    fn a_document_is_read_whole() {
        let text = r#"{"a":[1,-2,0.5,true,null,"x"],"b":{"c":9007199254740991}}"#;
        let json = read(text.as_bytes(), 1000).unwrap().into_json();
        assert_eq!(json, serde_json::from_str::<serde_json::Value>(text).unwrap());
        assert_eq!(
            read(text.as_bytes(), 10).unwrap_err(),
            DocumentError::TooLarge { length: text.len(), limit: 10 }
        );
    }

    #[test]
    fn a_key_twice_is_refused_where_it_is() {
        let pointer = "/a/0/b~1c".to_owned();
        assert_eq!(refusal(r#"{"a":[{"b/c":1,"b\u002fc":1}]}"#), DocumentError::DuplicateKey { pointer });
    }

    #[test]
    fn gigantic_numbers_are_refused() {
        for number in
            ["9007199254740992", "-9007199254740992", "18446744073709551616", "1e300", "-1e300", "1e17"]
        {
            let pointer = "/a/1".to_owned();
            assert_eq!(
                refusal(&format!(r#"{{"a":[0,{number}]}}"#)),
                DocumentError::NumberOutOfRange { pointer },
                "{number}"
            );
        }
        // No f64 holds it, so the parser itself gives up.
        let DocumentError::Syntax { pointer, reason } = refusal(r#"{"a":[0,1e999]}"#) else { panic!() };
        assert_eq!(pointer, "/a/1");
        assert!(reason.contains("number out of range"), "{reason}");
    }

    #[test]
    fn deep_nesting_is_refused_before_it_hurts() {
        for (open, within) in [("[", ""), (r#"{"a":"#, "1")] {
            let deep = format!("{}{within}", open.repeat(1_000_000));
            assert_eq!(refusal(&deep[..1_000_000]).code(), "DocumentTooDeep");
        }
        let fits = format!("{}1{}", "[".repeat(MAX_DEPTH), "]".repeat(MAX_DEPTH));
        assert!(read(fits.as_bytes(), 1000).is_ok());
        assert!(read(format!("[{fits}]").as_bytes(), 1000).is_err());
    }

    #[test]
    fn what_is_no_json() {
        for text in
            ["", "{", "{}x", "{} {}", "\u{feff}{}", "{'a':1}", r#"{"a":01}"#, "NaN", "{\"a\":\"\\ud800\"}"]
        {
            assert_eq!(refusal(text).code(), "DocumentSyntax", "{text}");
        }
        assert_eq!(read(b"\"\xff\"", 10).unwrap_err().code(), "DocumentSyntax");
    }

    #[test]
    fn fields_are_known_wanted_and_of_their_type() {
        let object = |text: &str| {
            read(text.as_bytes(), 1000).unwrap().object(&["a"], |fields| fields.need("a")?.integer(1..=3))
        };
        assert_eq!(object(r#"{"a":3}"#).unwrap(), 3);
        assert_eq!(
            object(r#"{"A":3}"#).unwrap_err().to_string(),
            "/A is no known field; look for a misspelling"
        );
        assert_eq!(object("{}").unwrap_err().to_string(), "/a is missing");
        assert_eq!(object(r#"{"a":4}"#).unwrap_err().to_string(), "/a is 4, not 1 to 3");
        assert_eq!(object(r#"{"a":1.0}"#).unwrap_err().to_string(), "/a is a fraction, not a whole number");
        assert_eq!(object("[]").unwrap_err().to_string(), "the document is a list, not an object");
    }
}
