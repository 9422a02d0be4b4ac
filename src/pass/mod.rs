//! The product: one pass, start to end.
//!
//! [`run`] is a straight line, for a pass and for the verb `sweep` alike:
//! 1. enter: take the run locks, load the state;
//! 2. act while undisturbed: read, look up, judge, renew or heal; and start over if a login lands meanwhile;
//! 3. note in the state how it ended;
//! 4. publish the figures, while nobody else can;
//! 5. finish: give the locks back, and hand on what it came to and what it leaves to be done.
//!
//! A decision is made in `identity`, an effect happens here, a word is said in `report`.

mod authority;
mod context;
mod current;
mod dry_run;
mod entry;
mod flow;
mod heal;
mod reach;
mod sweep;
mod view;
mod walk;

pub(crate) use context::{Context, Work};
pub(crate) use dry_run::forecast;
pub(crate) use entry::saved_state;
pub(crate) use view::view;
pub(crate) use walk::LONGEST_WALK;

use crate::config::Settings;
use crate::facts::failure::{Done, During, Failure};
use crate::facts::outcome::Outcome;
use crate::facts::swept::Swept;
use crate::facts::warning::Warning;
use crate::identity::{Dying, Verdict, Vitality};
use crate::local::history::{Contents, Counters, Ending, HeldToken, History};
use crate::local::state::State;
use crate::local::token_file::Looseness;
use crate::secret::{Fingerprint, Token};
use crate::stop::Stop;
use crate::vault::{Error, ErrorKind, Renewal};
use context::{warn_lacking, warn_of, warn_unsaved};
use current::{Current, Interruption, undisturbed};
use entry::{Entered, enter};
use heal::{Origin, heal};
use reach::{Reach, reaches_next_run};
use sweep::{Kept, Scope, sweep};

/// What a run came to, once its locks are given back. A panic on the way here leaves nothing of it.
#[derive(Debug)]
pub(crate) struct Finished {
    /// How it ended.
    pub(crate) outcome: Outcome,
    /// The living token in the token file, if this run could tell.
    pub(crate) held: Option<HeldToken>,
    /// The token that it left in the token file, if it found one there or put one there.
    pub(crate) token: Option<Fingerprint>,
    /// Whether the deploy hook has to run now.
    pub(crate) hook_due: bool,
    /// How all the runs went, this one included; none if it did not get as far as to look.
    pub(crate) history: Option<History>,
}

impl Finished {
    /// Seconds that the renewal or the mint of this run granted the token that it left in the token file.
    pub(crate) fn lease(&self) -> Option<u64> {
        self.held.as_ref()?.lease
    }

    /// Seconds that the token which it left in the token file has at `now`; none if it never ends, or nobody knows.
    pub(crate) fn left(&self, now: u64) -> Option<u64> {
        Some(self.held.as_ref()?.ends_at?.saturating_sub(now))
    }
}

impl From<Failure> for Finished {
    /// A run that found out nothing.
    fn from(failure: Failure) -> Self {
        Self { outcome: Outcome::Failed(failure), held: None, token: None, hook_due: false, history: None }
    }
}

/// One whole run.
pub(crate) fn run(context: &Context<'_>, work: Work) -> Finished {
    let Entered { locks, mut state } = match enter(context) {
        Ok(entered) => entered,
        Err(failure) => {
            // Who could not get in cannot note it either; a process that stays remembers it until it can.
            let history = context.earlier.map(|earlier| earlier.and_a_failure(context.clock.seconds()));
            return Finished { history, ..Finished::from(failure) };
        }
    };
    let Acted { outcome, tried } = act(context, &mut state, work);
    let outcome = unless_stopped(context, outcome);
    let hook_due = note(context, &mut state, work, &outcome, tried);
    (context.publish)(state.history());
    drop(locks);
    let (held, history) = (state.held_now().cloned(), Some(state.history().clone()));
    Finished { outcome, held, token: state.token(), hook_due, history }
}

