//! What a node keeps between two runs, as bytes: its ids and the nodes it knew.
//!
//! ```text
//! d 2:id 20:... 3:id6 20:... 5:nodes 26*n:... 6:nodes6 38*n:... e
//! ```
//!
//! **Invariant:** what is read may have been written by anybody: it is bounded, and no node of it
//! is believed in until it has answered.

use crate::id::NodeId;
use crate::proto::bencode::{self, Limits, Value, Writer};
use crate::proto::compact::{CompactNodes4, CompactNodes6, NodeInfo, write_node};

use super::Family;
use super::lookup::may_name;

/// Nodes that are kept of one family: a full table has some 120.
pub const MAX_SAVED_NODES: usize = 200;
/// The most bytes that are read.
pub const MAX_SAVED_LEN: usize = 16 << 10;
/// Values in them: a dictionary of at most four entries, and what later versions may add.
const MAX_SAVED_TOKENS: usize = 64;
/// Containers in each other.
const MAX_SAVED_DEPTH: usize = 4;

const LIMITS: Limits =
    Limits { max_depth: MAX_SAVED_DEPTH, max_tokens: MAX_SAVED_TOKENS, max_len: MAX_SAVED_LEN };

/// What was kept, by family: the id, and the nodes, the most reliable first.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub(super) struct Saved {
    v4: (Option<NodeId>, Vec<NodeInfo>),
    v6: (Option<NodeId>, Vec<NodeInfo>),
}

impl Saved {
    /// Returns what was kept of a family.
    pub(super) fn side(&self, family: Family) -> (Option<NodeId>, &[NodeInfo]) {
        let (id, nodes) = if family == Family::V4 { &self.v4 } else { &self.v6 };
        (*id, nodes)
    }
}

/// Reads what [`write`] wrote; what is not as it should be is left out.
pub(super) fn read(bytes: &[u8]) -> Saved {
    let mut saved = Saved::default();
    let Ok(tree) = bencode::decode(bytes, &LIMITS) else { return saved };
    let Some(root) = tree.root().as_dict() else { return saved };
    let bytes = |key: &[u8]| root.get(key).and_then(Value::as_bytes);
    let id = |key| bytes(key)?.try_into().ok().map(NodeId);
    let usable = |node: &NodeInfo| may_name(node.addr.ip(), node.addr);
    saved.v4.0 = id(b"id");
    saved.v6.0 = id(b"id6");
    if let Some(Ok(nodes)) = bytes(b"nodes").map(CompactNodes4::parse) {
        saved.v4.1 = nodes.iter().filter(usable).take(MAX_SAVED_NODES).collect();
    }
    if let Some(Ok(nodes)) = bytes(b"nodes6").map(CompactNodes6::parse) {
        saved.v6.1 = nodes.iter().filter(usable).take(MAX_SAVED_NODES).collect();
    }
    saved
}

