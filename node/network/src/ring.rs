//! Who dials whom: every node the half of the others that follows it on the ring of sorted ids.
//!
//! With n nodes each dials its next `floor((n-1)/2)` successors. When n is even the node exactly
//! opposite is left over; the lower id of the two dials it. So each pair has one dialler and
//! everybody has at least `floor((n-1)/2)` outbound connections.

use crate::NodeId;

/// Whether `dialler` owns the connection with `other`, given all `nodes` sorted, both among them.
///
/// A node that is not in `nodes` owns nothing.
pub(crate) fn owns(nodes: &[NodeId], dialler: NodeId, other: NodeId) -> bool {
    let (Ok(from), Ok(to)) = (nodes.binary_search(&dialler), nodes.binary_search(&other)) else {
        return false;
    };
    let n = nodes.len();
    let distance = (to + n - from) % n;
    match (2 * distance).cmp(&n) {
        std::cmp::Ordering::Less => distance > 0,
        std::cmp::Ordering::Equal => dialler < other,
        std::cmp::Ordering::Greater => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_pair_has_one_dialler_and_everybody_dials_half() {
        for n in 2u8..=40 {
            let nodes: Vec<NodeId> = (0..n).map(|i| NodeId([i; 32])).collect();
            for a in &nodes {
                let dials = nodes.iter().filter(|b| owns(&nodes, *a, **b)).count();
                assert!(dials >= (usize::from(n) - 1) / 2, "n={n} {a:?} dials {dials}");
                assert!(dials <= usize::from(n) / 2, "n={n} {a:?} dials {dials}");
                assert!(!owns(&nodes, *a, *a));
                for b in nodes.iter().filter(|b| *b != a) {
                    assert_ne!(owns(&nodes, *a, *b), owns(&nodes, *b, *a), "n={n} {a:?} {b:?}");
                }
            }
        }
    }

    #[test]
    fn a_stranger_owns_nothing() {
        let nodes = [NodeId([1; 32]), NodeId([2; 32])];
        assert!(!owns(&nodes, NodeId([3; 32]), nodes[0]));
        assert!(!owns(&nodes, nodes[0], NodeId([3; 32])));
    }
}
