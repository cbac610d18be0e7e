//! Base64 (RFC 4648): the common form for headers (section 4), that for URLs for paths (section 5).

const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// Encodes bytes with the characters that are safe in URLs and file names, without padding.
pub fn base64_for_urls(bytes: &[u8]) -> String {
    encoded(bytes).trim_end_matches('=').replace('+', "-").replace('/', "_")
}

/// Encodes bytes, with padding.
pub(crate) fn encoded(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let byte = |index: usize| u32::from(group.get(index).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for position in 0..4 {
            if position <= group.len() {
                let digit = DIGITS[(bits >> (18 - 6 * position) & 63) as usize];
                text.push(char::from(digit));
            } else {
                text.push('=');
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_examples_of_the_rfc_are_encoded() {
        let examples =
            [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foobar", "Zm9vYmFy")];
        for (plain, encoded) in examples {
            assert_eq!(super::encoded(plain.as_bytes()), encoded);
        }
        assert_eq!(super::encoded(&[0xfb, 0xff]), "+/8=");
        assert_eq!(super::base64_for_urls(&[0xfb, 0xff]), "-_8");
    }
}
