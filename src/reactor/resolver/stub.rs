//! Look-ups over sockets that are bound like all others, one after the other on the thread that
//! wants to know.
//!
//! The system's resolver would ask by whatever way the routes say, and so tell the world outside
//! which names are of interest.

use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr};

use super::conf::{self, Conf};
use super::lookup::{Lookup, Step, Transport};
use crate::proto::dns::Family;
use crate::reactor::clock::{Clock, seeds};
use crate::reactor::egress::Egress;
use crate::reactor::net;
use crate::time::Duration;

/// Bytes of a datagram that are taken in: eight times what a server sends to who offers no more.
const MAX_DATAGRAM: usize = 4_096;

/// Bytes of the longest message, whose length is a number of 16 bits.
const MAX_MESSAGE: usize = 65_535;

/// Tells whether there is a name server that can be asked the way that traffic is bound. One on
/// this machine itself (such as 127.0.0.53) cannot from an interface that leads out of it.
pub(super) fn has_server(egress: &Egress) -> bool {
    !conf(egress).servers.is_empty()
}

/// Looks a name up, in the machine's own files first.
///
/// # Errors
/// There is no such name, or name servers do not say; see [`LookupError`].
///
/// [`LookupError`]: super::lookup::LookupError
pub(super) fn look_up(host: &str, egress: &Egress) -> io::Result<Vec<IpAddr>> {
    let local = conf::local_addrs(host);
    if local.is_empty() { ask(host, conf(egress), egress) } else { Ok(local) }
}

fn ask(host: &str, conf: Conf, egress: &Egress) -> io::Result<Vec<IpAddr>> {
    let families = [Family::V4, Family::V6].into_iter();
    let families = families.filter(|family| egress.speaks(*family == Family::V4)).collect();
    let clock = Clock::start();
    let mut lookup = Lookup::new(host, families, conf, clock.now())?;
    let mut port = Port::Closed;
    loop {
        match lookup.step(seeds()?.rng, clock.now()) {
            Step::Done(result) => return Ok(result?),
            Step::Ask { server, transport, messages, within } => {
                port = Port::Closed;
                match Port::open(server, transport, &messages, egress, within) {
                    Ok(opened) => port = opened,
                    Err(_) => lookup.handle_failure(),
                }
            }
            Step::Wait { until } => {
                // No time at all would be no limit.
                let within = until.saturating_since(clock.now()).max(Duration::from_millis(1));
                match port.receive(within) {
                    Ok(Some((from, message))) => lookup.handle_message(from, &message),
                    Ok(None) => {}
                    Err(_) => lookup.handle_failure(),
                }
            }
        }
    }
}

fn conf(egress: &Egress) -> Conf {
    let is_usable = |server: SocketAddr| {
        let ip = server.ip();
        egress.speaks(ip.is_ipv4()) && (egress.is_loopback() || !ip.is_loopback())
    };
    Conf::of_system(is_usable)
}

/// What the questions left by.
enum Port {
    Closed,
    Datagrams(std::net::UdpSocket),
    Stream(std::net::TcpStream, SocketAddr),
}

impl Port {
    fn open(
        server: SocketAddr,
        transport: Transport,
        messages: &[Vec<u8>],
        egress: &Egress,
        within: Duration,
    ) -> io::Result<Self> {
        match transport {
            Transport::Datagrams => {
                let socket = net::blocking_datagrams(server, egress)?;
                for message in messages {
                    socket.send(message)?;
                }
                Ok(Self::Datagrams(socket))
            }
            Transport::Stream => {
                let mut stream = net::blocking_stream(server, egress, within)?;
                stream.set_write_timeout(Some(within))?;
                for message in messages {
                    let len = u16::try_from(message.len()).map_err(io::Error::other)?;
                    stream.write_all(&[&len.to_be_bytes()[..], message].concat())?;
                }
                Ok(Self::Stream(stream, server))
            }
        }
    }

    /// Waits for a message; `None` if none came in that time.
    fn receive(&mut self, within: Duration) -> io::Result<Option<(SocketAddr, Vec<u8>)>> {
        match self {
            Self::Closed => Err(io::ErrorKind::NotConnected.into()),
            Self::Datagrams(socket) => {
                socket.set_read_timeout(Some(within))?;
                let mut buffer = [0; MAX_DATAGRAM];
                match socket.recv_from(&mut buffer) {
                    Ok((len, from)) => Ok(Some((from, buffer[..len].to_vec()))),
                    Err(error) if is_timeout(&error) => Ok(None),
                    Err(error) => Err(error),
                }
            }
            Self::Stream(stream, server) => {
                // Whoever sends a part and stops is given up, like one who sends nothing.
                let until = std::time::Instant::now() + within;
                let mut len = [0; 2];
                read_until(stream, &mut len, until)?;
                let mut message = vec![0; MAX_MESSAGE];
                let message = &mut message[..usize::from(u16::from_be_bytes(len))];
                read_until(stream, message, until)?;
                Ok(Some((*server, message.to_vec())))
            }
        }
    }
}

