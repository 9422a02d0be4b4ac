//! How the passes went, for `status` and the metrics. Nothing is decided by it.
//!
//! It is kept in the state file, see [`super::state`].

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize};

use crate::identity::Dying;
use crate::secret::without_tokens;
use crate::token::TokenInfo;

/// How much of a token's name is remembered, in characters: as much as a line shows.
const LONGEST_NAME: usize = 256;

/// How the passes went, for `status` and the metrics. Nothing is decided by it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct History {
    /// What was in the token file when a run could last tell.
    #[serde(rename = "seen", deserialize_with = "lenient")]
    pub(crate) contents: Contents,
    /// The last pass.
    #[serde(deserialize_with = "lenient")]
    pub(crate) last_run: Option<LastRun>,
    /// What it said of itself, as it stands in the log, which several token files may share.
    #[serde(deserialize_with = "lenient")]
    pub(crate) last_line: Option<String>,
    /// When a pass last renewed or healed: seconds since 1970, this machine's clock.
    #[serde(deserialize_with = "lenient")]
    pub(crate) last_success: Option<u64>,
    /// Whether the last pass left a token of ours that ends before the next run comes, as far as that was known.
    #[serde(deserialize_with = "lenient")]
    pub(crate) ends_before_next_run: bool,
    /// What all passes came to.
    #[serde(deserialize_with = "lenient")]
    pub(crate) counters: Counters,
}

impl History {
    /// Adds what `earlier` knows and this one does not, because it could not be saved. Who counted the same for some
    /// time and then apart may lose of two counts the lesser one; none is counted twice.
    pub(super) fn catch_up(&mut self, earlier: &Self) {
        self.counters.catch_up(earlier.counters);
        self.last_success = self.last_success.max(earlier.last_success);
        let at = |history: &Self| history.last_run.map(|run| run.at);
        if at(self) < at(earlier) {
            self.last_run = earlier.last_run;
            self.last_line.clone_from(&earlier.last_line);
            self.contents.clone_from(&earlier.contents);
            self.ends_before_next_run = earlier.ends_before_next_run;
        }
    }

    /// The same after a pass at `now` that failed before it could look.
    pub(crate) fn and_a_failure(&self, now: u64) -> Self {
        let mut history = self.clone();
        history.last_run = Some(LastRun { at: now, ending: Ending::Failed });
        history.last_line = None;
        history.counters.add(Counters { not_renewed: 1, ..Counters::default() });
        history
    }
}

/// What a run found in the token file. An outage finds nothing out: what was found before stays.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Contents {
    /// No run has ever been able to tell.
    #[default]
    #[serde(rename = "never")]
    Unknown,
    /// No living token.
    #[serde(rename = "nothing")]
    NoToken,
    /// This one.
    #[serde(untagged)]
    Held(HeldToken),
}

impl Contents {
    /// The living token that was there.
    pub(crate) fn held(&self) -> Option<&HeldToken> {
        match self {
            Self::Held(held) => Some(held),
            Self::Unknown | Self::NoToken => None,
        }
    }
}

/// The token in the token file, as a run found it. Times are seconds since 1970, this machine's clock.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct HeldToken {
    /// Its name.
    pub(crate) display_name: String,
    /// Whether it was ours.
    pub(crate) ours: bool,
    /// When it ends, unless it is renewed; none if never.
    pub(crate) ends_at: Option<u64>,
    /// What the renewal or the mint of that run granted, in seconds; none if there was neither.
    #[serde(default)]
    pub(crate) lease: Option<u64>,
    /// Why it will end, if it is ours and will.
    #[serde(default, deserialize_with = "lenient")]
    pub(crate) dying: Option<Dying>,
}

impl HeldToken {
    /// What a lookup at `now` says.
    pub(crate) fn new(info: &TokenInfo, ours: bool, now: u64) -> Self {
        let ends_at = info.ends().then(|| now.saturating_add(info.ttl));
        // A name has no limit, and a state file has.
        let display_name = without_tokens(&info.display_name).chars().take(LONGEST_NAME).collect();
        Self { display_name, ours, ends_at, lease: None, dying: None }
    }

