//! Safely opens files whose names or folders other users may influence.
//!
//! Opening never blocks (FIFOs and devices are refused), links are not followed for writing, and
//! private files of the agent must belong to it. This crate opens and checks files; it never
//! interprets their content.

use std::fmt;
use std::fs::{self, DirBuilder, File, FileType, Metadata, OpenOptions};
use std::io::{self, ErrorKind, Read as _};
use std::os::unix::fs::{
    DirBuilderExt as _, FileTypeExt as _, MetadataExt as _, OpenOptionsExt as _,
};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;
use rustix::io::Errno;

/// Paths of inherited descriptors, which the parent process has opened.
const HANDED_OVER: [&str; 4] = ["/dev/stdin", "/dev/stdout", "/dev/stderr", "/dev/fd"];

/// Opens a file for reading and follows links. Inherited descriptors such as standard input are
/// opened as they are.
///
/// # Errors
///
/// If it is not a regular file, or cannot be opened.
pub fn open(path: &Path) -> io::Result<File> {
    if is_handed_over(path) {
        return File::open(path);
    }
    let mut options = OpenOptions::new();
    let file = options.read(true).custom_flags(flags(OFlags::empty())).open(path);
    let file = file.map_err(|error| explained(path, error))?;
    let found = file.metadata()?;
    if found.is_file() { Ok(file) } else { Err(refused(Refusal::Kind(found.file_type()))) }
}

/// Reads a whole file.
///
/// # Errors
/// As for [`open`].
pub fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    open(path)?.read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Reads a whole file as text.
///
/// # Errors
/// As for [`open`], and if it is not UTF-8.
pub fn read_text(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    open(path)?.read_to_string(&mut text)?;
    Ok(text)
}

/// Opens a private file of the agent. `options` must not truncate, because an existing file is
/// checked first. A new file gets mode 0600.
///
/// # Errors
/// If it is a link, not a regular file, owned by another user, writable by others, or has a second
/// name.
pub fn own(path: &Path, options: &OpenOptions) -> io::Result<File> {
    let mut options = options.clone();
    let file = options.mode(0o600).custom_flags(flags(OFlags::NOFOLLOW)).open(path);
    let file = file.map_err(|error| explained(path, error))?;
    let found = file.metadata()?;
    if !found.is_file() {
        return Err(refused(Refusal::Kind(found.file_type())));
    }
    if found.nlink() > 1 {
        return Err(refused(Refusal::SecondName));
    }
    owned(&found)?;
    Ok(file)
}

/// Creates a file of mode 0600 in a private folder and replaces an existing one; a link is removed,
/// not followed.
///
/// # Errors
///
/// If the file cannot be removed or created.
pub fn fresh(path: &Path) -> io::Result<File> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)
}

/// Creates a private folder (0700) of the agent, or checks an existing one.
///
/// # Errors
/// If it is a link, not a folder, owned by another user, or writable by others.
pub fn own_folder(path: &Path) -> io::Result<()> {
    // A trailing slash or dot would follow a link.
    let path: PathBuf = path.components().collect();
    let known = fs::symlink_metadata(&path);
    if known.as_ref().is_ok_and(Metadata::is_symlink) {
        return Err(refused(Refusal::Link));
    }
    DirBuilder::new().recursive(true).mode(0o700).create(&path)?;
    let found = fs::symlink_metadata(&path)?;
    if found.is_dir() { owned(&found) } else { Err(refused(Refusal::Kind(found.file_type()))) }
}

/// Opens a file for appending output; a new one gets mode 0640. Devices such as a terminal and
/// inherited descriptors are accepted. Writing to anything but a regular file does not block.
///
/// # Errors
/// If it is a link, a FIFO, a socket or a block device, is owned by another user (root is
/// accepted), or is writable by all users.
pub fn output(path: &Path) -> io::Result<File> {
    let handed_over = is_handed_over(path);
    let more = if handed_over { OFlags::empty() } else { OFlags::NOFOLLOW };
    let mut options = OpenOptions::new();
    options.append(true).create(true).mode(0o640).custom_flags(flags(more));
    let file = options.open(path).map_err(|error| explained(path, error))?;
    if handed_over {
        return Ok(file);
    }
    let found = file.metadata()?;
    if found.file_type().is_char_device() {
        return Ok(file);
    }
    if !found.is_file() {
        return Err(refused(Refusal::Kind(found.file_type())));
    }
    if found.uid() != 0 {
        belongs_to_us(&found)?;
    }
    if found.mode() & 0o002 != 0 {
        return Err(refused(Refusal::Writable { mode: found.mode(), whom: "o" }));
    }
    Ok(file)
}

