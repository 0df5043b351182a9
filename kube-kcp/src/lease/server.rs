use std::{collections::BTreeMap, sync::Arc, time::Duration};

use http::{Method, Request, Response};
use k8s_openapi::api::{
    coordination::v1::{Lease, LeaseSpec},
    core::v1::ConfigMap,
};
use kube::{Client, client::Body};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::{sync::oneshot, time::Instant};
use tower::{BoxError, service_fn, util::BoxCloneSyncService};

pub(super) const NAMESPACE: &str = "default";
pub(super) const NAME: &str = "leader";
const LEASES: &str = "/apis/coordination.k8s.io/v1/namespaces/default/leases";
const CONFIG_MAPS: &str = "/api/v1/namespaces/default/configmaps";

/// An API server in memory that treats resourceVersions as the real one does.
#[derive(Clone, Default)]
pub(super) struct Server(Arc<Mutex<Objects>>);

#[derive(Default)]
struct Objects {
    version: u64,
    objects: BTreeMap<String, Value>,
    log: Vec<Entry>,
}

/// A request that has arrived.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) at: Instant,
    pub(super) from: String,
    pub(super) method: Method,
    pub(super) path: String,
    pub(super) code: u16,
    pub(super) sent: Value,
}

/// What becomes of a request. Once sent it is on its way by itself, whatever becomes of its sender.
#[derive(Clone, Copy, Debug)]
pub(super) struct Course {
    pub(super) there: Duration,
    pub(super) fate: Fate,
    pub(super) back: Duration,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Fate {
    Answered,
    /// Refused with this code, not applied.
    Refused(u16),
    RequestLost,
    /// Applied all the same.
    AnswerLost,
}

impl From<Fate> for Course {
    fn from(fate: Fate) -> Self {
        Self { there: Duration::ZERO, fate, back: Duration::ZERO }
    }
}

pub(super) type Transport = BoxCloneSyncService<Request<Body>, Response<Body>, BoxError>;

impl Server {
    /// The way to it of somebody called `from`, whose requests go as `course` says.
    pub(super) fn transport<C: Into<Course>>(
        &self,
        from: &str,
        course: impl FnMut(&Request<Body>) -> C + Send + 'static,
    ) -> Transport {
        let (server, from, course) = (self.clone(), from.to_owned(), Arc::new(Mutex::new(course)));
        BoxCloneSyncService::new(service_fn(move |request: Request<Body>| {
            let course = (course.lock())(&request).into();
            server.clone().deliver(from.clone(), request, course)
        }))
    }

    /// A client whose every request is answered.
    pub(super) fn client(&self, from: &str) -> Client {
        self.client_with(from, |_| Fate::Answered)
    }

    pub(super) fn client_with<C: Into<Course>>(
        &self,
        from: &str,
        course: impl FnMut(&Request<Body>) -> C + Send + 'static,
    ) -> Client {
        Client::new(self.transport(from, course), NAMESPACE)
    }

    async fn deliver(
        self,
        from: String,
        request: Request<Body>,
        course: Course,
    ) -> Result<Response<Body>, BoxError> {
        let (sender, answer) = oneshot::channel();
        let travel = async move {
            let (head, body) = request.into_parts();
            let body = body.collect_bytes().await.unwrap();
            sleep(course.there).await;
            let (code, object) = match course.fate {
                Fate::RequestLost => std::future::pending().await,
                Fate::Refused(code) => (code, status(code)),
                Fate::Answered | Fate::AnswerLost => self.apply(&from, &head.method, head.uri.path(), &body),
            };
            if matches!(course.fate, Fate::AnswerLost) {
                std::future::pending().await
            }
            sleep(course.back).await;
            // An error means that nobody waits for it any more.
            let _ = sender.send((code, object));
        };
        tokio::spawn(travel);
        let (code, object): (u16, Value) = answer.await?;
        Ok(Response::builder().status(code).body(Body::from(object.to_string().into_bytes()))?)
    }

