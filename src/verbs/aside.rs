//! Work beside the turns of a verb that stays: however long it takes, nothing waits for it.

use std::sync::mpsc::{self, Sender};
use std::thread::{self, JoinHandle};

/// Something to be done.
pub(super) type Job = Box<dyn FnOnce() + Send>;

/// The thread that does it, once there was something to do. Dropped, it waits for the job at work.
#[derive(Debug, Default)]
pub(super) struct Aside {
    thread: Option<(Sender<Job>, JoinHandle<()>)>,
}

impl Aside {
    /// Has a job done after the one at work. Of those that wait, only the last is: it is about what counts now.
    pub(super) fn order(&mut self, job: Job) {
        if self.thread.is_none() {
            let (sender, jobs) = mpsc::channel::<Job>();
            let started = thread::Builder::new().name("hook".to_owned()).spawn(move || {
                while let Ok(job) = jobs.recv() {
                    jobs.try_iter().last().unwrap_or(job)();
                }
            });
            self.thread = started.ok().map(|thread| (sender, thread));
        }
        let left = match &self.thread {
            Some((sender, _)) => sender.send(job).err().map(|unsent| unsent.0),
            None => Some(job),
        };
        // Late is better than never.
        if let Some(job) = left {
            job();
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
