//! The statements, which are the same for both databases.

use async_trait::async_trait;
use sqlx::{PgConnection, SqliteConnection};

use crate::key_range::KeyRange;
use crate::owner::Owner;

/// A connection, with a transaction where an operation writes.
///
/// What decides (quota, comparison) is above this, once for both databases.
#[async_trait]
pub(crate) trait Session: Send {
    /// Asks for an answer, whatever it be.
    async fn answer(&mut self) -> sqlx::Result<()>;

    /// The value of a key.
    async fn value(&mut self, owner: &Owner, key: &str) -> sqlx::Result<Option<Vec<u8>>>;

    /// How long the value of a key is, without reading it.
    async fn value_length(&mut self, owner: &Owner, key: &str) -> sqlx::Result<Option<i64>>;

    /// Keys of a range, in the order of their bytes.
    async fn keys(&mut self, owner: &Owner, range: &KeyRange, limit: u32) -> sqlx::Result<Vec<Vec<u8>>>;

    /// What the owner has stored, in bytes.
    async fn usage(&mut self, owner: &Owner) -> sqlx::Result<Option<i64>>;

    /// The same, and nobody else writes anything of this owner until the transaction ends.
    async fn lock(&mut self, owner: &Owner) -> sqlx::Result<i64>;

    /// Notes what the owner has stored.
    async fn set_usage(&mut self, owner: &Owner, bytes: i64) -> sqlx::Result<()>;

    /// Forgets an owner who has stored nothing.
    async fn forget(&mut self, owner: &Owner) -> sqlx::Result<()>;

    /// Writes a value.
    async fn put(&mut self, owner: &Owner, key: &str, value: &[u8]) -> sqlx::Result<()>;

    /// Takes a key away; answers how long its value was.
    async fn remove(&mut self, owner: &Owner, key: &str) -> sqlx::Result<Option<i64>>;

    /// Takes some keys away; answers how long each was together with its value.
    async fn remove_some(&mut self, owner: &Owner, limit: u32) -> sqlx::Result<Vec<i64>>;
}

/// Implements [`Session`] for a connection.
///
/// A macro, because sqlx's types have nothing in common that one could name in a few lines. Both databases know `$1`, and
/// `length` counts the bytes of BLOB and BYTEA.
macro_rules! session {
    ($connection:ty) => {
        #[async_trait]
        impl Session for $connection {
            async fn answer(&mut self) -> sqlx::Result<()> {
                sqlx::Connection::ping(self).await
            }

            async fn value(&mut self, owner: &Owner, key: &str) -> sqlx::Result<Option<Vec<u8>>> {
                sqlx::query_scalar(
                    "SELECT value FROM annex_kv WHERE tenant = $1 AND extension = $2 AND key = $3",
                )
                .bind(owner.tenant.as_str())
                .bind(owner.extension.as_str())
                .bind(key.as_bytes())
                .fetch_optional(self)
                .await
            }

            async fn value_length(&mut self, owner: &Owner, key: &str) -> sqlx::Result<Option<i64>> {
                sqlx::query_scalar(
                    "SELECT CAST(length(value) AS BIGINT) FROM annex_kv
                     WHERE tenant = $1 AND extension = $2 AND key = $3",
                )
                .bind(owner.tenant.as_str())
                .bind(owner.extension.as_str())
                .bind(key.as_bytes())
                .fetch_optional(self)
                .await
            }

            async fn keys(
                &mut self,
                owner: &Owner,
                range: &KeyRange,
                limit: u32,
            ) -> sqlx::Result<Vec<Vec<u8>>> {
                sqlx::query_scalar(
                    "SELECT key FROM annex_kv
                     WHERE tenant = $1 AND extension = $2 AND key >= $3 AND key < $4 ORDER BY key LIMIT $5",
                )
                .bind(owner.tenant.as_str())
                .bind(owner.extension.as_str())
                .bind(range.from.as_slice())
                .bind(range.before.as_slice())
                .bind(i64::from(limit))
                .fetch_all(self)
                .await
            }

            async fn usage(&mut self, owner: &Owner) -> sqlx::Result<Option<i64>> {
                sqlx::query_scalar("SELECT bytes FROM annex_kv_usage WHERE tenant = $1 AND extension = $2")
                    .bind(owner.tenant.as_str())
                    .bind(owner.extension.as_str())
                    .fetch_optional(self)
                    .await
            }

            // Writes the row even where it is there already: that locks it, and there is no moment in which it is not there.
            async fn lock(&mut self, owner: &Owner) -> sqlx::Result<i64> {
                sqlx::query_scalar(
                    "INSERT INTO annex_kv_usage (tenant, extension, bytes) VALUES ($1, $2, 0)
                     ON CONFLICT (tenant, extension) DO UPDATE SET bytes = annex_kv_usage.bytes
                     RETURNING bytes",
                )
                .bind(owner.tenant.as_str())
                .bind(owner.extension.as_str())
                .fetch_one(self)
                .await
            }

            async fn set_usage(&mut self, owner: &Owner, bytes: i64) -> sqlx::Result<()> {
                sqlx::query("UPDATE annex_kv_usage SET bytes = $3 WHERE tenant = $1 AND extension = $2")
                    .bind(owner.tenant.as_str())
                    .bind(owner.extension.as_str())
                    .bind(bytes)
                    .execute(self)
                    .await
                    .map(drop)
            }

            async fn forget(&mut self, owner: &Owner) -> sqlx::Result<()> {
                sqlx::query(
                    "DELETE FROM annex_kv_usage WHERE tenant = $1 AND extension = $2 AND bytes = 0",
                )
                .bind(owner.tenant.as_str())
                .bind(owner.extension.as_str())
                .execute(self)
                .await
                .map(drop)
            }

            async fn put(&mut self, owner: &Owner, key: &str, value: &[u8]) -> sqlx::Result<()> {
                sqlx::query(
                    "INSERT INTO annex_kv (tenant, extension, key, value) VALUES ($1, $2, $3, $4)
                     ON CONFLICT (tenant, extension, key) DO UPDATE SET value = excluded.value",
                )
                .bind(owner.tenant.as_str())
                .bind(owner.extension.as_str())
                .bind(key.as_bytes())
                .bind(value)
                .execute(self)
                .await
                .map(drop)
            }

            async fn remove(&mut self, owner: &Owner, key: &str) -> sqlx::Result<Option<i64>> {
                sqlx::query_scalar(
                    "DELETE FROM annex_kv WHERE tenant = $1 AND extension = $2 AND key = $3
                     RETURNING CAST(length(value) AS BIGINT)",
                )
                .bind(owner.tenant.as_str())
                .bind(owner.extension.as_str())
                .bind(key.as_bytes())
                .fetch_optional(self)
                .await
            }

            async fn remove_some(&mut self, owner: &Owner, limit: u32) -> sqlx::Result<Vec<i64>> {
                sqlx::query_scalar(
                    "DELETE FROM annex_kv WHERE tenant = $1 AND extension = $2 AND key IN (
                         SELECT key FROM annex_kv WHERE tenant = $1 AND extension = $2 ORDER BY key LIMIT $3
                     ) RETURNING CAST(length(key) + length(value) AS BIGINT)",
                )
                .bind(owner.tenant.as_str())
                .bind(owner.extension.as_str())
                .bind(i64::from(limit))
                .fetch_all(self)
                .await
            }
        }
    };
}

session!(PgConnection);
session!(SqliteConnection);
