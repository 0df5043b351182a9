//! A tenant's kubeconfig, which is hostile input: some of its fields make a client run programs, read files or ask a proxy.

use std::collections::BTreeMap;

use secrecy::SecretString;
use serde_json::{Map, Value};

use super::{
    api_url::ApiUrl,
    credentials::{Auth, Credentials},
};
use crate::conditions::Because;

/// Real ones have a few KiB.
const LARGEST: usize = 256 * 1024;

const FILE: &str = "it names a file of whoever reads it";
const AS_ANOTHER: &str = "the credentials speak for themselves only";

/// What is refused by name, wherever it stands, and why.
const REFUSED_IN_CLUSTER: &[(&str, &str)] = &[
    ("certificate-authority", FILE),
    ("proxy-url", "the server is connected to without a proxy"),
    ("tls-server-name", "the certificate is checked against the host of the server's URL"),
];
const REFUSED_IN_USER: &[(&str, &str)] = &[
    ("exec", "it runs a program of whoever reads it"),
    ("auth-provider", "it runs a plugin of whoever reads it"),
    ("client-certificate", FILE),
    ("client-key", FILE),
    ("tokenFile", FILE),
    ("username", "a token or a client certificate is needed"),
    ("password", "a token or a client certificate is needed"),
    ("as", AS_ANOTHER),
    ("as-uid", AS_ANOTHER),
    ("as-groups", AS_ANOTHER),
    ("as-user-extra", AS_ANOTHER),
];

/// A kubeconfig without any field that is refused, in any of its entries.
#[derive(Debug)]
pub(super) struct Kubeconfig {
    clusters: BTreeMap<String, Cluster>,
    users: BTreeMap<String, User>,
    contexts: BTreeMap<String, Context>,
    current: Option<String>,
}

#[derive(Debug)]
struct Cluster {
    server: Option<String>,
    authority: Option<String>,
    insecure: bool,
}

#[derive(Debug)]
struct User {
    token: Option<SecretString>,
    certificate: Option<String>,
    key: Option<SecretString>,
}

#[derive(Debug)]
struct Context {
    cluster: Option<String>,
    user: Option<String>,
}

/// What the kubeconfig is to open.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted<'a> {
    pub(super) server: &'a ApiUrl,
    /// Absent: the current one.
    pub(super) context: Option<&'a str>,
    /// Whether a cluster may say that its certificate is not to be checked.
    pub(super) insecure_tls: bool,
}

impl Kubeconfig {
    /// Reads it whole, so that what is refused is refused wherever it stands: another context could be chosen later.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, Because> {
        if bytes.len() > LARGEST {
            return Err(invalid(format!("it has more than {} KiB", LARGEST / 1024)));
        }
        let text = std::str::from_utf8(bytes).map_err(|_| invalid("it is not UTF-8"))?;
        let top = tree(text)?;
        let top = Fields::of("the kubeconfig".to_owned(), &top)?;
        top.only(
            &[
                "apiVersion",
                "kind",
                "preferences",
                "clusters",
                "users",
                "contexts",
                "current-context",
                "extensions",
            ],
            &[],
        )?;
        for (name, wanted) in [("apiVersion", "v1"), ("kind", "Config")] {
            if top.text(name)?.is_some_and(|is| is != wanted) {
                return Err(invalid(format!("its {name} is not {wanted}")));
            }
        }
        Ok(Self {
            clusters: top.entries("clusters", "cluster", Cluster::read)?,
            users: top.entries("users", "user", User::read)?,
            contexts: top.entries("contexts", "context", Context::read)?,
            current: top.text("current-context")?.map(str::to_owned),
        })
    }

    /// The credentials of the wanted context.
    pub(super) fn credentials(&self, wanted: Wanted<'_>) -> Result<Credentials, Because> {
        let named = wanted.context.or(self.current.as_deref());
        let Some(name) = named else {
            return Err(Because::new(
                "ContextNotFound",
                "the kubeconfig has no current-context; name a context of it in spec.contextName",
            ));
        };
        let context = self.contexts.get(name).ok_or_else(|| {
            Because::new("ContextNotFound", format!("the kubeconfig has no context {}", shown(name)))
        })?;
        let missing = |kind: &str| {
            Because::new(
                "ContextNotFound",
                format!("the context {} of the kubeconfig names no {kind} of it", shown(name)),
            )
        };
        let cluster = context.cluster.as_ref().and_then(|cluster| self.clusters.get(cluster));
        let cluster = cluster.ok_or_else(|| missing("cluster"))?;
        let user = context.user.as_ref().and_then(|user| self.users.get(user));
        let user = user.ok_or_else(|| missing("user"))?;

        let server = cluster.server.as_deref().map(ApiUrl::parse);
        if server.is_none_or(|server| server.as_ref() != Ok(wanted.server)) {
            return Err(Because::new(
                "ServerMismatch",
                format!(
                    "the cluster of the kubeconfig's context {} has another server than spec.apiURL",
                    shown(name)
                ),
            ));
        }
        if let Some((name, _)) = self.clusters.iter().find(|(_, cluster)| cluster.insecure)
            && !wanted.insecure_tls
        {
            return Err(Because::new(
                "InsecureTLSRefused",
                format!(
                    "insecure-skip-tls-verify of the kubeconfig's cluster {} is true, and spec.allowInsecureSkipTLSVerify is \
                     not; give the server's CA in certificate-authority-data",
                    shown(name)
                ),
            ));
        }
        Credentials::new(wanted.server.clone(), cluster.authority.as_deref(), cluster.insecure, user.auth()?)
    }
}

