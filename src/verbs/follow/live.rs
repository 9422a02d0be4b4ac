//! What `follow` knows at this moment, for whoever asks: how it stands, and whether a signature is good. The worker
//! tells it after each round; all that depends on the time is worked out when somebody asks.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::clock::Clock;
use crate::config::follow::{FollowSettings, Verification};
use crate::facts::followed::{FileStands, Refresh, Round};
use crate::follow::{Coming, Judgement, Memory, Signed, judge};
use crate::local::glance::Likeness;
use crate::report::follow::{Counts, Held, health_page, metrics_page};
use crate::report::metrics::Labels;
use crate::report::watch::METRICS;
use crate::secret::Followed;
use crate::service::listener::{Allowed, Method, Page, Request};
use crate::service::{Deadline, Moment};
use crate::verbs::pages;
use crate::version::Version;

/// So many values before the current one are kept at most: of a secret that is rotated faster than anybody can read it,
/// the last ones.
const MOST_BEFORE: usize = 16;

/// Where signatures are brought.
const VERIFY: &str = "/verify";

/// All there is to know.
#[derive(Debug)]
pub(super) struct Live {
    clock: Clock,
    profile: String,
    user: String,
    verification: Option<Verification>,
    /// How long a good fetch counts.
    good_for: Duration,
    /// The followed file.
    out: PathBuf,
    now: Mutex<Now>,
}

#[derive(Debug)]
struct Now {
    /// The file as the last round left it with its value; none if there is no such value, or no such file.
    left: Option<Likeness>,
    /// The file that is about to take its place.
    coming_file: Option<Likeness>,
    /// The file as it was last seen.
    seen: Option<Likeness>,
    /// The value, where signatures are checked.
    held: Option<Followed>,
    /// The value that is about to be written: a client may sign with it the moment that the file holds it.
    coming: Option<Followed>,
    /// The values before it, the last one first, while their signatures are good: in memory only.
    before: VecDeque<(Followed, Deadline)>,
    version: Option<Version>,
    since: Option<u64>,
    last_ok: Option<bool>,
    /// When a fetch last ended well.
    refreshed: Option<Moment>,
    good_until: Deadline,
    counts: Counts,
}

impl Now {
    /// Whether the file, which looks like this at the moment, holds the value that it should: whatever the last round
    /// has left, somebody may have taken it away since.
    fn is_there(&self, file: Option<Likeness>) -> bool {
        let known = [self.left, self.coming_file];
        file.is_some_and(|file| known.into_iter().flatten().any(|known| file.has_contents_of(known)))
    }
}

impl Live {
    /// Before the first round.
    pub(super) fn new(settings: &FollowSettings, memory: &Memory, good_for: Duration, clock: Clock) -> Self {
        let signatures = Judgement::ALL.map(|judgement| (judgement.id(), 0));
        let now = Now {
            left: memory.left,
            coming_file: None,
            seen: Likeness::of(&settings.out),
            // Without signatures nobody needs another copy.
            held: memory.held.clone().filter(|_| settings.verification.is_some()),
            coming: None,
            before: VecDeque::new(),
            version: memory.version,
            since: memory.since,
            last_ok: None,
            refreshed: None,
            good_until: Moment::now().after(good_for),
            counts: Counts { signatures, ..Counts::default() },
        };
        Self {
            clock,
            profile: settings.profile.clone(),
            user: settings.user.clone(),
            verification: settings.verification,
            good_for,
            out: settings.out.clone(),
            now: Mutex::new(now),
        }
    }

    fn now(&self) -> MutexGuard<'_, Now> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells which value the file is about to hold, and what it looks like then; none if it will not.
    pub(super) fn expect(&self, coming: Option<Coming<'_>>) {
        let mut now = self.now();
        now.coming_file = coming.map(|(_, file)| file);
        now.coming = coming.map(|(value, _)| value.clone()).filter(|_| self.verification.is_some());
    }

    /// Counts rotations that were told.
    pub(super) fn count_rotations(&self, count: u64) {
        self.now().counts.rotations += count;
    }

