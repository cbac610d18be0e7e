//! Corrections of what was published, one file each, in the store's folder. They are numbered from 1.
//!
//! What they contain is up to the caller.

use std::fs;
use std::io::Result;
use std::path::{Path, PathBuf};

use super::promoted::write;
use nephometer_files as files;
use nephometer_model::Bound;

const FOLDER: &str = "corrections";

/// Writes a correction. Returns its path. Beyond the bound the oldest is removed.
///
/// # Errors
/// If it cannot be written.
pub fn write_correction(store: &Path, text: &str) -> Result<PathBuf> {
    let folder = store.join(FOLDER);
    files::own_folder(&folder)?;
    let mut numbers = numbers(&folder)?;
    numbers.sort_unstable();
    let number = numbers.last().map_or(1, |last| last + 1);
    let path = path(&folder, number);
    write(&path, text.as_bytes())?;
    let excess = (numbers.len() + 1).saturating_sub(Bound::Corrections.size());
    for oldest in &numbers[..excess] {
        fs::remove_file(self::path(&folder, *oldest))?;
    }
    Ok(path)
}

fn path(folder: &Path, number: u64) -> PathBuf {
    folder.join(format!("{number:06}.json"))
}

fn numbers(folder: &Path) -> Result<Vec<u64>> {
    let mut numbers = Vec::new();
    for entry in fs::read_dir(folder)? {
        let name = entry?.file_name();
        let number = name.to_str().and_then(|name| name.strip_suffix(".json"));
        let number = number.and_then(|number| number.parse::<u64>().ok());
        numbers.extend(number);
    }
    Ok(numbers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn corrections_are_numbered_and_the_oldest_make_room() {
        let folder = tempfile::tempdir().unwrap();
        let most = Bound::Corrections.size();
        for number in 1..=most + 2 {
            let path = write_correction(folder.path(), &number.to_string()).unwrap();
            assert_eq!(path.file_name().unwrap().to_str().unwrap(), format!("{number:06}.json"));
            assert_eq!(fs::read_to_string(path).unwrap(), number.to_string());
        }
        let mut left = numbers(&folder.path().join(FOLDER)).unwrap();
        left.sort_unstable();
        assert_eq!((left.len(), left[0]), (most, 3));
    }
}
