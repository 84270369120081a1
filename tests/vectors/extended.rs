//! The broken example of BEP 10. Its other one is read in `src/proto/extended.rs`.

use swarmloop::proto::extended::{Extension, Handshake};

/// To end an extension, its number in `m` is 0. The example forgets `m` around it, and so ends
/// nothing.
#[test]
fn an_extension_is_ended_within_m_only() {
    let read = |body: &[u8]| Handshake::decode(body).unwrap().ids;
    assert_eq!(read(b"d11:LT_metadatai0ee"), []);
    assert_eq!(read(b"d6:ut_pexi0ee"), []);
    assert_eq!(read(b"d1:md6:ut_pexi0eee"), [(Extension::Pex, 0)]);
}
