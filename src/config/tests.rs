use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use clap::Parser;

use super::*;

/// A command line of settings and nothing else.
#[derive(Parser)]
struct OnlySettings {
    #[command(flatten)]
    settings: SettingsFlags,
}

/// A home with nothing in it but what a test puts there.
struct Home {
    directory: tempfile::TempDir,
}

impl Home {
    fn new() -> Self {
        Self { directory: tempfile::tempdir().unwrap() }
    }

    fn path(&self) -> &Path {
        self.directory.path()
    }

    #[expect(clippy::disallowed_methods, reason = "a test may write a file as it likes")]
    fn write(&self, name: &str, contents: &str) -> PathBuf {
        let path = self.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, contents).unwrap();
        path
    }

    fn configured(contents: &str) -> Self {
        let home = Self::new();
        home.write(".config/vault-token-renew/config.toml", contents);
        home
    }

    fn resolve(
        &self,
        arguments: &[&str],
        variables: &[(&str, &str)],
    ) -> Result<(Settings, ConnectionSettings)> {
        let command = ["vault-token-renew"].iter().chain(arguments).map(ToString::to_string);
        let command = OnlySettings::try_parse_from(command).unwrap();
        let home = self.path().to_str().unwrap();
        let variables: Vec<(&str, &str)> =
            [("HOME", home), ("USER", "wizard")].iter().chain(variables).copied().collect();
        let environment = Environment::from(variables.as_slice());
        Settings::resolve(&command.settings, &WatchFlags::default(), &environment, "devvm")
    }

    fn settings(&self, arguments: &[&str], variables: &[(&str, &str)]) -> Settings {
        self.resolve(arguments, variables).unwrap().0
    }

    fn connection(&self, arguments: &[&str], variables: &[(&str, &str)]) -> ConnectionSettings {
        self.resolve(arguments, variables).unwrap().1
    }

    fn refusal(&self, arguments: &[&str], variables: &[(&str, &str)]) -> String {
        format!("{:#}", self.resolve(arguments, variables).map(|_| ()).unwrap_err())
    }
}

#[test]
fn without_any_setting_the_defaults_count() {
    let home = Home::new();
    let (settings, connection) = home.resolve(&[], &[("USER", "wizard")]).unwrap();
    assert_eq!(
        settings.identity,
        Identity {
            requested_name: "devvm-wizard".to_owned(),
            display_name: "token-devvm-wizard".to_owned(),
            required_policy: "vault-admin".to_owned(),
            policies: vec!["vault-admin".to_owned(), "sops-admin".to_owned()],
            period: 2_764_800,
        }
    );
    assert_eq!(settings.token_file.path(), home.path().join(".vault-token"));
    assert_eq!(settings.log_file, home.path().join(".local/state/vault-token-renew.log"));
    assert_eq!(settings.state_directory, home.path().join(".local/state/vault-token-renew"));
    assert_eq!(settings.retry_for, Duration::from_secs(30));
    assert_eq!(settings.sweep, SweepMode::Walk);
    assert_eq!((settings.named_config, settings.named_token_file), (None, None));
    assert_eq!(settings.user, "wizard");
    assert_eq!(settings.warnings, []);
    assert_eq!(connection.address, Address::parse("https://127.0.0.1:8200").unwrap());
    assert_eq!(connection.namespace, None);
    assert_eq!(connection.timeout, Duration::from_secs(60));
    assert_eq!(connection.concurrency, 16);
    assert!(!connection.disable_redirects);
    assert!(!connection.tls.skip_verify);
}

#[test]
fn a_flag_beats_a_variable_beats_the_file_beats_the_default() {
    let file = "period = \"3h\"\naddress = \"https://file\"";
    let home = Home::configured(file);
    let period = |arguments: &[&str], variables: &[(&str, &str)]| {
        home.settings(arguments, variables).identity.period / 3600
    };
    assert_eq!(period(&["--period", "1h"], &[("VTR_PERIOD", "2h")]), 1);
    assert_eq!(period(&[], &[("VTR_PERIOD", "2h")]), 2);
    assert_eq!(period(&[], &[]), 3);
    assert_eq!(period(&[], &[("VTR_PERIOD", "")]), 3);
    let address =
        |arguments: &[&str], variables: &[(&str, &str)]| home.connection(arguments, variables).address;
    let https = |host: &str| Address::parse(&format!("https://{host}")).unwrap();
    assert_eq!(address(&["--address", "https://flag"], &[("VAULT_ADDR", "https://variable")]), https("flag"));
    assert_eq!(address(&[], &[("VAULT_ADDR", "https://variable")]), https("variable"));
    assert_eq!(address(&[], &[]), https("file"));
    assert_eq!(address(&[], &[("BAO_ADDR", ""), ("VAULT_ADDR", "https://hidden")]), https("file"));
    let agent = [("VAULT_AGENT_ADDR", "https://agent"), ("VAULT_ADDR", "https://variable")];
    assert_eq!(address(&[], &agent), https("agent"));
}

