//! The people of the environment: an administrator, two tenants, and one who is nobody's tenant.

use std::fs::{self, File};
use std::io::Read as _;

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use crate::kubeconfig::Endpoint;
use crate::paths::Paths;
use crate::private_file;
use crate::process::hex;

/// The administrator. kcp's own admin.kubeconfig has another token after each start of kcp (v0.31.2), which would make
/// every kubeconfig in a person's or a test's hands useless; the one in our token file stays.
const ADMIN: &str = "kcp-admin";

struct User {
    name: &'static str,
    group: Option<&'static str>,
    /// The workspace that the demo makes for this user.
    workspace: Option<&'static str>,
}

const USERS: [User; 3] = [
    User { name: "alice", group: Some("tenants"), workspace: Some("acme") },
    User { name: "bob", group: Some("tenants"), workspace: Some("globex") },
    User { name: "mallory", group: None, workspace: None },
];

/// Makes the tokens that kcp will know its users by, once.
pub(crate) fn ensure_tokens(paths: &Paths) -> Result<()> {
    let present = fs::read_to_string(paths.kcp_tokens()).unwrap_or_default();
    if token(&present, ADMIN).is_some() && USERS.iter().all(|user| token(&present, user.name).is_some()) {
        return Ok(());
    }
    let mut text = format!("{},{ADMIN},{ADMIN},\"system:kcp:admin\"\n", random_token()?);
    for User { name, group, .. } in USERS {
        let groups = group.map(|group| format!(",\"{group}\"")).unwrap_or_default();
        text.push_str(&format!("{},{name},{name}{groups}\n", random_token()?));
    }
    private_file::write(&paths.kcp_tokens(), text.as_bytes())
}

/// The administrator's credentials at the kcp that we run.
pub(crate) fn admin_credentials(paths: &Paths) -> Result<Value> {
    credentials(paths, ADMIN)
}

/// Writes the administrator's kubeconfig.
pub(crate) fn write_admin(paths: &Paths, endpoint: &Endpoint, credentials: &Value) -> Result<()> {
    let contexts = [("root", "root"), ("annex", "root:annex")];
    private_file::write(&paths.kcp_kubeconfig(), &endpoint.kubeconfig("admin", credentials, &contexts)?)?;
    match endpoint.authority()? {
        Some(authority) => private_file::write(&paths.kcp_ca(), &authority),
        None => Ok(()),
    }
}

/// Writes the users' kubeconfigs. `impersonator`: the administrator of a kcp that does not know our tokens.
pub(crate) fn write_users(paths: &Paths, endpoint: &Endpoint, impersonator: Option<&Value>) -> Result<()> {
    for user in USERS {
        let credentials = match impersonator {
            Some(admin) => impersonation(admin, &user),
            None => credentials(paths, user.name)?,
        };
        let path = user.workspace.map(|name| (name, format!("root:{name}")));
        let contexts: Vec<(&str, &str)> = [("root", "root")]
            .into_iter()
            .chain(path.as_ref().map(|(name, path)| (*name, path.as_str())))
            .collect();
        let text = endpoint.kubeconfig(user.name, &credentials, &contexts)?;
        private_file::write(&paths.user_kubeconfig(user.name), &text)?;
    }
    Ok(())
}

fn impersonation(admin: &Value, user: &User) -> Value {
    let mut credentials = admin.as_object().cloned().unwrap_or_default();
    let groups: Vec<&str> = user.group.into_iter().chain(["system:authenticated"]).collect();
    credentials.insert("as".to_owned(), user.name.into());
    credentials.insert("as-groups".to_owned(), groups.into());
    Value::Object(credentials)
}

fn credentials(paths: &Paths, name: &str) -> Result<Value> {
    let path = paths.kcp_tokens();
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let token = token(&text, name).with_context(|| format!("{} has no token of {name}", path.display()))?;
    Ok(json!({"token": token}))
}

fn token<'a>(file: &'a str, name: &str) -> Option<&'a str> {
    file.lines().find_map(|line| {
        let mut fields = line.split(',');
        let token = fields.next()?;
        (fields.next()? == name).then_some(token)
    })
}

fn random_token() -> Result<String> {
    let mut bytes = [0; 24];
    File::open("/dev/urandom")
        .and_then(|mut file| file.read_exact(&mut bytes))
        .context("cannot read /dev/urandom")?;
    Ok(hex(&bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sandbox::Sandbox;

    fn endpoint() -> Endpoint {
        Endpoint::from_view(&json!({"clusters": [{"cluster": {"server": "https://h"}}]})).unwrap().0
    }

    fn written(paths: &Paths, user: &str) -> Value {
        serde_json::from_slice(&fs::read(paths.user_kubeconfig(user)).unwrap()).unwrap()
    }

    #[test]
    fn tokens_stay_and_differ() {
        let sandbox = Sandbox::new("tokens");
        let paths = Paths::new(sandbox.path());
        ensure_tokens(&paths).unwrap();
        let first = fs::read_to_string(paths.kcp_tokens()).unwrap();
        ensure_tokens(&paths).unwrap();
        assert_eq!(first, fs::read_to_string(paths.kcp_tokens()).unwrap());
        assert_ne!(token(&first, "alice"), token(&first, "bob"));
        assert!(
            first.contains(",alice,alice,\"tenants\"\n") && first.contains(",mallory,mallory\n"),
            "{first}"
        );
    }

    #[test]
    fn users_get_contexts_of_their_own() {
        let sandbox = Sandbox::new("users");
        let paths = Paths::new(sandbox.path());
        ensure_tokens(&paths).unwrap();
        write_users(&paths, &endpoint(), None).unwrap();
        let alice = written(&paths, "alice");
        assert_eq!(alice.pointer("/contexts/1/name").unwrap(), "acme");
        assert_eq!(alice.pointer("/users/0/user").unwrap(), &credentials(&paths, "alice").unwrap());
        assert_eq!(written(&paths, "mallory").pointer("/contexts").unwrap().as_array().unwrap().len(), 1);
    }

    #[test]
    fn elsewhere_they_are_impersonated() {
        let sandbox = Sandbox::new("impersonated");
        let paths = Paths::new(sandbox.path());
        write_users(&paths, &endpoint(), Some(&json!({"token": "admin"}))).unwrap();
        let expected =
            json!({"token": "admin", "as": "bob", "as-groups": ["tenants", "system:authenticated"]});
        assert_eq!(written(&paths, "bob").pointer("/users/0/user").unwrap(), &expected);
    }
}
