//! The program under strace: which system calls it makes, and what becomes of it if one of them fails or is
//! its last.
//!
//! strace seizes the program before the program forbids it, and it stops every call before the kernel sees it.
//! So a call that is given an error, or at which the program is killed, has not been made at all.

use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::path::Path;

use assert_cmd::Command;
use tempfile::TempDir;

use super::sandbox::{PROGRAM, Sandbox};

/// Where Linux distributions have it. The environment of a run has no PATH to search.
pub const STRACE: &str = "/usr/bin/strace";

/// A token of OpenBao has two characters and then so many.
const TOKEN_LENGTH: usize = 24;

/// A run that is watched.
pub struct Strace {
    directory: TempDir,
}

/// One system call.
#[derive(Debug, Clone)]
pub struct Call {
    /// Its name.
    pub name: String,
    /// Which one of this name it is, from 1: what strace calls `when`.
    pub nth: usize,
    /// All of it, arguments and answer, as strace tells it.
    pub text: String,
    /// What its first argument is, where that is an open file: its path, or `socket`.
    pub file: String,
}

/// All of them.
#[derive(Debug)]
pub struct Trace {
    /// In the order in which they were made.
    pub calls: Vec<Call>,
    /// What strace says about the end, or about the last signal.
    pub end: String,
}

impl Strace {
    /// Nothing is run yet.
    ///
    /// # Panics
    /// If there is no strace.
    pub fn new() -> Self {
        assert!(Path::new(STRACE).exists(), "there is no {STRACE}; apt-get install strace");
        Self { directory: tempfile::Builder::new().prefix("vtr-strace-").tempdir().expect("a place for it") }
    }

    /// The program in this home under strace, with these of its `inject` expressions. Arguments for the program
    /// may follow.
    pub fn command(&self, home: &Sandbox, address: &str, injections: &[String]) -> Command {
        let mut command = home.command_unshared(address);
        command.arg(STRACE);
        // Long enough for the whole answer to a mint: the token in it must be known to be looked for elsewhere.
        command.args(["-f", "-s", "4096", "-o"]);
        command.arg(self.file());
        for injection in injections {
            command.args(["-e", &format!("inject={injection}")]);
        }
        command.arg(PROGRAM);
        command
    }

    /// What the run that has ended did.
    #[track_caller]
    pub fn trace(&self) -> Trace {
        let bytes = fs::read(self.file()).expect("what strace wrote; are user name spaces allowed?");
        Trace::parse(&String::from_utf8_lossy(&bytes))
    }

    fn file(&self) -> std::path::PathBuf {
        self.directory.path().join("trace")
    }
}

impl Call {
    /// Whether it has to do with a file whose path contains this.
    pub fn touches(&self, part: &str) -> bool {
        self.file.contains(part) || self.text.contains(part)
    }

    /// Whether it was made and has ended.
    pub fn is_complete(&self) -> bool {
        !self.text.ends_with("= ?")
    }

    /// Whether strace answered in the place of the kernel.
    pub fn is_injected(&self) -> bool {
        self.text.ends_with("(INJECTED)")
    }
}

impl Trace {
    fn parse(text: &str) -> Self {
        let mut trace = Self { calls: Vec::new(), end: String::new() };
        let mut counts: HashMap<String, usize> = HashMap::new();
        let mut open: HashMap<String, String> = HashMap::new();
        for line in text.lines() {
            // Every line begins with the number of the process.
            let (_, text) = line.split_once(' ').expect("a line of strace");
            let text = text.trim_start();
            let Some((name, arguments)) = text.split_once('(').filter(|_| !text.starts_with(['+', '-']))
            else {
                text.clone_into(&mut trace.end);
                continue;
            };
            // A second thread would make the numbers depend on the weather.
            assert!(!text.starts_with('<'), "more than one thread: {text}");
            let first = arguments.split([',', ')', ' ']).next().unwrap_or_default();
            let file = open.get(first).cloned().unwrap_or_default();
            let answer = text.rsplit_once(" = ").map(|(_, answer)| answer).unwrap_or_default();
            match name {
                "openat" => {
                    let path = arguments.split('"').nth(1).unwrap_or_default();
                    open.insert(answer.to_owned(), path.to_owned());
                }
                "socket" => {
                    open.insert(answer.to_owned(), "socket".to_owned());
                }
                "close" => {
                    open.remove(first);
                }
                _ => {}
            }
            let nth = counts.entry(name.to_owned()).or_default();
            *nth += 1;
            trace.calls.push(Call { name: name.to_owned(), nth: *nth, text: text.to_owned(), file });
        }
        trace
    }

    /// How many calls of this name there are.
    pub fn count(&self, name: &str) -> usize {
        self.calls.iter().filter(|call| call.name == name).count()
    }

    /// The first call of this name for which this is so.
    #[track_caller]
    pub fn find(&self, name: &str, is_it: impl Fn(&Call) -> bool) -> &Call {
        let found = self.calls.iter().find(|call| call.name == name && is_it(call));
        found.unwrap_or_else(|| panic!("there is no such {name} among the calls"))
    }

    /// Every token of OpenBao that went through the program's hands.
    pub fn tokens(&self) -> BTreeSet<String> {
        let mut tokens = BTreeSet::new();
        for call in &self.calls {
            for (place, _) in call.text.match_indices("s.") {
                let rest = &call.text[place + 2..];
                let length = rest.chars().take_while(char::is_ascii_alphanumeric).count();
                if length == TOKEN_LENGTH {
                    tokens.insert(format!("s.{}", &rest[..length]));
                }
            }
        }
        tokens
    }
}
