//! Real sockets, and a doorkeeper that polls as the real one does.

use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};

use proptest::prelude::*;
use rustix::event::{Timespec, poll};

use super::*;

/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(20);

/// A listener in a thread that does nothing else.
struct Served {
    place: Place,
    ended: Arc<AtomicBool>,
    /// How often it has been woken.
    turns: Arc<AtomicUsize>,
    thread: Option<JoinHandle<()>>,
}

/// Two pages, and one place to which something may be brought.
struct House;

impl Pages for House {
    fn allowed(&self, path: &str) -> Option<Allowed> {
        match path {
            "/count" => Some(Allowed::Posting),
            "/health" | "/large" => Some(Allowed::Looking),
            _ => None,
        }
    }

    fn page(&self, request: &Request<'_>) -> Option<Page> {
        page(request)
    }
}

fn page(request: &Request<'_>) -> Option<Page> {
    match request.path {
        "/count" => {
            let sum = request.body.iter().map(|byte| usize::from(*byte)).sum::<usize>();
            let body = format!("{} {sum}\n", request.body.len());
            Some(Page { status: 200, content_type: "text/plain", body })
        }
        "/health" => Some(Page { status: 503, content_type: "application/json", body: "{}\n".to_owned() }),
        "/large" => Some(Page { status: 200, content_type: "text/plain", body: "x".repeat(8 << 20) }),
        _ => None,
    }
}

impl Served {
    fn start(place: &Place) -> Self {
        Self::with_exchange(place, EXCHANGE)
    }

    fn with_exchange(place: &Place, exchange: Duration) -> Self {
        let mut listener = Listener { exchange, ..Listener::open(place).unwrap() };
        let place = listener.place();
        let (ended, turns) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let (over, count) = (Arc::clone(&ended), Arc::clone(&turns));
        let thread = thread::spawn(move || {
            while !over.load(Ordering::SeqCst) {
                let length =
                    listener.patience(Instant::now()).unwrap_or(PATIENCE).min(Duration::from_millis(100));
                let limit = Timespec { tv_sec: 0, tv_nsec: i64::from(length.subsec_nanos()) };
                poll(&mut listener.poll_fds(), Some(&limit)).unwrap();
                count.fetch_add(1, Ordering::SeqCst);
                listener.serve(&House);
                assert!(listener.callers.len() <= MOST_CALLERS);
            }
        });
        Self { place, ended, turns, thread: Some(thread) }
    }

    fn on_loopback() -> Self {
        Self::start(&any_port())
    }

