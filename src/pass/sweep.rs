//! The accessor walk: find what is stale, and revoke it.
//!
//! Bounded in every direction: so many lookups side by side, so many failures, so much time. What is cut
//! short is finished by the next pass.

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::config::SweepMode;
use crate::identity::{Identity, Staleness};
use crate::report::outcome::{CutCause, SweepEnd, SweepReport};
use crate::token::{Accessor, Token};
use crate::vault::{Client, Error, ErrorKind, No, Revocation};

/// The longest a walk may take. At the 1,500 lookups a second of a small server this is 900,000 tokens;
/// beyond that, `sweep = "remembered"` is the better choice.
const TIME_LIMIT: Duration = Duration::from_secs(10 * 60);

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
}

/// A sweep, ready to run.
pub(super) struct Sweep<'a> {
    /// The server.
    pub(super) client: &'a Client,
    /// With whose authority.
    pub(super) token: &'a Token,
    /// Whose leftovers.
    pub(super) identity: &'a Identity,
    /// The name of this machine.
    pub(super) host: &'a str,
    /// The token that is kept.
    pub(super) keep: &'a Accessor,
    /// What this machine minted earlier.
    pub(super) remembered: &'a [Accessor],
    /// What to do.
    pub(super) action: Action,
}

/// Where an accessor comes from, which decides how a denial is understood.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Known {
    /// The server listed it. A denied lookup means that the token vanished meanwhile.
    Listed,
    /// We minted it. It may be revoked even where it may not be looked up.
    Remembered,
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
    Unseen,
    /// Not ours to revoke.
    Spared,
    /// Stale, but Vault forbids its revocation.
    Kept(String),
    /// Nobody knows whose it is: no believable answer to the lookup.
    Unknown(Error),
    /// Stale, and no believable answer to the revocation.
    Unrevoked(Error),
}

impl Sweep<'_> {
    /// Runs it.
    pub(super) fn run(&self, mode: SweepMode) -> SweepReport {
        match mode {
            SweepMode::Off => SweepReport { end: SweepEnd::Off, ..SweepReport::default() },
            SweepMode::Remembered => self.examine(self.remembered, Known::Remembered),
            SweepMode::Walk => match self.list() {
                Ok(accessors) => self.examine(&accessors, Known::Listed),
                // Then at least what we minted ourselves.
                Err(end @ (SweepEnd::ListDenied | SweepEnd::LookupDenied)) => {
                    let remembered = self.examine(self.remembered, Known::Remembered);
                    match remembered.end {
                        SweepEnd::Complete => SweepReport { end, ..remembered },
                        SweepEnd::CutShort { .. }
                        | SweepEnd::Off
                        | SweepEnd::ListDenied
                        | SweepEnd::LookupDenied
                        | SweepEnd::NothingToKeep => remembered,
                    }
                }
                Err(end) => SweepReport { end, ..SweepReport::default() },
            },
        }
    }

    /// All accessors there are, if they may be listed and looked up.
    ///
    /// The kept token is looked up first. It lives, since it is the one that asks; so a denial here is a
    /// denial of the call, and any later one means that an accessor vanished. The two look the same.
    fn list(&self) -> Result<Vec<Accessor>, SweepEnd> {
        let cut =
            |error| SweepEnd::CutShort { examined: 0, total: 0, cause: CutCause::Error(Box::new(error)) };
        let accessors = self.client.accessors(self.token).map_err(|error| match error.kind.no() {
            Some((No::Denied, _)) => SweepEnd::ListDenied,
            Some((No::Refused | No::NotFound, _)) | None => cut(error),
        })?;
        match self.client.lookup_accessor(self.token, self.keep) {
            Ok(info) if info.accessor.as_ref() == Some(self.keep) => Ok(accessors),
            Ok(_) => Err(SweepEnd::NothingToKeep),
            Err(error) => Err(match error.kind.no() {
                Some((No::Denied, _)) => SweepEnd::LookupDenied,
                Some((No::Refused | No::NotFound, _)) => SweepEnd::NothingToKeep,
                None => cut(error),
            }),
        }
    }

    /// Looks at each accessor but the kept one, side by side.
    fn examine(&self, accessors: &[Accessor], known: Known) -> SweepReport {
        let start = Instant::now();
        let total = accessors.iter().filter(|&accessor| accessor != self.keep).count();
        let next = AtomicUsize::new(0);
        let findings = Mutex::new(Findings::default());
        let work = || {
            while let Some(accessor) = accessors.get(next.fetch_add(1, Ordering::Relaxed)) {
                if accessor == self.keep {
                    continue;
                }
                if start.elapsed() > TIME_LIMIT {
                    locked(&findings, |findings| findings.time_is_up = true);
                    return;
                }
                let fate = self.fate(accessor, known);
                if !locked(&findings, |findings| findings.add(accessor, fate)) {
                    return;
                }
            }
        };
        thread::scope(|scope| {
            for _ in 1..self.client.concurrency().min(total) {
                // Where no more threads can be had, those there are do the work.
                if thread::Builder::new().spawn_scoped(scope, work).is_err() {
                    break;
                }
            }
            work();
        });
        let findings = findings.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
        findings.report(total)
    }

    fn fate(&self, accessor: &Accessor, known: Known) -> Fate {
        match self.client.lookup_accessor(self.token, accessor) {
            Ok(info) if info.accessor.as_ref() != Some(accessor) => Fate::Spared,
            Ok(info) => match self.identity.staleness(&info, self.keep, self.host) {
                Staleness::Spared => Fate::Spared,
                Staleness::Stale => self.revoke(accessor),
            },
            Err(error) => match (error.kind.no(), known) {
                (Some((No::Denied, _)), Known::Remembered) => match self.action {
                    Action::Revoke => self.revoke(accessor),
                    Action::List => Fate::Unseen,
                },
                (Some((No::Denied, _)), Known::Listed) => Fate::GoneOrDenied,
                (Some((No::Refused | No::NotFound, _)), _) => Fate::Gone,
                (None, _) => Fate::Unknown(error),
            },
        }
    }

    fn revoke(&self, accessor: &Accessor) -> Fate {
        match self.action {
            Action::List => Fate::Stale,
            Action::Revoke => match self.client.revoke_accessor(self.token, accessor) {
                Ok(Revocation::Revoked) => Fate::Stale,
                Ok(Revocation::AlreadyGone) => Fate::Gone,
                Err(Error { kind: ErrorKind::Denied { message }, .. }) => Fate::Kept(message),
                Err(error) => Fate::Unrevoked(error),
            },
        }
    }
}

