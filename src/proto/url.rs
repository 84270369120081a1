//! URLs of trackers, and of files that are fetched: read leniently, sent verbatim, followed with
//! care.
//!
//! Decides what an announce URL is, where a redirect leads, and which addresses either may reach
//! (the guard against making a client talk to services on its own machine or network).
//! **Invariant:** path and query are never normalised, because a passkey may be anywhere in them;
//! only bytes that no URL may hold are percent-encoded. It knows nothing about announces;
//! [`super::tracker_http`] appends their query.

use std::borrow::Cow;
use std::fmt::{self, Write};
use std::net::{IpAddr, SocketAddr};

use fluent_uri::{Uri, UriRef};

pub use crate::net_policy::is_local;
use crate::net_policy::{Forbidden, NamedBy, Purpose, Reach, net_policy};

/// The most bytes of an announce URL or `Location`. The longest real ones (a passkey of some
/// hundred digits) are well under 1 KiB; trackers refuse request lines of 8 KiB, and the announce's
/// own query needs some 300 bytes of that.
pub const MAX_URL_LEN: usize = 4096;

/// One tracker's announce URL (BEP 3), or that of a file; or where either redirected to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AnnounceUrl {
    /// As it was given. Foreign text.
    text: String,
    scheme: Scheme,
    /// Without the brackets of an IPv6 address; ASCII, never empty, nothing but letters, digits,
    /// `-._:`.
    host: String,
    port: u16,
    /// Path and query: starts with `/`, printable ASCII without spaces, no fragment.
    target: String,
    context: Context,
}

/// What a URL is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Context {
    /// Who sent us here: of several one after the other, whoever reaches farthest.
    named_by: NamedBy,
    is_file: bool,
}

/// How a tracker is spoken to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Scheme {
    /// Plain HTTP (BEP 3).
    Http,
    /// HTTP over TLS; never downgraded to plain HTTP, and not spoken by builds without TLS.
    Https,
    /// UDP (BEP 15).
    Udp,
    /// Anything else (`wss` and the like).
    Other,
}

/// Why a URL is not used. Except for [`UrlError::LocalTarget`], the fault is with whoever wrote the
/// torrent or the `Location`; none is worth a retry.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UrlError {
    /// More than [`MAX_URL_LEN`] bytes.
    #[error("the url is longer than {limit} bytes")]
    TooLong {
        /// The limit in bytes.
        limit: usize,
    },
    /// A control character (CR, LF, NUL and the like): a request line could be split with it. In a
    /// torrent's URL also a percent-encoded one, which nobody needs but whoever wants to split
    /// something further on; in a redirect those are bytes of the info-hash.
    #[error("the url contains a control character")]
    Control,
    /// Not a URL by RFC 3986, even after encoding what may be encoded.
    #[error("the url is malformed")]
    Malformed,
    /// No host at all; often the scheme was forgotten.
    #[error("the url has no host")]
    NoHost,
    /// A host that is neither an address nor a plain ASCII name. International names must be given
    /// in their `xn--` form.
    #[error("the url's host is not an address or an ascii name")]
    BadHost,
    /// Port 0 or more than 65535.
    #[error("the url's port is not in 1..=65535")]
    BadPort,
    /// `user:password@` in front of the host.
    #[error("a user name or password in the url is not supported")]
    Credentials,
    /// The URL brings parameters that only an announce may set; a crafted one could forge requests
    /// to other services (as libtorrent's `ssrf_mitigation`).
    #[error("the url already has announce parameters")]
    AnnounceParameters,
    /// A loopback or link-local address whose path is not `/announce` or the like, or may lead
    /// elsewhere: not a tracker, but some other service of this machine.
    #[error("a tracker on the loopback address must have a plain path that starts with /announce")]
    LoopbackPath,
    /// A server sent us to an address that is nearer than its own: the internet to a local network,
    /// or that to this machine.
    #[error("a redirect to a more local address is refused")]
    LocalTarget,
    /// There is no host at this address: it is multicast, broadcast or reserved.
    #[error("there is no host at this address")]
    Martian,
    /// A server that had proven its name sent us to one that anybody can pretend to be.
    #[error("a redirect from https to plain http is refused")]
    Downgrade,
}

