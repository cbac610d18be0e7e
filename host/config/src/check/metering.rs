//! Checks the Ceilometer release to be compatible with, its quirks, and the form of signatures.

use super::Check;
use crate::error::nearest;
use crate::raw::{Field, Kind, Scalar, Scalars};
use nephometer_model::{Quirks, Release};
use nephometer_wire::SignatureForm;

/// `compatibility`
pub(super) fn release(check: &mut Check<'_>, field: &Field<Scalar>) -> Option<Release> {
    let pointer = "/compatibility";
    let Some(level) = check.string(pointer, field)? else { return Some(Release::default()) };
    if let Ok(release) = level.parse() {
        return Some(release);
    }
    let remedy = match nearest(&level, Release::ALL.map(Release::as_str)) {
        Some(meant) => format!("did you mean `{meant}`?"),
        None => "write liberty, zed or current".to_owned(),
    };
    check.fault(pointer, format!("unknown compatibility {level:?}"), remedy);
    None
}

/// `quirks`
pub(super) fn quirks(check: &mut Check<'_>, field: &Scalars, release: Release) -> Option<Quirks> {
    let pointer = "/quirks";
    let entries = match (field, check.kind(pointer)) {
        (Field::Absent | Field::Null, _) => return Some(Quirks::default()),
        (Field::Given(entries), Kind::List) => check.texts(pointer, entries),
        _ => {
            check.wrong(pointer, "write a list of names");
            return None;
        }
    };
    let mut quirks = Quirks::default();
    let mut good = true;
    for (location, name) in entries {
        let known = Quirks::NAMES.iter().find(|(known, _)| *known == name);
        match known {
            Some((_, of)) if *of == release => good &= quirks.enable(&name),
            Some((_, of)) => {
                let what = format!("the quirk {name:?} is {of}'s, and compatibility is {release}");
                check.fault(&location, what, format!("remove it, or write `compatibility: {of}`"));
                good = false;
            }
            None => {
                let names = Quirks::NAMES.map(|(name, _)| name);
                let remedy = match nearest(&name, names) {
                    Some(meant) => format!("did you mean `{meant}`?"),
                    None => format!("there are {}", names.join(", ")),
                };
                check.fault(&location, format!("unknown quirk {name:?}"), remedy);
                good = false;
            }
        }
    }
    good.then_some(quirks)
}

/// `message.signature`; by default the Python version of the release.
pub(super) fn signature(
    check: &mut Check<'_>,
    field: &Field<Scalar>,
    release: Release,
) -> Option<SignatureForm> {
    let form = |value: &Scalar| match value.to_string().as_str() {
        "python2" => Some(SignatureForm::Python2),
        "python3" => Some(SignatureForm::Python3),
        _ => None,
    };
    let given = check.value("/message/signature", field, form, "write python2 or python3")?;
    Some(given.unwrap_or(match release {
        Release::Liberty => SignatureForm::Python2,
        Release::Zed | Release::Current => SignatureForm::Python3,
    }))
}
