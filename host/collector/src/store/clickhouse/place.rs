//! Which server has what.

/// The number of the server of a resource or a stream: FNV-1a, which must never change.
pub(super) fn place_of(key: &[u8], servers: usize) -> usize {
    let hash = key.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let servers = u64::try_from(servers.max(1)).unwrap_or(1);
    // The lowest bits of this hash alone are uneven for few servers.
    usize::try_from((hash ^ (hash >> 32)) % servers).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::place_of;

    // Samples that are stored are looked for where they were put.
    #[test]
    fn places_are_even_and_never_change() {
        let mut counts = [0; 3];
        for number in 0..3_000 {
            counts[place_of(format!("resource-{number}").as_bytes(), 3)] += 1;
        }
        assert!(counts.iter().all(|count| (900..1_100).contains(count)), "{counts:?}");
        let found = ["", "a", "b", "3a5f2c1e-6821-11e5-9d70-fa163e000001"]
            .map(|key| place_of(key.as_bytes(), 7));
        assert_eq!(found, [6, 1, 5, 4]);
    }
}
