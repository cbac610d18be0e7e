//! Maps compiled code from files. Memory that was writable never becomes executable.
//!
//! The source is a file that no longer changes: sealed memory written by the compiler process, or a
//! verified file of the cache. wasmtime maps it read-only; the text section is then mapped again,
//! readable and executable, over the same addresses. Components therefore load under systemd's
//! `MemoryDenyWriteExecute`, and the kernel can reclaim the memory of mapped code. The only module
//! that maps code.

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
    /// The file that this thread is loading, and the offset of its text section.
    static LOADING: RefCell<Option<(File, u64)>> = const { RefCell::new(None) };
}

/// Publishes code by mapping its file.
struct MappedCode;

/// Makes [`load`] the only way to load code with this configuration.
pub(super) fn publish_from_files(config: &mut Config) {
    config.with_custom_code_memory(Some(Arc::new(MappedCode)));
}

/// Loads the component whose compiled code is in this file.
///
/// # Errors
/// If the file was not compiled by this engine.
#[expect(unsafe_code, reason = "compiled code is executed unchecked; see SAFETY")]
pub(super) fn load(engine: &Engine, file: &File) -> Result<Component> {
    let text = text_offset(file)?;
    LOADING.set(Some((file.try_clone()?, text)));
    // The open file: its path may have been replaced since.
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    // SAFETY: `deserialize_file` requires output of the engine's compiler in a file that no longer
    // changes. Both callers guarantee that: `compile` passes sealed anonymous memory that only its
    // child wrote; `cache` passes a file that only this user can have written, whose digest
    // matches, and which is replaced but never modified. wasmtime refuses code of another engine
    // version or with other settings.
    let loaded = unsafe { Component::deserialize_file(engine, path) };
    LOADING.set(None);
    loaded
}

/// Offset of the machine code in the file, bytes.
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
            page_aligned(loading).ok_or_else(|| format_err!("code must be loaded from a file"))?;
        let access = ProtFlags::READ | ProtFlags::EXEC;
        let flags = MapFlags::PRIVATE | MapFlags::FIXED;
        // SAFETY: the addresses belong to the mapping of this file that wasmtime has just created
        // and passes here for replacement; both are page-aligned, and nothing else refers to them
        // yet. The new mapping has the same content at the same offset, and is removed with the
        // old one when wasmtime unmaps the whole range.
        unsafe { mmap(start.cast_mut().cast(), length, access, flags, &file, offset)? };
        Ok(())
    }

    fn unpublish_executable(&self, _: *const u8, _: usize) -> Result<()> {
        // Called right before the whole range is unmapped: there is nothing to restore.
        Ok(())
    }
}

fn page_aligned(loading: Option<(File, u64)>) -> Option<(File, u64)> {
    loading.filter(|(_, offset)| *offset % rustix::param::page_size() as u64 == 0)
}
