//! Publishers over TLS: a certificate is accepted if this machine trusts it and it names the
//! requested host.

use std::net::TcpStream;
use std::process::{Child, Command, Stdio};

use crate::harness::{Agent, Ended, Folder, PATIENCE, certificate, closed_port, eventually};

/// OpenSSL's web server, with a certificate for `localhost` only. Dropping it ends the server.
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

    /// Runs one polling cycle of a publisher to `host`, on a machine that trusts the certificates
    /// in a file.
    fn publish_to(&self, host: &str, trusted: &str) -> Ended {
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
        // Both fail if the server has ended already.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

#[test]
fn a_trusted_certificate_is_accepted_for_its_own_host_only() {
    let server = Server::start();
    let certificate = server.folder.at("certificate.pem").display().to_string();
    let trusted = server.publish_to("localhost", &certificate);
    let count = trusted.ledger().publisher("reaching").clone();
    assert_eq!((count.pending, count.dropped), (0, 0), "{}", trusted.stderr);
    assert!(count.left > 0);

    let other = server.publish_to("127.0.0.1", &certificate).reports("TLS: ");
    assert_eq!(other.ledger().publisher("reaching").left, 0);

    let untrusted_issuer = Folder::new("outbound-tls-untrusted");
    let generated = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=localhost"])
        .args(["-keyout", "key.pem", "-out", "certificate.pem"])
        .current_dir(untrusted_issuer.path())
        .output()
        .unwrap();
    assert!(generated.status.success());
    let untrusted_issuer = untrusted_issuer.at("certificate.pem").display().to_string();
    let untrusted = server.publish_to("localhost", &untrusted_issuer).reports("TLS: ");
    assert_eq!(untrusted.ledger().publisher("reaching").left, 0);
}
