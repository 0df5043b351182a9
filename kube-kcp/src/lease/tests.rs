use futures::future::FutureExt as _;
use http::{Method, Request};
use k8s_openapi::{
    api::{
        authorization::v1::SubjectAccessReview,
        coordination::v1::{Lease as LeaseObject, LeaseSpec},
        core::v1::ConfigMap,
    },
    jiff::SignedDuration,
};
use kube::{
    Api,
    api::{ObjectMeta, PostParams},
    client::Body,
};
use parking_lot::Mutex;
use prometheus_client::registry::Registry;
use tower::Layer as _;

use super::{
    process::Process,
    server::{Course, Fate, NAME, NAMESPACE, Server, Transport},
    *,
};

const DURATION: Duration = Duration::from_secs(15);
const DEADLINE: Duration = Duration::from_secs(10);
/// The longest that passes between two looks.
const LOOK: Duration = Duration::from_millis(2400);

fn candidate_through(client: Client) -> Lease {
    candidate_at(client, Arc::new(Timestamp::now))
}

fn candidate_at(client: Client, wall: Wall) -> Lease {
    let metrics = LeaseMetrics::register(&mut Registry::default());
    let random = StdRng::from_os_rng();
    Lease::with(client, NAMESPACE, NAME, LeaseOptions::new("pod"), metrics, wall, random).unwrap()
}

fn candidate(server: &Server) -> Lease {
    candidate_through(server.client("candidate"))
}

/// A Lease that was let go of: whoever comes first has it.
fn free_lease(server: &Server) {
    server.edit(|lease| {
        let renew_time = Some(serde_json::from_str("\"2024-01-01T00:00:00.000000Z\"").unwrap());
        lease.spec = Some(LeaseSpec { renew_time, ..LeaseSpec::default() });
    });
}

/// A Lease in the hands of somebody who does nothing about it.
fn foreign_lease(server: &Server) {
    server.edit(|lease| {
        lease.spec = Some(LeaseSpec { holder_identity: Some("somebody".to_owned()), ..LeaseSpec::default() });
    });
}

fn writes(server: &Server, from: &str) -> usize {
    server.log().iter().filter(|entry| entry.from == from && entry.method != Method::GET).count()
}

fn is_write(request: &Request<Body>) -> bool {
    request.method() != Method::GET
}

