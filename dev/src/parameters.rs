//! What the extension is given as parameters, as an Install would.

use std::path::{Path, PathBuf};

use annex_bundle::Manifest;
use serde_json::{Map, Value};

/// Where parameters come from: a JSON file, and single ones that go before it.
#[derive(Debug, Clone, Default)]
pub struct Parameters {
    file: Option<PathBuf>,
    single: Vec<(String, Value)>,
}

impl Parameters {
    /// `single` are `NAME=VALUE`. A value that is JSON is what it says, any other is a text.
    ///
    /// # Errors
    /// One of them has no name.
    pub fn new(file: Option<PathBuf>, single: &[String]) -> Result<Self, String> {
        let pair = |text: &String| {
            let (name, value) = text
                .split_once('=')
                .filter(|(name, _)| !name.is_empty())
                .ok_or_else(|| format!("{text} is no parameter: it is NAME=VALUE, such as colour=blue"))?;
            Ok((name.to_owned(), serde_json::from_str(value).unwrap_or_else(|_| value.into())))
        };
        Ok(Self { file, single: single.iter().map(pair).collect::<Result<_, String>>()? })
    }

    /// The file.
    pub fn file(&self) -> Option<&Path> {
        self.file.as_deref()
    }

    /// All of them.
    ///
    /// # Errors
    /// The file cannot be read, or is no JSON object.
    pub fn read(&self) -> Result<Map<String, Value>, String> {
        let mut all = match &self.file {
            None => Map::new(),
            Some(path) => {
                let path_shown = path.display();
                let text =
                    std::fs::read(path).map_err(|error| format!("reading {path_shown} failed: {error}"))?;
                serde_json::from_slice(&text)
                    .map_err(|error| format!("{path_shown} is no JSON object: {error}"))?
            }
        };
        all.extend(self.single.iter().cloned());
        Ok(all)
    }
}

/// Whether they are what the manifest's schema wants. Without a schema everything is.
///
/// # Errors
/// The first that is not, or the schema itself.
pub(crate) fn check(manifest: &Manifest, parameters: &Map<String, Value>) -> Result<(), String> {
    let schema = manifest.parameters_schema.clone().map(Value::Object);
    annex_parameters::check(schema.as_ref(), parameters).map_err(|why| {
        format!("{why}; see /parametersSchema of the manifest, and give them with --parameter or --config")
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn single_ones_go_before_the_file_and_json_is_what_it_says() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("p.json");
        std::fs::write(&file, r#"{"a": 1, "b": {"c": true}}"#).unwrap();
        let single = ["a=2", "d=blue", "e=\"3\"", "f=a=b"].map(str::to_owned);
        let all = Parameters::new(Some(file.clone()), &single).unwrap().read().unwrap();
        assert_eq!(
            Value::Object(all),
            json!({ "a": 2, "b": { "c": true }, "d": "blue", "e": "3", "f": "a=b" })
        );
        std::fs::write(&file, "[]").unwrap();
        assert!(Parameters::new(Some(file), &[]).unwrap().read().unwrap_err().contains("no JSON object"));
        for wrong in ["colour", "=blue", ""] {
            assert!(Parameters::new(None, &[wrong.to_owned()]).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_schema_is_asked() {
        let manifest = |schema: Value| {
            let text = json!({ "name": "com.example.a", "publisher": "example.com", "version": "1.0.0", "parametersSchema": schema });
            Manifest::from_json(text.to_string().as_bytes()).unwrap()
        };
        let colour = json!({ "type": "object", "required": ["colour"], "properties": { "colour": { "enum": ["red"] } } });
        let check =
            |schema: &Value, given: Value| check(&manifest(schema.clone()), given.as_object().unwrap());
        assert_eq!(check(&colour, json!({ "colour": "red" })), Ok(()));
        assert!(check(&colour, json!({})).unwrap_err().contains("colour"));
        let refused = check(&colour, json!({ "colour": "blue" })).unwrap_err();
        assert!(refused.contains("/colour") && !refused.contains("blue"), "{refused}");
        assert!(check(&json!({ "type": "no type" }), json!({})).unwrap_err().contains("schema is none"));
    }
}
