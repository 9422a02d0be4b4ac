//! One round of `follow`: fetch the field, compare, replace the file.
//!
//! [`round`] is a straight line:
//! 1. read the token to ask with, which somebody else keeps alive;
//! 2. find out in which store the secret is, once, and again after it was not there;
//! 3. fetch the field;
//! 4. judge its version (`crate::version`);
//! 5. replace the file, if it holds something else; or see to it that it still holds what it should, if there is
//!    nothing to put there.

mod verify;

use std::fs::{self, OpenOptions, Permissions};
use std::io::{self, Read as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;
use zeroize::Zeroizing;

use crate::clock::Clock;
use crate::config::follow::FollowSettings;
use crate::facts::followed::{FileStands, Holding, Kept, Round};
use crate::facts::warning::Warning;
use crate::local::followed::{Ledger, Replacement, Why};
use crate::local::glance::Likeness;
use crate::local::staged::{Committed, Readers, Staged};
use crate::local::token_file::{Looseness, TokenFile};
use crate::secret::Followed;
use crate::stop::Stop;
use crate::vault::Client;
use crate::vault::kv::{KvAnswer, KvPlace};
use crate::version::{Age, Version, Versions};
pub(crate) use verify::{Judgement, Signed, judge};

/// A larger file holds no value of a KV store.
const LARGEST: u64 = 1024 * 1024;

/// What a round works with.
pub(crate) struct Context<'a> {
    /// What was asked for.
    pub(crate) settings: &'a FollowSettings,
    /// The server.
    pub(crate) client: &'a Client<'a>,
    /// This machine's clock.
    pub(crate) clock: Clock,
    /// Whether somebody wants it to end.
    pub(crate) stop: &'a Stop,
    /// What outlives this process.
    pub(crate) ledger: &'a Ledger,
    /// Where warnings go.
    pub(crate) warn: &'a dyn Fn(Warning),
    /// Who has to know a value, and the file with it, before anybody can read it there; none if it did not get there.
    pub(crate) coming: &'a dyn Fn(Option<Coming<'_>>),
}

/// A value, and the file that will hold it.
pub(crate) type Coming<'a> = (&'a Followed, Likeness);

/// What is kept from round to round.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    place: Option<KvPlace>,
    /// What the file should hold.
    pub(crate) held: Option<Followed>,
    /// Whether that came from the server, now or before this process began.
    is_confirmed: bool,
    /// Which version that is, if there are versions and it is known.
    pub(crate) version: Option<Version>,
    /// Since when it is the current one, in seconds since 1970.
    pub(crate) since: Option<u64>,
    /// What is known of the versions.
    versions: Versions,
    /// The file as the last round left it; none if it did not hold what it should.
    pub(crate) left: Option<Likeness>,
}

impl Memory {
    /// What the file holds when the process begins, and what is remembered of it.
    pub(crate) fn at_start(settings: &FollowSettings, ledger: &Ledger) -> Self {
        let versions = ledger.versions();
        let unknown = Self { versions, ..Self::default() };
        let Ok(found) = read(&real(&settings.out)) else { return unknown };
        let is_confirmed = ledger.left(found.likeness);
        let version = versions.newest().filter(|_| is_confirmed);
        Self { is_confirmed, version, ..unknown }.adopting(found)
    }

    /// Takes what the file holds for the current value, unless that is nothing.
    fn adopting(self, found: Found) -> Self {
        if found.value.is(b"") {
            return Self { is_confirmed: false, version: None, ..self };
        }
        let since = self.version.map_or(found.changed, |version| Some(version.created_at()));
        Self { held: Some(found.value), since, left: Some(found.likeness), ..self }
    }
}