/// Notes that the deploy hook has begun, so that no later run owes it. Where another run has the lock, that run sees a
/// hook that is owed, and may run it, too.
pub(crate) fn hook_has_begun(settings: &Settings, stop: &Stop, warn: &dyn Fn(Warning)) {
    if let Some((_lock, mut state)) = entry::enter_briefly(settings, stop) {
        state.set_hook_due(false);
        if let Err(error) = state.note_hook() {
            warn(Warning::StateUnsaved { path: settings.state_directory.clone(), error });
        }
    }
}

/// The same outcome, unless it is a failure that a stop explains. That a token ends before the next run is none.
fn unless_stopped(context: &Context<'_>, outcome: Outcome) -> Outcome {
    let stopped = |during| Outcome::Failed(Failure::Stopped { signal: context.stop.signal(), during });
    match outcome {
        outcome @ Outcome::Failed(Failure::EndsBeforeNextRun { .. }) => outcome,
        Outcome::Failed(failure) if context.stop.is_raised() => stopped(During::Failed(Box::new(failure))),
        Outcome::Swept(swept) if context.stop.is_raised() && !swept.is_full() => {
            stopped(During::Sweep(Box::new(swept)))
        }
        outcome @ (Outcome::Renewed { .. }
        | Outcome::Healed { .. }
        | Outcome::Swept(_)
        | Outcome::Drift { .. }
        | Outcome::Failed(_)) => outcome,
    }
}

/// What the attempts came to.
struct Acted {
    outcome: Outcome,
    /// What the last of them tried to heal, if it got that far.
    tried: Option<Origin>,
}

/// One attempt, which a login may have disturbed.
struct Attempt {
    ended: Result<Outcome, Interruption>,
    tried: Option<Origin>,
}

impl Attempt {
    /// One that had nothing to heal, or did not get that far.
    fn without_heal(ended: Result<Outcome, Interruption>) -> Self {
        Self { ended, tried: None }
    }
}

/// Attempts it, and starts over while the token file changes meanwhile, but not for ever.
fn act(context: &Context<'_>, state: &mut State, work: Work) -> Acted {
    let mut tried = None;
    let ended = undisturbed(|| {
        let read = current::read(context, Looseness::Tighten);
        state.set_token(read.as_ref().ok().map(Token::fingerprint));
        let attempted =
            match read.map_err(Interruption::from).and_then(|token| Current::look_up(context, token)) {
                Ok(current) => match work {
                    Work::Pass => renew_or_heal(context, state, &current),
                    Work::Sweep => sweep_with_ours(context, state, &current),
                },
                Err(interruption) => Attempt::without_heal(Err(interruption)),
            };
        tried = attempted.tried;
        if let Err(Interruption::FileChanged) = attempted.ended {
            state.disregard();
        }
        attempted.ended
    });
    let outcome = ended.unwrap_or_else(Outcome::Failed);
    if let Outcome::Failed(failure) = &outcome
        && failure.leaves_nothing()
    {
        state.set_contents(Contents::NoToken);
    }
    Acted { outcome, tried }
}

/// Whose token it is, which the state remembers.
fn judge(context: &Context<'_>, state: &mut State, current: &Current) -> Verdict {
    let verdict = context.settings.identity.judge(&current.info);
    let held = HeldToken::new(&current.info, verdict == Verdict::Ours, context.clock.seconds());
    state.set_contents(Contents::Held(held));
    verdict
}

/// What the verdict on the token asks for.
fn renew_or_heal(context: &Context<'_>, state: &mut State, current: &Current) -> Attempt {
    let origin = match judge(context, state, current) {
        Verdict::Ours => match renew(context, state, current) {
            Ok(Renewed::Lasting { lease }) => {
                return Attempt::without_heal(renewed(context, state, current, lease));
            }
            Ok(Renewed::Dying { dying, seconds_left, lease }) => {
                state.set_dying(dying);
                Origin::Dying { dying, seconds_left, lease }
            }
            Err(failure) => {
                return Attempt::without_heal(current.unless_replaced(context, Err(failure.into())));
            }
        },
        Verdict::Foreign => Origin::Foreign,
    };
    let ended = current.unless_replaced(context, heal(context, state, current, origin));
    Attempt { ended, tried: Some(origin) }
}

