//! One request and its answer on a connection: takes note of the first byte that leaves, words the request for a
//! proxy, and lets through as much of an answer's headers as anybody here reads.
//!
//! ureq reads 128 headers at most, and keeps all of them in a buffer of a fixed size. Go takes ten megabytes, however
//! many they are. So does this module, which keeps a handful.

use std::cell::Cell;
use std::io;
use std::time::Instant;

use ureq::unversioned::transport::{Buffers, LazyBuffers, NextTimeout, Transport};

use super::socket::left_of;

/// The headers of an answer may be as large as this, all together and with those of the answers that announce it (1xx).
///
/// Source: Go's `Transport.MaxResponseHeaderBytes`.
pub(super) const LARGEST_HEADERS: usize = 10 * 1024 * 1024;

/// What is kept of an answer's headers has to fit in.
pub(super) const INPUT_BUFFER: usize = 64 * 1024;

/// Bytes of a request's headers: the longest token a token file may hold, and some more.
const OUTPUT_BUFFER: usize = 72 * 1024;

/// The headers that somebody reads. Whatever has `cache` in its name is kept, too.
const KEPT: [&[u8]; 8] = [
    b"age",
    b"connection",
    b"content-encoding",
    b"content-length",
    b"content-type",
    b"location",
    b"retry-after",
    b"transfer-encoding",
];

/// How many headers are kept at most; ureq takes 128.
const MOST_KEPT: usize = 120;

thread_local! {
    /// Whether the request of this thread has begun to leave, which is more than an error can tell: the same refusal
    /// may come from a connection that never was, and from one on which a mint was sent.
    static SENT: Cell<bool> = const { Cell::new(false) };
}

/// From now on this thread is at work on another request.
pub(super) fn begin() {
    SENT.set(false);
}

/// Whether the request of this thread has begun to leave.
pub(super) fn has_left() -> bool {
    SENT.get()
}

/// How a request names its target.
#[derive(Debug)]
pub(super) enum Form {
    /// By its path.
    Origin,
    /// Whole, for a proxy that passes it on.
    Absolute {
        /// The host and, if it is given, the port.
        place: String,
        /// What the proxy is told of who we are.
        authorization: Option<String>,
    },
}

/// Headers that were too large.
#[derive(Debug)]
pub(super) struct TooLarge(pub(super) usize);

impl std::fmt::Display for TooLarge {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "headers of {} bytes and more", self.0)
    }
}

impl std::error::Error for TooLarge {}

/// A connection as ureq sees it.
#[derive(Debug)]
pub(super) struct Conversation {
    inner: Box<dyn Transport>,
    form: Form,
    buffers: LazyBuffers,
    /// The headers of the answer as far as they have come in; none once they are complete.
    head: Option<Vec<u8>>,
}

impl Conversation {
    /// On this connection.
    pub(super) fn new(inner: Box<dyn Transport>, form: Form) -> Self {
        Self { inner, form, buffers: LazyBuffers::new(INPUT_BUFFER, OUTPUT_BUFFER), head: Some(Vec::new()) }
    }

    /// Reads until the headers are complete. Whether there was anything to read.
    fn await_head(&mut self, mut head: Vec<u8>, timeout: NextTimeout) -> Result<bool, ureq::Error> {
        let start = Instant::now();
        // Where the headers of the answer itself begin, behind those that announce it.
        let (mut begin, mut looked_at) = (0, 0);
        loop {
            let left = left_of(timeout, start);
            if left.after.is_zero() {
                return Err(ureq::Error::Timeout(timeout.reason));
            }
            let goes_on = self.inner.maybe_await_input(left)?;
            let input = self.inner.buffers().input();
            let (before, came) = (head.len(), input.len());
            head.extend_from_slice(input);
            let is_http = |answer: &[u8]| answer.iter().zip(b"HTTP/").all(|(one, other)| one == other);
            if !goes_on || came == 0 || !is_http(head.get(begin..).unwrap_or_default()) {
                // Half an answer, or none at all: ureq says what it thinks of it.
                self.inner.buffers().input_consume(came);
                return self.let_through(head.get(begin..).unwrap_or_default());
            }
            while let Some(end) = end_of_head(&head, begin, &mut looked_at) {
                let answer = head.get(begin..end).unwrap_or_default();
                if !is_announcement(answer) {
                    self.inner.buffers().input_consume(end - before);
                    return self.let_through(&thinned(answer));
                }
                (begin, looked_at) = (end, end);
            }
            self.inner.buffers().input_consume(came);
            if head.len() > LARGEST_HEADERS {
                return Err(io::Error::other(TooLarge(head.len())).into());
            }
        }
    }

