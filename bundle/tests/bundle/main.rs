//! Bundles as an attacker makes them, and as everybody else does.

mod archives;
mod chains;
mod codes;
mod fuzz;
mod keys;
mod loading;
mod manifests;
mod packing;
mod publishing;
mod support;
mod trust_bundles;
