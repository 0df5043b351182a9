use annex_apis::{ExecutionQuota, Install, InstallSpec, QUOTA_NAME};
use anyhow::Context as _;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{
    Api, Client,
    api::{DeleteParams, Patch, PatchParams, PostParams},
};
use kube_kcp::{
    ClusterName, Connection,
    kinds::{LogicalClusterPhase, Workspace as WorkspaceObject, WorkspaceSpec, WorkspaceTypeReference},
};
use serde_json::{Value, json};

use crate::{until, when};

/// A kcp, as one user sees it.
#[derive(Clone, Debug)]
pub struct Tenancy {
    connection: Connection,
    server: String,
}

/// A workspace, as one user sees it.
#[derive(Clone)]
pub struct Workspace {
    /// Its path, such as `root:acme`.
    pub path: String,
    /// Its logical cluster.
    pub cluster: ClusterName,
    /// A client of it.
    pub client: Client,
}

impl Tenancy {
    pub(crate) fn new(connection: Connection, server: String) -> Self {
        Self { connection, server }
    }

    /// A client of the workspace at `path`, or of a logical cluster by its name.
    ///
    /// # Errors
    /// The path makes no URL.
    pub fn at(&self, path: &str) -> anyhow::Result<Client> {
        Ok(self.connection.client(format!("{}/clusters/{path}", self.server).parse()?))
    }

    /// A client of any URL, such as a virtual workspace's.
    ///
    /// # Errors
    /// It is no URL.
    pub fn client_at(&self, url: &str) -> anyhow::Result<Client> {
        Ok(self.connection.client(url.parse()?))
    }

    /// Asks for a workspace `root:<name>` without waiting for it.
    ///
    /// # Errors
    /// kcp refuses.
    pub async fn order(&self, name: &str, type_path: &str, type_name: &str) -> anyhow::Result<()> {
        let type_ = WorkspaceTypeReference { name: type_name.to_owned(), path: Some(type_path.to_owned()) };
        let spec = WorkspaceSpec { type_: Some(type_), ..WorkspaceSpec::default() };
        let workspaces: Api<WorkspaceObject> = Api::all(self.at("root")?);
        workspaces.create(&PostParams::default(), &WorkspaceObject::new(name, spec)).await?;
        Ok(())
    }

    /// The workspace `root:<name>`, once it is Ready.
    ///
    /// # Errors
    /// It does not become Ready.
    pub async fn ready(&self, name: &str) -> anyhow::Result<Workspace> {
        let workspaces: Api<WorkspaceObject> = Api::all(self.at("root")?);
        let is_ready = |workspace: &WorkspaceObject| {
            workspace.status.as_ref().and_then(|status| status.phase) == Some(LogicalClusterPhase::Ready)
        };
        let object = when(&workspaces, name, "the workspace is Ready", is_ready).await?;
        let cluster = object.spec.cluster.context("a Ready workspace has a cluster")?.parse()?;
        let path = format!("root:{name}");
        Ok(Workspace { client: self.at(&path)?, path, cluster })
    }

    /// A new workspace of type `annex-tenant`, Ready.
    ///
    /// # Errors
    /// kcp refuses, or it does not become Ready.
    pub async fn tenant(&self, name: &str) -> anyhow::Result<Workspace> {
        self.order(name, "root:annex", "annex-tenant").await?;
        self.ready(name).await
    }

    /// Asks for the deletion of `root:<name>`.
    ///
    /// # Errors
    /// kcp refuses.
    pub async fn delete(&self, name: &str) -> anyhow::Result<()> {
        let workspaces: Api<WorkspaceObject> = Api::all(self.at("root")?);
        workspaces.delete(name, &DeleteParams::default()).await?;
        Ok(())
    }

    /// Deletes `root:<name>`, and returns once it is gone.
    ///
    /// # Errors
    /// kcp refuses, or it does not go.
    pub async fn remove(&self, name: &str) -> anyhow::Result<()> {
        self.delete(name).await?;
        let workspaces: Api<WorkspaceObject> = Api::all(self.at("root")?);
        until(&format!("the workspace {name} is gone"), || async {
            Ok(workspaces.get_opt(name).await?.is_none().then_some(()))
        })
        .await
    }

