//! A ManagedEnvironment: spec and Secret are judged (pure) → its server is asked, at vetted addresses only → status, and a way in
//! for the Installs that name it.

mod access;
mod api_url;
mod credentials;
mod kubeconfig;
mod limit;
mod probe;
mod reconcile;
mod resolver;
mod status;
mod validate;

pub(crate) use access::{EnvironmentAccess, Environments};
pub(crate) use limit::let_in;
pub(crate) use reconcile::reconcile;
