//! A piece of work that is set up afresh each time it is disturbed, and done under strace: for the campaigns that
//! kill the program or let its calls fail.

use std::fmt;
use std::fs;
use std::os::unix::fs::symlink;
use std::os::unix::process::ExitStatusExt as _;

use super::openbao::{Minted, OpenBao};
use super::sandbox::{LOG, Run, Sandbox};
use super::strace::{Call, Strace, Trace};
use super::{OUR_NAME, ours, server, with};

/// With one lookup at a time the calls are the same in every run.
const ARGUMENTS: &[&str] = &["--sweep-concurrency", "1"];

/// What the program is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Work {
    /// Heal a login, and revoke the stale tokens.
    Heal,
    /// The same through a symbolic link.
    HealLink,
    /// Heal a dying token of ours, which is stale after that.
    HealDying,
    /// Renew.
    Renew,
    /// Renew, and finish the sweep of a heal that came no further than this request.
    Resume {
        /// The number of its `sendto`.
        stopped_at: usize,
        /// Why it came no further.
        by: Stop,
    },
}

/// What can stop a heal in the middle of its sweep.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// It was killed.
    Kill,
    /// It lost its server.
    Loss,
}

/// Where to kill: at the so manieth call of this name, before it is made.
#[derive(Debug)]
pub struct Kill {
    /// The name.
    pub call: String,
    /// The number, from 1.
    pub nth: usize,
}

/// A call that fails.
#[derive(Debug, Clone)]
pub struct Fault {
    /// Its name.
    pub call: &'static str,
    /// The number, from 1.
    pub nth: usize,
    /// The error, by the name that C has for it.
    pub error: &'static str,
    /// Whether all that follow fail too.
    pub lasting: bool,
}

/// A server, with somebody logged in.
pub struct Place {
    /// The server.
    pub server: OpenBao,
    login: Minted,
    /// How many tokens of our name are left over where something is to be healed.
    stale: usize,
}

/// A home in which the work is to be done.
pub struct Scene {
    /// The home.
    pub home: Sandbox,
    /// What the token file holds.
    pub old: String,
    /// The tokens of our name there are, by accessor.
    pub ours: Vec<String>,
}

impl Work {
    /// Whether the token file will hold another token.
    pub fn heals(self) -> bool {
        matches!(self, Self::Heal | Self::HealLink | Self::HealDying)
    }
}

impl fmt::Display for Work {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Heal => "heal",
            Self::HealLink => "heal through a link",
            Self::HealDying => "heal of a dying token",
            Self::Renew => "renewal",
            Self::Resume { .. } => "resumed sweep",
        })
    }
}

impl Kill {
    /// As strace wants to be told.
    fn injection(&self) -> String {
        format!("{}:signal=SIGKILL:when={}", self.call, self.nth)
    }
}

impl fmt::Display for Kill {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.call, self.nth)
    }
}

impl Fault {
    /// As strace wants to be told.
    fn injection(&self) -> String {
        let lasting = if self.lasting { "+" } else { "" };
        format!("{}:error={}:when={}{lasting}", self.call, self.error, self.nth)
    }

    /// Whether this call of an undisturbed run is one that fails.
    pub fn hits(&self, call: &Call) -> bool {
        call.name == self.call && (call.nth == self.nth || (self.lasting && call.nth > self.nth))
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { call, nth, error, lasting } = self;
        write!(f, "{call} {nth} {error} {}", if *lasting { "for ever" } else { "once" })
    }
}

impl Place {
    /// A new one, with so many stale tokens for each heal.
    pub fn new(stale: usize) -> Self {
        let server = server();
        let login = server.admin_login();
        Self { server, login, stale }
    }

