//! What hangs: a connection that does not come about, a name that does not resolve, an answer that drips.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use rustix::net::{AddressFamily, SocketFlags, SocketType};

use super::sandbox::{PROGRAM, Sandbox};
use super::scripted::Reply;

/// An address whose name nobody resolves.
pub const UNKNOWN: &str = "http://vault.example.org:8200";

/// An address at which nothing answers and nothing refuses: a listener whose queue is full.
pub fn silent() -> (SocketAddr, TcpListener, Vec<TcpStream>) {
    let socket =
        rustix::net::socket_with(AddressFamily::INET, SocketType::STREAM, SocketFlags::CLOEXEC, None)
            .unwrap();
    rustix::net::bind(&socket, &SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
    rustix::net::listen(&socket, 0).unwrap();
    let listener = TcpListener::from(socket);
    let address = listener.local_addr().unwrap();
    let mut held = Vec::new();
    while let Ok(stream) = TcpStream::connect_timeout(&address, Duration::from_millis(200)) {
        held.push(stream);
        assert!(held.len() < 16, "the queue is never full");
    }
    (address, listener, held)
}

/// Whether somebody tries to connect there, and waits.
pub fn is_called(address: SocketAddr) -> bool {
    // SYN_SENT is 02. Source: proc_pid_net(5) and the kernel's `tcp_states.h`.
    let waiting = format!(" 0100007F:{:04X} 02 ", address.port());
    std::fs::read_to_string("/proc/net/tcp").unwrap().contains(&waiting)
}

/// An answer that takes the better part of a minute, byte by byte.
pub fn dripping() -> Reply {
    let slow = format!("HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n{}", " ".repeat(9999));
    Reply::Drip(slow.into_bytes(), Duration::from_millis(5))
}

/// How to start the program in a network of its own, with a resolver that hears every question and answers none: a
/// starter, its arguments, to which those of the program may be added, and a variable it needs.
pub fn with_a_deaf_resolver(home: &Sandbox) -> (&'static str, Vec<String>, (&'static str, &'static str)) {
    const DEAF: &str = r#"
        ip link set lo up && mount --bind resolv.conf /etc/resolv.conf \
            && mount --bind nsswitch.conf /etc/nsswitch.conf \
            && exec perl -MIO::Socket::INET -e '
                $^F = 99;
                my $deaf = IO::Socket::INET->new(LocalAddr => "127.0.0.1:53", Proto => "udp") or die;
                open my $told, ">", "listens"; close $told;
                exec @ARGV' "$0" "$@"
    "#;
    home.write("resolv.conf", "nameserver 127.0.0.1\noptions timeout:30 attempts:5\n");
    home.write("nsswitch.conf", "hosts: dns\n");
    let mut arguments = vec!["--mount", "--net", "/bin/sh", "-c", DEAF, PROGRAM];
    if !rustix::process::geteuid().is_root() {
        arguments.splice(0..0, ["--user", "--map-root-user"]);
    }
    let path = ("PATH", "/usr/local/sbin:/usr/sbin:/sbin:/usr/local/bin:/usr/bin:/bin");
    ("/usr/bin/unshare", arguments.into_iter().map(str::to_owned).collect(), path)
}
