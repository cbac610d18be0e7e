//! Packs lines into datagrams.

/// The maximum size of a datagram in bytes. It fits into an Ethernet frame, including IPv6 and
/// tunnels.
pub(crate) const MAX_DATAGRAM: usize = 1432;

/// Packs entries into datagrams. Also returns how many entries are too long for any. The two lines
/// of an entry stay in one datagram, because datagrams may be reordered.
pub(crate) fn packed(entries: &[String]) -> (Vec<Vec<u8>>, usize) {
    let mut datagrams: Vec<Vec<u8>> = Vec::new();
    let mut too_long = 0;
    for entry in entries {
        if entry.len() > MAX_DATAGRAM {
            too_long += 1;
            continue;
        }
        match datagrams.last_mut() {
            Some(last) if last.len() + 1 + entry.len() <= MAX_DATAGRAM => {
                last.push(b'\n');
                last.extend_from_slice(entry.as_bytes());
            }
            _ => datagrams.push(entry.clone().into_bytes()),
        }
    }
    (datagrams, too_long)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn datagrams_are_filled_up_to_the_limit() {
        let mut entries: Vec<String> =
            (0..200).map(|number| format!("name.{number}:1|g")).collect();
        entries.insert(100, "x".repeat(MAX_DATAGRAM + 1));
        entries.push("y".repeat(MAX_DATAGRAM));
        let (datagrams, too_long) = packed(&entries);
        assert_eq!(too_long, 1);
        assert!(datagrams.iter().all(|one| one.len() <= MAX_DATAGRAM));
        assert!(datagrams[0].len() > MAX_DATAGRAM - 20);
        entries.remove(100);
        let all: Vec<String> =
            datagrams.into_iter().map(|one| String::from_utf8(one).unwrap()).collect();
        assert_eq!(all.join("\n"), entries.join("\n"));
    }

    #[test]
    fn two_lines_of_one_entry_share_a_datagram() {
        let two = "g:0|g\ng:-5|g".to_owned();
        let first = "z".repeat(MAX_DATAGRAM - two.len());
        let (datagrams, _) = packed(&[first, two.clone()]);
        assert_eq!(datagrams[1], two.into_bytes());
    }

    #[test]
    fn no_entries_make_no_datagram() {
        assert_eq!(packed(&[]), (vec![], 0));
    }
}
