//! The last known servers in a file, so that a Nova that is away when the agent starts costs nothing
//! that was known before.

use std::collections::HashMap;
use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use uuid::Uuid;

use nephometer_model::{Bound, Server};
use nephometer_telemetry::events::openstack as events;

/// The servers of this host, by their ids.
pub(crate) type Servers = HashMap<Uuid, Arc<Server>>;

/// The name of the file in the folder of the store.
const NAME: &str = "nova-servers.json";

/// The file with the last known servers.
#[derive(Debug, Clone)]
pub(crate) struct ServerFile {
    path: PathBuf,
}

impl ServerFile {
    /// The file in this folder.
    pub(crate) fn new(folder: &Path) -> Self {
        Self { path: folder.join(NAME) }
    }

    /// The servers of the file; none if there is no file, or if it cannot be used, which is logged.
    pub(crate) fn load(&self) -> Servers {
        match self.read() {
            Ok(servers) => servers,
            Err(error) => {
                if error.kind() != io::ErrorKind::NotFound {
                    events::known_servers_unusable(&self.path, &error);
                }
                Servers::new()
            }
        }
    }

    fn read(&self) -> io::Result<Servers> {
        let size = fs::metadata(&self.path)?.len();
        let most = Bound::CloudTotal.most();
        if size > most {
            return Err(io::Error::other(format!("{size} bytes, at most {most} bytes")));
        }
        let servers: Vec<Server> = serde_json::from_slice(&nephometer_files::read(&self.path)?)?;
        Ok(servers.into_iter().map(|server| (server.uuid, Arc::new(server))).collect())
    }

    /// Replaces the file. A failure is logged: then a restart begins with older knowledge.
    pub(crate) async fn save(&self, servers: Servers) {
        let file = self.clone();
        let saving = tokio::task::spawn_blocking(move || {
            if let Err(error) = file.write(&servers) {
                events::known_servers_unusable(&file.path, &error);
            }
        });
        // Fails only when the runtime ends.
        drop(saving.await);
    }

    /// Writes a new file beside the old one, so that a full disk or a kill leaves the old one whole.
    fn write(&self, servers: &Servers) -> io::Result<()> {
        let servers: Vec<&Server> = servers.values().map(|server| &**server).collect();
        let fresh = self.path.with_extension("new");
        let mut file = nephometer_files::fresh(&fresh)?;
        file.write_all(&serde_json::to_vec(&servers)?)?;
        file.sync_all()?;
        fs::rename(&fresh, &self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_are_the_same_after_a_restart_and_a_damaged_file_is_none() {
        let folder = std::env::temp_dir().join(format!("nephometer-servers-{}", Uuid::new_v4()));
        nephometer_files::own_folder(&folder).unwrap();
        let file = ServerFile::new(&folder);
        assert!(file.load().is_empty());
        let mut server = Server { uuid: Uuid::from_u128(1), ..Server::default() };
        server.name = "web \"1\"".to_owned();
        server.metadata.insert("metering.stack".to_owned(), "s".into());
        server.group = Some("g".to_owned());
        let servers = Servers::from([(server.uuid, Arc::new(server))]);
        file.write(&servers).unwrap();
        assert_eq!(file.load(), servers);
        fs::write(folder.join(NAME), "[{").unwrap();
        assert!(file.load().is_empty());
        fs::remove_dir_all(folder).unwrap();
    }
}
