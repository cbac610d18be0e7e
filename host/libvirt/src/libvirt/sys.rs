//! Bindings that `virt` lacks: statistics of a slice of domains, of jobs, and control info.
#![expect(unsafe_code, reason = "`virt` 0.4 has no binding for these calls, or without names")]

use std::ffi::{CStr, c_int, c_uint};
use std::marker::PhantomData;
use std::ptr;

use virt::domain::Domain;
use virt::error::Error;

use super::stats::StatValue;

/// The records of one bulk call. Freed when dropped.
pub(super) struct Records {
    list: *mut virt_sys::virDomainStatsRecordPtr,
    count: usize,
}

/// The statistics of one domain, borrowed from the records of a call.
pub(super) struct Record<'a> {
    raw: virt_sys::virDomainStatsRecord,
    records: PhantomData<&'a Records>,
}

/// The statistics of a domain's job. Freed when dropped.
pub(super) struct JobStatistics {
    kind: c_int,
    list: virt_sys::virTypedParameterPtr,
    count: c_int,
}

/// The result of `virDomainGetControlInfo`.
#[derive(Debug, Clone, Copy)]
pub(super) struct ControlInfo {
    /// One of `VIR_DOMAIN_CONTROL_*`.
    pub(super) state: u32,
    /// How long it has been in this state, ms; 0 if unknown.
    pub(super) for_ms: u64,
}

impl Records {
    /// Calls `virDomainListGetStats`. All domains must be of one connection; libvirt omits removed
    /// ones.
    pub(super) fn of(domains: &[&Domain], groups: u32, flags: u32) -> Result<Self, Error> {
        if domains.is_empty() {
            return Ok(Self { list: ptr::null_mut(), count: 0 });
        }
        let mut pointers: Vec<virt_sys::virDomainPtr> =
            domains.iter().map(|domain| domain.as_ptr()).collect();
        pointers.push(ptr::null_mut());
        let mut list = ptr::null_mut();
        // SAFETY: `pointers` is a NULL-terminated array of valid domain objects, which `domains`
        // keeps alive over the call; `list` is written by libvirt if the answer is not -1.
        let count = unsafe {
            virt_sys::virDomainListGetStats(pointers.as_mut_ptr(), groups, &mut list, flags)
        };
        match usize::try_from(count) {
            Ok(count) => Ok(Self { list, count }),
            Err(_) => Err(Error::last_error()),
        }
    }

    /// Iterates in libvirt's order.
    pub(super) fn iter(&self) -> impl Iterator<Item = Record<'_>> {
        (0..self.count).map(|index| {
            // SAFETY: libvirt returned that `list` holds `count` valid records; they live until
            // `self` is dropped, and the result borrows `self`.
            let raw = unsafe { **self.list.add(index) };
            Record { raw, records: PhantomData }
        })
    }
}

impl Drop for Records {
    fn drop(&mut self) {
        if !self.list.is_null() {
            // SAFETY: `list` comes from libvirt, is NULL-terminated as libvirt made it, and is
            // freed nowhere else; no record outlives `self`.
            unsafe { virt_sys::virDomainStatsRecordListFree(self.list) };
        }
    }
}

impl Record<'_> {
    /// The uuid of the record's domain.
    pub(super) fn uuid(&self) -> Result<uuid::Uuid, Error> {
        let mut bytes = [0; 16];
        // SAFETY: the record holds a reference to its domain; the buffer has the
        // VIR_UUID_BUFLEN (16) bytes that libvirt writes.
        let answer = unsafe { virt_sys::virDomainGetUUID(self.raw.dom, bytes.as_mut_ptr()) };
        if answer == -1 {
            return Err(Error::last_error());
        }
        Ok(uuid::Uuid::from_bytes(bytes))
    }

    /// All pairs of name and value. Skips pairs that are not UTF-8; libvirt makes none.
    pub(super) fn pairs(&self) -> impl Iterator<Item = (&str, StatValue<'_>)> {
        let count = usize::try_from(self.raw.nparams).unwrap_or(0);
        (0..count).filter_map(move |index| {
            // SAFETY: `params` holds `nparams` parameters, which live as long as the records that
            // `self` borrows from.
            let param = unsafe { &*self.raw.params.add(index) };
            Some((name(param)?, value(param)?))
        })
    }
}

