//! Pure judgement: is it ours, is it dying, is it stale. No clock, no I/O, no log.
//!
//! Everything here is decided from a [`TokenInfo`], that is, from an answer of Vault about a living
//! token. An error of the network has no way in, so it can never become a verdict.

use serde::{Deserialize, Serialize};

use crate::token::{Accessor, TokenInfo};

/// The policy that marks a token nothing may touch and nobody may be given.
pub(crate) const ROOT_POLICY: &str = "root";

/// The policy Vault adds to every token; it says nothing about whose the token is.
pub(crate) const DEFAULT_POLICY: &str = "default";

/// The prefix of the creation path of every token that came from the token store. Login tokens have the
/// path of their login, so a login whose name happens to be ours is told apart by this.
const TOKEN_STORE: &str = "auth/token/";

/// Where ours is minted.
const MINTED_AT: [&str; 2] = ["auth/token/create", "auth/token/create-orphan"];

/// What makes a token *ours*, and how ours is minted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Identity {
    /// The name as it is asked for in a mint.
    pub(crate) requested_name: String,
    /// The name as Vault stores and shows it; see [`stored_name`].
    pub(crate) display_name: String,
    /// The policy without which a token is not ours.
    pub(crate) required_policy: String,
    /// What ours is minted with. Never empty: an empty list would inherit the minting token's policies.
    pub(crate) policies: Vec<String>,
    /// Seconds between two renewals that ours survives.
    pub(crate) period: u64,
}

/// Whose token it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub(crate) enum Verdict {
    /// It bears our name and the required policy.
    Ours,
    /// Any other living token.
    Foreign,
}

/// Whether a renewed (or soon to be renewed) token of ours lives for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub(crate) enum Vitality {
    /// Renewed nightly, it never ends.
    Lasting,
    /// It will end whatever we do.
    Dying(Dying),
}

/// Why a token of ours will end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Dying {
    /// Vault says it cannot be renewed.
    NotRenewable,
    /// Vault answered the renewal without renewing anything, as it does for a login whose user is gone.
    NotRenewed,
    /// It has a hard end that is nearer than a period.
    ExplicitMaximum,
    /// It has no period, and renewals no longer reach one.
    NoPeriod,
    /// It may be used so many times only, which no renewal changes.
    UseLimited,
    /// It ends with the token that minted it.
    NotOrphan,
}

/// How a freshly minted token contradicts what was ordered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Contradiction {
    /// It bears another name.
    Name(String),
    /// It lacks the required policy.
    Policy,
    /// It lacks another policy that was ordered.
    MissingPolicy(String),
    /// It has a policy that nobody ordered.
    ExtraPolicy(String),
    /// The server has no policy of this name, and it is the required one: the token can do nothing.
    NoSuchPolicy(String),
    /// It would die with the token that minted it.
    NotOrphan,
    /// It cannot be renewed.
    NotRenewable,
    /// It may be used so many times only.
    UseLimited(i64),
    /// It has a hard end, in seconds after it was made.
    ExplicitMaximum(u64),
    /// It has another period, in seconds.
    Period(u64),
    /// It has less left than was granted a moment ago; seconds, both.
    TimeLeft {
        /// By its lookup.
        left: u64,
        /// By its mint.
        granted: u64,
    },
    /// It would end before the next run, as far as that is known, and before the one it was to replace; seconds, and
    /// none for a token that never ends.
    ShortLife {
        /// Of the minted one.
        left: u64,
        /// Of the one to be replaced.
        replaced: Option<u64>,
    },
    /// It is of another type, `batch` for instance.
    Type(String),
    /// It is the one that was to be replaced.
    NotNew,
    /// It was made elsewhere.
    Path(String),
    /// It lives in another namespace; empty for the root.
    Namespace(String),
    /// It has no accessor, so it could never be told from its twins.
    NoAccessor,
    /// It has another accessor than the mint said, so it is not the one that was minted.
    Accessor,
}

/// Where and by whom tokens of ours are minted, as their notes (`meta`) tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Minter {
    /// The machine, by an id that stays when its name changes; none where it has none.
    pub(crate) machine: Option<String>,
    /// The machine, by its name of today.
    pub(crate) host: String,
    /// The user.
    pub(crate) user: String,
}

/// How well it is known that this machine minted a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Provenance {
    /// It remembers having done so.
    Remembered,
    /// Only the notes on the token can tell.
    Unknown,
}