impl AnnounceUrl {
    /// Reads an announce URL as it stands in a torrent or was typed.
    ///
    /// Spaces around it are dropped. Bytes that RFC 3986 forbids in path and query (spaces, `|`,
    /// `[`, non-ASCII, a `%` without two digits) are percent-encoded; all others stay as they are.
    /// A fragment is dropped. Any scheme parses: see [`AnnounceUrl::scheme`].
    ///
    /// # Errors
    /// [`UrlError`]: the fault of whoever wrote the URL.
    pub fn parse(text: &str) -> Result<Self, UrlError> {
        let trimmed = text.trim_matches(' ');
        check_bytes(trimmed)?;
        if percent_encoding::percent_decode_str(trimmed).any(|byte| byte.is_ascii_control()) {
            return Err(UrlError::Control);
        }
        let legal = encode_illegal(trimmed);
        let context = Context { named_by: NamedBy::Torrent, is_file: false };
        let url = Self::from_legal(text, &legal, context)?;
        let keys = url.query().split('&').map(|pair| pair.split('=').next().unwrap_or(pair));
        for key in keys {
            let key: Cow<'_, [u8]> = percent_encoding::percent_decode_str(key).into();
            if ANNOUNCE_PARAMETERS.iter().any(|parameter| parameter.as_bytes() == &*key) {
                return Err(UrlError::AnnounceParameters);
            }
        }
        Ok(url)
    }

    /// Reads the URL of a file as the user has typed it: any address may have it, and any query
    /// belongs to it.
    ///
    /// # Errors
    /// [`UrlError`]: the user's fault.
    pub fn of_file(text: &str) -> Result<Self, UrlError> {
        let trimmed = text.trim_matches(' ');
        check_bytes(trimmed)?;
        let context = Context { named_by: NamedBy::User, is_file: true };
        Self::from_legal(text, &encode_illegal(trimmed), context)
    }

    /// Returns the same URL as named by the user, who may ask any tracker on this machine.
    #[must_use]
    pub fn named_by_user(mut self) -> Self {
        self.context.named_by = NamedBy::User;
        self
    }

    /// Returns where a `Location` of this URL's tracker leads; relative references are resolved
    /// (RFC 3986 5.2).
    ///
    /// `from` is the address that sent it. The result never leads to one that is nearer than that
    /// ([`net_policy`]): not as a literal, which is refused here, and not by name, which
    /// [`AnnounceUrl::permits`] refuses after the lookup.
    ///
    /// # Errors
    /// [`UrlError`]: the tracker's fault.
    pub fn redirect(&self, location: &str, from: IpAddr) -> Result<Self, UrlError> {
        let location = location.trim_matches(' ');
        check_bytes(location)?;
        let legal = encode_illegal(location);
        let reference = UriRef::parse(legal.as_ref()).map_err(|_| UrlError::Malformed)?;
        let reach = match self.context.named_by {
            NamedBy::Remote(before) => before.max(Reach::of(from)),
            NamedBy::User | NamedBy::Torrent => Reach::of(from),
        };
        let context = Context { named_by: NamedBy::Remote(reach), ..self.context };
        let url = if reference.has_scheme() {
            Self::from_legal(location, &legal, context)?
        } else {
            let base = self.absolute();
            let base = Uri::parse(base.as_str()).map_err(|_| UrlError::Malformed)?;
            let resolved = reference.resolve_against(&base).map_err(|_| UrlError::Malformed)?;
            Self::from_legal(resolved.as_str(), resolved.as_str(), context)?
        };
        if self.scheme == Scheme::Https && url.scheme == Scheme::Http {
            return Err(UrlError::Downgrade);
        }
        if url.ip().is_some_and(|ip| Reach::of(ip) < reach) {
            return Err(UrlError::LocalTarget);
        }
        Ok(url)
    }

    /// Checks that this URL may be asked at `ip`, one of the addresses that its host was found to
    /// have.
    ///
    /// Call it with the very address that is connected to: only then does a name that resolves to
    /// another address the second time gain nothing.
    ///
    /// # Errors
    /// [`UrlError::LoopbackPath`], [`UrlError::LocalTarget`] or [`UrlError::Martian`]; another
    /// address of the same host may be fine.
    pub fn permits(&self, ip: IpAddr) -> Result<(), UrlError> {
        let purpose = match self.scheme {
            _ if self.context.is_file => Purpose::Fetch,
            Scheme::Udp => Purpose::UdpTracker,
            _ => Purpose::HttpTracker(&self.target),
        };
        let addr = SocketAddr::new(ip, self.port);
        net_policy(addr, self.context.named_by, purpose).map_err(|forbidden| match forbidden {
            Forbidden::Nearer => UrlError::LocalTarget,
            Forbidden::NotATracker => UrlError::LoopbackPath,
            Forbidden::Martian | Forbidden::ServicePort => UrlError::Martian,
        })
    }

