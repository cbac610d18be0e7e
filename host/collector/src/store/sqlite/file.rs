//! A database file: its name, its schema with migrations, copies.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::backup::Backup;
use rusqlite::{Connection, OpenFlags, OptionalExtension as _};

use super::catalogue::Catalogue;
use crate::store::StoreError;
use crate::store::month::MonthName;
use crate::store::selection::TimeRange;

/// The month and the class of a file.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct FileKey {
    pub(crate) month: MonthName,
    pub(crate) class: String,
}

impl FileKey {
    /// Reads the name of a file, such as `2026-11.default.db`.
    pub(super) fn of_name(name: &str) -> Option<Self> {
        let (month, class) = name.strip_suffix(".db")?.split_once('.')?;
        let month = MonthName::read(month)?;
        Some(Self { month, class: class.to_owned() })
    }
}

impl fmt::Display for FileKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.db", self.month, self.class)
    }
}

/// A month file that is open for writing.
pub(super) struct MonthFile {
    pub(super) path: PathBuf,
    pub(super) connection: Connection,
    pub(super) range: TimeRange,
    /// Numbers of meters, resources and so on that were looked up.
    pub(super) catalogue: Catalogue,
    /// Changes when another process has written.
    version: i64,
    /// How often metadata were erased.
    erased: i64,
}

/// Schemas from the first on. A change is a new entry, which brings the one before to its form; the
/// number of entries is the number of the schema.
const MONTH_SCHEMAS: [&str; 5] = [
    include_str!("month.sql"),
    include_str!("month2.sql"),
    include_str!("month3.sql"),
    include_str!("month4.sql"),
    include_str!("month5.sql"),
];

/// Marks files of this program for `file` and others.
const APPLICATION: i64 = 0x4e70_6843;
/// How long a statement waits for another process, such as a backup.
const BUSY: Duration = Duration::from_secs(10);

impl MonthFile {
    /// Opens the file of a month, and creates it if it is missing.
    pub(super) fn open(folder: &Path, key: &FileKey) -> Result<Self, StoreError> {
        let path = folder.join(key.to_string());
        let connection = open_for_writing(&path, &MONTH_SCHEMAS)?;
        connection.set_prepared_statement_cache_capacity(64);
        let range = key.month.range();
        Ok(Self { path, connection, range, catalogue: Catalogue::default(), version: 0, erased: 0 })
    }

    /// Forgets what another process may have changed.
    pub(super) fn refresh(&mut self) -> rusqlite::Result<()> {
        let version = self.connection.query_row("PRAGMA data_version", [], |row| row.get(0))?;
        if version == self.version {
            return Ok(());
        }
        let sql = "SELECT value FROM meta WHERE key = 'erased'";
        let erased = self.connection.prepare_cached(sql)?.query_row([], |row| row.get(0));
        let erased = erased.optional()?.unwrap_or(0);
        if erased == self.erased {
            self.catalogue.forget_marks();
        } else {
            self.catalogue.forget();
        }
        (self.version, self.erased) = (version, erased);
        Ok(())
    }
}

/// Whether the index of ids is missing, and how many samples there were then.
const PACKED: &str = "SELECT value FROM meta WHERE key = 'packed'";

impl MonthFile {
    /// Whether the file has no index of ids.
    pub(super) fn is_packed(&self) -> rusqlite::Result<bool> {
        self.connection.prepare_cached(PACKED)?.exists([])
    }

    /// Drops the index of ids, and notes how many samples a search has to read from now on.
    pub(super) fn drop_ids(&mut self) -> rusqlite::Result<()> {
        let transaction = self.connection.transaction()?;
        let sql = "INSERT INTO meta SELECT 'packed', count(*) FROM sample";
        transaction.execute(sql, [])?;
        transaction.execute("DROP INDEX sample_by_id", [])?;
        transaction.commit()
    }

    /// Makes the index of ids again, before samples are added or compared.
    pub(super) fn index_ids(&mut self) -> rusqlite::Result<()> {
        if !self.is_packed()? {
            return Ok(());
        }
        let transaction = self.connection.transaction()?;
        transaction.execute("CREATE UNIQUE INDEX sample_by_id ON sample (id)", [])?;
        transaction.execute("DELETE FROM meta WHERE key = 'packed'", [])?;
        transaction.commit()
    }
}

pub(super) fn engine(path: &Path, source: rusqlite::Error) -> StoreError {
    StoreError::Engine { path: path.to_owned(), source }
}

/// Opens a file for writing, and brings it to the latest schema.
pub(super) fn open_for_writing(path: &Path, schemas: &[&str]) -> Result<Connection, StoreError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
        | OpenFlags::SQLITE_OPEN_CREATE
        | OpenFlags::SQLITE_OPEN_NO_MUTEX
        | OpenFlags::SQLITE_OPEN_NOFOLLOW;
    let failed = |source| engine(path, source);
    let mut connection = Connection::open_with_flags(path, flags).map_err(failed)?;
    connection.busy_timeout(BUSY).map_err(failed)?;
    check_schema(path, &connection, schemas.len())?;
    // A sync for each commit: what is acknowledged is on disk.
    let settings = "PRAGMA page_size = 8192; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; \
                    PRAGMA cache_size = -65536; PRAGMA temp_store = MEMORY;";
    connection.execute_batch(settings).map_err(failed)?;
    migrate(&mut connection, schemas).map_err(failed)?;
    Ok(connection)
}

