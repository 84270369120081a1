//! Answers that come compressed although that was declined: some trackers, and what stands in front
//! of them, never look.
//!
//! Decides how much of one is unpacked: a kilobyte can hold a megabyte of nothing.

use std::io::Read;

use flate2::read::GzDecoder;

use super::TrackerError;

/// Tells whether a `Content-Encoding` is the one that is unpacked (RFC 9110 8.4.1.3).
pub(super) fn is_gzip(encoding: &[u8]) -> bool {
    encoding.eq_ignore_ascii_case(b"gzip") || encoding.eq_ignore_ascii_case(b"x-gzip")
}

/// Unpacks a body, at most `limit` bytes of it; what comes behind its end is ignored.
///
/// # Errors
/// [`TrackerError::TooLarge`] or [`TrackerError::BadGzip`]: the tracker's fault.
pub(super) fn unpack(body: &[u8], limit: usize) -> Result<Vec<u8>, TrackerError> {
    let mut unpacked = Vec::new();
    let at_most = u64::try_from(limit).unwrap_or(u64::MAX);
    GzDecoder::new(body)
        .take(at_most.saturating_add(1))
        .read_to_end(&mut unpacked)
        .map_err(|_| TrackerError::BadGzip)?;
    if unpacked.len() > limit {
        return Err(TrackerError::TooLarge { limit });
    }
    Ok(unpacked)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;
    use crate::proto::tracker_http::MAX_REPLY_LEN;

    fn unpack(body: &[u8]) -> Result<Vec<u8>, TrackerError> {
        super::unpack(body, MAX_REPLY_LEN)
    }

    fn packed(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(bytes).expect("into memory");
        encoder.finish().expect("into memory")
    }

    #[test]
    fn a_body_is_unpacked_up_to_the_limit() {
        for len in [0, 1, 100, MAX_REPLY_LEN] {
            let body = vec![b'x'; len];
            assert_eq!(unpack(&packed(&body)), Ok(body), "{len} bytes");
        }
        let bomb = packed(&vec![0; MAX_REPLY_LEN + 1]);
        assert!(bomb.len() < MAX_REPLY_LEN / 100, "{} bytes are a bomb", bomb.len());
        assert_eq!(unpack(&bomb), Err(TrackerError::TooLarge { limit: MAX_REPLY_LEN }));
        // What would take long to unpack is not unpacked to its end.
        let large = packed(&vec![0; 100 * MAX_REPLY_LEN]);
        assert_eq!(unpack(&large), Err(TrackerError::TooLarge { limit: MAX_REPLY_LEN }));
    }

    #[test]
    fn what_is_cut_off_or_broken_is_an_error() {
        let good = packed(b"d8:intervali900ee");
        for at in 0..good.len() {
            assert_eq!(unpack(&good[..at]), Err(TrackerError::BadGzip), "{at} bytes");
        }
        let mut wrong = good.clone();
        *wrong.last_mut().expect("bytes") ^= 1;
        assert_eq!(unpack(&wrong), Err(TrackerError::BadGzip), "the length is wrong");
        assert_eq!(unpack(&[&good[..], b"\r\n"].concat()), Ok(b"d8:intervali900ee".to_vec()));
    }

    #[test]
    fn only_gzip_is_gzip() {
        for (name, is) in [("gzip", true), ("X-GZIP", true), ("br", false), ("gzip, br", false)] {
            assert_eq!(is_gzip(name.as_bytes()), is, "{name}");
        }
    }
}
