//! Candidates that are stopped, cut off, ended and begun again, with clocks that jump, before a server whose answers come late or never and
//! whose Lease others edit and delete: at no instant do two of them hold a claim, and no write of one takes effect after another's.

use std::{collections::BTreeMap, ops::Range};

use http::{Method, Request};
use k8s_openapi::{
    api::{coordination::v1::LeaseSpec, core::v1::ConfigMap},
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
    server::{Course, Fate, NAME, NAMESPACE, Server},
    *,
};

const CANDIDATES: usize = 3;
/// How long things go wrong.
const STORM: Duration = Duration::from_secs(600);
/// What the leaders write.
const OBJECT: &str = "written";

struct World {
    server: Server,
    random: Mutex<StdRng>,
    calm: Mutex<bool>,
    /// The last claim of each candidate.
    claims: Mutex<BTreeMap<usize, Claim>>,
    /// How many claims there were.
    reigns: Mutex<u64>,
    /// Until when nothing gets through, to or from a candidate.
    cuts: Mutex<BTreeMap<usize, Instant>>,
    /// When two held a claim. Kept, because whatever panics in a process that is ended is not heard of.
    two_led: Mutex<Vec<Duration>>,
    began: Instant,
}

/// What has happened, to see that anything did.
#[derive(Debug, Default)]
struct Tally {
    reigns: u64,
    writes: usize,
    /// Of a former leader, arrived after a newer one had written.
    late_writes: usize,
    released: usize,
}

impl World {
    fn new(seed: u64) -> Arc<Self> {
        Arc::new(Self {
            server: Server::default(),
            random: Mutex::new(StdRng::seed_from_u64(seed)),
            calm: Mutex::default(),
            claims: Mutex::default(),
            reigns: Mutex::default(),
            cuts: Mutex::default(),
            two_led: Mutex::default(),
            began: Instant::now(),
        })
    }

    fn is_calm(&self) -> bool {
        *self.calm.lock()
    }

    /// True once in so many times, while things go wrong.
    fn once_in(&self, times: u32) -> bool {
        !self.is_calm() && self.random.lock().random_ratio(1, times)
    }

    fn millis(&self, range: Range<u64>) -> Duration {
        Duration::from_millis(self.random.lock().random_range(range))
    }

    fn held(&self) -> usize {
        self.claims.lock().values().filter(|claim| claim.is_held()).count()
    }

    fn process(self: &Arc<Self>) -> Process {
        let world = self.clone();
        Process::new(move |process| {
            // A claim begins and is renewed only by code that runs, so between two runs of code no second one can come to be.
            if world.held() > 1 {
                world.two_led.lock().push(world.began.elapsed());
            }
            if world.once_in(400) {
                process.stop(world.millis(0..40_000));
            }
        })
    }

    fn course(&self, who: usize) -> Course {
        if !self.is_calm() && self.cuts.lock().get(&who).is_some_and(|until| Instant::now() < *until) {
            let fate = if self.once_in(2) { Fate::RequestLost } else { Fate::AnswerLost };
            return Course::from(fate);
        }
        if self.once_in(200) {
            self.cuts.lock().insert(who, Instant::now() + self.millis(0..40_000));
        }
        let slow = |most| if self.once_in(20) { self.millis(0..most) } else { self.millis(0..200) };
        let refusals = [401, 403, 404, 409, 429, 500, 503];
        let fate = match () {
            () if self.once_in(60) => Fate::AnswerLost,
            () if self.once_in(60) => Fate::RequestLost,
            () if self.once_in(60) => {
                Fate::Refused(refusals[self.random.lock().random_range(0..refusals.len())])
            }
            () => Fate::Answered,
        };
        Course { there: slow(60_000), fate, back: slow(20_000) }
    }

    /// What a candidate's requests go through.
    fn transport(self: &Arc<Self>, who: usize) -> super::server::Transport {
        let world = self.clone();
        self.server.transport(&who.to_string(), move |_: &Request<Body>| world.course(who))
    }

    fn candidate(self: &Arc<Self>, who: usize) -> Lease {
        let world = self.clone();
        let wall = move || {
            let years = if world.once_in(10) { world.random.lock().random_range(-50..50) } else { 0 };
            Timestamp::now().saturating_add(SignedDuration::from_hours(24 * 365 * years)).unwrap()
        };
        // As if their clocks did not run alike.
        let options = LeaseOptions {
            duration: self.millis(12_500..16_000),
            renew_deadline: self.millis(9_000..12_000),
            ..LeaseOptions::new("pod")
        };
        let metrics = LeaseMetrics::register(&mut Registry::default());
        let random = StdRng::seed_from_u64(self.random.lock().random());
        let client = Client::new(self.transport(who), NAMESPACE);
        Lease::with(client, NAMESPACE, NAME, options, metrics, Arc::new(wall), random).unwrap()
    }

    /// A process that leads whenever it can. It ends now and then, and another begins in its place.
    async fn live(self: Arc<Self>, who: usize) {
        loop {
            let process = self.process();
            let life = tokio::spawn(process.run(self.clone().lead(who, process.clone())));
            tokio::time::sleep(self.millis(0..300_000)).await;
            if self.is_calm() {
                break;
            }
            life.abort();
            // Whatever it held is nobody's now.
            let _ = life.await;
        }
    }

