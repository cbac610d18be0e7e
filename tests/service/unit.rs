//! The units in `config/systemd`: systemd accepts them without a remark, and what they leave open is
//! bounded. Without a running systemd.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use crate::harness::{Folder, root};

const UNITS: [(&str, &str); 2] = [
    ("nephometer", "nephometer.service"),
    ("nephometer-collector", "nephometer-collector.service"),
];
/// The exposure that `systemd-analyze security` may print.
const EXPOSURE: f64 = 1.2;

fn analyze(arguments: &[&str], unit: &Path) -> Output {
    let output = Command::new("systemd-analyze").args(arguments).arg(unit).output();
    output.expect("systemd-analyze; install it with: scripts/install test")
}

/// A copy of a unit that starts the program of this build. The installed path does not exist here.
fn copy(folder: &Folder, (program, unit): (&str, &str)) -> std::path::PathBuf {
    let text = fs::read_to_string(root().join("config/systemd").join(unit)).unwrap();
    let installed = format!("ExecStart=/usr/bin/{program} run");
    assert!(text.contains(&installed), "{unit}");
    let built = Path::new(env!("CARGO_BIN_EXE_nephometer")).with_file_name(program);
    folder.write(unit, text.replace(&installed, &format!("ExecStart={} run", built.display())))
}

#[test]
fn systemd_accepts_the_units_without_a_remark() {
    let folder = Folder::new("units");
    for unit in UNITS {
        let output = analyze(&["verify", "--man=no"], &copy(&folder, unit));
        let printed = [output.stdout, output.stderr].concat();
        assert!(
            output.status.success() && printed.is_empty(),
            "{}",
            String::from_utf8_lossy(&printed)
        );
    }
}

#[test]
fn the_units_leave_little_open() {
    for (_, unit) in UNITS {
        let path = root().join("config/systemd").join(unit);
        let output = analyze(&["security", "--offline=yes", "--no-pager"], &path);
        let report = String::from_utf8_lossy(&output.stdout).into_owned();
        let (_, level) = report.split_once("Overall exposure level for ").expect("a level");
        let (_, level) = level.split_once(": ").unwrap();
        let level: f64 = level.split_whitespace().next().unwrap().parse().unwrap();
        assert!(level <= EXPOSURE, "{unit}: {level}\n{report}");
        let text = fs::read_to_string(&path).unwrap();
        for needed in [
            "MemoryDenyWriteExecute=yes",
            "Type=notify",
            "WatchdogSec=",
            "ExecReload=/bin/kill -HUP $MAINPID\n",
            "CapabilityBoundingSet=\n",
        ] {
            assert!(text.contains(needed), "{unit}: no {needed}");
        }
        assert!(!text.contains("SupplementaryGroups"), "{unit}: it needs no group of others");
    }
}
