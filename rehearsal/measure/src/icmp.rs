//! ICMP echo messages that carry who asked, for which pair, and the how many-th it is.

/// Type, code, checksum, identifier, sequence number.
const HEADER: usize = 8;
/// What marks the messages of one prober.
pub(crate) const TAG: usize = 16;
/// Header, tag, lane and number.
pub(crate) const LEAST: usize = HEADER + TAG + 4 + 4;

/// Which probe an answer belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ProbeId {
    /// The prober's number for the directed pair.
    pub(crate) lane: u32,
    /// The probe's number, warm-up included.
    pub(crate) number: u32,
}

/// Writes an echo request over the whole of `message`.
///
/// *Shape*: `message` has at least [`LEAST`] bytes.
pub(crate) fn write_request(message: &mut [u8], identifier: u16, tag: &[u8; TAG], id: ProbeId) {
    message.fill(0);
    message[0] = 8; // RFC 792, echo
    message[4..6].copy_from_slice(&identifier.to_be_bytes());
    // The field is 16 bits wide; the whole number is in the data.
    message[6..8].copy_from_slice(&(id.number as u16).to_be_bytes());
    message[8..24].copy_from_slice(tag);
    message[24..28].copy_from_slice(&id.lane.to_be_bytes());
    message[28..32].copy_from_slice(&id.number.to_be_bytes());
    let sum = checksum(message);
    message[2..4].copy_from_slice(&sum.to_be_bytes());
}

/// Finds the probe in a packet that holds one of our messages, behind whatever headers there are.
pub(crate) fn find(packet: &[u8], tag: &[u8; TAG]) -> Option<ProbeId> {
    let at = packet.windows(TAG).position(|window| window == tag)?;
    let rest = packet.get(at + TAG..at + TAG + 8)?;
    let word = |from: usize| {
        rest[from..from + 4].iter().fold(0u32, |word, byte| word << 8 | u32::from(*byte))
    };
    Some(ProbeId { lane: word(0), number: word(4) })
}

/// RFC 1071.
fn checksum(message: &[u8]) -> u16 {
    let mut sum: u32 = 0;
    for pair in message.chunks(2) {
        let low = pair.get(1).copied().unwrap_or(0);
        sum += u32::from(u16::from_be_bytes([pair[0], low]));
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_found_behind_headers_and_by_its_own_tag_only() {
        let (tag, id) = ([7; TAG], ProbeId { lane: 3, number: 70_000 });
        let mut message = [0; 64];
        write_request(&mut message, 5, &tag, id);
        assert_eq!(checksum(&message), 0, "a message with its checksum sums to zero");
        let packet = [&[1; 34][..], &message].concat();
        assert_eq!(find(&packet, &tag), Some(id));
        assert_eq!(find(&packet, &[8; TAG]), None);
        assert_eq!(find(&packet[..60], &tag), None, "cut off");
        assert_eq!(find(&[], &tag), None);
    }
}
