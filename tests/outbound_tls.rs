//! Publishers over TLS: a certificate is believed if this machine trusts it and it is for the host
//! that was asked for.

use std::net::TcpStream;
use std::process::{Child, Command, Stdio};

use crate::harness::{Agent, Ended, Folder, PATIENCE, certificate, closed_port, eventually};

/// A web server of OpenSSL with a certificate for `localhost` alone. Ends with the test.
struct Server {
    child: Child,
    port: u16,
    folder: Folder,
}

impl Server {
    fn start() -> Self {
        let (folder, port) = (Folder::new("outbound-tls-server"), closed_port());
        certificate(&folder);
        let child = Command::new("openssl")
            .args(["s_server", "-www", "-quiet", "-accept", &format!("127.0.0.1:{port}")])
            .args(["-cert", "certificate.pem", "-key", "key.pem"])
            .current_dir(folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        eventually("OpenSSL's server", PATIENCE, || TcpStream::connect(("127.0.0.1", port)).ok());
        Self { child, port, folder }
    }

    /// One tick of a publisher that asks `host`, on a machine that trusts the certificates of a
    /// file.
    fn asked(&self, host: &str, trusted: &str) -> Ended {
        let port = self.port;
        let agent = Agent::new("outbound-tls")
            .set("shutdown_grace", "20s")
            .set("components.by_name.reaching.options.reach", format!("https://{host}:{port}/"))
            .variable("SSL_CERT_FILE", trusted)
            .everything_to(&[&format!("reaching://{host}:{port}")]);
        let mut running = agent.run();
        running.wait_for_cycles(1);
        running.stop().code(0)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Both fail if it has ended already, which is fine.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

#[test]
fn a_certificate_is_believed_for_its_own_host_if_it_is_trusted() {
    let server = Server::start();
    let certificate = server.folder.at("certificate.pem").display().to_string();
    let trusted = server.asked("localhost", &certificate);
    let count = trusted.ledger().publisher("reaching").clone();
    assert_eq!((count.pending, count.dropped), (0, 0), "{}", trusted.stderr);
    assert!(count.left > 0);

    let other = server.asked("127.0.0.1", &certificate).reports("TLS: ");
    assert_eq!(other.ledger().publisher("reaching").left, 0);

    let stranger = Folder::new("outbound-tls-stranger");
    let made = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=localhost"])
        .args(["-keyout", "key.pem", "-out", "certificate.pem"])
        .current_dir(stranger.path())
        .output()
        .unwrap();
    assert!(made.status.success());
    let stranger = stranger.at("certificate.pem").display().to_string();
    let untrusted = server.asked("localhost", &stranger).reports("TLS: ");
    assert_eq!(untrusted.ledger().publisher("reaching").left, 0);
}
