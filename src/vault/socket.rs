//! A TCP connection whose every wait ends when its time is up or somebody wants the run to end.
//!
//! ureq's own can be cut only from another thread, not while it comes about, and tries the addresses of a name one
//! after the other. Here a host with a dead IPv6 and a living IPv4 address costs a quarter of a second, as in Go's
//! dialer (RFC 8305, "Happy Eyeballs").

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, connect, socket_with, sockopt};
use ureq::Timeout;
use ureq::unversioned::transport::{Buffers, LazyBuffers, NextTimeout, Transport};

use crate::stop::{POLL, Stop};

/// How long one address is tried alone before the next is tried beside it, by RFC 8305 and Go's dialer.
const HEAD_START: Duration = Duration::from_millis(250);

/// Bytes kept per connection, in each direction.
const BUFFER: usize = 16 * 1024;

/// How long an answer that is on its way is still waited for when the run is to end.
const GRACE: Duration = Duration::from_millis(80);

/// An open connection. Its socket never blocks; what waits is [`Wait`].
#[derive(Debug)]
pub(super) struct Socket {
    stream: TcpStream,
    buffers: LazyBuffers,
    stop: Stop,
    /// When it was first seen that somebody wants the run to end: an answer that comes byte by byte is waited for again
    /// and again, and all these waits together get one moment.
    stopped_at: Option<Instant>,
}

impl Socket {
    /// From a connection that does not block.
    pub(super) fn new(stream: TcpStream, stop: Stop) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        Ok(Self { stream, buffers: LazyBuffers::new(BUFFER, BUFFER), stop, stopped_at: None })
    }
}

impl Transport for Socket {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), ureq::Error> {
        let mut wait = Wait::new(timeout.for_write(), &self.stop, &mut self.stopped_at);
        let mut output = self.buffers.output().get(..amount).unwrap_or_default();
        while !output.is_empty() {
            match (&self.stream).write(output) {
                Ok(0) => return Err(io::Error::from(io::ErrorKind::WriteZero).into()),
                Ok(length) => output = output.get(length..).unwrap_or_default(),
                Err(error) => wait.on(&self.stream, PollFlags::OUT, error)?,
            }
        }
        Ok(())
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, ureq::Error> {
        let mut wait = Wait::new(timeout.for_read(), &self.stop, &mut self.stopped_at);
        loop {
            wait.unless_stopped()?;
            match (&self.stream).read(self.buffers.input_append_buf()) {
                Ok(length) => {
                    self.buffers.input_appended(length);
                    return Ok(length > 0);
                }
                Err(error) => wait.on(&self.stream, PollFlags::IN, error)?,
            }
        }
    }

    fn is_open(&mut self) -> bool {
        // What can be read before anything was asked is the end of the connection, or nothing of ours.
        self.stream.peek(&mut [0]).is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
    }
}

/// What is left of a wait that began then.
pub(super) fn left_of(timeout: NextTimeout, since: Instant) -> NextTimeout {
    let after = if timeout.after.is_not_happening() {
        timeout.after
    } else {
        timeout.after.saturating_sub(since.elapsed()).into()
    };
    NextTimeout { after, ..timeout }
}

/// One wait: until its time is up, or a moment after somebody wants the run to end.
pub(super) struct Wait<'a> {
    start: Instant,
    limit: Option<Duration>,
    reason: Timeout,
    stop: &'a Stop,
    stopped_at: &'a mut Option<Instant>,
}

impl<'a> Wait<'a> {
    /// Begins now.
    pub(super) fn new(timeout: NextTimeout, stop: &'a Stop, stopped_at: &'a mut Option<Instant>) -> Self {
        let limit = timeout.not_zero().map(|limit| *limit);
        Self { start: Instant::now(), limit, reason: timeout.reason, stop, stopped_at }
    }