/// What a sweep does with a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub(crate) enum Staleness {
    /// A leftover of an earlier mint of ours.
    Stale,
    /// Not ours to revoke.
    Spared,
}

impl Identity {
    /// Ours means: exactly our name, and exactly the required policy among token and identity policies.
    pub(crate) fn judge(&self, info: &TokenInfo) -> Verdict {
        let named = info.display_name == self.display_name;
        let able = info.all_policies().any(|policy| policy == self.required_policy);
        if named && able { Verdict::Ours } else { Verdict::Foreign }
    }

    /// Judges a token of ours by what a renewal left it: `lease` seconds.
    ///
    /// Less than a period is no harm where the server's own maximum is below the period, since a nightly
    /// run outlives that cap. It is the beginning of the end where the token itself has an end. A token of a role is
    /// periodic although its lookup does not say so, as long as a renewal brings it back to the length it was made
    /// with. And whatever a renewal gives, a token that is no orphan ends with the one that minted it.
    pub(crate) fn vitality(&self, info: &TokenInfo, lease: u64) -> Vitality {
        if info.orphan == Some(false) {
            Vitality::Dying(Dying::NotOrphan)
        } else if lease >= self.period {
            Vitality::Lasting
        } else if info.explicit_max_ttl > 0 {
            Vitality::Dying(Dying::ExplicitMaximum)
        } else if info.period.unwrap_or(0) == 0 && !is_brought_back(info, lease) {
            Vitality::Dying(Dying::NoPeriod)
        } else {
            Vitality::Lasting
        }
    }

    /// What a dry run expects of the renewal it must not send, judged by the lookup and `now` (seconds
    /// since 1970, this machine's clock).
    pub(crate) fn forecast(&self, info: &TokenInfo, now: u64) -> Vitality {
        if info.num_uses != 0 {
            return Vitality::Dying(Dying::UseLimited);
        }
        if info.renewable == Some(false) {
            return Vitality::Dying(Dying::NotRenewable);
        }
        self.vitality(info, expected_lease(info, now))
    }

    /// Whether a minted token is what was ordered, in the namespace in which it was ordered. What the server leaves
    /// out contradicts nothing.
    pub(crate) fn check_minted(
        &self,
        info: &TokenInfo,
        namespace: Option<&str>,
    ) -> Result<(), Contradiction> {
        if info.display_name != self.display_name {
            return Err(Contradiction::Name(info.display_name.clone()));
        }
        match self.judge(info) {
            Verdict::Ours => {}
            Verdict::Foreign => return Err(Contradiction::Policy),
        }
        self.check_policies(info)?;
        if info.orphan == Some(false) {
            return Err(Contradiction::NotOrphan);
        }
        if info.renewable == Some(false) {
            return Err(Contradiction::NotRenewable);
        }
        if info.num_uses != 0 {
            return Err(Contradiction::UseLimited(info.num_uses));
        }
        if info.explicit_max_ttl > 0 {
            return Err(Contradiction::ExplicitMaximum(info.explicit_max_ttl));
        }
        if let Some(period) = info.period.filter(|&period| period != self.period) {
            return Err(Contradiction::Period(period));
        }
        if let Some(kind) = info.kind.as_ref().filter(|kind| *kind != "service") {
            return Err(Contradiction::Type(kind.clone()));
        }
        if let Some(path) = info.path.as_ref().filter(|path| !MINTED_AT.contains(&path.as_str())) {
            return Err(Contradiction::Path(path.clone()));
        }
        if let Some(lives) = info.namespace.as_ref().filter(|lives| *lives != namespace.unwrap_or("")) {
            return Err(Contradiction::Namespace(lives.clone()));
        }
        if info.accessor.is_none() {
            return Err(Contradiction::NoAccessor);
        }
        Ok(())
    }

    /// Whether a minted token has every policy that was ordered, and none besides but `default` and those of an
    /// identity. `root` was never ordered.
    fn check_policies(&self, info: &TokenInfo) -> Result<(), Contradiction> {
        if let Some(missing) = self.missing_policies(info).next() {
            return Err(Contradiction::MissingPolicy(missing.to_owned()));
        }
        let ordered = |policy: &String| self.policies.contains(policy) || policy == DEFAULT_POLICY;
        let root = |policy: &&String| *policy == ROOT_POLICY;
        let extra = info.policies.iter().find(|policy| !ordered(policy));
        match extra.or(info.identity_policies.iter().find(root)) {
            Some(extra) => Err(Contradiction::ExtraPolicy(extra.clone())),
            None => Ok(()),
        }
    }

