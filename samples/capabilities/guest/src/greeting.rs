//! context: whose call it is, and how the tenant wants it.

use serde::Deserialize;

use crate::Problem;
use crate::annex::host::context;

/// The Install's parameters. What is not given has a default, so that an Install without any is as good.
#[derive(Deserialize)]
struct Parameters {
    #[serde(default = "blue")]
    colour: String,
}

fn blue() -> String {
    "blue".into()
}

pub fn greeting() -> Result<String, Problem> {
    let call = context::current();
    let parameters: Parameters = serde_json::from_str(&call.config)
        .map_err(|error| Problem::new(424, format!("the Install's parameters do not fit: {error}")))?;
    Ok(format!("Hello, {}, in {}!", call.tenant, parameters.colour))
}