    /// Hands this to ureq.
    fn let_through(&mut self, bytes: &[u8]) -> Result<bool, ureq::Error> {
        let place = self.buffers.input_append_buf();
        let Some(place) = place.get_mut(..bytes.len()) else {
            return Err(io::Error::other(TooLarge(bytes.len())).into());
        };
        place.copy_from_slice(bytes);
        self.buffers.input_appended(bytes.len());
        Ok(!bytes.is_empty())
    }

    /// Sends all of it.
    fn send(&mut self, mut bytes: &[u8], timeout: NextTimeout) -> Result<(), ureq::Error> {
        while !bytes.is_empty() {
            let output = self.inner.buffers().output();
            let length = bytes.len().min(output.len());
            let (now, later) = bytes.split_at(length);
            output.iter_mut().zip(now).for_each(|(place, byte)| *place = *byte);
            self.inner.transmit_output(length, timeout)?;
            bytes = later;
        }
        Ok(())
    }
}

impl Transport for Conversation {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), ureq::Error> {
        let output = self.buffers.output().get(..amount).unwrap_or_default();
        let is_first = !SENT.replace(true);
        let bytes = zeroize::Zeroizing::new(match &self.form {
            Form::Absolute { place, authorization } if is_first => {
                absolute(output, place, authorization.as_deref())
            }
            Form::Absolute { .. } | Form::Origin => output.to_vec(),
        });
        if is_first {
            self.head = Some(Vec::new());
        }
        self.send(&bytes, timeout)
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, ureq::Error> {
        if let Some(head) = self.head.take() {
            return self.await_head(head, timeout);
        }
        let goes_on = self.inner.maybe_await_input(timeout)?;
        let (input, place) = (self.inner.buffers().input(), self.buffers.input_append_buf());
        let length = input.len().min(place.len());
        place.iter_mut().zip(input).for_each(|(place, byte)| *place = *byte);
        self.buffers.input_appended(length);
        self.inner.buffers().input_consume(length);
        Ok(goes_on && length > 0)
    }

    fn is_open(&mut self) -> bool {
        // What has come in already, before anything was asked, is nothing of ours.
        self.inner.buffers().input().is_empty() && self.inner.is_open()
    }

    fn is_tls(&self) -> bool {
        self.inner.is_tls()
    }
}

/// A request with its target named whole, and with what the proxy is to know.
fn absolute(request: &[u8], place: &str, authorization: Option<&str>) -> Vec<u8> {
    let line = request.iter().position(|byte| *byte == b'\n').map_or(request.len(), |end| end + 1);
    let (line, headers) = request.split_at(line);
    let target = line.iter().position(|byte| *byte == b' ').map_or(0, |blank| blank + 1);
    let (method, target) = line.split_at(target);
    let authorization = authorization.map(|value| format!("Proxy-Authorization: {value}\r\n"));
    [method, b"http://", place.as_bytes(), target, authorization.unwrap_or_default().as_bytes(), headers]
        .concat()
}

/// Where the headers that begin at `begin` end, the empty line included. What was looked at is not looked at again.
fn end_of_head(bytes: &[u8], begin: usize, looked_at: &mut usize) -> Option<usize> {
    // Two lines that end, with nothing in between: three bytes of it may have been there before.
    let from = looked_at.saturating_sub(3).max(begin);
    let rest = bytes.get(from..)?;
    for (at, _) in rest.iter().enumerate().filter(|(_, byte)| **byte == b'\n') {
        let line = rest.get(..at).unwrap_or_default();
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.ends_with(b"\n") {
            return Some(from + at + 1);
        }
    }
    *looked_at = bytes.len();
    None
}

/// Whether it is an answer that only announces another (1xx), and not the end of HTTP on this connection (101).
///
/// Source: RFC 9110, section 15.2.
fn is_announcement(head: &[u8]) -> bool {
    let status = head.get(b"HTTP/1.1 ".len()..).and_then(|rest| rest.get(..3)).unwrap_or_default();
    status.starts_with(b"1") && status != b"101"
}

