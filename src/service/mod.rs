//! The loop of the verbs that stay. It knows nothing of tokens: a [`Duty`] does the work, a [`Door`] says what is to be
//! seen from outside.
//!
//! Two threads. The *worker* does a turn of the duty at a time, once for each order. The *main* thread is the
//! doorkeeper: one `poll` of a second at most over signals, worker, listener and callers. It never waits for the
//! worker, and because it is the main one it ends the process by returning.
//!
//! 1. Turning: the worker is at work. What happens meanwhile is remembered, and ordered when it is done.
//! 2. Waiting: until the deadline of the next turn, until somebody asks for one, or until the door says that what is
//!    watched has changed.
//! 3. Ending: told to stop, or at an end by itself. The worker gets a moment, and no more.

mod beat;
mod deadline;
pub(crate) mod listener;
mod readiness;
mod signals;

use std::collections::VecDeque;
use std::io::{self, Read as _, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::stop::Stop;
pub(crate) use beat::{FLOOR, Grant, after_failure, after_success, patience};
pub(crate) use deadline::{Deadline, Moment};
use listener::{Listener, Pages};
use readiness::Readiness;
use signals::Heard;
pub(crate) use signals::Signals;

/// How often what is watched is looked at, and the longest the doorkeeper sleeps.
const LOOK: Duration = Duration::from_secs(1);

/// A change starts no turn sooner after the last one began, and is still noticed within five seconds.
const AFTER_A_CHANGE: Duration = Duration::from_secs(3);

/// So many turns in vain in a minute, one after the other, and a change has to wait: whoever writes again and again
/// what is of no use causes no hot loop.
const MOST_IN_A_MINUTE: usize = 11;

const MINUTE: Duration = Duration::from_secs(60);

/// How long a turn may take before the doorkeeper no longer vouches for the worker: longer than the longest sweep and
/// the longest wait for a lock together.
const LONGEST_TURN: Duration = Duration::from_secs(30 * 60);

/// How long the worker may take to end when it is told to stop. Everything it waits for gives an answer that is on its
/// way 80 ms (`vault/socket.rs`); then there is a line to write.
const LAST_MOMENT: Duration = Duration::from_millis(140);

/// Why a turn is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Cause {
    /// Its time has come.
    Due,
    /// What is watched looks different.
    Changed,
    /// Somebody asked for it.
    Asked,
    /// It is the first.
    Start,
}

/// When the next turn comes, from the beginning of this one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Next {
    /// After so long.
    In(Duration),
    /// As it was planned before: there was nothing to do.
    AsPlanned,
    /// Never: the process ends with this exit status.
    Over(u8),
}

/// What a turn came to.
#[derive(Debug)]
pub(crate) struct Turn {
    /// When the next one comes.
    pub(crate) next: Next,
    /// How it stands, in one line for whoever asks the service manager; none if that is as before.
    pub(crate) status: Option<String>,
    /// Whether whoever waits for the service to be ready has waited long enough.
    pub(crate) is_ready: bool,
    /// Whether it was of use. Those in vain are limited in number.
    is_good: bool,
}

impl Turn {
    /// One that was of use.
    pub(crate) fn good(next: Next, status: Option<String>, is_ready: bool) -> Self {
        Self { next, status, is_ready, is_good: true }
    }

    /// One in vain, though what comes next is as planned.
    pub(crate) fn in_vain(self) -> Self {
        Self { is_good: false, ..self }
    }
}

/// The work, on the worker's side.
pub(crate) trait Duty: Send + 'static {
    /// Does one turn of it. Everything in it that waits asks `stop`.
    fn turn(&mut self, cause: Cause, stop: &Stop) -> Turn;
}

/// What is outside, on the doorkeeper's side. Nothing here may wait.
pub(crate) trait Door: Pages {
    /// Whether what is watched looks different than the last time. Asked once a second.
    fn has_changed(&mut self) -> bool;
}

/// How it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// A signal said so.
    Stopped,
    /// The duty is at an end, with this exit status.
    Over(u8),
    /// The worker broke down.
    Broken,
}