/// Fills a buffer, however small the parts that it comes in, by a time.
fn read_until(
    stream: &mut std::net::TcpStream,
    mut buffer: &mut [u8],
    until: std::time::Instant,
) -> io::Result<()> {
    while !buffer.is_empty() {
        let left = until.saturating_duration_since(std::time::Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        stream.set_read_timeout(Some(left))?;
        match stream.read(buffer) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(n) => buffer = &mut buffer[n..],
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn is_timeout(error: &io::Error) -> bool {
    use io::ErrorKind::{Interrupted, TimedOut, WouldBlock};
    matches!(error.kind(), WouldBlock | TimedOut | Interrupted)
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, UdpSocket};
    use std::thread;

    use super::*;

    /// Asks a server that answers the first `questions` datagrams by `answer`, and streams as well.
    fn asked(
        questions: usize,
        answer: impl Fn(&[u8], bool) -> Vec<u8> + Send,
    ) -> (io::Result<Vec<IpAddr>>, Vec<SocketAddr>) {
        let bind = [IpAddr::from([127, 0, 0, 61])];
        let egress = Egress::new(&bind, None).unwrap();
        let datagrams = UdpSocket::bind("127.0.0.62:0").unwrap();
        let server = datagrams.local_addr().unwrap();
        let streams = TcpListener::bind(server).unwrap();
        let conf = Conf {
            servers: vec![server],
            search: Vec::new(),
            ndots: 1,
            timeout: Duration::from_secs(60),
            attempts: 1,
        };
        thread::scope(|scope| {
            let serving = scope.spawn(move || {
                let mut from = Vec::new();
                let mut buffer = [0; 512];
                let mut is_cut = false;
                for _ in 0..questions {
                    let (len, client) = datagrams.recv_from(&mut buffer).unwrap();
                    from.push(client);
                    let said = answer(&buffer[..len], false);
                    is_cut |= said[2] & 2 != 0;
                    datagrams.send_to(&said, client).unwrap();
                }
                if is_cut {
                    let (mut stream, client) = streams.accept().unwrap();
                    from.push(client);
                    for _ in 0..questions {
                        let mut len = [0; 2];
                        stream.read_exact(&mut len).unwrap();
                        let len = usize::from(u16::from_be_bytes(len));
                        stream.read_exact(&mut buffer[..len]).unwrap();
                        let said = answer(&buffer[..len], true);
                        let len = u16::try_from(said.len()).unwrap().to_be_bytes();
                        // In parts, as a network may.
                        for part in [&len[..], &said].concat().chunks(7) {
                            stream.write_all(part).unwrap();
                        }
                    }
                }
                from
            });
            let found = ask("tracker.example", conf, &egress);
            (found, serving.join().unwrap())
        })
    }

    /// An answer with so many addresses, or one that is cut off.
    fn answer(question: &[u8], addresses: u8, is_cut: bool) -> Vec<u8> {
        let mut said = question.to_vec();
        said[2] = 0x80 | u8::from(is_cut) << 1;
        said[7] = addresses;
        for last in 0..addresses {
            said.extend_from_slice(b"\xc0\x0c\0\x01\0\x01\0\0\0\x3c\0\x04\xc0\0\x02");
            said.push(last);
        }
        said
    }

    #[test]
    fn a_question_leaves_from_the_bound_address_and_its_answer_is_believed() {
        let (found, from) = asked(1, |question, _| answer(question, 1, false));
        assert_eq!(found.unwrap(), [IpAddr::from([192, 0, 2, 0])]);
        assert!(from.iter().all(|client| client.ip() == IpAddr::from([127, 0, 0, 61])));
    }

    #[test]
    fn what_is_too_long_for_a_datagram_comes_over_a_stream_from_there_too() {
        let (found, from) = asked(1, |question, is_stream| {
            answer(question, if is_stream { 200 } else { 0 }, !is_stream)
        });
        assert_eq!(found.unwrap().len(), 200);
        assert_eq!(from.len(), 2);
        assert!(from.iter().all(|client| client.ip() == IpAddr::from([127, 0, 0, 61])));
    }

    #[test]
    fn a_server_that_is_not_there_is_not_waited_for() {
        let egress = Egress::new(&[IpAddr::from([127, 0, 0, 61])], None).unwrap();
        let gone = UdpSocket::bind("127.0.0.63:0").unwrap().local_addr().unwrap();
        let timeout = Duration::from_secs(3_600);
        let servers = vec![gone];
        let conf = Conf { servers, search: Vec::new(), ndots: 1, timeout, attempts: 2 };
        let error = ask("tracker.example", conf, &egress).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }
}
