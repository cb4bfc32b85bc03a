//! The few header fields the emulator looks at.

/// Where a packet goes and whether it must keep its place.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) destination: [u8; 4],
    /// Neither ICMP nor UDP.
    pub(super) ordered: bool,
}

const ICMP: u8 = 1;
const UDP: u8 = 17;

/// Reads an IPv4 header; `None` for anything else.
pub(super) fn parse(packet: &[u8]) -> Option<Header> {
    if packet.len() < 20 || packet[0] >> 4 != 4 {
        return None;
    }
    let destination = packet[16..20].try_into().expect("four bytes");
    Some(Header { destination, ordered: !matches!(packet[9], ICMP | UDP) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_destination_and_kind_of_ipv4_only() {
        let mut packet = [0u8; 40];
        packet[0] = 0x45;
        packet[9] = UDP;
        packet[16..20].copy_from_slice(&[10, 11, 0, 1]);
        let header = parse(&packet).unwrap();
        assert_eq!(header, Header { destination: [10, 11, 0, 1], ordered: false });
        packet[9] = 6;
        assert!(parse(&packet).unwrap().ordered, "TCP keeps its order");
        packet[0] = 0x60;
        assert_eq!(parse(&packet), None, "IPv6");
        assert_eq!(parse(&packet[..19]), None, "too short");
    }
}
