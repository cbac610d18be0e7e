//! Events of domains, received from libvirtd.
#![expect(unsafe_code, reason = "`virt` 0.4 has no binding for events of domains")]

use std::ffi::{c_char, c_int, c_uint, c_void};
use std::sync::OnceLock;
use std::thread;
use std::time::Duration;

use uuid::Uuid;
use virt::error::Error;

use super::{Connection, VirtError};
use nephometer_model::{LifecycleEvent, StopReason};

/// Keepalive: seconds of silence before a probe, and unanswered probes until the connection counts
/// as dead.
const KEEPALIVE: (c_int, c_uint) = (5, 3);

/// VIR_DOMAIN_EVENT_CALLBACK of libvirt's headers: the generic type of all callbacks.
type RawCallback =
    unsafe extern "C" fn(virt_sys::virConnectPtr, virt_sys::virDomainPtr, *mut c_void);

/// What libvirtd reports of a domain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DomainNotice {
    /// It has started, ended or changed.
    Event(LifecycleEvent),
    /// An iteration of its migration to another host begins.
    Migrating,
    /// Its job, such as a migration, has ended.
    JobEnded,
}

/// Receives notices.
type EventCallback = dyn Fn(Uuid, DomainNotice) + Send + Sync;

/// A connection that receives events.
pub(crate) struct EventConnection {
    connection: Connection,
    callbacks: Vec<c_int>,
}

/// Starts libvirt's event loop on a thread of its own. Connections opened later use it. Runs once
/// per process; later calls return the first result.
fn start_loop() -> Result<(), VirtError> {
    static STARTED: OnceLock<Result<(), VirtError>> = OnceLock::new();
    STARTED
        .get_or_init(|| {
            // SAFETY: no connection is open yet that uses another loop, and the default
            // implementation may be registered from any thread.
            if unsafe { virt_sys::virEventRegisterDefaultImpl() } == -1 {
                return Err(Error::last_error().into());
            }
            let body = || loop {
                // SAFETY: the default implementation has been registered; only this thread runs it.
                if unsafe { virt_sys::virEventRunDefaultImpl() } == -1 {
                    // A persistent error must not turn this into a busy loop.
                    thread::sleep(Duration::from_secs(1));
                }
            };
            let thread = thread::Builder::new().name("libvirt-events".to_owned()).spawn(body);
            thread.map(drop).map_err(|error| VirtError::Other(error.to_string()))
        })
        .clone()
}

impl EventConnection {
    /// Opens a connection and calls `report` for every event, on the thread of the event loop: it
    /// must not block.
    ///
    /// # Errors
    /// libvirt cannot be reached, or its driver has no lifecycle events.
    pub(crate) fn open(
        uri: &str,
        report: impl Fn(Uuid, DomainNotice) + Clone + Send + Sync + 'static,
    ) -> Result<Self, VirtError> {
        start_loop()?;
        let mut watch = Self { connection: Connection::open(uri)?, callbacks: Vec::new() };
        let (interval, count) = KEEPALIVE;
        // Fails for drivers without a remote end, which need no keepalive: the result is ignored.
        // SAFETY: the connection is open.
        let _local =
            unsafe { virt_sys::virConnectSetKeepAlive(watch.connection.as_ptr(), interval, count) };
        let callbacks = [
            (virt_sys::VIR_DOMAIN_EVENT_ID_LIFECYCLE, lifecycle as *const ()),
            (virt_sys::VIR_DOMAIN_EVENT_ID_DEVICE_ADDED, device as *const ()),
            (virt_sys::VIR_DOMAIN_EVENT_ID_DEVICE_REMOVED, device as *const ()),
            (virt_sys::VIR_DOMAIN_EVENT_ID_METADATA_CHANGE, metadata as *const ()),
            (virt_sys::VIR_DOMAIN_EVENT_ID_MIGRATION_ITERATION, iteration as *const ()),
            (virt_sys::VIR_DOMAIN_EVENT_ID_JOB_COMPLETED, job_completed as *const ()),
        ];
        for (id, callback) in callbacks {
            // SAFETY: libvirt calls each with the parameters that go with its id; the generic type
            // stands for all of them, as in libvirt's own headers.
            let callback = unsafe { std::mem::transmute::<*const (), RawCallback>(callback) };
            let report: Box<Box<EventCallback>> = Box::new(Box::new(report.clone()));
            let registered = watch.register(id, Some(callback), report);
            // A driver may lack the others; then changes are noticed in the next cycle, and
            // migrations by the state of their domain only.
            if id == virt_sys::VIR_DOMAIN_EVENT_ID_LIFECYCLE {
                registered?;
            }
        }
        Ok(watch)
    }

    fn register(
        &mut self,
        id: c_uint,
        callback: virt_sys::virConnectDomainEventGenericCallback,
        report: Box<Box<EventCallback>>,
    ) -> Result<(), VirtError> {
        let id = c_int::try_from(id).map_err(|error| VirtError::Other(error.to_string()))?;
        let opaque = Box::into_raw(report).cast::<c_void>();
        // SAFETY: the connection is open; `opaque` lives until libvirt calls `free`, which it does
        // once it will not call `callback` any more.
        let registered = unsafe {
            virt_sys::virConnectDomainEventRegisterAny(
                self.connection.as_ptr(),
                std::ptr::null_mut(),
                id,
                callback,
                opaque,
                Some(free),
            )
        };
        if registered == -1 {
            // SAFETY: libvirt has not taken it.
            unsafe { free(opaque) };
            return Err(Error::last_error().into());
        }
        self.callbacks.push(registered);
        Ok(())
    }

