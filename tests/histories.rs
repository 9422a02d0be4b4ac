//! Random histories: logins, deaths, kills, outages and lost files, one after the other, against a real OpenBao. A
//! small model tells what every undisturbed run has to do, to the byte and to the token.
//!
//! `VTR_TEST_HISTORIES=N` tries more of them, `VTR_TEST_SEED=S` the same ones again. A failure prints the seed of its
//! own history; with that seed and `VTR_TEST_HISTORIES=1` only this one is tried.

#![cfg(test)]
#![expect(clippy::disallowed_methods, reason = "tests write files as they like, and take a seed")]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::Child;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use fastrand::Rng;
use serde_json::{Value, json};
use support::between::Between;
use support::openbao::{Minted, OpenBao};
use support::random::{histories_asked_for, live_histories};
use support::sandbox::{LOG, Run, Sandbox, file_in, land, unstamped};
use support::scripted::{Reply, Request, Scripted};
use support::{
    NOWHERE, OUR_NAME, PERIOD, USER, believe, count, dying, ours, server, wait_until, with, without,
};

const HISTORIES: u64 = 300;
const KILLED: i32 = -9;
const TERMINATED: i32 = -15;

/// Who logs in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Login {
    /// An administrator by the policies of the token.
    Admin,
    /// An administrator by the policies of the entity only, as after an OIDC login.
    ByIdentity,
    /// May mint on `auth/token/create-orphan`, and do nothing else.
    OrphansOnly,
    /// May read.
    Weak,
}

const STRONG: [Login; 3] = [Login::Admin, Login::ByIdentity, Login::OrphansOnly];

/// Ours, as a person or an earlier version may have minted it.
#[derive(Debug, Clone, Copy)]
enum Twin {
    /// In every respect as the program mints it.
    Good,
    /// With a hard end.
    Ending,
    /// Without a period.
    NoPeriod,
    /// Not renewable.
    NotRenewable,
    /// A child of an administrator's login, with which it ends.
    Child,
    /// Our name, but without the policy that makes it ours: foreign, and weak.
    NameOnly,
    /// Minted on another machine, which has our name and that of this machine: not ours to revoke.
    Elsewhere,
}

/// Where a run keeps its state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// In the usual place.
    Usual,
    /// Elsewhere, by XDG_STATE_HOME.
    Elsewhere,
    /// Nowhere: it cannot be written.
    Nowhere,
}

