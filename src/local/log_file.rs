//! The log file, to which lines are appended.

use std::fs::{DirBuilder, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, FileExt as _, OpenOptionsExt as _};
use std::path::Path;

use rustix::fs::OFlags;

/// How a log is opened: a pipe in its place is not waited for.
const UNWAITING: OFlags = OFlags::NONBLOCK.union(OFlags::NOCTTY);

/// Appends to the log, which is made with mode 0600 if it is not there.
pub(crate) fn append(path: &Path, line: &str) -> io::Result<()> {
    if let Some(directory) = path.parent() {
        DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
    }
    let start = if is_cut_short(path) { "\n" } else { "" };
    let mut options = OpenOptions::new();
    options.append(true).create(true).mode(0o600).custom_flags(UNWAITING.bits().cast_signed());
    options.open(path)?.write_all(format!("{start}{line}").as_bytes())
}

/// Whether the last line of a log was cut short, as a full disk does it. A log that cannot be read is taken as
/// it is.
fn is_cut_short(path: &Path) -> bool {
    let open = || {
        let file = OpenOptions::new().read(true).custom_flags(UNWAITING.bits().cast_signed()).open(path)?;
        let end =
            file.metadata().ok().filter(|data| data.is_file() && data.len() > 0).map(|data| data.len() - 1);
        let mut last = [b'\n'];
        end.map_or(Ok(()), |end| file.read_exact_at(&mut last, end))?;
        io::Result::Ok(last != [b'\n'])
    };
    open().unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::MetadataExt as _;

    #[test]
    fn a_new_log_file_is_made_with_its_directories_for_the_owner_alone() {
        let directory = tempfile::tempdir().unwrap();
        let log = directory.path().join("a/b/log");
        append(&log, "one\n").unwrap();
        append(&log, "two\n").unwrap();
        assert_eq!(fs::read_to_string(&log).unwrap(), "one\ntwo\n");
        assert_eq!(fs::metadata(&log).unwrap().mode() & 0o7777, 0o600);
        assert_eq!(fs::metadata(directory.path().join("a")).unwrap().mode() & 0o7777, 0o700);
        assert!(append(directory.path(), "x").is_err());
    }
}
