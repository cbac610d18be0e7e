//! Lines into datagrams.

/// The most bytes of a datagram that pass every Ethernet in one piece, IPv6 and tunnels included.
pub(crate) const AT_MOST: usize = 1432;

/// Datagrams of whole entries, and how many entries are too long for any. An entry may be two
/// lines, which stay together: datagrams may overtake each other.
pub(crate) fn packed(entries: &[String]) -> (Vec<Vec<u8>>, usize) {
    let mut datagrams: Vec<Vec<u8>> = Vec::new();
    let mut too_long = 0;
    for entry in entries {
        if entry.len() > AT_MOST {
            too_long += 1;
            continue;
        }
        match datagrams.last_mut() {
            Some(last) if last.len() + 1 + entry.len() <= AT_MOST => {
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
    fn datagrams_are_filled_and_never_overfull() {
        let mut entries: Vec<String> =
            (0..200).map(|number| format!("name.{number}:1|g")).collect();
        entries.insert(100, "x".repeat(AT_MOST + 1));
        entries.push("y".repeat(AT_MOST));
        let (datagrams, too_long) = packed(&entries);
        assert_eq!(too_long, 1);
        assert!(datagrams.iter().all(|one| one.len() <= AT_MOST));
        assert!(datagrams[0].len() > AT_MOST - 20);
        entries.remove(100);
        let all: Vec<String> =
            datagrams.into_iter().map(|one| String::from_utf8(one).unwrap()).collect();
        assert_eq!(all.join("\n"), entries.join("\n"));
    }

    #[test]
    fn two_lines_of_one_entry_stay_together() {
        let two = "g:0|g\ng:-5|g".to_owned();
        let first = "z".repeat(AT_MOST - two.len());
        let (datagrams, _) = packed(&[first, two.clone()]);
        assert_eq!(datagrams[1], two.into_bytes());
    }

    #[test]
    fn nothing_makes_no_datagram() {
        assert_eq!(packed(&[]), (vec![], 0));
    }
}
