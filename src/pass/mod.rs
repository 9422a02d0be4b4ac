//! The product: one pass, start to end.
//!
//! [`run`] reads like section "One pass" of the documentation: lock, read, look up, judge, renew or heal.
//! A decision is made in `identity`, an effect happens here, a word is said in `report`.

mod dry_run;
mod heal;
mod sweep;

use std::thread;
use std::time::Duration;

pub(crate) use dry_run::{forecast, forecast_sweep};

use crate::config::{Settings, SweepMode};
use crate::identity::{Dying, Verdict, Vitality};
use crate::local::state::{self, Lock, Locking, State};
use crate::local::token_file::{Looseness, ReadError, Reading};
use crate::local::{plain, staged};
use crate::report::outcome::{Failure, Outcome, SweepReport};
use crate::report::warning::Warning;
use crate::token::{Token, TokenInfo};
use crate::vault::{Client, Error, ErrorKind, Renewal};
use heal::Origin;
use sweep::{Action, Sweep};

/// How often a pass starts over because the token file changed under it.
const ATTEMPTS: u32 = 3;

/// How long a login may take to finish writing the file. Logins rename, which takes no time at all; a shell
/// redirection or an editor takes a little.
const MOMENT: Duration = Duration::from_millis(500);

/// What a pass works with. Everything that could differ in a test is handed in.
pub(crate) struct Context<'a> {
    /// What was asked for.
    pub(crate) settings: &'a Settings,
    /// The server.
    pub(crate) client: &'a Client,
    /// The name of this machine.
    pub(crate) host: &'a str,
    /// Now, in seconds since 1970 by this machine's clock.
    pub(crate) now: u64,
    /// Where warnings go, as they arise.
    pub(crate) warn: &'a dyn Fn(Warning),
}

/// Why an attempt at a pass did not get to an outcome.
enum Interruption {
    /// The token file changed: a login landed. Start over.
    FileChanged,
    /// Nothing more can be done.
    Failed(Failure),
}

