//! How a connection comes about: TCP, a proxy if there is one, TLS if the server has it, one upon the other.
//!
//! ureq has all of that as well. Its proxies are asked for a tunnel (`CONNECT`) even where nothing is encrypted, it has
//! no setting for the server's name, and it panics on some certificates.

use std::fmt;
use std::io::{self, Read as _, Write as _};
use std::sync::Arc;
use std::time::Instant;

use rustls::pki_types::ServerName;
use rustls::{ClientConnection, StreamOwned};
use ureq::http::Uri;
use ureq::unversioned::transport::{
    Buffers, ConnectionDetails, Connector, LazyBuffers, NextTimeout, Transport, TransportAdapter,
};

use super::address::{ip, port};
use super::conversation::{Conversation, Form};
use super::proxy::{Proxy, ProxyKind};
use super::socket::{Socket, Wait, dial, left_of};
use super::tls::Tls;
use crate::stop::Stop;

/// The longest answer of a proxy that is asked for a tunnel.
const LARGEST_TUNNEL_ANSWER: usize = 64 * 1024;

/// Bytes kept per layer of a connection, in each direction.
pub(super) const LAYER_BUFFER: usize = 16 * 1024;

/// Opens connections on one route.
#[derive(Debug)]
pub(super) struct Road {
    /// Whether somebody wants the run to end.
    pub(super) stop: Stop,
    /// Certificates.
    pub(super) tls: Arc<Tls>,
    /// The proxy on this route.
    pub(super) proxy: Option<Proxy>,
    /// How we call ourselves.
    pub(super) user_agent: &'static str,
}

/// What a proxy did instead of connecting us.
#[derive(Debug)]
pub(super) enum ProxyRefusal {
    /// It wants other credentials, or some at all; over HTTP it says so with 407.
    Credentials {
        /// Whether it speaks SOCKS.
        socks: bool,
    },
    /// It could not be agreed upon TLS with it.
    Tls(rustls::Error),
    /// Anything else, in words.
    Other(String),
}

impl fmt::Display for ProxyRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Credentials { .. } => f.write_str("wrong or missing credentials"),
            Self::Tls(error) => error.fmt(f),
            Self::Other(reason) => f.write_str(reason),
        }
    }
}

impl std::error::Error for ProxyRefusal {}

impl From<ProxyRefusal> for ureq::Error {
    fn from(refusal: ProxyRefusal) -> Self {
        Self::Io(io::Error::other(refusal))
    }
}

/// A refusal in words.
fn refused(reason: impl Into<String>) -> ureq::Error {
    ProxyRefusal::Other(reason.into()).into()
}

impl Connector for Road {
    type Out = Conversation;

    fn connect(
        &self,
        details: &ConnectionDetails<'_>,
        _chained: Option<()>,
    ) -> Result<Option<Self::Out>, ureq::Error> {
        let stage = Stage { details, start: Instant::now() };
        let mut stopped_at = None;
        let stream = dial(&details.addrs, &mut Wait::new(details.timeout, &self.stop, &mut stopped_at))?;
        let mut transport: Box<dyn Transport> = Box::new(Socket::new(stream, self.stop.clone())?);
        let mut form = Form::Origin;
        if let Some(proxy) = &self.proxy {
            if proxy.kind == ProxyKind::Https {
                transport = self.encrypt(transport, &proxy.host, &stage).map_err(of_proxy)?;
            }
            if proxy.kind == ProxyKind::Socks {
                transport = through_socks(transport, proxy, &stage)?;
            } else if details.needs_tls() {
                transport = self.through_tunnel(transport, proxy, &stage)?;
            } else {
                // Source: Go's `net/http`, `persistConn.isProxy`: what is not encrypted is the proxy's to pass on.
                form =
                    Form::Absolute { place: place(details.uri, false), authorization: proxy.authorization() };
            }
        }
        if details.needs_tls() {
            let host = self.tls.server_name().or(details.uri.host()).unwrap_or_default();
            transport = self.encrypt(transport, host, &stage)?;
        }
        Ok(Some(Conversation::new(transport, form)))
    }
}