/// Whether a regular file exists at a path.
///
/// # Errors
/// If something else is there, such as a link; the error names it.
pub fn is_there(path: &Path) -> io::Result<bool> {
    match fs::symlink_metadata(path) {
        Ok(found) if found.is_file() => Ok(true),
        Ok(found) if found.is_symlink() => Err(refused(Refusal::Link)),
        Ok(found) => Err(refused(Refusal::Kind(found.file_type()))),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// The name of a file type other than a regular file, such as `a folder`.
pub fn kind(found: FileType) -> &'static str {
    match found {
        it if it.is_dir() => "a folder",
        it if it.is_fifo() => "a FIFO",
        it if it.is_socket() => "a socket",
        it if it.is_char_device() || it.is_block_device() => "a device",
        it if it.is_symlink() => "a link",
        _ => "no regular file",
    }
}

/// Checks that no other user can write to a file that is open already.
///
/// # Errors
/// If it is owned by another user, or writable by others.
pub fn owned(found: &Metadata) -> io::Result<()> {
    belongs_to_us(found)?;
    if found.mode() & 0o022 != 0 {
        return Err(refused(Refusal::Writable { mode: found.mode(), whom: "go" }));
    }
    Ok(())
}

fn belongs_to_us(found: &Metadata) -> io::Result<()> {
    let me = rustix::process::geteuid().as_raw();
    if found.uid() == me {
        return Ok(());
    }
    Err(refused(Refusal::Owner { owner: found.uid(), me }))
}

fn is_handed_over(path: &Path) -> bool {
    HANDED_OVER.iter().any(|name| path.starts_with(name)) || path.starts_with("/proc/self/fd")
}

fn flags(more: OFlags) -> i32 {
    (OFlags::NONBLOCK | OFlags::CLOEXEC | more).bits().cast_signed()
}

/// Replaces the system's errors for FIFOs, sockets and links, which do not name the cause.
fn explained(path: &Path, error: io::Error) -> io::Error {
    match Errno::from_io_error(&error) {
        Some(Errno::LOOP) => match fs::symlink_metadata(path) {
            Ok(found) if found.is_symlink() => refused(Refusal::Link),
            _ => error,
        },
        Some(Errno::NXIO) => match fs::metadata(path) {
            Ok(found) => refused(Refusal::Kind(found.file_type())),
            Err(_) => error,
        },
        _ => error,
    }
}

/// Why a file is rejected.
#[derive(Debug)]
enum Refusal {
    Link,
    Kind(FileType),
    SecondName,
    Owner { owner: u32, me: u32 },
    Writable { mode: u32, whom: &'static str },
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Link => f.write_str("it is a link, which is not followed; name what it leads to"),
            Self::Kind(found) => write!(f, "it is {}, not a file", kind(*found)),
            Self::SecondName => f.write_str("it has a second name (hard link); remove it"),
            Self::Owner { owner, me } => write!(
                f,
                "it belongs to user {owner}, this process runs as user {me}; run as its owner, or \
                 change it (chown)"
            ),
            Self::Writable { mode, whom } => write!(
                f,
                "others may write there (mode {:o}); forbid it (chmod {whom}-w)",
                mode & 0o7777
            ),
        }
    }
}

impl std::error::Error for Refusal {}

