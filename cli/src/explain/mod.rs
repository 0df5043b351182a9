//! `kubectl annex explain`: one object, what of it is ready, what is not and why, and what to do next.
//!
//! [`fetch`] reads the object; from there on all is pure: [`report`] says what is to be said, [`text`] how.

mod condition;
#[cfg(test)]
mod examples;
mod fetch;
mod kubectl;
mod next;
mod report;
mod target;
mod text;

pub(crate) use fetch::missing;
pub(crate) use kubectl::Kubectl;
pub(crate) use target::{Kind, Target};
pub(crate) use text::age;

use jiff::Timestamp;

use crate::args::{ExplainArguments, Output};
use crate::format;
use crate::outcome::{Failure, Outcome};
use report::Report;

/// Reads the object and explains it.
pub(crate) fn run(arguments: &ExplainArguments) -> Outcome {
    let fetched = match fetch::fetch(arguments) {
        Ok(fetched) => fetched,
        Err(error) => return Outcome::Failed(Failure::Unable(error.to_string())),
    };
    let report = Report::of(&fetched.object, arguments.target.kind(), &fetched.kubectl);
    let printed = match arguments.output {
        Output::Text => text::render(&report, Timestamp::now()),
        Output::Json => match format::json(&report) {
            Ok(json) => json,
            Err(failure) => return Outcome::Failed(failure),
        },
    };
    if report.ready { Outcome::Done(printed) } else { Outcome::NotReady(printed) }
}