/// One round.
pub(crate) fn round(context: &Context<'_>, memory: &mut Memory) -> Round {
    if let Some(held) = &memory.held {
        context.client.hide(held.expose());
    }
    let out = real(&context.settings.out);
    memory.left = None;
    match fetched(context, memory) {
        Ok(fetched) => Round { kept: None, file: placed(context, memory, &out, fetched) },
        Err(kept) => {
            let is_stopped = context.stop.is_raised();
            let kept = if is_stopped { Kept::Stopped(context.stop.signal()) } else { kept };
            Round { kept: Some(kept), file: upheld(context, memory, &out) }
        }
    }
}

/// What was fetched.
struct Fetched {
    value: Followed,
    version: Option<Version>,
    /// How the version stands to those that are known.
    age: Age,
}

/// The value of the field, and how its version stands to the one that is held.
fn fetched(context: &Context<'_>, memory: &mut Memory) -> Result<Fetched, Kept> {
    let settings = context.settings;
    let reading = settings.token_file.read(Looseness::Tell).map_err(Kept::NoToken)?;
    if let Some(loose_mode) = reading.loose_mode {
        (context.warn)(Warning::LooseMode(loose_mode));
    }
    let (token, asked) = (reading.token, &settings.asked);
    let place = match &memory.place {
        Some(place) => place.clone(),
        None => context
            .client
            .kv_place(&token, &asked.path, asked.may_hold_data)
            .map_err(Kept::Vault)?
            .ok_or(Kept::NoStore)?,
    };
    let answer = context.client.kv_read(&token, &place, &asked.field);
    // What is no outage may mean that the store is another one by now: then it is looked for again.
    let is_lost = answer.as_ref().is_err_and(|error| !error.kind.is_temporary());
    memory.place = Some(place).filter(|_| !is_lost);
    let (value, version) = match answer.map_err(Kept::Vault)? {
        KvAnswer::Found(value, version) => (value, version),
        KvAnswer::Field(trouble) => return Err(Kept::Field(trouble)),
        KvAnswer::Absent => {
            // It may have been moved, and the store with it.
            memory.place = None;
            learn(context, memory, Versions::forget_doubts);
            return Err(Kept::Absent);
        }
        KvAnswer::NoMount => {
            memory.place = None;
            learn(context, memory, Versions::forget_doubts);
            return Err(Kept::NoStore);
        }
        KvAnswer::Deleted { destroyed } => {
            learn(context, memory, Versions::forget_doubts);
            return Err(Kept::Deleted { destroyed });
        }
    };
    let age = learn(context, memory, |versions| versions.judge(version));
    match (age, version) {
        (Age::Stale(held), Some(seen)) => Err(Kept::Stale { held, seen }),
        (Age::Stale(_) | Age::Current | Age::Restored, _) => Ok(Fetched { value, version, age }),
    }
}

/// Learns something of the versions, for this process and those after it.
fn learn<T>(context: &Context<'_>, memory: &mut Memory, learn: impl FnOnce(&mut Versions) -> T) -> T {
    let learnt = learn(&mut memory.versions);
    noted(context, context.ledger.learn(memory.versions));
    learnt
}

/// What cannot be noted is known as long as this process lives, and no longer.
fn noted(context: &Context<'_>, note: io::Result<()>) {
    if let Err(error) = note {
        (context.warn)(Warning::StateUnsaved { path: context.settings.state_directory.clone(), error });
    }
}