#[test]
fn who_says_where_the_server_is_is_known_to_hints() {
    let name = |name: &str| Some(SaidBy::Name(name.to_owned()));
    let home = Home::configured("address = \"https://file\"\nnamespace = \"file\"\ntoken_file = \"~/file\"");
    let said_by = |arguments: &[&str], variables: &[(&str, &str)]| {
        let (settings, connection) = home.resolve(arguments, variables).unwrap();
        [connection.named.address, connection.named.namespace, settings.token_file_said_by]
    };
    assert_eq!(said_by(&[], &[]), [const { Some(SaidBy::File) }; 3]);
    let variables = [
        ("BAO_AGENT_ADDR", "https://variable"),
        ("VAULT_NAMESPACE", "variable"),
        ("BAO_TOKEN_PATH", "/variable"),
    ];
    assert_eq!(
        said_by(&[], &variables),
        [name("BAO_AGENT_ADDR"), name("VAULT_NAMESPACE"), name("BAO_TOKEN_PATH")]
    );
    let flags = ["--address", "https://flag", "--namespace", "flag", "--token-file", "/flag"];
    assert_eq!(said_by(&flags, &variables), [name("--address"), name("--namespace"), name("--token-file")]);
    let (settings, connection) = Home::new().resolve(&[], &[]).unwrap();
    assert!(connection.is_unaddressed() && settings.token_file_said_by.is_none());
}

#[test]
fn every_setting_is_heard_from_each_of_its_sources() {
    let file = r#"
        namespace = "/team1/"
        token_file = "~/work-token"
        display_name = "laptop-emo"
        policies = ["reader", "Writer", "reader"]
        required_policy = "writer"
        period = 86400
        log_file = "~/log"
        retry_for = "5m"
        sweep = "off"
        sweep_concurrency = 4
    "#;
    let in_file = Home::configured(file);
    let by_variable = [
        ("BAO_NAMESPACE", "team1"),
        ("VAULT_TOKEN_PATH", "~/work-token"),
        ("VTR_DISPLAY_NAME", "laptop-emo"),
        ("VTR_POLICIES", "reader, writer"),
        ("VTR_REQUIRED_POLICY", "writer"),
        ("VTR_PERIOD", "24h"),
        ("VTR_LOG_FILE", "~/log"),
        ("VTR_RETRY_FOR", "300"),
        ("VTR_SWEEP", "off"),
        ("VTR_SWEEP_CONCURRENCY", "4"),
    ];
    let bare = Home::new();
    let token_file = bare.path().join("work-token");
    let log_file = bare.path().join("log");
    let by_flag = [
        "--namespace=team1/",
        "--token-file",
        token_file.to_str().unwrap(),
        "--display-name=laptop-emo",
        "--policy=reader",
        "--policy=writer",
        "--required-policy=writer",
        "--period=1d",
        "--log-file",
        log_file.to_str().unwrap(),
        "--retry-for=5m0s",
        "--sweep=off",
        "--sweep-concurrency=4",
    ];
    for (home, arguments, variables) in
        [(&in_file, &[][..], &[][..]), (&bare, &[], &by_variable), (&bare, &by_flag, &[])]
    {
        let (settings, connection) = home.resolve(arguments, variables).unwrap();
        assert_eq!(connection.namespace.as_deref(), Some("team1"));
        assert_eq!(connection.concurrency, 4);
        assert_eq!(settings.token_file.path(), home.path().join("work-token"));
        assert_eq!(settings.log_file, home.path().join("log"));
        assert_eq!(settings.retry_for, Duration::from_secs(300));
        assert_eq!(settings.sweep, SweepMode::Off);
        let identity = settings.identity;
        assert_eq!(identity.display_name, "token-laptop-emo");
        assert_eq!(identity.policies, ["reader", "writer"]);
        assert_eq!(identity.required_policy, "writer");
        assert_eq!(identity.period, 86_400);
    }
}

#[test]
fn half_an_identity_is_refused_wherever_it_comes_from() {
    let home = Home::new();
    for (arguments, variables, source) in [
        (&["--display-name", "emo"][..], &[][..], "--display-name: display_name is set but policies are not"),
        (&[], &[("VTR_DISPLAY_NAME", "emo")], "VTR_DISPLAY_NAME: display_name is set but policies are not"),
        (&["--policy", "reader"], &[], "--policy: policies are set but display_name is not"),
        (&[], &[("VTR_POLICIES", "reader")], "VTR_POLICIES: policies are set but display_name is not"),
    ] {
        let error = home.refusal(arguments, variables);
        assert!(error.starts_with(source), "{error}");
        assert!(error.contains("set both"), "{error}");
    }
    let error = Home::configured("policies = [\"a\"]").refusal(&[], &[]);
    assert!(error.contains("config.toml: policies: policies are set but display_name is not"), "{error}");
    // One from each source makes a whole.
    let home = Home::configured("policies = [\"reader\"]");
    assert_eq!(home.settings(&["--display-name", "emo"], &[]).identity.required_policy, "reader");
}