    /// The policies of the settings that a token lacks.
    pub(crate) fn missing_policies<'a>(&'a self, info: &'a TokenInfo) -> impl Iterator<Item = &'a str> {
        let has = |wanted: &str| info.all_policies().any(|policy| policy == wanted || policy == ROOT_POLICY);
        self.policies.iter().map(String::as_str).filter(move |policy| !has(policy))
    }

    /// Whether a token found on the server is to be revoked, given the one to `keep`, who we are, and how well it is
    /// known that we minted it.
    pub(crate) fn staleness(
        &self,
        info: &TokenInfo,
        keep: &Accessor,
        minter: &Minter,
        provenance: Provenance,
    ) -> Staleness {
        let another = info.accessor.as_ref().is_some_and(|accessor| accessor != keep);
        if another && self.is_leftover(info, minter, provenance) {
            Staleness::Stale
        } else {
            Staleness::Spared
        }
    }

    /// Whether a token is, or will be once another one is kept, a leftover of an earlier mint of ours.
    ///
    /// Policies are not compared: whatever bears our name and is not our current token was minted earlier,
    /// perhaps with an older set of policies. The exception is the root policy, which is never touched. See
    /// docs/design.md, "The name alone decides staleness".
    pub(crate) fn is_leftover(&self, info: &TokenInfo, minter: &Minter, provenance: Provenance) -> bool {
        let named = info.display_name == self.display_name;
        let root = info.all_policies().any(|policy| policy == ROOT_POLICY);
        let from_the_store = info.path.as_ref().is_none_or(|path| path.starts_with(TOKEN_STORE));
        named && !root && from_the_store && (provenance == Provenance::Remembered || minter.is_noted_on(info))
    }
}

impl Minter {
    /// Whether the notes on a token are ours, or say nothing. A machine is known by its id: its name may change, and
    /// another machine may bear it.
    fn is_noted_on(&self, info: &TokenInfo) -> bool {
        let here = match (&info.meta_machine, &self.machine) {
            (Some(noted), Some(machine)) => noted == machine,
            (Some(_), None) => false,
            (None, _) => info.meta_host.as_ref().is_none_or(|noted| *noted == self.host),
        };
        here && info.meta_user.as_ref().is_none_or(|noted| *noted == self.user)
    }
}

/// How many seconds a renewal can be expected to give a token, judged by its lookup and `now` (seconds since 1970, this
/// machine's clock). A server may cap them, which no lookup tells.
pub(crate) fn expected_lease(info: &TokenInfo, now: u64) -> u64 {
    // Without a period a renewal can reach the server's maximum at most; what is left now is the only figure at hand.
    // One of a role is brought back to what it was made with.
    let by_role = info.creation_ttl.filter(|_| info.is_by_role());
    let unbounded = info.period.filter(|&period| period > 0).or(by_role).unwrap_or(info.ttl);
    let end = info
        .creation_time
        .map_or(info.ttl, |created| created.saturating_add(info.explicit_max_ttl).saturating_sub(now));
    if info.explicit_max_ttl > 0 { unbounded.min(end) } else { unbounded }
}

/// Whether a renewal brings a token of a role back to the length it was made with. Seconds are rounded on the way.
fn is_brought_back(info: &TokenInfo, lease: u64) -> bool {
    info.is_by_role() && info.creation_ttl.is_some_and(|made_with| made_with > 0 && lease + 1 >= made_with)
}