/// Sees to it that the file holds the value that was fetched.
fn placed(context: &Context<'_>, memory: &mut Memory, out: &Path, fetched: Fetched) -> FileStands {
    let Fetched { value, version, age } = fetched;
    if let Err(error) = check_place(context, out) {
        return unwritten(memory, out, error);
    }
    let found = read(out);
    let is_held = memory.held.as_ref() == Some(&value);
    let is_there = found.as_ref().is_ok_and(|found| found.value == value);
    let why = match (&memory.held, &found) {
        _ if is_there && (is_held || memory.held.is_none()) => None,
        (Some(_), _) if is_held => Some(Why::PutBack),
        (Some(held), _) if !memory.is_confirmed && held.is_trimmed(&value) => Some(Why::Trimmed),
        (Some(_), _) if age == Age::Restored => Some(Why::Restored),
        (Some(_), _) => Some(Why::Rotated),
        (None, Ok(found)) if found.value.is(b"") => Some(Why::First),
        (None, Err(error)) if error.kind() == io::ErrorKind::NotFound => Some(Why::First),
        (None, Ok(_) | Err(_)) => Some(Why::Unread),
    };
    let mut versions = memory.versions;
    versions.accept(version, age);
    let replacement = why.map(|why| replacement(context, memory, why, version));
    let written = match found {
        Ok(found) if is_there => keep(context, out, &value, replacement, versions, found.likeness),
        Ok(_) | Err(_) => write(context, out, &value, replacement, versions),
    };
    let left = match written {
        Ok(left) => left,
        Err(error) => return unwritten(memory, out, error),
    };
    if !is_held || memory.version != version {
        let now = context.clock.seconds();
        memory.since = version.map_or(Some(now), |version| Some(version.created_at()));
    }
    (memory.versions, memory.version, memory.is_confirmed) = (versions, version, true);
    (memory.held, memory.left) = (Some(value), Some(left));
    noted(context, context.ledger.confirm(versions, left));
    why.map_or(FileStands::Held, FileStands::Replaced)
}