/// The end of a run that renewed our token for `lease` seconds: good news, if the next run comes before they are over.
fn renewed(
    context: &Context<'_>,
    state: &mut State,
    current: &Current,
    lease: u64,
) -> Result<Outcome, Interruption> {
    let reach = reaches_next_run(context, lease);
    if let Reach::Unknown = reach {
        (context.warn)(Warning::ShortLease { left: lease });
    }
    // A sweep that is due is finished, whatever else there is to say.
    let resumed = resume_sweep(context, state, current);
    match reach {
        Reach::No { next_run } => {
            let done = Done::Renewed { resumed: resumed.map(Box::new) };
            Err(Failure::EndsBeforeNextRun { done, left: lease, next_run }.into())
        }
        Reach::Yes | Reach::Unknown => {
            Ok(Outcome::Renewed { display_name: current.info.display_name.clone(), ttl: lease, resumed })
        }
    }
}

/// The work of the verb `sweep`, which needs our token to keep.
fn sweep_with_ours(context: &Context<'_>, state: &mut State, current: &Current) -> Attempt {
    let ended = match judge(context, state, current) {
        Verdict::Foreign => Err(Failure::NotOurs { display_name: current.info.display_name.clone() }.into()),
        Verdict::Ours if current.info.num_uses != 0 => Err(Failure::use_limited(&current.info).into()),
        Verdict::Ours => {
            if let Some((token, settings)) = current.elsewhere(context) {
                (context.warn)(Warning::OtherNamespace { token, settings });
            }
            let accessor = current.accessor(state).cloned();
            let keep = Kept { accessor: accessor.as_ref(), orphan: current.info.orphan };
            Ok(Outcome::Swept(sweep(context, state, &current.token, keep, Scope::Full)))
        }
    };
    Attempt::without_heal(ended)
}

/// What a renewal made of a token of ours.
enum Renewed {
    /// It lives on.
    Lasting {
        /// Seconds it has now.
        lease: u64,
    },
    /// It will end all the same.
    Dying {
        /// Why.
        dying: Dying,
        /// In how many seconds.
        seconds_left: u64,
        /// Seconds that a renewal granted all the same.
        lease: Option<u64>,
    },
}

/// Renews a token of ours.
fn renew(context: &Context<'_>, state: &mut State, current: &Current) -> Result<Renewed, Failure> {
    let Current { token, info, .. } = current;
    if info.num_uses != 0 {
        // A renewal would cost it a use, and add none.
        return Ok(Renewed::Dying { dying: Dying::UseLimited, seconds_left: info.ttl, lease: None });
    }
    if let Some((token, settings)) = current.elsewhere(context) {
        (context.warn)(Warning::OtherNamespace { token, settings });
    }
    warn_lacking(context, info);
    let (dying, seconds_left, lease) = match context.client.renew_self(token, info.accessor.as_ref()) {
        Ok(Renewal::Renewed { lease, renewable, warnings }) => {
            warn_of(context, &warnings);
            if lease > 0 {
                let now = context.clock.seconds();
                state.set_contents(Contents::Held(HeldToken::new(info, true, now).granted(lease, now)));
            }
            let vitality = if lease == 0 || renewable == Some(false) {
                Vitality::Dying(Dying::NotRenewable)
            } else {
                context.settings.identity.vitality(info, lease)
            };
            match vitality {
                Vitality::Lasting => return Ok(Renewed::Lasting { lease }),
                Vitality::Dying(dying) => (dying, lease, Some(lease)),
            }
        }
        Ok(Renewal::NothingDone) => (Dying::NotRenewed, info.ttl, None),
        Err(Error { kind: ErrorKind::Refused { .. }, .. }) => (Dying::NotRenewable, info.ttl, None),
        Err(error) => return Err(Failure::Vault(error)),
    };
    (context.warn)(Warning::Dying { display_name: info.display_name.clone(), dying, seconds_left });
    Ok(Renewed::Dying { dying, seconds_left, lease })
}

