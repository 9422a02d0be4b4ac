//! The token file: reading it with suspicion, replacing it atomically.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, OFlags, StatxAttributes, StatxFlags};
use rustix::io::Errno;
use zeroize::Zeroizing;

use super::glance::Glance;
use super::staged::{self, Committed, Readers, Staged};
use crate::secret::{NotAToken, Token};

/// Larger than any token of any server; a file beyond this is something else.
const LARGEST: u64 = 64 * 1024;

/// The file that holds the token, by the name the user gave it.
#[derive(Debug, Clone)]
pub(crate) struct TokenFile {
    path: PathBuf,
}

/// What was read.
#[derive(Debug)]
pub(crate) struct Reading {
    /// The token.
    pub(crate) token: Token,
    /// The mode others could use, if they could.
    pub(crate) loose_mode: Option<LooseMode>,
}

/// A mode that let others in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LooseMode {
    /// The mode that was found.
    pub(crate) mode: u32,
    /// Whether it is 0600 now.
    pub(crate) tightened: bool,
}

/// What to do about a loose mode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Looseness {
    /// Make it 0600.
    Tighten,
    /// Only tell, as a dry run does.
    Tell,
}

/// Why no token could be read.
#[derive(Debug)]
pub(crate) enum ReadError {
    /// There is no such file.
    Missing,
    /// Nothing in it but white space.
    Empty,
    /// A directory, a pipe, a device.
    NotAFile,
    /// Larger than any token.
    TooLarge,
    /// Bytes that no token has.
    Unprintable,
    /// Something else that people put into the file by mistake.
    NotAToken(Mistake),
    /// It belongs to this other user.
    Owner(u32),
    /// The operating system says no.
    Io(io::Error),
}

/// What is in a token file instead of a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mistake {
    /// JSON, such as the whole answer of a login.
    Json,
    /// A string in quotation marks.
    Quoted,
    /// `NAME=value`, as in a file of variables.
    Assignment,
    /// Something to be filled in, in angle brackets or after a dollar sign.
    Placeholder,
}

impl Mistake {
    /// What it is, if it is one of them. Servers issue no such tokens.
    fn of(contents: &[u8]) -> Option<Self> {
        let text = contents.trim_ascii();
        let name = text.split(|byte| *byte == b'=').next().filter(|name| name.len() < text.len());
        let is_name = |name: &[u8]| {
            let is_word = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_';
            let name = name.strip_prefix(b"export ").unwrap_or(name);
            name.first().is_some_and(|byte| !byte.is_ascii_digit()) && name.iter().all(is_word)
        };
        match (text.first()?, text.last()?) {
            (b'{' | b'[', _) => Some(Self::Json),
            (b'"' | b'\'', _) | (_, b'"' | b'\'') => Some(Self::Quoted),
            (b'<' | b'$', _) | (_, b'>') => Some(Self::Placeholder),
            _ if [&b"null"[..], b"true", b"false"].contains(&text) => Some(Self::Json),
            _ if name.is_some_and(is_name) => Some(Self::Assignment),
            _ => None,
        }
    }
}

/// Why the token file was not replaced.
#[derive(Debug)]
pub(crate) struct ReplaceError {
    /// What was tried.
    pub(crate) step: ReplaceStep,
    /// What the operating system said.
    pub(crate) error: io::Error,
}

/// The steps of a replacement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ReplaceStep {
    /// Finding the file behind the name.
    Resolve,
    /// Writing the new file beside it.
    Stage,
    /// Putting it in place.
    Rename,
}

/// A written and synced token, not yet in place.
#[derive(Debug)]
pub(crate) struct StagedToken {
    staged: Staged,
}

impl TokenFile {
    /// The token file of this name.
    pub(crate) fn new(path: PathBuf) -> Self {
        Self { path }
    }

