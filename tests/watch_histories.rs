//! Random histories with a `watch` that stays through them: logins, deaths, lost files, outages, kills, other runs at
//! the same time, on a real OpenBao. It tells of everything that is wrong, is never hot, and in the end all is well.
//!
//! `VTR_TEST_HISTORIES=N` and `VTR_TEST_SEED=S` as in `tests/histories.rs`, of which this tries a thirtieth.

#![cfg(test)]

mod support;

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use fastrand::Rng;
use rustix::process::Signal;
use support::openbao::{Minted, OpenBao};
use support::random::{histories_asked_for, live_histories};
use support::sandbox::Sandbox;
use support::scripted::{Reply, Scripted};
use support::stay::Stay;
use support::{count, dying, server};

const HISTORIES: u64 = 10;

/// What a watch says first.
const STARTED: &str = "watch: started";

/// Within this time a change is noticed, and told of; twice what is promised, for the sake of busy machines.
const NOTICED: Duration = Duration::from_secs(10);

/// What happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Event {
    /// Somebody logs in who may mint ours.
    Strong,
    /// Somebody logs in who may not.
    Weak,
    /// A token of ours lands in the file that will end, and may mint its successor.
    Dying,
    /// The token in the file is revoked, and nobody touches the file.
    Revoke,
    /// The file is gone.
    Remove,
    /// The file holds something else.
    Junk,
    /// The server does not answer any more, or answers again.
    Outage(bool),
    /// Somebody asks for a run.
    Hangup,
    /// It is killed, and started again.
    Kill,
    /// It is stopped for a while.
    Freeze,
    /// Somebody runs the program by hand.
    RunByHand,
}

impl Event {
    fn random(rng: &mut Rng) -> Self {
        match rng.u32(..24) {
            0..5 => Self::Strong,
            5..8 => Self::Weak,
            8..10 => Self::Dying,
            10..12 => Self::Revoke,
            12 => Self::Remove,
            13 => Self::Junk,
            14..16 => Self::Outage(true),
            16..18 => Self::Outage(false),
            18..20 => Self::Hangup,
            20..22 => Self::Kill,
            22 => Self::Freeze,
            _ => Self::RunByHand,
        }
    }
}

/// What is in the file, as far as the next line of the watch goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Contents {
    /// A token of ours, or one of which ours will be made.
    Good,
    Weak,
    /// Nothing that lives.
    Nothing,
}

struct World<'a> {
    server: &'a OpenBao,
    strong: &'a Minted,
    weak: &'a Minted,
    home: &'a Sandbox,
    front: Scripted,
    is_out: Arc<AtomicBool>,
    lookups: Arc<AtomicUsize>,
    stay: Option<Stay<'a>>,
    contents: Contents,
    /// How many runs somebody or something has asked for.
    asked: usize,
    /// How many lines there were of a start before the last one.
    started_before: usize,
}