    /// The same after a renewal or a mint at `now` that granted `lease` seconds.
    pub(crate) fn granted(self, lease: u64, now: u64) -> Self {
        Self { ends_at: Some(now.saturating_add(lease)), lease: Some(lease), ..self }
    }
}

/// A pass that is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LastRun {
    /// When: seconds since 1970, this machine's clock.
    pub(crate) at: u64,
    /// How.
    pub(crate) ending: Ending,
}

/// How a pass ended, in one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Ending {
    /// Our token was renewed.
    Renewed,
    /// The token file holds ours again.
    Healed,
    /// The token is foreign, and too weak to mint ours.
    Drift,
    /// Anything else.
    Failed,
}

impl Ending {
    /// Its stable name, as the state file has it.
    pub(crate) fn id(self) -> &'static str {
        match self {
            Self::Renewed => "renewed",
            Self::Healed => "healed",
            Self::Drift => "drift",
            Self::Failed => "failed",
        }
    }

    /// Whether the token file holds a living token of ours since.
    pub(crate) fn is_good(self) -> bool {
        match self {
            Self::Renewed | Self::Healed => true,
            Self::Drift | Self::Failed => false,
        }
    }
}

/// What passes came to since the state file was made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Counters {
    /// Our token was renewed.
    #[serde(deserialize_with = "lenient")]
    pub(crate) renewed: u64,
    /// The pass failed before anything had to be healed.
    #[serde(deserialize_with = "lenient")]
    pub(crate) not_renewed: u64,
    /// Our token turned out to be dying, whatever was made of it then.
    #[serde(deserialize_with = "lenient")]
    pub(crate) not_renewable: u64,
    /// A token was minted and stored.
    #[serde(deserialize_with = "lenient")]
    pub(crate) healed: u64,
    /// Vault refused the mint.
    #[serde(deserialize_with = "lenient")]
    pub(crate) heal_denied: u64,
    /// The heal failed for another reason.
    #[serde(deserialize_with = "lenient")]
    pub(crate) heal_failed: u64,
    /// Stale tokens revoked, one by one.
    #[serde(deserialize_with = "lenient")]
    pub(crate) swept: u64,
}

impl Counters {
    /// Adds what a pass came to.
    pub(super) fn add(&mut self, gains: Self) {
        self.with(gains, u64::saturating_add);
    }

    /// Takes the higher one of each.
    fn catch_up(&mut self, earlier: Self) {
        self.with(earlier, u64::max);
    }

    fn with(&mut self, others: Self, of_both: fn(u64, u64) -> u64) {
        let Self { renewed, not_renewed, not_renewable, healed, heal_denied, heal_failed, swept } = others;
        for (counter, other) in [
            (&mut self.renewed, renewed),
            (&mut self.not_renewed, not_renewed),
            (&mut self.not_renewable, not_renewable),
            (&mut self.healed, healed),
            (&mut self.heal_denied, heal_denied),
            (&mut self.heal_failed, heal_failed),
            (&mut self.swept, swept),
        ] {
            *counter = of_both(*counter, other);
        }
    }
}

/// A part that another version, or a hand, wrote in a way that is not understood is lost, and nothing else is.
pub(super) fn lenient<'de, D: Deserializer<'de>, T: Default + DeserializeOwned>(
    deserializer: D,
) -> Result<T, D::Error> {
    Ok(T::deserialize(serde_json::Value::deserialize(deserializer)?).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_seen_ends_when_the_lookup_or_the_renewal_says() {
        let info = TokenInfo { display_name: "token-x".to_owned(), ttl: 50, ..TokenInfo::default() };
        let held = HeldToken::new(&info, true, 1_000);
        assert_eq!((held.ends_at, held.lease), (Some(1_050), None));
        let renewed = held.granted(600, 1_001);
        assert_eq!((renewed.ends_at, renewed.lease), (Some(1_601), Some(600)));
        assert_eq!(HeldToken::new(&TokenInfo::default(), false, 1_000).ends_at, None);
    }
}
