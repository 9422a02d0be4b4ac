//! The product: one pass, start to end.
//!
//! [`run`] reads like section "One pass" of the documentation: lock, read, look up, judge, renew or heal.
//! A decision is made in `identity`, an effect happens here, a word is said in `report`.

mod authority;
mod context;
mod current;
mod dry_run;
mod entry;
mod heal;
mod sweep;
mod view;
mod walk;

use std::cell::Cell;

pub(crate) use context::{Aftermath, Context};
pub(crate) use dry_run::{forecast, forecast_sweep};
pub(crate) use entry::saved_state;
pub(crate) use view::view;

use crate::facts::failure::Failure;
use crate::facts::outcome::Outcome;
use crate::facts::warning::Warning;
use crate::identity::{Dying, Verdict, Vitality};
use crate::local::history::{Contents, Counters, Ending, HeldToken};
use crate::local::state::State;
use crate::local::token_file::Looseness;
use crate::vault::{Error, ErrorKind, Renewal};
use context::warn_unsaved;
use current::{Current, Held, Interruption, held, inspect, see, undisturbed};
use entry::enter;
use heal::Origin;
use sweep::{Scope, sweep};

/// One complete pass.
pub(crate) fn run(context: &Context<'_>) -> Outcome {
    let tried = Cell::new(None);
    let work = |state: &mut State| {
        tried.set(None);
        let current = inspect(context, Looseness::Tighten)?;
        let outcome = renew_or_heal(context, state, &current, &tried);
        match outcome {
            // Bad news about a token that is no longer there is no news.
            Ok(Outcome::Drift { .. }) | Err(Interruption::Failed(_))
                if matches!(held(context, &current.token), Held::No) =>
            {
                Err(Interruption::FileChanged)
            }
            outcome => outcome,
        }
    };
    locked(context, work, |state, outcome| {
        let (ending, gains) = tally(outcome, tried.get());
        // Also for a run before this one that was killed before it got so far. A hook that has begun is told.
        let hook = context.settings.hook.as_ref();
        if ending.is_good() && !hook.is_some_and(|hook| hook.is_nested) {
            context.aftermath.borrow_mut().hook_due = hook.is_some() && state.is_hook_due();
            state.set_hook_due(false);
        }
        state.note_pass(context.clock.seconds(), ending, gains)
    })
}

/// Revokes the stale tokens of our name now.
pub(crate) fn sweep_now(context: &Context<'_>) -> Outcome {
    let work = |state: &mut State| {
        let current = inspect(context, Looseness::Tighten)?;
        let verdict = context.settings.identity.judge(&current.info);
        see(context, state, &current.info, verdict);
        match verdict {
            Verdict::Foreign => Err(Failure::NotOurs { display_name: current.info.display_name }.into()),
            Verdict::Ours if current.info.num_uses != 0 => Err(Failure::use_limited(&current.info).into()),
            Verdict::Ours => {
                let keep = current.accessor(state).cloned();
                Ok(Outcome::Swept(sweep(context, state, &current.token, keep.as_ref(), Scope::Full)))
            }
        }
    };
    locked(context, work, |state, outcome| {
        state.note_gains(Counters { swept: outcome.swept(), ..Counters::default() })
    })
}

/// Works under the run locks, and notes at the end what it came to.
fn locked(
    context: &Context<'_>,
    mut work: impl FnMut(&mut State) -> Result<Outcome, Interruption>,
    conclude: impl FnOnce(&mut State, &Outcome) -> std::io::Result<()>,
) -> Outcome {
    let (_locks, mut state) = match enter(context) {
        Ok(entered) => entered,
        Err(failure) => return Outcome::Failed(failure),
    };
    let outcome = undisturbed(|| {
        let done = work(&mut state);
        if let Err(Interruption::FileChanged) = done {
            state.disregard();
        }
        done
    })
    .unwrap_or_else(Outcome::Failed);
    if let Outcome::Failed(failure) = &outcome
        && failure.leaves_nothing()
    {
        state.set_contents(Contents::NoToken);
    }
    context.aftermath.borrow_mut().held = state.held_now().cloned();
    warn_unsaved(context, conclude(&mut state, &outcome));
    (context.publish)(state.history());
    outcome
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
        Outcome::Failed(Failure::Dying { .. }) => (Ending::Failed, Counters { heal_denied: 1, ..gains }),
        Outcome::Failed(_) if tried.is_some() => (Ending::Failed, Counters { heal_failed: 1, ..gains }),
        // A pass that sweeps and does nothing else is none.
        Outcome::Failed(_) | Outcome::Swept(_) => (Ending::Failed, Counters { not_renewed: 1, ..gains }),
    }
}

/// What the verdict on the token asks for. What is to be healed is left in `tried`.
fn renew_or_heal(
    context: &Context<'_>,
    state: &mut State,
    current: &Current,
    tried: &Cell<Option<Origin>>,
) -> Result<Outcome, Interruption> {
    let verdict = context.settings.identity.judge(&current.info);
    see(context, state, &current.info, verdict);
    let origin = match verdict {
        Verdict::Ours => match renew(context, state, current)? {
            Ok(renewed) => return Ok(renewed),
            Err((dying, seconds_left)) => {
                state.set_dying(dying);
                Origin::Dying { dying, seconds_left }
            }
        },
        Verdict::Foreign => Origin::Foreign,
    };
    tried.set(Some(origin));
    heal::heal(context, state, current, origin)
}

/// Renews a token of ours; if it will end all the same, says why, and in how many seconds.
fn renew(
    context: &Context<'_>,
    state: &mut State,
    current: &Current,
) -> Result<Result<Outcome, (Dying, u64)>, Interruption> {
    let Current { token, info, .. } = current;
    if info.num_uses != 0 {
        // A renewal would cost it a use, and add none.
        return Ok(Err((Dying::UseLimited, info.ttl)));
    }
    let (dying, seconds_left) = match context.client.renew_self(token) {
        Ok(Renewal::Renewed { lease, renewable, warnings }) => {
            for warning in warnings {
                (context.warn)(Warning::Server(warning));
            }
            if lease > 0 {
                let now = context.clock.seconds();
                state.set_contents(Contents::Held(HeldToken::new(info, true, now).renewed(lease, now)));
            }
            let vitality = if lease == 0 || renewable == Some(false) {
                Vitality::Dying(Dying::NotRenewable)
            } else {
                context.settings.identity.vitality(info, lease)
            };
            match vitality {
                Vitality::Lasting => {
                    let resumed = Scope::left_over(context, state).and_then(|scope| {
                        let keep = current.accessor(state).cloned();
                        Some(sweep(context, state, token, keep.as_ref(), scope))
                            .filter(|swept| scope.is_news(swept))
                    });
                    let display_name = info.display_name.clone();
                    return Ok(Ok(Outcome::Renewed { display_name, ttl: lease, resumed }));
                }
                Vitality::Dying(dying) => (dying, lease),
            }
        }
        Ok(Renewal::NothingDone) => (Dying::NotRenewed, info.ttl),
        Err(Error { kind: ErrorKind::Refused { .. }, .. }) => (Dying::NotRenewable, info.ttl),
        Err(error) => return Err(Failure::Vault(error).into()),
    };
    (context.warn)(Warning::Dying { display_name: info.display_name.clone(), dying, seconds_left });
    Ok(Err((dying, seconds_left)))
}
