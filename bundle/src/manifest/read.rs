//! Reads a manifest, refusing whatever it does not understand.

use annex_core::{ExtensionName, parse_requirement, version_object_name};
use semver::Version;
use serde_json::Value;

use super::{
    Dependency, Endpoint, Lifecycle, Limits, MAX_MANIFEST, Manifest, Module, ProvidedInterface,
    RequiredInterface, Ui,
};
use crate::document::{self, DocumentError, Field, Fields, all_differ};
use crate::path::{BundlePath, UI};
use crate::shown::is_invisible;

const FIELDS: &[&str] = &[
    // Where an editor finds the schema. It means nothing.
    "$schema",
    "name",
    "publisher",
    "version",
    "displayName",
    "capabilities",
    "egress",
    "endpoints",
    "ui",
    "modules",
    "dependencies",
    "provides",
    "requires",
    "lifecycle",
    "limits",
    "parametersSchema",
];

impl Manifest {
    /// Reads `manifest.json`.
    ///
    /// # Errors
    /// [`DocumentError`] says what is wrong and where.
    pub fn from_json(bytes: &[u8]) -> Result<Self, DocumentError> {
        document::read(bytes, MAX_MANIFEST)?.object(FIELDS, read)
    }
}

fn read(fields: &mut Fields) -> Result<Manifest, DocumentError> {
    if let Some(schema) = fields.take("$schema") {
        schema.line(0..=2048)?;
    }
    let name = extension(fields.need("name")?)?;
    let publisher = fields.need("publisher")?.parse()?;
    let version = fields.need("version")?.check(|text| version(&name, text))?;
    let display_name = fields.take("displayName").map(display_name).transpose()?;

    let capabilities = fields.list("capabilities", 64, Field::parse)?;
    all_differ("/capabilities", capabilities.iter())?;
    let egress = fields.list("egress", 64, Field::parse)?;
    all_differ("/egress", egress.iter())?;
    let endpoints = fields.list("endpoints", 256, endpoint)?;
    all_differ("/endpoints", endpoints.iter().map(|endpoint| (endpoint.method, endpoint.path.shape())))?;
    let modules = fields.list("modules", 64, module)?;
    all_differ("/modules", modules.iter().map(|module| &module.name))?;
    let dependencies = fields.list("dependencies", 64, |field| dependency(field, &name))?;
    all_differ("/dependencies", dependencies.iter().map(|dependency| &dependency.extension))?;
    let provides = fields.list("provides", 64, provided)?;
    all_differ("/provides", provides.iter().map(|provided| &provided.interface))?;
    let requires = fields.list("requires", 64, required)?;
    all_differ("/requires", requires.iter().map(|required| &required.interface))?;

    Ok(Manifest {
        publisher,
        version,
        display_name,
        capabilities,
        egress,
        endpoints,
        ui: fields.take("ui").map(ui).transpose()?,
        modules,
        dependencies,
        provides,
        requires,
        lifecycle: fields.take("lifecycle").map(lifecycle).transpose()?.unwrap_or_default(),
        limits: fields.take("limits").map(limits).transpose()?.unwrap_or_default(),
        parameters_schema: fields.take("parametersSchema").map(parameters_schema).transpose()?,
        name,
    })
}

fn extension(field: Field) -> Result<ExtensionName, DocumentError> {
    field.check(|text| {
        // The catalog's bound, so that name and version together can name an object.
        if text.len() > 200 {
            return Err(format!("has {} characters, more than 200", text.len()));
        }
        text.parse::<ExtensionName>().map_err(|error| error.to_string())
    })
}

/// A version that an ExtensionVersion can have.
fn version(name: &ExtensionName, text: &str) -> Result<Version, String> {
    if text.len() > 50 {
        return Err(format!("has {} characters, more than 50", text.len()));
    }
    let version = Version::parse(text).map_err(|error| format!("is no semver version: {error}"))?;
    if [version.major, version.minor, version.patch].iter().any(|number| *number > 999_999_999) {
        return Err("has a number of more than nine digits".to_owned());
    }
    version_object_name(name, &version).map_err(|error| format!("cannot name an object: {error}"))?;
    Ok(version)
}

fn display_name(field: Field) -> Result<String, DocumentError> {
    let pointer = field.pointer().to_owned();
    let text = field.line(1..=128)?;
    if text.trim() != text || text.chars().any(is_invisible) {
        let reason = "has an invisible character, or a space at an end".to_owned();
        return Err(DocumentError::Invalid { pointer, reason });
    }
    Ok(text)
}

fn endpoint(field: Field) -> Result<Endpoint, DocumentError> {
    field.object(&["method", "path", "handler"], |fields| {
        Ok(Endpoint {
            method: fields.need("method")?.parse()?,
            path: fields.need("path")?.parse()?,
            handler: fields.need("handler")?.parse()?,
        })
    })
}

