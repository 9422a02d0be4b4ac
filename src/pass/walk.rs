//! The accessor walk: find what is stale, and revoke it.
//!
//! Bounded in every direction: so many lookups side by side, so many failures, so much time. What is cut
//! short is finished by the next pass.

use std::collections::{BTreeSet, HashSet};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::flow::Flow;
use crate::config::SweepMode;
use crate::facts::swept::{CutCause, SweepEnd, Swept};
use crate::identity::{Identity, Minter, Provenance, Staleness};
use crate::local::state::MOST_DOUBTFUL;
use crate::local::token_file::{Looseness, ReadError, TokenFile};
use crate::secret::Token;
use crate::token::Accessor;
use crate::vault::{Client, Error, ErrorKind, No, Revocation};

/// The longest a sweep may take. At the 1,500 lookups a second of a small server this is 900,000 tokens;
/// beyond that, `sweep = "remembered"` is the better choice.
pub(crate) const LONGEST_WALK: Duration = Duration::from_secs(10 * 60);

/// The longest somebody waits who only wants to know how many there are.
const COUNT_LIMIT: Duration = Duration::from_secs(20);

/// So many accessors may resist being looked up or revoked before the walk is given up. One that the server
/// cannot digest must not keep the others from being swept, and a server that is gone must not be asked a
/// thousand times.
const FAILURE_LIMIT: usize = 16;

/// A lone 403 during a walk means that an accessor vanished. So many of them, and more than half of all, mean
/// that something denies the lookups although it let the first one pass.
const DENIAL_LIMIT: usize = 16;

/// What is done with a stale token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Action {
    /// Revoke it.
    Revoke,
    /// Only tell which they are.
    List,
    /// Only tell how many there are, and soon.
    Count,
}

impl Action {
    /// The longest it may take.
    fn limit(self) -> Duration {
        match self {
            Self::Revoke | Self::List => LONGEST_WALK,
            Self::Count => COUNT_LIMIT,
        }
    }
}

/// A walk, ready to begin.
pub(super) struct Walk<'a> {
    /// The server.
    pub(super) client: &'a Client<'a>,
    /// With whose authority.
    pub(super) token: &'a Token,
    /// Whose leftovers.
    pub(super) identity: &'a Identity,
    /// Who and where we are.
    pub(super) minter: &'a Minter,
    /// The token file, which has to hold the kept token at every revocation.
    pub(super) token_file: &'a TokenFile,
    /// The token that is kept.
    pub(super) keep: &'a Accessor,
    /// What this machine minted earlier.
    pub(super) remembered: &'a [Accessor],
    /// What the sweep before this one was not sure of. This look at it is the last.
    pub(super) doubtful: &'a [Accessor],
    /// What to do.
    pub(super) action: Action,
    /// How long it may take, if that is less than such an action may take at all.
    pub(super) longest: Duration,
    /// Whom to tell how far it is, and of how many.
    pub(super) progress: &'a (dyn Fn(usize, usize) + Sync),
}

/// Where an accessor comes from, which decides how a denial is understood.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Source {
    /// The server listed it. A denied lookup means that the token vanished meanwhile.
    Listed,
    /// We minted it. It may be revoked even where it may not be looked up.
    Remembered,
    /// The sweep before this one was not sure of it, and we may have minted it.
    Doubtful,
}

/// What became of one accessor.
enum Fate {
    /// Stale, and revoked if that was asked for.
    Stale,
    /// Not there (any more).
    Gone,
    /// Not there, or not to be looked at: the answer is the same.
    GoneOrDenied,
    /// One of ours that may not be looked at. A sweep would try to revoke it.
    LookupDenied,
    /// Not ours to revoke, although it may bear our name.
    Spared { namesake: bool },
    /// Stale, but Vault forbids its revocation.
    Irrevocable(String),
    /// Nobody knows whose it is: no believable answer to the lookup.
    Unknown(Error),
    /// Stale, and no believable answer to the revocation.
    Unrevoked(Error),
    /// It lives in another namespace, about which nothing can be asked from here.
    Elsewhere,
    /// Stale, and not revoked: the token file does not hold the kept token, as far as can be told, and this may be the
    /// one it holds.
    Withheld(CutCause),
}

