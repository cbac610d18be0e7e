//! `/support`: one archive for a report of a bug. It contains no secrets, but names of projects and
//! machines.

use std::io;

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};

use super::admin::AdminService;
use super::agent_metrics::exposition;
use super::page_state::state;
use super::queries;
use nephometer_http::{Reply, StatusCode};
use nephometer_metrics::TextFormat;
use nephometer_view::View;

/// A file of the archive.
type SupportFile = (&'static str, Vec<u8>);

/// The archive (`tar.gz`) as a reply that a browser saves.
pub(super) async fn reply(admin: &AdminService, view: &View) -> Reply {
    let files = files(admin, view).await;
    let seconds = admin.clock.now().wall.as_nanos() / 1_000_000_000;
    let made = tokio::task::spawn_blocking(move || archive(&files, seconds)).await;
    let name = format!("attachment; filename=\"nephometer-{}.tar.gz\"", admin.host);
    match made.unwrap_or_else(|error| Err(io::Error::other(error))) {
        Ok(archive) => Reply::new("application/gzip", archive).header("content-disposition", &name),
        Err(error) => Reply::error(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()),
    }
}

async fn files(admin: &AdminService, view: &View) -> Vec<SupportFile> {
    let pretty = |value: &Value| format!("{value:#}\n").into_bytes();
    // Secrets cannot be printed.
    let configuration = format!("{:#?}\n", *admin.resources.spec.borrow());
    let gaps = match admin.resources.gaps.all().await {
        Ok(gaps) => gaps.iter().map(queries::gap).collect(),
        Err(reason) => json!({ "error": reason }),
    };
    vec![
        ("versions.json", pretty(&versions())),
        ("configuration.txt", configuration.into_bytes()),
        ("state.json", pretty(&state(admin, view).await)),
        ("gaps.json", pretty(&gaps)),
        ("metrics.txt", exposition(admin, TextFormat::OpenMetrics).await.to_vec()),
        ("log.txt", (nephometer_telemetry::tail().join("\n") + "\n").into_bytes()),
    ]
}

fn versions() -> Value {
    let text = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let system = text("/etc/os-release");
    let system = system.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="));
    json!({
        "nephometer": env!("CARGO_PKG_VERSION"),
        "kernel": text("/proc/sys/kernel/osrelease").trim_end(),
        "system": system.unwrap_or_default().trim_matches('"'),
        "architecture": std::env::consts::ARCH,
        "processors": std::thread::available_parallelism().ok(),
        "uptime": text("/proc/uptime").split_whitespace().next(),
    })
}

fn archive(files: &[SupportFile], seconds: u64) -> io::Result<Vec<u8>> {
    let mut archive = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::default()));
    for (name, content) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o600);
        header.set_mtime(seconds);
        archive.append_data(&mut header, format!("nephometer/{name}"), &content[..])?;
    }
    archive.into_inner()?.finish()
}