impl Cluster {
    fn read(fields: &Fields<'_>) -> Result<Self, Because> {
        fields.only(
            &[
                "server",
                "certificate-authority-data",
                "insecure-skip-tls-verify",
                "disable-compression",
                "extensions",
            ],
            REFUSED_IN_CLUSTER,
        )?;
        Ok(Self {
            server: fields.text("server")?.map(str::to_owned),
            authority: fields.text("certificate-authority-data")?.map(str::to_owned),
            insecure: fields.flag("insecure-skip-tls-verify")?,
        })
    }
}

impl User {
    fn read(fields: &Fields<'_>) -> Result<Self, Because> {
        fields
            .only(&["token", "client-certificate-data", "client-key-data", "extensions"], REFUSED_IN_USER)?;
        Ok(Self {
            token: fields.text("token")?.map(SecretString::from),
            certificate: fields.text("client-certificate-data")?.map(str::to_owned),
            key: fields.text("client-key-data")?.map(SecretString::from),
        })
    }

    fn auth(&self) -> Result<Auth, Because> {
        match (&self.token, &self.certificate, &self.key) {
            (Some(token), None, None) => Auth::token(token.clone()),
            (None, Some(certificate), Some(key)) => Auth::client_certificate(certificate, key),
            (None, None, None) => Err(Because::new(
                "CredentialsMissing",
                "the user of the kubeconfig's context has neither a token nor a client certificate",
            )),
            (None, ..) => Err(Because::new(
                "CredentialsMissing",
                "the user of the kubeconfig's context has only one of client-certificate-data and client-key-data",
            )),
            // Servers differ in which of them counts.
            (Some(_), ..) => Err(Because::new(
                "CredentialsInvalid",
                "the user of the kubeconfig's context has a token and a client certificate; keep one of them",
            )),
        }
    }
}

impl Context {
    fn read(fields: &Fields<'_>) -> Result<Self, Because> {
        fields.only(&["cluster", "user", "namespace", "extensions"], &[])?;
        let text = |name: &str| fields.text(name).map(|text| text.map(str::to_owned));
        Ok(Self { cluster: text("cluster")?, user: text("user")? })
    }
}

