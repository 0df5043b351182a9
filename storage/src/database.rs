//! A database: its connections, and how an operation is run on one.

use std::path::Path;
use std::time::Duration;

use sqlx::pool::{PoolConnection, PoolOptions};
use sqlx::postgres::PgConnectOptions;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous};
use sqlx::{ConnectOptions as _, Connection as _, Pool, Postgres, SqlStr, Sqlite};
use tokio::time::Instant;

use crate::address::Address;
use crate::backend::Backend;
use crate::failure::Failure;
use crate::operation::{Operation, Outcome};
use crate::options::StoreOptions;
use crate::schema::Schema;

/// How often an operation is done again, after failures that pass.
const ATTEMPTS: u32 = 5;
/// Before the second attempt; twice as long before each further one. A random part of it, so that two do not meet again.
const FIRST_PAUSE: Duration = Duration::from_millis(10);
/// How long a connection that nobody uses stays. Short: with a runner for each tenant there are many processes, and a server of
/// PostgreSQL has a hundred connections for all of them.
const IDLE: Duration = Duration::from_secs(60);
/// A connection that was idle for less is used without asking whether it is alive. If it is not, the operation is done again.
const FRESH: Duration = Duration::from_secs(1);

/// Either database.
pub(crate) enum Database {
    Sqlite(Pools<Sqlite>),
    Postgres(Pools<Postgres>),
}

/// The connections to a database.
pub(crate) struct Pools<DB: Backend> {
    readers: Pool<DB>,
    writers: Pool<DB>,
    schema: Schema,
}

impl Database {
    /// Opens no connection yet.
    pub(crate) fn new(address: Address, options: &StoreOptions) -> Self {
        match address {
            Address::Sqlite(file) => {
                let connect = sqlite(&file, options);
                let readers = pool(options, options.connections()).connect_lazy_with(connect.clone());
                // SQLite has one writer at a time, and those who wait by its own means are served by chance. Here they stand in line.
                let writers = pool(options, 1).connect_lazy_with(connect);
                Self::Sqlite(Pools { readers, writers, schema: Schema::new(Some(file)) })
            }
            Address::Postgres(connect) => {
                let connect = postgres(*connect, options);
                let readers = pool(options, options.connections()).connect_lazy_with(connect);
                let writers = readers.clone();
                Self::Postgres(Pools { readers, writers, schema: Schema::new(None) })
            }
        }
    }

    /// Does an operation, again if need be, until the deadline.
    pub(crate) async fn run<O: Operation>(
        &self,
        operation: &O,
        deadline: Instant,
    ) -> Result<O::Output, Failure> {
        match self {
            Self::Sqlite(pools) => pools.run(operation, deadline).await,
            Self::Postgres(pools) => pools.run(operation, deadline).await,
        }
    }

    /// Closes all connections, when what they are at has ended.
    pub(crate) async fn close(&self) {
        match self {
            Self::Sqlite(pools) => pools.close().await,
            Self::Postgres(pools) => pools.close().await,
        }
    }
}

impl<DB: Backend> Pools<DB> {
    async fn run<O: Operation>(&self, operation: &O, deadline: Instant) -> Result<O::Output, Failure> {
        let mut pause = FIRST_PAUSE;
        for _ in 1..ATTEMPTS {
            match self.attempt(operation, deadline).await {
                Err(failure) if failure.is_transient() => {
                    tracing::debug!(%failure, "an operation is tried again");
                }
                outcome => return outcome,
            }
            let part = rand::random_range(0.5..1.0);
            tokio::time::sleep(pause.mul_f64(part)).await;
            pause *= 2;
        }
        self.attempt(operation, deadline).await
    }

    async fn attempt<O: Operation>(&self, operation: &O, deadline: Instant) -> Result<O::Output, Failure> {
        let late = |_| Failure::Late;
        let mut connection = tokio::time::timeout_at(deadline, async {
            self.schema.ensure(&self.writers).await?;
            let pool = if O::WRITES { &self.writers } else { &self.readers };
            Ok::<_, Failure>(pool.acquire().await?)
        })
        .await
        .map_err(late)??;
        let outcome = tokio::time::timeout_at(deadline, once::<DB, O>(&mut connection, operation)).await;
        let outcome = outcome.map_err(late).flatten();
        if outcome.as_ref().is_err_and(|failure| !failure.leaves_connection_usable()) {
            DB::abandon(connection);
        }
        outcome
    }

    async fn close(&self) {
        self.readers.close().await;
        self.writers.close().await;
    }
}

async fn once<DB: Backend, O: Operation>(
    connection: &mut PoolConnection<DB>,
    operation: &O,
) -> Result<O::Output, Failure> {
    let connection: &mut DB::Connection = connection;
    if !O::WRITES {
        let (Outcome::Unchanged(output) | Outcome::Written(output)) = operation.run(connection).await?;
        return Ok(output);
    }
    let mut transaction = connection.begin_with(SqlStr::from_static(DB::BEGIN)).await?;
    match operation.run(&mut *transaction).await {
        Ok(Outcome::Written(output)) => {
            transaction.commit().await.map_err(Failure::of_commit)?;
            Ok(output)
        }
        Ok(Outcome::Unchanged(output)) => {
            transaction.rollback().await?;
            Ok(output)
        }
        // Now, not when the connection is used next: until then it has its locks.
        Err(failure) if failure.leaves_connection_usable() => {
            transaction.rollback().await?;
            Err(failure)
        }
        Err(failure) => Err(failure),
    }
}

fn pool<DB: Backend>(options: &StoreOptions, connections: u32) -> PoolOptions<DB> {
    PoolOptions::new()
        .max_connections(connections)
        .acquire_timeout(options.timeout)
        .idle_timeout(IDLE)
        .test_before_acquire(false)
        .before_acquire(|connection: &mut DB::Connection, about| {
            Box::pin(async move {
                if about.idle_for < FRESH {
                    return Ok(true);
                }
                // No error: that would be a warning for each connection after a restart of the database.
                Ok(connection.ping().await.is_ok())
            })
        })
}

fn sqlite(file: &Path, options: &StoreOptions) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(file)
        .journal_mode(SqliteJournalMode::Wal)
        // What was confirmed is there after a power cut.
        .synchronous(SqliteSynchronous::Full)
        // For other processes. Less than the whole time, so that the answer is SQLite's own.
        .busy_timeout(options.timeout / 2)
        .disable_statement_logging()
}

/// The server ends by itself what nobody waits for any longer, and with it the locks: a connection that was given up may look
/// alive to it for long.
fn postgres(connect: PgConnectOptions, options: &StoreOptions) -> PgConnectOptions {
    let limit = options.timeout.as_millis().max(1);
    connect
        .options([("statement_timeout", limit), ("idle_in_transaction_session_timeout", limit)])
        .disable_statement_logging()
}
