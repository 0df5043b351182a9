//! How the gateway and the controller reach what executes extensions: which runner an install has, what is presented to it, and what it
//! makes of a call or of an order.
//!
//! It exists because both need the same, and where a call goes must not be decided in two ways.

mod place;
mod presented;
mod runners;

pub use place::{DIRECT_AUDIENCE, NoPlace, Place};
pub use presented::{Presented, sign};
pub use runners::{Executed, NotExecuted, Ordered, RunnerSettings, Runners};
