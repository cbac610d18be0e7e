//! `replay:///DIR`: a recording of libvirt's domain XML and statistics.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use uuid::Uuid;

use super::{Hypervisor, HypervisorError, Pace, ReadError};
use crate::libvirt::{ReadingBuilder, StatValue, describe};
use nephometer_model::{Domain, Groups, Moment, Reading, Timestamp};
use nephometer_telemetry::events::hypervisor as events;

/// Reads `DIR/xml/*.xml` (domain XML) and `DIR/domstats/EPOCH.NANOS.txt` (`virsh domstats --raw`,
/// one file per cycle).
pub(super) struct Capture {
    by_name: HashMap<String, Arc<Domain>>,
    cycles: Vec<(Moment, PathBuf)>,
    state: Mutex<CaptureState>,
}

#[derive(Default)]
struct CaptureState {
    next: usize,
    domains: Vec<Arc<Domain>>,
    readings: HashMap<Uuid, Reading>,
    /// Domains without XML that were logged already.
    without_xml: std::collections::HashSet<String>,
}

impl Capture {
    /// Reads the descriptions and lists the cycles. The statistics of a cycle are read when it
    /// begins.
    pub(super) fn open(uri: &str) -> Result<Self, HypervisorError> {
        let folder = uri.strip_prefix("replay://").filter(|path| path.starts_with('/'));
        let folder = folder.ok_or_else(|| HypervisorError::Uri {
            uri: uri.to_owned(),
            reason: "the path of a recording must be absolute, like replay:///srv/recording"
                .to_owned(),
        })?;
        let folder = percent_encoding::percent_decode_str(folder).decode_utf8_lossy().into_owned();
        let folder = Path::new(&folder);
        let mut by_name = HashMap::new();
        for path in files(&folder.join("xml"), "xml")? {
            let domain = describe(&text(&path)?).map_err(|error| {
                recording_error(&path, nephometer_telemetry::Chain(&error).to_string())
            })?;
            by_name.insert(domain.name.clone(), Arc::new(domain));
        }
        let mut cycles = Vec::new();
        for path in files(&folder.join("domstats"), "txt")? {
            cycles.push((moment(&path)?, path));
        }
        cycles.sort_by_key(|(moment, _)| moment.wall);
        if cycles.is_empty() {
            return Err(recording_error(
                &folder.join("domstats"),
                "the recording has no cycles; each is a file EPOCH.NANOS.txt".to_owned(),
            ));
        }
        Ok(Self { by_name, cycles, state: Mutex::default() })
    }

    fn state(&self) -> MutexGuard<'_, CaptureState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Hypervisor for Capture {
    async fn begin_cycle(&self) -> Result<Option<Moment>, HypervisorError> {
        let next = self.state().next;
        let Some((moment, path)) = self.cycles.get(next) else { return Ok(None) };
        let file = path.clone();
        let content = tokio::task::spawn_blocking(move || text(&file))
            .await
            .map_err(|error| recording_error(path, error.to_string()))??;
        let recorded = parse(path, &content)?;
        let state = &mut *self.state();
        state.next = next + 1;
        state.domains.clear();
        state.readings.clear();
        for (name, reading) in recorded {
            let Some(domain) = self.by_name.get(&name) else {
                if state.without_xml.insert(name.clone()) {
                    events::domain_without_xml(&name, path);
                }
                continue;
            };
            let reading = Reading { uuid: domain.uuid, taken: *moment, ..reading };
            state.readings.insert(domain.uuid, reading);
            state.domains.push(Arc::clone(domain));
        }
        Ok(Some(*moment))
    }

    async fn domains(&self) -> Result<Vec<Arc<Domain>>, HypervisorError> {
        Ok(self.state().domains.clone())
    }

    async fn read(
        &self,
        domains: &[Arc<Domain>],
        _groups: Groups,
    ) -> Vec<Result<Reading, ReadError>> {
        let state = self.state();
        let one = |domain: &Arc<Domain>| state.readings.get(&domain.uuid).cloned();
        domains.iter().map(|domain| one(domain).ok_or(ReadError::Removed)).collect()
    }

    async fn probe(&self, _domain: &Domain) -> bool {
        true
    }

    /// A recording has one description of each domain.
    fn invalidate_description(&self, _uuid: Uuid) {}

    fn pace(&self) -> Pace {
        Pace::Recorded
    }

    fn slice_size(&self) -> usize {
        usize::MAX
    }
}

