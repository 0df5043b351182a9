//! Names to addresses.

use std::io;
use std::net::IpAddr;

use async_trait::async_trait;

/// Finds the addresses of a name. It is asked once for each request: a name whose owner answers differently the second time finds
/// that there is no second time.
#[async_trait]
pub trait Resolver: Send + Sync {
    /// All addresses of `name`, which is in lower case and has no trailing dot. It is meant as it stands: no search domain may be added
    /// to it.
    ///
    /// It must end by itself. Whoever asked may be gone before, and the tenant's slot is held until then, so that nobody has more
    /// look-ups going on than requests.
    ///
    /// # Errors
    /// The name has no address, or nobody could say.
    async fn addresses(&self, name: &str) -> io::Result<Vec<IpAddr>>;
}

/// The system's resolver.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemResolver;

#[async_trait]
impl Resolver for SystemResolver {
    async fn addresses(&self, name: &str) -> io::Result<Vec<IpAddr>> {
        // The trailing dot keeps search domains away: in a pod, `api.example.com` would first be asked for as
        // `api.example.com.default.svc.cluster.local`.
        let absolute = format!("{name}.");
        let found = tokio::net::lookup_host((absolute.as_str(), 0)).await?;
        Ok(found.map(|address| address.ip()).collect())
    }
}
