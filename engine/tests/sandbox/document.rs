//! What `docs/threat-model.md` says is tested is tested.

use std::fs;
use std::path::Path;

const DOCUMENT: &str = include_str!("../../../docs/threat-model.md");
const GATEWAY: &str = include_str!("../../../docs/gateway-api.md");

/// The rows of a chapter's table, without its head.
fn rows(chapter: &str) -> Vec<Vec<&str>> {
    let (_, text) = DOCUMENT.split_once(&format!("\n## {chapter}\n")).unwrap();
    let text = text.split("\n## ").next().unwrap();
    let rows = text.lines().filter(|line| line.starts_with("| ")).skip(1);
    rows.map(|row| row.trim_matches('|').split(" | ").map(str::trim).collect()).collect()
}

/// What is between backticks.
fn names(cell: &str) -> Vec<&str> {
    cell.split('`').skip(1).step_by(2).collect()
}

fn sources(folder: &Path, found: &mut String) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push_str(&fs::read_to_string(path).unwrap());
        }
    }
}

/// The chapters of attacks, by how their tables begin.
fn chapters() -> Vec<&'static str> {
    let chapters =
        DOCUMENT.split("\n## ").skip(1).filter(|text| text.contains("\n| attack | answer | test |\n"));
    chapters.map(|text| text.lines().next().unwrap()).collect()
}

/// Where their tests are, also those beside the code.
const CRATES: [&str; 9] =
    ["answering", "core", "egress", "engine", "gateway", "grant", "runner", "service", "storage"];

#[test]
fn every_row_names_tests_that_exist() {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut code = String::new();
    for name in CRATES {
        for folder in ["src", "tests"].map(|folder| workspace.join(name).join(folder)) {
            // Some have their tests beside the code only.
            if folder.is_dir() {
                sources(&folder, &mut code);
            }
        }
    }
    assert!(chapters().len() >= 3, "{:?}", chapters());
    for chapter in chapters() {
        let rows = rows(chapter);
        assert!(!rows.is_empty(), "{chapter}");
        for row in rows {
            let [attack, answer, tests] = &row[..] else { panic!("{row:?}") };
            assert!(!answer.is_empty(), "{attack}");
            // A name with a slash says where the one before it is.
            let tests: Vec<_> = names(tests).into_iter().filter(|name| !name.contains('/')).collect();
            assert!(!tests.is_empty(), "{attack}");
            for test in tests {
                assert!(code.contains(&format!("fn {test}(")), "{attack}: there is no test {test}");
            }
        }
    }
}

#[test]
fn every_code_is_one() {
    let codes = annex_engine::CallError::CODES.iter().chain(&annex_engine::LoadError::CODES);
    let codes: Vec<_> = codes.copied().collect();
    let said: Vec<_> = rows("What a guest can try").into_iter().flat_map(|row| names(row[1])).collect();
    assert!(!said.is_empty());
    for code in said {
        assert!(codes.contains(&code), "{code}");
    }
}

/// On the way in they are words of the gateway's page, of what a runner says to a gateway, or of its own answers.
#[test]
fn every_code_of_the_way_in_is_one() {
    let mut runner = String::new();
    sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../runner/src"), &mut runner);
    let rows = rows("What can be tried on the way in");
    for code in rows.iter().flat_map(|row| names(row[1])) {
        let known = GATEWAY.contains(&format!("`{code}`"))
            || annex_grant::RunnerErrorCode::ALL.iter().any(|known| known.as_str() == code)
            || runner.contains(&format!("\"{code}\""));
        assert!(known, "{code}");
    }
}