/// Why an accessor gets a second look: a proxy that answers in the place of the server, or a standby that
/// lags behind, can say of a living token what is usually said of a dead one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Doubt {
    /// It is of our name, and said to be dead or denied to us.
    Ours,
    /// Nobody knows whose it is.
    Anybodys,
}

impl Fate {
    fn doubt(&self) -> Option<Doubt> {
        match self {
            Self::Stale | Self::Irrevocable(_) => Some(Doubt::Ours),
            Self::Gone | Self::GoneOrDenied => Some(Doubt::Anybodys),
            Self::Unknown(error) => matches!(error.kind, ErrorKind::Server { .. }).then_some(Doubt::Anybodys),
            // With these a sweep is not at its end, or nothing was asked of them.
            Self::Unrevoked(_)
            | Self::LookupDenied
            | Self::Spared { .. }
            | Self::Elsewhere
            | Self::Withheld(_) => None,
        }
    }
}

impl Walk<'_> {
    /// Runs it.
    pub(super) fn run(&self, mode: SweepMode) -> Swept {
        match mode {
            SweepMode::Off => Swept { end: SweepEnd::Off, ..Swept::default() },
            SweepMode::Remembered => self.examine(self.remembered, Source::Remembered, None),
            SweepMode::Walk => match self.list() {
                Ok((mut accessors, took)) => {
                    arrange(&mut accessors, self.remembered, fastrand::usize(..));
                    self.examine(&accessors, Source::Listed, Some(took))
                }
                // Then at least what we minted ourselves.
                Err(end @ (SweepEnd::ListDenied | SweepEnd::LookupDenied)) => {
                    let remembered = self.examine(self.remembered, Source::Remembered, None);
                    match remembered.end {
                        SweepEnd::Complete => Swept { end, ..remembered },
                        SweepEnd::CutShort { .. }
                        | SweepEnd::Off
                        | SweepEnd::ListDenied
                        | SweepEnd::LookupDenied
                        | SweepEnd::MostlyDenied
                        | SweepEnd::NothingToKeep
                        | SweepEnd::KeptIsNoOrphan => remembered,
                    }
                }
                Err(end) => Swept { end, ..Swept::default() },
            },
        }
    }

    /// Looks only at what the sweep before this one was not sure of.
    pub(super) fn recheck(&self) -> Swept {
        self.examine(self.doubtful, Source::Doubtful, None)
    }

    /// All accessors there are, if they may be listed and looked up, and how long the first lookup took.
    ///
    /// The kept token is looked up first. It lives, since it is the one that asks; so a denial here is a
    /// denial of the call, and any later one means that an accessor vanished. The two look the same. See
    /// docs/design.md, "The kept accessor is looked up first".
    fn list(&self) -> Result<(Vec<Accessor>, Duration), SweepEnd> {
        let cut =
            |error| SweepEnd::CutShort { examined: 0, total: 0, cause: CutCause::Error(Box::new(error)) };
        let accessors = self.client.accessors(self.token).map_err(|error| match error.kind.no() {
            Some((No::Denied, _)) => SweepEnd::ListDenied,
            Some((No::Refused | No::NotFound, _)) | None => cut(error),
        })?;
        let asked = Instant::now();
        match self.client.lookup_accessor(self.token, self.keep) {
            Ok(info) if info.accessor.as_ref() == Some(self.keep) => Ok((accessors, asked.elapsed())),
            Ok(_) | Err(Error { kind: ErrorKind::Elsewhere { .. }, .. }) => Err(SweepEnd::NothingToKeep),
            Err(error) => Err(match error.kind.no() {
                Some((No::Denied, _)) => SweepEnd::LookupDenied,
                Some((No::Refused | No::NotFound, _)) => SweepEnd::NothingToKeep,
                None => cut(error),
            }),
        }
    }

    /// Looks at each accessor but the kept one, side by side. `first` is how long the lookup of that one took.
    fn examine(&self, accessors: &[Accessor], source: Source, first: Option<Duration>) -> Swept {
        let start = Instant::now();
        let total = accessors.iter().filter(|&accessor| accessor != self.keep).count();
        let next = AtomicUsize::new(0);
        let findings = Mutex::new(Findings::default());
        let flow = Flow::new(self.client.concurrency().min(total).max(1), first);
        let work = |worker: usize| {
            while flow.enter(worker)
                && let Some(accessor) = accessors.get(next.fetch_add(1, Ordering::Relaxed))
            {
                if accessor == self.keep {
                    continue;
                }
                if start.elapsed() > self.action.limit().min(self.longest) {
                    locked(&findings, |findings| findings.time_is_up = true);
                    return;
                }
                let asked = Instant::now();
                let fate = self.fate(accessor, source);
                flow.leave(asked.elapsed());
                if let Some(doubt) = fate.doubt()
                    && !self.doubtful.contains(accessor)
                {
                    locked(&findings, |findings| findings.doubt(accessor, doubt));
                }
                let goes_on = locked(&findings, |findings| {
                    let goes_on = findings.add(accessor, fate);
                    // While nobody else adds, so that nobody hears of fewer than before.
                    (self.progress)(findings.examined, total);
                    goes_on
                });
                if !goes_on {
                    return;
                }
            }
        };
        thread::scope(|scope| {
            let until_done = |worker: usize| {
                // Whoever still waits has nothing to wait for, even if this one panics.
                let _closing = flow.closing();
                work(worker);
            };
            for worker in 1..flow.most() {
                // Where no more threads can be had, those there are do the work.
                if thread::Builder::new().spawn_scoped(scope, move || until_done(worker)).is_err() {
                    break;
                }
            }
            until_done(0);
        });
        let findings = findings.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
        findings.report(total)
    }

    fn fate(&self, accessor: &Accessor, source: Source) -> Fate {
        match self.client.lookup_accessor(self.token, accessor) {
            Ok(info) if info.accessor.as_ref() != Some(accessor) => Fate::Spared { namesake: false },
            Ok(info) => {
                match self.identity.staleness(&info, self.keep, self.minter, self.provenance(accessor)) {
                    Staleness::Spared => {
                        Fate::Spared { namesake: info.display_name == self.identity.display_name }
                    }
                    Staleness::Stale => self.revoke(accessor),
                }
            }
            Err(Error { kind: ErrorKind::Elsewhere { .. }, .. }) => Fate::Elsewhere,
            Err(error) => match error.kind.no() {
                Some((No::Denied, _)) if self.may_revoke_without_lookup(accessor, source) => {
                    match self.action {
                        Action::Revoke => self.revoke(accessor),
                        Action::List | Action::Count => Fate::LookupDenied,
                    }
                }
                Some((No::Denied, _)) => Fate::GoneOrDenied,
                Some((No::Refused | No::NotFound, _)) => Fate::Gone,
                None => Fate::Unknown(error),
            },
        }
    }

    /// Whether it is ours for certain, so that it may be revoked although it may not be looked up.
    fn may_revoke_without_lookup(&self, accessor: &Accessor, source: Source) -> bool {
        match source {
            Source::Remembered => true,
            Source::Doubtful => self.remembered.contains(accessor),
            Source::Listed => false,
        }
    }

    fn provenance(&self, accessor: &Accessor) -> Provenance {
        if self.remembered.contains(accessor) { Provenance::Remembered } else { Provenance::Unknown }
    }

    fn revoke(&self, accessor: &Accessor) -> Fate {
        match self.action {
            Action::List | Action::Count => Fate::Stale,
            Action::Revoke => match self.file_in_the_way() {
                Some(cause) => Fate::Withheld(cause),
                None => match self.client.revoke_accessor(self.token, accessor) {
                    Ok(Revocation::Revoked) => Fate::Stale,
                    Ok(Revocation::AlreadyGone) => Fate::Gone,
                    Err(Error { kind: ErrorKind::Denied { message, .. }, .. }) => Fate::Irrevocable(message),
                    Err(Error { kind: ErrorKind::Elsewhere { .. }, .. }) => Fate::Elsewhere,
                    Err(error) => Fate::Unrevoked(error),
                },
            },
        }
    }

    /// Why nothing may be revoked now: the token file does not hold the kept token, or nobody knows. Somebody may have
    /// put an older token of ours back, or a child of one.
    fn file_in_the_way(&self) -> Option<CutCause> {
        match self.token_file.read(Looseness::Tell) {
            Ok(reading) if reading.token == *self.token => None,
            Err(ReadError::Io(error)) => Some(CutCause::FileUnread(error)),
            Ok(_) | Err(_) => Some(CutCause::FileChanged),
        }
    }
}

