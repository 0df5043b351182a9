//! The one way out.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderName, Request, Response};
use http_body_util::BodyExt;
use http_body_util::combinators::UnsyncBoxBody;
use wasmtime_wasi_http::{
    DEFAULT_FORBIDDEN_HEADERS, Error as GuestError, RequestOptions, WasiBody, WasiHttpHooks,
};

use crate::call::CallContext;
use crate::traffic::Traffic;

/// A body on its way out or in. It streams.
pub type EgressBody = UnsyncBoxBody<Bytes, EgressError>;

/// Sends what guests want sent, if it may be.
///
/// Implementations vet the destination by name and by every address, connect to the address that was vetted, follow no
/// redirect on their own and bound both bodies and the head of the answer. What a guest sends is hostile, the headers included. When the guest ends, the
/// future and the bodies are dropped.
#[async_trait]
pub trait Egress: Send + Sync {
    /// Sends a request whose URI has scheme and authority, and gives back the answer as soon as its head is there.
    ///
    /// # Errors
    /// The guest is told which one. None of them says more than it could find out by itself.
    async fn send(
        &self,
        context: &CallContext,
        request: Request<EgressBody>,
        patience: Patience,
    ) -> Result<Response<EgressBody>, EgressError>;
}

/// How long the guest wants to wait. Nothing outlives the call itself.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Patience {
    /// For the connection.
    pub connect: Option<Duration>,
    /// For the first byte of the answer.
    pub first_byte: Option<Duration>,
    /// Between two parts of the body.
    pub between_bytes: Option<Duration>,
}

/// Why a request was not sent or not answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EgressError {
    /// The destination is on no allowlist, or egress is not for this call.
    #[error("this destination is not allowed")]
    Denied,
    /// The name leads to an address that nobody may reach from here.
    #[error("this destination has an address that is not allowed")]
    AddressDenied,
    /// The call has sent as many requests as it may.
    #[error("this call has sent as many requests as it may")]
    TooManyRequests,
    /// The name is none.
    #[error("the name is not known")]
    NameUnknown,
    /// Nobody answers there.
    #[error("the connection failed")]
    Unreachable,
    /// It took too long.
    #[error("the destination did not answer in time")]
    Timeout,
    /// TLS failed, for instance because of the certificate.
    #[error("the TLS connection failed")]
    Tls,
    /// A body is larger than it may be.
    #[error("a body is larger than it may be")]
    TooLarge,
    /// What came is no HTTP, or a body broke off.
    #[error("the exchange broke off")]
    Protocol,
}

impl From<EgressError> for GuestError {
    fn from(error: EgressError) -> Self {
        match error {
            EgressError::Denied => Self::HttpRequestDenied,
            EgressError::AddressDenied => Self::DestinationIpProhibited,
            EgressError::TooManyRequests => Self::ConnectionLimitReached,
            EgressError::NameUnknown => Self::DnsError { rcode: None, info_code: None },
            EgressError::Unreachable => Self::ConnectionRefused,
            EgressError::Timeout => Self::ConnectionTimeout,
            EgressError::Tls => Self::TlsProtocolError,
            EgressError::TooLarge => Self::HttpResponseBodySize(None),
            EgressError::Protocol => Self::HttpProtocolError,
        }
    }
}

/// Refuses everything. What an engine has that was given nothing else.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoEgress;

#[async_trait]
impl Egress for NoEgress {
    async fn send(
        &self,
        _context: &CallContext,
        _request: Request<EgressBody>,
        _patience: Patience,
    ) -> Result<Response<EgressBody>, EgressError> {
        Err(EgressError::Denied)
    }
}

/// What stands behind `wasi:http`: our [`Egress`], and nothing else. The crate's own sender is not even compiled in.
pub(crate) struct Hooks {
    context: Arc<CallContext>,
    egress: Arc<dyn Egress>,
    limit: u32,
    sent: u32,
    traffic: Arc<Traffic>,
}

impl Hooks {
    pub(crate) fn new(context: Arc<CallContext>, egress: Arc<dyn Egress>, limit: u32) -> Self {
        Self { context, egress, limit, sent: 0, traffic: Arc::default() }
    }

    /// Requests that were handed to [`Egress`].
    pub(crate) fn sent(&self) -> u32 {
        self.sent
    }

    /// What went through those requests so far.
    pub(crate) fn traffic(&self) -> &Traffic {
        &self.traffic
    }
}

/// The rest of a connection, of which an [`Egress`] takes care by itself.
type Rest = Box<dyn Future<Output = Result<(), GuestError>> + Send>;

/// The bytes of a body that are held for a guest before it has to wait. wasmtime's own 1 MiB, times the resources of a call,
/// would be the host's memory.
const HELD_BYTES: usize = 16 << 10;

impl WasiHttpHooks for Hooks {
    fn is_forbidden_header(&mut self, name: &HeaderName) -> bool {
        DEFAULT_FORBIDDEN_HEADERS.contains(name)
    }

    fn p2_outgoing_body_chunk_size(&mut self) -> usize {
        HELD_BYTES
    }

    fn send_request(
        &mut self,
        request: Request<WasiBody>,
        options: Option<RequestOptions>,
        _sent: Rest,
    ) -> Box<dyn Future<Output = Result<(Response<WasiBody>, Rest), GuestError>> + Send> {
        if self.sent >= self.limit {
            return Box::new(async { Err(EgressError::TooManyRequests.into()) });
        }
        self.sent += 1;
        let (context, egress) = (Arc::clone(&self.context), Arc::clone(&self.egress));
        // Why the guest's own body broke off is of no interest to the other side.
        let traffic = Arc::clone(&self.traffic);
        let request = request.map(|body| {
            let body = body.map_frame(move |frame| {
                traffic.count_sent(&frame);
                frame
            });
            body.map_err(|_| EgressError::Protocol).boxed_unsync()
        });
        let traffic = Arc::clone(&self.traffic);
        let patience = options.map_or_else(Patience::default, |options| Patience {
            connect: options.connect_timeout,
            first_byte: options.first_byte_timeout,
            between_bytes: options.between_bytes_timeout,
        });
        Box::new(async move {
            let response = egress.send(&context, request, patience).await?;
            let rest: Rest = Box::new(async { Ok(()) });
            let response = response.map(|body| {
                let body = body.map_frame(move |frame| {
                    traffic.count_received(&frame);
                    frame
                });
                body.map_err(GuestError::from).boxed_unsync()
            });
            Ok((response, rest))
        })
    }
}