#[test]
fn identities_that_would_do_harm_are_refused() {
    let home = Home::new();
    let named = |policies: &[&'static str]| {
        let mut arguments = vec!["--display-name", "emo"];
        for policy in policies {
            arguments.extend(["--policy", policy]);
        }
        arguments
    };
    for (arguments, reason) in [
        (named(&["root"]), "--policy: the policy \"root\" is never minted"),
        (named(&["a", " ROOT "]), "--policy: the policy \"root\" is never minted"),
        (named(&["default"]), "required_policy must not be \"default\""),
        (named(&[""]), "--policy: a policy without a name"),
        (named(&["a,b"]), "is not the name of a policy"),
        (vec!["--required-policy", "default"], "required_policy must not be \"default\""),
        (vec!["--required-policy", "other"], "\"other\" is not among the policies (vault-admin, sops-admin)"),
        (vec!["--required-policy", "root"], "--required-policy: the policy \"root\""),
        (vec!["--display-name", "", "--policy", "a"], "--display-name: an empty display name"),
        (vec!["--display-name", "!!", "--policy", "a"], "would store no letter"),
        (vec!["--period", "0"], "--period: \"0\": a period is one or more whole seconds"),
        (vec!["--period", "1500ms"], "whole seconds"),
        (vec!["--period", "soon"], "--period: \"soon\" is not a duration"),
    ] {
        let error = home.refusal(&arguments, &[]);
        assert!(error.contains(reason), "{arguments:?}: {error}");
    }
    assert!(
        home.refusal(&[], &[("VTR_POLICIES", " , "), ("VTR_DISPLAY_NAME", "emo")]).contains("without a name")
    );
    assert!(
        Home::configured("display_name = \"emo\"\npolicies = []")
            .refusal(&[], &[])
            .contains("at least one policy")
    );
    assert_eq!(
        home.settings(&["--required-policy", "sops-admin"], &[]).identity.required_policy,
        "sops-admin"
    );
}

#[test]
fn other_nonsense_is_refused_with_its_source() {
    let home = Home::new();
    for (arguments, variables, reason) in [
        (&[][..], &[("VTR_SWEEP", "maybe")][..], "VTR_SWEEP: \"maybe\" is not a way to sweep"),
        (&["--sweep-concurrency", "0"], &[], "--sweep-concurrency: \"0\" is not a number from 1 to 256"),
        (&["--sweep-concurrency", "257"], &[], "from 1 to 256"),
        (&["--retry-for", "2d"], &[], "--retry-for: \"2d\" is more than a day"),
        (
            &["--address", "127.0.0.1:8200"],
            &[],
            "--address: it has no scheme; did you mean https://127.0.0.1:8200?",
        ),
        (&["--token-file", "/"], &[], "--token-file: \"/\" does not name a file"),
        (&["--token-file", ""], &[], "does not name a file"),
        (&["--token-file", "~"], &[], "\"~\" does not name a file"),
        (&["--token-file", "a\nb"], &[], "--token-file: it holds control characters: "),
        (&["--config", "a\nb"], &[], "--config holds control characters: "),
        (&[], &[("HOME", "/a\nb")], "HOME holds control characters: \"/a\\nb\""),
        (&[], &[("XDG_STATE_HOME", "/a\u{1b}b")], "XDG_STATE_HOME holds control characters"),
        (&[], &[("XDG_CONFIG_HOME", "/a\u{7f}b")], "XDG_CONFIG_HOME holds control characters"),
        (&["--log-file", "~/.vault-token"], &[], "log_file and token_file are the same file"),
        (
            &["--display-name", "a\u{1b}b", "--policy", "p"],
            &[],
            "--display-name: \"a\\u{1b}b\" holds control characters",
        ),
        (&["--namespace", "a b"], &[], "--namespace: \"a b\" is not a namespace"),
        (&[], &[("VAULT_ADDR", "nonsense")], "VAULT_ADDR: it has no scheme"),
        (&[], &[("VAULT_SKIP_VERIFY", "yes")], "VAULT_SKIP_VERIFY: \"yes\" is neither true nor false"),
        (&[], &[("VAULT_CLIENT_TIMEOUT", "x")], "VAULT_CLIENT_TIMEOUT: \"x\" is not a duration"),
        (&[], &[("BAO_CLIENT_CERT", "/c.pem")], "BAO_CLIENT_CERT is set alone"),
        (&[], &[("VAULT_CACERT", "/nowhere/ca.pem")], "VAULT_CACERT: cannot read /nowhere/ca.pem"),
        (&[], &[("VAULT_CAPATH", "/nowhere")], "VAULT_CAPATH: cannot read /nowhere"),
        (&[], &[("VAULT_CACERT_BYTES", "junk")], "VAULT_CACERT_BYTES: no PEM of a certificate in it"),
        (&[], &[("VAULT_TLS_SERVER_NAME", "a b")], "VAULT_TLS_SERVER_NAME: not an address"),
        (
            &[],
            &[("VAULT_PROXY_ADDR", "socks4://p")],
            "VAULT_PROXY_ADDR: only http://, https:// and socks5://",
        ),
        (
            &["--address", "https://v"],
            &[("HTTPS_PROXY", "ftp://p")],
            "HTTPS_PROXY: only http://, https:// and socks5:// proxies are supported",
        ),
        (
            &["--address", "http://v"],
            &[("http_proxy", "p"), ("REQUEST_METHOD", "GET")],
            "HTTP_PROXY is not used where REQUEST_METHOD is set",
        ),
        (&["--config", "/nowhere/config.toml"], &[], "cannot read /nowhere/config.toml"),
    ] {
        let error = home.refusal(arguments, variables);
        assert!(error.contains(reason), "{arguments:?} {variables:?}: {error}");
    }
    let error = format!(
        "{:#}",
        Settings::resolve(
            &SettingsFlags::default(),
            &WatchFlags::default(),
            &Environment::default(),
            "devvm"
        )
        .unwrap_err()
    );
    assert!(error.contains("HOME is not set to an absolute path"), "{error}");
}

