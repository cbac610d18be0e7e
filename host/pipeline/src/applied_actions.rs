//! What was decided on batches that a component failed on, as the journal keeps it.

use crate::transform::{AppliedAction, FailureAction};

/// Stage and decision, five bytes each.
const BYTES: usize = 5;

pub(super) fn encode(actions: &[AppliedAction]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(actions.len() * BYTES);
    for action in actions {
        let slot = u32::try_from(action.slot).expect("a sink has fewer transformers");
        bytes.extend_from_slice(&slot.to_le_bytes());
        bytes.push(match action.action {
            FailureAction::Drop => 0,
            FailureAction::Keep => 1,
        });
    }
    bytes
}

/// Nothing for bytes that are no verdicts: then the batch is tried again.
pub(super) fn decode(bytes: &[u8]) -> Vec<AppliedAction> {
    let read = |chunk: &[u8]| {
        let (slot, action) = chunk.split_first_chunk::<4>()?;
        let action = match action {
            [0] => FailureAction::Drop,
            [1] => FailureAction::Keep,
            _ => return None,
        };
        Some(AppliedAction { slot: usize::try_from(u32::from_le_bytes(*slot)).ok()?, action })
    };
    bytes.chunks(BYTES).map(read).collect::<Option<_>>().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_nothing_else() {
        let actions = [
            AppliedAction { slot: 0, action: FailureAction::Keep },
            AppliedAction { slot: 300, action: FailureAction::Drop },
        ];
        assert_eq!(decode(&encode(&actions)), actions);
        for wrong in [&[0, 0, 0, 0][..], &[0, 0, 0, 0, 2], &[0, 0, 0, 0, 1, 7]] {
            assert!(decode(wrong).is_empty(), "{wrong:?}");
        }
    }
}
