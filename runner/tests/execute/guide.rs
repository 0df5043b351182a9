//! What `docs/guest-guide.md` shows is what the samples have, which are built and called beside this; and the errors that it explains are
//! those that there are.

use std::{fs, path::Path};

use annex_engine::{CallError, Capability, LoadError};

use crate::guests::root;

fn read(path: impl AsRef<Path>) -> String {
    let path = root().join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn guide() -> String {
    read("docs/guest-guide.md")
}

/// Everything that a language's blocks can be of.
fn sources(language: &str) -> String {
    let guest = "samples/capabilities/guest";
    match language {
        "rust" => {
            let files = fs::read_dir(root().join(guest).join("src")).unwrap();
            files.map(|file| read(file.unwrap().path())).collect::<Vec<_>>().join("\n\n")
        }
        "toml" => read(format!("{guest}/Cargo.toml")),
        "json" => read("samples/capabilities/manifest.json"),
        "js" => read("samples/capabilities/js/guest.js"),
        "wit" => read("samples/capabilities/js/wit/world.wit"),
        other => panic!("the guide has a block of {other}, which nothing tries"),
    }
}

#[test]
fn every_example_is_of_a_sample_that_is_built_and_called() {
    let guide = guide();
    let blocks: Vec<_> =
        guide.split("\n```").skip(1).step_by(2).map(|block| block.split_once('\n').unwrap()).collect();
    assert!(blocks.len() > 15, "{}", blocks.len());
    for (language, block) in blocks {
        let sources = sources(language);
        for example in block.split("\n\n") {
            assert!(sources.contains(example), "of no sample in {language}:\n{example}");
        }
    }
}

/// The rows of the tables below a heading, in cells, without their heads.
fn rows(heading: &str) -> Vec<Vec<String>> {
    let guide = guide();
    let (_, rest) = guide.split_once(&format!("\n## {heading}\n")).unwrap();
    let lines = rest.split("\n## ").next().unwrap().lines();
    let tables = lines.collect::<Vec<_>>();
    let rows = tables.iter().enumerate().filter(|(at, line)| {
        let is_head = tables.get(at + 1).is_some_and(|next| next.starts_with("|---"));
        line.starts_with("| ") && !is_head
    });
    rows.map(|(_, row)| row.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect())
        .collect()
}

/// What is between backticks.
fn names(cell: &str) -> Vec<&str> {
    cell.split('`').skip(1).step_by(2).collect()
}

#[test]
fn the_guide_has_every_capability_and_no_other() {
    let rows = rows("What a component may import");
    let documented: Vec<_> = rows.iter().map(|row| names(&row[0])[0]).collect();
    let mut expected: Vec<_> = Capability::ALL.iter().map(|capability| capability.name()).collect();
    expected.sort_by_key(|name| documented.iter().position(|documented| documented == name));
    assert_eq!(documented, expected);
}

#[test]
fn the_guide_explains_errors_that_there_are() {
    let rows = rows("When it does not work");
    let (refusals, imports): (Vec<_>, Vec<_>) =
        rows.iter().partition(|row| row[0].starts_with(char::is_numeric));
    assert!(refusals.len() > 10 && imports.len() > 8, "{} and {}", refusals.len(), imports.len());
    let (gateway, codes) =
        (read("docs/gateway-api.md"), [&CallError::CODES[..], &LoadError::CODES[..]].concat());
    for row in refusals {
        let (status, code) = (row[0].split(' ').next().unwrap(), names(&row[0])[0]);
        let is_answer =
            |line: &str| line.starts_with(&format!("| {status} |")) && line.contains(&format!("`{code}`"));
        assert!(gateway.lines().any(is_answer), "{status} {code} is in no row of docs/gateway-api.md");
        for code in names(&row[1]) {
            assert!(codes.contains(&code), "{code} is no code of the engine");
        }
    }

    let (host, egress) = (read("engine/wit/host.wit"), read("engine/src/egress.rs"));
    let explained: Vec<_> = imports.iter().flat_map(|row| names(&row[0])).collect();
    for name in &explained {
        let is_one = host.contains(&format!("    {name},\n")) || egress.contains(&format!("=> Self::{name}"));
        assert!(is_one, "{name} is no error of an import");
    }
    let errors = host.split("enum error {").skip(1).flat_map(|rest| rest.split_once('}').unwrap().0.lines());
    let errors = errors.map(str::trim).filter_map(|line| line.strip_suffix(','));
    let refused =
        egress.lines().filter_map(|line| line.trim().strip_prefix("EgressError::")?.split_once("=> Self::"));
    let refused =
        refused.map(|(_, name)| name.split(|character: char| !character.is_alphanumeric()).next().unwrap());
    let missing: Vec<_> = errors.chain(refused).filter(|name| !explained.contains(name)).collect();
    assert!(missing.is_empty(), "not explained in docs/guest-guide.md: {missing:?}");
}