#[test]
fn what_is_not_supported_is_named_and_never_ignored() {
    let home = Home::new();
    for name in [
        "HEADERS",
        "MFA",
        "WRAP_TTL",
        "RATE_LIMIT",
        "MAX_RETRIES",
        "CLIENT_CERT_BYTES",
        "CLIENT_KEY_BYTES",
        "SRV_LOOKUP",
    ] {
        for prefix in ["VAULT", "BAO"] {
            let variable = format!("{prefix}_{name}");
            let error = home.refusal(&[], &[(&variable, "1")]);
            assert!(error.starts_with(&format!("{variable} is not supported")), "{error}");
            assert!(home.resolve(&[], &[(&variable, "")]).is_ok());
        }
    }
    assert!(home.resolve(&[], &[("VAULT_SRV_LOOKUP", "false")]).is_ok());
    assert!(
        home.refusal(&["--address", "unix:///run/vault.sock"], &[])
            .contains("unix sockets are not supported")
    );
}

#[test]
fn a_token_variable_is_ignored_with_a_warning() {
    let warnings = Home::new().settings(&[], &[("VAULT_TOKEN", "s.x"), ("BAO_TOKEN", "")]).warnings;
    assert_eq!(warnings, [SettingsWarning::TokenVariableIgnored("VAULT_TOKEN".to_owned())]);
}

#[test]
fn switching_verification_off_is_warned_of() {
    let (settings, connection) = Home::new().resolve(&[], &[("BAO_SKIP_VERIFY", "T")]).unwrap();
    let switch = "BAO_SKIP_VERIFY".to_owned();
    assert_eq!(settings.warnings, [SettingsWarning::VerificationOff { switch, authorities: None }]);
    assert!(connection.tls.skip_verify);
    let (settings, connection) = Home::new().resolve(&[], &[("VAULT_SKIP_VERIFY", "False")]).unwrap();
    assert_eq!(settings.warnings, []);
    assert!(!connection.tls.skip_verify);
}

#[test]
fn the_other_variables_of_the_official_command_lines_are_obeyed() {
    let connection = Home::new().connection(
        &[],
        &[
            ("VAULT_CLIENT_TIMEOUT", "5"),
            ("VAULT_DISABLE_REDIRECTS", "true"),
            ("VAULT_TLS_SERVER_NAME", "vault.example.org"),
            ("VAULT_PROXY_ADDR", "http://proxy:3128"),
            ("HTTPS_PROXY", "http://other:3128"),
        ],
    );
    assert_eq!(connection.timeout, Duration::from_secs(5));
    assert!(connection.disable_redirects);
    assert_eq!(connection.tls.server_name.as_deref(), Some("vault.example.org"));
    assert_eq!(connection.proxies.always, Proxy::parse("proxy:3128").ok());
    let connection = Home::new().connection(
        &[],
        &[
            ("VAULT_CLIENT_TIMEOUT", "0"),
            ("https_proxy", "p1:1"),
            ("HTTP_PROXY", "p2:2"),
            ("http_proxy", "p3:3"),
        ],
    );
    assert_eq!(connection.timeout, Duration::from_secs(60));
    assert_eq!(connection.proxies.https.unwrap(), Ok(Proxy::parse("p1:1").unwrap()));
    assert_eq!(connection.proxies.http.unwrap(), Ok(Proxy::parse("p2:2").unwrap()));
}