/// Opens a file for reading. `None` if another process is just making it: it has nothing yet.
pub(super) fn open_for_reading(
    path: &Path,
    schema: usize,
) -> Result<Option<Connection>, StoreError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY
        | OpenFlags::SQLITE_OPEN_NO_MUTEX
        | OpenFlags::SQLITE_OPEN_NOFOLLOW;
    let failed = |source| engine(path, source);
    let connection = Connection::open_with_flags(path, flags).map_err(failed)?;
    connection.busy_timeout(BUSY).map_err(failed)?;
    connection.set_prepared_statement_cache_capacity(64);
    match check_schema(path, &connection, schema)? {
        0 => Ok(None),
        found if found < schema => {
            Err(StoreError::Older { path: path.to_owned(), found, known: schema })
        }
        _ => Ok(Some(connection)),
    }
}

/// Opens a month file for reading.
pub(super) fn month_for_reading(path: &Path) -> Result<Option<Connection>, StoreError> {
    open_for_reading(path, MONTH_SCHEMAS.len())
}

fn check_schema(path: &Path, connection: &Connection, known: usize) -> Result<usize, StoreError> {
    let found = connection.query_row("PRAGMA user_version", [], |row| row.get::<_, i64>(0));
    let found = found.map_err(|source| engine(path, source))?;
    match usize::try_from(found) {
        Ok(found) if found <= known => Ok(found),
        _ => {
            let known = i64::try_from(known).unwrap_or(i64::MAX);
            Err(StoreError::Newer { path: path.to_owned(), found, known })
        }
    }
}

fn migrate(connection: &mut Connection, schemas: &[&str]) -> rusqlite::Result<()> {
    let transaction =
        connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
    let found = transaction.query_row("PRAGMA user_version", [], |row| row.get::<_, i64>(0))?;
    let found = usize::try_from(found).unwrap_or(0);
    for (at, schema) in schemas.iter().enumerate().skip(found) {
        transaction.execute_batch(schema)?;
        transaction.pragma_update(None, "user_version", at + 1)?;
        transaction.pragma_update(None, "application_id", APPLICATION)?;
    }
    transaction.commit()
}

/// Copies a database while others use it. Returns its size.
pub(super) fn copy(from: &Path, to: &Path) -> Result<u64, StoreError> {
    let source = Connection::open_with_flags(
        from,
        OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NOFOLLOW,
    );
    let source = source.map_err(|source| engine(from, source))?;
    let failed = |source| engine(to, source);
    let mut target = Connection::open(to).map_err(failed)?;
    let backup = Backup::new(&source, &mut target).map_err(failed)?;
    // All pages in one step: a copy in steps begins again whenever the collector commits.
    backup.run_to_completion(i32::MAX, Duration::from_millis(10), None).map_err(failed)?;
    drop(backup);
    target.execute_batch("PRAGMA journal_mode = DELETE").map_err(failed)?;
    drop(target);
    let opened = fs::File::open(to).and_then(|file| file.sync_all().map(|()| file));
    let length = opened.and_then(|file| file.metadata()).map(|found| found.len());
    length.map_err(|source| super::file_error("write", to, source))
}

/// Lets SQLite check all of a file.
pub(super) fn check_whole(path: &Path) -> Result<(), StoreError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NOFOLLOW;
    let checked = Connection::open_with_flags(path, flags).and_then(|connection| {
        connection.query_row("PRAGMA integrity_check(1)", [], |row| row.get::<_, String>(0))
    });
    match checked {
        Ok(answer) if answer == "ok" => Ok(()),
        Ok(what) => Err(StoreError::Damaged { path: path.to_owned(), what }),
        Err(source) => Err(engine(path, source)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::selection::from_micros;

    #[test]
    fn months_have_names_and_bounds() {
        let key = FileKey::of_name("2026-12.default.db").unwrap();
        assert_eq!(key.to_string(), "2026-12.default.db");
        let range = key.month.range();
        assert_eq!(from_micros(range.start).iso(), "2026-12-01T00:00:00");
        assert_eq!(from_micros(range.end).iso(), "2027-01-01T00:00:00");
        assert_eq!(MonthName::of(range.end - 1), key.month);
        for other in ["2026-13.default.db", "26-12.x.db", "ledger.db", "2026-12.db", "x"] {
            assert_eq!(FileKey::of_name(other), None, "{other}");
        }
    }

    #[test]
    fn a_newer_schema_is_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let key = FileKey::of_name("2026-11.default.db").unwrap();
        let file = MonthFile::open(folder.path(), &key).unwrap();
        file.connection.pragma_update(None, "user_version", 9).unwrap();
        drop(file);
        let error = MonthFile::open(folder.path(), &key).err().unwrap().to_string();
        assert!(
            error.contains("2026-11.default.db has schema 9, and this version knows"),
            "{error}"
        );
        assert!(month_for_reading(&folder.path().join(key.to_string())).is_err());
    }

    // Once, a query failed while the collector made the file of a month.
    #[test]
    fn a_file_that_is_just_being_made_has_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("2026-11.default.db");
        drop(Connection::open(&path).unwrap());
        fs::write(&path, "").unwrap();
        assert!(month_for_reading(&path).unwrap().is_none());
    }
}