impl Road {
    fn encrypt(
        &self,
        transport: Box<dyn Transport>,
        host: &str,
        stage: &Stage<'_>,
    ) -> Result<Box<dyn Transport>, ureq::Error> {
        // A dot at the end says that a name is whole; in certificates it is left out.
        let bare = host.trim_start_matches('[').trim_end_matches(']').trim_end_matches('.');
        let name = ServerName::try_from(bare.to_owned())
            .map_err(|_| of_tls(rustls::Error::General("no certificate can be for this name".to_owned())))?;
        let config = self.tls.config().map_err(of_tls)?;
        let mut connection = ClientConnection::new(config, name).map_err(of_tls)?;
        let mut socket = stage.adapter(transport);
        while connection.is_handshaking() || connection.wants_write() {
            let done = connection.complete_io(&mut socket);
            done.map_err(|error| last_words(&mut connection, &mut socket, error))?;
        }
        let buffers = LazyBuffers::new(LAYER_BUFFER, LAYER_BUFFER);
        Ok(Box::new(Encrypted { stream: StreamOwned::new(connection, socket), buffers }))
    }

    /// Has an HTTP proxy connect us with the server. It sees no header of the request.
    fn through_tunnel(
        &self,
        transport: Box<dyn Transport>,
        proxy: &Proxy,
        stage: &Stage<'_>,
    ) -> Result<Box<dyn Transport>, ureq::Error> {
        let place = place(stage.details.uri, true);
        let authorization = proxy.authorization();
        let authorization = authorization.map(|value| format!("Proxy-Authorization: {value}\r\n"));
        let request = format!(
            "CONNECT {place} HTTP/1.1\r\nHost: {place}\r\nUser-Agent: {}\r\n{}\r\n",
            self.user_agent,
            authorization.unwrap_or_default(),
        );
        let mut socket = stage.adapter(transport);
        socket.write_all(request.as_bytes())?;
        let mut answer = Vec::new();
        // Byte by byte: what follows the answer is the server's.
        while !(answer.ends_with(b"\r\n\r\n") || answer.ends_with(b"\n\n")) {
            let mut byte = [0];
            if answer.len() >= LARGEST_TUNNEL_ANSWER || socket.read(&mut byte)? == 0 {
                return Err(refused(if answer.is_empty() { "it closed the connection" } else { NO_HTTP }));
            }
            answer.extend(byte);
        }
        let line = answer.split(|byte| *byte == b'\n').next().unwrap_or_default();
        let line = String::from_utf8_lossy(line);
        let status = line.strip_prefix("HTTP/1.").and_then(|rest| rest.get(2..5)).unwrap_or_default();
        match status.parse::<u16>() {
            Ok(200) => Ok(socket.into_inner()),
            Ok(407) => Err(ProxyRefusal::Credentials { socks: false }.into()),
            Ok(status) => Err(refused(format!("it answered {status} instead of connecting us"))),
            Err(_) => Err(refused(NO_HTTP)),
        }
    }
}

/// What is said of a proxy that speaks something else.
const NO_HTTP: &str = "its answer is not HTTP";

/// The host and port of a target; the usual port only where it is asked for.
fn place(uri: &Uri, with_usual_port: bool) -> String {
    let host = uri.host().unwrap_or_default();
    match uri.port_u16() {
        Some(port) => format!("{host}:{port}"),
        None if with_usual_port => format!("{host}:{}", port(uri)),
        None => host.to_owned(),
    }
}

/// An error of the TLS library, in the form that reading and writing give it.
fn of_tls(error: rustls::Error) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

/// Why the other side closed the connection while we were still speaking, if it said so before. Else the error is all
/// that is known.
fn last_words(
    connection: &mut ClientConnection,
    socket: &mut TransportAdapter,
    error: io::Error,
) -> io::Error {
    if matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset) {
        while connection.read_tls(socket).is_ok_and(|length| length > 0) {
            if let Err(error) = connection.process_new_packets() {
                return of_tls(error);
            }
        }
    }
    error
}

/// An error while TLS is agreed upon with a proxy.
fn of_proxy(error: ureq::Error) -> ureq::Error {
    let ureq::Error::Io(inner) = &error else { return error };
    let tls = inner.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    tls.cloned().map_or(error, |tls| ProxyRefusal::Tls(tls).into())
}

