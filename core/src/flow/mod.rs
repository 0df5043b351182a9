//! The plan of a flow: what an Install goes through until it is what is wanted of it.
//!
//! Pure. What is there is a value ([`Held`]), what is wanted is another ([`Wanted`]), and [`plan`] gives the [`Stage`]s between the two, each
//! with what undoes it. Nothing else is remembered of a flow: whoever executes one may stop anywhere, and plans anew from what is there then.
//!
//! | question | answered by |
//! |---|---|
//! | what is to be done, in which order, and what undoes it? | [`plan`] |
//! | what has to be undone when a stage fails? | [`rollback`] |

mod held;
mod plan;
#[cfg(test)]
mod properties;

pub use held::{Effect, Held, Module, Place, Version};
pub use plan::{Action, Part, Stage, StageName, Wanted, action, plan, rollback};