    /// Returns the URL as it was given. Foreign text.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Returns how this tracker is spoken to.
    pub fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// Returns the host to look up: a name, or an address without brackets. ASCII.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Returns the host's address if the URL has it in digits.
    pub fn ip(&self) -> Option<IpAddr> {
        self.host.parse().ok()
    }

    /// Returns the port: the given one, or the scheme's.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Returns path and query as they go into a request line; starts with `/`.
    pub fn target(&self) -> &str {
        &self.target
    }

    /// Returns what goes into a `Host` field: the host, and the port unless it is the scheme's (RFC
    /// 9110 7.2).
    pub fn host_field(&self) -> String {
        let (open, close) = if self.host.contains(':') { ("[", "]") } else { ("", "") };
        let mut field = format!("{open}{}{close}", self.host);
        if self.port != self.scheme.default_port() {
            let _ = write!(field, ":{}", self.port);
        }
        field
    }

    /// Takes a URL apart whose bytes are all legal; `text` is how it was given.
    fn from_legal(text: &str, legal: &str, context: Context) -> Result<Self, UrlError> {
        let uri = Uri::parse(legal).map_err(|_| {
            // Behind the authority everything has been made legal.
            if !legal.contains("://") {
                UrlError::NoHost
            } else if legal.is_ascii() {
                UrlError::Malformed
            } else {
                UrlError::BadHost
            }
        })?;
        let authority = uri.authority().ok_or(UrlError::NoHost)?;
        if authority.has_userinfo() {
            return Err(UrlError::Credentials);
        }
        let host = authority.host();
        let host = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(host);
        if host.is_empty() {
            return Err(UrlError::NoHost);
        }
        let named = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
        if host.parse::<IpAddr>().is_err() && !host.bytes().all(named) {
            return Err(UrlError::BadHost);
        }
        let scheme = Scheme::from_name(uri.scheme().as_str());
        let port = authority.port_to_u16().map_err(|_| UrlError::BadPort)?;
        let port = port.unwrap_or(scheme.default_port());
        if port == 0 {
            return Err(UrlError::BadPort);
        }
        let path = uri.path().as_str();
        let mut target = String::from(if path.is_empty() { "/" } else { path });
        if let Some(query) = uri.query() {
            target.push('?');
            target.push_str(query.as_str());
        }
        let (text, host) = (text.to_owned(), host.to_owned());
        Ok(Self { text, scheme, host, port, target, context })
    }

    fn query(&self) -> &str {
        self.target.split_once('?').map_or("", |(_, query)| query)
    }

    /// Returns the base that relative references are resolved against.
    fn absolute(&self) -> String {
        let scheme = if self.scheme == Scheme::Https { "https" } else { "http" };
        format!("{scheme}://{}{}", self.host_field(), self.target)
    }
}

impl Scheme {
    /// Returns whether this build can announce to such a tracker.
    pub fn is_supported(self) -> bool {
        match self {
            Self::Http | Self::Udp => true,
            Self::Https => cfg!(feature = "tls"),
            Self::Other => false,
        }
    }

    fn from_name(name: &str) -> Self {
        match name.to_ascii_lowercase().as_str() {
            "http" => Self::Http,
            "https" => Self::Https,
            "udp" => Self::Udp,
            _ => Self::Other,
        }
    }

    /// Returns the port that a URL without one means. For UDP, which has no such port, HTTP's: as
    /// libtorrent.
    fn default_port(self) -> u16 {
        match self {
            Self::Https => 443,
            Self::Http | Self::Udp | Self::Other => 80,
        }
    }
}

impl fmt::Display for Scheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Http => "http",
            Self::Https => "https",
            Self::Udp => "udp",
            Self::Other => "the url's scheme",
        })
    }
}

