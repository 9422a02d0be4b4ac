//! A door for whoever asks over HTTP: it reads a request, is told the answer, writes it, and closes.
//!
//! It never waits. Whoever owns it polls [`Listener::poll_fds`], for no longer than [`Listener::patience`], and then
//! calls [`Listener::serve`], which does all that can be done at that moment. No caller, however slow or malformed,
//! holds up anybody else: there is one exchange to a connection, and what an exchange may take is bounded in time, in
//! bytes and in number.
//!
//! 1. Reading: until the head of a request is there. What comes after it is nobody's business.
//! 2. Writing: the answer.
//! 3. Draining: what the caller still sends is thrown away until it has ended, since a connection that is closed with
//!    something unread takes the answer with it (RFC 9112, section 9.6).

mod request;
mod socket;

use std::io::{self, Read as _, Write as _};
use std::os::fd::AsFd as _;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags};

pub(crate) use request::{Allowed, Method, Request};
use request::{Refusal, Whom};
pub(crate) use socket::Place;
use socket::{Socket, Stream};

/// How many callers are served at the same time: more than the monitors of one process are.
const MOST_CALLERS: usize = 16;

/// How long a whole exchange may take.
const EXCHANGE: Duration = Duration::from_secs(5);

/// The longest head of a request, in bytes.
const LONGEST_HEAD: usize = 64 * 1024;

/// So much is thrown away, in bytes, for the sake of an answer that should arrive.
const MOST_DRAINED: usize = 4 * 1024 * 1024;

/// So many callers are let in before somebody looks at signals again.
const MOST_AT_ONCE: usize = 64;

/// How long one turn may take, or whoever has to be heard meanwhile (a signal) is heard too late: looking at what
/// somebody has brought costs time.
const LONGEST_TURN: Duration = Duration::from_millis(20);

/// How long nobody is let in where the system has no room for one more.
const NO_ROOM: Duration = Duration::from_secs(1);

/// What a caller gets to see.
#[derive(Debug)]
pub(crate) struct Page {
    /// The HTTP status.
    pub(crate) status: u16,
    /// What the body is, for its header.
    pub(crate) content_type: &'static str,
    /// The body.
    pub(crate) body: String,
}

/// What there is to see behind the door. Nothing here may wait.
pub(crate) trait Pages {
    /// What may be done at this path; nothing where there is nothing to see.
    fn allowed(&self, path: &str) -> Option<Allowed>;

    /// What a caller gets to see.
    fn page(&self, request: &Request<'_>) -> Option<Page>;
}

/// A socket that is listened on, and whoever has come.
#[derive(Debug)]
pub(crate) struct Listener {
    socket: Socket,
    /// In the order in which they came.
    callers: Vec<Caller>,
    /// Until then nobody is let in.
    closed_until: Option<Instant>,
    exchange: Duration,
}

#[derive(Debug)]
struct Caller {
    stream: Stream,
    came: Instant,
    state: State,
}

#[derive(Debug)]
enum State {
    /// What has been read so far.
    Reading(Vec<u8>),
    /// The head is there: what has been read so far, where the body begins, and where it ends.
    ReadingBody(Vec<u8>, usize, usize),
    /// What is still to be written.
    Writing(Vec<u8>),
    /// How much has been thrown away.
    Draining(usize),
    /// It is over.
    Gone,
}

impl Listener {
    /// Listens there from now on.
    ///
    /// # Errors
    /// If the place is taken, by somebody who listens or by a file that is no socket; or cannot be had.
    pub(crate) fn open(place: &Place) -> io::Result<Self> {
        let socket = Socket::open(place)?;
        Ok(Self { socket, callers: Vec::new(), closed_until: None, exchange: EXCHANGE })
    }

    /// Where it listens: with the port that was found where any would do.
    pub(crate) fn place(&self) -> Place {
        self.socket.place()
    }

    /// What has to be polled.
    pub(crate) fn poll_fds(&self) -> Vec<PollFd<'_>> {
        let door = self.closed_until.is_none().then(|| (self.socket.as_fd(), PollFlags::IN));
        let callers = self.callers.iter().map(|caller| {
            let wanted = match caller.state {
                State::Writing(_) => PollFlags::OUT,
                State::Reading(_) | State::ReadingBody(..) | State::Draining(_) | State::Gone => {
                    PollFlags::IN
                }
            };
            (caller.stream.as_fd(), wanted)
        });
        door.into_iter().chain(callers).map(|(fd, wanted)| PollFd::from_borrowed_fd(fd, wanted)).collect()
    }