    fn apply(&self, from: &str, method: &Method, path: &str, body: &[u8]) -> (u16, Value) {
        let mut objects = self.0.lock();
        let sent: Value = serde_json::from_slice(body).unwrap_or_default();
        let (code, object) = objects.apply(method, path, sent.clone());
        objects.log.push(Entry {
            at: Instant::now(),
            from: from.to_owned(),
            method: method.clone(),
            path: path.to_owned(),
            code,
            sent,
        });
        (code, object)
    }

    /// What has arrived, in its order.
    pub(super) fn log(&self) -> Vec<Entry> {
        self.0.lock().log.clone()
    }

    /// The Lease as it is now.
    pub(super) fn lease(&self) -> Option<Lease> {
        let objects = self.0.lock();
        let lease = objects.objects.get(&format!("{LEASES}/{NAME}"))?;
        Some(serde_json::from_value(lease.clone()).unwrap())
    }

    pub(super) fn spec(&self) -> LeaseSpec {
        self.lease().unwrap().spec.unwrap_or_default()
    }

    /// Somebody with every right edits the Lease, or makes it.
    pub(super) fn edit(&self, edit: impl FnOnce(&mut Lease)) {
        let mut lease = self.lease().unwrap_or_default();
        lease.metadata.name = Some(NAME.to_owned());
        edit(&mut lease);
        let code = match lease.metadata.resource_version {
            Some(_) => self.apply("hand", &Method::PUT, &format!("{LEASES}/{NAME}"), &json(&lease)).0,
            None => self.apply("hand", &Method::POST, LEASES, &json(&lease)).0,
        };
        assert!(code < 300, "{code}");
    }

    pub(super) fn delete_lease(&self) {
        self.apply("hand", &Method::DELETE, &format!("{LEASES}/{NAME}"), b"");
    }

    pub(super) fn create_config_map(&self, config_map: &ConfigMap) {
        let (code, _) = self.apply("hand", &Method::POST, CONFIG_MAPS, &json(config_map));
        assert_eq!(code, 201);
    }
}

impl Objects {
    fn apply(&mut self, method: &Method, path: &str, mut body: Value) -> (u16, Value) {
        let key = match body["metadata"]["name"].as_str() {
            Some(name) if *method == Method::POST => format!("{path}/{name}"),
            _ => path.to_owned(),
        };
        let spec = &body["spec"];
        if spec["leaseDurationSeconds"].as_i64().is_some_and(|seconds| seconds <= 0)
            || spec["leaseTransitions"].as_i64().is_some_and(|transitions| transitions < 0)
        {
            return (422, status(422));
        }
        let former = self.objects.get(&key);
        match (method.as_str(), former) {
            ("GET", Some(object)) => return (200, object.clone()),
            ("GET" | "PUT" | "DELETE", None) => return (404, status(404)),
            ("POST", Some(_)) => return (409, status(409)),
            ("DELETE", Some(_)) => {
                self.objects.remove(&key);
                return (200, status(200));
            }
            ("POST", None) => {}
            ("PUT", Some(former)) => {
                let version = &body["metadata"]["resourceVersion"];
                assert!(version.is_string(), "an unconditional write: {body}");
                if *version != former["metadata"]["resourceVersion"] {
                    return (409, status(409));
                }
                if body == *former {
                    return (200, body);
                }
            }
            other => panic!("{other:?} {path}"),
        }
        let code = if former.is_some() { 200 } else { 201 };
        self.version += 1;
        body["metadata"]["resourceVersion"] = self.version.to_string().into();
        self.objects.insert(key, body.clone());
        (code, body)
    }
}

async fn sleep(time: Duration) {
    if !time.is_zero() {
        tokio::time::sleep(time).await;
    }
}

fn json(object: &impl serde::Serialize) -> Vec<u8> {
    serde_json::to_vec(object).unwrap()
}

fn status(code: u16) -> Value {
    let reason = if code == 404 { "NotFound" } else { "Scripted" };
    json!({
        "kind": "Status",
        "apiVersion": "v1",
        "status": if code < 300 { "Success" } else { "Failure" },
        "message": "as scripted",
        "reason": reason,
        "code": code,
    })
}
