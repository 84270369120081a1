//! Addresses on loopback, and the few HTTP requests that the harness itself makes.
//!
//! Every client gets an address of its own in 127/8, because clients on one shared address are
//! no swarm: libtorrent bans an address that turns out to be itself, and Debian's opentracker
//! mixes up peers that differ only in their port.

use std::{
    io::{self, BufRead, BufReader, Read as _, Write as _},
    net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpStream},
    process,
    sync::atomic::{AtomicU8, Ordering},
    time::Duration,
};

/// A /24 of 127/8 that one test has for itself.
pub(crate) struct Block {
    prefix: [u8; 3],
    next: u8,
}

impl Block {
    /// Takes a block that no other test of this process has and none of another process is
    /// likely to have. 127.0/16 is left to the rest of the machine.
    pub(crate) fn claim() -> Self {
        static COUNTER: AtomicU8 = AtomicU8::new(0);
        let [_, _, high, low] = process::id().to_be_bytes();
        let third = high.wrapping_mul(16).wrapping_add(COUNTER.fetch_add(1, Ordering::Relaxed));
        Self { prefix: [127, low.max(1), third], next: 1 }
    }

    /// The next address of the block, with a port that is free on every address.
    ///
    /// Free everywhere, because rqbit and some control sockets listen on 0.0.0.0. The kernel
    /// could give the port away between this probe and the client's own bind; it hands ports to
    /// `connect` from the other parity first, so that has to be a very full machine.
    pub(crate) fn endpoint(&mut self) -> SocketAddrV4 {
        let [a, b, c] = self.prefix;
        let ip = Ipv4Addr::new(a, b, c, self.next);
        self.next = self.next.checked_add(1).expect("a test needs fewer than 255 addresses");
        SocketAddrV4::new(ip, free_port())
    }
}

/// A TCP port that nothing listens on just now, on any address.
pub(crate) fn free_port() -> u16 {
    crate::port::free_port(Ipv4Addr::UNSPECIFIED)
}

/// Whether something accepts connections at `address`.
pub(crate) fn accepts(address: SocketAddrV4) -> bool {
    TcpStream::connect_timeout(&SocketAddr::V4(address), REQUEST_TIMEOUT).is_ok()
}

/// One `GET`; the body of the answer as text, `None` unless the status is 200.
pub(crate) fn http_get(address: SocketAddrV4, target: &str) -> Option<String> {
    http_get_bytes(address, target).map(|body| String::from_utf8_lossy(&body).into_owned())
}

/// The same, with the body as it is.
pub(crate) fn http_get_bytes(address: SocketAddrV4, target: &str) -> Option<Vec<u8>> {
    let head = format!("GET {target} HTTP/1.0\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    exchange(address, &head).ok().flatten()
}

/// One `POST` of a form that is already percent-encoded; `None` unless the status is 200.
pub(crate) fn http_post(address: SocketAddrV4, target: &str, form: &str) -> Option<String> {
    let head = format!(
        "POST {target} HTTP/1.0\r\nHost: {address}\r\nConnection: close\r\n\
         Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n\r\n{form}",
        form.len()
    );
    let body = exchange(address, &head).ok().flatten()?;
    Some(String::from_utf8_lossy(&body).into_owned())
}

fn exchange(address: SocketAddrV4, request: &str) -> io::Result<Option<Vec<u8>>> {
    let mut stream = TcpStream::connect_timeout(&SocketAddr::V4(address), REQUEST_TIMEOUT)?;
    stream.set_read_timeout(Some(REQUEST_TIMEOUT))?;
    stream.set_write_timeout(Some(REQUEST_TIMEOUT))?;
    stream.write_all(request.as_bytes())?;
    read_reply(&mut BufReader::new(stream.take(MAX_REPLY_LEN)))
}

/// Reads one reply; its body if the status is 200. Some servers keep the connection open whatever
/// they are asked, so that a stated length counts, and only without one the end of the stream.
fn read_reply(stream: &mut impl BufRead) -> io::Result<Option<Vec<u8>>> {
    let mut status = String::new();
    stream.read_line(&mut status)?;
    let mut length = None;
    loop {
        let mut line = String::new();
        stream.read_line(&mut line)?;
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        if name.eq_ignore_ascii_case("content-length") {
            length = value.trim().parse().ok();
        }
    }
    let mut body = Vec::new();
    stream.take(length.unwrap_or(MAX_REPLY_LEN)).read_to_end(&mut body)?;
    let ok = status.split(' ').nth(1) == Some("200");
    Ok(ok.then_some(body))
}

/// How long one request of the harness may take in each of its steps. On loopback it is
/// milliseconds; a loaded machine gets room, and the caller asks again anyway.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(2);

/// Bytes of a reply that are looked at; the largest real one is a kilobyte of JSON.
const MAX_REPLY_LEN: u64 = 1 << 20;