    /// Removes `root:<name>` if another test has left it: a name that people read in the guide can be used by several tests.
    ///
    /// # Errors
    /// Like [`Tenancy::remove`].
    pub async fn without(&self, name: &str) -> anyhow::Result<()> {
        let workspaces: Api<WorkspaceObject> = Api::all(self.at("root")?);
        if workspaces.get_opt(name).await?.is_some() { self.remove(name).await } else { Ok(()) }
    }
}

impl Workspace {
    /// The Installs in the namespace `default`.
    #[must_use]
    pub fn installs(&self) -> Api<Install> {
        Api::namespaced(self.client.clone(), "default")
    }

    /// Creates an Install of `extension`, with more fields of the spec from `more`.
    ///
    /// # Errors
    /// kcp refuses, or `more` is no part of a spec.
    pub async fn install(&self, name: &str, extension: &str, more: Value) -> anyhow::Result<Install> {
        let mut spec = json!({ "extension": extension });
        if let (Some(spec), Value::Object(more)) = (spec.as_object_mut(), more) {
            spec.extend(more);
        }
        let install = Install::new(name, serde_json::from_value::<InstallSpec>(spec)?);
        Ok(self.installs().create(&PostParams::default(), &install).await?)
    }

    /// Changes fields of an Install's spec.
    ///
    /// # Errors
    /// kcp refuses.
    pub async fn change(&self, name: &str, spec: Value) -> anyhow::Result<Install> {
        let patch = Patch::Merge(json!({ "spec": spec }));
        Ok(self.installs().patch(name, &PatchParams::default(), &patch).await?)
    }

    /// The Install once it is Ready for the generation that it has now.
    ///
    /// # Errors
    /// It does not become Ready.
    pub async fn installed(&self, name: &str) -> anyhow::Result<Install> {
        self.install_with(name, "Ready", "True", "Ready").await
    }

    /// Returns once the controller has heard from the Tenant that the workspace may have so many Installs: of Installs it hears by another
    /// watch.
    ///
    /// # Errors
    /// It does not say so.
    pub async fn may_have(&self, installs: i32) -> anyhow::Result<()> {
        let quotas: Api<ExecutionQuota> = Api::all(self.client.clone());
        let is_it = |quota: &ExecutionQuota| quota.spec.limits.installs == Some(installs);
        when(&quotas, QUOTA_NAME, "the controller knows the quota", is_it).await.map(drop)
    }

    /// Returns once there is no Install named so.
    ///
    /// # Errors
    /// It does not go.
    pub async fn gone(&self, name: &str) -> anyhow::Result<()> {
        let installs = self.installs();
        until(&format!("the Install {name} is gone"), || async {
            Ok(installs.get_opt(name).await?.is_none().then_some(()))
        })
        .await
    }

    /// The Install once it is not Ready for this reason.
    ///
    /// # Errors
    /// It does not come to that.
    pub async fn refused(&self, name: &str, reason: &str) -> anyhow::Result<Install> {
        self.install_with(name, "Ready", "False", reason).await
    }

    /// The Install once a condition says this of the generation that it has now.
    ///
    /// # Errors
    /// It does not come to that.
    pub async fn install_with(
        &self,
        name: &str,
        type_: &str,
        status: &str,
        reason: &str,
    ) -> anyhow::Result<Install> {
        let says = |install: &Install| {
            condition(install, type_).is_some_and(|condition| {
                condition.status == status
                    && condition.reason == reason
                    && condition.observed_generation == install.metadata.generation
            })
        };
        when(&self.installs(), name, &format!("{type_}={status} {reason}"), says).await
    }
}

/// One condition of an Install.
#[must_use]
pub fn condition<'a>(install: &'a Install, type_: &str) -> Option<&'a Condition> {
    install.status.as_ref()?.conditions.iter().find(|condition| condition.type_ == type_)
}
