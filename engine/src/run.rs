//! One call, from its admission to its answer.

use std::io;
use std::num::NonZero;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use http::{HeaderValue, Request, header};
use http_body_util::{BodyExt as _, Full};
use tokio::sync::{Semaphore, oneshot};
use wasmtime::component::Resource;
use wasmtime::{Store, UpdateDeadline};
use wasmtime_wasi_http::WasiHttpView as _;
use wasmtime_wasi_http::p2::bindings::ProxyPre;
use wasmtime_wasi_http::p2::bindings::http::types::{ErrorCode, Scheme};
use wasmtime_wasi_http::p2::body::HyperOutgoingBody;
use wasmtime_wasi_http::p2::types::{HostIncomingRequest, HostResponseOutparam};

use crate::admission::{Admission, Admitted, Limits};
use crate::answer::{BadAnswer, vet_head};
use crate::call::{Answer, Call, Outcome, Usage};
use crate::call_error::CallError;
use crate::failure::{TimeIsOver, failure};
use crate::lanes::Lanes;
use crate::limits::CallLimits;
use crate::link::Linkers;
use crate::metered::Metered;
use crate::options::EngineOptions;
use crate::state::CallState;
use crate::ticker::Ticker;

/// Where guests run. What was loaded into it holds it, so that no guest runs without its ticker.
pub(crate) struct Sandbox {
    pub(crate) wasm: wasmtime::Engine,
    pub(crate) options: EngineOptions,
    pub(crate) linkers: Linkers,
    admission: Admission,
    refused: Semaphore,
    lanes: Lanes,
    _ticker: Ticker,
}

/// So many calls of a tenant at a time are never crowded, however few processors there are: one of them will be waiting.
const NEVER_CROWDED: usize = 2;
/// How long after its time a call that still waits for its turn is given up: whose turn comes tells more of what it used.
const GIVEN_UP_AFTER: Duration = Duration::from_secs(1);

/// How long it takes to be told that there is no room. Who hears it at once asks again at once, and a flood of questions, each of them
/// refused, takes the processor from all who are not.
const BUSY_FOR: Duration = Duration::from_millis(50);
/// So many wait for that at a time, whose connections are the other tenants' as well. Whoever comes then hears it at once.
const BUSY_AT_A_TIME: usize = 128;

impl Sandbox {
    pub(crate) fn new(wasm: wasmtime::Engine, options: EngineOptions) -> io::Result<Self> {
        let processors = thread::available_parallelism().map_or(1, NonZero::get);
        let admission = Admission::new(Limits {
            engine: options.concurrency,
            tenant: options.tenant_concurrency,
            install: options.install_concurrency,
            uncrowded: u32::try_from(processors.max(NEVER_CROWDED)).unwrap_or(u32::MAX),
        });
        let lanes = Lanes::start(processors, options.tick)?;
        let ticker = Ticker::start(wasm.clone(), options.tick)?;
        let refused = Semaphore::new(BUSY_AT_A_TIME);
        Ok(Self { wasm, options, linkers: Linkers::default(), admission, refused, lanes, _ticker: ticker })
    }

    pub(crate) fn running(&self) -> u32 {
        self.admission.running()
    }

    pub(crate) async fn call(self: &Arc<Self>, pre: &ProxyPre<CallState>, call: Call) -> Outcome {
        let started = Instant::now();
        let (limits, admitted) = match self.admit(&call) {
            Ok(admitted) => admitted,
            Err(error) => {
                if let CallError::Busy { .. } = error
                    && let Ok(_waits) = self.refused.try_acquire()
                {
                    // Its body may be large.
                    drop(call);
                    tokio::time::sleep(BUSY_FOR).await;
                }
                let usage = Usage { duration: started.elapsed(), ..Usage::default() };
                return Outcome { answer: Err(error), usage };
            }
        };
        let (tenant, crowded) = (call.context.tenant.clone(), admitted.crowded());
        let (sandbox, pre) = (Arc::clone(self), pre.clone());
        let (limit, ends) = (limits.timeout, tokio::time::Instant::from_std(started) + limits.timeout);
        let running = async move {
            // Held until the store is gone, whichever way this ends.
            let _admitted = admitted;
            let mut usage = Usage::default();
            // A guest that computes is ended by the epoch, one that waits by this.
            let conversation = sandbox.converse(&pre, call, &limits, started, &mut usage);
            let answered = tokio::time::timeout_at(ends, conversation).await;
            let answer = answered.unwrap_or(Err(CallError::Timeout { limit }));
            usage.duration = started.elapsed();
            Outcome { answer, usage }
        };
        let ran = self.lanes.run(&tenant, crowded, ends + GIVEN_UP_AFTER, running).await;
        ran.unwrap_or_else(|| Outcome {
            answer: Err(CallError::Timeout { limit }),
            usage: Usage { duration: started.elapsed(), ..Usage::default() },
        })
    }

