//! What `status` looks at: the token of the service, with the settings that the service will find, and where a run by
//! hand in this shell would find others.

use clap::Parser as _;

use crate::cli::CommandLine;
use crate::config::{Environment, Settings, SettingsFlags, WatchFlags, units_of};
use crate::local::timer::{self, Launch, Units};
use crate::report;
use crate::report::problem::{Difference, Problem};
use crate::vault::ConnectionSettings;

/// The settings that `status` works with.
#[derive(Debug)]
pub(crate) struct Viewpoint {
    /// Whose token, where.
    pub(crate) settings: Settings,
    /// The way to the server.
    pub(crate) connection: ConnectionSettings,
    /// Where shell and service differ.
    pub(crate) differences: Vec<Problem>,
}

/// The viewpoint of the service, if there is one and nobody asked for another by flags.
pub(crate) fn viewpoint(
    flags: &SettingsFlags,
    environment: &Environment,
    host: &str,
) -> anyhow::Result<Viewpoint> {
    let by_hand = Settings::resolve(flags, &WatchFlags::default(), environment, host);
    let launch = if flags.are_explicit() {
        None
    } else {
        units_of(flags, environment).and_then(|units| launch(&units, environment))
    };
    let Some((unit, launch)) = launch else {
        let (settings, connection) = by_hand?;
        return Ok(Viewpoint { settings, connection, differences: Vec::new() });
    };
    let service_environment = Environment::of_launch(&launch, environment);
    let of_service = flags_of(&launch).and_then(|flags| {
        let shell = Some(environment);
        Settings::resolve_for(&flags, &WatchFlags::default(), &service_environment, shell, host)
    });
    match (of_service, by_hand) {
        (Ok((mut settings, connection)), by_hand) => {
            let mut differences = match by_hand {
                Ok(by_hand) => {
                    let differences =
                        differences((&settings, &connection), (&by_hand.0, &by_hand.1), environment);
                    // What the shell exports is the shell's trouble.
                    let known = settings.warnings.clone();
                    settings
                        .warnings
                        .extend(by_hand.0.warnings.into_iter().filter(|one| !known.contains(one)));
                    let differs = (!differences.is_empty()).then_some(Problem::ServiceDiffers(differences));
                    differs.into_iter().collect()
                }
                Err(error) => vec![Problem::ShellUnusable(report::settings_error_text(&error))],
            };
            if launch.hides_root && settings.hook_is_roots {
                differences.push(Problem::HookRefused(settings.config_file.clone()));
            }
            Ok(Viewpoint { settings, connection, differences })
        }
        (Err(error), Ok((settings, connection))) => {
            let differences =
                vec![Problem::ServiceUnusable { unit, error: report::settings_error_text(&error) }];
            Ok(Viewpoint { settings, connection, differences })
        }
        (Err(_), Err(error)) => Err(error),
    }
}

/// The unit that renews the token, and how the user manager starts it: the process that stays, if that runs, else the
/// service.
fn launch(units: &Units, environment: &Environment) -> Option<(String, Launch)> {
    let runtime = environment.user_runtime_directory();
    let watch = units.watch.as_ref().filter(|watch| timer::is_active(watch, &runtime));
    let unit = watch.unwrap_or(&units.service);
    Some((unit.clone(), timer::launch(unit, &runtime)?))
}

/// The flags in the command of a unit.
fn flags_of(launch: &Launch) -> anyhow::Result<SettingsFlags> {
    let command = std::iter::once("vault-token-renew").chain(launch.arguments.iter().map(String::as_str));
    let command = CommandLine::try_parse_from(command);
    command.map(|command| command.settings).map_err(|error| {
        anyhow::anyhow!("ExecStart: {}", error.to_string().lines().next().unwrap_or_default())
    })
}

/// What a run of the service and one by hand would take for different things.
fn differences(
    service: (&Settings, &ConnectionSettings),
    shell: (&Settings, &ConnectionSettings),
    environment: &Environment,
) -> Vec<Difference> {
    let values = |(settings, connection): (&Settings, &ConnectionSettings)| {
        [
            connection.address.to_string(),
            connection.namespace.clone().unwrap_or_default(),
            settings.token_file.path().display().to_string(),
            settings.identity.requested_name.clone(),
            settings.identity.policies.join(","),
            settings.config_file.display().to_string(),
        ]
    };
    let settings = [
        ("address", "ADDR"),
        ("namespace", "NAMESPACE"),
        ("token_file", "TOKEN_PATH"),
        ("display_name", "VTR_DISPLAY_NAME"),
        ("policies", "VTR_POLICIES"),
        ("configuration file", "XDG_CONFIG_HOME"),
    ];
    let variable = |name: &str| {
        let official = environment.official(name).ok().flatten();
        let variable = official.or_else(|| environment.get(name).ok().flatten());
        variable.map(|variable| variable.name)
    };
    let pairs = settings.into_iter().zip(values(service).into_iter().zip(values(shell)));
    let differing = pairs.filter(|(_, (service, shell))| service != shell);
    differing
        .map(|((setting, name), (service, shell))| Difference {
            setting,
            service,
            shell,
            variable: variable(name),
        })
        .collect()
}
