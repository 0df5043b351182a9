//! Where a database is.

use std::borrow::Cow;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use sqlx::ConnectOptions as _;
use sqlx::postgres::PgConnectOptions;
use sqlx::sqlite::SqliteConnectOptions;
use url::Url;

/// Where a database is. No part of it is for showing: there may be a password in it.
pub(crate) enum Address {
    Sqlite(PathBuf),
    Postgres(Box<PgConnectOptions>),
}

/// Why a URL is no address of a database. The text never has the URL, which may have a password in it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// Neither of the schemes.
    #[error("the database's URL has to begin with sqlite:// or postgres://")]
    Scheme,
    /// A file of SQLite that is no absolute path, or more than a path.
    #[error(
        "the database's URL has to be sqlite:// and the absolute path of a file, as in sqlite:///var/lib/annex/kv.db"
    )]
    Path,
    /// What cannot be read as a URL of PostgreSQL.
    #[error(
        "the database's URL has to be as postgres://user:password@host:5432/database?sslmode=verify-full: {0}"
    )]
    Url(String),
    /// A part of the URL that has no such value.
    #[error(
        "a part of the database's URL, or a setting in it such as sslmode, has a value that there is not"
    )]
    Value,
    /// A setting that PostgreSQL's URLs do not have. It is not passed over: it may be a misspelt `sslmode`.
    #[error("the database's URL has an unknown setting, its {0}. of them; known are {known}", known = SETTINGS.join(", "))]
    Setting(usize),
}

/// What libpq calls them. `options` is not among them: the store has its own.
const SETTINGS: [&str; 12] = [
    "application_name",
    "dbname",
    "host",
    "hostaddr",
    "password",
    "port",
    "sslcert",
    "sslkey",
    "sslmode",
    "sslrootcert",
    "statement-cache-capacity",
    "user",
];

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(url: &str) -> Result<Self, AddressError> {
        if let Some(path) = url.strip_prefix("sqlite://") {
            return sqlite(path, url);
        }
        if url.starts_with("postgres://") || url.starts_with("postgresql://") {
            return postgres(url);
        }
        Err(AddressError::Scheme)
    }
}

fn sqlite(path: &str, url: &str) -> Result<Address, AddressError> {
    // With a setting, one could make it a database that is in memory, of which each connection has its own.
    if path.contains(['?', '#']) || !path.starts_with('/') || path.ends_with('/') {
        return Err(AddressError::Path);
    }
    let options = SqliteConnectOptions::from_str(url).map_err(|_| AddressError::Path)?;
    let path: &Path = options.get_filename();
    Ok(Address::Sqlite(path.to_owned()))
}

fn postgres(url: &str) -> Result<Address, AddressError> {
    let url = Url::parse(url).map_err(|error| AddressError::Url(error.to_string()))?;
    let unknown = |(_, (name, _)): &(usize, (Cow<'_, str>, _))| !SETTINGS.contains(&&**name);
    // By its number: what is not understood may be a piece of a password.
    if let Some((number, _)) = (1..).zip(url.query_pairs()).find(unknown) {
        return Err(AddressError::Setting(number));
    }
    // Its errors quote values.
    let options = PgConnectOptions::from_url(&url).map_err(|_| AddressError::Value)?;
    Ok(Address::Postgres(Box::new(options)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(url: &str) -> AddressError {
        match url.parse::<Address>() {
            Ok(_) => panic!("{url} is taken"),
            Err(error) => error,
        }
    }

    fn file(url: &str) -> PathBuf {
        match url.parse().unwrap() {
            Address::Sqlite(path) => path,
            Address::Postgres(_) => panic!("{url} is PostgreSQL"),
        }
    }

    fn server(url: &str) -> PgConnectOptions {
        match url.parse().unwrap() {
            Address::Sqlite(path) => panic!("{} is SQLite", path.display()),
            Address::Postgres(options) => *options,
        }
    }

    #[test]
    fn a_file_is_an_absolute_path() {
        assert_eq!(file("sqlite:///var/lib/kv.db"), Path::new("/var/lib/kv.db"));
        assert_eq!(file("sqlite:///a%20b%3f"), Path::new("/a b?"));
        for url in
            ["sqlite://kv.db", "sqlite://", "sqlite://:memory:", "sqlite:///a?mode=memory", "sqlite:///a/"]
        {
            assert_eq!(refused(url), AddressError::Path, "{url}");
        }
    }

    #[test]
    fn a_server_is_a_url() {
        let options = server("postgres://user:p%40ss@db.example.com:5433/annex?sslmode=verify-full");
        assert_eq!(options.get_host(), "db.example.com");
        assert_eq!(options.get_port(), 5433);
        assert_eq!(options.get_username(), "user");
        assert_eq!(options.get_database(), Some("annex"));
        let options = server("postgresql://user@localhost/annex?host=/run/postgresql");
        assert_eq!(options.get_socket(), Some(&PathBuf::from("/run/postgresql")));
    }

    #[test]
    fn a_misspelt_setting_is_not_passed_over() {
        assert_eq!(refused("postgres://host/db?user=a&sslmod=verify-full"), AddressError::Setting(2));
        assert_eq!(refused("postgres://host/db?options=-c%20x"), AddressError::Setting(1));
    }

    #[test]
    fn no_error_shows_a_password() {
        let secret = "hunter2";
        for url in [
            "hunter2",
            "mysql://user:hunter2@host/db",
            "sqlite://user:hunter2@host",
            "postgres://user:hunter2@host:port/db",
            "postgres://user:hunter2@:5432:1/db",
            "postgres://user:hunter2@[::1/db",
            "postgres://user:hunter2/x@host/db",
            "postgres://user:hunter2@host/db?sslmode=wrong",
            "postgres://user:a?hunter2@host/db",
            "postgres://user:a?hunter2=@host/db",
            "postgres://user@host/db?pasword=hunter2",
            "postgres://user:%ff%fehunter2@host/db",
        ] {
            let error = refused(url);
            assert!(!format!("{error} {error:?}").contains(secret), "{error}");
        }
    }
}