    /// How long it can be left alone at most.
    pub(crate) fn patience(&self, now: Instant) -> Option<Duration> {
        let ends = self.callers.iter().map(|caller| caller.came + self.exchange);
        ends.chain(self.closed_until).min().map(|end| end.saturating_duration_since(now))
    }

    /// Does what can be done without waiting, and no more than a turn allows: who is left then is ready, and so is
    /// whoever polls. `pages` is asked for the page of each request; where it has none, there is none.
    pub(crate) fn serve(&mut self, pages: &dyn Pages) {
        let now = Instant::now();
        let is_over = || now.elapsed() >= LONGEST_TURN;
        self.closed_until = self.closed_until.filter(|&until| until > now);
        let (whom, exchange) = (self.socket.whom(), self.exchange);
        // Whoever came first is served first, and leaves.
        self.callers.retain_mut(|caller| {
            if !is_over() {
                caller.step(whom, pages);
            }
            now.duration_since(caller.came) < exchange && !matches!(caller.state, State::Gone)
        });
        for _ in 0..MOST_AT_ONCE {
            if self.closed_until.is_some() || is_over() {
                return;
            }
            match self.socket.accept() {
                Ok(stream) => self.let_in(stream, now, pages),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                // Somebody who left before being let in.
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // No descriptors or no memory: it would be tried again and again, in vain.
                Err(_) => self.closed_until = Some(now + NO_ROOM),
            }
        }
    }

    fn let_in(&mut self, stream: Stream, now: Instant, pages: &dyn Pages) {
        let mut caller = Caller { stream, came: now, state: State::Reading(Vec::new()) };
        // Whoever has asked already gets the answer before the next one can be in the way.
        caller.step(self.socket.whom(), pages);
        if matches!(caller.state, State::Gone) {
            return;
        }
        if self.callers.len() >= MOST_CALLERS {
            let callers = self.callers.iter().enumerate();
            let least = callers.min_by_key(|(_, caller)| caller.state.claim()).map(|(place, _)| place);
            self.callers.remove(least.unwrap_or(0));
        }
        self.callers.push(caller);
    }
}

impl State {
    /// By which of them makes room where there is none: the least first, and among equals the oldest.
    fn claim(&self) -> u8 {
        match self {
            Self::Gone => 0,
            // It has its answer.
            Self::Draining(_) => 1,
            // It has not even asked.
            Self::Reading(_) => 2,
            Self::ReadingBody(..) => 3,
            Self::Writing(_) => 4,
        }
    }
}

impl Caller {
    /// Goes on until it would have to wait.
    fn step(&mut self, whom: Whom, pages: &dyn Pages) {
        loop {
            let went_on = match &mut self.state {
                State::Reading(head) => match read_head(&mut self.stream, head) {
                    Ok(Head::Unfinished) => return,
                    Ok(Head::Finished) => {
                        let head = std::mem::take(head);
                        self.state = after_head(head, whom, pages, &mut self.stream);
                        true
                    }
                    Ok(Head::TooLong) => {
                        self.state = State::Writing(reply(Err(Refusal::TooLong), pages));
                        true
                    }
                    Err(_) => false,
                },
                State::ReadingBody(read, begin, end) => match read_body(&mut self.stream, read, *end) {
                    Ok(false) => return,
                    Ok(true) => {
                        let (head, body) = read.split_at_checked(*begin).unwrap_or((read, &[]));
                        let body = body.get(..end.saturating_sub(*begin)).unwrap_or_default();
                        let request = Request::parse(head, whom, &|path| pages.allowed(path));
                        let request = request.map(|request| request.with_body(body));
                        self.state = State::Writing(reply(request, pages));
                        true
                    }
                    Err(_) => false,
                },
                State::Writing(rest) => match write_some(&mut self.stream, rest) {
                    Ok(false) => return,
                    Ok(true) => {
                        self.state = State::Draining(0);
                        self.stream.end_writing().is_ok()
                    }
                    Err(_) => false,
                },
                State::Draining(drained) => match drain(&mut self.stream, drained) {
                    Ok(()) => return,
                    Err(_) => false,
                },
                State::Gone => return,
            };
            if !went_on {
                self.state = State::Gone;
                return;
            }
        }
    }
}

/// What comes after a head that is complete: the answer, or first the body.
fn after_head(read: Vec<u8>, whom: Whom, pages: &dyn Pages, stream: &mut Stream) -> State {
    let request = Request::parse(&read, whom, &|path| pages.allowed(path));
    let length = request.as_ref().map_err(|refusal| *refusal).and_then(Request::body_length);
    let begin = end_of_head(&read);
    match (request, length, begin) {
        (Ok(request), Ok(length), Some(begin)) if request.method == Method::Post => {
            // Whoever does not take even this much at once sends the body after a moment all the same.
            if request.waits() && read.len() == begin {
                let _ = stream.write(b"HTTP/1.1 100 Continue\r\n\r\n");
            }
            State::ReadingBody(read, begin, begin + length)
        }
        (request, Ok(_), _) => State::Writing(reply(request, pages)),
        (_, Err(refusal), _) => State::Writing(reply(Err(refusal), pages)),
    }
}

