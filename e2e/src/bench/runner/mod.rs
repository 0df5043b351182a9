//! What a call costs in a runner: a release build as a process of its own, on loopback, beside `wasmtime serve` and nginx. Each side has its
//! turn in every round, and what counts is the median of the rounds' ratios: the machine is busy with other things as well.

mod calls;
mod cold;
mod hot;
mod load;
mod noisy;
mod pages;
mod process;
mod published;

use std::path::PathBuf;

use anyhow::Result;
use clap::{Args, ValueEnum};
use serde_json::{Map, Value, json};

use crate::figures::rounded;

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// The program annex-runner
    #[arg(long)]
    runner: PathBuf,
    /// The program wasmtime
    #[arg(long)]
    wasmtime: PathBuf,
    /// The program nginx
    #[arg(long, default_value = "nginx")]
    nginx: PathBuf,
    /// The component of e2e/guests/hello
    #[arg(long)]
    hello: PathBuf,
    /// The component of engine/tests/guests
    #[arg(long)]
    hostile: PathBuf,
    /// How often each side has its turn
    #[arg(long, default_value_t = 7)]
    rounds: usize,
    /// Calls in a round
    #[arg(long, default_value_t = 20_000)]
    calls: usize,
    /// Extensions that are called once each
    #[arg(long, default_value_t = 1_000)]
    extensions: usize,
    /// What is measured; absent: everything
    #[arg(long, value_delimiter = ',')]
    only: Vec<Figure>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Figure {
    Hot,
    Static,
    Noisy,
    Cold,
}

/// Measures; the last line of the output is JSON.
pub(crate) async fn run(arguments: &Arguments) -> Result<()> {
    let mut figures = Map::new();
    figures.insert("bench".into(), json!("runner"));
    figures.insert("loadavg_before".into(), json!(process::load_average()?));
    let wanted = |figure| arguments.only.is_empty() || arguments.only.contains(&figure);
    if wanted(Figure::Hot) {
        hot::measure(arguments, &mut figures).await?;
    }
    if wanted(Figure::Static) {
        pages::measure(arguments, &mut figures).await?;
    }
    if wanted(Figure::Noisy) {
        noisy::measure(arguments, &mut figures).await?;
    }
    if wanted(Figure::Cold) {
        cold::measure(arguments, &mut figures).await?;
    }
    figures.insert("loadavg_after".into(), json!(process::load_average()?));
    println!("{}", Value::Object(figures));
    Ok(())
}

/// The middle one.
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// The median of the rounds' ratios under `name`, and beside it the least and the most.
fn spread(figures: &mut Map<String, Value>, name: &str, ratios: Vec<f64>) {
    let least = ratios.iter().copied().fold(f64::INFINITY, f64::min);
    let most = ratios.iter().copied().fold(0.0, f64::max);
    figures.insert(name.to_owned(), json!(rounded(median(ratios))));
    figures.insert(format!("{name}_spread"), json!([rounded(least), rounded(most)]));
}