/// What happens.
#[derive(Debug, Clone, Copy)]
enum Event {
    /// A login lands in the token file. A fresh one, or one of an earlier hour.
    Login(Login, bool),
    /// A person mints ours and puts it into the file.
    Put(Twin),
    /// A person mints ours and leaves it lying around on the server.
    Stray(Twin),
    /// A token that was in the file before is put back, dead or alive.
    PutBack(usize),
    /// The token in the file is revoked by somebody.
    Revoke,
    /// A short-lived token of ours in the file expires.
    Expire,
    /// The file is no token file any more.
    Junk(Option<&'static str>),
    /// The state files are lost (`None`) or hold this.
    State(Option<&'static str>),
    /// Others may read the token file.
    Loosen(u32),
    /// The log becomes unwritable, or writable again.
    Log(bool),
    /// A run nobody disturbs.
    Run(Place),
    /// Three of them through a proxy that keeps answers.
    Cached,
    /// A dry run.
    Dry,
    /// The verb `sweep`.
    Sweep,
    /// A run that is killed when its request of this number arrives, before or after the server heard it.
    Kill { request: usize, heard: bool },
    /// A run that is killed after so many milliseconds.
    KillAfter(u64),
    /// A run whose server fails.
    Outage(Outage),
    /// A run during which a login lands in the file, when the request of this number arrives.
    Intrusion(Login, usize),
    /// The machine is called this from now on.
    Rename(&'static str),
    /// The server grants less than a period at a time, or a whole one again.
    Cap(bool),
    /// A run that is told to stop after so many milliseconds.
    StopAfter(u64),
    /// Nobody listens.
    DeadPort,
    /// Several runs at once. One of them may keep its state elsewhere, or be killed.
    Several { runs: usize, elsewhere: bool, kill: Option<u64> },
}

/// How a server fails.
#[derive(Debug, Clone, Copy)]
struct Outage {
    /// From this request on.
    request: usize,
    /// At this one only.
    once: bool,
    /// The server does what it is asked to.
    heard: bool,
    /// The answer is a 503. Otherwise there is none.
    told: bool,
    /// The run tries again.
    patient: bool,
}

impl Event {
    fn random(rng: &mut Rng) -> Self {
        let strong = |rng: &mut Rng| STRONG[rng.usize(..STRONG.len())];
        let dying = |rng: &mut Rng| [Twin::Ending, Twin::NoPeriod, Twin::NotRenewable][rng.usize(..3)];
        match rng.u32(..100) {
            0..14 => Self::Login(strong(rng), rng.u8(..4) == 0),
            14..15 => Self::Rename(["dhcp-17", "laptop"][rng.usize(..2)]),
            15..17 => Self::Cap(rng.u8(..4) > 0),
            17..21 => Self::Login(Login::Weak, rng.u8(..4) == 0),
            21..23 => Self::Put(Twin::Good),
            23..24 => Self::Put(Twin::Child),
            24..28 => Self::Put(dying(rng)),
            28..29 => Self::Put(Twin::NameOnly),
            29..34 => Self::Stray(
                [Twin::Good, Twin::Good, Twin::Ending, Twin::NameOnly, Twin::Elsewhere][rng.usize(..5)],
            ),
            34..36 => Self::PutBack(rng.usize(..8)),
            36..39 => Self::Revoke,
            39..40 => Self::Expire,
            40..42 => {
                Self::Junk([None, Some(""), Some(" \n"), Some("two words"), Some("\0\x01")][rng.usize(..5)])
            }
            42..45 => {
                let contents = [None, Some(""), Some("{"), Some("null"), Some("{\"minted\":7}")];
                Self::State(contents[rng.usize(..contents.len())])
            }
            45..47 => Self::Loosen([0o644, 0o640, 0o666][rng.usize(..3)]),
            47..49 => Self::Log(rng.bool()),
            49..51 => Self::Cached,
            51..60 => Self::Run(
                [Place::Usual, Place::Usual, Place::Usual, Place::Elsewhere, Place::Nowhere][rng.usize(..5)],
            ),
            60..63 => {
                Self::Intrusion(if rng.u8(..3) == 0 { Login::Weak } else { strong(rng) }, rng.usize(..6))
            }
            63..66 => Self::Dry,
            66..69 => Self::Sweep,
            69..80 => Self::Kill { request: rng.usize(..9), heard: rng.bool() },
            80..83 => Self::KillAfter(rng.u64(..60)),
            83..85 => Self::StopAfter(rng.u64(..60)),
            85..93 => Self::Outage(Outage {
                // Most often in the midst of a mint.
                request: [0, 1, 1, 1, 2, 2, 3, 4, 5, 6][rng.usize(..10)],
                once: rng.bool(),
                heard: rng.bool(),
                told: rng.bool(),
                patient: rng.u8(..3) == 0,
            }),
            93..94 => Self::DeadPort,
            _ => Self::Several {
                runs: rng.usize(2..=4),
                elsewhere: rng.bool(),
                kill: rng.bool().then(|| rng.u64(..40)),
            },
        }
    }

    /// The events of one history. What disturbs a run is most telling where there is something to heal.
    fn history(seed: u64) -> Vec<Self> {
        let mut rng = Rng::with_seed(seed);
        let mut events = Vec::new();
        for _ in 0..rng.usize(4..=7) {
            let event = Self::random(&mut rng);
            let disturbs = matches!(
                event,
                Self::Kill { .. }
                    | Self::KillAfter(_)
                    | Self::StopAfter(_)
                    | Self::Outage(_)
                    | Self::Intrusion(..)
                    | Self::Several { .. }
            );
            if disturbs && rng.u8(..3) > 0 {
                if rng.u8(..3) == 0 {
                    events.push(Self::Stray(Twin::Good));
                }
                let weak = matches!(event, Self::Intrusion(..)) && rng.bool();
                let login = if weak { Login::Weak } else { STRONG[rng.usize(..STRONG.len())] };
                events.push(Self::Login(login, false));
            }
            events.push(event);
            // What is spoilt shows in the next run, if nothing mends it before.
            if matches!(event, Self::Loosen(_) | Self::State(_) | Self::Log(_)) {
                events.push([Self::Run(Place::Usual), Self::Dry, Self::Sweep][rng.usize(..3)]);
            }
        }
        events
    }

    /// For counting.
    fn name(&self) -> &'static str {
        match self {
            Self::Login(Login::Weak, _) => "weak logins",
            Self::Login(Login::Admin | Login::ByIdentity | Login::OrphansOnly, _) => "strong logins",
            Self::Put(Twin::Good) => "twins put into the file",
            Self::Put(Twin::Ending | Twin::NoPeriod | Twin::NotRenewable) => "dying tokens put into the file",
            Self::Put(Twin::Child) => "children put into the file",
            Self::Put(Twin::NameOnly | Twin::Elsewhere) => "namesakes put into the file",
            Self::Stray(Twin::Elsewhere) => "tokens of another machine of our name",
            Self::Stray(_) => "strays",
            Self::PutBack(_) => "old tokens put back",
            Self::Revoke => "revocations",
            Self::Expire => "expiries",
            Self::Junk(_) => "spoilt token files",
            Self::State(_) => "lost or spoilt states",
            Self::Loosen(_) => "loosened modes",
            Self::Log(_) => "logs lost or found",
            Self::Run(Place::Usual) => "runs",
            Self::Run(Place::Elsewhere) => "runs with state elsewhere",
            Self::Run(Place::Nowhere) => "runs without state",
            Self::Cached => "runs through a cache",
            Self::Dry => "dry runs",
            Self::Sweep => "sweeps by hand",
            Self::Kill { .. } => "kills at a request",
            Self::KillAfter(_) => "kills at some time",
            Self::Outage(_) => "outages",
            Self::Intrusion(..) => "logins during a run",
            Self::DeadPort => "dead ports",
            Self::Rename(_) => "new names of the machine",
            Self::Cap(_) => "changes of what is granted",
            Self::StopAfter(_) => "runs told to stop",
            Self::Several { .. } => "groups of runs",
        }
    }
}

/// A server that serves one history after the other, and what lives on it for longer.
struct House {
    server: Arc<OpenBao>,
    /// What it grants at a time, in seconds.
    most: u64,
    logins: BTreeMap<Login, Minted>,
    neighbours: Vec<String>,
    /// In front of the server, with a cache.
    proxy: Arc<Between>,
}

impl House {
    fn new() -> Self {
        let server = server();
        server.write_policy(
            "orphans",
            r#"path "auth/token/create-orphan" { capabilities = ["update", "sudo"] }"#,
        );
        let neighbours = ["devvm-emo", "devvm-wizard-2", ""]
            .map(|name| server.mint_as_root(with(ours(), "display_name", name)).accessor);
        let proxy = Arc::new(Between::start(&server, "proxy", "cache {}"));
        let server = Arc::new(server);
        Self { server, most: PERIOD, logins: BTreeMap::new(), neighbours: neighbours.into(), proxy }
    }

    /// From now on it grants a week at a time, or all that is asked for.
    fn cap(&mut self, is_capped: bool) {
        self.most = if is_capped { 7 * 86_400 } else { PERIOD };
        self.server.cap_leases(&format!("{}s", self.most));
    }

    /// A token of this kind of user. A new login takes the server a tenth of a second, for the password.
    fn login(&mut self, login: Login, fresh: bool) -> Minted {
        let enter = |server: &OpenBao| match login {
            Login::Admin => server.userpass_login("admin", &["vault-admin"], &[]),
            Login::ByIdentity => server.userpass_login("member", &["default"], &["vault-admin"]),
            Login::OrphansOnly => server.userpass_login("minter", &["orphans"], &[]),
            Login::Weak => server.weak_login(),
        };
        if fresh {
            self.logins.remove(&login);
        }
        self.logins.entry(login).or_insert_with(|| enter(&self.server)).clone()
    }

    fn mint(&mut self, twin: Twin) -> Minted {
        if let Twin::Child = twin {
            let parent = self.login(Login::Admin, false).token;
            return self.server.mint(&parent, without(ours(), &["no_parent"]));
        }
        self.server.mint_as_root(match twin {
            Twin::Good | Twin::Child => ours(),
            Twin::Ending => with(ours(), "explicit_max_ttl", "1h"),
            Twin::NoPeriod => with(with(ours(), "period", 0), "ttl", "2h"),
            Twin::NotRenewable => with(ours(), "renewable", false),
            Twin::NameOnly => with(ours(), "policies", json!(["reader"])),
            Twin::Elsewhere => {
                let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
                let notes = json!({ "machine": "f".repeat(32), "host": host, "user": USER });
                with(ours(), "meta", notes)
            }
        })
    }

    /// All tokens that live, by accessor.
    fn living(&self) -> BTreeMap<String, Value> {
        let known = |accessor: String| self.server.lookup_accessor(&accessor).map(|data| (accessor, data));
        self.server.accessors().into_iter().filter_map(known).collect()
    }

    /// Ends what the last history left.
    fn clean(&mut self) {
        if self.most != PERIOD {
            self.cap(false);
        }
        let kept: BTreeSet<&String> =
            self.logins.values().map(|login| &login.accessor).chain(&self.neighbours).collect();
        for (accessor, data) in self.living() {
            if !kept.contains(&accessor) && data["policies"] != json!(["root"]) {
                self.server.revoke_accessor(&accessor);
            }
        }
    }
}

/// What a token is to a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Strong,
    Weak,
    Ours,
    Dying,
    /// Ours, and no orphan: dying, and nothing may be swept while it is kept.
    Child,
}

/// What the token file holds, as far as a run is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Case {
    NoToken,
    Dead,
    Living(Kind),
}

