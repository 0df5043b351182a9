//! An empty database for one test.

use std::sync::Arc;
use std::time::Duration;

use annex_postgres_server::Server;
use annex_storage::{Store, StoreOptions};
use sqlx::postgres::PgConnectOptions;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _};
use tempfile::TempDir;

/// An empty database. It goes with this.
pub(crate) struct Place {
    pub(crate) url: String,
    kept: Kept,
}

enum Kept {
    Folder(#[expect(dead_code, reason = "it is removed when it is dropped")] TempDir),
    Server(#[expect(dead_code, reason = "it ends when the last is dropped")] Arc<Server>),
}

impl Place {
    pub(crate) fn sqlite() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}", folder.path().join("kv.db").display());
        Self { url, kept: Kept::Folder(folder) }
    }

    pub(crate) async fn postgres() -> Self {
        let server = Server::shared().await;
        Self { url: server.database().await, kept: Kept::Server(server) }
    }

    /// A store here. Each is as another process would be.
    pub(crate) fn store(&self, options: StoreOptions) -> Store {
        Store::open(&self.url, options).unwrap()
    }

    /// Does something to the database that the store does not do.
    pub(crate) async fn execute(&self, sql: &str) {
        let sql = AssertSqlSafe(sql.to_owned());
        match self.kept {
            Kept::Folder(_) => {
                let mut connection =
                    self.url.parse::<SqliteConnectOptions>().unwrap().connect().await.unwrap();
                sqlx::raw_sql(sql).execute(&mut connection).await.unwrap();
                connection.close().await.unwrap();
            }
            Kept::Server(_) => {
                let mut connection = self.url.parse::<PgConnectOptions>().unwrap().connect().await.unwrap();
                sqlx::raw_sql(sql).execute(&mut connection).await.unwrap();
                connection.close().await.unwrap();
            }
        }
    }

    /// Stores keys `000001` to `number` without values, faster than one by one.
    pub(crate) async fn fill(&self, tenant: &str, extension: &str, number: u32) {
        let key = match self.kept {
            Kept::Folder(_) => "CAST(printf('%06d', i) AS BLOB), x''",
            Kept::Server(_) => "convert_to(lpad(CAST(i AS TEXT), 6, '0'), 'UTF8'), ''",
        };
        let bytes = u64::from(number) * (6 + u64::from(annex_storage::ENTRY_BYTES));
        self.execute(&format!(
            "WITH RECURSIVE numbers (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM numbers WHERE i < {number})
             INSERT INTO annex_kv SELECT '{tenant}', '{extension}', {key} FROM numbers;
             INSERT INTO annex_kv_usage VALUES ('{tenant}', '{extension}', {bytes})"
        ))
        .await;
    }
}

/// With so much time that only a defect takes it, also where many tests share a small machine.
pub(crate) fn patient() -> StoreOptions {
    StoreOptions { timeout: Duration::from_secs(30), ..StoreOptions::default() }
}