/// Puts what this machine minted first, and lets the rest begin anywhere (`offset`): a walk that is cut short
/// every night must not look at the same part every night.
fn arrange(accessors: &mut [Accessor], remembered: &[Accessor], offset: usize) {
    if let Some(offset) = offset.checked_rem(accessors.len()) {
        accessors.rotate_left(offset);
    }
    let remembered: HashSet<&str> = remembered.iter().map(Accessor::as_str).collect();
    accessors.sort_by_key(|accessor| !remembered.contains(accessor.as_str()));
}

/// What the workers found, together.
#[derive(Default)]
struct Findings {
    stale: Vec<Accessor>,
    gone: BTreeSet<String>,
    irrevocable: Vec<Accessor>,
    irrevocable_because: Option<String>,
    examined: usize,
    denied: usize,
    lookup_denied: usize,
    namesakes: usize,
    failures: usize,
    indigestible: Vec<Accessor>,
    doubtful: [Vec<Accessor>; 2],
    first_failure: Option<Error>,
    elsewhere: BTreeSet<String>,
    /// Why nothing more may be revoked.
    withheld: Option<CutCause>,
    time_is_up: bool,
}

impl Findings {
    /// Adds what became of one accessor, and says whether to go on.
    fn add(&mut self, accessor: &Accessor, fate: Fate) -> bool {
        match fate {
            Fate::Stale => self.stale.push(accessor.clone()),
            Fate::Gone => {
                self.gone.insert(accessor.as_str().to_owned());
            }
            Fate::GoneOrDenied => self.denied += 1,
            Fate::LookupDenied => self.lookup_denied += 1,
            Fate::Spared { namesake } => self.namesakes += usize::from(namesake),
            Fate::Irrevocable(message) => {
                self.irrevocable.push(accessor.clone());
                self.irrevocable_because.get_or_insert(message);
            }
            Fate::Unknown(error) => {
                if matches!(error.kind, ErrorKind::Server { .. }) {
                    self.indigestible.push(accessor.clone());
                }
                return self.add_failure(error);
            }
            Fate::Unrevoked(error) => return self.add_failure(error),
            Fate::Elsewhere => {
                self.elsewhere.insert(accessor.as_str().to_owned());
            }
            Fate::Withheld(cause) => {
                self.withheld.get_or_insert(cause);
                return false;
            }
        }
        self.examined += 1;
        !self.time_is_up && self.withheld.is_none()
    }

