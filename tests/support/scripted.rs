//! A server that does what a real one cannot be made to do: lie, hang, drip, break off, redirect, vanish. It can
//! also stand in front of a real one and pass on what it does not want to spoil.

use std::fmt::Write as _;
use std::io::{self, BufRead as _, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::net::{AddressFamily, SocketFlags, SocketType};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

/// How often a server that does not listen looks whether it is to end.
const NAP: Duration = Duration::from_millis(5);

/// How many connections may wait to be accepted.
const BACKLOG: i32 = 128;

/// Longer than any test.
const FOR_GOOD: Duration = Duration::from_secs(24 * 60 * 60);

/// A request as it came in.
#[derive(Debug, Clone, Default)]
pub struct Request {
    /// GET, POST, …
    pub method: String,
    /// With query.
    pub path: String,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: String,
    /// The number of the connection it came on, from 0.
    pub connection: usize,
}

/// What to do with it.
#[derive(Debug, Clone)]
pub enum Reply {
    /// A status and a JSON body.
    Json(u16, String),
    /// A status, header lines and a body.
    Full(u16, Vec<(String, String)>, String),
    /// These bytes, which have to be a whole answer.
    Bytes(Vec<u8>),
    /// These bytes, then the end of the connection.
    Raw(Vec<u8>),
    /// These bytes, one every so often.
    Drip(Vec<u8>, Duration),
    /// Nothing, for as long as the other side has patience.
    Hang,
    /// These bytes, past the encryption of a server with TLS, then the end of the connection.
    Unencrypted(Vec<u8>),
    /// The end of the connection, without a word.
    Close,
    /// The end of the connection by a reset.
    Reset,
    /// What the real server at this address answers.
    Forward(String),
    /// This; then every connection ends and nobody listens, for so long or for good.
    Last(Box<Reply>, Option<Duration>),
}

/// The server. It ends when dropped.
pub struct Scripted {
    address: String,
    shared: Arc<Shared>,
    acceptor: Option<JoinHandle<()>>,
}

/// What the threads of a server share.
struct Shared {
    place: SocketAddr,
    requests: Mutex<Vec<Request>>,
    stop: AtomicBool,
    door: Mutex<Door>,
    moved: Condvar,
}

/// Whether somebody listens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Door {
    Open,
    /// It is to be closed until then.
    Closing(Instant),
    Closed,
}

impl Request {
    /// A header, if it is there.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// The part of the path after `/v1/`.
    pub fn call(&self) -> &str {
        self.path.strip_prefix("/v1/").unwrap_or(&self.path)
    }
}

impl Scripted {
    /// A server on a free port of the loopback that asks `script` for each request. The number counts
    /// requests from 0.
    pub fn start(script: impl Fn(&Request, usize) -> Reply + Send + Sync + 'static) -> Self {
        Self::listen("http", None, script)
    }

    /// In front of this real server, which answers whatever `script` does not.
    pub fn in_front_of(
        real: &(impl AsRef<str> + ?Sized),
        script: impl Fn(&Request, usize) -> Option<Reply> + Send + Sync + 'static,
    ) -> Self {
        let real = real.as_ref().to_owned();
        Self::start(move |request, number| {
            script(request, number).unwrap_or_else(|| Reply::Forward(real.clone()))
        })
    }

    /// The same as [`Scripted::start`] with TLS.
    pub fn start_tls(
        tls: Arc<ServerConfig>,
        script: impl Fn(&Request, usize) -> Reply + Send + Sync + 'static,
    ) -> Self {
        Self::listen("https", Some(tls), script)
    }

    fn listen(
        scheme: &str,
        tls: Option<Arc<ServerConfig>>,
        script: impl Fn(&Request, usize) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let listener = bound("127.0.0.1:0".parse().unwrap());
        rustix::net::listen(&listener, BACKLOG).expect("a listener");
        let listener = TcpListener::from(listener);
        let place = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            place,
            requests: Mutex::default(),
            stop: AtomicBool::new(false),
            door: Mutex::new(Door::Open),
            moved: Condvar::new(),
        });
        let (state, script) = (Arc::clone(&shared), Arc::new(script));
        let acceptor = thread::spawn(move || {
            let mut listener = listener;
            for connection in 0.. {
                let stream = listener.accept();
                if state.stops() {
                    return;
                }
                if let Some(until) = state.is_to_close() {
                    let Some(again) = state.stay_closed(listener, until) else { return };
                    listener = again;
                    continue;
                }
                let Ok((stream, _)) = stream else { continue };
                let (state, tls, script) = (Arc::clone(&state), tls.clone(), Arc::clone(&script));
                thread::spawn(move || serve(&stream, tls, connection, &state, &*script));
            }
        });
        Self { address: format!("{scheme}://{place}"), shared, acceptor: Some(acceptor) }
    }

    /// Where it listens: `http://127.0.0.1:PORT`.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// What has come in so far.
    pub fn requests(&self) -> Vec<Request> {
        self.shared.requests.lock().unwrap().clone()
    }

    /// How often a call came in, by the part of its path after `/v1/`.
    pub fn count(&self, call: &str) -> usize {
        self.requests().iter().filter(|request| request.call() == call).count()
    }

    /// From now on nobody listens, for so long or for good.
    pub fn vanish(&self, pause: Option<Duration>) {
        self.shared.close(pause);
    }
}