/// Everything that can be seen from outside, at one moment.
struct View {
    contents: Option<Vec<u8>>,
    inode: Option<u64>,
    mode: Option<u32>,
    case: Case,
    /// The accessor of the token in the file.
    accessor: Option<String>,
    /// The accessors of all living tokens of our name, but those of another machine.
    named: BTreeSet<String>,
}

impl View {
    fn is_living(&self) -> bool {
        matches!(self.case, Case::Living(_))
    }

    /// Whether the only token of our name is the one in the file.
    fn is_settled(&self) -> bool {
        self.named.iter().eq(&self.accessor)
    }
}

/// One history.
struct World<'a> {
    house: &'a mut House,
    home: Sandbox,
    /// What is known of every token that ever was in the file.
    kinds: BTreeMap<String, Kind>,
    /// These tokens in their order.
    former: Vec<String>,
    /// The logins that nobody has revoked.
    guests: BTreeSet<String>,
    /// Whether a sweep is due, by the place of the state: [`Place::Usual`], then [`Place::Elsewhere`].
    due: [bool; 2],
    /// What the machine is called in the eyes of an undisturbed run, if it has been given another name.
    machine: Option<&'static str>,
    undisturbed: u64,
}

impl<'a> World<'a> {
    fn new(house: &'a mut House) -> Self {
        house.clean();
        let guests = house.neighbours.iter().cloned().collect();
        let home = Sandbox::new();
        Self {
            house,
            home,
            kinds: BTreeMap::new(),
            former: Vec::new(),
            guests,
            due: [false; 2],
            machine: None,
            undisturbed: 0,
        }
    }

    /// Does what happens, and says whether it could happen.
    fn happen(&mut self, event: Event) -> bool {
        match event {
            Event::Login(login, fresh) => {
                let minted = self.house.login(login, fresh);
                self.guests.insert(minted.accessor.clone());
                let kind = if login == Login::Weak { Kind::Weak } else { Kind::Strong };
                self.put(&minted.token, kind);
            }
            Event::Put(twin) => {
                let token = self.house.mint(twin).token;
                let kind = match twin {
                    Twin::Good => Kind::Ours,
                    Twin::Child => Kind::Child,
                    Twin::Ending | Twin::NoPeriod | Twin::NotRenewable => Kind::Dying,
                    Twin::NameOnly | Twin::Elsewhere => Kind::Weak,
                };
                self.put(&token, kind);
            }
            Event::Stray(twin) => {
                let minted = self.house.mint(twin);
                if let Twin::Elsewhere = twin {
                    self.guests.insert(minted.accessor);
                }
            }
            Event::PutBack(number) => {
                let Some(token) = self.former.iter().rev().nth(number).cloned() else { return false };
                self.home.put(&token);
            }
            Event::Revoke => return self.revoke(),
            Event::Expire => self.expire(),
            Event::Junk(None) => return fs::remove_file(self.home.token_file()).is_ok(),
            Event::Junk(Some(contents)) => {
                fs::write(self.home.token_file(), contents).unwrap();
                self.home.chmod(0o600);
            }
            Event::State(contents) => return self.spoil_state(contents),
            Event::Loosen(mode) => {
                let mode = fs::Permissions::from_mode(mode);
                return fs::set_permissions(self.home.token_file(), mode).is_ok();
            }
            Event::Log(writable) => return self.change_log(writable),
            Event::Run(place) => self.undisturbed(place, None),
            Event::Cached => {
                let proxy = Arc::clone(&self.house.proxy);
                // The last two ask the same, if there is anything to renew.
                for _ in 0..3 {
                    self.undisturbed(Place::Usual, Some((*proxy).as_ref()));
                }
            }
            Event::Dry => self.dry(),
            Event::Sweep => self.sweep(),
            Event::Kill { request, heard } => self.killed_at(request, heard),
            Event::KillAfter(milliseconds) => self.killed_after(milliseconds),
            Event::Outage(outage) => self.outage(outage),
            Event::Intrusion(login, request) => self.intrusion(login, request),
            Event::DeadPort => self.dead_port(),
            Event::Rename(name) => self.machine = Some(name),
            Event::Cap(is_capped) => self.house.cap(is_capped),
            Event::StopAfter(milliseconds) => self.stopped_after(milliseconds),
            Event::Several { runs, elsewhere, kill } => self.several(runs, elsewhere, kill),
        }
        true
    }

    fn put(&mut self, token: &str, kind: Kind) {
        self.home.put(token);
        self.kinds.insert(token.to_owned(), kind);
        self.former.push(token.to_owned());
    }

    fn revoke(&mut self) -> bool {
        let view = self.view();
        let Some(accessor) = view.accessor else { return false };
        self.house.server.revoke_accessor(&accessor);
        self.guests.remove(&accessor);
        self.house.logins.retain(|_, login| login.accessor != accessor);
        true
    }

    fn expire(&mut self) {
        let minted = self.house.server.mint_as_root(with(dying("vault-admin"), "ttl", "1s"));
        self.put(&minted.token, Kind::Dying);
        let server = &self.house.server;
        wait_until("a token of one second has expired", || {
            server.lookup(&minted.token).is_none() && server.lookup_accessor(&minted.accessor).is_none()
        });
    }

    /// The state file of a place, if there is one.
    fn state_file(&self, place: Place) -> Option<PathBuf> {
        file_in(&self.home.path().join(state_home(place)?).join("vault-token-renew"), "json")
    }

    /// Whether the state file says that a sweep is due; `None` if it cannot be understood.
    fn noted(&self, place: Place) -> Option<bool> {
        let Some(path) = self.state_file(place) else { return Some(false) };
        let record: Value = serde_json::from_slice(&fs::read(path).unwrap()).ok()?;
        let readable = record.is_object() && record["minted"].is_array();
        readable.then(|| record["sweep_due"] == true)
    }

