//! The log file: lines are appended, and the last one is read again.

use std::fs::{DirBuilder, Metadata, OpenOptions};
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

/// How much of the end of a log is read for its last line.
const LAST_PART: u64 = 64 * 1024;

/// What a line begins with, after its time stamp, if it belongs to a configuration of this name.
pub(crate) fn mark(profile: &str) -> String {
    format!("[{profile}] ")
}

/// The last line of a log that is no warning and belongs to a configuration with this `mark`, if there is one. Several
/// tokens may share a log; the lines of the default configuration bear no mark.
pub(crate) fn last_line(path: &Path, mark: &str) -> Option<String> {
    let file = OpenOptions::new().read(true).custom_flags(UNWAITING.bits().cast_signed()).open(path).ok()?;
    let data = file.metadata().ok().filter(Metadata::is_file)?;
    let start = data.len().saturating_sub(LAST_PART);
    let mut end = vec![0; usize::try_from(data.len() - start).ok()?];
    file.read_exact_at(&mut end, start).ok()?;
    let text = String::from_utf8_lossy(&end);
    let is_event = |line: &&str| {
        let text = line.split_once(' ').and_then(|(_, text)| text.strip_prefix(mark));
        text.is_some_and(|text| !text.starts_with("WARN: ") && !text.starts_with('['))
    };
    text.lines().rev().find(is_event).map(str::to_owned)
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
