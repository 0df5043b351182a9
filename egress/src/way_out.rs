//! The way out, and each call's own end of it.

use std::sync::Arc;

use annex_core::AddressPolicy;
use annex_engine::{CallContext, Egress, EgressBody, EgressError, Patience};
use async_trait::async_trait;
use http::{Request, Response, request};
use http_body_util::BodyExt as _;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::task::AbortOnDropHandle;

use crate::addresses;
use crate::allowlist::{ManifestList, OperatorList};
use crate::body::{IncomingBody, OutgoingBody};
use crate::connection::{self, Connection};
use crate::destination::Destination;
use crate::failure;
use crate::head;
use crate::limits::{EgressLimits, Times};
use crate::meter::{Allowance, Meter, Metered};
use crate::metrics::EgressMetrics;
use crate::options::{EgressOptions, SetupError};
use crate::resolver::Resolver;
use crate::slots::{Slot, Slots};
use crate::tls;

/// The one way out of a process. Cheap to clone.
///
/// Each request looks its name up and has a connection and a TLS session of its own: nothing is shared between tenants, or between
/// two requests of one.
#[derive(Clone)]
pub struct WayOut(Arc<Shared>);

struct Shared {
    list: OperatorList,
    policy: AddressPolicy,
    resolver: Arc<dyn Resolver>,
    tls: Arc<ClientConfig>,
    limits: EgressLimits,
    slots: Arc<Slots>,
    metrics: EgressMetrics,
}

/// hyper's least buffer.
const LEAST_BUFFER: usize = 8 << 10;

impl WayOut {
    /// Sets up the way out for what `list` allows.
    ///
    /// # Errors
    /// The certificates by which servers are to be checked cannot be used.
    pub fn new(
        list: OperatorList,
        options: &EgressOptions,
        resolver: Arc<dyn Resolver>,
        metrics: EgressMetrics,
    ) -> Result<Self, SetupError> {
        let tls = tls::client(options, list.has_https())?;
        let policy = AddressPolicy::default().without(options.blocked.iter().copied());
        let limits = options.limits;
        let slots = Slots::new(limits.requests, limits.requests_per_tenant);
        Ok(Self(Arc::new(Shared { list, policy, resolver, tls, limits, slots, metrics })))
    }

    /// One call's end of it: reaches what `manifest` names, as far as the operator's list allows it, and counts this call's bytes.
    #[must_use]
    pub fn for_call(&self, manifest: Arc<ManifestList>) -> Arc<dyn Egress> {
        let allowance = Arc::new(Allowance::new(self.0.limits.call_bytes));
        Arc::new(CallEgress { shared: Arc::clone(&self.0), manifest, allowance })
    }
}

struct CallEgress {
    shared: Arc<Shared>,
    manifest: Arc<ManifestList>,
    allowance: Arc<Allowance>,
}

#[async_trait]
impl Egress for CallEgress {
    async fn send(
        &self,
        context: &CallContext,
        request: Request<EgressBody>,
        patience: Patience,
    ) -> Result<Response<EgressBody>, EgressError> {
        let outcome = self.exchange(context, request, patience).await;
        match &outcome {
            Ok(_) => self.shared.metrics.answered(),
            Err(error) => self.shared.metrics.failed(*error),
        }
        outcome
    }
}

impl CallEgress {
    async fn exchange(
        &self,
        context: &CallContext,
        request: Request<EgressBody>,
        patience: Patience,
    ) -> Result<Response<EgressBody>, EgressError> {
        let limits = &self.shared.limits;
        let (guest, body) = request.into_parts();
        let destination = self.vetted(context, &guest)?;
        let head = head::outgoing(guest, &destination, limits)?;
        let slot = self.shared.slots.take(&context.tenant).ok_or(EgressError::TooManyRequests)?;
        let ends = Instant::now() + limits.total;
        let answer =
            self.answer(&destination, Request::from_parts(head, body), limits.times(patience), ends, slot);
        timeout_at(ends, answer).await.unwrap_or(Err(EgressError::Timeout))
    }

    /// Where the request is to go, if both lists allow it.
    fn vetted(&self, context: &CallContext, guest: &request::Parts) -> Result<Destination, EgressError> {
        // Debug, because guests decide how often it is written.
        let refused = |why: String| {
            let (tenant, extension) = (&context.tenant, &context.extension);
            tracing::debug!(%tenant, %extension, "a request to the outside is refused: {why}");
            EgressError::Denied
        };
        let destination = Destination::of(&guest.uri).map_err(|error| refused(error.to_string()))?;
        if !self.shared.list.allows(&destination) {
            return Err(refused(format!("the operator's list does not have {destination}")));
        }
        if !self.manifest.allows(&destination) {
            return Err(refused(format!("the manifest does not have {destination}")));
        }
        Ok(destination)
    }

    async fn answer(
        &self,
        destination: &Destination,
        request: Request<EgressBody>,
        times: Times,
        ends: Instant,
        slot: Slot,
    ) -> Result<Response<EgressBody>, EgressError> {
        let limits = &self.shared.limits;
        let slot = Arc::new(slot);
        let connection = timeout(times.connect, self.connect(destination, times, &slot))
            .await
            .map_err(|_| EgressError::Timeout)??;

        let buffer = limits.head_bytes.max(LEAST_BUFFER);
        // What comes with the end of the head, and after it before we know of it, is the body's beginning.
        let before_head = 2 * limits.head_bytes + 2 * buffer;
        let meter = Arc::new(Meter::new(
            Arc::clone(&self.allowance),
            before_head as u64,
            self.shared.metrics.clone(),
        ));
        let (mut sender, connection) = http1::Builder::new()
            .max_buf_size(buffer)
            .max_header_size(limits.head_bytes)
            .max_headers(limits.header_count)
            .handshake(TokioIo::new(Metered::new(connection, Arc::clone(&meter))))
            .await
            .map_err(|_| EgressError::Protocol)?;
        // How the connection ends, those learn who wait for the answer.
        let driver = AbortOnDropHandle::new(tokio::spawn(async move { drop(connection.await) }));

        let method = request.method().clone();
        let request = request.map(|body| OutgoingBody::new(body, limits.request_bytes, Arc::clone(&meter)));
        let response = timeout(times.first_byte, sender.send_request(request))
            .await
            .map_err(|_| EgressError::Timeout)?
            .map_err(|error| failure::of_exchange(&error, &meter))?;
        meter.head_is_there();
        let (came, body) = response.into_parts();
        let head = head::incoming(came, &method, limits)?;
        let held = (driver, slot);
        let body = IncomingBody::new(body, limits.response_bytes, times.between_bytes, ends, meter, held);
        Ok(Response::from_parts(head, body.boxed_unsync()))
    }

    async fn connect(
        &self,
        destination: &Destination,
        times: Times,
        slot: &Arc<Slot>,
    ) -> Result<Box<dyn Connection>, EgressError> {
        let Shared { resolver, policy, tls, .. } = &*self.shared;
        let addresses = addresses::find(destination, resolver, policy, slot).await?;
        connection::open(destination, &addresses, tls, times.connect).await
    }
}
