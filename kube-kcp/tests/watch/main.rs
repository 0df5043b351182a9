//! What a watch outlives, on a scripted server: a real one cannot be made to do it.

#![allow(missing_docs)]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "all of it is test, also what is not in a #[test] function: a panic is how a test fails"
)]

mod interruptions;
mod lists;
mod refusals;
mod rig;
mod shards;
mod vanishing;
