//! What the README shows is what the end-to-end tests run.

const README: &str = include_str!("../README.md");
const GREETINGS: &str = include_str!("../examples/greetings.rs");

#[test]
fn the_readme_shows_the_example_as_it_is() {
    let blocks: Vec<&str> = README.split("```rust,no_run\n").skip(1).collect();
    let [block] = blocks.as_slice() else { panic!("the README has {} blocks of Rust", blocks.len()) };
    let (shown, _) = block.split_once("\n```\n").expect("the block ends");
    let doc: usize =
        GREETINGS.split_inclusive('\n').take_while(|line| line.starts_with("//!")).map(str::len).sum();
    let (_, code) = GREETINGS.split_at(doc);
    assert_eq!(format!("\n{shown}\n"), code, "copy one of them over the other");
}