    fn spoil_state(&mut self, contents: Option<&str>) -> bool {
        let mut done = false;
        for (place, due) in [Place::Usual, Place::Elsewhere].into_iter().zip(&mut self.due) {
            let directory = self.home.path().join(state_home(place).unwrap()).join("vault-token-renew");
            let Ok(entries) = fs::read_dir(directory) else { continue };
            for path in entries.map(|entry| entry.unwrap().path()) {
                match contents {
                    None => fs::remove_file(path).unwrap(),
                    Some(contents) if path.extension().is_some_and(|kind| kind == "json") => {
                        fs::write(path, contents).unwrap();
                    }
                    Some(_) => continue,
                }
                // What was due is forgotten.
                *due = false;
                done = true;
            }
        }
        done
    }

    fn change_log(&mut self, writable: bool) -> bool {
        let log = self.home.path().join(LOG);
        if log.is_dir() != writable {
            return false;
        }
        let _ = fs::remove_file(&log);
        if writable {
            fs::remove_dir(&log).unwrap();
        } else {
            // Not even root can write to it.
            fs::create_dir_all(&log).unwrap();
        }
        true
    }

    fn view(&self) -> View {
        let file = self.home.token_file();
        let contents = fs::read(&file).ok();
        let data = fs::metadata(&file).ok();
        let text = contents.as_ref().and_then(|bytes| str::from_utf8(bytes).ok()).unwrap_or("").trim();
        let living = self.house.living();
        let named = |(accessor, data): (&String, &Value)| {
            let is_elsewheres = self.guests.contains(accessor);
            (data["display_name"] == OUR_NAME && !is_elsewheres).then(|| accessor.clone())
        };
        let named = living.iter().filter_map(named).collect();
        for guest in &self.guests {
            assert!(living.contains_key(guest), "somebody else's token was revoked: {guest}");
        }
        let is_token = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic());
        let info = if is_token { self.house.server.lookup(text) } else { None };
        let case = match (&info, self.kinds.get(text)) {
            (Some(_), Some(kind)) => Case::Living(*kind),
            (Some(_), None) => Case::Living(Kind::Ours),
            (None, _) if is_token => Case::Dead,
            (None, _) => Case::NoToken,
        };
        let accessor = info.map(|info| info["accessor"].as_str().unwrap().to_owned());
        View {
            contents,
            inode: data.as_ref().map(fs::Metadata::ino),
            mode: data.map(|data| data.mode() & 0o7777),
            case,
            accessor,
            named,
        }
    }

    /// Checks that a token nobody but the program can have put into the file is what it has to be, and gets to know
    /// it.
    fn get_to_know(&mut self) {
        let token = self.home.token();
        assert!(!self.kinds.contains_key(&token), "the file holds a token of earlier times");
        believe(self.house.server.recognise_minted(&token, USER));
        assert_eq!(self.home.mode(".vault-token"), 0o600);
        self.kinds.insert(token.clone(), Kind::Ours);
        self.former.push(token);
    }

    fn log(&self, place: Place) -> String {
        state_home(place)
            .and_then(|home| {
                fs::read_to_string(self.home.path().join(home).join("vault-token-renew.log")).ok()
            })
            .unwrap_or_default()
    }

    /// No temporary file in the home.
    fn check_tidy(&self, places: &[Place]) {
        let mut expected = vec![".local", ".vault-token"];
        expected.retain(|name| self.home.path().join(name).symlink_metadata().is_ok());
        assert_eq!(self.home.names(), expected, "the home is not tidy");
        for home in places.iter().filter_map(|place| state_home(*place)) {
            for entry in
                fs::read_dir(self.home.path().join(home).join("vault-token-renew")).into_iter().flatten()
            {
                let name = entry.unwrap().file_name().into_string().unwrap();
                assert!(!name.contains(".renew-"), "the state directory is not tidy: {name}");
            }
        }
    }

    fn is_due(&self, place: Place) -> bool {
        match place {
            Place::Usual => self.due[0],
            Place::Elsewhere => self.due[1],
            Place::Nowhere => false,
        }
    }

    fn set_due(&mut self, place: Place, is_due: bool) {
        match place {
            Place::Usual => self.due[0] = is_due,
            Place::Elsewhere => self.due[1] = is_due,
            Place::Nowhere => {}
        }
    }

    /// What a run has to warn of, as fragments.
    fn expected_warnings(&self, place: Place, before: &View) -> Vec<&'static str> {
        let mut expected = Vec::new();
        if before.case != Case::NoToken && before.mode.is_some_and(|mode| mode & 0o077 != 0) {
            expected.push("other users could read the token");
        }
        if place == Place::Nowhere {
            expected.push("continuing without lock and state");
        }
        if place == Place::Nowhere || (place == Place::Usual && self.home.path().join(LOG).is_dir()) {
            expected.push("cannot be written");
        }
        if place != Place::Nowhere && self.noted(place).is_none() {
            expected.push("the state file cannot be read, starting anew");
        }
        expected
    }

    /// Whether what a heal would put into the file has less than what is there.
    fn is_shortened(&self, before: &View) -> bool {
        let healed = matches!(before.case, Case::Living(Kind::Strong | Kind::Dying | Kind::Child));
        let info = || self.house.server.lookup(&self.home.token()).expect("it lives");
        healed && info()["ttl"].as_u64().expect("a time to live") > self.house.most + 60
    }

    /// Nothing keeps a run from its work, be it at the server itself or through something `between`.
    fn undisturbed(&mut self, place: Place, between: Option<&str>) {
        self.undisturbed += 1;
        let before = self.view();
        let was_due = self.is_due(place);
        let mut warnings = self.expected_warnings(place, &before);
        if let Case::Living(Kind::Dying | Kind::Child) = before.case {
            warnings.push("is dying: ");
        }
        if self.is_shortened(&before) {
            warnings.push("each renewal gives the new token 7 d; the one it replaces had ");
        }
        let log = self.log(place);

        let address = between.unwrap_or(self.house.server.address());
        let mut command = match self.machine {
            None => self.home.command(address),
            Some(name) => self.home.command_on(address, name, None),
        };
        if let Some(variable) = variable(self.home.path(), place) {
            command.env(variable.0, variable.1);
        }
        let run = self.home.finish(&mut command);

        let after = self.view();
        Self::check_file_after(&before, &after);
        self.check_tidy(&[place]);
        let complaints = run.complaints();
        let (warned, rest) = match before.case {
            Case::Living(Kind::Ours | Kind::Strong | Kind::Dying | Kind::Child) => {
                (complaints.as_slice(), None)
            }
            Case::Living(Kind::Weak) | Case::Dead | Case::NoToken => {
                let (last, warned) = complaints.split_last().expect("a bad run says why");
                assert_eq!(run.stdout, "");
                (warned, Some(*last))
            }
        };
        check_warnings(warned, &warnings, &run);
        let (old, new) = (before.named.len(), after.named.len());
        match before.case {
            Case::Living(kind @ (Kind::Strong | Kind::Dying | Kind::Child)) => {
                assert_eq!(run.status, 0, "{run:?}");
                let from = if kind == Kind::Strong {
                    "foreign dn=\"userpass-"
                } else {
                    "dying dn=\"token-devvm-wizard\""
                };
                let start = format!("HEALED: re-minted periodic token from {from}");
                let end = format!(" (revoked {old} stale periodic token(s))");
                assert!(run.said().starts_with(&start) && run.said().ends_with(&end), "{end}: {run:?}");
                check_replaced(&before, &after);
                self.get_to_know();
                self.check_good_news();
                assert!(after.is_settled(), "{new} tokens of our name after a heal");
                self.set_due(place, false);
            }
            Case::Living(Kind::Ours) => {
                assert_eq!(run.status, 0, "{run:?}");
                let swept =
                    format!("; resumed an earlier sweep (revoked {} stale periodic token(s))", old - 1);
                let swept = if was_due { swept.as_str() } else { "" };
                let most = self.house.most;
                assert_eq!(run.said(), format!("OK renewed (dn={OUR_NAME} ttl={most}s){swept}"));
                self.check_good_news();
                assert_eq!((&after.contents, after.inode), (&before.contents, before.inode));
                if was_due {
                    assert!(after.is_settled(), "{new} tokens of our name after a sweep that was due");
                } else {
                    assert_eq!(after.named, before.named, "a mere renewal mints and revokes nothing");
                }
                self.set_due(place, false);
            }
            Case::Living(Kind::Weak) => {
                assert_eq!(run.status, 1, "{run:?}");
                let line = rest.unwrap();
                assert!(
                    line.starts_with("DRIFT: ~/.vault-token is dn=") && line.contains("— heal denied, "),
                    "{run:?}"
                );
                Self::check_unchanged(&before, &after);
            }
            Case::Dead => {
                assert_eq!(run.status, 1, "{run:?}");
                let line = rest.unwrap();
                assert!(
                    line.starts_with("FAIL: token lookup: ") && line.contains(" is dead or blocked "),
                    "{run:?}"
                );
                Self::check_unchanged(&before, &after);
            }
            Case::NoToken => {
                assert_eq!(run.status, 1, "{run:?}");
                assert!(rest.unwrap().starts_with("FAIL: token file: ~/.vault-token: "), "{run:?}");
                Self::check_unchanged(&before, &after);
            }
        }
        if place != Place::Nowhere {
            assert_eq!(
                self.noted(place).unwrap_or(false),
                self.is_due(place),
                "what the state file says of a due sweep"
            );
        }
        // The log has got exactly the lines that were said.
        let writable =
            place == Place::Elsewhere || (place == Place::Usual && !self.home.path().join(LOG).is_dir());
        if writable {
            assert_eq!(self.log(place).strip_prefix(&log), Some(run.told().as_str()), "the log");
        }
    }

    /// Whether good news is true: the token in the file is as ordered, ends with no other, and has all the time that
    /// the server grants.
    fn check_good_news(&self) {
        let info = believe(self.house.server.recognise(&self.home.token()));
        let left = info["ttl"].as_u64().expect("a time to live");
        assert!(left + 60 > self.house.most, "{left}s left of {}", self.house.most);
    }

    fn check_unchanged(before: &View, after: &View) {
        assert_eq!((&after.contents, after.inode), (&before.contents, before.inode), "the file must stay");
        assert_eq!(after.named, before.named, "nothing may be stranded or revoked");
    }

    /// What is true after every run that was not dry, however it ended by itself.
    fn check_file_after(before: &View, after: &View) {
        if before.is_living() {
            assert!(after.is_living(), "the token in the file was alive and is dead");
        }
        if before.case != Case::NoToken {
            assert_eq!(after.mode, Some(0o600));
        }
    }

    fn dry(&mut self) {
        let before = self.view();
        let is_due = self.is_due(Place::Usual);
        let living = |world: &Self| {
            let mut living = world.house.living();
            for data in living.values_mut() {
                data["ttl"] = Value::Null;
            }
            living
        };
        let (files, tokens) = (self.home.snapshot(), living(self));
        let run = self.home.run(self.house.server.address(), &["--dry-run"]);
        assert_eq!(self.home.snapshot(), files, "a dry run writes nothing");
        assert_eq!(living(self), tokens, "a dry run changes nothing on the server");
        let (status, word) = match before.case {
            Case::Living(Kind::Ours) => (0, "would renew"),
            Case::Living(Kind::Strong | Kind::Dying | Kind::Child) => (0, "would mint"),
            Case::Living(Kind::Weak) => (1, "heal denied"),
            Case::Dead => (1, "is dead or blocked"),
            Case::NoToken => (1, "token file"),
        };
        assert_eq!(run.status, status, "{run:?}");
        let said = run.all();
        assert!(said.contains(word), "{word:?}: {run:?}");
        if before.case == Case::Living(Kind::Ours) {
            assert_eq!(said.contains("would resume the sweep"), is_due, "{run:?}");
        }
    }

    fn sweep(&mut self) {
        let before = self.view();
        let run = self.home.run(self.house.server.address(), &["sweep"]);
        let after = self.view();
        Self::check_file_after(&before, &after);
        self.check_tidy(&[Place::Usual]);
        assert_eq!(
            (&after.contents, after.inode),
            (&before.contents, before.inode),
            "a sweep leaves the file alone"
        );
        if let Case::Living(Kind::Ours | Kind::Dying) = before.case {
            assert_eq!(run.status, 0, "{run:?}");
            let said = format!("OK revoked {} stale periodic token(s)", before.named.len() - 1);
            assert!(run.said().starts_with(&said), "{said}: {run:?}");
            assert!(after.is_settled(), "a sweep keeps the token in the file and nothing else");
            self.set_due(Place::Usual, false);
        } else {
            assert_eq!(run.status, 1, "{run:?}");
            assert!(run.all().lines().any(|line| unstamped(line).starts_with("FAIL: ")), "{run:?}");
            assert_eq!(after.named, before.named);
            if before.case == Case::Living(Kind::Child) {
                assert!(run.all().contains("the token to keep is not an orphan"), "{run:?}");
                self.set_due(Place::Usual, true);
            }
        }
        assert_eq!(
            self.noted(Place::Usual).unwrap_or(false),
            self.is_due(Place::Usual),
            "what the state file says of a due sweep"
        );
    }

    fn killed_at(&mut self, number: usize, heard: bool) {
        let before = self.view();
        let victim: Arc<Mutex<Option<Child>>> = Arc::default();
        let gate = Gate::new(&self.house.server, Some(Doom { number, heard, victim: Arc::clone(&victim) }));
        {
            // The first request waits here until the child can be reached.
            let mut victim = victim.lock().unwrap();
            *victim = Some(self.home.start(&gate.front, &[]));
        }
        wait_until("the run has ended", || {
            victim.lock().unwrap().as_mut().is_some_and(|child| child.try_wait().unwrap().is_some())
        });
        let child = victim.lock().unwrap().take().unwrap();
        for token in gate.inside.lost.lock().unwrap().iter() {
            self.home.guard(token);
        }
        let run = self.home.wait(child);
        self.check_disturbed(&before, &[run]);
    }

    fn killed_after(&mut self, milliseconds: u64) {
        let before = self.view();
        let gate = Gate::new(&self.house.server, None);
        let mut child = self.home.start(&gate.front, &[]);
        thread::sleep(Duration::from_millis(milliseconds));
        gate.kill(&mut child);
        let run = self.home.wait(child);
        self.check_disturbed(&before, &[run]);
    }

    fn stopped_after(&mut self, milliseconds: u64) {
        let before = self.view();
        let gate = Gate::new(&self.house.server, None);
        let child = self.home.start(&gate.front, &[]);
        thread::sleep(Duration::from_millis(milliseconds));
        gate.close();
        let number = rustix::process::Pid::from_child(&child);
        // It may have ended by itself.
        let _ = rustix::process::kill_process(number, rustix::process::Signal::TERM);
        let mut run = self.home.wait(child);
        if run.status == TERMINATED {
            // Before it could hear of it: a kill like any other.
            run.status = KILLED;
        } else if run.status == 1 {
            let told = run.told();
            let line = told.lines().map(unstamped).find(|line| !line.starts_with("WARN: ")).unwrap();
            let as_ever = matches!(before.case, Case::NoToken | Case::Dead | Case::Living(Kind::Weak));
            assert!(as_ever || line.starts_with("FAIL: stopped by SIGTERM; "), "{run:?}");
        }
        self.check_disturbed(&before, &[run]);
    }

    fn outage(&mut self, Outage { request: number, once, heard, told, patient }: Outage) {
        let before = self.view();
        let (server, lost) = (Arc::clone(&self.house.server), Arc::new(AtomicBool::new(false)));
        let losing = Arc::clone(&lost);
        let front = Scripted::in_front_of(self.house.server.address(), move |request, count| {
            if count < number || (once && count > number) {
                return None;
            }
            let minted = heard && request.call().starts_with("auth/token/create");
            if heard {
                relay(&server, request);
                losing.fetch_or(minted, Ordering::SeqCst);
            }
            // One that is sealed has minted nothing, and says so; one that has minted says anything else. With words
            // that name no outage a lookup would be passed over for this night, which is no unfinished sweep.
            let words = if minted { "internal error" } else { "Vault is sealed" };
            let unavailable = || Reply::Json(503, json!({ "errors": [words] }).to_string());
            Some(if told { unavailable() } else { Reply::Close })
        });
        let patience = if patient { "1s" } else { "0s" };
        let child = self.home.start(&front, &[("VTR_RETRY_FOR", patience)]);
        let run = self.home.wait(child);
        if before.case == Case::Living(Kind::Strong) {
            let said = run.all();
            assert!(
                !said.contains("DRIFT") && !said.contains("dead or blocked"),
                "an outage is no verdict: {run:?}"
            );
        }
        // Every request has come in, so none may be sent again that mints, but to a server that has not heard it.
        for call in ["auth/token/create", "auth/token/create-orphan"] {
            let repeatable = told && !heard && patient;
            assert!(repeatable || front.count(call) <= 1, "{call} was repeated: {run:?}");
        }
        let after = self.view();
        if once && !lost.load(Ordering::SeqCst) && after.contents == before.contents {
            // Nothing kept the run from revoking what it minted in vain.
            assert!(after.named.is_subset(&before.named), "a token is stranded: {run:?}");
        }
        self.check_disturbed(&before, &[run]);
    }

    fn intrusion(&mut self, login: Login, number: usize) {
        let minted = self.house.login(login, false);
        let before = self.view();
        let (file, token) = (self.home.token_file(), minted.token.clone());
        let landed = Arc::new(AtomicBool::new(false));
        let landing = Arc::clone(&landed);
        let front = Scripted::in_front_of(self.house.server.address(), move |_, count| {
            if count == number {
                land(&file, &token);
                landing.store(true, Ordering::SeqCst);
            }
            None
        });
        let run = self.home.wait(self.home.start(&front, &[]));
        if !landed.load(Ordering::SeqCst) {
            self.check_disturbed(&before, &[run]);
            return;
        }
        self.home.guard(&minted.token);
        self.guests.insert(minted.accessor.clone());
        let kind = if login == Login::Weak { Kind::Weak } else { Kind::Strong };
        self.kinds.insert(minted.token.clone(), kind);
        self.former.push(minted.token.clone());
        let after = self.view();
        let is_kept = after.contents.as_deref() == Some(minted.token.as_bytes());
        let told = run.told();
        let line = told.lines().map(unstamped).find(|line| !line.starts_with("WARN: ")).unwrap();
        let (healed, renewed) = (line.starts_with("HEALED: "), line.starts_with("OK renewed "));
        assert_eq!(run.status, i32::from(!(healed || renewed)), "{run:?}");
        if !is_kept {
            assert!(healed && kind == Kind::Strong, "a login is lost: {run:?}");
            self.get_to_know();
        }
        // Only what was renewed or healed before the login landed leaves it in the file.
        let in_time =
            matches!(before.case, Case::Living(Kind::Ours | Kind::Strong | Kind::Dying | Kind::Child));
        assert!(
            !is_kept || kind == Kind::Weak || (in_time && run.status == 0),
            "a strong login is not healed: {run:?}"
        );
        let sweeps = healed || (renewed && self.due[0]);
        if line.contains("the token file changed") {
            // While it swept. Whatever holds the file now could have been the next to be revoked.
            assert!(sweeps && is_kept && !after.named.is_empty(), "{run:?}");
            self.due[0] = true;
        } else if sweeps {
            assert_eq!(after.named.len(), 1, "{run:?}");
            assert!(is_kept || after.is_settled(), "{run:?}");
            self.due[0] = false;
        } else {
            assert_eq!(after.named, before.named, "{run:?}");
        }
        assert_eq!(
            self.noted(Place::Usual).unwrap_or(false),
            self.due[0],
            "what the state file says of a due sweep"
        );
        assert_eq!(after.mode, Some(0o600));
        self.check_tidy(&[Place::Usual]);
    }

    fn dead_port(&mut self) {
        let before = self.view();
        let run = self.home.wait(self.home.start(NOWHERE, &[]));
        assert_eq!(run.status, 1, "{run:?}");
        let after = self.view();
        Self::check_unchanged(&before, &after);
        self.check_disturbed(&before, &[run]);
    }

    /// What is true after runs that were disturbed, all of which keep their state in the usual place.
    fn check_disturbed(&mut self, before: &View, runs: &[Run]) {
        let killed = runs.iter().any(|run| run.status == KILLED);
        let after = self.view();
        let replaced = after.contents != before.contents;
        if before.is_living() {
            assert!(after.is_living(), "the token in the file was alive and is dead: {runs:?}");
        }
        if replaced {
            assert!(
                matches!(before.case, Case::Living(Kind::Strong | Kind::Dying | Kind::Child)),
                "nothing here could be healed: {runs:?}"
            );
            check_replaced(before, &after);
            self.get_to_know();
        }
        for run in runs {
            assert!(matches!(run.status, 0 | 1 | KILLED), "{run:?}");
            let kept_or_healed = replaced || before.case == Case::Living(Kind::Ours);
            assert!(
                run.status != 0 || kept_or_healed,
                "a good exit, but the file does not hold ours: {run:?}"
            );
            // Whoever put the new token into the file has to say so, unless it was killed.
            assert!(!replaced || killed || run.status == 0, "healed, but a bad exit: {run:?}");
        }
        let fresh = after.named.difference(&before.named).count();
        assert!(fresh <= runs.len(), "{fresh} new tokens, so a mint was repeated: {runs:?}");
        let was_due = self.due[0];
        let may_sweep = replaced || (was_due && before.case == Case::Living(Kind::Ours));
        if !may_sweep {
            assert!(
                before.named.is_subset(&after.named),
                "revoked although there was nothing to sweep: {runs:?}"
            );
        }
        // A due sweep is forgotten only when it is done, and noted before the file is replaced. Unless a kill came
        // between, it is noted only if the file was replaced.
        let is_due = self.noted(Place::Usual).unwrap_or(false);
        if (was_due || replaced) && !is_due {
            assert!(after.is_settled(), "an unfinished sweep was not noted, or forgotten: {runs:?}");
        }
        // What a lost mint left, or one in vain that could not be revoked, is swept by the next run, whatever that
        // has to do.
        let lost = runs.iter().any(|run| {
            ["a sweep that walks", "a token we never received"].iter().any(|words| run.stderr.contains(words))
        });
        assert!(
            !is_due || was_due || replaced || killed || lost,
            "a sweep is due that never began: {runs:?}"
        );
        self.due[0] = is_due;
        if killed {
            // What a kill leaves can hold a token.
            for (name, (mode, ..)) in self.home.snapshot() {
                assert!(!name.contains(".renew-") || mode & 0o7777 == 0o600, "{name} has mode {mode:o}");
            }
        } else {
            self.check_tidy(&[Place::Usual]);
        }
    }

    fn several(&mut self, count: usize, elsewhere: bool, kill: Option<u64>) {
        let before = self.view();
        // With a run that is killed, who finishes its work depends on where the state is.
        let elsewhere = elsewhere && kill.is_none();
        let places: Vec<_> =
            (0..count).map(|n| if n == 1 && elsewhere { Place::Elsewhere } else { Place::Usual }).collect();
        let due = places.iter().any(|place| self.is_due(*place));
        let gate = Gate::new(&self.house.server, None);
        let start = |(number, place): (usize, &Place)| {
            let to_be_killed = number == 0 && kill.is_some();
            let address = if to_be_killed { gate.front.address() } else { self.house.server.address() };
            let variables = variable(self.home.path(), *place);
            let variables: Vec<_> = variables.iter().map(|(name, value)| (*name, value.as_str())).collect();
            self.home.start(address, &variables)
        };
        let log = self.log(Place::Usual);
        let mut children: Vec<_> = places.iter().enumerate().map(start).collect();
        if let Some(milliseconds) = kill {
            thread::sleep(Duration::from_millis(milliseconds));
            gate.kill(&mut children[0]);
        }
        let runs: Vec<_> = children.into_iter().map(|child| self.home.wait(child)).collect();
        let after = self.view();
        Self::check_file_after(&before, &after);
        self.check_tidy(&places);
        let (good, said) = match before.case {
            Case::Living(Kind::Strong | Kind::Dying | Kind::Child) => (true, "HEALED: "),
            Case::Living(Kind::Ours) => (true, "OK renewed "),
            Case::Living(Kind::Weak) => (false, "DRIFT: "),
            Case::Dead | Case::NoToken => (false, "FAIL: "),
        };
        let healed = said == "HEALED: ";
        let told: String = runs.iter().map(Run::told).collect();
        let lines: Vec<_> = told.lines().map(unstamped).collect();
        for run in runs.iter().filter(|run| run.status != KILLED) {
            assert_eq!(run.status, i32::from(!good), "{runs:?}");
        }
        let killed = runs.iter().any(|run| run.status == KILLED);
        let spoke = lines.iter().filter(|line| line.starts_with(said)).count();
        if healed {
            // The killed one may have healed without a word.
            assert!(spoke == 1 || (killed && spoke == 0), "{spoke} heals: {runs:?}");
            check_replaced(&before, &after);
            self.get_to_know();
        } else {
            assert!(spoke == count || (killed && spoke == count - 1), "{said}: {runs:?}");
            assert_eq!((&after.contents, after.inode), (&before.contents, before.inode));
        }
        if healed || (due && before.case == Case::Living(Kind::Ours)) {
            assert!(after.is_settled(), "{} tokens of our name: {runs:?}", after.named.len());
        } else {
            assert_eq!(after.named, before.named, "{runs:?}");
        }
        if good {
            for place in &places {
                self.set_due(*place, false);
            }
        }
        for place in places {
            assert_eq!(
                self.noted(place).unwrap_or(false),
                self.is_due(place),
                "what the state file says of a due sweep"
            );
        }
        if !killed && !self.home.path().join(LOG).is_dir() {
            // Every line of every run, whole.
            let added: Vec<_> = self
                .log(Place::Usual)
                .strip_prefix(&log)
                .unwrap()
                .lines()
                .map(|line| unstamped(line).to_owned())
                .collect();
            let ends = added.iter().filter(|line| !line.starts_with("WARN: ")).count();
            assert_eq!(ends, if elsewhere { count - 1 } else { count }, "{added:?}");
        }
    }
}