#[test]
fn xdg_directories_are_obeyed_when_absolute() {
    let home = Home::new();
    let state = home.path().join("state");
    let settings = home.settings(&[], &[("XDG_STATE_HOME", state.to_str().unwrap())]);
    assert_eq!(settings.log_file, state.join("vault-token-renew.log"));
    assert_eq!(settings.state_directory, state.join("vault-token-renew"));
    let settings = home.settings(&[], &[("XDG_STATE_HOME", "relative")]);
    assert_eq!(settings.log_file, home.path().join(".local/state/vault-token-renew.log"));
    home.write("config/vault-token-renew/config.toml", "sweep = \"off\"");
    let config = home.path().join("config");
    let settings = home.settings(&[], &[("XDG_CONFIG_HOME", config.to_str().unwrap())]);
    assert_eq!(settings.sweep, SweepMode::Off);
}

#[test]
fn a_configuration_file_other_than_the_default_is_remembered_for_recovery_commands() {
    let home = Home::configured("");
    let other = home.write("work.toml", "period = \"1h\"");
    let settings = home.settings(&["--config", other.to_str().unwrap()], &[]);
    assert_eq!(settings.named_config, Some(other));
    assert_eq!(settings.identity.period, 3600);
    let default = home.path().join(".config/vault-token-renew/config.toml");
    assert_eq!(home.settings(&["--config", default.to_str().unwrap()], &[]).named_config, None);
}

#[test]
fn a_default_file_that_is_there_but_cannot_be_read_is_not_taken_for_none() {
    use std::os::unix::fs::symlink;
    let home = Home::new();
    let directory = home.path().join(".config/vault-token-renew");
    fs::create_dir_all(&directory).unwrap();
    assert!(home.resolve(&[], &[]).is_ok(), "an empty directory holds no file");
    symlink("/nowhere/config.toml", directory.join("config.toml")).unwrap();
    assert!(home.refusal(&[], &[]).contains("config.toml: No such file"));
    fs::remove_dir_all(&directory).unwrap();
    symlink("/nowhere", &directory).unwrap();
    assert!(home.refusal(&[], &[]).contains("config.toml: No such file"));
    fs::remove_file(&directory).unwrap();
    home.write(".config/vault-token-renew", "a file, not a directory");
    assert!(home.refusal(&[], &[]).contains("config.toml: Not a directory"));
}

#[test]
fn an_error_in_the_file_names_file_line_and_key() {
    let error = Home::configured("\nadress = \"https://h\"").refusal(&[], &[]);
    assert!(error.ends_with("config.toml:2:1: unknown key \"adress\"; did you mean \"address\"?"), "{error}");
    let error = Home::configured("period = \"x\"").refusal(&[], &[]);
    assert!(error.contains("config.toml: period: \"x\" is not a duration"), "{error}");
    let error = Home::configured("token_file = \"token\"").refusal(&[], &[]);
    assert!(error.contains("config.toml: token_file: \"token\" is relative"), "{error}");
}

#[test]
fn metrics_and_hook_are_off_unless_asked_for() {
    let settings = Home::new().settings(&["--hook-timeout", "5s"], &[]);
    assert_eq!((settings.metrics_file, settings.hook, settings.profile.as_str()), (None, None, "default"));
}

#[test]
fn metrics_and_hook_have_the_sources_of_every_setting() {
    let home = Home::configured("metrics_file = \"~/vault.prom\"\ndeploy_hook = \"a\"\nhook_timeout = 7");
    let hook = |command: &str, seconds| {
        Some(Hook {
            command: command.to_owned(),
            timeout: Duration::from_secs(seconds),
            is_nested: false,
            name_setting: None,
        })
    };
    let settings = home.settings(&[], &[]);
    assert_eq!(settings.metrics_file, Some(home.path().join("vault.prom")));
    assert_eq!(settings.hook, hook("a", 7));
    let variables = [("VTR_METRICS_FILE", "/b"), ("VTR_DEPLOY_HOOK", "b"), ("VTR_HOOK_TIMEOUT", "8s")];
    let settings = home.settings(&[], &variables);
    assert_eq!((settings.metrics_file, settings.hook), (Some(PathBuf::from("/b")), hook("b", 8)));
    let flags = ["--metrics-file", "/c", "--deploy-hook", "c d", "--hook-timeout", "1m"];
    let settings = home.settings(&flags, &variables);
    assert_eq!((settings.metrics_file, settings.hook), (Some(PathBuf::from("/c")), hook("c d", 60)));
    let without = Home::configured("deploy_hook = \"a\"").settings(&[], &[]);
    assert_eq!(without.hook, hook("a", 30));
}