/// The headers that somebody reads. A line that is no header is kept, for ureq to refuse.
fn thinned(head: &[u8]) -> Vec<u8> {
    let mut kept = Vec::new();
    let mut count = 0;
    let mut keeps = true;
    for (number, line) in head.split_inclusive(|byte| *byte == b'\n').enumerate() {
        let is_empty = line.trim_ascii().is_empty();
        // A line that begins with a blank goes on with the header before it.
        if number > 0 && !is_empty && !line.starts_with(b" ") && !line.starts_with(b"\t") {
            let name = line.split(|byte| *byte == b':').next().unwrap_or_default().to_ascii_lowercase();
            let is_cache = name.windows(5).any(|part| part == b"cache") && name != b"cache-control";
            let is_header = name.len() < line.len();
            keeps = (!is_header || is_cache || KEPT.contains(&&*name)) && count < MOST_KEPT;
            count += usize::from(keeps);
        }
        if keeps || is_empty {
            kept.extend_from_slice(line);
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn of_many_headers_those_stay_that_somebody_reads() {
        let many = "X-Filler: x\r\n".repeat(9999);
        let head = [
            "HTTP/1.1 200 OK\r\n",
            &many,
            "Content-Type: application/json\r\nX-Cache: MISS\r\nCache-Control: no-store\r\n",
            "Set-Cookie: a\r\n b\r\ncontent-LENGTH: 7\r\nX-Cache-2: a\r\n b\r\n\r\n",
        ];
        let kept = [
            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nX-Cache: MISS\r\n",
            "content-LENGTH: 7\r\nX-Cache-2: a\r\n b\r\n\r\n",
        ];
        assert_eq!(thinned(head.concat().as_bytes()), kept.concat().as_bytes());
        let strange = "HTTP/1.1 200 OK\r\nnonsense\r\n\r\n";
        assert_eq!(thinned(strange.as_bytes()), strange.as_bytes());
        let caches = "X-Cache: HIT\n".repeat(9999);
        assert!(thinned(format!("HTTP/1.1 200 OK\n{caches}\n").as_bytes()).len() < 4096);
    }

    #[test]
    fn headers_end_with_an_empty_line_however_they_come_in() {
        for head in
            ["HTTP/1.1 200 OK\r\nA: b\r\n\r\n", "HTTP/1.1 200 OK\nA: b\n\n", "HTTP/1.1 200 OK\r\nA: b\n\r\n"]
        {
            let whole = format!("{head}body\r\n\r\n");
            assert_eq!(end_of_head(whole.as_bytes(), 0, &mut 0), Some(head.len()));
            let mut looked_at = 0;
            for length in 0..head.len() {
                assert_eq!(end_of_head(&whole.as_bytes()[..length], 0, &mut looked_at), None, "{length}");
            }
            assert_eq!(end_of_head(head.as_bytes(), 0, &mut looked_at), Some(head.len()));
        }
    }

    #[test]
    fn answers_that_announce_another_are_known() {
        assert!(is_announcement(b"HTTP/1.1 103 Early Hints\r\n\r\n"));
        assert!(is_announcement(b"HTTP/1.1 100 Continue\r\n\r\n"));
        assert!(!is_announcement(b"HTTP/1.1 101 Switching Protocols\r\n\r\n"));
        assert!(!is_announcement(b"HTTP/1.1 200 OK\r\n\r\n"));
        assert!(!is_announcement(b"HTTP/1.1"));
    }

    #[test]
    fn a_proxy_reads_the_whole_target_and_who_asks() {
        let request = b"GET /v1/x HTTP/1.1\r\nHost: a:1\r\n\r\n";
        let whole = b"GET http://a:1/v1/x HTTP/1.1\r\nHost: a:1\r\n\r\n";
        assert_eq!(absolute(request, "a:1", None), whole);
        let whole = b"GET http://a:1/v1/x HTTP/1.1\r\nProxy-Authorization: b\r\nHost: a:1\r\n\r\n";
        assert_eq!(absolute(request, "a:1", Some("b")), whole);
    }

    proptest! {
        #[test]
        fn no_headers_grow(head in crate::hostile::bytes(&[
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX-Cache: HIT\r\n more\r\n\r\n", "HTTP/1.1 103 x\n\n",
        ])) {
            prop_assert!(thinned(&head).len() <= head.len());
            let _ = (end_of_head(&head, 0, &mut 0), is_announcement(&head));
        }
    }
}
