//! Maps compiled code from files, without ever making memory executable that was writable.
//!
//! A component's code is a file that nothing writes any more: sealed memory of the compiler's child,
//! or a checked file of the cache. wasmtime maps it for reading; its text section is then mapped
//! once more, readable and executable, over the same addresses. So components also load in a process
//! that may not make memory executable (systemd's `MemoryDenyWriteExecute`), and code that is mapped costs
//! no memory that the kernel cannot take back. The only module that maps code.

use std::cell::RefCell;
use std::fs::File;
use std::os::fd::AsRawFd;
use std::sync::Arc;

use object::read::elf::ElfFile64;
use object::{Object, ObjectSection, ReadCache};
use rustix::mm::{MapFlags, ProtFlags, mmap};
use wasmtime::component::Component;
use wasmtime::{Config, CustomCodeMemory, Engine, Result, format_err};

thread_local! {
    /// The file whose code is being loaded by this thread, and where its text section begins.
    static LOADING: RefCell<Option<(File, u64)>> = const { RefCell::new(None) };
}

/// Publishes code by mapping the file that it comes from.
struct MappedCode;

/// From now on this configuration loads code with [`load`] only.
pub(super) fn publish_from_files(config: &mut Config) {
    config.with_custom_code_memory(Some(Arc::new(MappedCode)));
}

/// The component whose compiled code is in this file.
///
/// # Errors
/// If the file is not code of this engine.
#[expect(unsafe_code, reason = "compiled code is run as it is; see SAFETY")]
pub(super) fn load(engine: &Engine, file: &File) -> Result<Component> {
    let text = text_offset(file)?;
    LOADING.set(Some((file.try_clone()?, text)));
    // The file itself: by now its name may lead to another.
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    // SAFETY: `deserialize_file` must only be given what the engine's compiler wrote, in a file that
    // does not change afterwards. Both callers see to it: `compile` passes memory without a name that only
    // its child wrote and that is sealed; `cache` passes a file that this user alone can have written,
    // whose digest is that of what was written, and which is replaced but never changed. Code of another
    // engine version or with other settings is refused by wasmtime.
    let loaded = unsafe { Component::deserialize_file(engine, path) };
    LOADING.set(None);
    loaded
}

/// Where the machine code begins in the file.
fn text_offset(file: &File) -> Result<u64> {
    let cache = ReadCache::new(file);
    let elf = ElfFile64::<object::Endianness, _>::parse(&cache)?;
    let text = elf.section_by_name(".text").and_then(|section| section.file_range());
    let (offset, _) = text.ok_or_else(|| format_err!("compiled code has no text section"))?;
    Ok(offset)
}

impl CustomCodeMemory for MappedCode {
    fn required_alignment(&self) -> usize {
        rustix::param::page_size()
    }

    #[expect(unsafe_code, reason = "maps code over its own addresses; see SAFETY")]
    fn publish_executable(&self, start: *const u8, length: usize) -> Result<()> {
        let loading = LOADING.take();
        let (file, offset) =
            loaded_from(loading).ok_or_else(|| format_err!("code is loaded from files only"))?;
        let access = ProtFlags::READ | ProtFlags::EXEC;
        let place = MapFlags::PRIVATE | MapFlags::FIXED;
        // SAFETY: the addresses belong to the mapping of this very file that wasmtime has just made and gives
        // here to be replaced; both are page-aligned, and nothing else refers to them yet. The new
        // mapping has the same content at the same offset, and goes with the old one when wasmtime unmaps
        // the whole range.
        unsafe { mmap(start.cast_mut().cast(), length, access, place, &file, offset)? };
        Ok(())
    }

    fn unpublish_executable(&self, _: *const u8, _: usize) -> Result<()> {
        // Called right before the whole range is unmapped: nothing writes there.
        Ok(())
    }
}

fn loaded_from(loading: Option<(File, u64)>) -> Option<(File, u64)> {
    loading.filter(|(_, offset)| *offset % rustix::param::page_size() as u64 == 0)
}
