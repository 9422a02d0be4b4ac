//! Reading files that may be no files: bounded in size and time, also where a pipe or a device stands in their place.

use std::fs::OpenOptions;
use std::io::{self, Read as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::OFlags;

/// How long a pipe may take to say all it has to say.
const PATIENCE: Duration = Duration::from_secs(5);

/// How often a pipe is asked again.
const POLL: Duration = Duration::from_millis(10);

/// The contents of the file at `path`: an error if they are longer than `most` bytes, or take too long.
pub(crate) fn read(path: &Path, most: usize) -> io::Result<Vec<u8>> {
    let flags = OFlags::NONBLOCK | OFlags::NOCTTY;
    let mut file = OpenOptions::new().read(true).custom_flags(flags.bits().cast_signed()).open(path)?;
    let start = Instant::now();
    let (mut contents, mut part) = (Vec::new(), [0; 8 * 1024]);
    loop {
        match file.read(&mut part) {
            Ok(0) => return Ok(contents),
            Ok(length) => contents.extend(part.iter().take(length)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock && start.elapsed() < PATIENCE => {
                thread::sleep(POLL);
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                return Err(io::Error::new(io::ErrorKind::TimedOut, "a pipe to which nobody writes"));
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
        if contents.len() > most {
            return Err(io::Error::new(
                io::ErrorKind::FileTooLarge,
                format!("larger than {} KiB", most / 1024),
            ));
        }
    }
}

/// The same as text.
pub(crate) fn read_text(path: &Path, most: usize) -> io::Result<String> {
    let not_text = |_| io::Error::new(io::ErrorKind::InvalidData, "not UTF-8");
    String::from_utf8(read(path, most)?).map_err(not_text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::io::Write as _;

    #[test]
    fn a_file_is_read_up_to_its_limit_and_a_device_is_not_read_for_ever() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        File::create(&path).unwrap().write_all(&[b'x'; 2048]).unwrap();
        assert_eq!(read(&path, 2048).unwrap().len(), 2048);
        assert_eq!(read(&path, 2047).unwrap_err().to_string(), "larger than 1 KiB");
        assert_eq!(read(Path::new("/dev/null"), 1).unwrap(), b"");
        assert_eq!(read(Path::new("/dev/zero"), 4096).unwrap_err().to_string(), "larger than 4 KiB");
        assert!(read(directory.path(), 1).is_err());
    }

    #[test]
    fn a_pipe_is_read_while_somebody_writes_and_not_waited_for_for_ever() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("pipe");
        let mode = rustix::fs::Mode::from_raw_mode(0o600);
        rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, mode, 0).unwrap();
        assert_eq!(read(&path, 10).unwrap(), b"", "nobody has it open for writing");
        let mut pipe = OpenOptions::new().read(true).write(true).open(&path).unwrap();
        pipe.write_all(b"abc").unwrap();
        let start = Instant::now();
        assert_eq!(read(&path, 10).unwrap_err().kind(), io::ErrorKind::TimedOut);
        assert!(start.elapsed() < PATIENCE * 2);
    }
}