/// Stays until somebody or something ends it. A turn that somebody asks for comes no sooner than `asked_after` the last
/// one. `stop` is raised when a signal says that it is enough; what was heard before this call counts.
pub(crate) fn stay(
    duty: impl Duty,
    door: &mut impl Door,
    listener: Option<Listener>,
    signals: Signals,
    asked_after: Duration,
    stop: &Stop,
) -> io::Result<End> {
    let mut keeper = Doorkeeper::new(signals, Worker::start(duty, stop.clone())?, listener, asked_after);
    loop {
        if let Some(end) = keeper.attend(door, stop) {
            readiness::stopping();
            keeper.worker.last_moment();
            return Ok(end);
        }
        keeper.sleep()?;
    }
}

/// The thread that works, and the ways to it and from it.
struct Worker {
    orders: Sender<Cause>,
    turns: Receiver<Turn>,
    /// A byte for each turn that is over; its end, when the worker has ended.
    pipe: UnixStream,
}

impl Worker {
    fn start(mut duty: impl Duty, stop: Stop) -> io::Result<Self> {
        let (orders, ordered) = mpsc::channel();
        let (done, turns) = mpsc::channel();
        let (pipe, mut bell) = UnixStream::pair()?;
        pipe.set_nonblocking(true)?;
        thread::Builder::new().name("worker".to_owned()).spawn(move || {
            for cause in ordered {
                let turn = duty.turn(cause, &stop);
                // Whoever hears neither has ended.
                if done.send(turn).is_err() || bell.write_all(&[0]).is_err() {
                    break;
                }
            }
            // What the duty has begun beside its turns ends with it, and only then has the worker ended.
            drop(duty);
            drop(done);
        })?;
        Ok(Self { orders, turns, pipe })
    }

    /// The turn that is over, if one is; an error when the worker has ended.
    fn turn(&mut self) -> Result<Option<Turn>, Ended> {
        let mut bytes = [0; 16];
        let has_ended = loop {
            match self.pipe.read(&mut bytes) {
                Ok(0) => break true,
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => break false,
            }
        };
        match self.turns.try_recv() {
            Ok(turn) => Ok(Some(turn)),
            Err(_) if has_ended => Err(Ended),
            Err(_) => Ok(None),
        }
    }

    /// Waits until it has ended, and not for long: whatever becomes of it, the process ends now.
    fn last_moment(self) {
        let start = Instant::now();
        // With no more orders to come, the thread ends after its turn.
        drop(self.orders);
        while self.turns.recv_timeout(LAST_MOMENT.saturating_sub(start.elapsed())).is_ok() {}
    }
}

/// Whether a worker can be vouched for that has been at its turn for so long, or at none.
fn is_sane(turning_for: Option<Duration>) -> bool {
    turning_for.is_none_or(|length| length < LONGEST_TURN)
}

/// The worker has ended, which it never should.
struct Ended;

#[derive(Debug, Clone, Copy)]
enum State {
    /// The worker is at work since the moment `began`; what was planned before is `due`.
    Turning { began: Moment, due: Deadline },
    /// Nothing is to be done before it is `due`.
    Waiting { due: Deadline },
}

struct Doorkeeper {
    signals: Signals,
    worker: Worker,
    readiness: Readiness,
    listener: Option<Listener>,
    asked_after: Duration,
    state: State,
    /// When the last turns began, by the clock that nobody sets: as many of them as a minute may have, since the last
    /// one that was of use.
    begun: VecDeque<Instant>,
    /// A turn that is to be made as soon as it may.
    wanted: Option<Cause>,
    /// When what is watched was last looked at.
    looked: Instant,
}

impl Doorkeeper {
    /// Before the first turn, which is due.
    fn new(signals: Signals, worker: Worker, listener: Option<Listener>, asked_after: Duration) -> Self {
        Self {
            signals,
            worker,
            readiness: Readiness::of_this_process(),
            listener,
            asked_after,
            state: State::Waiting { due: Moment::now().after(Duration::ZERO) },
            begun: VecDeque::with_capacity(MOST_IN_A_MINUTE),
            wanted: Some(Cause::Start),
            looked: Instant::now(),
        }
    }

