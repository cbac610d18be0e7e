//! What was decided on batches that a component failed on, as the journal keeps it.

use crate::transform::{Decision, Verdict};

/// Stage and decision, five bytes each.
const BYTES: usize = 5;

pub(super) fn encode(verdicts: &[Verdict]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(verdicts.len() * BYTES);
    for verdict in verdicts {
        let stage = u32::try_from(verdict.stage).expect("a sink has fewer transformers");
        bytes.extend_from_slice(&stage.to_le_bytes());
        bytes.push(match verdict.decision {
            Decision::Drop => 0,
            Decision::Keep => 1,
        });
    }
    bytes
}

/// Nothing for bytes that are no verdicts: then the batch is tried again.
pub(super) fn decode(bytes: &[u8]) -> Vec<Verdict> {
    let read = |chunk: &[u8]| {
        let (stage, decision) = chunk.split_first_chunk::<4>()?;
        let decision = match decision {
            [0] => Decision::Drop,
            [1] => Decision::Keep,
            _ => return None,
        };
        Some(Verdict { stage: usize::try_from(u32::from_le_bytes(*stage)).ok()?, decision })
    };
    bytes.chunks(BYTES).map(read).collect::<Option<_>>().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_nothing_else() {
        let verdicts = [
            Verdict { stage: 0, decision: Decision::Keep },
            Verdict { stage: 300, decision: Decision::Drop },
        ];
        assert_eq!(decode(&encode(&verdicts)), verdicts);
        for wrong in [&[0, 0, 0, 0][..], &[0, 0, 0, 0, 2], &[0, 0, 0, 0, 1, 7]] {
            assert!(decode(wrong).is_empty(), "{wrong:?}");
        }
    }
}