    /// The name the user gave it.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The file behind the name: symbolic links are followed, so that replacing it keeps them. Where there
    /// is no file yet, the place where it would be.
    pub(crate) fn resolved(&self) -> io::Result<PathBuf> {
        match fs::canonicalize(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound && !self.path.is_symlink() => {
                let name = self.path.file_name().ok_or(error)?;
                let directory = self.path.parent().filter(|parent| !parent.as_os_str().is_empty());
                Ok(fs::canonicalize(directory.unwrap_or(Path::new(".")))?.join(name))
            }
            resolved => resolved,
        }
    }

    /// The same, or the name itself where it leads nowhere: reading will say so.
    pub(crate) fn real(&self) -> PathBuf {
        self.resolved().unwrap_or_else(|_| self.path.clone())
    }

    /// What can be told of the file, and against it, without reading it.
    pub(crate) fn glance(&self) -> (Option<Glance>, Option<ReadError>) {
        let glance = match fs::metadata(&self.path) {
            Ok(data) => Glance::from(&data),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return (None, Some(ReadError::Missing)),
            Err(error) => return (None, Some(ReadError::Io(error))),
        };
        let unreadable = || {
            let refusal = rustix::fs::access(&self.path, rustix::fs::Access::READ_OK).err();
            refusal.map(|refusal| ReadError::Io(refusal.into()))
        };
        let empty = (glance.size == 0).then_some(ReadError::Empty);
        (Some(glance), objection(glance).or(empty).or_else(unreadable))
    }

    /// Reads the token. All checks are made on the opened file, so that nothing can be exchanged between
    /// looking and reading; a pipe is not waited for.
    pub(crate) fn read(&self, looseness: Looseness) -> Result<Reading, ReadError> {
        let flags = OFlags::NONBLOCK | OFlags::NOCTTY;
        let mut options = OpenOptions::new();
        options.read(true).custom_flags(flags.bits().cast_signed());
        let file = match options.open(&self.path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(ReadError::Missing),
            Err(error) => return Err(ReadError::Io(error)),
        };
        let glance = Glance::from(&file.metadata().map_err(ReadError::Io)?);
        if let Some(objection) = objection(glance) {
            return Err(objection);
        }
        let mut contents = Zeroizing::new(Vec::with_capacity(usize::try_from(glance.size).unwrap_or(0) + 1));
        (&file).take(LARGEST + 1).read_to_end(&mut contents).map_err(ReadError::Io)?;
        // It may have grown since.
        if contents.len() as u64 > LARGEST {
            return Err(ReadError::TooLarge);
        }
        if let Some(mistake) = Mistake::of(&contents) {
            return Err(ReadError::NotAToken(mistake));
        }
        let token = Token::parse(&contents).map_err(|reason| match reason {
            NotAToken::Empty => ReadError::Empty,
            NotAToken::Unprintable => ReadError::Unprintable,
        })?;
        Ok(Reading { token, loose_mode: loose_mode(&file, glance, looseness) })
    }

    /// Whether a new file could be put in its place, as far as that can be told without writing.
    pub(crate) fn check_replaceable(&self) -> Result<(), ReplaceError> {
        let target = self.resolved().map_err(|error| ReplaceError { step: ReplaceStep::Resolve, error })?;
        let access = rustix::fs::Access::WRITE_OK | rustix::fs::Access::EXEC_OK;
        rustix::fs::access(staged::directory(&target), access)
            .map_err(|error| ReplaceError { step: ReplaceStep::Stage, error: error.into() })?;
        // A mount point and a file made immutable are only found out by the rename.
        let (flags, mask) = (AtFlags::empty(), StatxFlags::empty());
        let attributes = rustix::fs::statx(rustix::fs::CWD, &target, flags, mask)
            .map_or(StatxAttributes::empty(), |data| data.stx_attributes);
        let fixed = StatxAttributes::IMMUTABLE | StatxAttributes::APPEND;
        let obstacle = if attributes.contains(StatxAttributes::MOUNT_ROOT) {
            Errno::BUSY
        } else if attributes.intersects(fixed) {
            Errno::PERM
        } else {
            return Ok(());
        };
        Err(ReplaceError { step: ReplaceStep::Rename, error: obstacle.into() })
    }

