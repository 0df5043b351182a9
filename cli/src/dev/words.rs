//! What a person at the terminal is told.

use std::path::{Path, PathBuf};

use annex_bundle::Manifest;
use annex_core::ContentHash;
use annex_dev::{Installed, Terminal};

use super::Arguments;
use crate::outcome::Failure;
use crate::printable::one_line;
use crate::shell::quoted;

/// What was told already, and so need not be told again.
pub(super) struct Shown {
    terminal: Terminal,
    secrets: Vec<String>,
    egress: bool,
    denied: Vec<String>,
    answers: Option<Answers>,
}

struct Answers {
    content: ContentHash,
    said: String,
}

impl Shown {
    pub(super) fn new(terminal: Terminal, arguments: &Arguments) -> Self {
        let secrets = arguments.secrets.iter().map(|secret| format!("{}/{}", secret.name, secret.key));
        Self {
            terminal,
            secrets: secrets.collect(),
            egress: !arguments.egress.is_empty(),
            denied: arguments.denied.clone(),
            answers: None,
        }
    }

    /// The port is taken, and nothing answers there yet.
    pub(super) fn waits(&self, port: u16) {
        self.terminal.tell(&format!("takes in the project; it will answer on port {port} of this machine"));
    }

    pub(super) fn builds(&self, what: &str) {
        self.terminal.tell(&format!("builds: {}", one_line(what)));
    }

    /// These count as written by the build.
    pub(super) fn outputs(&self, outputs: &[PathBuf]) {
        for path in outputs {
            self.terminal
                .tell(&format!("the build itself writes {}, which starts no other one", path.display()));
        }
    }

    pub(super) fn failed(&self, failure: &Failure) {
        let then = match &self.answers {
            Some(answers) => format!("{} goes on answering", answers.said),
            None => "nothing answers yet".to_owned(),
        };
        self.terminal
            .complain(&format!("{}\n{then}; it is tried again at the next change", failure.message()));
    }

    pub(super) fn installed(
        &mut self,
        manifest: &Manifest,
        installed: &Installed,
        port: u16,
        storage: &Path,
    ) {
        let said = format!("{} {}, {}", manifest.name, manifest.version, short(&installed.content));
        let former = self.answers.replace(Answers { content: installed.content, said: said.clone() });
        match former {
            None => self.terminal.say(&self.welcome(manifest, installed, port, storage)),
            Some(former) if former.content == installed.content => {
                self.terminal.tell(&format!("{said} answers as before"));
            }
            Some(_) => {
                self.terminal.tell(&format!("{said} answers now, granted {}", list(&installed.granted)))
            }
        }
    }

    fn welcome(&self, manifest: &Manifest, installed: &Installed, port: u16, storage: &Path) -> String {
        let url = format!("http://localhost:{port}/");
        let api = format!("{url}api/ext/{}", manifest.name);
        let mut rows = vec![
            ("page", if manifest.ui.is_some() { url.clone() } else { "none".to_owned() }),
            ("calls", format!("{api}/…")),
        ];
        rows.extend(
            manifest
                .endpoints
                .iter()
                .map(|endpoint| ("", format!("{} {}", endpoint.method.as_str(), endpoint.path))),
        );
        rows.push(("granted", list(&installed.granted)));
        if !installed.denied.is_empty() {
            rows.push(("not granted", list(&installed.denied)));
        }
        if !self.secrets.is_empty() {
            rows.push(("secrets", list(&self.secrets)));
        }
        if !manifest.egress.is_empty() {
            let asked: Vec<_> = manifest.egress.iter().map(ToString::to_string).collect();
            let reach =
                if self.egress { "as far as --allow-egress has them" } else { "none without --allow-egress" };
            rows.push(("reaches", format!("{}: {reach}", list(&asked))));
        }
        rows.push(("stores in", storage.display().to_string()));
        let also =
            installed.host.as_ref().map(|host| format!(", and at http://{host}:{port}/")).unwrap_or_default();
        let mut text = format!("{} {} answers at {url}{also}\n", manifest.name, manifest.version);
        for (name, value) in rows {
            text.push_str(&format!("  {name:<12} {}\n", one_line(&value)));
        }
        for denied in self.denied.iter().filter(|name| !installed.denied.contains(name)) {
            text.push_str(&format!("--deny {}: the manifest does not ask for it\n", one_line(denied)));
        }
        text.push_str("Nobody is asked for a token here: whoever reaches this address may call everything. It is on this machine alone.\n");
        let plain = manifest
            .endpoints
            .iter()
            .find(|endpoint| endpoint.method.as_str() == "GET" && !endpoint.path.as_str().contains('{'));
        text.push_str(&match plain {
            Some(endpoint) => format!("Try: curl {}\n", quoted(&format!("{api}{}", endpoint.path))),
            None => format!("Try: curl {url}\n"),
        });
        text.push_str("Changes are taken in; load the page anew. Ctrl-C ends it.");
        text
    }
}

fn list(names: &[String]) -> String {
    if names.is_empty() { "nothing".to_owned() } else { names.join(", ") }
}

/// As much of it as tells two versions apart.
fn short(content: &ContentHash) -> String {
    content.to_string().chars().take("sha256:".len() + 12).collect()
}
