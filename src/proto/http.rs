//! HTTP/1.1 heads and chunk sizes (RFC 9112), on top of `httparse`: both sides of an announce.
//!
//! Decides where a message ends and which few header fields count. **Invariant:** it keeps nothing
//! between calls and sees no body; [`crate::tracker::Exchange`] and
//! [`crate::tracker_server::HttpServerConn`] hold the bytes that have come so far and call again
//! with more.

use httparse::Status;

/// The most bytes of a response's head, interim responses included. Real ones have some hundred; a
/// proxy's cookies and policies some thousand.
pub const MAX_RESPONSE_HEAD: usize = 16 * 1024;
/// The most bytes of a request's head: an announce needs some 400, a scrape of 60 torrents 5000.
pub const MAX_REQUEST_HEAD: usize = 8 * 1024;
/// The most header fields of a head.
pub const MAX_HEADER_LINES: usize = 64;
/// The most bytes of a line that gives a chunk's size: 16 digits and extensions, which nobody uses.
pub const MAX_CHUNK_LINE: usize = 256;

/// The head of a response: what an announce needs of it, borrowed from the bytes it was read from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ResponseHead<'a> {
    /// Bytes of the head with its empty line; the body starts there.
    pub len: usize,
    /// 100 to 999.
    pub status: u16,
    /// Where the body ends.
    pub framing: Framing,
    /// `Location`. Foreign bytes.
    pub location: Option<&'a [u8]>,
    /// `Content-Encoding`, if it is another one than `identity`. Foreign bytes.
    pub content_encoding: Option<&'a [u8]>,
}

/// How a response says where its body ends (RFC 9112 6.3).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Framing {
    /// After so many bytes.
    Length(u64),
    /// After a chunk of size 0.
    Chunked,
    /// With the stream.
    UntilEnd,
}

/// The head of a request, borrowed from the bytes it was read from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RequestHead<'a> {
    /// Bytes of the head with its empty line.
    pub len: usize,
    /// `GET` and the like, as sent.
    pub method: &'a str,
    /// What is asked for, as sent: printable ASCII without spaces. Foreign text.
    pub target: &'a str,
    /// Whether the client wants to ask more over the same stream (RFC 9112 9.3).
    pub keeps_alive: bool,
    /// Whether a body follows, or may.
    pub has_body: bool,
}

/// What is wrong with an HTTP message. The fault is its sender's; the connection must be closed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HttpError {
    /// Not HTTP/1.0 or 1.1, or broken within the head.
    #[error("not a valid http head: {what}")]
    BadHead {
        /// What `httparse` stumbled over.
        what: &'static str,
    },
    /// [`MAX_RESPONSE_HEAD`] or [`MAX_REQUEST_HEAD`].
    #[error("the http head is longer than {limit} bytes")]
    HeadTooLong {
        /// The limit in bytes.
        limit: usize,
    },
    /// [`MAX_HEADER_LINES`].
    #[error("the http head has more than {limit} fields")]
    TooManyFields {
        /// The limit.
        limit: usize,
    },
    /// A `Content-Length` that is not a number, or two that differ.
    #[error("the content-length is not one number")]
    BadContentLength,
    /// A `Transfer-Encoding` other than `chunked`.
    #[error("the transfer-encoding is not chunked")]
    BadTransferEncoding,
    /// A chunk's size is not hexadecimal digits and CRLF, or the chunk does not end where it says.
    #[error("the body's chunks are malformed")]
    BadChunk,
    /// The stream ended within the head.
    #[error("the stream ended in the http head")]
    EndInHead,
    /// The stream ended before the body did.
    #[error("the stream ended in the http body")]
    EndInBody,
}