/// Plain YAML only. Anchors are how a few bytes become gigabytes, and of a key that stands twice each reader believes another.
fn tree(text: &str) -> Result<Value, Because> {
    let options = serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_depth: 16,
            flow_nesting_limit: 16,
            max_anchors: 0,
            max_aliases: 0,
            max_documents: 1,
            max_nodes: 20_000,
            max_events: 60_000,
            max_inclusion_depth: 0,
        },
        duplicate_keys: serde_saphyr::DuplicateKeyPolicy::Error,
        merge_keys: serde_saphyr::MergeKeyPolicy::Error,
    };
    serde_saphyr::from_str_with_options(text, options).map_err(|error| {
        // Never the error's own text: it quotes what it stumbled over, and that may be a token.
        let place = error
            .location()
            .filter(|place| place.line() > 0)
            .map_or_else(String::new, |place| format!(" (line {}, column {})", place.line(), place.column()));
        invalid(format!(
            "it is no plain YAML{place}; anchors, aliases, keys that stand twice and deep nesting are refused"
        ))
    })
}

/// A mapping of the kubeconfig, and what to call it.
struct Fields<'a> {
    what: String,
    map: Option<&'a Map<String, Value>>,
}

impl<'a> Fields<'a> {
    fn of(what: String, value: &'a Value) -> Result<Self, Because> {
        match value {
            Value::Object(map) => Ok(Self { what, map: Some(map) }),
            Value::Null => Ok(Self { what, map: None }),
            _ => Err(invalid(format!("{what} is no mapping"))),
        }
    }

    fn get(&self, name: &str) -> Option<&'a Value> {
        self.map?.get(name).filter(|value| !value.is_null())
    }

    /// Refuses whatever is not `known`; of `refused` the message says why. A field that is not part of a kubeconfig today could
    /// be one that names a file tomorrow.
    fn only(&self, known: &[&str], refused: &[(&str, &str)]) -> Result<(), Because> {
        for (field, value) in self.map.into_iter().flatten() {
            if let Some((name, why)) = refused.iter().find(|(name, _)| name == field) {
                if value.is_null() {
                    continue;
                }
                return Err(Because::new(
                    "KubeconfigFieldRefused",
                    format!("{} has the field {name}, which is refused: {why}", self.what),
                ));
            }
            if !known.contains(&field.as_str()) {
                return Err(invalid(format!(
                    "{} has {}, which is no part of it",
                    self.what,
                    field_name(field)
                )));
            }
        }
        Ok(())
    }

    fn text(&self, name: &str) -> Result<Option<&'a str>, Because> {
        match self.get(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.as_str()).filter(|text| !text.is_empty())),
            Some(_) => Err(invalid(format!("{name} of {} is no text", self.what))),
        }
    }

    fn flag(&self, name: &str) -> Result<bool, Because> {
        match self.get(name) {
            None => Ok(false),
            Some(Value::Bool(flag)) => Ok(*flag),
            Some(_) => Err(invalid(format!("{name} of {} is neither true nor false", self.what))),
        }
    }

    /// The entries of a list of `{name, <kind>}`, by name.
    fn entries<T>(
        &self,
        list: &str,
        kind: &str,
        read: fn(&Fields<'_>) -> Result<T, Because>,
    ) -> Result<BTreeMap<String, T>, Because> {
        let items = match self.get(list) {
            None => &[][..],
            Some(Value::Array(items)) => items.as_slice(),
            Some(_) => return Err(invalid(format!("{list} is no list"))),
        };
        let mut entries = BTreeMap::new();
        for item in items {
            let entry = Fields::of(format!("an entry of {list}"), item)?;
            entry.only(&["name", kind], &[])?;
            let name = entry.text("name")?.ok_or_else(|| invalid(format!("{} has no name", entry.what)))?;
            let what = format!("the {kind} {} of the kubeconfig", shown(name));
            let value = read(&Fields::of(what, entry.get(kind).unwrap_or(&Value::Null))?)?;
            if entries.insert(name.to_owned(), value).is_some() {
                return Err(invalid(format!("it has two entries of {list} with the name {}", shown(name))));
            }
        }
        Ok(entries)
    }
}

fn invalid(message: impl std::fmt::Display) -> Because {
    Because::new("KubeconfigInvalid", format!("the kubeconfig cannot be used: {message}"))
}

/// A name of the tenant's own, quoted and short.
fn shown(name: &str) -> String {
    const LONGEST: usize = 64;
    let short: String = name.chars().take(LONGEST).collect();
    if short.len() == name.len() { format!("{name:?}") } else { format!("{short:?}…") }
}

