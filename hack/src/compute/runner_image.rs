//! Annex's own programs as images.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use super::Compute;
use super::images::{Image, short_digest};
use crate::binaries;
use crate::checkout::Checkout;

/// What can be made an image of.
pub(crate) const PROGRAMS: [&str; 5] =
    ["annex-runner", "annex-controller", "annex-initializer", "annex-registry", "annex-gateway"];

/// Builds programs and hands their images to the node; returns the images' names, in the same order.
pub(crate) fn provide(
    checkout: &Checkout,
    compute: &Compute,
    folder: &Path,
    programs: &[&str],
    release: bool,
) -> Result<Vec<String>> {
    let images = build(checkout, programs, release)?;
    for image in &images {
        let archive = folder.join(format!("{}.tar", image.entrypoint.trim_start_matches('/')));
        compute.import(image, || image.write(&archive).map(|()| archive.clone()))?;
        // The node has unpacked it, and the next one has another name.
        drop(fs::remove_file(archive));
    }
    Ok(images.into_iter().map(|image| image.reference).collect())
}

/// Writes archives of all programs into `folder`; returns each image's name with its file.
pub(crate) fn export(checkout: &Checkout, folder: &Path, release: bool) -> Result<Vec<(String, PathBuf)>> {
    let mut written = Vec::new();
    for image in build(checkout, &PROGRAMS, release)? {
        let archive = folder.join(format!("{}.tar", image.entrypoint.trim_start_matches('/')));
        image.write(&archive)?;
        written.push((image.reference, archive));
    }
    Ok(written)
}

fn build(checkout: &Checkout, programs: &[&str], release: bool) -> Result<Vec<Image>> {
    // All, whichever are asked for: what is built alone has other features of its dependencies, and of the sandbox and the database's client a
    // second copy takes longer than the other programs do.
    let built = binaries::build_static(checkout, &PROGRAMS, release)?;
    programs
        .iter()
        .map(|name| {
            let program =
                built.get(*name).with_context(|| format!("package {name} has no program of that name"))?;
            // By content: a tag that stayed would leave pods of before and pods of now under one name.
            let reference = format!("dev.local/{name}:{}", short_digest(program)?);
            Ok(Image::of(reference, program, &format!("/{name}")))
        })
        .collect()
}
