//! Renders the generated manifests of the provider into a folder: `annex-manifests DIR`.

use std::{error::Error, fs, path::PathBuf};

use annex_apis::provider;
use kube::{Resource, ResourceExt as _};
use serde::Serialize;

fn main() -> Result<(), Box<dyn Error>> {
    let dir = PathBuf::from(std::env::args_os().nth(1).ok_or("usage: annex-manifests DIR")?);
    fs::create_dir_all(&dir)?;
    fs::write(dir.join("apiresourceschemas.yaml"), documents(&provider::resource_schemas()?)?)?;
    fs::write(dir.join("apiexport.yaml"), documents(&[provider::api_export()?])?)?;
    fs::write(dir.join("customresourcedefinitions.yaml"), documents(&provider::provider_definitions())?)?;
    Ok(())
}

fn documents<T: Resource + Clone + Serialize>(objects: &[T]) -> Result<String, Box<dyn Error>> {
    let mut text = String::from("# Rendered from apis/ by `cargo xtask generate`. Edit there, not here.\n");
    for object in objects {
        let mut object = object.clone();
        // What `kubectl get -l` finds all of the provider by.
        object.labels_mut().insert("app.kubernetes.io/part-of".to_owned(), "annex".to_owned());
        text.push_str("---\n");
        // Through Value, whose maps are sorted: the file must not change with the order of fields.
        text.push_str(&serde_saphyr::to_string(&serde_json::to_value(object)?)?);
    }
    Ok(text)
}
