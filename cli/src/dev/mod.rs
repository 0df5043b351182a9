//! `kubectl annex dev`: an extension under work, on this machine.

mod project;
mod words;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use annex_dev::{FollowUp, OperatorList, Parameters, Platform, SecretFile, Settings, State, Terminal, Watch};
use clap::Args;
use tokio::signal::unix::{SignalKind, signal};

use crate::outcome::Failure;
use project::Project;
use words::Shown;

pub(crate) const HELP: &str = "\
DIR is a project, as bundle takes it. It is bundled, signed with a key that is made for this run, verified, and served at \
http://localhost:PORT/ by the runner and the gateway that a platform has, with the same sandbox, limits and headers. There is no kcp and \
no Kubernetes. Two things are different: nobody is asked for a token, so that every endpoint can be called by whoever reaches the address; \
and the address is on this machine alone. A page of another origin that is open in the same browser is kept from calling.

Whatever changes in DIR is taken in: manifest.json, ui/, sbom.json and the component at once, sources after a build. A guest in guest/ is \
built as bundle does it. Anything else is built by --build, a command for the shell that runs in DIR, at the start and whenever a file of DIR has \
changed that is not packed as it is, and that has to leave the component in main.wasm or where --component says. What is in target, \
node_modules and dist, and what begins with a dot, is nobody's source. A build that fails, or a manifest that is wrong, is told, and what \
answered before goes on.

What the extension stores is in DIR/.annex-dev, and is there again at the next start. The folder is never packed, and git ignores it.

Examples:
  kubectl annex dev notes
  kubectl annex dev notes --port 0 --parameter colour=blue --secret smtp/password=password.txt
  kubectl annex dev hello-js --build 'npm run build'
  kubectl annex dev weather --allow-egress api.example.com --deny metrics

Exit codes: 0 it was ended (Ctrl-C), 2 wrong usage, 3 the port is taken, a folder cannot be used, or files cannot be watched. What is wrong \
with the project ends nothing: it waits until that is mended.";

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// The project, as init makes it
    pub(crate) dir: PathBuf,
    /// The port on this machine; 0 is any that is free
    #[arg(long, default_value_t = 8787, value_name = "PORT")]
    pub(crate) port: u16,
    /// What builds the component, instead of cargo in guest/
    #[arg(long, value_name = "COMMAND")]
    pub(crate) build: Option<String>,
    /// Where the component is, instead of guest/ and main.wasm
    #[arg(long, value_name = "WASM")]
    pub(crate) component: Option<PathBuf>,
    /// Where what it stores is kept, instead of DIR/.annex-dev
    #[arg(long, value_name = "FOLDER")]
    pub(crate) state: Option<PathBuf>,
    /// A JSON file with the parameters that an Install would give
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// One parameter, before those of --config; VALUE is JSON, or else a text
    #[arg(long = "parameter", value_name = "NAME=VALUE")]
    pub(crate) parameters: Vec<String>,
    /// A secret that it may read, as the Secret NAME with this KEY; the file is read when it asks
    #[arg(long = "secret", value_name = "NAME/KEY=FILE")]
    pub(crate) secrets: Vec<SecretFile>,
    /// The hosts that it may reach as far as its manifest asks for them, with commas between them; none otherwise
    #[arg(long = "allow-egress", default_value = "", hide_default_value = true, value_name = "HOSTS")]
    pub(crate) egress: OperatorList,
    /// A capability that is not granted though the manifest asks for it
    #[arg(long = "deny", value_name = "CAPABILITY")]
    pub(crate) denied: Vec<String>,
}

/// After the end, for what cannot be ended, such as a look-up of a name.
const PATIENCE: Duration = Duration::from_secs(2);

/// Serves the project until it is asked to end.
pub(crate) fn run(arguments: &Arguments) -> Result<String, Failure> {
    let unable = |error: std::io::Error| Failure::Unable(format!("starting failed: {error}"));
    let runtime = tokio::runtime::Runtime::new().map_err(unable)?;
    let outcome = runtime.block_on(until_asked(arguments));
    runtime.shutdown_timeout(PATIENCE);
    outcome
}