/// Reads a response's head from the start of `bytes`; empty lines in front of it are skipped.
///
/// Returns `None` while the head is not complete: call again with more. The result depends on the
/// bytes alone, not on the portions in which they came.
///
/// # Errors
/// [`HttpError`]: the server's fault, also if `bytes` holds [`MAX_RESPONSE_HEAD`] bytes and no end
/// of a head.
pub fn parse_response_head(bytes: &[u8]) -> Result<Option<ResponseHead<'_>>, HttpError> {
    let mut fields = [httparse::EMPTY_HEADER; MAX_HEADER_LINES];
    let mut head = httparse::Response::new(&mut fields);
    let window = &bytes[..bytes.len().min(MAX_RESPONSE_HEAD)];
    let Some(len) = complete(head.parse(window), window.len(), MAX_RESPONSE_HEAD)? else {
        return Ok(None);
    };
    let status = head.code.expect("httparse fills a complete head");
    if status < 100 {
        return Err(HttpError::BadHead { what: "status" });
    }
    let framing = framing(head.headers)?;
    let location = field(head.headers, "location").next();
    let content_encoding = field(head.headers, "content-encoding")
        .find(|value| !value.is_empty() && !value.eq_ignore_ascii_case(b"identity"));
    Ok(Some(ResponseHead { len, status, framing, location, content_encoding }))
}

/// Reads a request's head from the start of `bytes`; otherwise as [`parse_response_head`].
///
/// # Errors
/// [`HttpError`]: the client's fault, also if `bytes` holds [`MAX_REQUEST_HEAD`] bytes and no end
/// of a head.
pub fn parse_request_head(bytes: &[u8]) -> Result<Option<RequestHead<'_>>, HttpError> {
    let mut fields = [httparse::EMPTY_HEADER; MAX_HEADER_LINES];
    let mut head = httparse::Request::new(&mut fields);
    let window = &bytes[..bytes.len().min(MAX_REQUEST_HEAD)];
    let Some(len) = complete(head.parse(window), window.len(), MAX_REQUEST_HEAD)? else {
        return Ok(None);
    };
    let (method, target) = head.method.zip(head.path).expect("httparse fills a complete head");
    if !target.is_ascii() {
        return Err(HttpError::BadHead { what: "token" });
    }
    let wants = |option: &[u8]| {
        let values = field(head.headers, "connection");
        let mut options = values.flat_map(|value| value.split(|byte| *byte == b','));
        options.any(|named| named.trim_ascii().eq_ignore_ascii_case(option))
    };
    let keeps_alive = !wants(b"close") && (head.version == Some(1) || wants(b"keep-alive"));
    let has_body = field(head.headers, "content-length").any(|length| length != b"0")
        || field(head.headers, "transfer-encoding").next().is_some();
    Ok(Some(RequestHead { len, method, target, keeps_alive, has_body }))
}

/// Reads the line that starts a chunk: returns its length with CRLF, and the bytes in the chunk; 0
/// ends the body.
///
/// Returns `None` while the line is not complete. On top of `httparse` it insists on a digit.
///
/// # Errors
/// [`HttpError::BadChunk`]: the server's fault, also if the line is longer than [`MAX_CHUNK_LINE`].
pub fn parse_chunk_line(bytes: &[u8]) -> Result<Option<(usize, u64)>, HttpError> {
    let window = &bytes[..bytes.len().min(MAX_CHUNK_LINE)];
    if window.first().is_some_and(|first| !first.is_ascii_hexdigit()) {
        return Err(HttpError::BadChunk);
    }
    match httparse::parse_chunk_size(window) {
        Ok(Status::Complete(line)) => Ok(Some(line)),
        Ok(Status::Partial) if window.len() < MAX_CHUNK_LINE => Ok(None),
        Ok(Status::Partial) | Err(_) => Err(HttpError::BadChunk),
    }
}

/// Turns what `httparse` made of the first `seen` bytes into ours.
fn complete(
    parsed: httparse::Result<usize>,
    seen: usize,
    limit: usize,
) -> Result<Option<usize>, HttpError> {
    let what = match parsed {
        Ok(Status::Complete(len)) => return Ok(Some(len)),
        Ok(Status::Partial) if seen < limit => return Ok(None),
        Ok(Status::Partial) => return Err(HttpError::HeadTooLong { limit }),
        Err(httparse::Error::TooManyHeaders) => {
            return Err(HttpError::TooManyFields { limit: MAX_HEADER_LINES });
        }
        Err(httparse::Error::HeaderName) => "field name",
        Err(httparse::Error::HeaderValue) => "field value",
        Err(httparse::Error::NewLine) => "end of line",
        Err(httparse::Error::Status) => "status",
        Err(httparse::Error::Token) => "token",
        Err(httparse::Error::Version) => "version",
    };
    Err(HttpError::BadHead { what })
}