    /// Adds an accessor that needs a second look.
    fn doubt(&mut self, accessor: &Accessor, doubt: Doubt) {
        let [ours, anybodys] = &mut self.doubtful;
        let list = match doubt {
            Doubt::Ours => ours,
            Doubt::Anybodys => anybodys,
        };
        if list.len() < MOST_DOUBTFUL {
            list.push(accessor.clone());
        }
    }

    /// Adds a failure, and says whether to go on.
    fn add_failure(&mut self, error: Error) -> bool {
        self.failures += 1;
        self.first_failure.get_or_insert(error);
        self.failures < FAILURE_LIMIT && !self.time_is_up && self.withheld.is_none()
    }

    fn report(self, total: usize) -> Swept {
        let (examined, digested, mostly_denied) =
            (self.examined, self.digested(total), self.is_mostly_denied());
        let end = if let Some(cause) = self.withheld {
            SweepEnd::CutShort { examined, total, cause }
        } else if self.time_is_up {
            SweepEnd::CutShort { examined, total, cause: CutCause::TimeIsUp }
        } else if let Some(error) = self.first_failure.filter(|_| !digested) {
            SweepEnd::CutShort { examined, total, cause: CutCause::Error(Box::new(error)) }
        } else if mostly_denied {
            SweepEnd::MostlyDenied
        } else {
            SweepEnd::Complete
        };
        let indigestible = if matches!(end, SweepEnd::Complete) { self.indigestible } else { Vec::new() };
        Swept {
            stale: self.stale,
            gone: self.gone,
            irrevocable: self.irrevocable,
            irrevocable_because: self.irrevocable_because,
            lookup_denied: self.lookup_denied,
            elsewhere: self.elsewhere,
            namesakes: self.namesakes,
            indigestible,
            doubtful: self.doubtful.concat(),
            end,
        }
    }