#[test]
fn nonsense_about_metrics_and_hook_is_refused() {
    let home = Home::new();
    for (arguments, expected) in [
        (["--deploy-hook", " "], "--deploy-hook: an empty command"),
        (["--hook-timeout", "0"], "--hook-timeout: \"0\": a hook needs some time"),
        (["--hook-timeout", "2d"], "--hook-timeout: \"2d\" is more than a day"),
        (["--metrics-file", "~/"], "--metrics-file: \"~/\" does not name a file"),
    ] {
        assert_eq!(home.refusal(&arguments, &[]), expected);
    }
    for (file, name) in
        [("~/.vault-token", "token_file"), ("~/.local/state/vault-token-renew.log", "log_file")]
    {
        let refusal = home.refusal(&["--metrics-file", file], &[]);
        assert!(refusal.starts_with(&format!("metrics_file and {name} are the same file: ")), "{refusal}");
        home.write("c.toml", &format!("[watch]\nlisten = \"unix:{file}\"\n"));
        let config = home.path().join("c.toml");
        let refusal = home.refusal(&["--config", config.to_str().unwrap()], &[]);
        assert!(refusal.starts_with(&format!("watch.listen and {name} are the same file: ")), "{refusal}");
    }
}

#[test]
fn a_hard_link_and_the_configuration_itself_are_no_place_for_other_contents() {
    let home = Home::new();
    let token = home.write(".vault-token", "s.token");
    let linked = home.path().join("linked");
    fs::hard_link(&token, &linked).unwrap();
    for flag in ["--log-file", "--metrics-file"] {
        assert!(
            home.refusal(&[flag, linked.to_str().unwrap()], &[]).contains(" are the same file: "),
            "{flag}"
        );
    }
    let config = home.write(".config/vault-token-renew/config.toml", "");
    for name in ["token_file", "log_file", "metrics_file"] {
        let flag = format!("--{}", name.replace('_', "-"));
        let refusal = home.refusal(&[&flag, config.to_str().unwrap()], &[]);
        assert!(
            refusal.starts_with(&format!("{name} and configuration file are the same file: ")),
            "{refusal}"
        );
    }
    home.settings(&["--config", "/dev/null", "--log-file", "/dev/null"], &[]);
}

#[test]
fn a_user_is_who_runs_it_whatever_the_environment_says() {
    let uid = rustix::process::geteuid().as_raw();
    let accounts =
        format!("somebody:x:4294967290:1:::\nme:x:{uid}:1:::/bin/sh\nmy-other-name:x:{uid}:1:::\n");
    for (variables, accounts, expected) in [
        (&[("USER", "me")][..], accounts.as_str(), "me"),
        (&[("USER", "my-other-name")], &accounts, "my-other-name"),
        (&[("LOGNAME", "me")], &accounts, "me"),
        (&[], &accounts, "me"),
        (&[("USER", "somebody")], &accounts, "me"),
        (&[("USER", "a\nb")], &accounts, "me"),
        // Of a directory in the network.
        (&[("USER", "wizard")], &accounts, "wizard"),
        (&[("USER", "wizard")], "", "wizard"),
        (&[], "", &uid.to_string()),
        (&[], "::\n\n:", &uid.to_string()),
    ] {
        let environment = Environment::from(variables);
        assert_eq!(user(&environment, accounts).unwrap(), expected, "{variables:?}");
    }
}

#[test]
fn a_hook_is_only_taken_from_a_file_that_nobody_else_can_write() {
    use std::os::unix::fs::PermissionsExt as _;
    let home = Home::new();
    let set = |mode| {
        let config =
            home.write(".config/vault-token-renew/config.toml", "deploy_hook = \"a\"\nperiod = \"1h\"");
        fs::set_permissions(config, fs::Permissions::from_mode(mode)).unwrap();
    };
    for mode in [0o600, 0o644, 0o400] {
        set(mode);
        assert!(home.settings(&[], &[]).hook.is_some(), "{mode:o}");
    }
    for mode in [0o620, 0o602, 0o666] {
        set(mode);
        let refusal = home.refusal(&[], &[]);
        let expected = format!(
            "a command is not taken from a file that others can write (mode {mode:04o}); chmod go-w /"
        );
        assert!(refusal.contains(&expected), "{refusal}");
        // Where another source has the last word, what the file says runs nothing.
        assert_eq!(home.settings(&["--deploy-hook", "b"], &[]).hook.unwrap().command, "b");
    }
    home.write(".config/vault-token-renew/config.toml", "period = \"1h\"");
    assert_eq!(home.settings(&[], &[]).identity.period, 3_600, "the rest of such a file is read");
    let stranger = rustix::process::geteuid().as_raw() + 1;
    let refusal = file::check_access(Path::new("/a"), stranger, 0o600).unwrap_err().to_string();
    assert_eq!(refusal, format!("a command is not taken from a file of another user (uid {stranger})"));
    assert!(
        file::check_writers(Path::new("/proc/1/status")).is_ok(),
        "root's file, which only root can write"
    );
}