async fn until_asked(arguments: &Arguments) -> Result<String, Failure> {
    let unable = |error: std::io::Error| Failure::Unable(format!("catching signals failed: {error}"));
    // First of all: what comes while it starts must not be lost.
    let mut interrupt = signal(SignalKind::interrupt()).map_err(unable)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(unable)?;
    // The terminal was closed.
    let mut hang_up = signal(SignalKind::hangup()).map_err(unable)?;
    let asked = async {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hang_up.recv() => {}
        }
    };
    let (project, platform, watch, shown) = prepare(arguments).await?;
    let outcome = tokio::select! {
        () = asked => Ok("ended".to_owned()),
        // What is being built ends with this future.
        ended = keep_up(&project, platform.clone(), watch, shown) => ended,
    };
    platform.stop().await;
    outcome
}

type Prepared = (Project, Arc<Platform>, Watch, Shown);

/// All that can be wrong with what was asked for, before anything of the project is looked at.
async fn prepare(arguments: &Arguments) -> Result<Prepared, Failure> {
    let usage = |error: String| Failure::Usage(error);
    let dir = folder(&arguments.dir)?;
    let parameters = Parameters::new(arguments.config.clone(), &arguments.parameters).map_err(usage)?;
    parameters.read().map_err(Failure::Unable)?;
    for secret in &arguments.secrets {
        std::fs::File::open(&secret.file).map_err(|error| Failure::file("reading", &secret.file, &error))?;
    }
    let place = arguments.state.clone().unwrap_or_else(|| dir.join(".annex-dev"));
    if std::path::absolute(&place).is_ok_and(|place| place.starts_with(dir.join("ui"))) {
        return Err(usage(format!(
            "{} is in ui/, and would be packed; give another folder",
            place.display()
        )));
    }
    let state = State::open(&place).map_err(|error| Failure::Unable(error.to_string()))?;
    let project = Project::new(&dir, arguments, parameters, state.folder())?;
    let settings = Settings {
        port: arguments.port,
        egress: arguments.egress.clone(),
        denied: arguments.denied.clone(),
        secrets: arguments.secrets.clone(),
    };
    let watch = Watch::start(project.watched()).map_err(|error| unwatched(&error))?;
    let terminal = Terminal::init();
    let platform =
        Platform::start(state, settings).await.map_err(|error| Failure::Unable(format!("{error:#}")))?;
    Ok((project, Arc::new(platform), watch, Shown::new(terminal, arguments)))
}

/// Takes in what the project is now, and whatever it becomes. Returns only when it cannot be watched any more.
async fn keep_up(
    project: &Project,
    platform: Arc<Platform>,
    mut watch: Watch,
    mut shown: Shown,
) -> Result<String, Failure> {
    let mut follow_up = FollowUp::default();
    let mut component = None;
    let mut is_stale = true;
    shown.waits(platform.port());
    loop {
        let mut builds_again = false;
        let outcome: Result<(), Failure> = async {
            project.check()?;
            if is_stale || component.is_none() {
                is_stale = false;
                watch.look().map_err(|error| unwatched(&error))?;
                let built = project.build(&shown).await;
                let meanwhile = watch.look().map_err(|error| unwatched(&error))?;
                let (again, outputs) = follow_up.after_build(&meanwhile.sources);
                builds_again = again;
                shown.outputs(&outputs);
                component = Some(built?);
            }
            let Some(component) = component.clone() else { return Ok(()) };
            let (packed, archive) = project.pack(&component).await?;
            let (platform, parameters) = (platform.clone(), project.parameters()?);
            let port = platform.port();
            let installing = tokio::task::spawn_blocking(move || {
                let installed = platform.install(&packed, archive, parameters);
                installed.map(|installed| (packed.manifest, installed, platform.state().storage()))
            });
            let installed = installing.await.map_err(|error| Failure::Unable(error.to_string()))?;
            let (manifest, installed, storage) =
                installed.map_err(|error| Failure::Refused(format!("{error:#}")))?;
            shown.installed(&manifest, &installed, port, &storage);
            Ok(())
        }
        .await;
        if let Err(failure) = outcome {
            shown.failed(&failure);
        }
        if builds_again {
            is_stale = true;
            continue;
        }
        let changes = watch.changed().await.map_err(|error| unwatched(&error))?;
        follow_up.while_idle(&changes.sources);
        is_stale |= !changes.sources.is_empty();
    }
}

fn folder(dir: &Path) -> Result<PathBuf, Failure> {
    let dir = dir.canonicalize().map_err(|error| Failure::file("reading", dir, &error))?;
    if dir.is_dir() { Ok(dir) } else { Err(Failure::Usage(format!("{} is no folder", dir.display()))) }
}

fn unwatched(error: &impl std::fmt::Display) -> Failure {
    Failure::Unable(format!("the project's files cannot be watched: {error}"))
}