/// A run is told where to find it.
impl AsRef<str> for Scripted {
    fn as_ref(&self) -> &str {
        self.address()
    }
}

impl Drop for Scripted {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        if let Some(acceptor) = self.acceptor.take() {
            // Wakes the acceptor up, so that it sees the flag; again and again, since it may just be about to
            // listen once more.
            while !acceptor.is_finished() {
                let _ = TcpStream::connect(self.shared.place);
                thread::sleep(NAP);
            }
            let _ = acceptor.join();
        }
    }
}

impl Shared {
    fn stops(&self) -> bool {
        self.stop.load(Ordering::SeqCst)
    }

    fn is_closed(&self) -> bool {
        *self.door.lock().unwrap() != Door::Open
    }

    fn is_to_close(&self) -> Option<Instant> {
        match *self.door.lock().unwrap() {
            Door::Closing(until) => Some(until),
            Door::Open | Door::Closed => None,
        }
    }

    /// Returns when nobody listens any more.
    fn close(&self, pause: Option<Duration>) {
        let mut door = self.door.lock().unwrap();
        if *door != Door::Open {
            return;
        }
        *door = Door::Closing(Instant::now() + pause.unwrap_or(FOR_GOOD));
        // Wakes the acceptor up.
        let _ = TcpStream::connect(self.place);
        while matches!(*door, Door::Closing(_)) {
            door = self.moved.wait(door).unwrap();
        }
    }

    /// The acceptor's part of it: the listener that follows, if one does.
    fn stay_closed(&self, listener: TcpListener, until: Instant) -> Option<TcpListener> {
        // Keeps the port from others. Who tries to connect to what does not listen is refused.
        let place = bound(self.place);
        // Closing it is not enough: a child that is just being started may hold it open for a moment.
        let _ = rustix::net::shutdown(&listener, rustix::net::Shutdown::Both);
        drop(listener);
        *self.door.lock().unwrap() = Door::Closed;
        self.moved.notify_all();
        while Instant::now() < until {
            if self.stops() {
                return None;
            }
            thread::sleep(NAP);
        }
        rustix::net::listen(&place, BACKLOG).expect("a listener");
        *self.door.lock().unwrap() = Door::Open;
        Some(TcpListener::from(place))
    }
}

/// A socket with this address that does not listen yet.
fn bound(address: SocketAddr) -> OwnedFd {
    // No child may hold it open.
    let socket =
        rustix::net::socket_with(AddressFamily::INET, SocketType::STREAM, SocketFlags::CLOEXEC, None)
            .expect("a socket");
    rustix::net::sockopt::set_socket_reuseport(&socket, true).expect("a port for two");
    rustix::net::bind(&socket, &address).expect("a port");
    socket
}

/// A connection, with TLS or without.
enum Stream {
    Plain(TcpStream),
    Tls(Box<StreamOwned<ServerConnection, TcpStream>>),
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.read(buffer),
            Self::Tls(stream) => stream.read(buffer),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.write(bytes),
            Self::Tls(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(stream) => stream.flush(),
            Self::Tls(stream) => stream.flush(),
        }
    }
}

