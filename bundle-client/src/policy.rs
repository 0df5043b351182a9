//! By what bundles are judged.

use std::path::PathBuf;
use std::sync::Arc;

use annex_bundle::{Denylist, Limits, LoadPolicy, RegistryKeys, TrustBundle};
use annex_service::Followed;

/// By what bundles are judged, as command line arguments.
#[derive(clap::Args, Clone, Debug)]
pub struct PolicyArgs {
    /// The PEM file that says which publishers are trusted. Absent or empty: none is. Read again when it changes.
    #[arg(long = "trust-bundle", env = "SIGNING_TRUST_BUNDLE", value_name = "FILE")]
    trust: Option<PathBuf>,
    /// What is revoked. Absent: nothing. Read again when it changes.
    #[arg(long = "denylist", env = "SIGNING_DENYLIST", value_name = "FILE")]
    denylist: Option<PathBuf>,
    /// The JSON file of the registry's public keys. Absent: no receipt counts. Read again when it changes.
    #[arg(long = "registry-keys", env = "REGISTRY_KEYS_FILE", value_name = "FILE")]
    keys: Option<PathBuf>,
    #[command(flatten)]
    texts: TextArgs,
}

// Read here, and set by whoever makes such a pod.
const TRUST_TEXT: &str = "SIGNING_TRUST_BUNDLE_TEXT";
const DENYLIST_TEXT: &str = "SIGNING_DENYLIST_TEXT";
const KEYS_TEXT: &str = "REGISTRY_KEYS_TEXT";

/// The same, as text: for a pod that has nothing mounted. A later text is a later pod.
// PEM begins with hyphens, which a value otherwise must not.
#[derive(clap::Args, Clone, Debug)]
struct TextArgs {
    /// What would be in the file of --trust-bundle.
    #[arg(
        long = "trust-bundle-text",
        env = TRUST_TEXT,
        value_name = "PEM",
        conflicts_with = "trust",
        allow_hyphen_values = true
    )]
    trust_text: Option<String>,
    /// What would be in the file of --denylist.
    #[arg(
        long = "denylist-text",
        env = DENYLIST_TEXT,
        value_name = "TEXT",
        conflicts_with = "denylist",
        allow_hyphen_values = true
    )]
    denylist_text: Option<String>,
    /// What would be in the file of --registry-keys.
    #[arg(
        long = "registry-keys-text",
        env = KEYS_TEXT,
        value_name = "JSON",
        conflicts_with = "keys"
    )]
    keys_text: Option<String>,
}

/// Linux takes no variable of 128 KiB (`MAX_ARG_STRLEN`), and a process that has one does not start.
const LONGEST_VARIABLE: usize = 100 << 10;

impl PolicyArgs {
    /// Whether anything can pass: somebody may be trusted, and a receipt may count.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        let trusts = self.trust.is_some() || self.texts.trust_text.is_some();
        trusts && (self.keys.is_some() || self.texts.keys_text.is_some())
    }

    /// What the files hold, or the texts. `limits` is how much a bundle may be.
    ///
    /// # Errors
    /// A file cannot be read, or does not hold what it should.
    pub fn load(&self, limits: Limits) -> anyhow::Result<Policy> {
        let texts = &self.texts;
        Ok(Policy {
            trust: part("the trust bundle", &self.trust, &texts.trust_text, |bytes| {
                TrustBundle::parse(bytes).map_err(|error| error.to_string())
            })?,
            denylist: part("the denylist", &self.denylist, &texts.denylist_text, |bytes| {
                Denylist::parse(bytes).map_err(|error| error.to_string())
            })?,
            keys: part("the registry's keys", &self.keys, &texts.keys_text, |bytes| {
                // No file is no key; an empty one is a mistake.
                RegistryKeys::from_json(bytes).map_err(|error| error.to_string())
            })?,
            limits,
        })
    }
}

/// A part of a policy, and the text that it was read from.
#[derive(Debug, Default)]
struct Read<T> {
    text: Option<String>,
    value: T,
}