impl JobStatistics {
    /// Calls `virDomainGetJobStats`, which waits for the domain's monitor.
    pub(super) fn of(domain: &Domain) -> Result<Self, Error> {
        let mut job = Self { kind: 0, list: ptr::null_mut(), count: 0 };
        // SAFETY: the domain object is valid while `domain` lives; libvirt writes a list of its own
        // and its length if the answer is not -1.
        let answer = unsafe {
            virt_sys::virDomainGetJobStats(
                domain.as_ptr(),
                &mut job.kind,
                &mut job.list,
                &mut job.count,
                0,
            )
        };
        if answer == -1 { Err(Error::last_error()) } else { Ok(job) }
    }

    /// Whether the job still runs.
    pub(super) fn is_active(&self) -> bool {
        let active = [virt_sys::VIR_DOMAIN_JOB_BOUNDED, virt_sys::VIR_DOMAIN_JOB_UNBOUNDED];
        c_uint::try_from(self.kind).is_ok_and(|kind| active.contains(&kind))
    }

    /// All pairs of name and value.
    pub(super) fn pairs(&self) -> impl Iterator<Item = (&str, StatValue<'_>)> {
        let count = if self.list.is_null() { 0 } else { usize::try_from(self.count).unwrap_or(0) };
        (0..count).filter_map(move |index| {
            // SAFETY: the list holds `count` parameters, which live until `self` is dropped.
            let param = unsafe { &*self.list.add(index) };
            Some((name(param)?, value(param)?))
        })
    }
}

impl Drop for JobStatistics {
    fn drop(&mut self) {
        if !self.list.is_null() {
            // SAFETY: the list and its length are libvirt's, and nothing borrows from it any more.
            unsafe { virt_sys::virTypedParamsFree(self.list, self.count) };
        }
    }
}

fn name(param: &virt_sys::virTypedParameter) -> Option<&str> {
    // SAFETY: libvirt terminates `field` with a NUL within its 80 bytes.
    unsafe { CStr::from_ptr(param.field.as_ptr()) }.to_str().ok()
}

fn value(param: &virt_sys::virTypedParameter) -> Option<StatValue<'_>> {
    let Ok(kind) = c_uint::try_from(param.type_) else { return Some(StatValue::Other) };
    // SAFETY: `type_` says which member of the union libvirt wrote; a string is NUL-terminated
    // and owned by the record.
    unsafe {
        Some(match kind {
            virt_sys::VIR_TYPED_PARAM_INT => StatValue::Signed(i64::from(param.value.i)),
            virt_sys::VIR_TYPED_PARAM_UINT => StatValue::Unsigned(u64::from(param.value.ui)),
            virt_sys::VIR_TYPED_PARAM_LLONG => StatValue::Signed(param.value.l),
            virt_sys::VIR_TYPED_PARAM_ULLONG => StatValue::Unsigned(param.value.ul),
            virt_sys::VIR_TYPED_PARAM_DOUBLE => StatValue::Float(param.value.d),
            virt_sys::VIR_TYPED_PARAM_BOOLEAN => StatValue::Bool(param.value.b != 0),
            virt_sys::VIR_TYPED_PARAM_STRING => {
                if param.value.s.is_null() {
                    return None;
                }
                StatValue::Text(CStr::from_ptr(param.value.s).to_str().ok()?)
            }
            _ => StatValue::Other,
        })
    }
}

/// Calls `virDomainGetControlInfo`: the state of the monitor as libvirtd knows it, without a
/// request to QEMU.
pub(super) fn control_info(domain: &Domain) -> Result<ControlInfo, Error> {
    let mut info = virt_sys::virDomainControlInfo { state: 0, details: 0, stateTime: 0 };
    // SAFETY: the domain object is valid while `domain` lives, and `info` is a plain struct that
    // libvirt fills.
    let answer: c_int = unsafe { virt_sys::virDomainGetControlInfo(domain.as_ptr(), &mut info, 0) };
    if answer == -1 {
        return Err(Error::last_error());
    }
    Ok(ControlInfo { state: info.state, for_ms: info.stateTime })
}