fn serve(
    tcp: &TcpStream,
    tls: Option<Arc<ServerConfig>>,
    connection: usize,
    shared: &Shared,
    script: &(dyn Fn(&Request, usize) -> Reply + Send + Sync),
) {
    let own = tcp.try_clone().unwrap();
    let stream = match tls {
        Some(tls) => Stream::Tls(Box::new(StreamOwned::new(ServerConnection::new(tls).unwrap(), own))),
        None => Stream::Plain(own),
    };
    let mut reader = BufReader::new(stream);
    while let Some(request) = read(&mut reader) {
        if shared.is_closed() {
            return;
        }
        let request = Request { connection, ..request };
        let number = {
            let mut requests = shared.requests.lock().unwrap();
            requests.push(request.clone());
            requests.len() - 1
        };
        let reply = match script(&request, number) {
            Reply::Last(reply, pause) => {
                shared.close(pause);
                *reply
            }
            reply @ (Reply::Json(..)
            | Reply::Full(..)
            | Reply::Bytes(_)
            | Reply::Raw(_)
            | Reply::Drip(..)
            | Reply::Hang
            | Reply::Unencrypted(_)
            | Reply::Close
            | Reply::Reset
            | Reply::Forward(_)) => reply,
        };
        if matches!(reply, Reply::Reset) {
            // Nothing that is still to be sent is waited for, so that the end of the connection is a reset.
            rustix::net::sockopt::set_socket_linger(tcp, Some(Duration::ZERO)).expect("a reset");
            return;
        }
        if !answer(reader.get_mut(), tcp, &request, reply) || shared.is_closed() {
            let _ = tcp.shutdown(Shutdown::Both);
            return;
        }
    }
}

fn read(reader: &mut BufReader<Stream>) -> Option<Request> {
    let mut line = String::new();
    reader.read_line(&mut line).ok().filter(|&count| count > 0)?;
    let mut words = line.split_whitespace();
    let mut request =
        Request { method: words.next()?.to_owned(), path: words.next()?.to_owned(), ..Request::default() };
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok().filter(|&count| count > 0)?;
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        request.headers.push((name.to_lowercase(), value.trim().to_owned()));
    }
    let length = request.header("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    request.body = String::from_utf8_lossy(&body).into_owned();
    Some(request)
}

/// Answers, and says whether the connection goes on.
fn answer(writer: &mut Stream, tcp: &TcpStream, request: &Request, reply: Reply) -> bool {
    match reply {
        Reply::Json(status, body) => {
            let headers = vec![("Content-Type".to_owned(), "application/json".to_owned())];
            answer(writer, tcp, request, Reply::Full(status, headers, body))
        }
        Reply::Full(status, headers, body) => {
            let mut head = format!("HTTP/1.1 {status} Scripted\r\n");
            if status != 204 {
                let _ = write!(head, "Content-Length: {}\r\n", body.len());
            }
            for (name, value) in headers {
                let _ = write!(head, "{name}: {value}\r\n");
            }
            send(writer, format!("{head}\r\n{body}").as_bytes())
        }
        Reply::Bytes(bytes) => send(writer, &bytes),
        Reply::Raw(bytes) => {
            send(writer, &bytes);
            false
        }
        Reply::Drip(bytes, pause) => {
            for byte in bytes {
                if !send(writer, &[byte]) {
                    break;
                }
                thread::sleep(pause);
            }
            false
        }
        Reply::Hang => {
            // Until the other side gives up and closes.
            let _ = tcp.set_read_timeout(Some(Duration::from_secs(60)));
            let _ = writer.read(&mut [0]);
            false
        }
        Reply::Unencrypted(bytes) => {
            let mut tcp = tcp;
            let _ = tcp.write_all(&bytes);
            false
        }
        Reply::Forward(address) => match pass_on(&address, request) {
            Some(bytes) => send(writer, &bytes),
            None => false,
        },
        Reply::Close | Reply::Reset | Reply::Last(..) => false,
    }
}

fn send(writer: &mut Stream, bytes: &[u8]) -> bool {
    writer.write_all(bytes).and_then(|()| writer.flush()).is_ok()
}

/// The bytes that the real server at this address answers, fit for a connection that goes on.
pub fn pass_on(address: &str, request: &Request) -> Option<Vec<u8>> {
    let mut server = TcpStream::connect(address.trim_start_matches("http://")).ok()?;
    let mut head = format!("{} {} HTTP/1.1\r\nConnection: close\r\n", request.method, request.path);
    for (name, value) in &request.headers {
        if name != "connection" {
            let _ = write!(head, "{name}: {value}\r\n");
        }
    }
    server.write_all(format!("{head}\r\n{}", request.body).as_bytes()).ok()?;
    let mut bytes = Vec::new();
    server.read_to_end(&mut bytes).ok()?;
    // The real server always says how long its answer is, so this line is all that would end the connection.
    let close = b"Connection: close\r\n";
    if let Some(at) = bytes.windows(close.len()).position(|window| window == close) {
        bytes.drain(at..at + close.len());
    }
    Some(bytes)
}
