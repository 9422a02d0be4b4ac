//! What `watch` knows at this moment, for whoever asks. The worker tells it after each run; all that depends on the
//! time is worked out when somebody asks.

use std::sync::{Mutex, PoisonError};

use crate::clock::Clock;
use crate::config::Settings;
use crate::local::history::History;
use crate::pass::Finished;
use crate::report::metrics::Labels;
use crate::report::watch::{METRICS, Standing, Verdict, health_page, metrics_page};
use crate::service::Deadline;
use crate::service::listener::Page;
use crate::verbs::pages;

/// All there is to know.
#[derive(Debug)]
pub(super) struct Live {
    clock: Clock,
    profile: String,
    user: String,
    after: Mutex<AfterRun>,
}

/// What the last run left.
#[derive(Debug, Default)]
struct AfterRun {
    /// How the runs went, those of earlier processes included.
    history: History,
    /// What the last run came to; none before the first has ended.
    verdict: Option<Verdict>,
    /// When the time is over that the token in the file was granted; none if it was granted none.
    until: Option<Deadline>,
    /// When the next run comes, in seconds since 1970.
    next_run: u64,
}

impl Live {
    /// Before the first run.
    pub(super) fn new(settings: &Settings, history: History, clock: Clock) -> Self {
        let (profile, user) = (settings.profile.clone(), settings.user.clone());
        // Counters that begin at nothing with each process, and jump, would look like events.
        let after = AfterRun { history, next_run: clock.seconds(), ..AfterRun::default() };
        Self { clock, profile, user, after: Mutex::new(after) }
    }

    /// Tells until when the token counts that is in the file as a run begins.
    pub(super) fn granted(&self, until: Option<Deadline>) {
        self.after.lock().unwrap_or_else(PoisonError::into_inner).until = until;
    }

    /// Tells what a run left.
    pub(super) fn update(&self, finished: &Finished, until: Option<Deadline>, next_run: u64) {
        let mut after = self.after.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(history) = &finished.history {
            after.history.clone_from(history);
        }
        let outcome = &finished.outcome;
        after.verdict = Some(Verdict { outcome: outcome.id(), reason: outcome.reason() });
        after.until = until;
        after.next_run = next_run;
    }

    /// The page at this path.
    pub(super) fn page(&self, path: &str) -> Option<Page> {
        let after = self.after.lock().unwrap_or_else(PoisonError::into_inner);
        let standing = Standing {
            left: after.until.map(|until| until.left().as_secs()),
            verdict: after.verdict,
            history: &after.history,
            next_run: after.next_run,
        };
        match path {
            pages::HEALTH => {
                let (is_well, body) = health_page(standing);
                Some(Page { status: if is_well { 200 } else { 503 }, content_type: pages::JSON, body })
            }
            pages::METRICS => {
                let labels = Labels { profile: &self.profile, user: &self.user };
                let body = metrics_page(standing, labels, self.clock.seconds());
                Some(Page { status: 200, content_type: METRICS, body })
            }
            _ => None,
        }
    }
}
