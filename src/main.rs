//! Keeps the Vault or OpenBao token in `~/.vault-token` alive, and turns a login's token back into yours.
//!
//! Parse, run, exit status; everything else is in the modules, of which each says in its first line what it
//! is for.

mod app;
mod bounded;
mod cli;
mod clock;
mod config;
mod facts;
mod follow;
#[cfg(test)]
mod hostile;
mod identity;
mod io_text;
mod local;
mod pass;
mod report;
mod secret;
mod service;
mod stop;
mod token;
mod vault;
mod verbs;
mod version;

use std::alloc::System;
use std::process::ExitCode;
use std::sync::Arc;

use report::streams::{OfProcess, Stream, Streams as _};
use zeroizing_alloc::ZeroAlloc;

/// Memory is wiped when it is given back: what was sent and received lay in buffers of the libraries, too, and a
/// process that stays would keep the token in many places that nobody knows.
#[global_allocator]
static ALLOCATOR: ZeroAlloc<System> = ZeroAlloc(System);

fn main() -> ExitCode {
    // No core dump and no debugger of the same user may find the token in our memory. Where the kernel
    // refuses this, the program is no worse off than any other.
    let _ = rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable);
    // Whatever this program writes is the owner's alone, however generous or mean the caller's mask.
    rustix::process::umask(rustix::fs::Mode::RWXG | rustix::fs::Mode::RWXO);
    // A file that may not grow is an error of that write, and no reason to end before the renewal. Where this
    // cannot be had, the program is again no worse off than any other.
    let _ = signal_hook::flag::register(signal_hook::consts::signal::SIGXFSZ, Arc::default());
    let streams = OfProcess { journal: None, is_dumb: true };
    let command = match cli::CommandLine::of_process() {
        Ok(command) => command,
        Err(answer) => {
            // Help and version come this way too; a closed pipe is nobody's error. What was misplaced may be a token.
            let said = answer.to_string();
            let safe = secret::without_tokens(&said);
            let _ = if safe == said { answer.print() } else { streams.write(Stream::Err, safe.trim_end()) };
            let status = u8::try_from(answer.exit_code()).unwrap_or(2);
            if answer.use_stderr() {
                report::misuse(&answer.to_string(), status, &streams, std::env::args_os());
            }
            return ExitCode::from(status);
        }
    };
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let clock = clock::Clock::of_this_machine();
    ExitCode::from(app::run(&command, &config::Environment::of_process(), clock, &host))
}
