//! What is kept from run to run to tell when the next one comes.

use std::time::Duration;

use crate::facts::sequel::{Prospect, Sequel};
use crate::pass::Finished;
use crate::secret::Fingerprint;
use crate::service::{Deadline, FLOOR, Grant, Moment, after_failure, after_success};

/// What is kept.
#[derive(Debug, Default)]
pub(super) struct Plan {
    grant: Option<Granted>,
    /// Failures in a row.
    failures: u32,
}

/// What a renewal or a mint granted. What a lookup says of the time left never counts: a standby may serve it frozen
/// for days (github.com/openbao/openbao/issues/3505).
#[derive(Debug, Clone, Copy)]
struct Granted {
    /// To which token.
    token: Option<Fingerprint>,
    length: Duration,
    until: Deadline,
}

impl Plan {
    /// What is kept after the runs of another process, the last of which left the token `length`, of which there is
    /// `left`.
    pub(super) fn granted_earlier(token: Fingerprint, length: Duration, left: Duration) -> Self {
        let grant = Granted { token: Some(token), length, until: Moment::now().after(left) };
        Self { grant: Some(grant), failures: 0 }
    }

    /// Another token is in the file than at the end of the last run. What was granted to none but that one is over, and
    /// so is its bad luck.
    pub(super) fn finds(&mut self, token: Option<Fingerprint>) {
        self.grant = self.grant.filter(|grant| grant.token == token);
        self.failures = 0;
    }

    /// What comes after a run that `began` then and left a token with so much `left`, as far as that is known, given
    /// the longest wait that was asked for.
    pub(super) fn after(
        &mut self,
        finished: &Finished,
        began: Moment,
        left: Option<Duration>,
        longest: Duration,
    ) -> Sequel {
        self.remember(finished, began);
        let dice = fastrand::f64();
        let prospect = Prospect::of(&finished.outcome);
        if let Some(length) = prospect.parked(longest, left).map(|length| length.max(FLOOR)) {
            self.failures = 0;
            return Sequel::Parked(length);
        }
        let granted = finished.lease().map(Duration::from_secs);
        match (prospect, granted) {
            (Prospect::Granted | Prospect::Ebbing, Some(length)) => {
                self.failures = 0;
                Sequel::Again(after_success(length, longest, dice))
            }
            (
                Prospect::Granted | Prospect::Ebbing | Prospect::Failed | Prospect::Hopeless | Prospect::Gone,
                _,
            ) => {
                self.failures = self.failures.saturating_add(1);
                let grant =
                    self.grant.map(|Granted { length, until, .. }| Grant { length, left: until.left() });
                Sequel::Again(after_failure(grant, longest, self.failures, dice))
            }
        }
    }

    /// How long the token in the file was granted the last time.
    pub(super) fn granted(&self) -> Option<Duration> {
        self.grant.map(|grant| grant.length)
    }

    /// When that is over.
    pub(super) fn deadline(&self) -> Option<Deadline> {
        self.grant.map(|grant| grant.until)
    }

    fn remember(&mut self, finished: &Finished, began: Moment) {
        let ours = finished.held.as_ref().is_none_or(|held| held.ours);
        if let Some(lease) = finished.lease() {
            let length = Duration::from_secs(lease);
            self.grant = Some(Granted { token: finished.token, length, until: began.after(length) });
        } else if !ours || Prospect::of(&finished.outcome) == Prospect::Gone || !self.is_about(finished.token)
        {
            self.grant = None;
        }
    }