fn part<T: Default + Send + Sync + 'static>(
    name: &'static str,
    file: &Option<PathBuf>,
    text: &Option<String>,
    parse: impl Fn(&[u8]) -> Result<T, String> + Send + Sync + 'static,
) -> anyhow::Result<Followed<Read<T>>> {
    let text = text.clone();
    Followed::load(name, file.iter().cloned().collect(), move |contents| {
        let Some(bytes) = contents.first().map(Vec::as_slice).or(text.as_deref().map(str::as_bytes)) else {
            return Ok(Read::default());
        };
        let text = std::str::from_utf8(bytes).map_err(|_| "is no text".to_owned())?;
        Ok(Read { text: Some(text.to_owned()), value: parse(bytes)? })
    })
}

/// By what bundles are judged, kept equal to the operator's files. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Policy {
    trust: Followed<Read<TrustBundle>>,
    denylist: Followed<Read<Denylist>>,
    keys: Followed<Read<RegistryKeys>>,
    limits: Limits,
}

impl Policy {
    /// All of it at this moment.
    #[must_use]
    pub fn now(&self) -> Held {
        Held {
            trust: self.trust.get(),
            denylist: self.denylist.get(),
            keys: self.keys.get(),
            limits: self.limits,
        }
    }

    /// Whether that was all of it at this moment, too.
    #[must_use]
    pub fn is_still(&self, held: &Held) -> bool {
        let now = self.now();
        Arc::ptr_eq(&now.trust, &held.trust)
            && Arc::ptr_eq(&now.denylist, &held.denylist)
            && Arc::ptr_eq(&now.keys, &held.keys)
    }

    /// Follows the files for ever, and says after each change that there was one.
    pub async fn follow(&self, mut changed: impl FnMut()) {
        let Self { trust, denylist, keys, .. } = self;
        let tell = async {
            let mut turns = (trust.subscribe(), denylist.subscribe(), keys.subscribe());
            loop {
                let turn = tokio::select! {
                    turn = turns.0.changed() => turn,
                    turn = turns.1.changed() => turn,
                    turn = turns.2.changed() => turn,
                };
                if turn.is_err() {
                    return;
                }
                changed();
            }
        };
        tokio::join!(tell, trust.follow(), denylist.follow(), keys.follow());
    }

    /// Looks at the files now.
    pub async fn check(&self) {
        tokio::join!(self.trust.check(), self.denylist.check(), self.keys.check());
    }

    /// What an operator has to know.
    #[must_use]
    pub fn notes(&self) -> Vec<String> {
        [self.trust.note(), self.denylist.note(), self.keys.note()].into_iter().flatten().collect()
    }
}

/// All of a policy at one moment. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Held {
    trust: Arc<Read<TrustBundle>>,
    denylist: Arc<Read<Denylist>>,
    keys: Arc<Read<RegistryKeys>>,
    limits: Limits,
}