/// The token file is another one, and not the same one with other bytes: nobody who reads it can see a part.
fn check_replaced(before: &View, after: &View) {
    assert_ne!(after.contents, before.contents);
    assert_ne!(after.inode, before.inode, "the token file was written in place");
}

/// In front of the real server, where a run is killed. When it dies, the server has done with all it was asked to do:
/// a request that was still on its way then would change things under the eyes of the model.
struct Gate {
    front: Scripted,
    inside: Arc<Inside>,
}

#[derive(Default)]
struct Inside {
    /// Nothing passes any more.
    closed: AtomicBool,
    /// How many requests the server is busy with.
    busy: AtomicUsize,
    /// Tokens whose mint was heard and not answered.
    lost: Mutex<Vec<String>>,
}

impl Inside {
    /// Waits until the server is busy with so many requests only.
    fn wait(&self, busy: usize) {
        wait_until("the server has answered", || self.busy.load(Ordering::SeqCst) <= busy);
    }
}

/// Which request is the last of which run, and whether the server hears it.
struct Doom {
    number: usize,
    heard: bool,
    victim: Arc<Mutex<Option<Child>>>,
}

impl Gate {
    /// A gate that lets everything pass until a run meets its doom.
    fn new(server: &Arc<OpenBao>, doom: Option<Doom>) -> Self {
        let (server, inside) = (Arc::clone(server), Arc::<Inside>::default());
        let within = Arc::clone(&inside);
        let front = Scripted::start(move |request, count| {
            within.busy.fetch_add(1, Ordering::SeqCst);
            let reply = match &doom {
                _ if within.closed.load(Ordering::SeqCst) => Reply::Hang,
                Some(Doom { number, heard, victim }) if *number == count => {
                    within.closed.store(true, Ordering::SeqCst);
                    if *heard {
                        let token = relay(&server, request).1;
                        within.lost.lock().unwrap().extend(token);
                    }
                    within.wait(1);
                    if let Some(child) = victim.lock().unwrap().as_mut() {
                        let _ = child.kill();
                        let _ = child.wait();
                    }
                    Reply::Close
                }
                Some(_) | None => relay(&server, request).0,
            };
            within.busy.fetch_sub(1, Ordering::SeqCst);
            reply
        });
        Self { front, inside }
    }