/// The files with this extension, sorted by name.
fn files(folder: &Path, extension: &str) -> Result<Vec<PathBuf>, HypervisorError> {
    let failed = |error: std::io::Error| recording_error(folder, error.to_string());
    let mut paths = Vec::new();
    for entry in fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if path.extension().is_some_and(|found| found == extension) {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}

fn text(path: &Path) -> Result<String, HypervisorError> {
    nephometer_files::read_text(path).map_err(|error| recording_error(path, error.to_string()))
}

/// Parses the time in a file name.
fn moment(path: &Path) -> Result<Moment, HypervisorError> {
    let stem = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
    let (seconds, nanos) = stem.split_once('.').unwrap_or((stem, "000000000"));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let nanos = Some(nanos).filter(|nanos| nanos.len() == 9 && digits(nanos));
    let parsed = nanos.and_then(|nanos| {
        let seconds: u64 = Some(seconds).filter(|seconds| digits(seconds))?.parse().ok()?;
        seconds.checked_mul(1_000_000_000)?.checked_add(nanos.parse().ok()?)
    });
    let reason = "the file name is not a time; expected EPOCH.NANOS.txt, like \
                  1795380803.895156065.txt";
    let time = parsed.ok_or_else(|| recording_error(path, reason.to_owned()))?;
    Ok(Moment { wall: Timestamp::from_nanos(time), continuous: Some(time), monotonic: Some(time) })
}

/// Parses one file: domain names and readings, in the order of the file.
fn parse(path: &Path, content: &str) -> Result<Vec<(String, Reading)>, HypervisorError> {
    let mut domains: Vec<(String, ReadingBuilder)> = Vec::new();
    for (index, line) in content.lines().enumerate() {
        let fail = |reason: &str| recording_error(path, format!("line {}: {reason}", index + 1));
        let line = line.trim();
        if line.is_empty() {
            continue;
        }
        if let Some(name) = line.strip_prefix("Domain: ") {
            let name = name.strip_prefix('\'').and_then(|name| name.strip_suffix('\''));
            let name =
                name.ok_or_else(|| fail("the domain name is not in quotes, like Domain: 'vm'"))?;
            domains.push((name.to_owned(), ReadingBuilder::new(true)));
            continue;
        }
        let (key, value) = line
            .split_once('=')
            .ok_or_else(|| fail(&format!("expected Domain: 'NAME' or KEY=VALUE, not {line:?}")))?;
        let (_, builder) =
            domains.last_mut().ok_or_else(|| fail("KEY=VALUE before the first Domain: 'NAME'"))?;
        builder.add(key, StatValue::Text(value)).map_err(|error| fail(&error.to_string()))?;
    }
    Ok(domains.into_iter().map(|(name, builder)| (name, builder.finish())).collect())
}

fn recording_error(path: &Path, reason: String) -> HypervisorError {
    HypervisorError::Recording { path: path.to_owned(), reason }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn golden() -> String {
        format!("replay://{}/../../tests/golden/27.0.0", env!("CARGO_MANIFEST_DIR"))
    }

    #[tokio::test]
    async fn each_file_is_one_cycle_in_order() {
        let replay = Capture::open(&golden()).unwrap();
        let mut times = Vec::new();
        while let Some(moment) = replay.begin_cycle().await.unwrap() {
            times.push(moment.wall.as_nanos());
            let domains = replay.domains().await.unwrap();
            assert_eq!(domains.len(), 25);
            for reading in replay.read(&domains, Groups::default()).await {
                let reading = reading.unwrap();
                assert_eq!(reading.taken, moment);
                assert!(reading.state.is_some());
            }
        }
        assert_eq!(times, [1_795_380_803_895_156_065, 1_795_380_806_223_407_718]);
        assert_eq!(replay.begin_cycle().await.unwrap(), None);
        let first = replay.cycles[0].0;
        assert_eq!((first.continuous, first.monotonic), (Some(times[0]), Some(times[0])));
    }

    #[test]
    fn bad_lines_are_reported_with_file_and_line() {
        for (content, expected) in [
            (
                "Domain: 'a'\n  cpu.time=x\n",
                "t.txt: line 2: cpu.time is \"x\"; expected a whole number",
            ),
            ("  cpu.time=1\n", "t.txt: line 1: KEY=VALUE before the first Domain: 'NAME'"),
            ("\nDomain: a\n", "t.txt: line 2: the domain name is not in quotes, like Domain: 'vm'"),
            (
                "Domain: 'a'\nnonsense\n",
                "t.txt: line 2: expected Domain: 'NAME' or KEY=VALUE, not \"nonsense\"",
            ),
        ] {
            let error = parse(Path::new("t.txt"), content).unwrap_err();
            assert_eq!(error.to_string(), expected);
        }
    }

    #[test]
    fn invalid_recordings_are_rejected_with_a_remedy() {
        let error = |uri: &str| Capture::open(uri).err().unwrap().to_string();
        assert!(error("replay://relative").contains("must be absolute"));
        assert!(error("replay:///nowhere/at/all").contains("/nowhere/at/all/xml"));
        for name in ["x.txt", "1.5.txt", "1.+23456789.txt", "-1.000000000.txt"] {
            assert!(moment(Path::new(name)).is_err(), "{name}");
        }
        assert_eq!(moment(Path::new("7.000000001.txt")).unwrap().wall.as_nanos(), 7_000_000_001);
        assert_eq!(moment(Path::new("7.txt")).unwrap().wall.as_nanos(), 7_000_000_000);
    }
}
