//! What a tenant's workspace gets from Annex, as pure functions: [`Seed::of`] takes a configuration and gives objects,
//! [`Kept::drift`] says what is wrong with those that are there. The initializer writes them into a new workspace; the
//! controller keeps them true, and writes them into a workspace that bound the API by hand.

mod config;
mod drift;
mod kcp;
mod kubeconfig;
mod lease;
mod objects;
mod seed;
mod token;

pub use config::{SeedArgs, SeedConfig, SeedConfigError};
pub use drift::{Drift, Kept, is_managed};
pub use kcp::KcpArgs;
pub use lease::LeaseArgs;
pub use seed::{
    ENVIRONMENT, INITIALIZED_ANNOTATION, KUBECONFIG_SECRET, NAMESPACE, SERVICE_ACCOUNT, Seed, SeedObject,
};
pub use token::{Token, TokenName, TokenState};