    /// Does everything that can be done without waiting.
    fn attend(&mut self, door: &mut impl Door, stop: &Stop) -> Option<End> {
        match self.signals.heard() {
            Some(Heard::Stop(signal)) => {
                stop.raise(signal);
                return Some(End::Stopped);
            }
            Some(Heard::Now) => self.want(Cause::Asked),
            None => {}
        }
        if let State::Turning { began, due } = self.state {
            match self.worker.turn() {
                Ok(None) => {}
                Ok(Some(turn)) => {
                    if let Some(status) = turn.status {
                        self.readiness.turned(status, turn.is_ready);
                    }
                    self.state = match turn.next {
                        Next::In(length) => {
                            if turn.is_good {
                                // Only those in vain add up; when the last one began counts for any.
                                self.begun.drain(..self.begun.len().saturating_sub(1));
                            }
                            State::Waiting { due: began.after(length) }
                        }
                        Next::AsPlanned => {
                            // It was none.
                            self.begun.pop_back();
                            State::Waiting { due }
                        }
                        Next::Over(status) => return Some(End::Over(status)),
                    };
                }
                Err(Ended) => return Some(End::Broken),
            }
        }
        if self.looked.elapsed() >= LOOK {
            self.looked = Instant::now();
            if door.has_changed() {
                self.want(Cause::Changed);
            }
        }
        if let State::Waiting { due } = self.state
            && let Some(cause) = self.cause(due)
        {
            self.wanted = None;
            self.state = State::Turning { began: Moment::now(), due };
            if self.begun.len() == MOST_IN_A_MINUTE {
                self.begun.pop_front();
            }
            self.begun.push_back(Instant::now());
            if self.worker.orders.send(cause).is_err() {
                return Some(End::Broken);
            }
        }
        if let Some(listener) = &mut self.listener {
            listener.serve(door);
        }
        self.readiness.catch_up();
        if self.is_sane() {
            self.readiness.give_sign();
        }
        None
    }

    /// Whether the worker can be vouched for.
    fn is_sane(&self) -> bool {
        let turning = self.begun.back().filter(|_| matches!(self.state, State::Turning { .. }));
        is_sane(turning.map(Instant::elapsed))
    }

    /// Remembers that a turn is wanted, for the weightier reason if there are two.
    fn want(&mut self, cause: Cause) {
        self.wanted = self.wanted.max(Some(cause));
    }

    /// Why a turn has to be made now, if one has.
    fn cause(&self, due: Deadline) -> Option<Cause> {
        self.wanted
            .filter(|cause| self.patience_with(*cause).is_zero())
            .or_else(|| due.is_past().then_some(Cause::Due))
    }

    /// How long what is wanted has to wait for its turn.
    fn patience_with(&self, cause: Cause) -> Duration {
        let rest = |begun: &Instant, length: Duration| length.saturating_sub(begun.elapsed());
        let after_last = |length| self.begun.back().map_or(Duration::ZERO, |begun| rest(begun, length));
        let last = match cause {
            Cause::Due | Cause::Start => return Duration::ZERO,
            Cause::Asked => return after_last(self.asked_after),
            Cause::Changed => after_last(AFTER_A_CHANGE),
        };
        let eleventh = self.begun.front().filter(|_| self.begun.len() == MOST_IN_A_MINUTE);
        last.max(eleventh.map_or(Duration::ZERO, |begun| rest(begun, MINUTE)))
    }

