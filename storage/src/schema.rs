//! Makes the tables, or brings them up to date.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::{BoxFuture, Shared};
use parking_lot::Mutex;
use sqlx::migrate::{MigrateError, Migration, MigrationType, Migrator};
use sqlx::{Connection as _, Pool, SqlStr};
use tokio::fs::OpenOptions;

use crate::backend::Backend;
use crate::failure::Failure;

/// The name has to differ from the default: other programs may have tables in the same database.
const TABLE: &str = "annex_kv_migrations";
/// How long the tables may take to be made, in all: more than an operation, because another process may be at it, and because a
/// later version may have to rewrite something.
const LIMIT: Duration = Duration::from_secs(60);

type Outcome = Result<(), Arc<Failure>>;
type Attempt = Shared<BoxFuture<'static, Outcome>>;

/// Knows whether the tables are there. They are made when they are first needed, because a database may be away when the
/// process starts.
#[derive(Debug)]
pub(crate) struct Schema {
    file: Option<PathBuf>,
    attempt: Mutex<Option<Attempt>>,
}

impl Schema {
    /// The schema of a database that is a file, or of one that is not.
    pub(crate) fn new(file: Option<PathBuf>) -> Self {
        Self { file, attempt: Mutex::default() }
    }

    /// Waits until the tables are as this version needs them. Who comes meanwhile waits for the same attempt; whether
    /// anybody still waits makes no difference to it. After one that failed there is another.
    pub(crate) async fn ensure<DB: Backend>(&self, pool: &Pool<DB>) -> Outcome {
        self.attempt(pool).await
    }

    fn attempt<DB: Backend>(&self, pool: &Pool<DB>) -> Attempt {
        let mut current = self.attempt.lock();
        match &*current {
            Some(attempt) if !matches!(attempt.peek(), Some(Err(_))) => attempt.clone(),
            _ => {
                let task =
                    tokio::spawn(tokio::time::timeout(LIMIT, migrate(self.file.clone(), pool.clone())));
                let attempt = task.map(|ended| match ended {
                    Ok(Ok(outcome)) => outcome.map_err(Arc::new),
                    Ok(Err(_)) => Err(Arc::new(Failure::Late)),
                    // The runtime ends, and everything with it.
                    Err(_) => Err(Arc::new(Failure::Stopped)),
                });
                current.insert(attempt.boxed().shared()).clone()
            }
        }
    }
}

async fn migrate<DB: Backend>(file: Option<PathBuf>, pool: Pool<DB>) -> Result<(), Failure> {
    if let Some(file) = file {
        ensure_private(&file).await.map_err(|error| Failure::File(file, error))?;
    }
    let mut connection = pool.acquire().await.map_err(Failure::Database)?;
    let outcome = change::<DB>(&mut connection).await;
    if outcome.is_err() {
        // It may be in the middle of anything, and have the lock.
        DB::abandon(connection);
    }
    outcome.map_err(Failure::Schema)
}

async fn change<DB: Backend>(connection: &mut DB::Connection) -> Result<(), MigrateError> {
    let mut transaction = connection.begin_with(SqlStr::from_static(DB::BEGIN_SCHEMA)).await?;
    // Not `run`, whose bounds no task meets that can change its thread.
    migrator::<DB>().run_direct(None, &mut *transaction, false).await?;
    Ok(transaction.commit().await?)
}

fn migrator<DB: Backend>() -> Migrator {
    let migrations = (1..).zip(DB::MIGRATIONS).map(|(version, &(name, sql))| {
        let sql = SqlStr::from_static(sql);
        Migration::new(version, name.into(), MigrationType::Simple, sql, false)
    });
    let mut migrator = Migrator::with_migrations(migrations.collect());
    migrator.dangerous_set_table_name(TABLE);
    // The transaction around it keeps others out.
    migrator.set_locking(false);
    // While a new version is rolled out, the former one still runs. So a migration adds, and never takes away what the version
    // before it needs.
    migrator.set_ignore_missing(true);
    migrator
}

/// Makes the file, for its owner only: SQLite would make it for everybody to read, and gives the files beside it the same mode.
async fn ensure_private(file: &Path) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.append(true).create(true).mode(0o600).open(file).await.map(drop)
}
