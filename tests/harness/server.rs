use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};

use super::{Folder, PATIENCE, closed_port, eventually};

/// A program that listens on `port` of the loopback address. Dropping it ends the program.
pub(crate) struct Server {
    child: Child,
    pub(crate) port: u16,
    pub(crate) folder: Folder,
}

impl Server {
    /// Starts the program on a free port, and waits until it accepts connections.
    pub(crate) fn start(name: &str, command: impl FnOnce(&Folder, u16) -> Command) -> Self {
        Self::start_at(closed_port(), name, command)
    }

    /// Starts the program on a given port.
    pub(crate) fn start_at(
        port: u16,
        name: &str,
        command: impl FnOnce(&Folder, u16) -> Command,
    ) -> Self {
        let folder = Folder::new(name);
        let child = command(&folder, port)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(fs::File::create(folder.at("log")).unwrap())
            .spawn()
            .unwrap_or_else(|error| {
                panic!("{name}: {error}; the command that installs it: scripts/install test")
            });
        let server = Self { child, port, folder };
        eventually(name, PATIENCE, || TcpStream::connect(("127.0.0.1", port)).ok());
        server
    }

    /// The whole response to a request over HTTP/1.0, which has no chunks.
    pub(crate) fn get(&self, path: &str) -> String {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        write!(stream, "GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n").unwrap();
        let mut response = String::new();
        stream.read_to_string(&mut response).unwrap();
        response
    }

    /// The body of the response.
    pub(crate) fn body(&self, path: &str) -> String {
        let response = self.get(path);
        let (_, body) = response.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{response}"));
        body.to_owned()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Both fail if the program has ended already.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