    /// Waits until something happens or has to be done.
    fn sleep(&self) -> io::Result<()> {
        let mut length = LOOK.saturating_sub(self.looked.elapsed());
        match self.state {
            State::Waiting { due } => {
                length = length.min(due.left());
                if let Some(cause) = self.wanted {
                    length = length.min(self.patience_with(cause));
                }
            }
            State::Turning { .. } => {}
        }
        // One that is not given is not waited for either.
        let signs = self.readiness.next_sign().filter(|_| self.is_sane());
        let callers = self.listener.as_ref().and_then(|listener| listener.patience(Instant::now()));
        for other in [signs, callers].into_iter().flatten() {
            length = length.min(other);
        }
        let mut sources: Vec<_> = self
            .signals
            .descriptors()
            .chain([self.worker.pipe.as_fd()])
            .map(|descriptor| PollFd::from_borrowed_fd(descriptor, PollFlags::IN))
            .collect();
        if let Some(listener) = &self.listener {
            sources.extend(listener.poll_fds());
        }
        let limit = Timespec {
            tv_sec: i64::try_from(length.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: i64::from(length.subsec_nanos()),
        };
        match poll(&mut sources, Some(&limit)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::RecvTimeoutError;

    use super::listener::{Allowed, Page, Request};
    use super::*;

    /// A duty that tells its causes, and takes what is to come of them from elsewhere.
    struct Told {
        causes: Sender<Cause>,
        turns: Receiver<Next>,
    }

    impl Duty for Told {
        fn turn(&mut self, cause: Cause, _: &Stop) -> Turn {
            self.causes.send(cause).unwrap();
            Turn::good(self.turns.recv().unwrap(), None, true)
        }
    }

    /// A door at which something has changed so many times.
    struct Changes(usize);

    impl Door for Changes {
        fn has_changed(&mut self) -> bool {
            let is_one_left = self.0 > 0;
            self.0 = self.0.saturating_sub(1);
            is_one_left
        }
    }

    impl Pages for Changes {
        fn allowed(&self, _: &str) -> Option<Allowed> {
            None
        }

        fn page(&self, _: &Request<'_>) -> Option<Page> {
            None
        }
    }

    struct Scene {
        keeper: Doorkeeper,
        door: Changes,
        stop: Stop,
        causes: Receiver<Cause>,
        turns: Sender<Next>,
    }

    impl Scene {
        fn new(changes: usize) -> Self {
            let (told, causes) = mpsc::channel();
            let (turns, taken) = mpsc::channel();
            let stop = Stop::default();
            let worker = Worker::start(Told { causes: told, turns: taken }, stop.clone()).unwrap();
            let keeper = Doorkeeper::new(Signals::none(), worker, None, Duration::ZERO);
            Self { keeper, door: Changes(changes), stop, causes, turns }
        }

        /// Keeps the door for so long; how it ended, if it did.
        fn keep(&mut self, length: Duration) -> Option<End> {
            let start = Instant::now();
            while start.elapsed() < length {
                if let Some(end) = self.keeper.attend(&mut self.door, &self.stop) {
                    return Some(end);
                }
                // Not with its own patience, which is a second.
                thread::sleep(Duration::from_millis(5));
            }
            None
        }

        /// The next cause within so long.
        fn cause(&mut self, within: Duration) -> Result<Cause, RecvTimeoutError> {
            assert_eq!(self.keep(within), None);
            self.causes.recv_timeout(Duration::from_millis(1))
        }
    }

    const SOON: Duration = Duration::from_millis(300);

    #[test]
    fn turns_are_made_at_once_then_when_they_are_due_and_when_somebody_asks() {
        let mut scene = Scene::new(0);
        assert_eq!(scene.cause(SOON), Ok(Cause::Start));
        scene.keeper.want(Cause::Asked);
        assert!(scene.cause(SOON).is_err(), "one turn at a time");
        scene.turns.send(Next::In(Duration::from_secs(60))).unwrap();
        assert_eq!(scene.cause(SOON), Ok(Cause::Asked), "asked for in the middle of a turn, made after it");
        scene.turns.send(Next::In(Duration::ZERO)).unwrap();
        assert_eq!(scene.cause(SOON), Ok(Cause::Due));
        scene.turns.send(Next::Over(5)).unwrap();
        assert_eq!(scene.keep(SOON), Some(End::Over(5)));
    }

    #[test]
    fn a_change_waits_a_little_after_a_turn_and_moves_no_plan_if_there_was_nothing_to_do() {
        let mut scene = Scene::new(1);
        assert_eq!(scene.cause(SOON), Ok(Cause::Start));
        scene.turns.send(Next::In(Duration::from_secs(5))).unwrap();
        assert!(scene.cause(LOOK + SOON).is_err(), "it was noticed, and the last turn was a moment ago");
        assert_eq!(scene.cause(AFTER_A_CHANGE.saturating_sub(LOOK)), Ok(Cause::Changed));
        scene.turns.send(Next::AsPlanned).unwrap();
        assert!(scene.cause(SOON).is_err());
        assert_eq!(scene.cause(Duration::from_secs(2)), Ok(Cause::Due), "as it was planned before");
    }

    #[test]
    fn only_turns_in_vain_add_up() {
        let mut scene = Scene::new(0);
        assert_eq!(scene.cause(SOON), Ok(Cause::Start));
        let began = |seconds: u64| Instant::now().checked_sub(Duration::from_secs(seconds)).unwrap();
        scene.keeper.begun = (0..11).rev().map(|number| began(3 * number)).collect();
        assert!(scene.keeper.patience_with(Cause::Changed) > Duration::from_secs(20));
        scene.turns.send(Next::In(Duration::from_secs(60))).unwrap();
        assert!(scene.cause(SOON).is_err());
        assert!(scene.keeper.patience_with(Cause::Changed) <= AFTER_A_CHANGE, "that one was of use");
    }

    #[test]
    fn who_asks_again_and_again_waits_where_that_is_wanted() {
        let mut scene = Scene::new(0);
        scene.keeper.asked_after = Duration::from_secs(10);
        assert_eq!(scene.cause(SOON), Ok(Cause::Start));
        scene.keeper.want(Cause::Asked);
        scene.turns.send(Next::In(Duration::from_secs(60))).unwrap();
        assert!(scene.cause(SOON).is_err(), "the last turn was a moment ago");
        let begun = Instant::now().checked_sub(Duration::from_secs(10)).unwrap();
        scene.keeper.begun = [begun].into();
        assert_eq!(scene.cause(SOON), Ok(Cause::Asked));
    }

    #[test]
    fn changes_without_end_cause_eleven_turns_a_minute_and_no_more() {
        let mut scene = Scene::new(0);
        let second = |count: u64| Instant::now().checked_sub(Duration::from_secs(count)).unwrap();
        for (begun, wait) in [
            (vec![], 0),
            (vec![1], 2),
            (vec![9], 0),
            ((0..11).rev().map(|number| 4 + 3 * number).collect(), 26),
            ((0..10).rev().map(|number| 4 + 3 * number).collect(), 0),
            ((0..11).rev().map(|number| 1 + 6 * number).collect(), 2),
        ] {
            scene.keeper.begun = begun.iter().map(|count| second(*count)).collect();
            let found = scene.keeper.patience_with(Cause::Changed).as_secs_f64().ceil();
            assert!((found - f64::from(wait)).abs() < 0.5, "{begun:?}: {found}");
        }
    }

    #[test]
    fn what_the_worker_does_beside_its_turns_ends_with_it() {
        struct Beside(Sender<Cause>);
        impl Duty for Beside {
            fn turn(&mut self, cause: Cause, _: &Stop) -> Turn {
                self.0.send(cause).unwrap();
                Turn::good(Next::In(Duration::from_secs(60)), None, true)
            }
        }
        impl Drop for Beside {
            fn drop(&mut self) {
                thread::sleep(Duration::from_millis(20));
                self.0.send(Cause::Asked).unwrap();
            }
        }
        let (told, causes) = mpsc::channel();
        let worker = Worker::start(Beside(told), Stop::default()).unwrap();
        worker.orders.send(Cause::Start).unwrap();
        assert_eq!(causes.recv(), Ok(Cause::Start));
        worker.last_moment();
        assert_eq!(causes.try_recv(), Ok(Cause::Asked), "it was waited for");
    }

    #[test]
    fn a_worker_that_breaks_down_ends_the_process() {
        let mut scene = Scene::new(0);
        assert_eq!(scene.cause(SOON), Ok(Cause::Start));
        // The duty panics for want of what is to come.
        drop(std::mem::replace(&mut scene.turns, mpsc::channel().0));
        assert_eq!(scene.keep(Duration::from_secs(20)), Some(End::Broken));
    }

    #[test]
    fn a_worker_is_vouched_for_while_it_is_idle_or_not_at_its_turn_for_too_long() {
        for (turning_for, sane) in
            [(None, true), (Some(Duration::from_secs(29 * 60)), true), (Some(LONGEST_TURN), false)]
        {
            assert_eq!(is_sane(turning_for), sane, "{turning_for:?}");
        }
    }
}
