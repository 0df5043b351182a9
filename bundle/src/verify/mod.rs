//! The verdict: may these bytes be published, may they be loaded?

mod load;
mod publish;
mod refusal;
mod signer;

pub use load::{LoadPolicy, Loadable, Loaded, check_loadable, verify_at_load};
pub use publish::{CLOCK_SKEW, PublishPolicy, Signed, Verified, check_signature, verify_at_publish};
pub use refusal::Refusal;
pub use signer::Signer;