#[test]
fn a_profile_is_called_like_its_configuration_file() {
    let home = Home::new();
    let work = home.write(".config/vault-token-renew/work.toml", "");
    let default = home.write(".config/vault-token-renew/config.toml", "");
    let profile = |path: &Path| home.settings(&["--config", path.to_str().unwrap()], &[]).profile;
    assert_eq!(profile(&work), "work");
    assert_eq!(profile(&default), "default");
    let detour = home.path().join(".config/vault-token-renew/../vault-token-renew/config.toml");
    assert_eq!(profile(&detour), "default");
    let namesake = home.write(".config/vault-token-renew/default.toml", "");
    assert_eq!(profile(&namesake), "default.toml");
    let state = home.path().join(".local/state/vault-token-renew/x.json");
    fs::create_dir_all(state.parent().unwrap()).unwrap();
    let refusal = home.refusal(&["--metrics-file", state.to_str().unwrap()], &[]);
    assert!(refusal.starts_with("metrics_file lies among the state files: "), "{refusal}");
}

#[test]
fn what_a_hook_is_told_is_no_setting() {
    let home = Home::configured("display_name = \"x\"\npolicies = [\"p\"]");
    let told = [("VTR_EVENT", "healed"), ("VTR_DISPLAY_NAME", "token-x")];
    assert_eq!(home.settings(&[], &told).identity.display_name, "token-x");
    let refusal = home.refusal(&[], &told[1..]);
    assert!(refusal.contains("write \"x\""), "outside of a hook it is the setting: {refusal}");
    // What was a setting outside of the hook is one inside of it too.
    let outer = [told[0], told[1], ("VTR_OUTER_DISPLAY_NAME", "y")];
    assert_eq!(home.settings(&[], &outer).identity.display_name, "token-y");
    let hook = home.settings(&["--deploy-hook", "a"], &[("VTR_DISPLAY_NAME", "y")]).hook;
    assert_eq!(hook.unwrap().name_setting.as_deref(), Some("y"));
}

