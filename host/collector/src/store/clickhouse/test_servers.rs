//! Two servers for all tests of the store in a process, with a database for each test.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use nephometer_config::{ClickHouseSpec, KeepSpec};

#[path = "../../../../../tests/harness/clickhouse.rs"]
#[expect(dead_code, reason = "the tests of the program kill servers and start them again")]
mod server;
use server::ClickHouse;

/// URLs of two servers. They are children of a thread that lives as long as the process, and end with
/// it.
fn servers() -> &'static [ClickHouse; 2] {
    static SERVERS: OnceLock<[ClickHouse; 2]> = OnceLock::new();
    SERVERS.get_or_init(|| {
        let (sender, receiver) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let folders = [(), ()].map(|()| tempfile::tempdir().unwrap());
            let servers = folders.each_ref().map(|folder| ClickHouse::start(folder.path()));
            sender.send(servers).unwrap();
            loop {
                std::thread::park();
            }
        });
        receiver.recv().expect("both servers start")
    })
}

/// A new database on both servers.
pub(in crate::store) fn new_database() -> ClickHouseSpec {
    static NUMBER: AtomicUsize = AtomicUsize::new(0);
    ClickHouseSpec {
        servers: servers().iter().map(ClickHouse::url).collect(),
        database: format!("test_{}", NUMBER.fetch_add(1, Relaxed)),
        user: "default".into(),
        password: None,
        ca: None,
        timeout: Duration::from_secs(60),
    }
}

/// Whether a text can be queried in any column of text.
pub(in crate::store) fn has_text(keep: &KeepSpec, text: &str) -> bool {
    let database = &keep.clickhouse.as_ref().unwrap().database;
    [("revision", "metadata"), ("letter", "body")].iter().any(|(table, column)| {
        servers().iter().any(|server| {
            let sql = format!(
                "SELECT count() FROM {database}.{table} WHERE position({column}, '{text}') > 0"
            );
            server.query(&sql).unwrap().trim() != "0"
        })
    })
}
