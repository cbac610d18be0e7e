//! Messages that are handed over together, so that a commit has one row for many of them.

use nephometer_wire::{is_packed, unpack};
use serde_json::Value;

use super::Inlet;
use crate::message::{Arrival, RefusedSample};
use crate::sample::{Refusal, Shared};

/// Messages of one receiver.
#[derive(Default)]
pub(super) struct PackedBatch {
    /// Those that can be read, one behind the other.
    body: Vec<u8>,
    /// Those that cannot, each for itself: they become dead letters.
    unreadable: Vec<Vec<u8>>,
    /// Lengths of those that were skipped.
    skipped: Vec<u64>,
    messages: u64,
    bytes: usize,
}

impl PackedBatch {
    pub(super) fn add(&mut self, message: &[u8]) {
        self.messages += 1;
        self.bytes += message.len().max(1);
        let mut rest = message;
        let read = is_packed(message).then(|| unpack(&mut rest));
        let is_sample = match read {
            Some(Ok(Value::Object(map))) => map.contains_key("resource_id"),
            _ => false,
        };
        if is_sample && rest.is_empty() {
            self.body.extend_from_slice(message);
        } else {
            self.unreadable.push(message.to_vec());
        }
    }

    /// Counts a message that was too long to be read.
    pub(super) fn skip(&mut self, length: u64) {
        self.messages += 1;
        self.bytes += 1;
        self.skipped.push(length);
    }

    /// The bytes of its messages.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn is_empty(&self) -> bool {
        self.messages == 0
    }

    /// Hands everything over and waits for its commit. False if the collector ends before.
    pub(super) async fn commit(self, inlet: Inlet) -> bool {
        inlet.health.count_received(&inlet.origin, self.messages);
        let mut receipts = Vec::new();
        let read = (!self.body.is_empty()).then_some(self.body);
        for body in read.into_iter().chain(self.unreadable) {
            let arrival = Arrival { origin: Shared::clone(&inlet.origin), body, place: None };
            let Some(receipt) = inlet.handover.hand(arrival).await else { return false };
            receipts.push(receipt);
        }
        for length in self.skipped {
            let detail = format!("a message of {length} bytes");
            let refused = RefusedSample { refusal: Refusal::TooLarge, detail };
            let refused = inlet.handover.refuse(Shared::clone(&inlet.origin), refused).await;
            let Some(receipt) = refused else { return false };
            receipts.push(receipt);
        }
        for receipt in receipts {
            if receipt.await.is_err() {
                return false;
            }
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unreadable_message_does_not_spoil_the_others() {
        let mut batch = PackedBatch::default();
        let good: &[u8] = b"\x81\xabresource_id\xa1r";
        for message in [good, b"\x81\xa1a", b"\x81\xa1a\x01", b"\x80\x02", b"\x01", b"", good] {
            batch.add(message);
        }
        batch.skip(1 << 20);
        assert_eq!(batch.body, [good, good].concat());
        assert_eq!((batch.unreadable.len(), batch.skipped.len(), batch.messages), (5, 1, 8));
    }
}