    /// Writes `token`, raw and without a newline, to a new file beside the real token file.
    pub(crate) fn stage(&self, token: &Token) -> Result<StagedToken, ReplaceError> {
        let failed = |step| move |error| ReplaceError { step, error };
        let target = self.resolved().map_err(failed(ReplaceStep::Resolve))?;
        // The only place where the secret is written to a disk.
        let staged = Staged::write(&target, token.expose().as_bytes(), Readers::Owner)
            .map_err(failed(ReplaceStep::Stage))?;
        Ok(StagedToken { staged })
    }
}

impl StagedToken {
    /// Puts the new token in the place of the old one.
    pub(crate) fn commit(self) -> Result<Committed, ReplaceError> {
        self.staged.commit().map_err(|error| ReplaceError { step: ReplaceStep::Rename, error })
    }
}

/// Why a file cannot be a token file: its kind, its owner, its size.
fn objection(glance: Glance) -> Option<ReadError> {
    if !glance.is_file {
        Some(ReadError::NotAFile)
    } else if !glance.is_own() {
        Some(ReadError::Owner(glance.owner))
    } else if glance.size > LARGEST {
        Some(ReadError::TooLarge)
    } else {
        None
    }
}

fn loose_mode(file: &File, glance: Glance, looseness: Looseness) -> Option<LooseMode> {
    if !glance.is_loose() {
        return None;
    }
    let tightened = match looseness {
        // Some file systems say yes and change nothing.
        Looseness::Tighten => {
            file.set_permissions(fs::Permissions::from_mode(0o600)).is_ok()
                && file.metadata().is_ok_and(|data| !Glance::from(&data).is_loose())
        }
        Looseness::Tell => false,
    };
    Some(LooseMode { mode: glance.mode, tightened })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::io::Write as _;
    use std::os::unix::fs::{MetadataExt as _, symlink};

    struct Home {
        directory: tempfile::TempDir,
    }

    impl Home {
        fn new() -> Self {
            Self { directory: tempfile::tempdir().unwrap() }
        }

        fn file(&self) -> TokenFile {
            TokenFile::new(self.directory.path().join(".vault-token"))
        }

        fn holding(contents: &[u8], mode: u32) -> Self {
            let home = Self::new();
            let mut file = File::create(home.file().path()).unwrap();
            file.write_all(contents).unwrap();
            file.set_permissions(fs::Permissions::from_mode(mode)).unwrap();
            home
        }

        fn mode(&self) -> u32 {
            fs::metadata(self.file().path()).unwrap().mode() & 0o7777
        }
    }

    fn replace(file: &TokenFile, token: &str) {
        let staged = file.stage(&Token::parse(token.as_bytes()).unwrap()).unwrap();
        assert!(matches!(staged.commit().unwrap(), Committed::Durably));
    }

    #[test]
    fn a_token_is_read_without_the_white_space_around_it() {
        let home = Home::holding(b" s.abc\n", 0o600);
        let reading = home.file().read(Looseness::Tighten).unwrap();
        assert_eq!(reading.token, Token::parse(b"s.abc").unwrap());
        assert_eq!(reading.loose_mode, None);
    }

    #[test]
    fn what_is_no_token_file_is_named_and_left_alone() {
        let missing = Home::new();
        assert!(matches!(missing.file().read(Looseness::Tighten), Err(ReadError::Missing)));
        for (contents, expected) in [
            (&b""[..], "Empty"),
            (b" \n\t\n", "Empty"),
            (b"\xff\xfe\x00", "Unprintable"),
            (b"hello world", "Unprintable"),
            (b"s.a\x1b[31m", "Unprintable"),
        ] {
            let home = Home::holding(contents, 0o644);
            let error = home.file().read(Looseness::Tighten).unwrap_err();
            assert_eq!(format!("{error:?}"), expected, "{contents:?}");
            assert_eq!(fs::read(home.file().path()).unwrap(), contents);
            assert_eq!(home.mode(), 0o644);
        }
        let large = Home::holding(&vec![b'x'; 64 * 1024 + 1], 0o600);
        assert!(matches!(large.file().read(Looseness::Tighten), Err(ReadError::TooLarge)));
        let directory = Home::new();
        fs::create_dir(directory.file().path()).unwrap();
        assert!(matches!(directory.file().read(Looseness::Tighten), Err(ReadError::NotAFile)));
        let circle = Home::new();
        symlink(circle.file().path(), circle.file().path()).unwrap();
        assert!(matches!(circle.file().read(Looseness::Tighten), Err(ReadError::Io(_))));
    }

    #[test]
    fn a_pipe_is_refused_and_not_waited_for() {
        let home = Home::new();
        rustix::fs::mknodat(
            rustix::fs::CWD,
            home.file().path(),
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::from_raw_mode(0o600),
            0,
        )
        .unwrap();
        assert!(matches!(home.file().read(Looseness::Tighten), Err(ReadError::NotAFile)));
    }

    #[test]
    fn a_loose_mode_is_tightened_or_only_told() {
        for mode in [0o644, 0o640, 0o604, 0o666] {
            let home = Home::holding(b"s.abc", mode);
            let told = home.file().read(Looseness::Tell).unwrap();
            assert_eq!(told.loose_mode, Some(LooseMode { mode, tightened: false }));
            assert_eq!(home.mode(), mode);
            let tightened = home.file().read(Looseness::Tighten).unwrap();
            assert_eq!(tightened.loose_mode, Some(LooseMode { mode, tightened: true }));
            assert_eq!(home.mode(), 0o600);
        }
        assert_eq!(Home::holding(b"s.abc", 0o400).file().read(Looseness::Tighten).unwrap().loose_mode, None);
    }

    #[test]
    fn a_replaced_file_holds_the_raw_token_and_mode_0600() {
        let home = Home::holding(b"old", 0o600);
        replace(&home.file(), "s.new");
        assert_eq!(fs::read(home.file().path()).unwrap(), b"s.new");
        assert_eq!(home.mode(), 0o600);
    }

    #[test]
    fn a_symbolic_link_stays_and_its_target_is_replaced() {
        let home = Home::new();
        let real = home.directory.path().join("elsewhere");
        fs::create_dir(&real).unwrap();
        File::create(real.join("token")).unwrap().write_all(b"old").unwrap();
        symlink("elsewhere/token", home.file().path()).unwrap();
        replace(&home.file(), "s.new");
        assert!(home.file().path().is_symlink());
        assert_eq!(fs::read(real.join("token")).unwrap(), b"s.new");
        assert_eq!(fs::read_dir(&real).unwrap().count(), 1);
    }

    #[test]
    fn a_link_into_the_void_cannot_be_replaced() {
        let home = Home::new();
        symlink("nowhere/token", home.file().path()).unwrap();
        let error = home.file().stage(&Token::parse(b"s.new").unwrap()).unwrap_err();
        assert_eq!(error.step, ReplaceStep::Resolve);
        assert!(home.file().path().is_symlink());
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused_and_left_as_they_are(
            bytes in crate::hostile::bytes(&["hvs.CAE-01_abc", " s.short\n"]),
        ) {
            let home = tempfile::tempdir().unwrap();
            let path = home.path().join(".vault-token");
            File::create(&path).unwrap().write_all(&bytes).unwrap();
            let _ = TokenFile::new(path.clone()).read(Looseness::Tighten);
            prop_assert_eq!(fs::read(&path).unwrap(), bytes);
        }
    }
}