#[tokio::test(start_paused = true)]
async fn the_first_makes_the_lease_and_waits_for_whoever_may_have_lost_it() {
    let (server, start) = (Server::default(), Instant::now());
    let lease = candidate(&server);
    let (identity, holder) = (lease.identity().to_owned(), lease.holder());
    assert!(identity.starts_with("pod_"), "{identity}");
    assert_eq!(*holder.borrow(), None);

    let leadership = lease.acquire().await;
    assert_eq!(start.elapsed(), DURATION);
    assert!(leadership.claim().is_held());
    assert_eq!(leadership.claim().generation(), 1);
    assert_eq!(*holder.borrow(), Some(identity.clone()));
    let spec = server.spec();
    assert_eq!(spec.holder_identity, Some(identity));
    assert_eq!(spec.lease_duration_seconds, Some(15));
    assert_eq!(spec.lease_transitions, Some(1));
    assert!(spec.acquire_time.is_some() && spec.renew_time.is_some());
    let made: Vec<_> = server.log().into_iter().filter(|entry| entry.method != Method::GET).collect();
    assert_eq!(made[0].sent["spec"], serde_json::json!({}), "a creation takes nothing");
    assert_eq!([&made[0].method, &made[1].method], [Method::POST, Method::PUT]);
    assert_eq!(made.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_another_makes_first_is_the_others() {
    let server = Server::default();
    let other = server.clone();
    let client = server.client_with("candidate", move |request| {
        if request.method() == Method::POST {
            foreign_lease(&other);
        }
        Fate::Answered
    });
    let start = Instant::now();
    let _leadership = candidate_through(client).acquire().await;
    assert!(start.elapsed() > DURATION);
    assert_eq!(server.log().iter().filter(|entry| entry.code == 409).count(), 1);
    assert_eq!(server.spec().lease_transitions, Some(1));
}

#[tokio::test(start_paused = true)]
async fn another_takes_over_only_once_the_holder_renews_no_more() {
    let server = Server::default();
    free_lease(&server);
    let first = candidate(&server).acquire().await;
    let second = candidate(&server);
    let holder = second.holder();
    let second = tokio::spawn(second.acquire());
    tokio::time::sleep(Duration::from_secs(300)).await;
    assert!(!second.is_finished() && first.claim().is_held());
    assert_eq!(*holder.borrow(), server.spec().holder_identity);

    // It ends without a word, as when it crashes.
    let claim = first.claim();
    drop(first);
    assert!(!claim.is_held());
    let ended = Instant::now();
    let second = second.await.unwrap();
    // From its last renewal, and from when the other saw that.
    assert!(ended.elapsed() > DURATION - LOOK && ended.elapsed() <= DURATION + LOOK, "{:?}", ended.elapsed());
    assert!(second.claim().is_held());
    assert_eq!(server.spec().lease_transitions, Some(2));
}

#[tokio::test(start_paused = true)]
async fn a_release_lets_the_next_in_at_once_and_its_holder_out_first() {
    let server = Server::default();
    free_lease(&server);
    let first = candidate(&server).acquire().await;
    let second = tokio::spawn(candidate(&server).acquire());
    tokio::time::sleep(Duration::from_secs(60)).await;
    let claim = first.claim();
    let released = Instant::now();
    let mut release = std::pin::pin!(first.release());
    assert!(release.as_mut().now_or_never().is_none());
    assert!(!claim.is_held(), "before anything is sent");
    assert_ne!(server.spec().holder_identity.as_deref(), Some(""));
    let first = release.await;
    assert_eq!(server.spec().holder_identity.as_deref(), Some(""));
    assert_eq!(*first.holder().borrow(), None);
    let second = second.await.unwrap();
    assert!(released.elapsed() <= LOOK, "{:?}", released.elapsed());

    // Who released it may stand again.
    let first = tokio::spawn(first.acquire());
    second.release().await;
    let first = first.await.unwrap();
    assert_eq!(first.claim().generation(), 2);
    assert!(first.claim().is_held() && !claim.is_held());
}

#[tokio::test(start_paused = true)]
async fn two_processes_of_one_name_are_two() {
    let server = Server::default();
    free_lease(&server);
    let (first, second) = (candidate(&server), candidate(&server));
    assert_ne!(first.identity(), second.identity());
    let _first = first.acquire().await;
    let mut second = std::pin::pin!(second.acquire());
    assert!(tokio::time::timeout(Duration::from_secs(600), &mut second).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_try_that_was_applied_unheard_is_known_again() {
    for fate in [Fate::AnswerLost, Fate::RequestLost] {
        let server = Server::default();
        foreign_lease(&server);
        let mut tries = 0;
        let client = server.client_with("candidate", move |request| {
            tries += usize::from(is_write(request));
            if is_write(request) && tries == 1 { fate } else { Fate::Answered }
        });
        let start = Instant::now();
        let leadership = candidate_through(client).acquire().await;
        // Half the deadline without an answer, and a pause.
        let second_try = DURATION + DEADLINE / 2 + LOOK;
        assert!(start.elapsed() > DURATION + DEADLINE / 2 && start.elapsed() <= second_try, "{fate:?}");
        assert!(leadership.claim().is_held());
        assert_eq!(server.spec().lease_transitions, Some(1));
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_takes_longer_than_the_claim_gives_none() {
    let server = Server::default();
    free_lease(&server);
    // A client that waits for ever; and a process that was stopped when the answer came.
    let client = server.client_with("candidate", |request| Course {
        there: Duration::ZERO,
        fate: Fate::Answered,
        back: if is_write(request) { Duration::from_secs(4) } else { Duration::ZERO },
    });
    let process = Process::new(|_| {});
    let acquired = tokio::spawn(process.run(candidate_through(client).acquire()));
    tokio::time::sleep(Duration::from_secs(1)).await;
    process.stop(Duration::from_secs(60));
    let leadership = acquired.await.unwrap();
    assert!(!leadership.claim().is_held());
    assert!(leadership.lost().now_or_never().is_some());
}

#[tokio::test(start_paused = true)]
async fn a_renewal_counts_from_its_sending() {
    let server = Server::default();
    free_lease(&server);
    // The answers come three seconds after the request has arrived; after the first renewal none does.
    let mut writes = 0;
    let client = server.client_with("candidate", move |request| {
        writes += usize::from(is_write(request));
        let fate = if writes <= 2 { Fate::Answered } else { Fate::RequestLost };
        let back = if is_write(request) { Duration::from_secs(3) } else { Duration::ZERO };
        Course { there: Duration::ZERO, fate, back }
    });
    let leadership = candidate_through(client).acquire().await;
    leadership.lost().await;
    let renewal = server.log().pop().unwrap();
    assert_eq!(renewal.from, "candidate");
    assert_eq!(renewal.at.elapsed(), DEADLINE);
}

#[tokio::test(start_paused = true)]
async fn an_edit_of_something_else_takes_no_claim_and_is_kept() {
    let server = Server::default();
    free_lease(&server);
    let leadership = candidate(&server).acquire().await;
    for round in 0..60 {
        server.edit(|lease| {
            let note = ("note".to_owned(), round.to_string());
            lease.metadata.annotations.get_or_insert_default().extend([note]);
            lease.spec.as_mut().unwrap().lease_duration_seconds = Some(1);
            lease.spec.as_mut().unwrap().renew_time = None;
        });
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert!(leadership.claim().is_held(), "{round}");
    }
    tokio::time::sleep(LOOK).await;
    assert_eq!(server.lease().unwrap().metadata.annotations.unwrap()["note"], "59");
    assert_eq!(server.spec().lease_duration_seconds, Some(15));
}

#[tokio::test(start_paused = true)]
async fn failures_are_endured_until_the_deadline_and_not_a_moment_longer() {
    let failures = [
        Fate::Refused(401),
        Fate::Refused(403),
        Fate::Refused(404),
        Fate::Refused(409),
        Fate::Refused(429),
        Fate::Refused(500),
        Fate::Refused(503),
        Fate::RequestLost,
        Fate::AnswerLost,
    ];
    for failure in failures {
        let server = Server::default();
        free_lease(&server);
        let fails: Arc<Mutex<Option<Fate>>> = Arc::default();
        let fate = fails.clone();
        let client = server.client_with("candidate", move |_| fate.lock().unwrap_or(Fate::Answered));
        let leadership = candidate_through(client).acquire().await;
        let claim = leadership.claim();

        // Short of the deadline.
        *fails.lock() = Some(failure);
        tokio::time::sleep(DEADLINE - LOOK - Duration::from_secs(1)).await;
        *fails.lock() = None;
        tokio::time::sleep(DEADLINE).await;
        assert!(claim.is_held(), "{failure:?}");

        *fails.lock() = Some(failure);
        let left = DEADLINE - claim.since_renewal().unwrap();
        tokio::time::sleep(left - Duration::from_millis(1)).await;
        assert!(claim.is_held(), "{failure:?}");
        tokio::time::sleep(Duration::from_millis(1)).await;
        assert!(!claim.is_held(), "{failure:?}");

        // Nobody has taken it: it is this process's again as soon as the server answers, by another claim.
        *fails.lock() = None;
        let recovered = Instant::now();
        let again = leadership.release().await.acquire().await;
        assert!(recovered.elapsed() <= DEADLINE / 2 + LOOK, "{failure:?}");
        assert!(again.claim().is_held() && !claim.is_held(), "{failure:?}");
        assert_eq!(again.claim().generation(), 2);
        assert_eq!(server.spec().lease_transitions, Some(1), "no other had it");
    }
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_is_taken_away_is_lost_at_the_next_renewal() {
    let edits: [fn(&mut LeaseObject); 5] = [
        |lease| lease.spec.as_mut().unwrap().holder_identity = Some("somebody".to_owned()),
        |lease| lease.spec.as_mut().unwrap().holder_identity = None,
        |lease| lease.spec.as_mut().unwrap().lease_transitions = Some(7),
        |lease| lease.spec.as_mut().unwrap().acquire_time = None,
        |lease| lease.spec = None,
    ];
    for (case, edit) in edits.into_iter().enumerate() {
        let server = Server::default();
        free_lease(&server);
        let first = candidate(&server).acquire().await;
        let second = tokio::spawn(candidate(&server).acquire());
        server.edit(edit);
        let edited = Instant::now();
        first.lost().await;
        assert!(edited.elapsed() <= LOOK, "{case}");
        assert!(!second.is_finished(), "{case}");
        let before = writes(&server, "candidate");
        first.release().await;
        assert_eq!(writes(&server, "candidate"), before, "what is lost is not released");
        second.await.unwrap();
        assert!(edited.elapsed() >= DURATION, "{case}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_deleted_lease_lets_no_second_one_lead_beside_the_first() {
    let server = Server::default();
    free_lease(&server);
    // The first hears nothing of it.
    let cut: Arc<Mutex<bool>> = Arc::default();
    let is_cut = cut.clone();
    let first = candidate_through(
        server.client_with("first", move |_| if *is_cut.lock() { Fate::RequestLost } else { Fate::Answered }),
    );
    let first = first.acquire().await;
    *cut.lock() = true;
    let second = tokio::spawn(candidate(&server).acquire());
    server.delete_lease();
    first.lost().await;
    assert!(!second.is_finished());
    assert!(second.await.unwrap().claim().is_held());

    // Alone: it makes it anew, and waits like anybody.
    let server = Server::default();
    free_lease(&server);
    let alone = candidate(&server).acquire().await;
    server.delete_lease();
    let deleted = Instant::now();
    alone.lost().await;
    assert!(deleted.elapsed() <= DEADLINE);
    let made = Instant::now();
    let _again = alone.release().await.acquire().await;
    assert_eq!(made.elapsed(), DURATION);
}

#[tokio::test(start_paused = true)]
async fn a_release_is_tried_again_and_given_up_in_the_end() {
    let unanswered = Arc::new(Mutex::new(0));
    for (failures, released) in [(1, true), (100, false)] {
        let server = Server::default();
        free_lease(&server);
        let left = unanswered.clone();
        let client = server.client_with("candidate", move |_| {
            let mut left = left.lock();
            let fails = *left > 0;
            *left -= i32::from(fails);
            if fails { Fate::AnswerLost } else { Fate::Answered }
        });
        let leadership = candidate_through(client).acquire().await;
        *unanswered.lock() = failures;
        let start = Instant::now();
        leadership.release().await;
        assert!(start.elapsed() <= DEADLINE, "{:?}", start.elapsed());
        assert_eq!(start.elapsed() < DEADLINE, released);
        // Its first try was applied either way, and no other was.
        assert_eq!(server.spec().holder_identity.as_deref(), Some(""));
        assert_eq!(server.spec().lease_transitions, Some(1));
        *unanswered.lock() = 0;
    }
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_jumps_by_years_changes_nothing() {
    let server = Server::default();
    free_lease(&server);
    let year = SignedDuration::from_hours(24 * 365);
    let jumping = |jumps: Vec<i32>| -> Wall {
        let turn = Mutex::new(jumps.into_iter().cycle());
        Arc::new(move || Timestamp::now().saturating_add(year * turn.lock().next().unwrap()).unwrap())
    };
    let first = candidate_at(server.client("first"), jumping(vec![0, 40, -40, 1000, -1000])).acquire().await;
    let stands_still: Wall = Arc::new(|| Timestamp::UNIX_EPOCH);
    for wall in [jumping(vec![30, -30]), stands_still] {
        let other = tokio::spawn(candidate_at(server.client("other"), wall).acquire());
        tokio::time::sleep(Duration::from_secs(120)).await;
        assert!(first.claim().is_held() && !other.is_finished());
        other.abort();
    }
    drop(first);
    // And a holder whose clock stands still is seen to renew.
    let first = candidate_at(server.client("first"), Arc::new(|| Timestamp::UNIX_EPOCH)).acquire().await;
    let second = tokio::spawn(candidate_at(server.client("other"), jumping(vec![30, -30])).acquire());
    tokio::time::sleep(Duration::from_secs(120)).await;
    assert!(first.claim().is_held() && !second.is_finished());
}

#[tokio::test(start_paused = true)]
async fn a_stopped_process_finds_its_claim_lost_before_it_sends_anything() {
    let server = Server::default();
    free_lease(&server);
    let process = Process::new(|_| {});
    let of_process = process.clone();
    let first = candidate_through(server.client("first"))
        .acquire_on(move |keeper| tokio::spawn(of_process.run(keeper)))
        .await;
    tokio::time::sleep(Duration::from_secs(30)).await;
    let second = tokio::spawn(candidate_through(server.client("second")).acquire());
    process.stop(Duration::from_secs(60));
    let second = second.await.unwrap();
    assert!(!first.claim().is_held());
    let before = writes(&server, "first");
    tokio::time::sleep(Duration::from_secs(120)).await;
    assert_eq!(writes(&server, "first"), before);
    assert!(second.claim().is_held());
}

#[tokio::test(start_paused = true)]
async fn metrics_say_what_is_so_when_they_are_read() {
    let server = Server::default();
    free_lease(&server);
    let mut registry = Registry::default();
    let metrics = LeaseMetrics::register(&mut registry);
    let text = || {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        text
    };
    let cut: Arc<Mutex<bool>> = Arc::default();
    let is_cut = cut.clone();
    let client = server
        .client_with("candidate", move |_| if *is_cut.lock() { Fate::Refused(503) } else { Fate::Answered });
    let lease = Lease::new(client, NAMESPACE, NAME, LeaseOptions::new("pod"), metrics).unwrap();
    assert!(text().contains("kube_kcp_lease_held 0\n") && !text().contains("since_renewal"), "{}", text());
    let leadership = lease.acquire().await;
    *cut.lock() = true;
    tokio::time::advance(Duration::from_secs(1)).await;
    assert!(text().contains("kube_kcp_lease_held 1\n"), "{}", text());
    assert!(text().contains("kube_kcp_lease_since_renewal_seconds 1.0\n"), "{}", text());
    leadership.lost().await;
    assert!(text().contains("kube_kcp_lease_held 0\n") && !text().contains("since_renewal"), "{}", text());
    assert!(text().contains("lease_renew_failures_total{reason=\"server\"}"), "{}", text());
    *cut.lock() = false;
    leadership.release().await.acquire().await.release().await;
    for counted in ["{to=\"held\"} 2\n", "{to=\"lost\"} 1\n", "{to=\"released\"} 1\n"] {
        assert!(text().contains(counted), "{}", text());
    }
}

fn claim() -> Claim {
    Claim::new(Instant::now(), DEADLINE, 1)
}

fn config_map() -> ConfigMap {
    let metadata = ObjectMeta { name: Some("a".to_owned()), ..ObjectMeta::default() };
    ConfigMap { metadata, ..ConfigMap::default() }
}

fn config_maps(fence: &Fence, transport: Transport) -> Api<ConfigMap> {
    Api::namespaced(Client::new(fence.layer(transport), NAMESPACE), NAMESPACE)
}

fn refusal<T>(answer: kube::Result<T>) -> Option<NotLeader> {
    answer.err().and_then(|error| NotLeader::cause_of(&error))
}

#[tokio::test(start_paused = true)]
async fn a_fence_lets_reads_pass_and_writes_only_while_the_claim_is_held() {
    // One fence before two servers.
    let (fence, servers) = (Fence::default(), [Server::default(), Server::default()]);
    for server in &servers {
        let api = config_maps(&fence, server.transport("a", |_| Fate::Answered));
        assert_eq!(
            refusal(api.create(&PostParams::default(), &config_map()).await),
            Some(NotLeader::Refused)
        );
        assert!(matches!(api.get_opt("a").await, Ok(None)));
    }
    assert!(!fence.is_open());
    fence.open(claim());
    assert!(fence.is_open());
    for server in &servers {
        let api = config_maps(&fence, server.transport("a", |_| Fate::Answered));
        assert!(api.create(&PostParams::default(), &config_map()).await.is_ok());
        // Answered, so it is the server's.
        assert_eq!(refusal(api.create(&PostParams::default(), &config_map()).await), None);
    }
    tokio::time::advance(DEADLINE).await;
    assert!(!fence.is_open());
    for server in &servers {
        let api = config_maps(&fence, server.transport("a", |_| Fate::Answered));
        let written = server.log().len();
        assert_eq!(refusal(api.delete("a", &Default::default()).await), Some(NotLeader::Refused));
        assert_eq!(server.log().len(), written, "nothing was sent");
        assert!(api.get("a").await.is_ok());
    }
    fence.open(claim());
    let api = config_maps(&fence, servers[0].transport("a", |_| Fate::Answered));
    assert!(api.replace("a", &PostParams::default(), &api.get("a").await.unwrap()).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_write_is_what_is_no_read_by_its_method_and_what_changes_the_protocol() {
    let (fence, server) = (Fence::default(), Server::default());
    let client = Client::new(fence.layer(server.transport("a", |_| Fate::Refused(418))), NAMESPACE);
    let refused = async |method: &str, upgrade: bool| {
        let mut request = Request::builder().method(method).uri("/a");
        if upgrade {
            request = request.header("upgrade", "websocket");
        }
        let answer = client.send(request.body(Body::empty()).unwrap()).await;
        matches!(answer, Err(error) if NotLeader::cause_of(&error) == Some(NotLeader::Refused))
    };
    for read in ["GET", "HEAD", "OPTIONS"] {
        assert!(!refused(read, false).await && refused(read, true).await, "{read}");
    }
    for write in ["POST", "PUT", "PATCH", "DELETE", "CONNECT", "TRACE", "WHATEVER"] {
        assert!(refused(write, false).await, "{write}");
    }
    let reviews: Api<SubjectAccessReview> = Api::all(client.clone());
    let review = reviews.create(&PostParams::default(), &SubjectAccessReview::default()).await;
    assert_eq!(refusal(review), Some(NotLeader::Refused));
}

#[tokio::test(start_paused = true)]
async fn a_write_on_its_way_is_given_up_when_the_claim_is_lost_and_not_when_it_is_renewed() {
    let (fence, server) = (Fence::default(), Server::default());
    let slow = Course { there: Duration::from_secs(14), fate: Fate::Answered, back: Duration::ZERO };
    let api = config_maps(&fence, server.transport("a", move |_| slow));
    let start = Instant::now();
    let claim = claim();
    fence.open(claim.clone());
    let object = config_map();
    let params = PostParams::default();
    let mut write = std::pin::pin!(api.create(&params, &object));
    assert!(tokio::time::timeout(Duration::from_secs(9), &mut write).await.is_err());
    claim.renew(Instant::now());
    assert!(write.await.is_ok());
    assert_eq!(start.elapsed(), slow.there);

    let write = api.delete("a", &Default::default()).await;
    assert_eq!(refusal(write), Some(NotLeader::GivenUp));
    assert_eq!(start.elapsed().as_secs(), 19);
    // It was sent all the same.
    tokio::time::sleep(slow.there).await;
    assert_eq!(server.log().last().map(|entry| entry.method.clone()), Some(Method::DELETE));

    // One that is not sent yet never is.
    let sent = Arc::new(Mutex::new(false));
    let sending = sent.clone();
    let connecting = tower::service_fn(move |_: Request<Body>| {
        let sending = sending.clone();
        async move {
            tokio::time::sleep(Duration::from_secs(14)).await;
            *sending.lock() = true;
            std::future::pending::<Result<http::Response<Body>, tower::BoxError>>().await
        }
    });
    let api = config_maps(&fence, Transport::new(connecting));
    let claim = super::Claim::new(Instant::now(), DEADLINE, 2);
    fence.open(claim.clone());
    let write = tokio::spawn(async move { api.create(&PostParams::default(), &config_map()).await });
    tokio::time::sleep(Duration::from_secs(5)).await;
    claim.end();
    assert_eq!(refusal(write.await.unwrap()), Some(NotLeader::GivenUp));
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert!(!*sent.lock());
}