    /// A fresh home, and a server with as many tokens as ever.
    pub fn set(&self, work: Work) -> Scene {
        self.server.revoke_ours();
        if work != Work::Renew {
            let stale = if work == Work::HealDying { self.stale - 1 } else { self.stale };
            for _ in 0..stale {
                self.server.mint_ours();
            }
        }
        let home = Sandbox::new();
        home.put(&match work {
            Work::Heal | Work::HealLink | Work::Resume { .. } => self.login.token.clone(),
            Work::HealDying => self.server.mint_as_root(with(ours(), "renewable", false)).token,
            Work::Renew => self.server.mint_ours().token,
        });
        if work == Work::HealLink {
            fs::create_dir(home.path().join("real")).unwrap();
            fs::rename(home.token_file(), home.path().join("real/token")).unwrap();
            symlink("real/token", home.token_file()).unwrap();
        }
        if let Work::Resume { stopped_at, by } = work {
            self.stop_a_heal(&home, stopped_at, by);
        }
        Scene { old: home.token(), home, ours: self.server.named(OUR_NAME) }
    }

    fn stop_a_heal(&self, home: &Sandbox, at: usize, by: Stop) {
        match by {
            Stop::Kill => {
                let kill = Kill { call: "sendto".to_owned(), nth: at };
                assert!(self.killed(home, &kill).is_some(), "the heal before was not killed");
            }
            Stop::Loss => {
                let loss = Fault { call: "sendto", nth: at, error: "EPIPE", lasting: true };
                let (run, _) = self.faulty(home, &[loss]);
                assert!(run.expect(0).said().contains("accessor sweep cut short"));
                // Its words about the server are not the ones to be judged.
                fs::write(home.path().join(LOG), "").unwrap();
            }
        }
        assert_eq!(self.server.named(OUR_NAME).len(), self.stale + 1, "the heal before has swept");
    }

    /// All calls of an undisturbed run, and what else it left.
    pub fn undisturbed(&self, work: Work) -> (Scene, Run, Trace) {
        let scene = self.set(work);
        let (run, trace) = self.faulty(&scene.home, &[]);
        (scene, run.expect(0), trace)
    }

    /// The number of the `sendto` with which a heal begins to sweep.
    pub fn where_the_sweep_begins(&self) -> usize {
        let (_, _, trace) = self.undisturbed(Work::Heal);
        trace.find("sendto", |call| call.touches("auth/token/accessors")).nth
    }

    /// Runs the program until it is killed; `None` if it ended by itself without getting there.
    pub fn killed(&self, home: &Sandbox, at: &Kill) -> Option<Trace> {
        let strace = Strace::new();
        let mut command = strace.command(home, self.server.address(), &[at.injection()]);
        let output = command.args(ARGUMENTS).output().expect("strace runs");
        let trace = strace.trace();
        for token in trace.tokens() {
            home.guard(&token);
        }
        if output.status.success() && trace.count(&at.call) < at.nth {
            return None;
        }
        // strace ends as what it watches has ended.
        assert_eq!(output.status.signal(), Some(9), "{}", trace.end);
        assert_eq!(trace.end, "+++ killed by SIGKILL +++");
        let last = trace.calls.last().unwrap();
        assert_eq!((&last.name, last.nth), (&at.call, at.nth));
        assert!(!last.is_complete(), "the last call was made after all");
        Some(trace)
    }

    /// A run under these faults, all of which have to strike.
    pub fn faulty(&self, home: &Sandbox, faults: &[Fault]) -> (Run, Trace) {
        let strace = Strace::new();
        let injections: Vec<String> = faults.iter().map(Fault::injection).collect();
        let mut command = strace.command(home, self.server.address(), &injections);
        let run = home.finish(command.args(ARGUMENTS));
        let trace = strace.trace();
        for fault in faults {
            let struck = trace.calls.iter().filter(|call| fault.hits(call) && call.is_injected()).count();
            assert!(struck == 1 || (fault.lasting && struck > 1), "{fault} struck {struck} times");
        }
        (run, trace)
    }

    /// What nothing may do that goes wrong.
    #[track_caller]
    pub fn check_login(&self) {
        assert!(self.server.lookup(&self.login.token).is_some(), "the login was revoked");
    }
}