/// A configuration file, arguments, variables, and what a login is told then.
type Told<'a> = (&'a str, &'a [&'a str], &'a [(&'a str, &'a str)], &'a [&'a str]);

#[test]
fn a_login_is_told_what_the_shell_does_not_know() {
    let pid = std::process::id().to_string();
    let service = ("SYSTEMD_EXEC_PID", pid.as_str());
    let configured = "address = \"https://prod:8200\"\n";
    let spaced = "address = \"https://prod:8200/\"\nnamespace = \"team1\"\n";
    let bao = ("VTR_LOGIN_COMMAND", "bao login");
    let path = ("PATH", "/nowhere:");
    let table: &[Told<'_>] = &[
        // Nothing is said anywhere: all have the same default.
        ("", &[], &[path], &[]),
        ("", &[], &[("VAULT_ADDR", "https://prod:8200")], &[]),
        ("", &["--address", "https://prod:8200"], &[], &["VAULT_ADDR=https://prod:8200"]),
        (configured, &[], &[], &["VAULT_ADDR=https://prod:8200"]),
        (configured, &[], &[("VAULT_ADDR", "https://prod:8200/")], &[]),
        // The shell is believed by both: who types there wants that server.
        (configured, &[], &[("VAULT_ADDR", "https://staging:8200")], &[]),
        (spaced, &[], &[], &["VAULT_ADDR=https://prod:8200", "VAULT_NAMESPACE=team1"]),
        (spaced, &[], &[("VAULT_NAMESPACE", "team1/")], &["VAULT_ADDR=https://prod:8200"]),
        // Only OpenBao's reads both kinds of variables.
        ("", &[], &[("BAO_ADDR", "https://prod:8200")], &["VAULT_ADDR=https://prod:8200"]),
        ("", &[], &[("BAO_ADDR", "https://prod:8200"), bao], &[]),
        ("", &[], &[("VAULT_ADDR", "https://prod:8200"), bao], &[]),
        (
            "",
            &["--address", "https://x"],
            &[("BAO_AGENT_ADDR", "https://a"), bao],
            &["BAO_AGENT_ADDR=https://x"],
        ),
        ("", &[], &[("BAO_NAMESPACE", ""), ("VAULT_NAMESPACE", "other")], &["VAULT_NAMESPACE="]),
        ("", &[], &[("BAO_TLS_SERVER_NAME", "v")], &["VAULT_TLS_SERVER_NAME=v"]),
        // What a service says is read in some other shell.
        ("", &[], &[service], &[]),
        (configured, &[], &[service], &["VAULT_ADDR=https://prod:8200"]),
        ("", &[], &[service, ("VAULT_ADDR", "https://prod:8200")], &["VAULT_ADDR=https://prod:8200"]),
        ("", &[], &[("SYSTEMD_EXEC_PID", "1"), ("VAULT_ADDR", "https://prod:8200")], &[]),
        ("", &[], &[service, ("VAULT_TLS_SERVER_NAME", "v")], &["VAULT_TLS_SERVER_NAME=v"]),
    ];
    for (file, arguments, variables, expected) in table {
        let home = if file.is_empty() { Home::new() } else { Home::configured(file) };
        let hints = home.settings(arguments, variables).login.hints;
        let said: Vec<String> =
            hints.iter().map(|hint| format!("{}={}", hint.variable, hint.value)).collect();
        assert_eq!(said, *expected, "{file:?} {arguments:?} {variables:?}");
    }
}

#[test]
fn a_command_of_a_service_repeats_what_only_the_service_was_told() {
    let pid = std::process::id().to_string();
    let service = ("SYSTEMD_EXEC_PID", pid.as_str());
    let identity = [("VTR_DISPLAY_NAME", "x"), ("VTR_POLICIES", "p")];
    let home = Home::new();
    let settings =
        home.settings(&[], &[service, identity[0], identity[1], ("VAULT_ADDR", "https://prod:8200")]);
    assert_eq!(settings.named_flags, [("--address", "https://prod:8200".to_owned())]);
    let own = identity.map(|(name, value)| (name.to_owned(), value.to_owned()));
    assert_eq!(settings.login.own_variables, own);
    let by_hand = home.settings(&[], &[identity[0], identity[1], ("VAULT_ADDR", "https://prod:8200")]);
    assert_eq!((by_hand.named_flags, by_hand.login.own_variables), (vec![], vec![]));
}

/// A configuration file, variables of the service, those of the shell, and the flags a command needs there.
type Named<'a> = (&'a str, &'a [(&'a str, &'a str)], &'a [(&'a str, &'a str)], &'a [(&'a str, &'a str)]);

#[test]
fn a_command_for_the_service_names_server_and_namespace_only_where_the_shell_leads_elsewhere() {
    let configured = "address = \"https://prod:8200\"\nnamespace = \"team1\"\n";
    let prod = ("VAULT_ADDR", "https://prod:8200");
    let team1 = ("VAULT_NAMESPACE", "team1");
    let to_prod = ("--address", "https://prod:8200");
    let to_team1 = ("--namespace", "team1");
    let table: &[Named<'_>] = &[
        ("", &[], &[], &[]),
        (configured, &[], &[], &[]),
        // All agree, wherever each has it from.
        (configured, &[], &[("VAULT_ADDR", "https://prod:8200/"), ("BAO_NAMESPACE", "team1/")], &[]),
        (configured, &[prod, team1], &[], &[]),
        ("", &[prod, team1], &[("BAO_ADDR", "https://prod:8200"), team1], &[]),
        ("", &[("VAULT_AGENT_ADDR", "https://prod:8200")], &[prod], &[]),
        ("", &[("VAULT_ADDR", DEFAULT_ADDRESS)], &[], &[]),
        // The shell knows nothing, or something else.
        ("", &[prod, team1], &[], &[to_prod, to_team1]),
        (configured, &[], &[("VAULT_ADDR", "https://staging:8200")], &[to_prod]),
        (configured, &[], &[prod, ("VAULT_AGENT_ADDR", "https://staging:8200")], &[to_prod]),
        (configured, &[], &[("VAULT_ADDR", "staging")], &[to_prod]),
        (configured, &[], &[("VAULT_NAMESPACE", "other")], &[to_team1]),
        // A set but empty one of OpenBao's hides Vault's, and the file counts.
        (configured, &[], &[("BAO_ADDR", ""), ("VAULT_ADDR", "https://staging:8200")], &[]),
        ("", &[prod], &[prod, ("VAULT_NAMESPACE", "other")], &[("--namespace", "")]),
        // Nobody told the service where the server is; a command must not insist on that.
        ("", &[], &[prod], &[]),
    ];
    for (file, of_service, of_shell, expected) in table {
        let home = if file.is_empty() { Home::new() } else { Home::configured(file) };
        let at_home = [("HOME", home.path().to_str().unwrap()), ("USER", "wizard")];
        let environment = |variables: &[(&str, &str)]| -> Environment {
            Environment::from([&at_home, variables].concat().as_slice())
        };
        let (service, shell) = (environment(of_service), environment(of_shell));
        let (flags, watch) = (SettingsFlags::default(), WatchFlags::default());
        let settings = Settings::resolve_for(&flags, &watch, &service, Some(&shell), "devvm").unwrap().0;
        let expected: Vec<_> = expected.iter().map(|&(flag, value)| (flag, value.to_owned())).collect();
        assert_eq!(settings.named_flags, expected, "{file:?} {of_service:?} {of_shell:?}");
    }
}

#[test]
fn the_login_is_that_of_the_program_that_is_there() {
    let home = Home::new();
    let program = |name: &str| {
        let path = home.write(&format!("bin/{name}"), "");
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    };
    let path = home.path().join("bin").to_str().unwrap().to_owned();
    let command = || home.settings(&[], &[("PATH", &path)]).login.command;
    assert_eq!(command(), "vault login -method=oidc");
    home.write("bin/vault", "not a program");
    program("bao");
    assert_eq!(command(), "bao login -method=oidc");
    program("vault");
    assert_eq!(command(), "vault login -method=oidc");
    let given = home.settings(&["--login-command", "corp-login"], &[("PATH", &path)]).login;
    assert_eq!((given.command.as_str(), given.is_official), ("corp-login", false));
}
