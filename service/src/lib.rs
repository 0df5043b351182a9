//! What every Annex service does alike: logs, signals, how it listens, which host was asked for, and the operator's listener.

mod followed;
mod host_header;
mod listener;
mod logging;
mod operations;
mod range;
mod request_id;
mod runner_tokens;
mod shutdown;
mod tls;

pub use followed::Followed;
pub use host_header::{HostHeaderError, requested_host};
pub use listener::{serve, serve_until};
pub use logging::{LogFormat, init_logging};
pub use operations::{Operations, Status};
pub use range::{Asked, asked};
pub use request_id::{REQUEST_ID_HEADER, RequestId, attach_request_id};
pub use runner_tokens::{RunnerScope, RunnerTokens, runner_token};
pub use shutdown::Shutdown;
pub use tls::{Certificates, KeyPairError, KeyPairFiles, OperationsTlsArgs, Tls, TlsArgs};

/// Makes ring the process's TLS provider. Call it first in `main`: reqwest and kube are built without one of their own, so
/// that a process has one and not two.
pub fn install_tls_provider() {
    // An error means that one is installed already, which is what was wanted.
    let _ = rustls::crypto::ring::default_provider().install_default();
}