/// Has a SOCKS proxy connect us with the server, whose name it resolves.
///
/// Source: RFC 1928 and RFC 1929.
fn through_socks(
    transport: Box<dyn Transport>,
    proxy: &Proxy,
    stage: &Stage<'_>,
) -> Result<Box<dyn Transport>, ureq::Error> {
    const VERSION: u8 = 5;
    const OPEN: u8 = 0;
    const PASSWORD: u8 = 2;
    let wrong = || refused("its answer is not SOCKS");
    let mut socket = stage.adapter(transport);
    let mut ask = |question: &[u8], answer: &mut [u8]| -> Result<(), ureq::Error> {
        socket.write_all(question)?;
        socket.read_exact(answer)?;
        Ok(())
    };
    let mut chosen = [0; 2];
    let methods: &[u8] =
        if proxy.credentials.is_some() { &[VERSION, 2, OPEN, PASSWORD] } else { &[VERSION, 1, OPEN] };
    ask(methods, &mut chosen)?;
    match (chosen, &proxy.credentials) {
        ([VERSION, OPEN], _) => {}
        ([VERSION, PASSWORD], Some((user, password))) => {
            let mut question = vec![1];
            for part in [user, password] {
                let length = u8::try_from(part.len()).map_err(|_| refused("its credentials are too long"))?;
                question.push(length);
                question.extend(part.bytes());
            }
            let mut answer = [0; 2];
            ask(&question, &mut answer)?;
            if answer[1] != 0 {
                return Err(ProxyRefusal::Credentials { socks: true }.into());
            }
        }
        ([VERSION, _], _) => return Err(ProxyRefusal::Credentials { socks: true }.into()),
        _ => return Err(wrong()),
    }
    let uri = stage.details.uri;
    let host = uri.host().unwrap_or_default();
    let mut question = vec![VERSION, 1, 0];
    match ip(host) {
        Some(std::net::IpAddr::V4(ip)) => {
            question.push(1);
            question.extend(ip.octets());
        }
        Some(std::net::IpAddr::V6(ip)) => {
            question.push(4);
            question.extend(ip.octets());
        }
        None => {
            question.extend([3, u8::try_from(host.len()).map_err(|_| refused("the name is too long"))?]);
            question.extend(host.bytes());
        }
    }
    question.extend(port(uri).to_be_bytes());
    let mut answer = [0; 5];
    ask(&question, &mut answer)?;
    let [version, reply, _, kind, first] = answer;
    if version != VERSION {
        return Err(wrong());
    }
    match reply {
        0 => {}
        1 => return Err(refused("it failed to connect us")),
        2 => return Err(refused("its rules forbid this connection")),
        3 => return Err(refused("network unreachable from there")),
        4 => return Err(refused("host unreachable from there")),
        5 => return Err(refused("connection refused there")),
        6 => return Err(refused("connection timed out there")),
        other => return Err(refused(format!("it answered {other} instead of connecting us"))),
    }
    // What follows is the address it connects from: the rest of that, and its port.
    let length = match kind {
        1 => 4 - 1,
        3 => usize::from(first),
        4 => 16 - 1,
        _ => return Err(wrong()),
    };
    ask(&[], &mut vec![0; length + 2])?;
    Ok(socket.into_inner())
}

/// All steps of a connection share its time.
struct Stage<'a> {
    details: &'a ConnectionDetails<'a>,
    start: Instant,
}

impl Stage<'_> {
    /// A transport to read from and to write to, for as long as there is time.
    fn adapter(&self, transport: Box<dyn Transport>) -> TransportAdapter {
        let mut adapter = TransportAdapter::new(transport, Arc::clone(&self.details.current_time));
        adapter.set_timeout(left_of(self.details.timeout, self.start));
        adapter
    }
}

/// A connection inside of TLS.
struct Encrypted {
    stream: StreamOwned<ClientConnection, TransportAdapter>,
    buffers: LazyBuffers,
}

impl fmt::Debug for Encrypted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Encrypted").finish_non_exhaustive()
    }
}

impl Transport for Encrypted {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), ureq::Error> {
        self.stream.sock.set_timeout(timeout);
        let output = self.buffers.output().get(..amount).unwrap_or_default();
        let done = self.stream.write_all(output);
        let StreamOwned { conn, sock } = &mut self.stream;
        Ok(done.map_err(|error| last_words(conn, sock, error))?)
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, ureq::Error> {
        self.stream.sock.set_timeout(timeout);
        let amount = self.stream.read(self.buffers.input_append_buf())?;
        self.buffers.input_appended(amount);
        Ok(amount > 0)
    }

    fn is_open(&mut self) -> bool {
        self.stream.sock.get_mut().is_open()
    }

    fn is_tls(&self) -> bool {
        true
    }
}