/// Returns the values of every field called `name`, in order, without the spaces around them.
fn field<'a>(fields: &[httparse::Header<'a>], name: &str) -> impl Iterator<Item = &'a [u8]> {
    fields
        .iter()
        .filter(move |field| field.name.eq_ignore_ascii_case(name))
        .map(|field| field.value.trim_ascii())
}

/// Decides where the body ends; `Transfer-Encoding` overrides `Content-Length` (RFC 9112 6.3).
fn framing(fields: &[httparse::Header<'_>]) -> Result<Framing, HttpError> {
    let mut encodings = field(fields, "transfer-encoding");
    if let Some(encoding) = encodings.next() {
        let chunked = encoding.eq_ignore_ascii_case(b"chunked") && encodings.next().is_none();
        return if chunked { Ok(Framing::Chunked) } else { Err(HttpError::BadTransferEncoding) };
    }
    let mut lengths = field(fields, "content-length");
    let Some(length) = lengths.next() else { return Ok(Framing::UntilEnd) };
    if lengths.any(|other| other != length) || !length.iter().all(u8::is_ascii_digit) {
        return Err(HttpError::BadContentLength);
    }
    let digits = std::str::from_utf8(length).map_err(|_| HttpError::BadContentLength)?;
    let length = digits.parse().map_err(|_| HttpError::BadContentLength)?;
    Ok(Framing::Length(length))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(bytes: &str) -> Result<ResponseHead<'_>, HttpError> {
        parse_response_head(bytes.as_bytes()).map(|head| head.expect("a complete head"))
    }

    #[test]
    fn the_fields_that_count_are_read() {
        let bytes = "\r\nHTTP/1.1 302 Found\r\nLOCATION:  http://t/a \r\nContent-Encoding: gzip\r\n\
                     content-length: 12\r\nContent-Length: 12\r\n\r\nbody";
        assert_eq!(
            head(bytes),
            Ok(ResponseHead {
                len: bytes.len() - 4,
                status: 302,
                framing: Framing::Length(12),
                location: Some(b"http://t/a"),
                content_encoding: Some(b"gzip"),
            })
        );
    }

    #[test]
    fn the_framing_follows_rfc_9112() {
        let chunked = "Content-Length: 5\r\nTransfer-Encoding: Chunked\r\n";
        for (fields, framing) in [
            ("", Ok(Framing::UntilEnd)),
            ("Content-Length: 0\r\n", Ok(Framing::Length(0))),
            ("Content-Length: 18446744073709551615\r\n", Ok(Framing::Length(u64::MAX))),
            (chunked, Ok(Framing::Chunked)),
            ("Content-Length: 18446744073709551616\r\n", Err(HttpError::BadContentLength)),
            ("Content-Length: -1\r\n", Err(HttpError::BadContentLength)),
            ("Content-Length: +1\r\n", Err(HttpError::BadContentLength)),
            ("Content-Length:\r\n", Err(HttpError::BadContentLength)),
            ("Content-Length: 5, 5\r\n", Err(HttpError::BadContentLength)),
            ("Content-Length: 5\r\nContent-Length: 6\r\n", Err(HttpError::BadContentLength)),
            ("Transfer-Encoding: gzip, chunked\r\n", Err(HttpError::BadTransferEncoding)),
            (
                "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
                Err(HttpError::BadTransferEncoding),
            ),
        ] {
            let bytes = format!("HTTP/1.0 200\r\n{fields}\r\n");
            assert_eq!(head(&bytes).map(|head| head.framing), framing, "{fields:?}");
        }
    }

    #[test]
    fn every_truncation_of_a_head_is_incomplete() {
        let response = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nX: y\r\n\r\n";
        for len in 0..response.len() {
            assert_eq!(parse_response_head(&response[..len]), Ok(None), "{len}");
        }
        let request = b"GET /announce?a=%ff HTTP/1.1\r\nHost: t\r\n\r\n";
        for len in 0..request.len() {
            assert_eq!(parse_request_head(&request[..len]), Ok(None), "{len}");
        }
        let whole = parse_request_head(request);
        let target = "/announce?a=%ff";
        assert_eq!(
            whole,
            Ok(Some(RequestHead {
                len: request.len(),
                method: "GET",
                target,
                keeps_alive: true,
                has_body: false
            }))
        );
    }

    #[test]
    fn a_client_says_whether_it_goes_on() {
        for (version, fields, keeps_alive, has_body) in [
            ("1.1", "", true, false),
            ("1.1", "Connection: close\r\n", false, false),
            ("1.1", "Connection: TE, Close\r\n", false, false),
            ("1.1", "Connection: keep-alive\r\nConnection: close\r\n", false, false),
            ("1.0", "", false, false),
            ("1.0", "Connection: Keep-Alive\r\n", true, false),
            ("1.1", "Content-Length: 0\r\n", true, false),
            ("1.1", "Content-Length: 5\r\n", true, true),
            ("1.1", "Transfer-Encoding: chunked\r\n", true, true),
        ] {
            let request = format!("GET / HTTP/{version}\r\n{fields}\r\n");
            let head = parse_request_head(request.as_bytes()).expect("a head").expect("whole");
            assert_eq!((head.keeps_alive, head.has_body), (keeps_alive, has_body), "{request:?}");
        }
    }

    #[test]
    fn a_head_at_its_limits_is_taken_and_beyond_refused() {
        let long = |len: usize| {
            let frame = "HTTP/1.1 200 OK\r\nX: \r\n\r\n".len();
            format!("HTTP/1.1 200 OK\r\nX: {}\r\n\r\n", "y".repeat(len - frame))
        };
        assert_eq!(head(&long(MAX_RESPONSE_HEAD)).map(|head| head.status), Ok(200));
        let limit = MAX_RESPONSE_HEAD;
        assert_eq!(head(&long(limit + 1)), Err(HttpError::HeadTooLong { limit }));

        let many = |lines| format!("HTTP/1.1 200 OK\r\n{}\r\n", "X: y\r\n".repeat(lines));
        assert_eq!(head(&many(MAX_HEADER_LINES)).map(|head| head.status), Ok(200));
        let limit = MAX_HEADER_LINES;
        assert_eq!(head(&many(limit + 1)), Err(HttpError::TooManyFields { limit }));

        let limit = MAX_REQUEST_HEAD;
        let request = format!("GET /{}", "a".repeat(limit - 5));
        assert_eq!(parse_request_head(request.as_bytes()), Err(HttpError::HeadTooLong { limit }));
        assert_eq!(parse_request_head(&request.as_bytes()[..limit - 1]), Ok(None));
    }

    #[test]
    fn chunk_lines_need_a_digit_and_an_end() {
        let long = format!("5;{}\r\n", "x".repeat(MAX_CHUNK_LINE));
        for (line, parsed) in [
            ("", Ok(None)),
            ("1", Ok(None)),
            ("1f\r", Ok(None)),
            ("1f\r\nrest", Ok(Some((4, 31)))),
            ("0\r\n", Ok(Some((3, 0)))),
            ("5 ;name=value\r\n", Ok(Some((15, 5)))),
            ("ffffffffffffffff\r\n", Ok(Some((18, u64::MAX)))),
            ("\r\n", Err(HttpError::BadChunk)),
            (";x\r\n", Err(HttpError::BadChunk)),
            (" 5\r\n", Err(HttpError::BadChunk)),
            ("-5\r\n", Err(HttpError::BadChunk)),
            ("0x5\r\n", Err(HttpError::BadChunk)),
            ("5\rx", Err(HttpError::BadChunk)),
            ("10000000000000000\r\n", Err(HttpError::BadChunk)),
            (&long, Err(HttpError::BadChunk)),
        ] {
            assert_eq!(parse_chunk_line(line.as_bytes()), parsed, "{line:?}");
        }
    }
}
