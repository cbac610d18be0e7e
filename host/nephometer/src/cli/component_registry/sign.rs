//! `nephometer component sign` and `new-key`

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::Args;
use serde_json::json;

use super::report;
use super::verify::reference;
use crate::cli::args::Common;
use crate::cli::progress::waiting;
use crate::cli::run::runtime;
use crate::cli::{Failure, output};
use nephometer_config as config;
use nephometer_registry::{Registries, Signer};

/// Sign a component in a registry
///
/// Adds a signature in cosign's form beside those that are there: `cosign verify --key` reads it.
#[derive(Debug, Args)]
pub(in crate::cli) struct Sign {
    /// oci://HOST/REPOSITORY:TAG, or with @sha256:DIGEST
    reference: String,
    /// The private key: PEM of PKCS#8, from `component new-key`
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// Print one JSON object instead of text
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    common: Common,
}

/// Make a key pair that signs components
///
/// Writes the private key to FILE, readable for its owner only, and the public key to FILE.pub.
#[derive(Debug, Args)]
pub(in crate::cli) struct NewKey {
    /// The file for the private key, which must not exist
    file: PathBuf,
    /// Print one JSON object instead of text
    #[arg(long)]
    json: bool,
}

impl Sign {
    pub(in crate::cli) fn execute(self) -> Result<()> {
        let reference = reference(&self.reference)?;
        let signer = signer(&self.key)?;
        let spec = config::load_host(&self.common.inputs())?.spec;
        let registries = Registries::new(&spec.components);
        let work = registries.sign(&reference, &signer);
        let digest = runtime()?.block_on(waiting(&format!("signing {reference}"), work))?;
        let at = reference.at(digest).to_string();
        let document = json!({"reference": at, "digest": digest.to_string()});
        report(self.json, &document, &[format!("ok: {at} is signed")])
    }
}

impl NewKey {
    pub(in crate::cli) fn execute(self) -> Result<()> {
        let (private, public) = Signer::generate()?;
        let mut name = self.file.clone().into_os_string();
        name.push(".pub");
        let public_file = PathBuf::from(name);
        create(&self.file, 0o600, &private)?;
        create(&public_file, 0o644, &public)?;
        let document = json!({"key": self.file, "public": public_file, "pem": public});
        let (key, other) = (self.file.display(), public_file.display());
        let line = format!("ok: {key} signs, {other} verifies");
        report(self.json, &document, &[line])
    }
}

fn create(path: &Path, mode: u32, text: &str) -> Result<()> {
    let mut options = OpenOptions::new();
    let file = options.write(true).create_new(true).mode(mode).open(path);
    file.and_then(|mut file| file.write_all(text.as_bytes()))
        .with_context(|| path.display().to_string())
        .context(Failure::Usage)
}

/// Reads a private key.
pub(super) fn signer(path: &Path) -> Result<Signer> {
    let place = || path.display().to_string();
    let text = fs::read_to_string(path).with_context(place).context(Failure::Usage)?;
    let others = fs::metadata(path).is_ok_and(|found| found.mode() & 0o077 != 0);
    if others {
        let what = "others may read this key; run chmod go= on it";
        output::print_error(&format!("warning: {}: {what}", place()));
    }
    Signer::from_pem(&text).with_context(place).context(Failure::Usage)
}
