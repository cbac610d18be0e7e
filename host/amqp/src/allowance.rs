//! What a broker may still send on a connection. The frame guard takes from it, publishers and
//! consumers set it.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};

use tokio::sync::watch;

use crate::frame_error::FrameError;

/// The messages that a broker may still send: to a publisher at most those that were sent to it, to a
/// consumer at most those that may be unacknowledged.
#[derive(Debug, Default)]
pub(crate) struct Allowance {
    messages: AtomicUsize,
    bytes: AtomicUsize,
    /// Whether a message needed more bytes than were left.
    exceeded: AtomicBool,
    unreadable: watch::Sender<Option<UnreadableMessage>>,
    rejection: watch::Sender<Option<FrameError>>,
}

/// A delivery whose content header is not accepted. It was not passed on to the library.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct UnreadableMessage {
    pub(crate) channel: u16,
    pub(crate) tag: u64,
    pub(crate) reason: FrameError,
}

impl Allowance {
    /// Sets the numbers of messages and bytes. A publisher is about to send them; all earlier
    /// messages must be confirmed.
    pub(crate) fn set(&self, messages: usize, bytes: usize) {
        self.messages.store(messages, Relaxed);
        self.bytes.store(bytes, Relaxed);
    }

    /// Adds messages and bytes: of a further queue, or of a message that is about to be acknowledged.
    pub(crate) fn add(&self, messages: usize, bytes: usize) {
        self.messages.fetch_add(messages, Relaxed);
        self.bytes.fetch_add(bytes, Relaxed);
    }

    /// Takes a message; `None` if none is left.
    pub(crate) fn take_message(&self) -> Option<()> {
        subtract(&self.messages, 1)
    }

    /// Takes the bytes of a message; `None` if fewer are left.
    pub(crate) fn take_bytes(&self, bytes: u64) -> Option<()> {
        let taken = usize::try_from(bytes).ok().and_then(|bytes| subtract(&self.bytes, bytes));
        if taken.is_none() {
            self.exceeded.store(true, Relaxed);
        }
        taken
    }

    /// Whether the connection has ended because a message needed more bytes than were left.
    pub(crate) fn is_exceeded(&self) -> bool {
        self.exceeded.load(Relaxed)
    }

    /// Reports a delivery that the consumer has to refuse.
    pub(crate) fn report(&self, message: UnreadableMessage) {
        self.unreadable.send_replace(Some(message));
    }

    /// The delivery that has to be refused.
    pub(crate) fn unreadable(&self) -> Option<UnreadableMessage> {
        *self.unreadable.borrow()
    }

    /// Waits for a delivery that has to be refused.
    pub(crate) async fn wait_for_unreadable(&self) -> UnreadableMessage {
        wait(&self.unreadable).await
    }

    /// Reports a frame that ends the connection.
    pub(crate) fn reject(&self, reason: FrameError) {
        self.rejection.send_replace(Some(reason));
    }

    /// Waits for a frame that ends the connection.
    pub(crate) async fn wait_for_rejection(&self) -> FrameError {
        wait(&self.rejection).await
    }
}

/// Waits until there is a value.
async fn wait<T: Copy>(sender: &watch::Sender<Option<T>>) -> T {
    let mut values = sender.subscribe();
    loop {
        if let Some(value) = *values.borrow_and_update() {
            return value;
        }
        // The caller has the sender: this fails never.
        if values.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

fn subtract(from: &AtomicUsize, amount: usize) -> Option<()> {
    from.fetch_update(Relaxed, Relaxed, |left| left.checked_sub(amount)).ok().map(drop)
}