/// Where the head ends, and a body begins.
fn end_of_head(read: &[u8]) -> Option<usize> {
    let after =
        |end: &[u8]| read.windows(end.len()).position(|window| window == end).map(|at| at + end.len());
    [after(b"\n\n"), after(b"\n\r\n")].into_iter().flatten().min()
}

/// Reads on up to `end`; whether that was all.
fn read_body(stream: &mut Stream, read: &mut Vec<u8>, end: usize) -> io::Result<bool> {
    let mut part = [0; 4096];
    while read.len() < end {
        match stream.read(&mut part) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(length) => read.extend(part.iter().take(length)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(true)
}

/// How far the head of a request has come.
enum Head {
    Unfinished,
    Finished,
    TooLong,
}

/// Reads on, until the head is there or there is nothing more to read. Its end before that is an error: nobody is
/// there any more whom an answer could reach.
fn read_head(stream: &mut Stream, head: &mut Vec<u8>) -> io::Result<Head> {
    let mut part = [0; 4096];
    loop {
        let length = match stream.read(&mut part) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(length) => length,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(Head::Unfinished),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        // Looked at once: whoever sends byte by byte must not make much of little.
        let start = head.len().saturating_sub(3);
        head.extend(part.iter().take(length));
        // The greeting of TLS and other protocols has no end to be waited for.
        let is_none = head.first().is_some_and(|first| !first.is_ascii_uppercase());
        if is_none || has_end(head.get(start..).unwrap_or_default()) {
            return Ok(Head::Finished);
        }
        if head.len() > LONGEST_HEAD {
            return Ok(Head::TooLong);
        }
    }
}

/// Whether an empty line is among these bytes.
fn has_end(bytes: &[u8]) -> bool {
    bytes.windows(2).any(|window| window == b"\n\n") || bytes.windows(3).any(|window| window == b"\n\r\n")
}

/// Writes on; whether that was all.
fn write_some(stream: &mut Stream, rest: &mut Vec<u8>) -> io::Result<bool> {
    while !rest.is_empty() {
        match stream.write(rest) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(length) => drop(rest.drain(..length)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(true)
}

/// Throws away what comes. An error is the end of it.
fn drain(stream: &mut Stream, drained: &mut usize) -> io::Result<()> {
    let mut part = [0; 4096];
    while *drained < MOST_DRAINED {
        match stream.read(&mut part) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(length) => *drained += length,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Err(io::ErrorKind::InvalidData.into())
}

/// The whole answer, as it goes over the wire.
fn reply(request: Result<Request<'_>, Refusal>, pages: &dyn Pages) -> Vec<u8> {
    let with_body = !request.as_ref().is_ok_and(|request| request.method == Method::Head);
    let refuse = |refusal: Refusal| plain(refusal.status(), refusal.words());
    let (page, allow) = match request {
        Ok(request) => (pages.page(&request).unwrap_or_else(|| refuse(Refusal::Nowhere)), String::new()),
        Err(refusal @ Refusal::Method(allowed)) => {
            (refuse(refusal), format!("Allow: {}\r\n", allowed.methods()))
        }
        Err(refusal) => (refuse(refusal), String::new()),
    };
    let Page { status, content_type, body } = page;
    // RFC 9110, section 8.6: no length where there never is a body.
    let kind = if status == 204 {
        String::new()
    } else {
        format!("Content-Type: {content_type}\r\nContent-Length: {}\r\n", body.len())
    };
    let head = format!(
        "HTTP/1.1 {status} {}\r\nConnection: close\r\n{kind}Cache-Control: no-store\r\n\
         X-Content-Type-Options: nosniff\r\n{allow}\r\n",
        phrase(status),
    );
    if with_body { head + &body } else { head }.into_bytes()
}

fn plain(status: u16, words: &str) -> Page {
    Page { status, content_type: "text/plain; charset=utf-8", body: format!("{words}\n") }
}

/// The words after a status. Nobody reads them; RFC 9112 has them all the same.
fn phrase(status: u16) -> &'static str {
    match status {
        200 => "OK",
        204 => "No Content",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        411 => "Length Required",
        413 => "Content Too Large",
        431 => "Request Header Fields Too Large",
        503 => "Service Unavailable",
        505 => "HTTP Version Not Supported",
        _ => "",
    }
}

#[cfg(test)]
mod tests;