    /// Lets nothing pass any more, and returns when the server has done what it was asked to.
    fn close(&self) {
        self.inside.closed.store(true, Ordering::SeqCst);
        self.inside.wait(0);
    }

    fn kill(&self, child: &mut Child) {
        self.close();
        let _ = child.kill();
    }
}

/// Each of these is warned of once, and of nothing else but what the server warns of.
fn check_warnings(warned: &[&str], expected: &[&str], run: &Run) {
    for fragment in expected {
        let times = warned.iter().filter(|line| line.contains(fragment)).count();
        assert_eq!(times, 1, "{fragment:?}: {run:?}");
    }
    for line in warned {
        let known =
            expected.iter().any(|fragment| line.contains(fragment)) || line.contains("the server warns");
        assert!(line.starts_with("WARN: ") && known, "{line:?}: {run:?}");
    }
}

/// Where a place is, below the home.
fn state_home(place: Place) -> Option<&'static str> {
    match place {
        Place::Usual => Some(".local/state"),
        Place::Elsewhere => Some(".local/elsewhere"),
        Place::Nowhere => None,
    }
}

/// What leads a run to a place.
fn variable(home: &Path, place: Place) -> Option<(&'static str, String)> {
    let path = match place {
        Place::Usual => return None,
        Place::Elsewhere => home.join(".local/elsewhere").to_str().unwrap().to_owned(),
        Place::Nowhere => "/dev/null".to_owned(),
    };
    Some(("XDG_STATE_HOME", path))
}

