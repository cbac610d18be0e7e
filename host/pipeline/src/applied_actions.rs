//! The failure actions of a batch as bytes of the journal, so that a restart applies them again.

use crate::transform::{AppliedAction, FailureAction};

/// Size of one action: the index of its transformer, four bytes, and the action, one byte.
const ACTION_BYTES: usize = 5;

pub(super) fn encode(actions: &[AppliedAction]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(actions.len() * ACTION_BYTES);
    for action in actions {
        let index = u32::try_from(action.transformer_index).expect("a sink has fewer transformers");
        bytes.extend_from_slice(&index.to_le_bytes());
        bytes.push(match action.action {
            FailureAction::Drop => 0,
            FailureAction::Keep => 1,
        });
    }
    bytes
}

/// Returns no action if the bytes are malformed: the batch is then tried again.
pub(super) fn decode(bytes: &[u8]) -> Vec<AppliedAction> {
    let read = |chunk: &[u8]| {
        let (index, action) = chunk.split_first_chunk::<4>()?;
        let transformer_index = usize::try_from(u32::from_le_bytes(*index)).ok()?;
        let action = match action {
            [0] => FailureAction::Drop,
            [1] => FailureAction::Keep,
            _ => return None,
        };
        Some(AppliedAction { transformer_index, action })
    };
    bytes.chunks(ACTION_BYTES).map(read).collect::<Option<_>>().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn encoded_actions_are_decoded_and_malformed_bytes_are_not() {
        let actions = [
            AppliedAction { transformer_index: 0, action: FailureAction::Keep },
            AppliedAction { transformer_index: 300, action: FailureAction::Drop },
        ];
        assert_eq!(decode(&encode(&actions)), actions);
        for malformed in [&[0, 0, 0, 0][..], &[0, 0, 0, 0, 2], &[0, 0, 0, 0, 1, 7]] {
            assert!(decode(malformed).is_empty(), "{malformed:?}");
        }
    }
}