    fn connect(&self) -> TcpStream {
        let Place::Tcp(address) = self.place else { panic!("{:?}", self.place) };
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    /// What is answered to these bytes, up to the end of the connection.
    fn answer(&self, request: &[u8]) -> String {
        let mut stream = self.connect();
        stream.write_all(request).unwrap();
        rest(&mut stream)
    }

    fn status(&self, request: &str) -> u16 {
        status(&self.answer(request.as_bytes()))
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

fn any_port() -> Place {
    Place::Tcp(([127, 0, 0, 1], 0).into())
}

fn rest(stream: &mut impl io::Read) -> String {
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

fn status(answer: &str) -> u16 {
    answer.strip_prefix("HTTP/1.1 ").unwrap_or_else(|| panic!("{answer:?}"))[..3].parse().unwrap()
}

const HEALTH: &str = "GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n";

#[test]
fn an_answer_is_whole_and_the_last_of_its_connection() {
    let served = Served::on_loopback();
    let answer = served.answer(HEALTH.as_bytes());
    let expected = "HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nContent-Type: application/json\r\n\
         Content-Length: 3\r\nCache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\n\r\n";
    assert_eq!(answer, expected.to_owned() + "{}\n");
    assert_eq!(served.answer(HEALTH.replace("GET", "HEAD").as_bytes()), expected);
    // What comes after the first request is not answered, and does not take its answer away.
    assert_eq!(served.answer(HEALTH.repeat(500).as_bytes()), answer);
    assert_eq!(served.answer(b"GET /health HTTP/1.0\r\n\r\n"), answer);
    assert_eq!(served.status("GET /healthy HTTP/1.1\r\nHost: localhost\r\n\r\n"), 404);
}

#[test]
fn what_is_no_request_for_us_is_refused_at_once() {
    let served = Served::on_loopback();
    let put = served.answer(b"PUT /health HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\nhello");
    assert!(status(&put) == 405 && put.contains("\r\nAllow: GET, HEAD\r\n"), "{put}");
    let start = Instant::now();
    for (request, expected) in [
        ("GET / HTTP/1.1\r\nHost: evil.example.org\r\n\r\n", 403),
        ("GET / HTTP/1.1\r\nHost: 127.0.0.1.evil.example.org\r\n\r\n", 403),
        ("GET / HTTP/1.1\r\nHost: localhost\r\nOrigin: https://evil.example.org\r\n\r\n", 403),
        ("GET / HTTP/1.1\r\n\r\n", 400),
        ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
        ("\u{16}\u{3}\u{1}\u{2}\u{0}\u{1}\u{0}\u{1}", 400),
        ("\r\n\r\n", 400),
    ] {
        assert_eq!(served.status(request), expected, "{request:?}");
    }
    assert!(start.elapsed() < EXCHANGE, "{:?}", start.elapsed());
}

#[test]
fn a_megabyte_of_header_is_refused_and_hears_why() {
    let served = Served::on_loopback();
    let mut stream = served.connect();
    stream.write_all(b"GET /health HTTP/1.1\r\nHost: localhost\r\nX: ").unwrap();
    stream.write_all(&vec![b'x'; 1 << 20]).unwrap();
    assert_eq!(status(&rest(&mut stream)), 431);
    // As many headers are refused like as many bytes, and one below the limit is none too many.
    let with = |count: usize| {
        "GET /health HTTP/1.1\r\nHost: localhost\r\n".to_owned() + &"X: y\r\n".repeat(count) + "\r\n"
    };
    assert_eq!((served.status(&with(63)), served.status(&with(64))), (503, 431));
    let long =
        |count: usize| format!("GET /health HTTP/1.1\r\nHost: localhost\r\nX: {}\r\n\r\n", "y".repeat(count));
    assert_eq!(served.status(&long(60_000)), 503);
}

#[test]
fn two_hundred_half_requests_keep_nobody_out() {
    let served = Served::on_loopback();
    let half = |_| {
        let mut stream = served.connect();
        stream.write_all(b"GET /health HT").unwrap();
        stream
    };
    let held: Vec<TcpStream> = (0..200).map(half).collect();
    let start = Instant::now();
    assert_eq!(served.status(HEALTH), 503);
    assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
    // The oldest made room, the youngest may still finish what they began.
    let mut youngest = held.into_iter().next_back().unwrap();
    youngest.write_all(b"TP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    assert_eq!(status(&rest(&mut youngest)), 503);
}

#[test]
fn who_has_an_answer_makes_room_for_who_has_none() {
    let served = Served::on_loopback();
    let mut half = served.connect();
    half.write_all(b"GET /health HT").unwrap();
    let mut body = served.connect();
    body.write_all(b"POST /count HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\nx").unwrap();
    // They read their answers, and do not leave.
    let answered = |_| {
        let mut stream = served.connect();
        stream.write_all(HEALTH.as_bytes()).unwrap();
        assert_eq!(status(&rest(&mut stream)), 503);
        stream
    };
    let held: Vec<TcpStream> = (0..40).map(answered).collect();
    half.write_all(b"TP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    assert_eq!(status(&rest(&mut half)), 503);
    body.write_all(b"y").unwrap();
    assert_eq!(status(&rest(&mut body)), 200);
    drop(held);
}

#[test]
fn a_turn_is_short_however_much_there_is_to_look_at_and_nobody_is_forgotten() {
    /// Looking takes a while, and is counted.
    struct Slow(AtomicUsize);
    impl Pages for Slow {
        fn allowed(&self, _: &str) -> Option<Allowed> {
            Some(Allowed::Looking)
        }

        fn page(&self, _: &Request<'_>) -> Option<Page> {
            thread::sleep(LONGEST_TURN / 2);
            self.0.fetch_add(1, Ordering::SeqCst);
            None
        }
    }
    let mut listener = Listener::open(&any_port()).unwrap();
    let Place::Tcp(address) = listener.place() else { panic!("{:?}", listener.place()) };
    let slow = Slow(AtomicUsize::new(0));
    let mut callers: Vec<_> = (0..MOST_CALLERS)
        .map(|_| {
            let mut stream = TcpStream::connect(address).unwrap();
            stream.write_all(HEALTH.as_bytes()).unwrap();
            stream
        })
        .collect();
    let (mut seen, mut turns) = (0, 0);
    while seen < MOST_CALLERS {
        // Whoever is left is ready, so this comes back at once.
        poll(&mut listener.poll_fds(), Some(&Timespec { tv_sec: 20, tv_nsec: 0 })).unwrap();
        listener.serve(&slow);
        let count = slow.0.load(Ordering::SeqCst);
        assert!(count - seen <= 3, "{} in one turn", count - seen);
        (seen, turns) = (count, turns + 1);
        assert!(turns < 1_000);
    }
    for caller in &mut callers {
        assert_eq!(status(&rest(caller)), 404);
    }
}

#[test]
fn nobody_stays_longer_than_an_exchange_may_take() {
    let exchange = Duration::from_millis(600);
    let served = Served::with_exchange(&any_port(), exchange);
    let start = Instant::now();
    let mut dripping = served.connect();
    let mut silent = served.connect();
    let mut deaf = served.connect();
    deaf.write_all(b"GET /large HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    while dripping.write_all(b"G").is_ok() {
        thread::sleep(Duration::from_millis(20));
        assert!(start.elapsed() < PATIENCE, "it may drip for ever");
    }
    assert!(start.elapsed() >= exchange, "{:?}", start.elapsed());
    assert_eq!(silent.read(&mut [0; 9]).unwrap_or(0), 0);
    // Who did not read in time gets no more than the system had taken.
    let mut large = Vec::new();
    let _ = deaf.read_to_end(&mut large);
    assert!(large.len() < 8 << 20, "{}", large.len());
}

#[test]
fn a_body_is_taken_where_it_is_wanted_and_as_long_as_it_says() {
    let served = Served::on_loopback();
    let post = |path: &str, headers: &str, body: &str| {
        served
            .answer(format!("POST {path} HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n\r\n{body}").as_bytes())
    };
    let body = |answer: &str| answer.rsplit_once("\r\n\r\n").unwrap().1.to_owned();
    assert_eq!(body(&post("/count", "Content-Length: 3", "abc")), "3 294\n");
    assert_eq!(
        body(&post("/count", "Content-Length: 3", "abcd")),
        "3 294\n",
        "what comes after it is not in it"
    );
    assert_eq!(body(&post("/count", "Content-Length: 0", "")), "0 0\n");
    let long = "x".repeat(1 << 20);
    assert_eq!(body(&post("/count", "Content-Length: 1048576", &long)), format!("1048576 {}\n", 120 << 20));
    for (path, headers, refused) in [
        ("/count", "Content-Length: 1048577", 413),
        ("/count", "X: y", 411),
        ("/count", "Content-Length: 3\r\nTransfer-Encoding: chunked", 411),
        ("/health", "Content-Length: 3", 405),
        ("/count", "Content-Length: 3\r\nOrigin: null", 403),
    ] {
        assert_eq!(status(&post(path, headers, "abc")), refused, "{path} {headers}");
    }
}

#[test]
fn whoever_waits_to_be_asked_for_the_body_is_asked() {
    let served = Served::on_loopback();
    let mut stream = served.connect();
    let head =
        b"POST /count HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n";
    stream.write_all(head).unwrap();
    let mut interim = [0; 25];
    stream.read_exact(&mut interim).unwrap();
    assert_eq!(&interim, b"HTTP/1.1 100 Continue\r\n\r\n");
    // And then it takes its time.
    for byte in b"abc" {
        thread::sleep(Duration::from_millis(30));
        stream.write_all(&[*byte]).unwrap();
    }
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK") && answer.ends_with("3 294\n"), "{answer:?}");
}

#[test]
fn a_large_answer_arrives_piece_by_piece() {
    let served = Served::on_loopback();
    let answer = served.answer(b"GET /large HTTP/1.1\r\nHost: localhost\r\n\r\n");
    let (_, body) = answer.split_once("\r\n\r\n").unwrap();
    assert_eq!(body.len(), 8 << 20);
}

#[test]
fn whoever_ends_early_is_gone_at_once_and_wakes_nobody_again() {
    let served = Served::on_loopback();
    for beginning in ["", "GET /he", "GET / HTTP/1.1\r\nHost: localhost\r\n"] {
        let mut stream = served.connect();
        stream.write_all(beginning.as_bytes()).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        assert_eq!(rest(&mut stream), "", "{beginning:?}");
    }
    // Who has asked, and says that nothing more will come, is answered.
    let mut stream = served.connect();
    stream.write_all(HEALTH.as_bytes()).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    assert_eq!(status(&rest(&mut stream)), 503);
    let before = served.turns.load(Ordering::SeqCst);
    thread::sleep(Duration::from_millis(500));
    let woken = served.turns.load(Ordering::SeqCst) - before;
    assert!(woken <= 8, "woken {woken} times in half a second by nobody");
}

#[test]
fn a_socket_in_the_file_system_is_its_owners_alone_and_goes_with_its_listener() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("watch.sock");
    let place = Place::Unix(path.clone());
    let served = Served::start(&place);
    assert_eq!(served.place, place);
    assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    let ask = || {
        let mut stream = UnixStream::connect(&path).unwrap();
        stream.write_all(b"GET /health HTTP/1.1\r\nHost: whatever\r\n\r\n").unwrap();
        status(&rest(&mut stream))
    };
    assert_eq!(ask(), 503);
    assert_eq!(Listener::open(&place).unwrap_err().kind(), io::ErrorKind::AddrInUse);
    assert_eq!(ask(), 503, "it was left alone");
    drop(served);
    assert!(!path.exists());
}

#[test]
fn only_what_nobody_listens_at_makes_room_for_a_socket() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("watch.sock");
    let place = Place::Unix(path.clone());
    // Left by somebody who was killed.
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    let listener = Listener::open(&place).unwrap();
    // Somebody else has taken the name meanwhile: it is not ours to remove.
    std::fs::remove_file(&path).unwrap();
    std::fs::File::create(&path).unwrap();
    drop(listener);
    assert!(path.exists());
    assert_eq!(Listener::open(&place).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
    assert!(path.metadata().unwrap().is_file(), "what is no socket stays");
    let nowhere = Place::Unix(directory.path().join("a/b.sock"));
    assert_eq!(Listener::open(&nowhere).unwrap_err().kind(), io::ErrorKind::NotFound);
    let long = Place::Unix(directory.path().join("x".repeat(200)));
    assert!(Listener::open(&long).is_err());
}

#[test]
fn a_port_that_is_taken_is_an_error() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let place = Place::Tcp(taken.local_addr().unwrap());
    assert_eq!(Listener::open(&place).unwrap_err().kind(), io::ErrorKind::AddrInUse);
    assert_eq!(place.to_string(), format!("http://{}", taken.local_addr().unwrap()));
    assert_eq!(Place::Unix("/run/x.sock".into()).to_string(), "unix:/run/x.sock");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn any_bytes_get_an_answer_or_an_end(bytes in crate::hostile::bytes(&[
        "GET /health HTTP/1.1\r\nHost: 127.0.0.1:9105\r\nAccept: */*\r\n\r\n",
    ])) {
        let mut listener = Listener::open(&any_port()).unwrap();
        let Place::Tcp(address) = listener.place() else { panic!("not at a port") };
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(&bytes).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        let reader = thread::spawn(move || rest_of_bytes(&mut stream));
        while !reader.is_finished() {
            poll(&mut listener.poll_fds(), Some(&Timespec { tv_sec: 0, tv_nsec: 5_000_000 })).unwrap();
            listener.serve(&House);
        }
        let answer = reader.join().unwrap();
        prop_assert!(answer.is_empty() || answer.starts_with(b"HTTP/1.1 "), "{answer:?}");
    }
}

fn rest_of_bytes(stream: &mut TcpStream) -> Vec<u8> {
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    answer
}