fn refused(refusal: Refusal) -> io::Error {
    io::Error::new(ErrorKind::InvalidInput, refusal)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, chown, symlink};
    use std::os::unix::net::UnixListener;

    use super::*;

    fn mode(path: &Path, mode: u32) {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    fn fifo(path: &Path) {
        let mode = rustix::fs::Mode::from_raw_mode(0o600);
        rustix::fs::mknodat(rustix::fs::CWD, path, rustix::fs::FileType::Fifo, mode, 0).unwrap();
    }

    fn reason<T>(made: io::Result<T>) -> String {
        made.err().expect("a refusal").to_string()
    }

    // Regression test: `component check FIFO` waited forever, and so did the agent for a FIFO among
    // its files.
    #[test]
    fn only_regular_files_are_read_and_nothing_is_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fifo(&at("fifo"));
        let _socket = UnixListener::bind(at("socket")).unwrap();
        for (name, what) in [
            ("fifo", "a FIFO"),
            ("socket", "a socket"),
            ("", "a folder"),
            ("/dev/zero", "a device"),
        ] {
            assert!(reason(read(&at(name))).contains(what), "{name}");
        }
        fs::write(at("file"), "text").unwrap();
        symlink(at("file"), at("link")).unwrap();
        assert_eq!(read_text(&at("link")).unwrap(), "text");
        assert_eq!(read(&at("none")).unwrap_err().kind(), ErrorKind::NotFound);
        symlink(at("fifo"), at("to-fifo")).unwrap();
        assert!(reason(read(&at("to-fifo"))).contains("a FIFO"));
    }

    #[test]
    fn own_files_are_no_links_and_belong_to_this_user() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        let open = |name: &str| own(&at(name), &options);
        let file = open("new").unwrap();
        assert_eq!(file.metadata().unwrap().mode() & 0o777, 0o600);
        symlink(at("new"), at("link")).unwrap();
        symlink(at("none"), at("dangling")).unwrap();
        assert!(reason(open("link")).contains("a link"));
        assert!(reason(open("dangling")).contains("a link"));
        assert!(!at("none").exists());
        fifo(&at("fifo"));
        assert!(reason(open("fifo")).contains("a FIFO"));
        mode(&at("new"), 0o620);
        assert!(reason(open("new")).contains("mode 620"));
        mode(&at("new"), 0o644);
        fs::hard_link(at("new"), at("other")).unwrap();
        assert!(reason(open("new")).contains("second name"));
        fs::write(at("victim"), "kept").unwrap();
        symlink(at("victim"), at("beside")).unwrap();
        fresh(&at("beside")).unwrap();
        assert_eq!(fs::read_to_string(at("victim")).unwrap(), "kept");
        assert!(fs::symlink_metadata(at("beside")).unwrap().is_file());
    }

    // Regression test: folders that others owned or could write to were accepted.
    #[test]
    fn a_folder_that_others_may_write_is_refused() {
        let parent = tempfile::tempdir().unwrap();
        let folder = parent.path().join("deep/store");
        own_folder(&folder).unwrap();
        assert_eq!(fs::metadata(&folder).unwrap().mode() & 0o777, 0o700);
        for (bits, fine) in [(0o755, true), (0o777, false), (0o770, false), (0o1777, false)] {
            mode(&folder, bits);
            assert_eq!(own_folder(&folder).is_ok(), fine, "{bits:o}");
        }
        mode(&folder, 0o700);
        let link = parent.path().join("link");
        symlink(&folder, &link).unwrap();
        for behind in ["", "/", "/."] {
            let named = PathBuf::from(format!("{}{behind}", link.display()));
            assert!(reason(own_folder(&named)).contains("a link"), "{behind:?}");
        }
        if rustix::process::geteuid().is_root() {
            chown(&folder, Some(12_345), None).unwrap();
            let reason = reason(own_folder(&folder));
            assert!(reason.contains("user 12345") && reason.contains("chown"), "{reason}");
        }
    }

    #[test]
    fn output_goes_to_files_of_ours_and_to_devices() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        output(&at("new")).unwrap();
        assert_eq!(fs::metadata(at("new")).unwrap().mode() & 0o137, 0);
        output(Path::new("/dev/null")).unwrap();
        symlink(at("new"), at("link")).unwrap();
        assert!(reason(output(&at("link"))).contains("a link"));
        fifo(&at("fifo"));
        assert!(reason(output(&at("fifo"))).contains("a FIFO"));
        // With a reader, the system itself would allow to open the FIFO.
        let _reader = OpenOptions::new().read(true).write(true).open(at("fifo")).unwrap();
        assert!(reason(output(&at("fifo"))).contains("a FIFO"));
        let _socket = UnixListener::bind(at("socket")).unwrap();
        assert!(reason(output(&at("socket"))).contains("a socket"));
        mode(&at("new"), 0o666);
        assert!(reason(output(&at("new"))).contains("chmod o-w"));
        mode(&at("new"), 0o660);
        output(&at("new")).unwrap();
        // Links among the parent folders are accepted: the administrator made them.
        fs::create_dir(at("folder")).unwrap();
        symlink(at("folder"), at("folders")).unwrap();
        output(&at("folders/file")).unwrap();
    }
}