    /// Whether what was granted was granted to this token. Who could not read the file knows no better than before.
    fn is_about(&self, token: Option<Fingerprint>) -> bool {
        token.is_none() || self.grant.is_some_and(|grant| grant.token == token)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::failure::Failure;
    use crate::facts::outcome::Outcome;
    use crate::identity::Dying;
    use crate::local::history::HeldToken;
    use crate::secret::Token;
    use crate::token::TokenInfo;

    const DAY: Duration = Duration::from_secs(86_400);

    /// What a run comes to that finds this token, and is granted so much for it.
    fn finished(token: &str, ours: bool, lease: Option<u64>, outcome: Outcome) -> Finished {
        let held = HeldToken::new(&TokenInfo::default(), ours, 1_000);
        let held = lease.map_or(held.clone(), |lease| held.granted(lease, 1_000));
        let token = Token::parse(token.as_bytes()).ok().map(|token| token.fingerprint());
        Finished { held: Some(held), token, ..Finished::from(Failure::LockBusy).with(outcome) }
    }

    impl Finished {
        fn with(self, outcome: Outcome) -> Self {
            Self { outcome, ..self }
        }
    }

    fn renewed(token: &str, lease: u64) -> Finished {
        let outcome = Outcome::Renewed { display_name: String::new(), ttl: lease, resumed: None };
        finished(token, true, Some(lease), outcome)
    }

    fn failed(token: &str) -> Finished {
        finished(token, true, None, Outcome::Failed(Failure::FileKeepsChanging))
    }

    fn dying(dying: Dying, lease: Option<u64>) -> Finished {
        let (display_name, seconds_left) = (String::new(), 30);
        let failure = Failure::Dying { display_name, dying, seconds_left, refusal: None };
        finished("s.one-0123456789", true, lease, Outcome::Failed(failure))
    }

    fn drift() -> Finished {
        let outcome = Outcome::Drift { display_name: String::new(), refusal: None };
        finished("s.two-0123456789", false, None, outcome)
    }

    fn within(sequel: Sequel, longest: u64) {
        let Sequel::Again(length) = sequel else { panic!("{sequel:?}") };
        let longest = Duration::from_secs(longest);
        assert!(length <= longest && length >= longest.mul_f64(0.89), "{length:?}");
    }

    #[test]
    fn what_was_granted_counts_until_another_token_is_in_the_file() {
        let mut plan = Plan::default();
        let now = Moment::now();
        within(plan.after(&failed("s.one-0123456789"), now, None, DAY), 5);
        assert_eq!(plan.deadline(), None, "nothing was granted yet");
        within(plan.after(&renewed("s.one-0123456789", 600), now, None, DAY), 300);
        within(plan.after(&failed("s.one-0123456789"), now, None, DAY), 75);
        assert_eq!(plan.granted(), Some(Duration::from_secs(600)));
        let nowhere = Finished { token: None, held: None, ..failed("s.one-0123456789") };
        within(plan.after(&nowhere, now, None, DAY), 75);
        assert!(plan.deadline().is_some(), "a file that cannot be read says nothing");
        within(plan.after(&failed("s.two-0123456789"), now, None, DAY), 20);
        assert_eq!(plan.deadline(), None, "what was granted was granted to another one");
    }

    #[test]
    fn who_cannot_be_helped_is_left_alone_and_who_can_be_renewed_is_renewed() {
        let mut plan = Plan::default();
        let now = Moment::now();
        plan.after(&renewed("s.one-0123456789", 600), now, None, DAY);
        for hopeless in [Dying::NotRenewable, Dying::NotRenewed, Dying::UseLimited] {
            assert_eq!(plan.after(&dying(hopeless, None), now, None, DAY), Sequel::Parked(DAY));
            assert!(plan.deadline().is_some(), "it lives on for as long as it was granted");
        }
        for ebbing in [Dying::ExplicitMaximum, Dying::NoPeriod, Dying::NotOrphan] {
            within(plan.after(&dying(ebbing, Some(60)), now, None, DAY), 30);
        }
        assert_eq!(plan.after(&drift(), now, None, DAY), Sequel::Parked(DAY));
        let brief = Some(Duration::from_secs(30));
        let to_its_end = Sequel::Parked(Duration::from_secs(31));
        assert_eq!(plan.after(&drift(), now, brief, DAY), to_its_end, "that it ends has to be told");
        assert_eq!(plan.deadline(), None, "ours is not in the file any more");
        plan.after(&renewed("s.one-0123456789", 600), now, None, DAY);
        let gone = finished("s.one-0123456789", true, None, Outcome::Failed(Failure::Ended));
        assert_eq!(plan.after(&gone, now, None, DAY), Sequel::Parked(Duration::from_secs(300)));
        assert_eq!(plan.deadline(), None);
        assert_eq!(
            plan.after(&gone, now, None, Duration::from_secs(60)),
            Sequel::Parked(Duration::from_secs(60))
        );
    }
}
