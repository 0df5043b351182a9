use std::{fmt::Debug, time::Duration};

use anyhow::{Context as _, anyhow};
use kube::{Api, Resource, runtime::wait::await_condition};
use serde::de::DeserializeOwned;

/// How long a test waits for what should come in seconds: long, because two cores may be busy with a build, and what takes half a minute
/// then takes four times as long.
pub const PATIENCE: Duration = Duration::from_secs(180);

/// Returns the object once it satisfies `condition`, as a watch shows it. A kind that is not served yet is waited for, too.
///
/// # Errors
/// It did not within [`PATIENCE`]; the error shows the object as it is.
pub async fn when<K>(
    api: &Api<K>,
    name: &str,
    what: &str,
    condition: impl Fn(&K) -> bool + Send,
) -> anyhow::Result<K>
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + 'static,
{
    let satisfied = |object: Option<&K>| object.is_some_and(&condition);
    let watching = async {
        let mut pause = tokio::time::interval(Duration::from_millis(200));
        loop {
            pause.tick().await;
            if let Ok(object) = await_condition(api.clone(), name, &satisfied).await {
                return object;
            }
        }
    };
    match tokio::time::timeout(PATIENCE, watching).await {
        Ok(object) => object.ok_or_else(|| anyhow!("{name}: {what}: gone")),
        Err(_) => {
            let now = api.get_opt(name).await;
            Err(anyhow!("{name}: not within {} s: {what}; it is {now:?}", PATIENCE.as_secs()))
        }
    }
}

/// Asks again and again, with a short pause, until the answer is `Some`: for what cannot be watched, such as another process's
/// HTTP answer.
///
/// # Errors
/// It was not within [`PATIENCE`], or asking failed for good.
pub async fn until<T, F>(what: &str, mut ask: impl FnMut() -> F) -> anyhow::Result<T>
where
    F: Future<Output = anyhow::Result<Option<T>>>,
{
    let asking = async {
        let mut pause = tokio::time::interval(Duration::from_millis(100));
        loop {
            pause.tick().await;
            if let Some(answer) = ask().await? {
                return Ok(answer);
            }
        }
    };
    tokio::time::timeout(PATIENCE, asking)
        .await
        .with_context(|| format!("not within {} s: {what}", PATIENCE.as_secs()))?
}
