//! What a tenant's workspace gets from Annex, as a pure function: [`Seed::of`] takes a configuration and gives objects. The
//! initializer writes them into a new workspace, the controller into one that bound the API by hand.

mod config;
mod seed;

pub use config::{SeedArgs, SeedConfig, SeedConfigError};
pub use seed::{
    ENVIRONMENT, INITIALIZED_ANNOTATION, KUBECONFIG_SECRET, NAMESPACE, SERVICE_ACCOUNT, Seed, TOKEN_SECRET,
    token_of,
};
