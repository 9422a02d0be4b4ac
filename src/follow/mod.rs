//! One round of `follow`: fetch the field, compare, replace the file.
//!
//! [`round`] is a straight line:
//! 1. read the token to ask with, which somebody else keeps alive;
//! 2. find out in which store the secret is, once, and again after it was not there;
//! 3. fetch the field;
//! 4. judge its version (`versions`);
//! 5. replace the file, if it holds something else.

mod verify;
mod versions;

use std::fs::{self, OpenOptions, Permissions};
use std::io::{self, Read as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;
use zeroize::Zeroizing;

use crate::clock::Clock;
use crate::config::follow::FollowSettings;
use crate::facts::followed::{Kept, Replacement, Round, Why};
use crate::local::followed::{Record, record_of, remember};
use crate::local::staged::{Committed, Readers, Staged};
use crate::local::token_file::{Looseness, TokenFile};
use crate::secret::Followed;
use crate::stop::Stop;
use crate::vault::Client;
use crate::vault::kv::{KvAnswer, KvPlace};
use crate::version::Version;
pub(crate) use verify::{Judgement, Signed, judge};
use versions::{Age, Stale, age};

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
    /// Where it goes that the rename may not survive a power cut.
    pub(crate) warn: &'a dyn Fn(io::Error),
    /// Who has to know a value before anybody can read it in the file; none if it did not get there.
    pub(crate) coming: &'a dyn Fn(Option<&Followed>),
}

/// What is kept from round to round.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    place: Option<KvPlace>,
    /// What is held.
    pub(crate) held: Option<Followed>,
    /// Which version that is, if there are versions and it is known.
    pub(crate) version: Option<Version>,
    /// Since when it is the current one, in seconds since 1970.
    pub(crate) since: Option<u64>,
    stale: Stale,
}

impl Memory {
    /// What the file holds when the process begins, and what is remembered of it.
    pub(crate) fn at_start(settings: &FollowSettings) -> Self {
        let out = real(&settings.out);
        let Ok((held, changed)) = read(&out) else { return Self::default() };
        let Record { version } = record_of(&settings.state_directory, &out).unwrap_or_default();
        let since = version.map_or(changed, |version| Some(version.created_at()));
        let is_empty = held.is(b"");
        Self {
            held: Some(held).filter(|_| !is_empty),
            version,
            since: since.filter(|_| !is_empty),
            ..Self::default()
        }
    }
}

/// One round.
pub(crate) fn round(context: &Context<'_>, memory: &mut Memory) -> Round {
    if let Some(held) = &memory.held {
        context.client.hide(held.expose());
    }
    match fetched(context, memory) {
        Ok((value, version, age)) => replaced(context, memory, value, version, age),
        Err(_) if context.stop.is_raised() => Round::Kept(Kept::Stopped(context.stop.signal())),
        Err(kept) => Round::Kept(kept),
    }
}

/// The value of the field, and how its version stands to the one that is held.
fn fetched(context: &Context<'_>, memory: &mut Memory) -> Result<(Followed, Option<Version>, Age), Kept> {
    let settings = context.settings;
    let token = settings.token_file.read(Looseness::Tell).map_err(Kept::NoToken)?.token;
    let asked = &settings.asked;
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
    let answer = answer.map_err(Kept::Vault)?;
    let (value, version) = match answer {
        KvAnswer::Found(value, version) => (value, version),
        KvAnswer::Absent => {
            // It may have been moved, and the store with it. What was said before is not said in a row any more.
            (memory.place, memory.stale) = (None, Stale::default());
            return Err(Kept::Absent);
        }
        KvAnswer::NoMount => {
            (memory.place, memory.stale) = (None, Stale::default());
            return Err(Kept::NoStore);
        }
        KvAnswer::Deleted { destroyed } => {
            memory.stale = Stale::default();
            return Err(Kept::Deleted { destroyed });
        }
        KvAnswer::Field(trouble) => return Err(Kept::Field(trouble)),
    };
    let age = age(memory.version, version, &mut memory.stale);
    match (age, memory.version, version) {
        (Age::Stale, Some(held), Some(seen)) => Err(Kept::Stale { held, seen }),
        (Age::Stale | Age::Current | Age::Restored, _, _) => Ok((value, version, age)),
    }
}

