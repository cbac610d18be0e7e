//! Standard output and standard error.

use std::io::{self, Write};

use crate::model::{Release, Sample};
use crate::publish::{Notation, as_dict};

/// A line, or several, to standard error. If even that is closed there is nobody left to tell.
pub(super) fn complain(text: &str) {
    let mut stderr = io::stderr().lock();
    let ending = if text.ends_with('\n') { "" } else { "\n" };
    // There is no place left to report that standard error is closed.
    drop(write!(stderr, "{text}{ending}"));
}

/// Standard output, buffered; a closed pipe is an ordinary error.
pub(super) fn stdout() -> io::BufWriter<io::StdoutLock<'static>> {
    io::BufWriter::new(io::stdout().lock())
}

/// One sample as a line of JSON, in Ceilometer's own keys and order.
pub(super) fn sample(out: &mut impl Write, sample: &Sample) -> io::Result<()> {
    let mut line = Vec::with_capacity(1_024);
    as_dict(&mut line, Notation::Json, Release::Current, sample);
    line.push(b'\n');
    out.write_all(&line)
}