fn ui(field: Field) -> Result<Ui, DocumentError> {
    field.object(&["entry"], |fields| {
        let entry = fields.need("entry")?.check(|text| {
            let path = BundlePath::parse(text.as_bytes()).map_err(|error| error.to_string())?;
            if path.as_str().starts_with(UI) { Ok(path) } else { Err(format!("is not below {UI}")) }
        })?;
        Ok(Ui { entry })
    })
}

fn module(field: Field) -> Result<Module, DocumentError> {
    field.object(&["name", "version", "digest", "deprecated"], |fields| {
        Ok(Module {
            name: fields.need("name")?.parse()?,
            version: part_version(fields)?,
            digest: fields.need("digest")?.parse()?,
            deprecated: flag(fields, "deprecated")?,
        })
    })
}

fn dependency(field: Field, own: &ExtensionName) -> Result<Dependency, DocumentError> {
    field.object(&["extension", "version", "optional"], |fields| {
        let other = fields.need("extension")?;
        let pointer = other.pointer().to_owned();
        let extension = extension(other)?;
        if extension == *own {
            return Err(DocumentError::Invalid { pointer, reason: "is the extension itself".to_owned() });
        }
        Ok(Dependency { extension, version: requirement(fields)?, optional: flag(fields, "optional")? })
    })
}

fn provided(field: Field) -> Result<ProvidedInterface, DocumentError> {
    field.object(&["interface", "version"], |fields| {
        Ok(ProvidedInterface {
            interface: fields.need("interface")?.parse()?,
            version: part_version(fields)?,
        })
    })
}

fn required(field: Field) -> Result<RequiredInterface, DocumentError> {
    field.object(&["interface", "version", "optional"], |fields| {
        Ok(RequiredInterface {
            interface: fields.need("interface")?.parse()?,
            version: requirement(fields)?,
            optional: flag(fields, "optional")?,
        })
    })
}

/// The version of a module or an interface.
fn part_version(fields: &mut Fields) -> Result<Version, DocumentError> {
    fields.need("version")?.check(|text| match Version::parse(text) {
        Ok(version) if text.len() <= 64 => Ok(version),
        Ok(_) => Err(format!("has {} characters, more than 64", text.len())),
        Err(error) => Err(format!("is no semver version: {error}")),
    })
}

fn requirement(fields: &mut Fields) -> Result<String, DocumentError> {
    fields.need("version")?.check(|text| {
        if text.is_empty() || text.len() > 128 {
            return Err(format!("has {} characters, not 1 to 128", text.len()));
        }
        parse_requirement(text).map(|_| text.to_owned()).map_err(|error| error.to_string())
    })
}

fn lifecycle(field: Field) -> Result<Lifecycle, DocumentError> {
    field.object(&["install", "upgrade", "uninstall"], |fields| {
        let mut handler = |key| fields.take(key).map(Field::parse).transpose();
        Ok(Lifecycle {
            install: handler("install")?,
            upgrade: handler("upgrade")?,
            uninstall: handler("uninstall")?,
        })
    })
}

fn limits(field: Field) -> Result<Limits, DocumentError> {
    field.object(&["timeoutMs", "memoryMiB", "concurrency"], |fields| {
        let mut number = |key, max: u32| {
            let field = fields.take(key).map(|field| field.integer(1..=i64::from(max)));
            // Within u32, because the range is.
            field.transpose().map(|number| number.and_then(|number| u32::try_from(number).ok()))
        };
        Ok(Limits {
            timeout_ms: number("timeoutMs", 3_600_000)?,
            memory_mib: number("memoryMiB", 4096)?,
            concurrency: number("concurrency", 10_000)?,
        })
    })
}

fn flag(fields: &mut Fields, key: &str) -> Result<bool, DocumentError> {
    fields.take(key).map_or(Ok(false), Field::boolean)
}

fn parameters_schema(field: Field) -> Result<serde_json::Map<String, Value>, DocumentError> {
    let pointer = field.pointer().to_owned();
    match field.into_json() {
        Value::Object(schema) => {
            for (key, value) in &schema {
                refuse_references(value, &format!("{pointer}/{key}"), key)?;
            }
            Ok(schema)
        }
        _ => Err(DocumentError::Invalid { pointer, reason: "is no object".to_owned() }),
    }
}

/// A reference that leads out of the schema would be fetched by whoever validates with it.
fn refuse_references(value: &Value, pointer: &str, key: &str) -> Result<(), DocumentError> {
    match value {
        Value::String(target) if matches!(key, "$ref" | "$dynamicRef") && !target.starts_with('#') => {
            let reason = "refers to something outside the schema".to_owned();
            Err(DocumentError::Invalid { pointer: pointer.to_owned(), reason })
        }
        Value::Array(values) => values
            .iter()
            .enumerate()
            .try_for_each(|(index, value)| refuse_references(value, &format!("{pointer}/{index}"), "")),
        Value::Object(fields) => fields
            .iter()
            .try_for_each(|(key, value)| refuse_references(value, &format!("{pointer}/{key}"), key)),
        _ => Ok(()),
    }
}
