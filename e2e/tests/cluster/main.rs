//! The compute cluster of the development environment: it runs what it is given, gets over a crash, and leaves nothing on the
//! machine. `cargo xtask test --only knative` runs this.

#![allow(missing_docs)]
#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "all of it is test, also what is not in a #[test] function: a panic is how a test fails"
)]

use std::collections::BTreeSet;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use annex_e2e::PATIENCE;
use serde_json::{Value, json};
use xtask::{Component, Part, Response, Settings, Stack, get};

fn state() -> PathBuf {
    let folder = std::env::var_os("ANNEX_E2E_STATE").map(PathBuf::from);
    folder.unwrap_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../.annex/knative"))
}

/// What a node leaves its traces in, line by line: links, namespaces, mounts, chains, control groups, sockets,
/// processes.
fn traces() -> BTreeSet<String> {
    // On a new machine the first `up` installs them: before, there is nothing that they could show.
    let print = |program: &str, args: &[&str]| match Command::new(program).args(args).output() {
        Ok(output) => String::from_utf8_lossy(&output.stdout).into_owned(),
        Err(error) if error.kind() == ErrorKind::NotFound => String::new(),
        Err(error) => panic!("{program}: {error}"),
    };
    let mut traces: BTreeSet<String> = fs::read_to_string("/proc/self/mountinfo")
        .expect("the table of mounts")
        .lines()
        .map(|line| format!("mount {}", line.split(' ').nth(4).expect("a target")))
        .collect();
    traces.extend(print("ip", &["netns", "list"]).lines().map(|line| format!("netns {line}")));
    let rules = print("iptables-save", &[]);
    traces.extend(rules.lines().filter(|line| line.starts_with('-')).map(|line| format!("iptables {line}")));
    for folder in [
        "/run",
        "/run/containerd/s",
        "/run/containerd/runc/k8s.io",
        "/sys/fs/cgroup/memory/k8s.io",
        "/sys/fs/cgroup/k8s.io",
        "/var/lib/cni/results",
        "/var/log/containers",
        "/sys/class/net",
    ] {
        let entries = fs::read_dir(folder).into_iter().flatten().flatten();
        traces.extend(entries.map(|entry| entry.path().display().to_string()));
    }
    traces.extend(processes());
    traces
}

/// A line for each process: its arguments, its control groups, which name the container that it is of, and its network.
fn processes() -> Vec<String> {
    let pids = fs::read_dir("/proc").expect("the processes").flatten();
    let pids = pids.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let line = |pid: u32| {
        let read = |file: &str| fs::read(format!("/proc/{pid}/{file}")).ok();
        // One that has just ended has none of these. The kernel's own have no arguments.
        let arguments = read("cmdline").filter(|arguments| !arguments.is_empty())?;
        let network = fs::read_link(format!("/proc/{pid}/ns/net")).ok()?;
        let text = |bytes: Vec<u8>, end: char| {
            String::from_utf8_lossy(&bytes).split(end).collect::<Vec<_>>().join(" ")
        };
        let groups = text(read("cgroup")?, '\n');
        Some(format!("process {pid} {} {} {groups}", text(arguments, '\0'), network.display()))
    };
    pids.filter_map(line).collect()
}

/// What its traces are called: its own name, its folder's and its network's, its containers', and those of the sockets by which the
/// runtime knows them.
fn names_of(stack: &Stack) -> Vec<String> {
    let compute = stack.compute().expect("it runs here");
    let tasks =
        Path::new("/run").join(compute.name()).join("containerd/io.containerd.runtime.v2.task/k8s.io");
    let pid = compute.pid(Component::Etcd).expect("its record").expect("it runs");
    let network = fs::read_link(format!("/proc/{pid}/ns/net")).expect("its network");
    let folder = stack.paths().state().join("compute");
    let mut names =
        vec![compute.name().to_owned(), network.display().to_string(), format!("{}/", folder.display())];
    for task in fs::read_dir(tasks).expect("the runtime's folder").flatten() {
        names.push(task.file_name().into_string().expect("a name"));
        if let Ok(address) = fs::read_to_string(task.path().join("address")) {
            names.push(address.rsplit('/').next().expect("a name").to_owned());
        }
    }
    names
}

/// Those that carry one of these names; other clusters of this machine come and go.
fn new_ones<'a>(
    now: &'a BTreeSet<String>,
    before: &'a BTreeSet<String>,
    names: &[String],
) -> Vec<&'a String> {
    now.difference(before).filter(|trace| names.iter().any(|name| trace.contains(name.as_str()))).collect()
}

/// The runner as Annex would run it, with nobody to ask for its hosts.
fn runner(image: &str) -> Value {
    json!({
        "apiVersion": "serving.knative.dev/v1",
        "kind": "Service",
        "metadata": {"name": "runner", "namespace": "default"},
        "spec": {"template": {"spec": {"containers": [{
            "image": image,
            "ports": [{"containerPort": 8080}],
            "env": [
                {"name": "RUNNER_LISTEN", "value": "0.0.0.0:8080"},
                {"name": "REGISTRY_BASE_URL", "value": "http://127.0.0.1:1"},
            ],
        }]}}},
    })
}

fn code(answer: &Response) -> String {
    let body: Value = serde_json::from_str(&answer.body).expect("JSON");
    body["code"].as_str().expect("a code").to_owned()
}