    /// Whether the connection is open, as far as known without a round trip.
    pub(crate) fn is_alive(&self) -> bool {
        self.connection.is_alive()
    }
}

impl Drop for EventConnection {
    fn drop(&mut self) {
        for callback in &self.callbacks {
            // SAFETY: it was registered on this connection. On a dead connection this fails, but
            // there is nothing to undo either.
            let _result = unsafe {
                virt_sys::virConnectDomainEventDeregisterAny(self.connection.as_ptr(), *callback)
            };
        }
    }
}

/// # Safety
/// `opaque` was made by [`EventConnection::register`] and is not used any more.
unsafe extern "C" fn free(opaque: *mut c_void) {
    // SAFETY: see above.
    drop(unsafe { Box::from_raw(opaque.cast::<Box<EventCallback>>()) });
}

/// # Safety
/// As libvirt calls it: a valid domain, and `opaque` from [`EventConnection::register`].
unsafe fn report(domain: virt_sys::virDomainPtr, opaque: *mut c_void, what: DomainNotice) {
    let mut uuid = [0; 16];
    // SAFETY: the domain is valid during the call; the buffer has VIR_UUID_BUFLEN (16) bytes.
    if unsafe { virt_sys::virDomainGetUUID(domain, uuid.as_mut_ptr()) } == -1 {
        return;
    }
    // SAFETY: `opaque` is alive until `free`.
    let report = unsafe { &*opaque.cast::<Box<EventCallback>>() };
    report(Uuid::from_bytes(uuid), what);
}

unsafe extern "C" fn lifecycle(
    _: virt_sys::virConnectPtr,
    domain: virt_sys::virDomainPtr,
    event: c_int,
    detail: c_int,
    opaque: *mut c_void,
) -> c_int {
    let what = match c_uint::try_from(event).unwrap_or(c_uint::MAX) {
        virt_sys::VIR_DOMAIN_EVENT_STARTED => LifecycleEvent::Started,
        virt_sys::VIR_DOMAIN_EVENT_STOPPED => LifecycleEvent::Stopped(stop_reason(detail)),
        virt_sys::VIR_DOMAIN_EVENT_CRASHED => LifecycleEvent::Stopped(StopReason::Crashed),
        _ => LifecycleEvent::Other,
    };
    // SAFETY: these are libvirt's.
    unsafe { report(domain, opaque, DomainNotice::Event(what)) };
    0
}

fn stop_reason(detail: c_int) -> StopReason {
    match c_uint::try_from(detail).unwrap_or(c_uint::MAX) {
        virt_sys::VIR_DOMAIN_EVENT_STOPPED_SHUTDOWN => StopReason::Shutdown,
        virt_sys::VIR_DOMAIN_EVENT_STOPPED_DESTROYED => StopReason::Destroyed,
        virt_sys::VIR_DOMAIN_EVENT_STOPPED_CRASHED => StopReason::Crashed,
        virt_sys::VIR_DOMAIN_EVENT_STOPPED_MIGRATED => StopReason::Migrated,
        virt_sys::VIR_DOMAIN_EVENT_STOPPED_SAVED => StopReason::Saved,
        virt_sys::VIR_DOMAIN_EVENT_STOPPED_FAILED => StopReason::Failed,
        _ => StopReason::Other,
    }
}

unsafe extern "C" fn device(
    _: virt_sys::virConnectPtr,
    domain: virt_sys::virDomainPtr,
    _: *const c_char,
    opaque: *mut c_void,
) {
    // SAFETY: these are libvirt's.
    unsafe { report(domain, opaque, DomainNotice::Event(LifecycleEvent::Changed)) };
}

unsafe extern "C" fn metadata(
    _: virt_sys::virConnectPtr,
    domain: virt_sys::virDomainPtr,
    _: c_int,
    _: *const c_char,
    opaque: *mut c_void,
) {
    // SAFETY: these are libvirt's.
    unsafe { report(domain, opaque, DomainNotice::Event(LifecycleEvent::Changed)) };
}

unsafe extern "C" fn iteration(
    _: virt_sys::virConnectPtr,
    domain: virt_sys::virDomainPtr,
    _: c_int,
    opaque: *mut c_void,
) {
    // SAFETY: these are libvirt's.
    unsafe { report(domain, opaque, DomainNotice::Migrating) };
}

unsafe extern "C" fn job_completed(
    _: virt_sys::virConnectPtr,
    domain: virt_sys::virDomainPtr,
    _: virt_sys::virTypedParameterPtr,
    _: c_int,
    opaque: *mut c_void,
) {
    // SAFETY: these are libvirt's.
    unsafe { report(domain, opaque, DomainNotice::JobEnded) };
}