/// The display name Vault stores for a requested one: `token-` in front, every character outside
/// `[a-zA-Z0-9-]` turned into `-`, then one `-` cut off the end.
///
/// Source: OpenBao and Vault, `token_store.go`, `displayNameSanitize` and "Attach the given display name".
pub(crate) fn stored_name(requested: &str) -> String {
    let mut stored = String::from("token");
    if !requested.is_empty() {
        stored.push('-');
    }
    stored.extend(requested.chars().map(|c| if c.is_ascii_alphanumeric() || c == '-' { c } else { '-' }));
    if stored.ends_with('-') {
        stored.pop();
    }
    stored
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const DAY: u64 = 86_400;

    fn wizard() -> Identity {
        Identity {
            requested_name: "devvm-wizard".to_owned(),
            display_name: "token-devvm-wizard".to_owned(),
            required_policy: "vault-admin".to_owned(),
            policies: vec!["vault-admin".to_owned(), "sops-admin".to_owned()],
            period: 32 * DAY,
        }
    }

    fn accessor(text: &str) -> Accessor {
        Accessor::new(text.to_owned()).unwrap()
    }

    /// This machine and this user.
    fn here() -> Minter {
        Minter { machine: Some("m1".to_owned()), host: "devvm".to_owned(), user: "wizard".to_owned() }
    }

    fn strings(list: &[&str]) -> Vec<String> {
        list.iter().map(ToString::to_string).collect()
    }

    fn ours() -> TokenInfo {
        TokenInfo {
            accessor: Some(accessor("one")),
            display_name: "token-devvm-wizard".to_owned(),
            policies: strings(&["default", "sops-admin", "vault-admin"]),
            ttl: 32 * DAY,
            period: Some(32 * DAY),
            renewable: Some(true),
            orphan: Some(true),
            kind: Some("service".to_owned()),
            path: Some("auth/token/create".to_owned()),
            ..TokenInfo::default()
        }
    }

    fn judged(name: &str, policies: &[&str], identity_policies: &[&str]) -> Verdict {
        wizard().judge(&TokenInfo {
            display_name: name.to_owned(),
            policies: strings(policies),
            identity_policies: strings(identity_policies),
            ..ours()
        })
    }

    #[test]
    fn a_token_with_our_name_and_the_required_policy_is_ours() {
        assert_eq!(wizard().judge(&ours()), Verdict::Ours);
    }

    #[test]
    fn the_required_policy_may_stand_anywhere_in_the_list() {
        for policies in [
            &["vault-admin"][..],
            &["vault-admin", "default"],
            &["default", "vault-admin"],
            &["a", "vault-admin", "z"],
        ] {
            assert_eq!(judged("token-devvm-wizard", policies, &[]), Verdict::Ours, "{policies:?}");
        }
    }

    #[test]
    fn our_name_without_the_policy_is_foreign() {
        assert_eq!(judged("token-devvm-wizard", &["default", "sops-admin"], &[]), Verdict::Foreign);
        assert_eq!(judged("token-devvm-wizard", &[], &[]), Verdict::Foreign);
    }

    #[test]
    fn a_policy_that_merely_contains_the_required_one_does_not_count() {
        for near in ["vault-admin-ro", "my-vault-admin", "vault-admi", "Vault-Admin", "vault-admin "] {
            assert_eq!(judged("token-devvm-wizard", &[near], &[near]), Verdict::Foreign, "{near:?}");
        }
    }

    #[test]
    fn our_policies_under_another_name_are_foreign() {
        for name in [
            "oidc-vbarzin",
            "token-devvm-wizard-2",
            "devvm-wizard",
            "token-devvm-emo",
            "TOKEN-DEVVM-WIZARD",
            "",
        ] {
            assert_eq!(judged(name, &["vault-admin", "sops-admin"], &[]), Verdict::Foreign, "{name:?}");
        }
    }

    #[test]
    fn identity_policies_count_like_token_policies() {
        assert_eq!(judged("token-devvm-wizard", &["default"], &["vault-admin"]), Verdict::Ours);
        assert_eq!(judged("token-devvm-wizard", &[], &["x", "vault-admin"]), Verdict::Ours);
        assert_eq!(judged("oidc-vbarzin", &["default"], &["vault-admin"]), Verdict::Foreign);
    }

    #[test]
    fn a_renewal_to_the_full_period_lasts() {
        assert_eq!(wizard().vitality(&ours(), 32 * DAY), Vitality::Lasting);
    }

    #[test]
    fn a_cap_of_the_server_is_outlived_by_nightly_runs() {
        assert_eq!(wizard().vitality(&ours(), 7 * DAY), Vitality::Lasting);
    }

    #[test]
    fn a_hard_end_or_a_missing_period_is_the_beginning_of_the_end() {
        let capped = TokenInfo { explicit_max_ttl: 40 * DAY, ..ours() };
        assert_eq!(wizard().vitality(&capped, 7 * DAY), Vitality::Dying(Dying::ExplicitMaximum));
        assert_eq!(wizard().vitality(&capped, 32 * DAY), Vitality::Lasting);
        for period in [None, Some(0)] {
            let plain = TokenInfo { period, ..ours() };
            assert_eq!(wizard().vitality(&plain, 7 * DAY), Vitality::Dying(Dying::NoPeriod));
            assert_eq!(wizard().vitality(&plain, 32 * DAY), Vitality::Lasting);
        }
    }

    #[test]
    fn the_forecast_of_a_dry_run_agrees_with_what_a_renewal_would_do() {
        let now = 1_800_000_000;
        let tell = |info: TokenInfo| wizard().forecast(&info, now);
        assert_eq!(tell(TokenInfo { ttl: 3, ..ours() }), Vitality::Lasting);
        assert_eq!(
            tell(TokenInfo { renewable: Some(false), ..ours() }),
            Vitality::Dying(Dying::NotRenewable)
        );
        assert_eq!(tell(TokenInfo { num_uses: 9, ..ours() }), Vitality::Dying(Dying::UseLimited));
        assert_eq!(
            tell(TokenInfo { explicit_max_ttl: 40 * DAY, creation_time: Some(now - 33 * DAY), ..ours() }),
            Vitality::Dying(Dying::ExplicitMaximum)
        );
        assert_eq!(
            tell(TokenInfo { period: Some(0), ttl: 32 * DAY, ..ours() }),
            Vitality::Lasting,
            "nothing says yet that a renewal would not reach a period"
        );
        let far = TokenInfo { explicit_max_ttl: 400 * DAY, creation_time: Some(now - 33 * DAY), ..ours() };
        assert_eq!(tell(TokenInfo { ttl: 7 * DAY, ..far }), Vitality::Lasting);
        assert_eq!(
            tell(TokenInfo { period: None, ttl: 7 * DAY, ..ours() }),
            Vitality::Dying(Dying::NoPeriod)
        );
    }

    #[test]
    fn a_minted_token_is_accepted_when_it_is_what_was_ordered() {
        assert_eq!(wizard().check_minted(&ours(), None), Ok(()));
    }

    #[test]
    fn what_the_server_leaves_out_contradicts_nothing() {
        let terse =
            TokenInfo { period: None, orphan: None, kind: None, renewable: None, path: None, ..ours() };
        assert_eq!(wizard().check_minted(&terse, None), Ok(()));
    }

    #[test]
    fn a_minted_token_that_contradicts_the_order_is_refused() {
        let table = [
            (
                TokenInfo { display_name: "token".to_owned(), ..ours() },
                Contradiction::Name("token".to_owned()),
            ),
            (TokenInfo { policies: strings(&["default"]), ..ours() }, Contradiction::Policy),
            (
                TokenInfo { policies: strings(&["vault-admin"]), ..ours() },
                Contradiction::MissingPolicy("sops-admin".to_owned()),
            ),
            (
                TokenInfo { policies: strings(&["root", "sops-admin", "vault-admin"]), ..ours() },
                Contradiction::ExtraPolicy("root".to_owned()),
            ),
            (
                TokenInfo { policies: strings(&["sops-admin", "vault-admin", "vault-root"]), ..ours() },
                Contradiction::ExtraPolicy("vault-root".to_owned()),
            ),
            (
                TokenInfo { identity_policies: strings(&["anything", "root"]), ..ours() },
                Contradiction::ExtraPolicy("root".to_owned()),
            ),
            (TokenInfo { renewable: Some(false), ..ours() }, Contradiction::NotRenewable),
            (TokenInfo { num_uses: 3, ..ours() }, Contradiction::UseLimited(3)),
            (TokenInfo { num_uses: -1, ..ours() }, Contradiction::UseLimited(-1)),
            (TokenInfo { explicit_max_ttl: 60, ..ours() }, Contradiction::ExplicitMaximum(60)),
            (
                TokenInfo { path: Some("auth/oidc/oidc/callback".to_owned()), ..ours() },
                Contradiction::Path("auth/oidc/oidc/callback".to_owned()),
            ),
            (
                TokenInfo { path: Some("auth/token/create/a-role".to_owned()), ..ours() },
                Contradiction::Path("auth/token/create/a-role".to_owned()),
            ),
            (
                TokenInfo { namespace: Some("team1".to_owned()), ..ours() },
                Contradiction::Namespace("team1".to_owned()),
            ),
            (TokenInfo { orphan: Some(false), ..ours() }, Contradiction::NotOrphan),
            (TokenInfo { period: Some(60), ..ours() }, Contradiction::Period(60)),
            (TokenInfo { period: Some(0), ..ours() }, Contradiction::Period(0)),
            (TokenInfo { kind: Some("batch".to_owned()), ..ours() }, Contradiction::Type("batch".to_owned())),
            (TokenInfo { accessor: None, ..ours() }, Contradiction::NoAccessor),
        ];
        for (info, expected) in table {
            assert_eq!(wizard().check_minted(&info, None), Err(expected));
        }
    }

    fn staleness(info: impl std::borrow::Borrow<TokenInfo>) -> Staleness {
        wizard().staleness(info.borrow(), &accessor("kept"), &here(), Provenance::Unknown)
    }

    #[test]
    fn an_older_token_of_ours_is_stale() {
        assert_eq!(staleness(ours()), Staleness::Stale);
    }

    #[test]
    fn policies_do_not_save_a_leftover() {
        assert_eq!(staleness(TokenInfo { policies: Vec::new(), ..ours() }), Staleness::Stale);
        assert_eq!(
            staleness(TokenInfo { policies: strings(&["retired-policy"]), ..ours() }),
            Staleness::Stale
        );
    }

    #[test]
    fn the_token_we_keep_is_spared() {
        assert_eq!(staleness(TokenInfo { accessor: Some(accessor("kept")), ..ours() }), Staleness::Spared);
    }

    #[test]
    fn a_token_without_an_accessor_is_spared() {
        assert_eq!(staleness(TokenInfo { accessor: None, ..ours() }), Staleness::Spared);
    }

    #[test]
    fn tokens_of_other_names_are_spared() {
        for name in ["oidc-vbarzin", "token-devvm-emo", "token-devvm-wizard-2", "token", "root", ""] {
            assert_eq!(
                staleness(TokenInfo { display_name: name.to_owned(), ..ours() }),
                Staleness::Spared,
                "{name:?}"
            );
        }
    }

    #[test]
    fn a_root_token_is_spared_whatever_its_name() {
        for info in [
            TokenInfo { policies: strings(&["root"]), ..ours() },
            TokenInfo { identity_policies: strings(&["root"]), ..ours() },
        ] {
            assert_eq!(staleness(info), Staleness::Spared);
        }
    }

    #[test]
    fn a_login_token_that_happens_to_bear_our_name_is_spared() {
        for path in ["auth/token-devvm/login/wizard", "auth/oidc/oidc/callback", ""] {
            assert_eq!(
                staleness(TokenInfo { path: Some(path.to_owned()), ..ours() }),
                Staleness::Spared,
                "{path:?}"
            );
        }
        for path in
            [None, Some("auth/token/create-orphan".to_owned()), Some("auth/token/create/r1".to_owned())]
        {
            assert_eq!(staleness(TokenInfo { path, ..ours() }), Staleness::Stale);
        }
    }

    #[test]
    fn a_token_of_another_machine_or_user_is_spared() {
        let noted = |machine: Option<&str>, host: Option<&str>, user: Option<&str>| TokenInfo {
            meta_machine: machine.map(str::to_owned),
            meta_host: host.map(str::to_owned),
            meta_user: user.map(str::to_owned),
            ..ours()
        };
        for (machine, host, user, expected) in [
            (None, None, None, Staleness::Stale),
            // By the name of the machine, where that is all there is; and by the whole of it.
            (None, Some("devvm"), Some("wizard"), Staleness::Stale),
            (None, Some("laptop"), Some("wizard"), Staleness::Spared),
            (None, Some("devvm2"), Some("wizard"), Staleness::Spared),
            (None, Some("dev"), None, Staleness::Spared),
            (None, Some(""), None, Staleness::Spared),
            // By its id, whatever its name was then or is now.
            (Some("m1"), Some("an-older-name"), Some("wizard"), Staleness::Stale),
            (Some("m2"), Some("devvm"), Some("wizard"), Staleness::Spared),
            (Some("m1"), Some("devvm"), Some("emo"), Staleness::Spared),
            (None, Some("devvm"), Some("wizard2"), Staleness::Spared),
        ] {
            assert_eq!(staleness(noted(machine, host, user)), expected, "{machine:?} {host:?} {user:?}");
        }
        let without_id = Minter { machine: None, ..here() };
        let judged =
            |info: &TokenInfo| wizard().staleness(info, &accessor("kept"), &without_id, Provenance::Unknown);
        assert_eq!(judged(&noted(None, Some("devvm"), None)), Staleness::Stale);
        assert_eq!(judged(&noted(Some("m1"), Some("devvm"), None)), Staleness::Spared);
    }

    #[test]
    fn what_this_machine_remembers_is_its_own_whatever_the_notes_say() {
        let remembered =
            |info: TokenInfo| wizard().staleness(&info, &accessor("kept"), &here(), Provenance::Remembered);
        let elsewhere =
            TokenInfo { meta_machine: Some("m2".to_owned()), meta_host: Some("laptop".to_owned()), ..ours() };
        assert_eq!(staleness(&elsewhere), Staleness::Spared);
        assert_eq!(remembered(elsewhere), Staleness::Stale);
        assert_eq!(remembered(TokenInfo { policies: strings(&["root"]), ..ours() }), Staleness::Spared);
        assert_eq!(remembered(TokenInfo { accessor: Some(accessor("kept")), ..ours() }), Staleness::Spared);
    }

    #[test]
    fn a_token_of_a_role_is_periodic_as_long_as_renewals_bring_it_back() {
        let of_role = |made_with| TokenInfo {
            period: None,
            creation_ttl: Some(made_with),
            ttl: made_with / 2,
            role: Some("renewers".to_owned()),
            path: Some("auth/token/create/renewers".to_owned()),
            ..ours()
        };
        for days in [30, 32] {
            assert_eq!(wizard().vitality(&of_role(days * DAY), days * DAY), Vitality::Lasting);
            assert_eq!(wizard().forecast(&of_role(days * DAY), 1_800_000_000), Vitality::Lasting);
        }
        assert_eq!(wizard().vitality(&of_role(30 * DAY), 30 * DAY - 1), Vitality::Lasting);
        assert_eq!(wizard().vitality(&of_role(30 * DAY), 29 * DAY), Vitality::Dying(Dying::NoPeriod));
        let by_nobody =
            TokenInfo { role: None, path: Some("auth/token/create".to_owned()), ..of_role(30 * DAY) };
        assert_eq!(wizard().vitality(&by_nobody, 30 * DAY), Vitality::Dying(Dying::NoPeriod));
    }

    #[test]
    fn whatever_a_renewal_gives_a_token_that_is_no_orphan_is_dying() {
        let child = TokenInfo { orphan: Some(false), ..ours() };
        assert_eq!(wizard().vitality(&child, 32 * DAY), Vitality::Dying(Dying::NotOrphan));
        assert_eq!(wizard().forecast(&child, 1_800_000_000), Vitality::Dying(Dying::NotOrphan));
        assert_eq!(wizard().vitality(&TokenInfo { orphan: None, ..ours() }, 32 * DAY), Vitality::Lasting);
    }

    #[test]
    fn names_are_stored_as_the_servers_store_them() {
        for (sent, stored) in [
            ("devvm-wizard", "token-devvm-wizard"),
            ("token-devvm-wizard", "token-token-devvm-wizard"),
            ("devvm wizard", "token-devvm-wizard"),
            ("devvm_wizard", "token-devvm-wizard"),
            ("devvm-wizard-", "token-devvm-wizard"),
            ("DevVM-Wizard", "token-DevVM-Wizard"),
            ("devvm-wizard--", "token-devvm-wizard-"),
            ("devvm-wizard!!", "token-devvm-wizard-"),
            ("a/b@c", "token-a-b-c"),
            ("é", "token-"),
            ("", "token"),
        ] {
            assert_eq!(stored_name(sent), stored, "{sent:?}");
        }
    }

    proptest! {
        #[test]
        fn whatever_is_kept_or_named_otherwise_is_never_stale(
            name in ".{0,30}",
            id in "[a-z]{1,4}",
            keep in "[a-z]{1,4}",
        ) {
            let info = TokenInfo { display_name: name.clone(), accessor: Accessor::new(id.clone()), ..ours() };
            if name != "token-devvm-wizard" || id == keep {
                let staleness = wizard().staleness(&info, &accessor(&keep), &here(), Provenance::Remembered);
                prop_assert_eq!(staleness, Staleness::Spared);
            }
        }

        #[test]
        fn stored_names_hold_only_what_servers_store(name in "\\PC{0,40}") {
            prop_assert!(stored_name(&name).chars().all(|c| c.is_ascii_alphanumeric() || c == '-'));
        }
    }
}
