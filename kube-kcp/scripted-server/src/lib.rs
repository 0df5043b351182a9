#![doc = include_str!("../README.md")]

mod answer;
mod changes;
mod fault;
mod form;
mod gate;
mod kind;
mod log;
mod matching;
mod network;
mod request;
mod script;
mod server;
mod shard;
mod status;
mod store;

pub use fault::{End, Fault};
pub use gate::Gate;
pub use kind::Kind;
pub use log::Requests;
pub use matching::Match;
pub use request::{Request, Verb};
pub use script::Scripted;
pub use server::ScriptedServer;
pub use shard::{HOME_CLUSTER, Shard, TooOld};
pub use status::Status;
pub use store::Invalid;
