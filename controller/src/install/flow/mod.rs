//! Flows: what an Install goes through on its way to another state, recorded in its status.
//!
//! | step | where | pure |
//! |---|---|---|
//! | what is wanted, as the plan's own values; what is there is in [`annex_apis::held`] | `target` | but for a look into the catalog |
//! | which stages there are, how far each is, and how the flow ends | `ledger` | yes |
//! | a pass comes to a stage, where tests can have it fail | `step` | yes |
//! | the handlers of an extension's modules are called | `lifecycle` | no |
//! | what a flow that failed did is undone | `rollback` | no |
//!
//! The plan is [`annex_core::flow::plan`], made once when a flow begins. The stages themselves are the steps of a pass in `reconcile`: each
//! looks first and changes what differs, so that a pass which begins anew after a crash does nothing twice that matters. Where all is as it
//! is wanted there is no flow, and the same steps repair what has drifted.

#[cfg(feature = "fault-injection")]
mod faults;
mod ledger;
mod lifecycle;
mod rollback;
mod step;
mod target;

pub(super) use ledger::{Course, Ledger, Wants, failed_in, has_made, is_open, why};
pub(super) use lifecycle::{Called, Undoing, call_all, call_back, prepared, purge};
pub(super) use rollback::{Back, roll_back};
pub(super) use step::{Moment, comes_to, comes_to_all, comes_to_first, has_done, has_failed, is_in_any};
pub(super) use target::{on_the_way, place_name, target, wanted};