/// Sees to it that the file holds what it should although there is nothing new to put there: whoever reads it does not
/// care why the server is silent.
fn upheld(context: &Context<'_>, memory: &mut Memory, out: &Path) -> FileStands {
    if let Err(error) = check_place(context, out) {
        return unwritten(memory, out, error);
    }
    let found = read(out);
    let Some(held) = &memory.held else {
        return match found {
            Ok(found) if found.value.is(b"") => FileStands::Empty,
            // Somebody has put it there while there was nothing.
            Ok(found) => {
                *memory = std::mem::take(memory).adopting(found);
                FileStands::Held
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => FileStands::Empty,
            Err(error) => FileStands::Unread(error),
        };
    };
    if let Ok(found) = &found
        && found.value == *held
    {
        memory.left = Some(found.likeness);
        return FileStands::Held;
    }
    let replacement = replacement(context, memory, Why::PutBack, memory.version);
    match write(context, out, held, Some(replacement), memory.versions) {
        Ok(left) => {
            memory.left = Some(left);
            if memory.is_confirmed {
                noted(context, context.ledger.confirm(memory.versions, left));
            }
            FileStands::Replaced(Why::PutBack)
        }
        Err(error) => unwritten(memory, out, error),
    }
}

fn replacement(context: &Context<'_>, memory: &Memory, why: Why, new: Option<Version>) -> Replacement {
    let now = context.clock.seconds();
    let place = memory.place.as_ref();
    Replacement {
        mount: place.map(|place| place.mount.clone()).unwrap_or_default(),
        path: place.map_or_else(|| context.settings.asked.path.clone(), |place| place.path.clone()),
        why,
        old: memory.version,
        new,
        age: memory.since.map(|since| now.saturating_sub(since)),
        at: now,
    }
}

/// That the file could not be written, and what it holds all the same.
fn unwritten(memory: &mut Memory, out: &Path, error: io::Error) -> FileStands {
    let holding = match (read(out), &memory.held) {
        (Ok(found), Some(held)) if found.value == *held => {
            memory.left = Some(found.likeness);
            Holding::Former
        }
        (Ok(found), _) if found.value.is(b"") => Holding::Nothing,
        (Err(_), None) => Holding::Nothing,
        (Err(error), Some(_)) if error.kind() == io::ErrorKind::NotFound => Holding::Nothing,
        (Ok(_) | Err(_), _) => Holding::SomethingElse,
    };
    FileStands::Unwritten(error, holding)
}

/// An error if the file cannot be one to replace. It was another one when the settings were checked; a link may have
/// been put in its place since.
fn check_place(context: &Context<'_>, out: &Path) -> io::Result<()> {
    let refused = |why: &str| Err(io::Error::new(io::ErrorKind::InvalidInput, why));
    if is_same(out, &context.settings.token_file.real()) {
        return refused("it is the token file");
    }
    // A rename would take a device away.
    if out.metadata().is_ok_and(|data| !data.is_file()) {
        return refused("not a regular file");
    }
    if out.is_symlink() {
        return refused("the link leads nowhere");
    }
    Ok(())
}

/// Leaves a file that holds the right value, and gives it the right mode; what it looks like then. What is to be told
/// of it is noted.
fn keep(
    context: &Context<'_>,
    out: &Path,
    value: &Followed,
    replacement: Option<Replacement>,
    versions: Versions,
    found: Likeness,
) -> io::Result<Likeness> {
    let mode = context.settings.mode;
    if out.metadata()?.mode() & 0o7777 != mode
        && fs::set_permissions(out, Permissions::from_mode(mode)).is_err()
    {
        // Whose it is may forbid that; whose the directory is allows another file.
        return write(context, out, value, replacement, versions);
    }
    if let Some(replacement) = replacement {
        noted(context, context.ledger.begin(replacement, versions, found));
        context.ledger.made();
    }
    Ok(found)
}

/// The only place where the value is written to a disk. What the file looks like then.
fn write(
    context: &Context<'_>,
    out: &Path,
    value: &Followed,
    replacement: Option<Replacement>,
    versions: Versions,
) -> io::Result<Likeness> {
    let staged = Staged::write(out, value.expose(), Readers::Mode(context.settings.mode))?;
    if !staged.keep_owner()? {
        (context.warn)(Warning::OwnerLost { file: out.to_owned() });
    }
    let left = staged.likeness()?;
    (context.coming)(Some((value, left)));
    if let Some(replacement) = replacement {
        noted(context, context.ledger.begin(replacement, versions, left));
    }
    match staged.commit() {
        Ok(Committed::Durably) => {}
        Ok(Committed::Unsynced(error)) => {
            (context.warn)(Warning::DirectoryUnsynced { file: out.to_owned(), error });
        }
        Err(error) => {
            (context.coming)(None);
            noted(context, context.ledger.give_up());
            return Err(error);
        }
    }
    context.ledger.made();
    Ok(left)
}

/// The file behind the name: links stay, and their target is replaced.
pub(crate) fn real(out: &Path) -> PathBuf {
    // A link to a file that is still to be made.
    if let (Ok(target), Err(_), Some(folder)) = (fs::read_link(out), out.metadata(), out.parent()) {
        let target = folder.join(target);
        let folder = target.parent().and_then(|folder| fs::canonicalize(folder).ok());
        if let (Some(folder), Some(name)) = (folder, target.file_name()) {
            return folder.join(name);
        }
    }
    TokenFile::new(out.to_owned()).real()
}

/// Whether two names lead to the same file.
fn is_same(one: &Path, other: &Path) -> bool {
    let inode = |path: &Path| path.metadata().map(|data| (data.dev(), data.ino()));
    one == other || matches!((inode(one), inode(other)), (Ok(one), Ok(other)) if one == other)
}

/// What was found in the file.
struct Found {
    value: Followed,
    /// When it was written, in seconds since 1970.
    changed: Option<u64>,
    likeness: Likeness,
}

fn read(out: &Path) -> io::Result<Found> {
    let flags = OFlags::NONBLOCK | OFlags::NOCTTY;
    let file = OpenOptions::new().read(true).custom_flags(flags.bits().cast_signed()).open(out)?;
    let data = file.metadata()?;
    if !data.is_file() || data.len() > LARGEST {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut bytes = Zeroizing::new(Vec::with_capacity(usize::try_from(data.len()).unwrap_or(0) + 1));
    (&file).take(LARGEST).read_to_end(&mut bytes)?;
    let changed = u64::try_from(data.mtime()).ok();
    Ok(Found { value: Followed::new(&bytes), changed, likeness: Likeness::from(&data) })
}
