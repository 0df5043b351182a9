//! What `docs/threat-model.md` says is tested is tested.

use std::fs;
use std::path::Path;

const DOCUMENT: &str = include_str!("../../../docs/threat-model.md");

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

#[test]
fn every_row_names_tests_that_exist() {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut code = String::new();
    sources(&package.join("src"), &mut code);
    sources(&package.join("tests"), &mut code);
    let rows = rows("What a guest can try");
    assert!(rows.len() > 30, "{}", rows.len());
    for row in rows {
        let [attack, answer, tests] = &row[..] else { panic!("{row:?}") };
        assert!(!answer.is_empty(), "{attack}");
        let tests = names(tests);
        assert!(!tests.is_empty(), "{attack}");
        for test in tests {
            assert!(code.contains(&format!("fn {test}()")), "{attack}: there is no test {test}");
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
