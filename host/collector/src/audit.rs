//! Audits: reads evidence from the store, has it verified, and writes it to a file if asked for.

use std::io::{self, Read as _, Write};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use nephometer_audit::{
    AuditError, Auditor, EvidenceLine, EvidenceWriter, Findings, TrustedKeyError, TrustedKeys,
};
use nephometer_proof::{KeyError, SigningKey};
use thiserror::Error;

use crate::store::{EvidenceQuery, Reader, StoreError};

/// The file of the collector's key in the folder of the store.
const KEY: &str = "audit-key";

/// Why the keys of agents cannot be used.
#[derive(Debug, Error)]
pub(crate) enum KeysError {
    /// The file cannot be read.
    #[error("{path}: {error}; `nephometer keys ls --trusted` prints lines for this file")]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's error.
        error: io::Error,
    },
    /// A line is not as it has to be.
    #[error("{path}: {line}")]
    Line {
        /// The file.
        path: PathBuf,
        /// What is wrong, with its number.
        line: TrustedKeyError,
    },
}

/// Why an audit has no result.
#[derive(Debug, Error)]
pub(crate) enum AuditFailure {
    /// The store cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The keys of agents cannot be used.
    #[error(transparent)]
    Keys(#[from] KeysError),
    /// What it has is no evidence.
    #[error(transparent)]
    Evidence(#[from] AuditError),
    /// The file of evidence cannot be written.
    #[error("cannot write the evidence")]
    Write(#[from] io::Error),
    /// The evidence cannot be signed.
    #[error(transparent)]
    OwnKey(#[from] OwnKeyError),
}

/// Why the collector's key cannot be used.
#[derive(Debug, Error)]
pub(crate) enum OwnKeyError {
    /// Its file cannot be read or written.
    #[error("{path}")]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// It is not what this program wrote.
    #[error("{path}: the key is damaged; remove the file, and give auditors the new key")]
    Damaged {
        /// The file.
        path: PathBuf,
    },
    /// The system has no random numbers.
    #[error(transparent)]
    Random(#[from] KeyError),
}

/// Reads the keys of agents; none without a file.
pub(crate) fn trusted_keys(path: Option<&Path>) -> Result<TrustedKeys, KeysError> {
    let Some(path) = path else { return Ok(TrustedKeys::default()) };
    let text = nephometer_files::read_text(path);
    let text = text.map_err(|error| KeysError::Io { path: path.to_owned(), error })?;
    TrustedKeys::parse(&text).map_err(|line| KeysError::Line { path: path.to_owned(), line })
}

/// Audits a project; also writes the evidence, if there is a writer.
pub(crate) fn audit<W: Write>(
    reader: &mut dyn Reader,
    query: &EvidenceQuery<'_>,
    mut out: Option<&mut EvidenceWriter<W>>,
) -> Result<Findings, AuditFailure> {
    let (mut auditor, mut failure) = (None, None);
    let mut take = |mut lines: Vec<EvidenceLine>| -> Result<(), AuditFailure> {
        for line in &lines {
            if let Some(out) = &mut out {
                out.write(line)?;
            }
        }
        if auditor.is_none()
            && let Some(EvidenceLine::Scope(scope)) = lines.first().cloned()
        {
            lines.remove(0);
            auditor = Some(Auditor::new(query.trusted, scope));
        }
        auditor.as_mut().map_or(Ok(()), |auditor| auditor.take(lines))?;
        Ok(())
    };
    reader.evidence(query, &mut |lines| match take(lines) {
        Ok(()) => ControlFlow::Continue(()),
        Err(error) => {
            failure = Some(error);
            ControlFlow::Break(())
        }
    })?;
    match (failure, auditor) {
        (Some(failure), _) => Err(failure),
        (None, auditor) => Ok(auditor.expect("the scope is the first line").finish()),
    }
}

/// The collector's own key, which signs evidence; it is made when it is first needed.
pub(crate) fn own_key(folder: &Path) -> Result<SigningKey, OwnKeyError> {
    let path = folder.join(KEY);
    let failed = |source| OwnKeyError::Io { path: path.clone(), source };
    let mut text = String::new();
    let opened = nephometer_files::own(&path, std::fs::OpenOptions::new().read(true));
    match opened.and_then(|mut file| file.read_to_string(&mut text)) {
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            text = hex::encode(SigningKey::generate()?);
            let new = folder.join("audit-key.new");
            let opened = nephometer_files::own_folder(folder);
            let written =
                opened.and_then(|()| nephometer_files::fresh(&new)).and_then(|mut file| {
                    file.write_all(text.as_bytes())?;
                    file.sync_all()
                });
            written.and_then(|()| std::fs::rename(&new, &path)).map_err(failed)?;
        }
        Err(error) => return Err(failed(error)),
    }
    let key = hex::decode(text.trim()).ok().and_then(|bytes| SigningKey::from_pkcs8(&bytes).ok());
    key.ok_or(OwnKeyError::Damaged { path })
}