    /// An error once somebody wants the run to end, and the moment is over.
    fn unless_stopped(&mut self) -> Result<(), ureq::Error> {
        if self.stop.is_raised() && self.stopped_at.get_or_insert_with(Instant::now).elapsed() >= GRACE {
            return Err(io::Error::other("told to stop").into());
        }
        Ok(())
    }

    /// Waits for the socket, if that is what `error` asks for; else the error is the answer.
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "std may add kinds at any time; none of them asks for a wait"
    )]
    fn on(&mut self, stream: &TcpStream, flags: PollFlags, error: io::Error) -> Result<(), ureq::Error> {
        match error.kind() {
            io::ErrorKind::Interrupted => Ok(()),
            io::ErrorKind::WouldBlock => loop {
                let mut sockets = [PollFd::new(stream, flags)];
                if self.once(&mut sockets, POLL)? {
                    return Ok(());
                }
            },
            _ => Err(error.into()),
        }
    }

    /// Waits for one of the sockets for so long at the most. Whether one is ready.
    fn once(&mut self, sockets: &mut [PollFd<'_>], most: Duration) -> Result<bool, ureq::Error> {
        self.unless_stopped()?;
        let left = self.limit.map_or(most, |limit| limit.saturating_sub(self.start.elapsed()));
        if left.is_zero() {
            return Err(ureq::Error::Timeout(self.reason));
        }
        let slice = left.min(most);
        let slice = Timespec { tv_sec: 0, tv_nsec: slice.subsec_nanos().into() };
        match poll(sockets, Some(&slice)) {
            Ok(ready) => Ok(ready > 0),
            Err(Errno::INTR) => Ok(false),
            Err(error) => Err(io::Error::from(error).into()),
        }
    }
}

/// Connects to whichever of the addresses answers first. Each gets a head start before the next.
pub(super) fn dial(addresses: &[SocketAddr], wait: &mut Wait<'_>) -> Result<TcpStream, ureq::Error> {
    let mut waiting = by_turns(addresses).into_iter();
    let mut trying: Vec<OwnedFd> = Vec::new();
    let mut next = Instant::now();
    let mut last_error = io::Error::from(io::ErrorKind::ConnectionRefused);
    loop {
        if Instant::now() >= next || trying.is_empty() {
            match waiting.next().map(begin) {
                Some(Ok((socket, true))) => return Ok(TcpStream::from(socket)),
                Some(Ok((socket, false))) => {
                    trying.push(socket);
                    next = Instant::now() + HEAD_START;
                }
                Some(Err(error)) => last_error = error,
                None if trying.is_empty() => return Err(last_error.into()),
                None => next = Instant::now() + HEAD_START,
            }
            if trying.is_empty() {
                continue;
            }
        }
        let mut sockets: Vec<PollFd<'_>> =
            trying.iter().map(|socket| PollFd::new(socket, PollFlags::OUT)).collect();
        wait.once(&mut sockets, POLL)?;
        let ready = sockets.iter().position(|socket| !socket.revents().is_empty());
        let Some(ready) = ready else { continue };
        let socket = trying.swap_remove(ready);
        match sockopt::socket_error(&socket).map_err(io::Error::from)? {
            Ok(()) => return Ok(TcpStream::from(socket)),
            // The next one need not wait any longer.
            Err(error) => (last_error, next) = (error.into(), Instant::now()),
        }
    }
}

/// The two families of addresses by turns, beginning with that of the first: what the resolver prefers comes first.
fn by_turns(addresses: &[SocketAddr]) -> Vec<SocketAddr> {
    let Some(first) = addresses.first() else { return Vec::new() };
    let (same, other): (Vec<SocketAddr>, Vec<SocketAddr>) =
        addresses.iter().partition(|address| address.is_ipv4() == first.is_ipv4());
    let mut turns = Vec::with_capacity(addresses.len());
    let (mut same, mut other) = (same.into_iter(), other.into_iter());
    loop {
        match (same.next(), other.next()) {
            (None, None) => return turns,
            (one, another) => turns.extend(one.into_iter().chain(another)),
        }
    }
}