/// What the real server answers, and the token in it if there is one.
fn relay(server: &OpenBao, request: &Request) -> (Reply, Option<String>) {
    let body = serde_json::from_str(&request.body).ok();
    let answer = server.request(&request.method, request.call(), request.header("x-vault-token"), None, body);
    let token = answer.json.pointer("/auth/client_token").and_then(Value::as_str).map(str::to_owned);
    let reply = if answer.json.is_null() {
        Reply::Full(answer.status, Vec::new(), String::new())
    } else {
        Reply::Json(answer.status, answer.json.to_string())
    };
    (reply, token)
}

/// How much was tried.
#[derive(Default)]
struct Tally {
    histories: u64,
    undisturbed: u64,
    events: BTreeMap<&'static str, u64>,
}

impl Tally {
    fn add(&mut self, other: Self) {
        self.histories += other.histories;
        self.undisturbed += other.undisturbed;
        for (name, times) in other.events {
            *self.events.entry(name).or_default() += times;
        }
    }
}

/// Goes through one history. `past` is what has happened so far, for whoever has to tell of a failure.
fn live(house: &mut House, seed: u64, past: &mut Vec<Event>) -> Tally {
    let mut tally = Tally { histories: 1, ..Tally::default() };
    let mut world = World::new(house);
    for event in Event::history(seed) {
        past.push(event);
        if world.happen(event) {
            *tally.events.entry(event.name()).or_default() += 1;
        }
    }
    // Whatever happened: a login that is strong enough, and all is well.
    let last = Event::Login(STRONG[usize::try_from(seed % 3).unwrap()], false);
    past.push(last);
    world.happen(last);
    past.push(Event::Run(Place::Usual));
    world.undisturbed(Place::Usual, None);
    tally.undisturbed = world.undisturbed;
    tally
}

#[test]
fn whatever_happens_an_undisturbed_run_does_exactly_what_it_has_to() {
    let histories = histories_asked_for().unwrap_or(HISTORIES);
    let (start, tally) = (Instant::now(), Mutex::new(Tally::default()));
    let seed = live_histories(histories, House::new, |house, seed, past| {
        let one = live(house, seed, past);
        tally.lock().unwrap().add(one);
    });
    let tally = tally.into_inner().unwrap_or_else(PoisonError::into_inner);
    let events: u64 = tally.events.values().sum();
    let mut text = format!(
        "{} histories with {events} events and {} undisturbed runs in {:.1} s, seed {seed}",
        tally.histories,
        tally.undisturbed,
        start.elapsed().as_secs_f64()
    );
    for (name, times) in &tally.events {
        let _ = write!(text, ", {times} {name}");
    }
    count(&text);
    assert_eq!(tally.histories, histories);
}