    /// Whether denials are the rule. That nothing at all could be looked at is so, too; a lone token may have vanished.
    fn is_mostly_denied(&self) -> bool {
        let many = self.denied >= DENIAL_LIMIT && self.denied * 2 > self.examined;
        many || (self.denied > 1 && self.denied == self.examined)
    }

    /// Whether everything was looked at but a few accessors that the server answers with an error of its own.
    /// It will do so tomorrow, and a walk that waited for it would never end.
    fn digested(&self, total: usize) -> bool {
        self.indigestible.len() == self.failures
            && self.failures * 2 <= self.examined
            && self.examined + self.failures == total
    }
}

/// Works on the findings, which a panic elsewhere does not spoil.
fn locked<T>(findings: &Mutex<Findings>, work: impl FnOnce(&mut Findings) -> T) -> T {
    work(&mut findings.lock().unwrap_or_else(std::sync::PoisonError::into_inner))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vault::{Call, Interrupted, Said};

    fn accessor(number: usize) -> Accessor {
        Accessor::new(format!("accessor-{number}")).unwrap()
    }

    fn error(kind: ErrorKind) -> Error {
        Error {
            call: Call::LookupAccessor,
            url: String::new(),
            redirected_by: None,
            kind,
            named: Box::default(),
        }
    }

    fn broken() -> Error {
        error(ErrorKind::Server { status: 500, said: Said::Errors("internal error".to_owned()) })
    }

    fn silent() -> Error {
        error(ErrorKind::Interrupted(Interrupted::TimedOut))
    }

    /// What is found when these fates befall a list of `total` accessors, and whether each addition says to
    /// go on.
    fn found(total: usize, fates: Vec<Fate>) -> (Swept, Vec<bool>) {
        let mut findings = Findings::default();
        let on = fates
            .into_iter()
            .enumerate()
            .map(|(number, fate)| findings.add(&accessor(number), fate))
            .collect();
        (findings.report(total), on)
    }

    fn many(count: usize, fate: impl Fn() -> Fate) -> impl Iterator<Item = Fate> {
        std::iter::repeat_with(fate).take(count)
    }

    fn end(total: usize, fates: Vec<Fate>) -> String {
        let swept = found(total, fates).0;
        match swept.end {
            SweepEnd::CutShort { examined, total, .. } => format!("cut short after {examined} of {total}"),
            SweepEnd::Complete => format!("complete but for {}", swept.indigestible.len()),
            other @ (SweepEnd::Off
            | SweepEnd::ListDenied
            | SweepEnd::LookupDenied
            | SweepEnd::MostlyDenied
            | SweepEnd::NothingToKeep
            | SweepEnd::KeptIsNoOrphan) => {
                format!("{other:?}")
            }
        }
    }

    #[test]
    fn a_walk_begins_with_what_is_remembered_and_then_anywhere() {
        let arranged = |offset| {
            let mut accessors: Vec<Accessor> = (0..5).map(accessor).collect();
            arrange(&mut accessors, &[accessor(3), accessor(9)], offset);
            accessors
        };
        let expected = |numbers: [usize; 5]| numbers.map(accessor).to_vec();
        assert_eq!(arranged(0), expected([3, 0, 1, 2, 4]));
        assert_eq!(arranged(2), expected([3, 2, 4, 0, 1]));
        assert_eq!(arranged(usize::MAX), arranged(usize::MAX % 5));
        arrange(&mut [], &[], 7);
    }

    #[test]
    fn everything_looked_at_is_complete() {
        let fates = vec![
            Fate::Stale,
            Fate::Gone,
            Fate::GoneOrDenied,
            Fate::Spared { namesake: false },
            Fate::Spared { namesake: true },
            Fate::LookupDenied,
            Fate::Irrevocable("permission denied".to_owned()),
        ];
        let (swept, on) = found(7, fates);
        assert!(matches!(swept.end, SweepEnd::Complete));
        assert_eq!(
            (swept.stale, swept.irrevocable, swept.lookup_denied),
            (vec![accessor(0)], vec![accessor(6)], 1)
        );
        assert_eq!(swept.irrevocable_because.as_deref(), Some("permission denied"));
        assert_eq!(swept.gone.len(), 1);
        assert_eq!(swept.namesakes, 1);
        assert_eq!(on, [true; 7]);
    }

    #[test]
    fn a_few_accessors_the_server_cannot_digest_are_passed_over() {
        let fates = |broken_ones, fine| {
            many(fine, || Fate::Spared { namesake: false })
                .chain(many(broken_ones, || Fate::Unknown(broken())))
                .collect()
        };
        assert_eq!(end(3, fates(1, 2)), "complete but for 1");
        assert_eq!(end(6, fates(2, 4)), "complete but for 2");
        // More than a third of all: something is wrong with the server.
        assert_eq!(end(5, fates(2, 3)), "cut short after 3 of 5");
        assert_eq!(end(1, fates(1, 0)), "cut short after 0 of 1");
        // Somebody stopped before the end.
        assert_eq!(end(9, fates(1, 2)), "cut short after 2 of 9");
    }

    #[test]
    fn silence_and_unrevoked_tokens_cut_a_sweep_short() {
        let among = |fate| many(9, || Fate::Spared { namesake: false }).chain([fate]).collect();
        assert_eq!(end(10, among(Fate::Unknown(silent()))), "cut short after 9 of 10");
        assert_eq!(end(10, among(Fate::Unrevoked(broken()))), "cut short after 9 of 10");
    }

    #[test]
    fn a_walk_is_given_up_after_so_many_failures_and_not_before() {
        let (_, on) = found(100, many(FAILURE_LIMIT, || Fate::Unknown(broken())).collect());
        assert!(on[..FAILURE_LIMIT - 1].iter().all(|on| *on));
        assert!(!on[FAILURE_LIMIT - 1]);
    }

    #[test]
    fn denials_that_become_the_rule_are_a_denial() {
        let fates = |denied, fine| {
            many(fine, || Fate::Spared { namesake: false })
                .chain(many(denied, || Fate::GoneOrDenied))
                .collect()
        };
        assert_eq!(end(16, fates(16, 0)), "MostlyDenied");
        assert_eq!(end(31, fates(16, 15)), "MostlyDenied");
        assert_eq!(end(32, fates(16, 16)), "complete but for 0");
        assert_eq!(end(15, fates(15, 0)), "MostlyDenied", "nothing could be looked at");
        assert_eq!(end(16, fates(15, 1)), "complete but for 0");
        assert_eq!(end(1, fates(1, 0)), "complete but for 0", "a lone one may have vanished");
    }

    #[test]
    fn time_that_is_up_ends_a_walk_whatever_was_found() {
        let mut findings = Findings { time_is_up: true, ..Findings::default() };
        assert!(!findings.add(&accessor(1), Fate::Spared { namesake: false }));
        assert!(!findings.add(&accessor(2), Fate::Unknown(broken())));
        let swept = findings.report(2);
        assert!(matches!(swept.end, SweepEnd::CutShort { cause: CutCause::TimeIsUp, .. }));
    }
}
