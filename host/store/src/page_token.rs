//! The token that opens the agent's page: who may read the store's folder or ask over the control
//! socket may see the page.

use std::fs::OpenOptions;
use std::io::{Read as _, Write as _};
use std::path::Path;

use nephometer_files as files;
use uuid::Uuid;

use super::{StoreError, io};

/// Its file in the store's folder.
const NAME: &str = "page-token";
/// Characters of a token: two random numbers.
const LENGTH: usize = 64;

/// A random token.
pub(super) fn fresh() -> String {
    format!("{}{}", Uuid::new_v4().simple(), Uuid::new_v4().simple())
}

/// The token of the folder. Makes one if there is none, or if the file holds none.
pub(super) fn load_or_create(folder: &Path) -> Result<String, StoreError> {
    let path = folder.join(NAME);
    let mut text = String::new();
    let read = files::own(&path, OpenOptions::new().read(true))
        .and_then(|file| file.take(2 * LENGTH as u64).read_to_string(&mut text));
    match read {
        Ok(_) if is_token(text.trim()) => return Ok(text.trim().to_owned()),
        // Nothing is lost with a damaged one but addresses of the page that people have kept.
        Ok(_) => {}
        Err(error)
            if matches!(
                error.kind(),
                std::io::ErrorKind::NotFound | std::io::ErrorKind::InvalidData
            ) => {}
        Err(source) => return Err(io("read", &path, source)),
    }
    let token = fresh();
    let written = files::fresh(&path).and_then(|mut file| writeln!(file, "{token}"));
    written.map_err(|source| io("write", &path, source))?;
    Ok(token)
}

fn is_token(text: &str) -> bool {
    text.len() == LENGTH && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_token_stays_and_is_private_and_a_damaged_one_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let first = load_or_create(folder.path()).unwrap();
        assert!(is_token(&first), "{first}");
        assert_eq!(load_or_create(folder.path()).unwrap(), first);
        let path = folder.path().join(NAME);
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        std::fs::write(&path, [0xff, 0xfe]).unwrap();
        let second = load_or_create(folder.path()).unwrap();
        assert!(is_token(&second) && second != first);
    }
}