impl<'a> World<'a> {
    fn new(server: &'a OpenBao, strong: &'a Minted, weak: &'a Minted, home: &'a Sandbox) -> Self {
        server.revoke_ours();
        home.put(&server.mint_ours().token);
        let (is_out, lookups) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let (out, looked) = (Arc::clone(&is_out), Arc::clone(&lookups));
        let front = Scripted::in_front_of(server, move |request, _| {
            if request.call() == "auth/token/lookup-self" {
                looked.fetch_add(1, Ordering::SeqCst);
            }
            let sealed = || Reply::Json(503, r#"{"errors":["Vault is sealed"]}"#.to_owned());
            out.load(Ordering::SeqCst).then(sealed)
        });
        let mut world = Self {
            server,
            strong,
            weak,
            home,
            front,
            is_out,
            lookups,
            stay: None,
            contents: Contents::Good,
            asked: 0,
            started_before: 0,
        };
        world.start();
        world
    }

    fn start(&mut self) {
        self.asked += 1;
        // One that is killed at once never said so.
        let started = self.home.logged().iter().filter(|line| line.starts_with(STARTED)).count();
        self.started_before = started;
        self.stay = Some(Stay::start(self.home, &self.front, &[("VTR_RETRY_FOR", "0s")], &[]));
    }

    fn happen(&mut self, event: Event) {
        let stay = self.stay.as_ref().expect("it stays");
        match event {
            Event::Strong => self.land(&self.strong.token, Contents::Good),
            Event::Weak => self.land(&self.weak.token, Contents::Weak),
            Event::Dying => {
                let token = self.server.mint_as_root(dying("vault-admin")).token;
                self.land(&token, Contents::Good);
            }
            Event::Revoke => {
                let accessor = fs::read_to_string(self.home.token_file()).ok();
                let info = accessor.and_then(|token| self.server.lookup(token.trim()));
                let accessor = info.and_then(|info| Some(info["accessor"].as_str()?.to_owned()));
                // The logins are still needed.
                let spared = [&self.strong.accessor, &self.weak.accessor];
                if let Some(accessor) = accessor.filter(|one| !spared.contains(&one)) {
                    self.server.revoke_accessor(&accessor);
                    // Nobody notices before the next run.
                    self.contents = Contents::Nothing;
                    self.ask();
                }
            }
            Event::Remove => {
                let _ = fs::remove_file(self.home.token_file());
                (self.contents, self.asked) = (Contents::Nothing, self.asked + 1);
            }
            Event::Junk => self.land("two words", Contents::Nothing),
            Event::Outage(is_out) => self.is_out.store(is_out, Ordering::SeqCst),
            Event::Hangup => self.ask(),
            Event::Kill => {
                self.stay = None;
                self.start();
            }
            Event::Freeze => {
                stay.signal(Signal::STOP);
                thread::sleep(Duration::from_millis(300));
                stay.signal(Signal::CONT);
            }
            Event::RunByHand => {
                self.asked += 1;
                let run = self.home.run(&self.front, &[]);
                assert!([0, 1].contains(&run.status), "{run:?}");
            }
        }
    }

    /// Only who is there already can be asked: before it listens, the signal ends it.
    fn ask(&mut self) {
        let stay = self.stay.as_ref().expect("it stays");
        stay.wait_for(STARTED, self.started_before + 1);
        stay.signal(Signal::HUP);
        self.asked += 1;
    }

    fn land(&mut self, token: &str, contents: Contents) {
        self.home.put(token);
        self.contents = contents;
        self.asked += 1;
    }

    /// The lines since all was well.
    fn news(&self) -> Vec<String> {
        let lines = self.home.logged();
        let good = |line: &String| line.starts_with("OK ") || line.starts_with("HEALED: ");
        let begin = lines.iter().rposition(good).map_or(0, |last| last + 1);
        lines[begin..].to_vec()
    }

    /// Whether what is wrong was told, or nothing is.
    fn is_told(&self) -> bool {
        let news = self.news();
        let said = |beginning: &str| news.iter().any(|line| line.starts_with(beginning));
        match self.contents {
            _ if self.is_out.load(Ordering::SeqCst) => true,
            Contents::Good => !said("DRIFT: ") && self.is_ours(),
            Contents::Weak => said("DRIFT: "),
            Contents::Nothing => said("FAIL: token"),
        }
    }

    fn is_ours(&self) -> bool {
        fs::read_to_string(self.home.token_file()).is_ok_and(|token| self.server.recognise(&token).is_ok())
    }

    #[track_caller]
    fn check_told(&self) {
        let start = Instant::now();
        while !self.is_told() {
            let log = self.home.log();
            assert!(start.elapsed() < NOTICED, "{:?} in the file, and not a word:\n{log}", self.contents);
            thread::sleep(Duration::from_millis(20));
        }
    }
}

/// Goes through one history. `past` is what has happened so far, for whoever has to tell of a failure.
fn live(server: &OpenBao, seed: u64, past: &mut Vec<(Event, bool)>) -> usize {
    let (strong, weak) = (server.admin_login(), server.weak_login());
    let home = Sandbox::new();
    let mut world = World::new(server, &strong, &weak, &home);
    let (start, mut rng) = (Instant::now(), Rng::with_seed(seed));
    world.stay.as_ref().expect("it stays").wait_for("OK renewed", 1);
    for _ in 0..rng.usize(4..=7) {
        let (event, in_peace) = (Event::random(&mut rng), rng.u8(..3) > 0);
        past.push((event, in_peace));
        world.happen(event);
        if in_peace {
            world.check_told();
        }
    }
    // Whatever happened: a login that is strong enough, and all is well.
    past.extend([(Event::Outage(false), false), (Event::Strong, true)]);
    world.happen(Event::Outage(false));
    world.happen(Event::Strong);
    world.check_told();
    let deadline = Instant::now() + NOTICED;
    while server.recognise_alone(&home.token()).is_err() {
        assert!(Instant::now() < deadline, "{:?}: {}", server.recognise_alone(&home.token()), home.log());
        thread::sleep(Duration::from_millis(20));
    }
    // Each run looks the token up once, three times where it is denied; and each minted one is looked up, too.
    let elapsed = usize::try_from(start.elapsed().as_secs()).expect("seconds");
    let most = 4 * (world.asked + elapsed / 5 + 1);
    let lookups = world.lookups.load(Ordering::SeqCst);
    assert!(lookups <= most, "hot: {lookups} lookups, and no more than {most} make sense\n{}", home.log());
    let run = world.stay.take().expect("it stays").stop();
    home.check(&run);
    server.check_healed(&home);
    past.len()
}

#[test]
fn whatever_happens_a_watch_tells_of_it_and_puts_right_what_can_be() {
    let histories = histories_asked_for().map_or(HISTORIES, |asked| asked.div_ceil(30));
    let events = AtomicUsize::new(0);
    let seed = live_histories(histories, server, |server, seed, past| {
        events.fetch_add(live(server, seed, past), Ordering::Relaxed);
    });
    count(&format!("{histories} histories of a watch with {} events, seed {seed}", events.into_inner()));
}
