//! The two kinds of sockets behind one face. None of them ever blocks.

use std::fmt;
use std::fs;
use std::io::{self, Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, fchmod};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, connect, listen, socket_with,
};

use super::request::Whom;

/// How many callers may wait to be let in.
const BACKLOG: i32 = 128;

/// Where to listen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Place {
    /// At this address.
    Tcp(SocketAddr),
    /// At a socket in the file system.
    Unix(PathBuf),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => write!(f, "http://{address}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// What is listened on.
#[derive(Debug)]
pub(super) enum Socket {
    Tcp(TcpListener),
    Unix(SocketFile),
}

/// A socket in the file system, which takes its file with it when it goes.
#[derive(Debug)]
pub(super) struct SocketFile {
    listener: UnixListener,
    path: PathBuf,
    /// Device and inode: what lies there by then may be somebody else's.
    identity: Option<(u64, u64)>,
}

/// A caller.
#[derive(Debug)]
pub(super) enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Socket {
    pub(super) fn open(place: &Place) -> io::Result<Self> {
        match place {
            Place::Tcp(address) => {
                let listener = TcpListener::bind(address)?;
                listener.set_nonblocking(true)?;
                Ok(Self::Tcp(listener))
            }
            Place::Unix(path) => Ok(Self::Unix(SocketFile::make(path)?)),
        }
    }

    pub(super) fn place(&self) -> Place {
        match self {
            Self::Tcp(listener) => match listener.local_addr() {
                Ok(address) => Place::Tcp(address),
                Err(_) => Place::Tcp(([0, 0, 0, 0], 0).into()),
            },
            Self::Unix(file) => Place::Unix(file.path.clone()),
        }
    }

    /// Whom its requests may be meant for: only a loopback address is a browser led to without meaning it.
    pub(super) fn whom(&self) -> Whom {
        let address = match self {
            Self::Tcp(listener) => listener.local_addr().ok().map(|address| address.ip()),
            Self::Unix(_) => None,
        };
        address.filter(IpAddr::is_loopback).map_or(Whom::Anybody, Whom::ThisMachine)
    }

    /// The next caller, if there is one.
    pub(super) fn accept(&self) -> io::Result<Stream> {
        match self {
            Self::Tcp(listener) => {
                let (stream, _) = listener.accept()?;
                stream.set_nonblocking(true)?;
                Ok(Stream::Tcp(stream))
            }
            Self::Unix(file) => {
                let (stream, _) = file.listener.accept()?;
                stream.set_nonblocking(true)?;
                Ok(Stream::Unix(stream))
            }
        }
    }

    pub(super) fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Tcp(listener) => listener.as_fd(),
            Self::Unix(file) => file.listener.as_fd(),
        }
    }
}

impl SocketFile {
    /// A new one, for its owner alone from the first moment. One that nobody listens at any more is replaced.
    fn make(path: &Path) -> io::Result<Self> {
        let address = SocketAddrUnix::new(path)?;
        remove_if_stale(path, &address)?;
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
        // The file gets the mode of the socket, as the mask lets it: unix(7) does not say so, Linux has always done it.
        fchmod(&socket, Mode::RUSR | Mode::WUSR)?;
        bind(&socket, &address)?;
        let identity = path.symlink_metadata().ok().map(|data| (data.dev(), data.ino()));
        let made = Self { listener: socket.into(), path: path.to_owned(), identity };
        listen(&made.listener, BACKLOG)?;
        Ok(made)
    }
}

/// Removes a socket that a killed process left. What is no socket, and one at which somebody listens, stays.
fn remove_if_stale(path: &Path, address: &SocketAddrUnix) -> io::Result<()> {
    match path.symlink_metadata() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
        Ok(data) if !data.file_type().is_socket() => {
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, "the file is there and no socket"));
        }
        Ok(_) => {}
    }
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let probe = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    match connect(&probe, address) {
        Err(Errno::CONNREFUSED) => fs::remove_file(path),
        // One whose queue is full listens, too.
        Ok(()) | Err(Errno::AGAIN) => Err(Errno::ADDRINUSE.into()),
        Err(error) => Err(error.into()),
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let there = self.path.symlink_metadata().ok().map(|data| (data.dev(), data.ino()));
        if there.is_some() && there == self.identity {
            let _ = fs::remove_file(&self.path);
        }
    }
}

impl Stream {
    /// Says that nothing more will be written.
    pub(super) fn end_writing(&self) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => stream.shutdown(Shutdown::Write),
            Self::Unix(stream) => stream.shutdown(Shutdown::Write),
        }
    }
}

impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Tcp(stream) => stream.as_fd(),
            Self::Unix(stream) => stream.as_fd(),
        }
    }
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.read(buffer),
            Self::Unix(stream) => stream.read(buffer),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.write(buffer),
            Self::Unix(stream) => stream.write(buffer),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
