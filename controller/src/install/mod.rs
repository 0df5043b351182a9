//! An Install: dereference (what is known, from the indexes) → resolve (pure) → answer (a runner and a domain) → status; and undo
//! when it goes.

mod answer;
mod conditions;
mod facts;
mod flow;
mod needs;
mod parameters;
mod reconcile;
mod resolve;
mod secret_parameters;
mod site;
mod status;
mod undo;
mod uses;
mod writes;

pub(crate) use facts::{recorded_host, routes_of_status};
pub(crate) use needs::names;
pub(crate) use reconcile::{NOT_LISTED_YET, reconcile, reconcile_elsewhere};
pub(crate) use uses::Runners;