/// Begins to connect; whether it is done already.
fn begin(address: SocketAddr) -> io::Result<(OwnedFd, bool)> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let socket = socket_with(family, SocketType::STREAM, flags, None)?;
    match connect(&socket, &address) {
        Ok(()) => Ok((socket, true)),
        Err(Errno::INPROGRESS) => Ok((socket, false)),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    fn dial(addresses: &[SocketAddr], stop: &Stop, limit: Duration) -> Result<TcpStream, ureq::Error> {
        let (start, reason) = (Instant::now(), Timeout::Connect);
        let mut wait = Wait { start, limit: Some(limit), reason, stop, stopped_at: &mut None };
        super::dial(addresses, &mut wait)
    }

    /// An address at which nothing answers and nothing refuses: a listener whose queue is full.
    fn silent() -> (SocketAddr, TcpListener, Vec<OwnedFd>) {
        let socket =
            socket_with(AddressFamily::INET, SocketType::STREAM, SocketFlags::CLOEXEC, None).unwrap();
        rustix::net::bind(&socket, &SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
        rustix::net::listen(&socket, 0).unwrap();
        let listener = TcpListener::from(socket);
        let address = listener.local_addr().unwrap();
        let held: Vec<OwnedFd> = (0..8).map(|_| begin(address).unwrap().0).collect();
        (address, listener, held)
    }

    #[test]
    fn an_address_that_is_silent_costs_a_quarter_of_a_second() {
        let (silent, _listener, _held) = silent();
        let living = TcpListener::bind("[::1]:0").or_else(|_| TcpListener::bind("127.0.0.1:0")).unwrap();
        let start = Instant::now();
        let stop = Stop::default();
        let stream = dial(&[silent, living.local_addr().unwrap()], &stop, Duration::from_secs(20));
        assert_eq!(stream.unwrap().peer_addr().unwrap(), living.local_addr().unwrap());
        assert!(start.elapsed() >= HEAD_START && start.elapsed() < Duration::from_secs(5));
    }

    #[test]
    fn an_address_that_refuses_costs_nothing_and_the_last_refusal_is_told() {
        let refusing = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let living = TcpListener::bind("127.0.0.1:0").unwrap();
        let stop = Stop::default();
        let start = Instant::now();
        dial(&[refusing, living.local_addr().unwrap()], &stop, Duration::from_secs(20)).unwrap();
        assert!(start.elapsed() < HEAD_START);
        let error = dial(&[refusing, refusing], &stop, Duration::from_secs(20)).unwrap_err();
        assert!(matches!(error, ureq::Error::Io(error) if error.kind() == io::ErrorKind::ConnectionRefused));
        assert!(dial(&[], &stop, Duration::from_secs(1)).is_err());
    }

    #[test]
    fn a_connection_that_does_not_come_about_ends_with_its_time_and_with_a_stop() {
        let (silent, _listener, _held) = silent();
        let stop = Stop::default();
        let error = dial(&[silent], &stop, Duration::from_millis(200)).unwrap_err();
        assert!(matches!(error, ureq::Error::Timeout(Timeout::Connect)), "{error}");
        stop.raise(15);
        let start = Instant::now();
        let error = dial(&[silent], &stop, Duration::from_secs(20)).unwrap_err();
        assert!(error.to_string().contains("told to stop"), "{error}");
        assert!(start.elapsed() < Duration::from_secs(2));
    }

    #[test]
    fn families_take_turns_and_the_first_goes_first() {
        let parse = |text: &str| text.parse::<SocketAddr>().unwrap();
        let addresses = ["[::1]:1", "[::2]:1", "[::3]:1", "1.1.1.1:1", "2.2.2.2:1"].map(parse);
        let turns = ["[::1]:1", "1.1.1.1:1", "[::2]:1", "2.2.2.2:1", "[::3]:1"].map(parse);
        assert_eq!(by_turns(&addresses), turns);
        assert_eq!(by_turns(&[]), []);
    }
}
