//! In what the two databases differ.

use sqlx::migrate::Migrate;
use sqlx::pool::PoolConnection;
use sqlx::{Database, Postgres, Sqlite};

use crate::session::Session;

/// A database of sqlx's that values are kept in.
pub(crate) trait Backend: Database<Connection: Session + Migrate> {
    /// Begins a transaction that writes.
    const BEGIN: &'static str;

    /// Begins one that changes tables, and that keeps others out who would do so.
    const BEGIN_SCHEMA: &'static str;

    /// Its migrations: name and SQL, in the order in which they are made.
    const MIGRATIONS: &'static [(&'static str, &'static str)];

    /// Gives a connection away that did not answer in time, or that failed.
    fn abandon(connection: PoolConnection<Self>);
}

impl Backend for Postgres {
    // Reads see what is committed when they begin, and who waits for a lock sees afterwards what its holder has written. Said,
    // because the server's administrator may choose another default.
    const BEGIN: &'static str = "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE";
    // The library's own lock would end before the transaction. The number is `annex_kv` in ASCII.
    const BEGIN_SCHEMA: &'static str = "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE;
        SET LOCAL statement_timeout = '60s';
        SELECT pg_advisory_xact_lock(7020670251207453558)";
    const MIGRATIONS: &'static [(&'static str, &'static str)] =
        &[("kv", include_str!("../migrations/postgres/1_kv.sql"))];

    // Closes the socket without a word to the server. Returning it to the pool would wait for an answer, for as long as TCP
    // believes in the other end, and have its place in the pool meanwhile.
    fn abandon(connection: PoolConnection<Self>) {
        drop(connection.detach());
    }
}

impl Backend for Sqlite {
    // The lock of the only writer from the beginning: one that is asked for after reading may be refused without waiting.
    const BEGIN: &'static str = "BEGIN IMMEDIATE";
    const BEGIN_SCHEMA: &'static str = Self::BEGIN;
    const MIGRATIONS: &'static [(&'static str, &'static str)] =
        &[("kv", include_str!("../migrations/sqlite/1_kv.sql"))];

    // Back to the pool, where it keeps its place until its thread has ended what it is at and rolled it back. Without that,
    // each operation on a disk that hangs would leave another thread behind.
    fn abandon(connection: PoolConnection<Self>) {
        drop(connection);
    }
}
