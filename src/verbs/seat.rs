//! The seat of a verb that stays: it is the only one with its file, from its start to its end.

use std::path::PathBuf;

use crate::clock::Clock;
use crate::facts::warning::Warning;
use crate::local::watching::{self, Kind, Seat, Taking, Watching};
use crate::report::Report;
use crate::report::watch::{Stage, Staying};
use crate::stop::Stop;

/// The place where it sits, and the right to it, where that can be had.
#[derive(Debug)]
pub(super) struct Place {
    /// The file itself, links resolved.
    file: PathBuf,
    kind: Kind,
    seat: Option<Seat>,
}

/// Somebody else sits there, which was told.
#[derive(Debug)]
pub(super) struct Occupied;

impl Place {
    /// A place where nobody sits yet.
    pub(super) fn of(file: PathBuf, kind: Kind) -> Self {
        Self { file, kind, seat: None }
    }

    /// Sits down, unless it does. Asked before each turn: the directory may be there by now, and the file that says
    /// so may have been taken away. Whether it sat down just now; where nothing can be locked it stays without.
    pub(super) fn take(
        &mut self,
        staying: Staying<'_>,
        report: &Report<'_>,
        clock: Clock,
        stop: &Stop,
    ) -> Result<bool, Occupied> {
        if self.seat.as_ref().is_some_and(|seat| !seat.is_lost()) {
            return Ok(false);
        }
        self.seat = None;
        match watching::take(&self.file, self.kind, clock.seconds(), stop) {
            Ok(Taking::Taken(seat)) => {
                self.seat = Some(seat);
                Ok(true)
            }
            Ok(Taking::Occupied(other)) => {
                report.stage(staying, &Stage::Occupied(other.pid));
                Err(Occupied)
            }
            Err(error) => {
                report.warn(&Warning::NoSeat { file: self.file.clone(), error });
                Ok(false)
            }
        }
    }

    /// Notes for others how it stands. A seat that cannot be written is no reason not to go on: others learn less.
    pub(super) fn note(&self, watching: Watching) {
        if let Some(seat) = &self.seat {
            let _ = seat.note(watching);
        }
    }
}
