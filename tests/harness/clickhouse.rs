//! A real ClickHouse server on free loopback ports, for tests of the collector and of the store. Uses
//! only the standard library, so that both can include it.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long a server may take to start.
const START: Duration = Duration::from_secs(60);

/// A running server; it ends with this value.
pub(crate) struct ClickHouse {
    folder: PathBuf,
    ports: [u16; 3],
    process: Child,
}

impl ClickHouse {
    /// Starts a server with its files in a folder.
    ///
    /// # Panics
    /// If it is not installed, or does not start.
    pub(crate) fn start(folder: &Path) -> Self {
        let ports = [0; 3].map(|_| free_port());
        for name in ["data", "tmp", "formats"] {
            std::fs::create_dir_all(folder.join(name)).unwrap();
        }
        std::fs::write(folder.join("config.xml"), config(folder, ports)).unwrap();
        std::fs::write(folder.join("users.xml"), USERS).unwrap();
        let process = run(folder);
        let mut server = Self { folder: folder.to_owned(), ports, process };
        server.wait();
        server
    }

    /// The URL of its HTTP interface.
    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.ports[0])
    }

    /// Ends it as a crash does.
    pub(crate) fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    /// Starts it again with the same files and ports.
    pub(crate) fn restart(&mut self) {
        self.process = run(&self.folder);
        self.wait();
    }

    /// The answer to a query as text.
    pub(crate) fn query(&self, sql: &str) -> Result<String, String> {
        let failed = |error: std::io::Error| error.to_string();
        let mut stream = TcpStream::connect(("127.0.0.1", self.ports[0])).map_err(failed)?;
        stream.set_read_timeout(Some(START)).map_err(failed)?;
        write!(
            stream,
            "POST /?wait_end_of_query=1 HTTP/1.0\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n{sql}",
            sql.len()
        )
        .map_err(failed)?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).map_err(failed)?;
        let (head, body) = answer.split_once("\r\n\r\n").ok_or("no head")?;
        match head.contains(" 200 ") {
            true => Ok(body.to_owned()),
            false => Err(body.to_owned()),
        }
    }

    fn wait(&mut self) {
        let started = Instant::now();
        while self.query("SELECT 1").is_err() {
            let ended = self.process.try_wait().unwrap();
            let log = self.folder.join("log");
            assert!(ended.is_none(), "clickhouse-server has ended: {}", log.display());
            assert!(started.elapsed() < START, "clickhouse-server is silent: {}", log.display());
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for ClickHouse {
    fn drop(&mut self) {
        // It may have been killed before.
        _ = self.process.kill();
        _ = self.process.wait();
    }
}

fn run(folder: &Path) -> Child {
    let log = std::fs::File::create(folder.join("log")).unwrap();
    let config = format!("--config-file={}", folder.join("config.xml").display());
    // It must not outlive the tests, whatever ends them. Its parent is this thread.
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "clickhouse-server", &config]);
    command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
    command.current_dir(folder);
    // Debian has it where not every user looks.
    command.env("PATH", "/usr/local/bin:/usr/bin:/bin:/usr/sbin");
    command.spawn().unwrap_or_else(|error| {
        panic!("setpriv cannot be started: {error}; install it with: scripts/install test")
    })
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn config(folder: &Path, [http, tcp, interserver]: [u16; 3]) -> String {
    let folder = folder.display();
    format!(
        "<yandex><logger><level>error</level><log>{folder}/server.log</log>\
         <errorlog>{folder}/errors.log</errorlog></logger>\
         <http_port>{http}</http_port><tcp_port>{tcp}</tcp_port>\
         <interserver_http_port>{interserver}</interserver_http_port>\
         <listen_host>127.0.0.1</listen_host><path>{folder}/data/</path>\
         <tmp_path>{folder}/tmp/</tmp_path><format_schema_path>{folder}/formats/</format_schema_path>\
         <users_config>{folder}/users.xml</users_config><default_profile>default</default_profile>\
         <query_log><database>system</database><table>query_log</table>\
         <flush_interval_milliseconds>300</flush_interval_milliseconds></query_log>\
         <default_database>default</default_database><mark_cache_size>33554432</mark_cache_size>\
         </yandex>"
    )
}

const USERS: &str = "<yandex><profiles><default><max_memory_usage>1000000000</max_memory_usage>\
    <max_threads>2</max_threads><log_queries>1</log_queries></default></profiles><users><default><password></password>\
    <networks><ip>127.0.0.1</ip></networks><profile>default</profile><quota>default</quota></default>\
    </users><quotas><default/></quotas></yandex>";