/// Returns the ids and nodes of the families as bytes.
pub(super) fn write(sides: impl Iterator<Item = (Family, NodeId, Vec<NodeInfo>)>) -> Vec<u8> {
    let mut kept = Saved::default();
    for (family, id, nodes) in sides {
        let side = if family == Family::V4 { &mut kept.v4 } else { &mut kept.v6 };
        *side = (Some(id), nodes);
    }
    let compact = |nodes: &[NodeInfo]| {
        let mut compact = Vec::new();
        nodes.iter().take(MAX_SAVED_NODES).for_each(|node| write_node(&mut compact, node));
        compact
    };
    let mut out = Vec::new();
    Writer::new(&mut out).dict(|root| {
        for (key, id) in [(&b"id"[..], kept.v4.0), (b"id6", kept.v6.0)] {
            if let Some(id) = id {
                root.key(key).bytes(&id.0);
            }
        }
        root.key(b"nodes").bytes(&compact(&kept.v4.1));
        root.key(b"nodes6").bytes(&compact(&kept.v6.1));
    });
    debug_assert!(out.len() <= MAX_SAVED_LEN);
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;
    use std::net::SocketAddr;

    fn nodes(count: u8, v6: bool) -> Vec<NodeInfo> {
        let addr = |n: u8| {
            if v6 {
                SocketAddr::from(([0x2001, 0xdb8, n.into(), 0, 0, 0, 0, 1], 6881))
            } else {
                SocketAddr::from(([11, 0, n, 1], 6881))
            }
        };
        (1..=count).map(|n| NodeInfo { id: NodeId([n; 20]), addr: addr(n) }).collect()
    }

    fn sample(count: u8) -> Vec<u8> {
        let sides = [
            (Family::V4, NodeId([1; 20]), nodes(count, false)),
            (Family::V6, NodeId([2; 20]), nodes(count, true)),
        ];
        write(sides.into_iter())
    }

    #[test]
    fn what_was_kept_is_read_again() {
        let saved = read(&sample(30));
        assert_eq!(saved.side(Family::V4), (Some(NodeId([1; 20])), &nodes(30, false)[..]));
        assert_eq!(saved.side(Family::V6), (Some(NodeId([2; 20])), &nodes(30, true)[..]));
        let one = write([(Family::V6, NodeId([2; 20]), nodes(3, true))].into_iter());
        assert_eq!(read(&one).side(Family::V4), (None, &[][..]));
    }

    #[test]
    fn what_cannot_be_read_is_left_out() {
        assert_eq!(read(b""), Saved::default());
        assert_eq!(read(b"i1e"), Saved::default());
        let half = b"d2:id3:abc5:nodes3:abc6:nodes638:";
        let half = [&half[..], &[9; 36], &[0, 80], b"e"].concat();
        let saved = read(&half);
        assert_eq!((saved.v4.0, saved.v4.1.len(), saved.v6.1.len()), (None, 0, 1));
        let nobody = [&b"d5:nodes78:"[..], &[9; 20], &[127, 0, 0, 1, 0, 0], &[9; 20]].concat();
        let nobody = [&nobody[..], &[0, 0, 0, 0, 0, 1], &[9; 20], &[239, 0, 0, 1, 0, 1], b"e"];
        assert_eq!(read(&nobody.concat()), Saved::default());
    }

    #[test]
    fn what_is_too_much_is_not_taken() {
        let many = nodes(250, false);
        let full = write([(Family::V4, NodeId([1; 20]), many.clone())].into_iter());
        assert_eq!(read(&full).v4.1, many[..MAX_SAVED_NODES]);
        let mut compact = Vec::new();
        for node in &many {
            write_node(&mut compact, node);
        }
        let mut out = Vec::new();
        Writer::new(&mut out).dict(|root| root.key(b"nodes").bytes(&compact));
        assert_eq!(read(&out).v4.1.len(), MAX_SAVED_NODES);
        let padded = |len: usize| {
            let mut long = b"d2:id20:aaaaaaaaaaaaaaaaaaaa1:x".to_vec();
            let filler = len - long.len() - 1 - "16000:".len();
            Writer::new(&mut long).bytes(&vec![7; filler]);
            long.push(b'e');
            assert_eq!(long.len(), len);
            long
        };
        assert!(read(&padded(MAX_SAVED_LEN)).v4.0.is_some());
        assert!(read(&padded(MAX_SAVED_LEN + 1)).v4.0.is_none());
    }

    #[test]
    fn damage_is_survived() {
        let good = sample(40);
        for len in 0..good.len() {
            assert_eq!(read(&good[..len]), Saved::default(), "{len}");
        }
        let mut rng = Rng::new(9);
        for _ in 0..3_000 {
            let mut bytes = good.clone();
            for _ in 0..=rng.below(5) {
                let at = rng.below(bytes.len());
                bytes[at] ^= 1 << rng.below(8);
            }
            let saved = read(&bytes);
            assert!(saved.v4.1.len() <= MAX_SAVED_NODES && saved.v6.1.len() <= MAX_SAVED_NODES);
        }
    }
}