/// Checks what no encoding can mend: the length, and raw control characters.
fn check_bytes(text: &str) -> Result<(), UrlError> {
    if text.len() > MAX_URL_LEN {
        return Err(UrlError::TooLong { limit: MAX_URL_LEN });
    }
    if text.bytes().any(|byte| byte.is_ascii_control()) {
        return Err(UrlError::Control);
    }
    Ok(())
}

/// Percent-encodes what RFC 3986 forbids, in everything behind the authority.
fn encode_illegal(text: &str) -> Cow<'_, str> {
    let behind_slashes = match text.find("://") {
        Some(colon) if !text[..colon].contains(['/', '?', '#']) => colon + 3,
        _ if text.starts_with("//") => 2,
        _ => 0,
    };
    let start = match behind_slashes {
        0 => 0,
        from => text[from..].find(['/', '?', '#']).map_or(text.len(), |end| from + end),
    };
    let (kept, rest) = text.split_at(start);
    let bytes = rest.as_bytes();
    if (0..bytes.len()).all(|at| is_legal(bytes, at)) {
        return Cow::Borrowed(text);
    }
    let mut legal = String::with_capacity(text.len() + 16);
    legal.push_str(kept);
    for (at, &byte) in bytes.iter().enumerate() {
        if is_legal(bytes, at) {
            legal.push(char::from(byte));
        } else {
            let _ = write!(legal, "%{byte:02X}");
        }
    }
    Cow::Owned(legal)
}

/// Returns whether the byte at `at` may stand in a path, query or fragment (RFC 3986 appendix A).
fn is_legal(bytes: &[u8], at: usize) -> bool {
    match bytes[at] {
        b'%' => {
            let digits = bytes.get(at + 1..at + 3);
            digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
        }
        // A fragment may not hold a second `#`.
        b'#' => !bytes[..at].contains(&b'#'),
        byte => byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@/?".contains(&byte),
    }
}