/// A field's name, if it looks like one: what stands there by mistake may be a secret.
fn field_name(field: &str) -> String {
    let plain = |c: char| c.is_ascii_alphabetic() || c == '-';
    if field.len() <= 32 && field.chars().all(plain) {
        format!("a field {field:?}")
    } else {
        "a field".to_owned()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const SERVER: &str = "https://k.example.com:6443";

    fn sound() -> Value {
        json!({
            "apiVersion": "v1", "kind": "Config", "preferences": {}, "current-context": "here",
            "clusters": [{ "name": "c", "cluster": { "server": SERVER, "disable-compression": true } },
                         { "name": "other", "cluster": { "server": "https://other.example.com" } }],
            "users": [{ "name": "u", "user": { "token": "s3cr3t" } }, { "name": "nobody", "user": {} }],
            "contexts": [{ "name": "here", "context": { "cluster": "c", "user": "u", "namespace": "x" } },
                         { "name": "there", "context": { "cluster": "other", "user": "u" } },
                         { "name": "empty", "context": { "cluster": "c", "user": "nobody" } },
                         { "name": "dangling", "context": { "cluster": "c", "user": "who" } }],
        })
    }

    fn parse(value: &Value) -> Result<Kubeconfig, Because> {
        Kubeconfig::parse(value.to_string().as_bytes())
    }

    fn open(value: &Value, context: Option<&str>, insecure_tls: bool) -> Result<Credentials, Because> {
        let server = ApiUrl::parse(SERVER).unwrap();
        parse(value)?.credentials(Wanted { server: &server, context, insecure_tls })
    }

    #[track_caller]
    fn refused<T: std::fmt::Debug>(result: Result<T, Because>, reason: &str, said: &str) {
        let because = result.unwrap_err();
        assert_eq!(because.reason, reason, "{}", because.message);
        assert!(because.message.contains(said), "{}", because.message);
        assert!(!because.message.contains("s3cr3t"), "{}", because.message);
    }

    #[test]
    fn a_sound_one_opens_its_server_and_shows_no_secret() {
        let credentials = open(&sound(), None, false).unwrap();
        assert!(!format!("{credentials:?}").contains("s3cr3t"));
        assert_eq!(credentials.server().to_string(), SERVER);
        let kubeconfig = parse(&sound()).unwrap();
        assert!(!format!("{kubeconfig:?}").contains("s3cr3t"));
        // The same in YAML, with comments, as kubectl writes it.
        let text = "# mine\napiVersion: v1\nkind: Config\nclusters:\n- cluster:\n    server: https://k.example.com:6443\n  name: c\n\
                    contexts:\n- context:\n    cluster: c\n    user: u\n  name: x\ncurrent-context: x\npreferences: {}\nusers:\n\
                    - name: u\n  user:\n    token: s3cr3t\n";
        let server = ApiUrl::parse(SERVER).unwrap();
        let wanted = Wanted { server: &server, context: None, insecure_tls: false };
        assert!(Kubeconfig::parse(text.as_bytes()).unwrap().credentials(wanted).is_ok());
    }

    #[test]
    fn a_hostile_field_is_refused_by_name_wherever_it_stands() {
        for (list, kind, table) in
            [("clusters", "cluster", REFUSED_IN_CLUSTER), ("users", "user", REFUSED_IN_USER)]
        {
            for (field, _) in table {
                // In the entry that is used, and in one that is not.
                for entry in [0, 1] {
                    for value in [json!("/etc/x"), json!({ "command": "sh" }), json!(["x"]), json!("")] {
                        let mut hostile = sound();
                        hostile[list][entry][kind][*field] = value;
                        let name = hostile[list][entry]["name"].as_str().unwrap().to_owned();
                        let said = format!("the {kind} {name:?} of the kubeconfig has the field {field},");
                        refused(parse(&hostile), "KubeconfigFieldRefused", &said);
                    }
                }
            }
        }
        let mut unknown = sound();
        unknown["users"][0]["user"]["tokenfile"] = json!("x");
        refused(parse(&unknown), "KubeconfigInvalid", "\"tokenfile\"");
        let mut unknown = sound();
        unknown["users"][0]["user"]["s3cr3t"] = json!("x");
        refused(parse(&unknown), "KubeconfigInvalid", "a field, which is no part");
    }

    #[test]
    fn what_is_no_plain_yaml_is_refused_without_being_quoted() {
        let nested = "[".repeat(100_000);
        let long = "x".repeat(LARGEST + 1);
        for bad in [
            "s3cr3t: [",
            "a: &s3cr3t {b: c}\nclusters: *s3cr3t",
            "a: &a [x]\nb: &b [*a,*a]\nc: [*b,*b]",
            "kind: Config\nkind: Config",
            "kind: Config\n---\nkind: Config",
            "clusters: [{<<: {name: x}}]",
            "s3cr3t",
            "- s3cr3t",
            "clusters: s3cr3t",
            "clusters: [s3cr3t]",
            "clusters: [{cluster: {}}]",
            "users: [{name: u, user: {token: [s3cr3t]}}]",
            "users: [{name: u, user: {token: 12}}]",
            "kind: Secret",
            "apiVersion: v2",
            "clusters: !!binary s3cr3t",
            &nested,
            &long,
        ] {
            refused(Kubeconfig::parse(bad.as_bytes()), "KubeconfigInvalid", "the kubeconfig cannot be used");
        }
        refused(Kubeconfig::parse(&[0xff, 0xfe]), "KubeconfigInvalid", "UTF-8");
    }

    #[test]
    fn names_are_unique() {
        for list in ["clusters", "users", "contexts"] {
            let mut twice = sound();
            let first = twice[list][0].clone();
            twice[list].as_array_mut().unwrap().push(first);
            refused(parse(&twice), "KubeconfigInvalid", list);
        }
    }

    #[test]
    fn the_named_context_counts_else_the_current_one() {
        refused(open(&sound(), Some("there"), false), "ServerMismatch", "\"there\"");
        refused(open(&sound(), Some("nowhere"), false), "ContextNotFound", "\"nowhere\"");
        refused(open(&sound(), Some("dangling"), false), "ContextNotFound", "no user");
        let mut value = sound();
        value["current-context"] = json!("there");
        refused(open(&value, None, false), "ServerMismatch", "\"there\"");
        assert!(open(&value, Some("here"), false).is_ok());
        value["current-context"] = json!("");
        refused(open(&value, None, false), "ContextNotFound", "spec.contextName");
    }

    #[test]
    fn a_user_has_one_kind_of_credentials() {
        refused(open(&sound(), Some("empty"), false), "CredentialsMissing", "neither");
        let mut value = sound();
        value["users"][0]["user"] = json!({ "client-key-data": "s3cr3t" });
        refused(open(&value, None, false), "CredentialsMissing", "only one");
        value["users"][0]["user"] = json!({ "token": "s3cr3t", "client-key-data": "s3cr3t" });
        refused(open(&value, None, false), "CredentialsInvalid", "keep one");
        value["users"][0]["user"] = json!({ "token": "s3cr3t\nx" });
        refused(open(&value, None, false), "CredentialsInvalid", "token");
        value["users"][0]["user"] =
            json!({ "client-certificate-data": "s3cr3t!", "client-key-data": "s3cr3t" });
        refused(open(&value, None, false), "CredentialsInvalid", "base64");
    }

    #[test]
    fn an_unchecked_certificate_must_be_allowed() {
        for entry in [0, 1] {
            let mut value = sound();
            value["clusters"][entry]["cluster"]["insecure-skip-tls-verify"] = json!(true);
            refused(open(&value, None, false), "InsecureTLSRefused", "insecure-skip-tls-verify");
            assert!(open(&value, None, true).is_ok());
        }
        let mut value = sound();
        value["clusters"][0]["cluster"]["insecure-skip-tls-verify"] = json!("true");
        refused(open(&value, None, true), "KubeconfigInvalid", "neither true nor false");
    }
}