/// Replaces the file, unless it holds that value.
fn replaced(
    context: &Context<'_>,
    memory: &mut Memory,
    value: Followed,
    version: Option<Version>,
    age: Age,
) -> Round {
    let settings = context.settings;
    let out = real(&settings.out);
    // It was another file when the settings were checked; a link may have been put in its place since.
    if is_same(&out, &settings.token_file.real()) {
        let error = io::Error::new(io::ErrorKind::InvalidInput, "it is the token file");
        return Round::Kept(Kept::Unwritten(error));
    }
    let on_disk = read(&out);
    let is_there = matches!(&on_disk, Ok((held, _)) if *held == value);
    let written =
        if is_there { set_mode(&out, settings.mode) } else { write(context, &out, &value).map(|()| true) };
    let is_changed = match written {
        Ok(is_changed) => is_changed,
        Err(error) => {
            (context.coming)(None);
            return Round::Kept(Kept::Unwritten(error));
        }
    };
    let now = context.clock.seconds();
    let is_held = memory.held.as_ref() == Some(&value);
    let why = match (&memory.held, is_held, age) {
        _ if is_there && is_held => None,
        (None, _, _) => (!is_there).then_some(Why::First),
        (Some(_), true, _) => Some(Why::PutBack),
        (Some(_), false, Age::Restored) => Some(Why::Restored),
        (Some(_), false, Age::Current | Age::Stale) => Some(Why::Rotated),
    };
    let (old, since) = (memory.version, memory.since);
    let is_new = !is_held || old != version;
    // What cannot be remembered costs a restart an age, and nothing else.
    if memory.version != version || is_changed {
        let _ = remember(&settings.state_directory, &out, Record { version });
    }
    memory.version = version;
    if is_new {
        memory.since = version.map_or(Some(now), |version| Some(version.created_at()));
    }
    memory.held = Some(value);
    let age = since.map(|since| now.saturating_sub(since));
    let Some(why) = why else { return Round::Unchanged };
    let (mount, path) = memory.place.clone().map(|place| (place.mount, place.path)).unwrap_or_default();
    Round::Replaced(Replacement { mount, path, why, old, new: version, age })
}

/// Gives a file that holds the right value the right mode; whether it had another one.
fn set_mode(out: &Path, mode: u32) -> io::Result<bool> {
    let has_another = out.metadata()?.mode() & 0o7777 != mode;
    if has_another {
        fs::set_permissions(out, Permissions::from_mode(mode))?;
    }
    Ok(has_another)
}

/// The only place where the value is written to a disk. What is no regular file is not replaced: a rename would take a
/// device away.
fn write(context: &Context<'_>, out: &Path, value: &Followed) -> io::Result<()> {
    if out.metadata().is_ok_and(|data| !data.is_file()) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
    }
    if out.is_symlink() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "the link leads nowhere"));
    }
    let staged = Staged::write(out, value.expose(), Readers::Mode(context.settings.mode))?;
    (context.coming)(Some(value));
    if let Committed::Unsynced(error) = staged.commit()? {
        (context.warn)(error);
    }
    Ok(())
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

/// What the file holds, and when it was written, in seconds since 1970.
fn read(out: &Path) -> io::Result<(Followed, Option<u64>)> {
    let flags = OFlags::NONBLOCK | OFlags::NOCTTY;
    let file = OpenOptions::new().read(true).custom_flags(flags.bits().cast_signed()).open(out)?;
    let data = file.metadata()?;
    if !data.is_file() || data.len() > LARGEST {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut bytes = Zeroizing::new(Vec::with_capacity(usize::try_from(data.len()).unwrap_or(0) + 1));
    (&file).take(LARGEST).read_to_end(&mut bytes)?;
    Ok((Followed::new(&bytes), u64::try_from(data.mtime()).ok()))
}
