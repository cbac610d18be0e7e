//! A real Chromium without a window, driven over WebDriver.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use super::{PATIENCE, Server, eventually};

/// A browser with one window. Dropping it ends the browser.
pub(crate) struct Browser {
    driver: Server,
    session: String,
}

impl Browser {
    pub(crate) fn start(name: &str) -> Self {
        let driver = Server::start(name, |folder, port| {
            let mut command = Command::new("chromedriver");
            command.arg(format!("--port={port}")).env("HOME", folder.path());
            command
        });
        let mut browser = Self { driver, session: String::new() };
        let profile = browser.driver.folder.at("profile");
        let arguments = json!([
            "--headless=new",
            // Tests run as root, in containers with a small /dev/shm.
            "--no-sandbox",
            "--disable-dev-shm-usage",
            "--disable-gpu",
            "--no-first-run",
            "--no-proxy-server",
            format!("--user-data-dir={}", profile.display()),
        ]);
        let options = json!({ "args": arguments });
        let capabilities =
            json!({ "capabilities": { "alwaysMatch": { "goog:chromeOptions": options } } });
        let made = browser.call("POST", "/session", &capabilities);
        browser.session = format!("/session/{}", made["sessionId"].as_str().unwrap());
        browser
    }

    pub(crate) fn open(&self, url: &str) {
        self.call("POST", &format!("{}/url", self.session), &json!({ "url": url }));
    }

    /// Runs the body of a function in the page and returns its result.
    pub(crate) fn script(&self, body: &str) -> Value {
        let script = json!({ "script": body, "args": [] });
        self.call("POST", &format!("{}/execute/sync", self.session), &script)
    }

    /// The same, of a function that calls its last argument with the result.
    pub(crate) fn script_with_callback(&self, body: &str) -> Value {
        let script = json!({ "script": body, "args": [] });
        self.call("POST", &format!("{}/execute/async", self.session), &script)
    }

    /// The visible text of the first element.
    pub(crate) fn text(&self, selector: &str) -> String {
        let found =
            self.script(&format!("return document.querySelector({selector:?})?.innerText ?? ''"));
        found.as_str().unwrap_or_default().to_owned()
    }

    /// Waits until the text of an element contains a word. Returns the text.
    pub(crate) fn wait_for(&self, selector: &str, word: &str) -> String {
        eventually(&format!("{word:?} in {selector}"), PATIENCE, || {
            Some(self.text(selector)).filter(|text| text.contains(word))
        })
    }

    /// The size of the page in CSS pixels, and whether the user prefers dark pages.
    pub(crate) fn emulate(&self, (width, height): (u32, u32), dark: bool) {
        let size =
            json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": false });
        self.devtools("Emulation.setDeviceMetricsOverride", &size);
        let scheme = if dark { "dark" } else { "light" };
        let features = json!([{ "name": "prefers-color-scheme", "value": scheme }]);
        self.devtools("Emulation.setEmulatedMedia", &json!({ "features": features }));
    }

    /// Writes a picture of the whole page (PNG).
    pub(crate) fn screenshot(&self, path: &Path) {
        let options = json!({ "format": "png", "captureBeyondViewport": true });
        let shot = self.devtools("Page.captureScreenshot", &options);
        let program =
            "import base64, sys; sys.stdout.buffer.write(base64.b64decode(sys.stdin.read()))";
        let mut decode = Command::new("python3")
            .args(["-c", program])
            .stdin(std::process::Stdio::piped())
            .stdout(std::fs::File::create(path).unwrap())
            .spawn()
            .unwrap();
        decode.stdin.take().unwrap().write_all(shot["data"].as_str().unwrap().as_bytes()).unwrap();
        assert!(decode.wait().unwrap().success());
    }

    fn devtools(&self, command: &str, parameters: &Value) -> Value {
        let body = json!({ "cmd": command, "params": parameters });
        self.call("POST", &format!("{}/goog/cdp/execute", self.session), &body)
    }

    fn call(&self, method: &str, path: &str, body: &Value) -> Value {
        let (status, reply) = self.request(method, path, &body.to_string());
        assert_eq!(status, 200, "{method} {path}: {reply}");
        reply["value"].clone()
    }

    fn request(&self, method: &str, path: &str, body: &str) -> (u16, Value) {
        let mut stream = TcpStream::connect(("127.0.0.1", self.driver.port)).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nHost: localhost:{}\r\nConnection: close\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            self.driver.port,
            body.len()
        )
        .unwrap();
        let mut reply = BufReader::new(stream);
        let (mut head, mut line) = (String::new(), String::new());
        let mut length = 0;
        // The driver keeps connections open.
        while reply.read_line(&mut line).unwrap() > 2 {
            if let Some((name, value)) = line.split_once(':')
                && name.eq_ignore_ascii_case("content-length")
            {
                length = value.trim().parse().unwrap();
            }
            head += &std::mem::take(&mut line);
        }
        let mut body = vec![0; length];
        reply.read_exact(&mut body).unwrap();
        let status = head.split(' ').nth(1).unwrap_or_else(|| panic!("{head}")).parse().unwrap();
        (status, serde_json::from_slice(&body).unwrap())
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // The driver ends the browser with the session; it does not when it is killed itself. A failing test
        // must not fail here once more.
        let Ok(mut stream) = TcpStream::connect(("127.0.0.1", self.driver.port)) else { return };
        let head = format!("DELETE {} HTTP/1.1\r\nHost: localhost\r\n\r\n", self.session);
        drop(stream.set_read_timeout(Some(PATIENCE)));
        if stream.write_all(head.as_bytes()).is_ok() {
            drop(stream.read(&mut [0; 1]));
        }
    }
}