/// A bridge of somebody else's, with the addresses that a cluster would look for first.
struct Foreign;

impl Foreign {
    const NAME: &str = "kn-foreign";

    fn make() -> anyhow::Result<Self> {
        let made = Self;
        ip(&["link", "add", Self::NAME, "type", "bridge"])?;
        ip(&["addr", "add", "10.89.0.1/16", "dev", Self::NAME])?;
        ip(&["link", "set", Self::NAME, "up"])?;
        Ok(made)
    }

    fn is_whole() -> anyhow::Result<bool> {
        Ok(ip(&["-4", "addr", "show", "dev", Self::NAME, "up"])?.contains("inet 10.89.0.1/16 "))
    }
}

impl Drop for Foreign {
    fn drop(&mut self) {
        let _ = ip(&["link", "delete", Self::NAME]);
    }
}

fn ip(args: &[&str]) -> anyhow::Result<String> {
    let output = Command::new("ip").args(args).output()?;
    anyhow::ensure!(output.status.success(), "ip {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The name that a cluster's kubeconfig has for its own server, and whether that one answers.
fn answers(stack: &Stack) -> anyhow::Result<String> {
    let admin = stack.compute_admin();
    admin.run(&["--request-timeout=10s", "get", "nodes"])?;
    admin.run(&["config", "view", "--minify", "--output=jsonpath={.clusters[0].cluster.server}"])
}

/// A second checkout's cluster, on a machine that has a bridge with the addresses that the first's would be followed by: it takes
/// others, and comes and goes without the first, or the bridge, being any the worse.
fn another_comes_and_goes(first: &Stack) -> anyhow::Result<()> {
    let _foreign = Foreign::make()?;
    let state = state().join("another");
    xtask::down(&state, true)?;
    let before = traces();
    let second = Stack::up_compute_only(&Settings::with_free_ports_and_knative(&state)?)?;
    let servers = (answers(first)?, answers(&second)?);
    assert_ne!(servers.0, servers.1);
    assert!(!servers.1.contains("//10.89."), "an address of the bridge's: {}", servers.1);
    assert!(Foreign::is_whole()?);
    let names = names_of(&second);
    let own = first.compute()?.name();
    assert!(names.iter().all(|name| !name.contains(own)), "{names:?}");
    assert!(new_ones(&traces(), &before, &names).len() > 10, "what is looked for can be found");

    second.down(true)?;
    let left = traces();
    assert_eq!(new_ones(&left, &before, &names), Vec::<&String>::new());
    assert_eq!(answers(first)?, servers.0);
    first.compute()?.check_ready()?;
    assert!(Foreign::is_whole()?, "what is not ours is left alone");
    Ok(())
}

#[test]
fn it_runs_the_runner_outlives_a_crash_minds_no_other_and_leaves_nothing() -> anyhow::Result<()> {
    let state = state();
    xtask::down(&state, true)?;
    let before = traces();
    let settings = Settings::with_free_ports_and_knative(&state)?;
    let crashing = Stack::up_compute_only(&settings)?;
    crashing.start(Part::Ingress)?;
    let (admin, compute) = (crashing.compute_admin(), crashing.compute()?);
    let ready = ["wait", "ksvc/runner", "--for=condition=Ready", "--timeout=180s"];

    let service = runner(crashing.runner_image().expect("an image was built"));
    admin.run_with_input(&["apply", "--server-side", "--filename=-"], &service.to_string())?;
    admin.run(&ready)?;
    let url = admin.run(&["get", "ksvc", "runner", "--output=jsonpath={.status.url}"])?;
    let host = url.strip_prefix("http://").expect("an address").to_owned();

    // Through both Envoys to the runner, which cannot ask whose host it is: its own answer, not an ingress's.
    let answer = || get(settings.runner_port, &host, "/");
    let first = answer()?;
    assert_eq!((first.status, code(&first).as_str()), (502, "RegistryUnavailable"));

    let mut names = names_of(&crashing);
    compute.kill(Component::ApiServer)?;
    assert!(compute.check(Component::ApiServer).is_err());
    assert_eq!(code(&answer()?), "RegistryUnavailable", "what runs goes on without the API");
    for component in Component::ALL {
        compute.kill(component)?;
    }
    let stack = Stack::up_compute_only(&settings)?;
    stack.compute_admin().run(&ready)?;
    // It may sleep by now, and a first call waits for a pod.
    let answers = || {
        let began = Instant::now();
        loop {
            match answer() {
                Ok(answer) if answer.status == 502 && code(&answer) == "RegistryUnavailable" => return,
                other => assert!(began.elapsed() < PATIENCE, "it does not answer: {other:?}"),
            }
            std::thread::sleep(Duration::from_millis(500));
        }
    };
    answers();

    another_comes_and_goes(&stack)?;
    answers();

    names.extend(names_of(&stack));
    let found = traces();
    let found = new_ones(&found, &before, &names);
    let processes = found.iter().filter(|trace| trace.starts_with("process ")).count();
    assert!(
        processes > Component::ALL.len() && found.len() > processes + 10,
        "what is looked for can be found"
    );
    stack.down(false)?;
    let now = traces();
    assert_eq!(new_ones(&now, &before, &names), Vec::<&String>::new());
    xtask::down(&state, true)?;
    assert!(!state.join("compute").exists(), "nor in the state directory");
    Ok(())
}