    async fn lead(self: Arc<Self>, who: usize, process: Process) {
        let fence = Fence::default();
        let client = Client::new(fence.layer(self.transport(who)), NAMESPACE);
        let mut lease = self.candidate(who);
        loop {
            let keeper = process.clone();
            let leadership = lease.acquire_on(move |code| tokio::spawn(keeper.run(code))).await;
            self.claims.lock().insert(who, leadership.claim());
            let reign = {
                let mut reigns = self.reigns.lock();
                *reigns += 1;
                *reigns
            };
            fence.open(leadership.claim());
            tokio::select! {
                biased;
                () = leadership.lost() => {}
                () = tokio::time::sleep(self.millis(1_000..200_000)) => {}
                () = self.write(reign, client.clone()) => {}
            }
            lease = leadership.release().await;
        }
    }

    /// Reads, decides and writes, as a reconcile does.
    async fn write(&self, reign: u64, client: Client) {
        let objects: Api<ConfigMap> = Api::namespaced(client, NAMESPACE);
        loop {
            tokio::time::sleep(self.millis(0..2_000)).await;
            let Ok(mut object) = objects.get(OBJECT).await else { continue };
            tokio::time::sleep(self.millis(0..1_000)).await;
            let count = self.millis(0..1_000_000).as_millis().to_string();
            object.data = Some([("reign".to_owned(), reign.to_string()), ("count".to_owned(), count)].into());
            // Whatever comes of it: a write that fails is decided on anew.
            let _ = tokio::time::timeout(
                self.millis(1_000..20_000),
                objects.replace(OBJECT, &PostParams::default(), &object),
            )
            .await;
        }
    }

    /// Somebody with every right who knows nothing of candidates.
    async fn meddle(self: Arc<Self>) {
        while !self.is_calm() {
            tokio::time::sleep(self.millis(0..60_000)).await;
            if self.server.lease().is_none() {
                continue;
            }
            let duration = [None, Some(1), Some(15), Some(60), Some(i32::MAX)];
            let duration = duration[self.random.lock().random_range(0..duration.len())];
            let choice = self.random.lock().random_range(0..7);
            let spec = |edit: &dyn Fn(&mut LeaseSpec)| {
                self.server.edit(|lease| edit(lease.spec.get_or_insert_default()));
            };
            match choice {
                0 => self.server.delete_lease(),
                1 => self.server.edit(|lease| lease.spec = None),
                2 => spec(&|spec| spec.holder_identity = Some(String::new())),
                3 => spec(&|spec| spec.holder_identity = Some("somebody".to_owned())),
                4 => spec(&|spec| spec.lease_duration_seconds = duration),
                5 => spec(&|spec| spec.renew_time = None),
                _ => self.server.edit(|lease| {
                    lease.metadata.annotations.get_or_insert_default().extend([("a".into(), "b".into())]);
                }),
            }
        }
    }

    async fn run(self: Arc<Self>) -> Tally {
        let metadata = ObjectMeta { name: Some(OBJECT.to_owned()), ..ObjectMeta::default() };
        self.server.create_config_map(&ConfigMap { metadata, ..ConfigMap::default() });
        let mut tasks: Vec<_> = (0..CANDIDATES).map(|who| tokio::spawn(self.clone().live(who))).collect();
        tasks.push(tokio::spawn(self.clone().meddle()));
        tokio::time::sleep(STORM).await;
        *self.calm.lock() = true;
        self.somebody_leads_again().await;
        for task in tasks {
            task.await.unwrap();
        }
        let two_led = self.two_led.lock().clone();
        assert!(two_led.is_empty(), "two led at {two_led:?}");
        self.tally()
    }

    /// However the Lease was left.
    async fn somebody_leads_again(&self) {
        let calm = Instant::now();
        while self.held() == 0 {
            assert!(calm.elapsed() < LeaseOptions::LONGEST + Duration::from_secs(120), "nobody leads");
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }

    fn tally(&self) -> Tally {
        let mut tally = Tally { reigns: *self.reigns.lock(), ..Tally::default() };
        let mut last = 0;
        for entry in self.server.log().iter().filter(|entry| entry.method == Method::PUT) {
            let applied = entry.code == 200;
            if entry.path.ends_with(NAME) {
                let released = entry.sent["spec"]["holderIdentity"] == "" && entry.from != "hand";
                tally.released += usize::from(released && applied);
                continue;
            }
            let reign = entry.sent["data"]["reign"].as_str().unwrap().parse().unwrap();
            let at = entry.at - self.began;
            assert!(!applied || reign >= last, "{at:?}: a write of {reign} after one of {last}");
            tally.late_writes += usize::from(reign < last);
            if applied {
                last = reign;
                tally.writes += 1;
            }
        }
        tally
    }
}

#[test]
fn no_two_lead_at_once_and_no_former_leaders_write_takes_effect_after_a_newer_ones() {
    let mut all = Tally::default();
    for seed in 0..20 {
        // Printed when it fails.
        println!("seed {seed}");
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        let tally = runtime.block_on(async { World::new(seed).run().await });
        all.reigns += tally.reigns;
        all.writes += tally.writes;
        all.late_writes += tally.late_writes;
        all.released += tally.released;
    }
    println!("{all:?}");
    // It proves nothing unless they change often, write often, and come too late often.
    assert!(all.reigns > 200 && all.writes > 1_500, "{all:?}");
    assert!(all.late_writes > 10 && all.released > 20, "{all:?}");
}