/// The parameters of an announce that a URL may not bring along; the same list as libtorrent's.
const ANNOUNCE_PARAMETERS: [&str; 9] =
    ["info_hash", "event", "port", "left", "key", "uploaded", "downloaded", "corrupt", "peer_id"];

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    const GLOBAL: IpAddr = IpAddr::V4(Ipv4Addr::new(1, 1, 1, 1));
    const LAN: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 168, 1, 5));
    const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

    fn url(text: &str) -> AnnounceUrl {
        AnnounceUrl::parse(text).expect("a url")
    }

    #[test]
    fn parts_are_found_and_path_and_query_stay_verbatim() {
        use Scheme::{Http, Https, Other, Udp};
        for (text, scheme, host, port, target) in [
            ("http://t.example/announce", Http, "t.example", 80, "/announce"),
            ("HTTP://T.Example:6969/a", Http, "T.Example", 6969, "/a"),
            ("http://t.example", Http, "t.example", 80, "/"),
            ("http://t.example?x=1", Http, "t.example", 80, "/?x=1"),
            (
                "http://t/%7e%7E/../A//announce?k=%41b",
                Http,
                "t",
                80,
                "/%7e%7E/../A//announce?k=%41b",
            ),
            ("http://t/announce?", Http, "t", 80, "/announce?"),
            ("http://t/announce?a=1#frag", Http, "t", 80, "/announce?a=1"),
            ("  http://t/announce ", Http, "t", 80, "/announce"),
            ("http://t/a b|c[d]?e f=é", Http, "t", 80, "/a%20b%7Cc%5Bd%5D?e%20f=%C3%A9"),
            ("http://t/100%/%zz/%4", Http, "t", 80, "/100%25/%25zz/%254"),
            ("http://t/a#b#c", Http, "t", 80, "/a"),
            ("http://[2001:db8::1]:8080/announce", Http, "2001:db8::1", 8080, "/announce"),
            ("https://t/announce", Https, "t", 443, "/announce"),
            ("udp://t:1337", Udp, "t", 1337, "/"),
            ("wss://t/", Other, "t", 80, "/"),
        ] {
            let url = AnnounceUrl::parse(text).expect(text);
            assert_eq!(
                (url.scheme(), url.host(), url.port(), url.target()),
                (scheme, host, port, target),
                "{text}"
            );
            assert_eq!(url.as_str(), text);
            let secured = cfg!(feature = "tls") && scheme == Https;
            assert_eq!(url.scheme().is_supported(), secured || [Http, Udp].contains(&scheme));
        }
    }

    #[test]
    fn malformed_urls_are_refused_for_their_reason() {
        let long = format!("http://t/{}", "a".repeat(MAX_URL_LEN));
        for (text, error) in [
            ("", UrlError::NoHost),
            ("announce", UrlError::NoHost),
            ("tracker.example:80/announce", UrlError::NoHost),
            ("http:/announce", UrlError::NoHost),
            ("http:///announce", UrlError::NoHost),
            ("http://:80/announce", UrlError::NoHost),
            ("://t/announce", UrlError::Malformed),
            ("http://t/a\r\nHost: x", UrlError::Control),
            ("http://t/a\nb", UrlError::Control),
            ("http://t/a\0", UrlError::Control),
            ("http://t/a%0d%0aX:%20y", UrlError::Control),
            ("http://t/a%00", UrlError::Control),
            ("http://t\t/a", UrlError::Control),
            ("http://t t/a", UrlError::Malformed),
            ("http://größe.example/a", UrlError::BadHost),
            ("http://a%2eb/announce", UrlError::BadHost),
            ("http://a!b/announce", UrlError::BadHost),
            ("http://[::1/announce", UrlError::Malformed),
            ("http://t\\@u/announce", UrlError::Malformed),
            ("http://t:0/announce", UrlError::BadPort),
            ("http://t:65536/announce", UrlError::BadPort),
            ("http://t:x/announce", UrlError::Malformed),
            ("http://me:secret@t/announce", UrlError::Credentials),
            ("http://me@t/announce", UrlError::Credentials),
            ("http://t/announce?info_hash=a", UrlError::AnnounceParameters),
            ("http://t/announce?x=1&%70ort=2", UrlError::AnnounceParameters),
            ("http://t/announce?left", UrlError::AnnounceParameters),
            (&long, UrlError::TooLong { limit: MAX_URL_LEN }),
        ] {
            assert_eq!(AnnounceUrl::parse(text), Err(error), "{text:?}");
        }
    }

    #[test]
    fn the_longest_url_is_taken() {
        let text = format!("http://t/{}", "a".repeat(MAX_URL_LEN - 9));
        assert_eq!(url(&text).target().len(), MAX_URL_LEN - 8);
    }

    #[test]
    fn the_host_field_has_the_port_only_if_it_is_not_the_usual_one() {
        for (text, field) in [
            ("http://t/a", "t"),
            ("http://t:80/a", "t"),
            ("http://t:443/a", "t:443"),
            ("https://t/a", "t"),
            ("http://[::1]/a", "[::1]"),
            ("http://[::1]:81/a", "[::1]:81"),
        ] {
            assert_eq!(url(text).host_field(), field, "{text}");
        }
    }

    #[test]
    fn redirects_are_resolved_against_the_url() {
        let base = url("http://t.example:81/x/announce?k=1");
        for (location, host, port, target) in [
            ("http://u/announce?info_hash=%aa", "u", 80, "/announce?info_hash=%aa"),
            ("//u:82/b", "u", 82, "/b"),
            ("/b?c", "t.example", 81, "/b?c"),
            ("b", "t.example", 81, "/x/b"),
            ("../b c", "t.example", 81, "/b%20c"),
            ("?z=1", "t.example", 81, "/x/announce?z=1"),
            // The query of an announce, sent on: its info-hash is raw bytes.
            ("/b?info_hash=%00%0d%0a", "t.example", 81, "/b?info_hash=%00%0d%0a"),
        ] {
            let to = base.redirect(location, GLOBAL).expect(location);
            assert_eq!((to.host(), to.port(), to.target()), (host, port, target), "{location}");
        }
        assert_eq!(base.redirect("http://u/\r\nX: y", GLOBAL), Err(UrlError::Control));
        assert_eq!(base.redirect("http://a:b@u/", GLOBAL), Err(UrlError::Credentials));
        assert_eq!(base.redirect("http://", GLOBAL), Err(UrlError::NoHost));
        assert_eq!(
            base.redirect("https://u/a", GLOBAL).expect("well formed").scheme(),
            Scheme::Https
        );
    }

    #[test]
    fn who_has_proven_its_name_does_not_send_us_to_who_has_not() {
        let base = url("https://t.example/announce");
        for location in ["http://t.example/announce", "HTTP://u/announce", "http:announce"] {
            assert!(base.redirect(location, GLOBAL).is_err(), "{location}");
        }
        let plain = base.redirect("http://u/announce", GLOBAL);
        assert_eq!(plain, Err(UrlError::Downgrade));
        for location in ["https://u/announce", "//u/announce", "/announce", "?x"] {
            let to = base.redirect(location, GLOBAL).expect(location);
            assert_eq!(to.scheme(), Scheme::Https, "{location}");
        }
    }

    #[test]
    fn the_internet_cannot_send_us_to_a_local_address() {
        let base = url("http://t.example/announce");
        for location in [
            "http://127.0.0.1/announce",
            "http://10.1.2.3/announce",
            "http://169.254.169.254/announce",
            "http://0.0.0.0/announce",
            "http://100.64.0.1/announce",
            "http://[::1]/announce",
            "http://[fd00::1]/announce",
            "http://[fe80::1]/announce",
            "http://[::ffff:192.168.0.1]/announce",
        ] {
            assert_eq!(base.redirect(location, GLOBAL), Err(UrlError::LocalTarget), "{location}");
            assert!(base.redirect(location, LOOPBACK).is_ok(), "{location}");
        }
        let neighbour = base.redirect("http://10.1.2.3/announce", LAN);
        assert!(neighbour.is_ok());
        let itself = base.redirect("http://127.0.0.1/announce", LAN);
        assert_eq!(itself, Err(UrlError::LocalTarget), "it means ours");
        // By name: caught at the lookup, also behind a further redirect by a local-looking name.
        let by_name = base.redirect("http://inside.example/announce", GLOBAL).expect("well formed");
        assert_eq!(by_name.permits(LAN), Err(UrlError::LocalTarget));
        assert_eq!(by_name.permits(GLOBAL), Ok(()));
        let twice = by_name.redirect("/announce", LAN).expect("well formed");
        assert_eq!(twice.permits(LOOPBACK), Err(UrlError::LocalTarget));
    }

    #[test]
    fn the_loopback_address_is_only_asked_as_a_tracker() {
        let mapped = "::ffff:127.0.0.1".parse().expect("well formed");
        for ip in [
            LOOPBACK,
            mapped,
            "::1".parse().expect("well formed"),
            "0.0.0.0".parse().expect("well formed"),
        ] {
            assert_eq!(url("http://t/announce.php?k").permits(ip), Ok(()));
            assert_eq!(url("http://t/admin").permits(ip), Err(UrlError::LoopbackPath), "{ip}");
        }
        assert_eq!(url("http://t/x").permits(LAN), Ok(()));
        assert_eq!(url("http://t/x").permits(GLOBAL), Ok(()));
    }

    #[test]
    fn a_file_is_fetched_from_anywhere_that_the_user_names_and_nowhere_nearer() {
        let file = |text| AnnounceUrl::of_file(text).expect("a url");
        for ip in [LOOPBACK, LAN, GLOBAL] {
            assert_eq!(file("http://h/x.torrent?port=1").permits(ip), Ok(()), "{ip}");
            assert_eq!(url("http://h/x").named_by_user().permits(ip), Ok(()), "{ip}");
        }
        let base = file("https://h/x.torrent");
        let near = base.redirect("https://10.0.0.1/x", GLOBAL);
        assert_eq!(near, Err(UrlError::LocalTarget));
        let named = base.redirect("https://inside/x", GLOBAL).expect("well formed");
        assert_eq!(named.permits(LAN), Err(UrlError::LocalTarget));
        assert_eq!(named.permits(GLOBAL), Ok(()));
        let itself = file("http://h/x").redirect("/y", LOOPBACK).expect("well formed");
        assert_eq!(itself.permits(LOOPBACK), Ok(()), "it need not be a tracker's path");
        assert_eq!(base.redirect("http://h/x", GLOBAL), Err(UrlError::Downgrade));
        assert_eq!(base.redirect("file:///etc/passwd", GLOBAL), Err(UrlError::NoHost));
        for text in ["http://h/a\nb", "h/x.torrent", "http://me:secret@h/x", "http://"] {
            assert!(AnnounceUrl::of_file(text).is_err(), "{text:?}");
        }
    }
}
