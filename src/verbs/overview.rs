//! `status --all`: a look at each configuration of the user.

use std::path::PathBuf;

use super::once::Manner;
use super::status::{Wishes, look_at};
use super::surroundings::Process;
use super::viewpoint::{Viewpoint, viewpoint};
use crate::config::{self, SettingsFlags};
use crate::report;
use crate::report::overview::Entry;

/// Looks at all of them, each with `flags` besides, tells, and returns the exit status.
pub(crate) fn overview(flags: &SettingsFlags, wishes: &Wishes, manner: Manner, process: Process<'_>) -> u8 {
    let entry = |config: PathBuf| {
        let named = SettingsFlags { config: Some(config.clone()), ..flags.clone() };
        // The default one need not be there.
        let flags = if config.exists() { named } else { flags.clone() };
        match viewpoint(&flags, process.environment, process.host) {
            Ok(Viewpoint { settings, connection, differences }) => {
                let found = process.within(&settings, &connection, |around| {
                    look_at(around, differences, wishes, manner).map_err(|failure| failure.id().to_owned())
                });
                let profile = settings.profile.clone();
                Entry { profile, config, found: found.map(|status| Box::new((settings, status))) }
            }
            Err(error) => {
                let profile = config::profile_of(&flags, process.environment);
                Entry { profile, config, found: Err(report::settings_error_text(&error)) }
            }
        }
    };
    let entries: Vec<Entry> = config::all_configs(process.environment).into_iter().map(entry).collect();
    let wrong = entries.iter().find(|entry| !entry.is_healthy());
    let status = match wrong {
        Some(entry) if manner.detailed_exitcode => entry.detailed_exit_status(),
        wrong => u8::from(wrong.is_some()),
    };
    let told = (manner.format, manner.volume);
    report::overview::overview(&entries, process.clock, process.streams, told, wishes.paint, status)
}