/// Finishes what an earlier sweep left; says nothing where there is nothing new to say.
fn resume_sweep(context: &Context<'_>, state: &mut State, current: &Current) -> Option<Swept> {
    let scope = Scope::left_over(context, state)?;
    let keep = current.accessor(state).cloned();
    let keep = Kept { accessor: keep.as_ref(), orphan: current.info.orphan };
    Some(sweep(context, state, &current.token, keep, scope)).filter(|swept| scope.is_news(swept))
}

/// Notes how it ended, and says whether the deploy hook has to run now.
fn note(
    context: &Context<'_>,
    state: &mut State,
    work: Work,
    outcome: &Outcome,
    tried: Option<Origin>,
) -> bool {
    if let Work::Sweep = work {
        let gains = Counters { swept: outcome.swept(), ..Counters::default() };
        warn_unsaved(context, state.note_gains(gains));
        return false;
    }
    let (ending, gains) = tally(outcome, tried);
    let hook = context.settings.hook.as_ref();
    // One is also owed by a run before this one that was killed before it got so far. It stays owed until it has begun
    // (`hook_has_begun`), and a run that a hook started leaves it to the next.
    let is_its_turn = outcome.leaves_ours() && !hook.is_some_and(|hook| hook.is_nested);
    let hook_due = is_its_turn && state.is_hook_due() && hook.is_some();
    if is_its_turn && hook.is_none() {
        state.set_hook_due(false);
    }
    match outcome {
        Outcome::Failed(Failure::EndsBeforeNextRun { .. }) => state.set_ends_before_next_run(true),
        // Whoever could not look knows no more than the run before.
        Outcome::Failed(failure) if !failure.leaves_nothing() => {}
        Outcome::Renewed { .. }
        | Outcome::Healed { .. }
        | Outcome::Drift { .. }
        | Outcome::Swept(_)
        | Outcome::Failed(_) => {
            state.set_ends_before_next_run(false);
        }
    }
    let line = (context.line)(outcome);
    warn_unsaved(context, state.note_pass(context.clock.seconds(), ending, line, gains));
    hook_due
}

/// How a pass ended, and what that adds to the counters, given what it `tried` to heal, if it got that far.
fn tally(outcome: &Outcome, tried: Option<Origin>) -> (Ending, Counters) {
    let gains = Counters {
        not_renewable: u64::from(matches!(tried, Some(Origin::Dying { .. }))),
        swept: outcome.swept(),
        ..Counters::default()
    };
    match outcome {
        Outcome::Renewed { .. } => (Ending::Renewed, Counters { renewed: 1, ..gains }),
        Outcome::Healed { .. } => (Ending::Healed, Counters { healed: 1, ..gains }),
        Outcome::Drift { .. } => (Ending::Drift, Counters { heal_denied: 1, ..gains }),
        // What was done was done, and it was not enough.
        Outcome::Failed(Failure::EndsBeforeNextRun { done: Done::Renewed { .. }, .. }) => {
            (Ending::Failed, Counters { renewed: 1, ..gains })
        }
        Outcome::Failed(Failure::EndsBeforeNextRun { done: Done::Healed { .. }, .. }) => {
            (Ending::Failed, Counters { healed: 1, ..gains })
        }
        Outcome::Failed(Failure::Dying { .. }) => (Ending::Failed, Counters { heal_denied: 1, ..gains }),
        Outcome::Failed(_) if tried.is_some() => (Ending::Failed, Counters { heal_failed: 1, ..gains }),
        // A pass that sweeps and does nothing else is none.
        Outcome::Failed(_) | Outcome::Swept(_) => (Ending::Failed, Counters { not_renewed: 1, ..gains }),
    }
}
