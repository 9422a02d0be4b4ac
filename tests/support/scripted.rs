//! A server that does what a real one cannot be made to do: lie, hang, drip, break off, redirect. It can
//! also stand in front of a real one and pass on what it does not want to spoil.

use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

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
    /// These bytes, then the end of the connection.
    Raw(Vec<u8>),
    /// These bytes, one every so often.
    Drip(Vec<u8>, Duration),
    /// Nothing, for as long as the other side has patience.
    Hang,
    /// The end of the connection, without a word.
    Close,
    /// What the real server at this address answers.
    Forward(String),
}

/// The server. It ends when dropped.
pub struct Scripted {
    address: String,
    requests: Arc<Mutex<Vec<Request>>>,
    stop: Arc<AtomicBool>,
    acceptor: Option<JoinHandle<()>>,
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
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = format!("http://{}", listener.local_addr().unwrap());
        let requests = Arc::new(Mutex::new(Vec::new()));
        let stop = Arc::new(AtomicBool::new(false));
        let (log, stopping, script) = (Arc::clone(&requests), Arc::clone(&stop), Arc::new(script));
        let acceptor = thread::spawn(move || {
            for (connection, stream) in listener.incoming().enumerate() {
                if stopping.load(Ordering::SeqCst) {
                    return;
                }
                let Ok(stream) = stream else { continue };
                let (log, script) = (Arc::clone(&log), Arc::clone(&script));
                thread::spawn(move || serve(stream, connection, &log, &*script));
            }
        });
        Self { address, requests, stop, acceptor: Some(acceptor) }
    }

    /// Where it listens: `http://127.0.0.1:PORT`.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// What has come in so far.
    pub fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap().clone()
    }

    /// How often a call came in, by the part of its path after `/v1/`.
    pub fn count(&self, call: &str) -> usize {
        self.requests().iter().filter(|request| request.call() == call).count()
    }
}

impl Drop for Scripted {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        // Wakes the acceptor up, so that it sees the flag.
        let _ = TcpStream::connect(self.address.trim_start_matches("http://"));
        if let Some(acceptor) = self.acceptor.take() {
            let _ = acceptor.join();
        }
    }
}

fn serve(
    stream: TcpStream,
    connection: usize,
    log: &Mutex<Vec<Request>>,
    script: &(dyn Fn(&Request, usize) -> Reply + Send + Sync),
) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut writer = stream;
    while let Some(request) = read(&mut reader) {
        let request = Request { connection, ..request };
        let number = {
            let mut requests = log.lock().unwrap();
            requests.push(request.clone());
            requests.len() - 1
        };
        if !answer(&mut writer, &request, script(&request, number)) {
            let _ = writer.shutdown(Shutdown::Both);
            return;
        }
    }
}

fn read(reader: &mut BufReader<TcpStream>) -> Option<Request> {
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
fn answer(writer: &mut TcpStream, request: &Request, reply: Reply) -> bool {
    match reply {
        Reply::Json(status, body) => {
            let headers = vec![("Content-Type".to_owned(), "application/json".to_owned())];
            answer(writer, request, Reply::Full(status, headers, body))
        }
        Reply::Full(status, headers, body) => {
            let mut head = format!("HTTP/1.1 {status} Scripted\r\n");
            if status != 204 {
                let _ = write!(head, "Content-Length: {}\r\n", body.len());
            }
            for (name, value) in headers {
                let _ = write!(head, "{name}: {value}\r\n");
            }
            writer.write_all(format!("{head}\r\n{body}").as_bytes()).is_ok()
        }
        Reply::Raw(bytes) => {
            let _ = writer.write_all(&bytes);
            false
        }
        Reply::Drip(bytes, pause) => {
            for byte in bytes {
                if writer.write_all(&[byte]).is_err() {
                    break;
                }
                thread::sleep(pause);
            }
            false
        }
        Reply::Hang => {
            // Until the other side gives up and closes.
            let _ = writer.set_read_timeout(Some(Duration::from_secs(60)));
            let _ = writer.read(&mut [0]);
            false
        }
        Reply::Close => false,
        Reply::Forward(address) => match forward(&address, request) {
            Some(bytes) => {
                let _ = writer.write_all(&bytes);
                false
            }
            None => false,
        },
    }
}

/// The bytes the real server answers; the connection is closed after them.
fn forward(address: &str, request: &Request) -> Option<Vec<u8>> {
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
    Some(bytes)
}