/// What the workers found, together.
#[derive(Default)]
struct Findings {
    stale: Vec<Accessor>,
    gone: BTreeSet<String>,
    kept: Vec<Accessor>,
    kept_because: Option<String>,
    examined: usize,
    denied: usize,
    unseen: usize,
    failures: usize,
    unanswered: usize,
    first_failure: Option<Error>,
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
            Fate::GoneOrDenied => {
                self.denied += 1;
                self.gone.insert(accessor.as_str().to_owned());
            }
            Fate::Unseen => self.unseen += 1,
            Fate::Spared => {}
            Fate::Kept(message) => {
                self.kept.push(accessor.clone());
                self.kept_because.get_or_insert(message);
            }
            Fate::Unknown(error) => {
                let indigestible = matches!(error.kind, ErrorKind::Server { .. });
                return self.add_failure(error, indigestible);
            }
            Fate::Unrevoked(error) => return self.add_failure(error, false),
        }
        self.examined += 1;
        !self.time_is_up
    }

    /// Adds a failure, and says whether to go on.
    fn add_failure(&mut self, error: Error, indigestible: bool) -> bool {
        self.failures += 1;
        self.unanswered += usize::from(!indigestible);
        self.first_failure.get_or_insert(error);
        self.failures < FAILURE_LIMIT && !self.time_is_up
    }

    fn report(self, total: usize) -> SweepReport {
        let (examined, digested) = (self.examined, self.digested(total));
        let end = if self.time_is_up {
            SweepEnd::CutShort { examined, total, cause: CutCause::TimeIsUp }
        } else if let Some(error) = self.first_failure.filter(|_| !digested) {
            SweepEnd::CutShort { examined, total, cause: CutCause::Error(Box::new(error)) }
        } else if self.denied >= DENIAL_LIMIT && self.denied * 2 > examined {
            SweepEnd::LookupDenied
        } else {
            SweepEnd::Complete
        };
        let indigestible = if matches!(end, SweepEnd::Complete) { self.failures } else { 0 };
        SweepReport {
            stale: self.stale,
            gone: self.gone,
            kept: self.kept,
            kept_because: self.kept_because,
            unseen: self.unseen,
            indigestible,
            end,
        }
    }

    /// Whether everything was looked at but a few accessors that the server answers with an error of its own.
    /// It will do so tomorrow, and a walk that waited for it would never end.
    fn digested(&self, total: usize) -> bool {
        self.unanswered == 0 && self.failures * 2 <= self.examined && self.examined + self.failures == total
    }
}

/// Works on the findings, which a panic elsewhere does not spoil.
fn locked<T>(findings: &Mutex<Findings>, work: impl FnOnce(&mut Findings) -> T) -> T {
    work(&mut findings.lock().unwrap_or_else(std::sync::PoisonError::into_inner))
}