impl Held {
    /// As it is asked.
    #[must_use]
    pub fn load(&self) -> LoadPolicy<'_> {
        LoadPolicy {
            trust: &self.trust.value,
            registry_keys: &self.keys.value,
            denylist: &self.denylist.value,
            limits: &self.limits,
        }
    }

    /// The environment by which another process judges as this one does. None of it is secret. None: it is more than an environment
    /// can hold.
    #[must_use]
    pub fn environment(&self) -> Option<Vec<(&'static str, String)>> {
        let texts = [
            (TRUST_TEXT, &self.trust.text),
            (DENYLIST_TEXT, &self.denylist.text),
            (KEYS_TEXT, &self.keys.text),
        ];
        // What is not given here is not given there. Nor is what is empty, which means the same and which an API server leaves out.
        let given = texts.into_iter().filter_map(|(name, text)| Some((name, text.clone()?)));
        let given: Vec<_> = given.filter(|(_, text)| !text.is_empty()).collect();
        given.iter().all(|(_, text)| text.len() <= LONGEST_VARIABLE).then_some(given)
    }

    /// Whether nothing has changed between the two: what was judged by one is judged by the other.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.trust, &other.trust)
            && Arc::ptr_eq(&self.denylist, &other.denylist)
            && Arc::ptr_eq(&self.keys, &other.keys)
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    #[derive(clap::Parser)]
    struct Args {
        #[command(flatten)]
        policy: PolicyArgs,
    }

    const REVOKED: &str = "content sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\n";

    fn args(given: &[&str]) -> Result<PolicyArgs, String> {
        let args = Args::try_parse_from(["x"].iter().chain(given));
        args.map(|args| args.policy).map_err(|error| error.to_string())
    }

    fn environment(given: &[&str]) -> Option<Vec<(&'static str, String)>> {
        args(given).unwrap().load(Limits::default()).unwrap().now().environment()
    }

    #[test]
    fn another_process_judges_by_the_same_out_of_its_environment() {
        let folder = tempfile::tempdir().unwrap();
        let (denylist, keys) = (folder.path().join("denylist"), folder.path().join("keys"));
        std::fs::write(&denylist, REVOKED).unwrap();
        std::fs::write(&keys, r#"{"keys":[]}"#).unwrap();
        let (denylist, keys) = (denylist.display().to_string(), keys.display().to_string());
        let given = environment(&["--denylist", &denylist, "--registry-keys", &keys]).unwrap();
        let expected = [(DENYLIST_TEXT, REVOKED.to_owned()), (KEYS_TEXT, r#"{"keys":[]}"#.to_owned())];
        assert_eq!(given, expected);
        let texts = ["--denylist-text", &*given[0].1, "--registry-keys-text", &*given[1].1];
        assert_eq!(environment(&texts).unwrap(), expected);
        let held = args(&texts).unwrap().load(Limits::default()).unwrap().now();
        let revoked = REVOKED.trim().trim_start_matches("content ").parse().unwrap();
        assert!(held.load().denylist.has_content(&revoked));
    }

    #[test]
    fn the_names_are_those_that_are_read() {
        let command = <Args as clap::CommandFactory>::command();
        for (argument, name) in
            [("trust_text", TRUST_TEXT), ("denylist_text", DENYLIST_TEXT), ("keys_text", KEYS_TEXT)]
        {
            let read = command.get_arguments().find(|read| read.get_id() == argument).unwrap();
            assert_eq!(read.get_env().unwrap(), name);
        }
    }

    #[test]
    fn what_an_environment_cannot_hold_is_not_put_there() {
        assert_eq!(environment(&[]), Some(Vec::new()));
        assert_eq!(environment(&["--denylist-text", ""]), Some(Vec::new()), "empty is as good as not there");
        let line = |length: usize| format!("#{}", "x".repeat(length - 1));
        let text = line(LONGEST_VARIABLE);
        assert_eq!(environment(&["--denylist-text", &text]), Some(vec![(DENYLIST_TEXT, text)]));
        assert_eq!(environment(&["--denylist-text", &line(LONGEST_VARIABLE + 1)]), None);
    }

    #[test]
    fn a_file_and_a_text_are_one_too_many() {
        for (file, text) in [
            ("--trust-bundle", "--trust-bundle-text"),
            ("--denylist", "--denylist-text"),
            ("--registry-keys", "--registry-keys-text"),
        ] {
            assert!(args(&[file, "f", text, "t"]).unwrap_err().contains("cannot be used with"), "{file}");
        }
        let pem = "-----BEGIN PUBLIC KEY-----\n";
        assert!(!args(&["--trust-bundle-text", pem]).unwrap().is_complete());
        assert!(args(&["--trust-bundle-text", pem, "--registry-keys-text", "{}"]).unwrap().is_complete());
        assert!(args(&["--trust-bundle", "f", "--registry-keys", "f"]).unwrap().is_complete());
    }
}
