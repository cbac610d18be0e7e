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
/// one file per cycle). `DIR/domblkinfo` may have a file of the same name with the sizes of disks: for
/// each domain a line `Domain: 'NAME'` and the output of `virsh domblkinfo NAME --all`.
///
/// A description that cannot be read costs its domain, as it does with libvirt.
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
            match describe(&text(&path)?) {
                Ok(domain) => {
                    by_name.insert(domain.name.clone(), Arc::new(domain));
                }
                Err(error) => events::domain_unreadable(&path.display().to_string(), &error),
            }
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
        let reading = tokio::task::spawn_blocking(move || read_cycle(&file));
        let recorded =
            reading.await.map_err(|error| recording_error(path, error.to_string()))??;
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

/// The text of a file. What is not UTF-8 is replaced, as in libvirt's answers.
fn text(path: &Path) -> Result<String, HypervisorError> {
    match nephometer_files::read(path) {
        Ok(bytes) => Ok(String::from_utf8_lossy(&bytes).into_owned()),
        Err(error) => Err(recording_error(path, error.to_string())),
    }
}

/// Reads the files of one cycle.
fn read_cycle(path: &Path) -> Result<Vec<(String, Reading)>, HypervisorError> {
    let mut recorded = parse(path, &text(path)?)?;
    let folder = path.parent().and_then(Path::parent).unwrap_or(Path::new(""));
    let sizes = folder.join("domblkinfo").join(path.file_name().unwrap_or_default());
    if !sizes.is_file() {
        return Ok(recorded);
    }
    let mut sizes = parse_sizes(&sizes, &text(&sizes)?)?;
    for (name, reading) in recorded.iter_mut().filter(|(_, reading)| !reading.is_shut_off()) {
        let Some(sizes) = sizes.remove(name) else { continue };
        for disk in &mut reading.disks {
            let [capacity, allocation, physical] =
                sizes.get(&disk.name).copied().unwrap_or_default();
            disk.capacity = capacity;
            disk.allocation = allocation;
            disk.physical = physical;
        }
    }
    Ok(recorded)
}

/// Capacity, allocation and physical size of disks in bytes, by target.
type DiskSizes = HashMap<String, [Option<u64>; 3]>;

/// Parses a file of `domblkinfo`: sizes by domain. `-` stands for a size that libvirt does not know.
fn parse_sizes(path: &Path, content: &str) -> Result<HashMap<String, DiskSizes>, HypervisorError> {
    let mut domains: Vec<(String, DiskSizes)> = Vec::new();
    for (index, line) in content.lines().enumerate() {
        let fail = |reason: &str| recording_error(path, format!("line {}: {reason}", index + 1));
        let line = line.trim();
        if let Some(name) = line.strip_prefix("Domain: '").and_then(|line| line.strip_suffix('\''))
        {
            domains.push((name.to_owned(), DiskSizes::new()));
            continue;
        }
        let words: Vec<&str> = line.split_whitespace().collect();
        let is_rule = |word: &&str| word.bytes().all(|byte| byte == b'-') && word.len() > 1;
        if words.is_empty() || words.iter().all(is_rule) || words.first() == Some(&"Target") {
            continue;
        }
        let number = |word: &str| match word {
            "-" => Ok(None),
            word => word.parse().map(Some),
        };
        let sizes = match words.as_slice() {
            [target, sizes @ ..] if sizes.len() == 3 => {
                let sizes: Result<Vec<Option<u64>>, _> =
                    sizes.iter().map(|word| number(word)).collect();
                let sizes = sizes.ok().and_then(|sizes| <[Option<u64>; 3]>::try_from(sizes).ok());
                sizes.map(|sizes| ((*target).to_owned(), sizes))
            }
            _ => None,
        };
        let (target, sizes) =
            sizes.ok_or_else(|| fail("expected TARGET CAPACITY ALLOCATION PHYSICAL in bytes"))?;
        let (_, disks) =
            domains.last_mut().ok_or_else(|| fail("sizes before the first Domain: 'NAME'"))?;
        disks.insert(target, sizes);
    }
    Ok(domains.into_iter().collect())
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

    #[tokio::test]
    async fn sizes_of_disks_are_those_of_domblkinfo() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["xml", "domstats", "domblkinfo"] {
            fs::create_dir(folder.path().join(name)).unwrap();
        }
        let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
        write(
            "xml/a.xml",
            "<domain><uuid>5c1e0c1e-0000-4000-8000-00000000000a</uuid><name>vm</name></domain>",
        );
        // Neither UTF-8 nor XML: it costs its own domain only.
        fs::write(folder.path().join("xml/b.xml"), b"<domain>\xff").unwrap();
        let disk = |at: u32, name: &str| {
            format!(
                "  block.{at}.name={name}\n  block.{at}.allocation=1\n  block.{at}.physical=2\n"
            )
        };
        let stats = format!("  state.state=1\n{}{}", disk(0, "vda"), disk(1, "sda"));
        write("domstats/5.txt", &format!("Domain: 'vm'\n{stats}"));
        write(
            "domblkinfo/5.txt",
            "Domain: 'vm'\n Target   Capacity   Allocation   Physical\n-----------------\n \
             vda   1073741824   200704   196624\n sda   -   -   -\n\n",
        );
        let replay = Capture::open(&format!("replay://{}", folder.path().display())).unwrap();
        replay.begin_cycle().await.unwrap();
        let domains = replay.domains().await.unwrap();
        assert_eq!(domains.len(), 1);
        let read = replay.read(&domains, Groups::default()).await.remove(0).unwrap();
        let sizes =
            |disk: &nephometer_model::DiskReading| (disk.capacity, disk.allocation, disk.physical);
        let sizes: Vec<_> = read.disks.iter().map(sizes).collect();
        assert_eq!(
            sizes,
            [(Some(1_073_741_824), Some(200_704), Some(196_624)), (None, None, None)]
        );
        for bad in ["vda 1 2 3", "Domain: 'vm'\nvda 1 2", "Domain: 'vm'\nvda 1 2 x"] {
            assert!(parse_sizes(Path::new("t.txt"), bad).is_err(), "{bad}");
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
