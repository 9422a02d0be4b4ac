//! The deploy hook beside the runs: however long it takes, no renewal, no login and nobody who asks how it stands waits
//! for it.

use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread::{self, JoinHandle};

use crate::clock::Clock;
use crate::config::Settings;
use crate::local::history::HeldToken;
use crate::report::names::Names;
use crate::report::streams::Unhurried;
use crate::report::{Format, Log, Repeats, Report};
use crate::stop::Stop;
use crate::verbs::once::deploy;

/// What the hook runs in.
#[derive(Debug, Clone)]
pub(super) struct Scene {
    /// Where lines go.
    pub(super) streams: Arc<Unhurried>,
    /// What was said before.
    pub(super) repeats: Arc<Repeats>,
    /// This machine's clock.
    pub(super) clock: Clock,
    /// Whom standard output is for.
    pub(super) format: Format,
    /// Whether somebody wants the process to end, and the hook with it.
    pub(super) stop: Stop,
}

/// A hook that is due, for the token in the token file.
#[derive(Debug)]
pub(super) struct Due {
    /// The settings of the run that made it due.
    pub(super) settings: Arc<Settings>,
    /// The token.
    pub(super) held: HeldToken,
}

/// The thread that runs hooks, once there was one to run. Dropped, it waits for the one at work.
#[derive(Debug)]
pub(super) struct Aside {
    scene: Scene,
    thread: Option<(Sender<Due>, JoinHandle<()>)>,
}

impl Aside {
    /// Nothing is due yet.
    pub(super) fn new(scene: Scene) -> Self {
        Self { scene, thread: None }
    }

    /// Has a hook run, after the one at work.
    pub(super) fn order(&mut self, due: Due) {
        if self.thread.is_none() {
            let (sender, receiver) = mpsc::channel();
            let scene = self.scene.clone();
            let started = thread::Builder::new().name("hook".to_owned()).spawn(move || scene.run(&receiver));
            self.thread = started.ok().map(|thread| (sender, thread));
        }
        let left = match &self.thread {
            Some((sender, _)) => sender.send(due).err().map(|unsent| unsent.0),
            None => Some(due),
        };
        // Late is better than never.
        if let Some(due) = left {
            self.scene.deploy(&due);
        }
    }
}

impl Drop for Aside {
    fn drop(&mut self) {
        if let Some((sender, thread)) = self.thread.take() {
            drop(sender);
            // One that broke down has told so.
            let _ = thread.join();
        }
    }
}

impl Scene {
    fn run(&self, dues: &Receiver<Due>) {
        while let Ok(due) = dues.recv() {
            // Whoever is told of the last token needs to hear of none before.
            self.deploy(&dues.try_iter().last().unwrap_or(due));
        }
    }

    fn deploy(&self, Due { settings, held }: &Due) {
        let log = Log::File(settings.log_file.clone());
        let report = Report::new(Names::of(settings), self.clock, log, &*self.streams, self.format)
            .in_mind_of(Some(&self.repeats));
        let warn = |warning| report.warn(&warning);
        deploy(settings, held, self.clock, self.format, &self.stop, &warn);
    }
}
