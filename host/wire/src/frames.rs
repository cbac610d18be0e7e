//! Frames of messages in envelopes and streams: the length as eight bytes, little-endian, followed
//! by the message.

const HEAD: usize = size_of::<u64>();

/// Appends a frame with the message that `write` appends. Returns the length of the message.
pub fn append(out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) -> usize {
    let start = out.len();
    out.extend_from_slice(&[0; HEAD]);
    write(out);
    let length = out.len() - start - HEAD;
    let written = u64::try_from(length).expect("a length fits");
    out[start..start + HEAD].copy_from_slice(&written.to_le_bytes());
    length
}

/// The messages in frames that [`append`] wrote.
pub fn messages(frames: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = frames;
    std::iter::from_fn(move || {
        let (head, behind) = rest.split_first_chunk::<HEAD>()?;
        let length = usize::try_from(u64::from_le_bytes(*head)).ok()?;
        let (message, others) = behind.split_at_checked(length)?;
        rest = others;
        Some(message)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn appended_frames_are_parsed() {
        let mut out = Vec::new();
        let long = vec![7; 0x1a2];
        assert_eq!(append(&mut out, |out| out.extend_from_slice(&long)), long.len());
        // The test vector of the reference.
        assert_eq!(out[..HEAD], [0xa2, 0x01, 0, 0, 0, 0, 0, 0]);
        append(&mut out, |_| {});
        append(&mut out, |out| out.push(1));
        let found: Vec<&[u8]> = messages(&out).collect();
        assert_eq!(found, [long.as_slice(), &[], &[1]]);
        assert_eq!(messages(&out[..out.len() - 1]).count(), 2);
    }
}
