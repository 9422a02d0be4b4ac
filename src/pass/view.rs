//! What there is to see of the token in the file and of its namesakes, without touching either.

use super::authority::{authority, may_update, never_mints};
use super::context::Context;
use super::current::{Current, undisturbed};
use super::entry::saved_state;
use super::sweep::{Kept, Scope, search};
use super::walk::Action;
use crate::config::SweepMode;
use crate::facts::authority::Authority;
use crate::facts::failure::Failure;
use crate::facts::swept::SweepEnd;
use crate::facts::view::{Namesakes, PolicyTrouble, View};
use crate::identity::{Verdict, Vitality};
use crate::vault::RENEW_SELF_PATH;

/// Looks.
pub(crate) fn view(context: &Context<'_>) -> Result<View, Failure> {
    undisturbed(|| {
        let current = Current::look_at(context)?;
        let identity = &context.settings.identity;
        let verdict = identity.judge(&current.info);
        let dying = match verdict {
            Verdict::Foreign => None,
            Verdict::Ours => match identity.forecast(&current.info, context.clock.seconds()) {
                Vitality::Lasting => None,
                Vitality::Dying(dying) => Some(dying),
            },
        };
        let mut view = View {
            authority: never_mints(&current.info).map(Authority::Lacking),
            renewal: None,
            elsewhere: current.elsewhere(context),
            namesakes: None,
            policies: Vec::new(),
            verdict,
            dying,
            confirmed: current.confirmed,
            info: current.info.clone(),
        };
        // Each request would use a token up that may be used so many times. And where the server falls silent, a
        // person has waited once.
        if current.info.num_uses == 0 {
            let _ = ask_more(context, &current, &mut view);
        }
        Ok(view)
    })
}

/// That the server gave no believable answer any more.
struct Silence;

/// Asks for what a lookup of the token does not say, as long as there are answers.
fn ask_more(context: &Context<'_>, current: &Current, view: &mut View) -> Result<(), Silence> {
    if view.verdict == Verdict::Foreign || view.dying.is_some() {
        view.authority = Some(authority(context, current).map_err(|_| Silence)?);
    }
    policies(context, current, view)?;
    if view.verdict == Verdict::Ours {
        view.renewal = may_update(context, current, RENEW_SELF_PATH).map_err(|_| Silence)?;
    }
    view.namesakes = namesakes(context, current);
    Ok(())
}

/// Counts the tokens of our name. None where they may not be listed or looked up, or not in time.
fn namesakes(context: &Context<'_>, current: &Current) -> Option<Namesakes> {
    // Whoever does not want the server walked over does not want it for a look either.
    let SweepMode::Walk = context.settings.sweep else { return None };
    let (state, _) = saved_state(context);
    // To count is not to revoke: it does not matter whether it is an orphan.
    let keep = Kept { accessor: current.accessor(&state), orphan: None };
    let swept = search(context, &state, &current.token, keep, Scope::Full, Action::Count);
    match swept.end {
        SweepEnd::Complete => {
            let count = swept.stale.len();
            let this = current.info.display_name == context.settings.identity.display_name;
            Some(Namesakes { total: count + swept.namesakes + usize::from(this), stale: count })
        }
        SweepEnd::Off
        | SweepEnd::ListDenied
        | SweepEnd::LookupDenied
        | SweepEnd::MostlyDenied
        | SweepEnd::NothingToKeep
        | SweepEnd::KeptIsNoOrphan
        | SweepEnd::CutShort { .. } => None,
    }
}

/// Asks for each policy of the identity, until there is no believable answer. A foreign token that may read none of
/// them is nothing to speak of; one that may tells that a name is misspelt before ours is minted with it.
fn policies(context: &Context<'_>, current: &Current, view: &mut View) -> Result<(), Silence> {
    for name in &context.settings.identity.policies {
        match context.client.policy_exists(&current.token, name) {
            Ok(true) => {}
            Ok(false) => view.policies.push((name.clone(), PolicyTrouble::Missing)),
            Err(error) => {
                let silence = error.kind.no().is_none();
                if view.verdict == Verdict::Ours {
                    view.policies.push((name.clone(), PolicyTrouble::Unreadable(error)));
                }
                if silence {
                    return Err(Silence);
                }
            }
        }
    }
    Ok(())
}