impl From<Failure> for Interruption {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

/// One complete pass.
pub(crate) fn run(context: &Context<'_>) -> Outcome {
    locked(context, |state| {
        let token = read(context, Looseness::Tighten)?;
        let info = look_up(context, &token)?;
        match context.settings.identity.judge(&info) {
            Verdict::Ours => renew(context, state, &token, &info),
            Verdict::Foreign => heal::heal(context, state, &token, &info, Origin::Foreign),
        }
    })
}

/// Revokes the stale tokens of our name now.
pub(crate) fn sweep_now(context: &Context<'_>) -> Outcome {
    locked(context, |state| {
        let token = read(context, Looseness::Tighten)?;
        let info = look_up(context, &token)?;
        match context.settings.identity.judge(&info) {
            Verdict::Foreign => Err(Failure::NotOurs { display_name: info.display_name }.into()),
            Verdict::Ours => Ok(Outcome::Swept(sweep(context, state, &token, &info))),
        }
    })
}

/// Works under the run lock.
fn locked(
    context: &Context<'_>,
    mut work: impl FnMut(&mut State) -> Result<Outcome, Interruption>,
) -> Outcome {
    let entered = enter(context);
    let outcome = entered.and_then(|(_lock, mut state)| undisturbed(|| work(&mut state)));
    outcome.unwrap_or_else(Outcome::Failed)
}

/// Starts over while the token file changes under the work, but not for ever.
fn undisturbed<T>(mut work: impl FnMut() -> Result<T, Interruption>) -> Result<T, Failure> {
    for _ in 0..ATTEMPTS {
        match work() {
            Ok(done) => return Ok(done),
            Err(Interruption::Failed(failure)) => return Err(failure),
            Err(Interruption::FileChanged) => {}
        }
    }
    Err(Failure::FileKeepsChanging)
}

/// Takes the run lock and loads the state. Where neither can be had, the pass goes on without.
fn enter(context: &Context<'_>) -> Result<(Option<Lock>, State), Failure> {
    let settings = context.settings;
    let directory = &settings.state_directory;
    // Where the name leads nowhere, reading will say so; until then the name itself will do.
    let token_file = settings.token_file.resolved().unwrap_or_else(|_| settings.token_file.path().to_owned());
    let waiting = || (context.warn)(Warning::WaitingForLock);
    let lock = match state::lock(directory, &token_file, waiting) {
        Ok(Locking::Held(lock)) => lock,
        Ok(Locking::Busy) => return Err(Failure::LockBusy),
        Err(error) => {
            (context.warn)(Warning::NoState { path: directory.clone(), reason: plain(&error) });
            return Ok((None, State::fleeting()));
        }
    };
    let (state, spoilt) = State::load(directory, &token_file);
    if let Some(error) = spoilt {
        (context.warn)(Warning::StateSpoilt { path: directory.clone(), reason: plain(&error) });
    }
    // What a killed run left beside the token file may hold a living token.
    if let Err(error) = staged::remove_leftovers(&token_file, rustix::process::geteuid().as_raw()) {
        (context.warn)(Warning::LeftoversRemain { reason: plain(&error) });
    }
    Ok((Some(lock), state))
}

/// Reads the token file; once more after a moment if there is nothing in it, since somebody may be about to
/// write it.
fn read(context: &Context<'_>, looseness: Looseness) -> Result<Token, Failure> {
    let file = &context.settings.token_file;
    let Reading { token, loose_mode } = match file.read(looseness) {
        Err(ReadError::Missing | ReadError::Empty) => {
            thread::sleep(MOMENT);
            file.read(looseness)
        }
        reading => reading,
    }
    .map_err(Failure::TokenFile)?;
    if let Some(loose_mode) = loose_mode {
        (context.warn)(Warning::LooseMode(loose_mode));
    }
    Ok(token)
}

/// Looks the token up. If it is refused, the file gets a moment to change before the token is called dead.
fn look_up(context: &Context<'_>, token: &Token) -> Result<TokenInfo, Interruption> {
    match context.client.lookup_self(token) {
        Ok(lookup) => {
            if !lookup.confirmed {
                (context.warn)(Warning::Unconfirmed);
            }
            Ok(lookup.info)
        }
        Err(Error { kind: ErrorKind::Denied { message }, url, .. }) => {
            thread::sleep(MOMENT);
            if holds(context, token) {
                Err(Failure::Dead { url, message }.into())
            } else {
                Err(Interruption::FileChanged)
            }
        }
        Err(error) => Err(Failure::Vault(error).into()),
    }
}

/// Whether the token file still holds `token`.
fn holds(context: &Context<'_>, token: &Token) -> bool {
    context.settings.token_file.read(Looseness::Tell).is_ok_and(|reading| reading.token == *token)
}

fn renew(
    context: &Context<'_>,
    state: &mut State,
    token: &Token,
    info: &TokenInfo,
) -> Result<Outcome, Interruption> {
    let (dying, seconds_left) = match context.client.renew_self(token) {
        Ok(Renewal::Renewed { lease, renewable, warnings }) => {
            for warning in warnings {
                (context.warn)(Warning::Server(warning));
            }
            let vitality = if lease == 0 || renewable == Some(false) {
                Vitality::Dying(Dying::NotRenewable)
            } else {
                context.settings.identity.vitality(info, lease)
            };
            match vitality {
                Vitality::Lasting => {
                    let due = state.is_sweep_due() && sweeps(context.settings);
                    let resumed = due.then(|| sweep(context, state, token, info));
                    let display_name = info.display_name.clone();
                    return Ok(Outcome::Renewed { display_name, ttl: lease, resumed });
                }
                Vitality::Dying(dying) => (dying, lease),
            }
        }
        Ok(Renewal::NothingDone) => (Dying::NotRenewed, info.ttl),
        Err(Error { kind: ErrorKind::Refused { .. }, .. }) => (Dying::NotRenewable, info.ttl),
        Err(error) => return Err(Failure::Vault(error).into()),
    };
    (context.warn)(Warning::Dying { display_name: info.display_name.clone(), dying, seconds_left });
    heal::heal(context, state, token, info, Origin::Dying { dying, seconds_left })
}

/// Sweeps with `token`, which is ours and is kept, and notes in the state how it went.
fn sweep(context: &Context<'_>, state: &mut State, token: &Token, kept: &TokenInfo) -> SweepReport {
    let report = match &kept.accessor {
        Some(keep) => Sweep {
            client: context.client,
            token,
            identity: &context.settings.identity,
            host: context.host,
            keep,
            remembered: state.minted(),
            action: Action::Revoke,
        }
        .run(context.settings.sweep),
        // Fail-safe: with nothing known to keep, nothing is revoked.
        None => SweepReport::nothing_to_keep(),
    };
    let gone: Vec<_> = state
        .minted()
        .iter()
        .filter(|&accessor| Some(accessor) != kept.accessor.as_ref() && report.is_gone(accessor))
        .cloned()
        .collect();
    note(context, state.note_swept(report.is_unfinished(), &gone));
    report
}

/// A state that cannot be saved is worth a warning, and nothing more.
fn note(context: &Context<'_>, saved: std::io::Result<()>) {
    if let Err(error) = saved {
        let path = context.settings.state_directory.clone();
        (context.warn)(Warning::StateUnsaved { path, reason: plain(&error) });
    }
}

/// Whether sweeps are switched on.
fn sweeps(settings: &Settings) -> bool {
    match settings.sweep {
        SweepMode::Walk | SweepMode::Remembered => true,
        SweepMode::Off => false,
    }
}