    fn admit(&self, call: &Call) -> Result<(CallLimits, Admitted), CallError> {
        let limits = self.effective(call.limits)?;
        let (tenant, install) = (&call.context.tenant, &call.context.install);
        let admitted = self.admission.admit(tenant, install, limits.concurrency, Instant::now());
        Ok((limits, admitted.map_err(|scope| CallError::Busy { scope })?))
    }

    fn effective(&self, limits: CallLimits) -> Result<CallLimits, CallError> {
        if limits.fuel.is_some() && !self.options.code.fuel {
            // To ignore it would be to give more than was asked for.
            return Err(CallError::FuelNotCounted);
        }
        let memory_bytes = limits.memory_bytes.min(self.options.memory_bytes);
        Ok(CallLimits { memory_bytes, ..limits })
    }

    async fn converse(
        &self,
        pre: &ProxyPre<CallState>,
        call: Call,
        limits: &CallLimits,
        started: Instant,
        usage: &mut Usage,
    ) -> Result<Answer, CallError> {
        let Call { context, host, request, .. } = call;
        let store = self.store(CallState::new(context, host, limits), limits, started)?;
        let mut store = Metered::new(store, fuel(limits), usage);
        let request = incoming(&mut store, request)?;
        let (send, receive) = oneshot::channel();
        let out = store.data_mut().http().new_response_outparam(send);
        let out = out.map_err(|error| failure(&error, None, limits))?;
        // Side by side, because the guest waits for its body to be read. The first error of either ends both.
        let guest = guest(pre, store, (request, out), limits);
        let ((), answer) = tokio::try_join!(guest, answer(receive, limits))?;
        Ok(answer)
    }

    fn store(
        &self,
        state: CallState,
        limits: &CallLimits,
        started: Instant,
    ) -> Result<Store<CallState>, CallError> {
        let mut store = Store::new(&self.wasm, state);
        store.limiter(|state| &mut state.limiter);
        store.set_hostcall_fuel(limits.hostcall_bytes);
        if self.options.code.fuel {
            store.set_fuel(fuel(limits)).map_err(|_| CallError::FuelNotCounted)?;
        }
        let timeout = limits.timeout;
        store.set_epoch_deadline(1);
        store.epoch_deadline_callback(move |_| {
            if started.elapsed() >= timeout {
                Err(wasmtime::Error::new(TimeIsOver))
            } else {
                Ok(UpdateDeadline::Yield(1))
            }
        });
        Ok(store)
    }
}

fn fuel(limits: &CallLimits) -> u64 {
    limits.fuel.unwrap_or(u64::MAX)
}

/// The authority of a request that has none. `.invalid` is no one's (RFC 2606).
const NO_AUTHORITY: HeaderValue = HeaderValue::from_static("extension.invalid");

fn incoming(
    store: &mut Store<CallState>,
    request: Request<Bytes>,
) -> Result<Resource<HostIncomingRequest>, CallError> {
    let mut request = request.map(Full::new);
    if request.uri().authority().is_none() && !request.headers().contains_key(header::HOST) {
        request.headers_mut().insert(header::HOST, NO_AUTHORITY);
    }
    let request = store.data_mut().http().new_incoming_request(Scheme::Https, request);
    request.map_err(|_| CallError::BadRequest)
}

/// Runs the guest to its end. The store goes with it, which ends a body that it left open.
async fn guest(
    pre: &ProxyPre<CallState>,
    mut store: Metered<'_>,
    (request, out): (Resource<HostIncomingRequest>, Resource<HostResponseOutparam>),
    limits: &CallLimits,
) -> Result<(), CallError> {
    let ended = match pre.instantiate_async(&mut *store).await {
        Ok(instance) => instance.wasi_http_incoming_handler().call_handle(&mut *store, request, out).await,
        Err(error) => Err(error),
    };
    ended.map_err(|error| failure(&error, store.data().limiter.refused(), limits))
}

type Sent = Result<http::Response<HyperOutgoingBody>, ErrorCode>;

/// Takes the answer as the guest gives it, as much as it may give.
async fn answer(receive: oneshot::Receiver<Sent>, limits: &CallLimits) -> Result<Answer, CallError> {
    let sent = receive.await.map_err(|_| CallError::BadResponse(BadAnswer::Missing))?;
    let (head, mut body) = sent.map_err(|_| CallError::BadResponse(BadAnswer::Reported))?.into_parts();
    let (status, headers) = vet_head(head.status, head.headers, limits).map_err(CallError::BadResponse)?;
    let mut bytes = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| CallError::BadResponse(BadAnswer::Body))?;
        // Trailers stay here: nobody asked for them.
        let Ok(data) = frame.into_data() else { continue };
        if data.len() > limits.body_bytes.saturating_sub(bytes.len()) {
            return Err(CallError::ResponseTooLarge { limit: limits.body_bytes });
        }
        bytes.extend_from_slice(&data);
    }
    Ok(Answer { status, headers, body: bytes.freeze() })
}
