//! The Merkle root over the files of a bundle.
//!
//! Leaves, inner nodes and the root are hashed under different tags, so no leaf can pass for a node
//! or the other way round; the number of leaves is part of the root, so trees of different shape
//! never share one. The shape is that of RFC 6962: the left subtree holds the largest power of two
//! smaller than the number of leaves.

use crate::digest::Digest;

const LEAF: &[u8] = b"QBIND:EVIDENCE:LEAF:v1\n";
const NODE: &[u8] = b"QBIND:EVIDENCE:NODE:v1\n";
const ROOT: &[u8] = b"QBIND:EVIDENCE:ROOT:v1\n";

/// What one leaf binds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Leaf<'a> {
    /// Path inside the bundle.
    pub path: &'a str,
    /// Bytes of the file.
    pub size: u64,
    /// SHA3-256 of the file.
    pub digest: Digest,
}

impl Leaf<'_> {
    fn hash(&self) -> Digest {
        let length = self.path.len() as u64;
        Digest::of(&[
            LEAF,
            &length.to_be_bytes(),
            self.path.as_bytes(),
            &self.size.to_be_bytes(),
            &self.digest.0,
        ])
    }
}

/// The root over `leaves`, in the order given.
pub fn merkle_root<'a>(leaves: impl IntoIterator<Item = Leaf<'a>>) -> Digest {
    // A stack of complete subtrees, as in a binary counter: no recursion, logarithmic memory.
    let mut complete: Vec<(u32, Digest)> = Vec::new();
    let mut count: u64 = 0;
    for leaf in leaves {
        let (mut level, mut hash) = (0, leaf.hash());
        while complete.last().is_some_and(|(top, _)| *top == level) {
            let (_, left) = complete.pop().expect("the last one was just seen");
            hash = node(&left, &hash);
            level += 1;
        }
        complete.push((level, hash));
        count += 1;
    }
    let top = complete
        .into_iter()
        .rev()
        .map(|(_, hash)| hash)
        .reduce(|right, left| node(&left, &right))
        .unwrap_or_else(|| Digest::of(&[]));
    Digest::of(&[ROOT, &count.to_be_bytes(), &top.0])
}

fn node(left: &Digest, right: &Digest) -> Digest {
    Digest::of(&[NODE, &left.0, &right.0])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(n: u8) -> Digest {
        Digest([n; 32])
    }

    fn leaf(path: &str, n: u8) -> Leaf<'_> {
        Leaf { path, size: u64::from(n), digest: digest(n) }
    }

    /// The definition of RFC 6962, section 2.1, said as it stands there.
    fn by_the_book(leaves: &[Leaf<'_>]) -> Digest {
        match leaves {
            [] => Digest::of(&[]),
            [one] => one.hash(),
            many => {
                let split = 1 << (usize::BITS - 1 - (many.len() - 1).leading_zeros());
                node(&by_the_book(&many[..split]), &by_the_book(&many[split..]))
            }
        }
    }

    #[test]
    fn has_the_shape_of_rfc_6962_for_every_small_size() {
        let paths: Vec<String> = (0..40).map(|n| format!("f{n:02}")).collect();
        for n in 0..paths.len() {
            let leaves: Vec<_> = paths[..n].iter().map(|p| leaf(p, n as u8)).collect();
            let expected = Digest::of(&[ROOT, &(n as u64).to_be_bytes(), &by_the_book(&leaves).0]);
            assert_eq!(merkle_root(leaves), expected, "{n} leaves");
        }
    }

    #[test]
    fn binds_path_size_digest_order_and_count() {
        let base = merkle_root([leaf("a", 1), leaf("b", 2)]);
        let others = [
            merkle_root([leaf("b", 2), leaf("a", 1)]),
            merkle_root([leaf("a", 1)]),
            merkle_root([leaf("a", 1), leaf("b", 2), leaf("b", 2)]),
            merkle_root([leaf("a", 1), leaf("c", 2)]),
            merkle_root([leaf("a", 1), Leaf { size: 9, ..leaf("b", 2) }]),
            merkle_root([leaf("a", 1), Leaf { digest: digest(9), ..leaf("b", 2) }]),
        ];
        for (index, other) in others.iter().enumerate() {
            assert_ne!(*other, base, "variant {index}");
        }
    }

    #[test]
    fn an_inner_node_is_never_a_leaf() {
        // Second preimage: a file whose leaf equals the inner node of two others.
        let inner = node(&leaf("a", 1).hash(), &leaf("b", 2).hash());
        let forged = Leaf { path: "a", size: 0, digest: inner };
        assert_ne!(forged.hash(), inner);
        assert_ne!(merkle_root([forged]), merkle_root([leaf("a", 1), leaf("b", 2)]));
    }
}
