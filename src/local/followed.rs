//! Which version of a secret a followed file holds, so that a process that begins knows as much as the one before: of
//! an answer that is out of date, and of the age of what is held. No value, and nothing derived from one.

use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::glance::Likeness;
use super::staged::{Readers, Staged};
use super::state_dir::file_name;
use crate::bounded;
use crate::version::Version;

/// There is less to say.
const LARGEST: usize = 4 * 1024;

/// What is remembered of a followed file.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Record {
    /// The version that it holds, if there are versions.
    pub(crate) version: Option<Version>,
}

/// The same as it stands in the file, with what tells that the followed file is still the one that was meant.
#[derive(Serialize, Deserialize)]
struct Written {
    version: Option<(u64, i128)>,
    file: Likeness,
}

/// What is remembered of `out`, if it is still as it was then.
pub(crate) fn record_of(directory: &Path, out: &Path) -> Option<Record> {
    let text = bounded::read_text(&place(directory, out), LARGEST).ok()?;
    let Written { version, file } = serde_json::from_str(&text).ok()?;
    let version = version.map(|(number, created)| Version { number, created });
    (Likeness::of(out)? == file).then_some(Record { version })
}

/// Remembers it. A power cut may take that away, and nothing is lost but an age.
pub(crate) fn remember(directory: &Path, out: &Path, Record { version }: Record) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
    let Some(file) = Likeness::of(out) else { return Ok(()) };
    let version = version.map(|Version { number, created }| (number, created));
    let text = serde_json::to_vec(&Written { version, file })?;
    Staged::write(&place(directory, out), &text, Readers::Owner)?.replace()
}

fn place(directory: &Path, out: &Path) -> PathBuf {
    directory.join(file_name(out, "follow.json"))
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::Write as _;

    use super::*;

    #[test]
    fn what_is_remembered_is_about_the_file_as_it_was() {
        let directory = tempfile::tempdir().unwrap();
        let (state, out) = (directory.path().join("state"), directory.path().join("out"));
        assert_eq!(record_of(&state, &out), None);
        File::create(&out).unwrap().write_all(b"one").unwrap();
        let record = Record { version: Some(Version { number: 7, created: 1_795_721_503_341_056_371 }) };
        remember(&state, &out, record).unwrap();
        assert_eq!(record_of(&state, &out), Some(record));
        remember(&state, &out, Record::default()).unwrap();
        assert_eq!(record_of(&state, &out), Some(Record::default()));
        File::create(&out).unwrap().write_all(b"two more").unwrap();
        assert_eq!(record_of(&state, &out), None, "somebody else has written it since");
    }
}