    /// Tells what a round left.
    pub(super) fn update(&self, round: &Round, memory: &Memory) {
        let mut now = self.now();
        (now.coming, now.coming_file) = (None, None);
        if let Some(refresh) = round.refresh() {
            let is_ok = refresh == Refresh::Ok;
            now.last_ok = Some(is_ok);
            for (how, count) in Refresh::ALL.iter().zip(&mut now.counts.refreshes) {
                *count += u64::from(*how == refresh);
            }
            if is_ok {
                now.refreshed = Some(Moment::now());
                now.good_until = Moment::now().after(self.good_for);
            }
        }
        if let FileStands::Replaced(why) = round.file
            && why.is_rotation()
            && let Some(Verification { grace, .. }) = self.verification
        {
            let until = Moment::now().after(grace);
            now.before.truncate(MOST_BEFORE - 1);
            if let Some(held) = now.held.take() {
                now.before.push_front((held, until));
            }
        }
        if self.verification.is_some() {
            now.held.clone_from(&memory.held);
        }
        (now.left, now.version, now.since) = (memory.left, memory.version, memory.since);
        if memory.left.is_some() {
            now.seen = memory.left;
        }
    }

    /// Whether the file looks different than the last time, and not as the last round left it.
    pub(super) fn has_changed(&self) -> bool {
        let file = Likeness::of(&self.out);
        let mut now = self.now();
        let is_news = file != std::mem::replace(&mut now.seen, file);
        is_news && !now.is_there(file)
    }

    /// Wipes the values before the current one whose signatures are not good any more.
    pub(super) fn forget(&self) {
        self.now().before.retain(|(_, until)| !until.is_past());
    }

    /// What may be done at this path.
    pub(super) fn allowed(&self, path: &str) -> Option<Allowed> {
        let posting = self.verification.filter(|_| path == VERIFY).map(|_| Allowed::Posting);
        posting.or_else(|| pages::allowed(path))
    }

    /// What there is for this request, and why a signature was refused, if it was.
    pub(super) fn page(&self, request: &Request<'_>) -> Option<(Page, Option<&'static str>)> {
        let seconds = self.clock.seconds();
        let file = Likeness::of(&self.out);
        let mut now = self.now();
        let is_there = now.is_there(file);
        let held = Held {
            is_there,
            version: now.version.filter(|_| is_there),
            since: now.since.filter(|_| is_there),
            last_ok: now.last_ok,
            // So long before now, whatever was done to the clock since.
            refreshed: now.refreshed.map(|at| seconds.saturating_sub(at.elapsed().as_secs())),
            is_stale: now.good_until.is_past(),
            counts: &now.counts,
        };
        match (request.path, request.method) {
            (pages::HEALTH, _) => {
                let (is_well, body) = health_page(held, seconds);
                let status = if is_well { 200 } else { 503 };
                Some((Page { status, content_type: pages::JSON, body }, None))
            }
            (pages::METRICS, _) => {
                let labels = Labels { profile: &self.profile, user: &self.user };
                let body = metrics_page(held, labels, seconds);
                Some((Page { status: 200, content_type: METRICS, body }, None))
            }
            (VERIFY, Method::Post) => {
                let max_skew = self.verification?.max_skew;
                let signed = Signed {
                    body: request.body,
                    timestamp: request.header("x-timestamp"),
                    signature: request.header("x-agent-signature"),
                };
                let before = now.before.iter().filter(|(_, until)| !until.is_past());
                let values = now.held.iter().chain(&now.coming).chain(before.map(|(value, _)| value));
                let judgement = judge(signed, values, seconds, max_skew);
                for (id, count) in &mut now.counts.signatures {
                    *count += u64::from(*id == judgement.id());
                }
                let is_good = judgement == Judgement::Ok;
                // Whatever is wrong, the answer is the same.
                let status = if is_good { 204 } else { 401 };
                let page = Page { status, content_type: "text/plain; charset=utf-8", body: String::new() };
                Some((page, Some(judgement.id()).filter(|_| !is_good)))
            }
            _ => None,
        }
    }
}
