//! What the program prints to be typed, typed: as it stands, into the shell that it was printed in, against a real
//! OpenBao. Whoever types has only what was printed.

#![cfg(test)]
mod support;

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown, symlink};
use std::path::PathBuf;

use serde_json::{Value, json};
use support::openbao::{OpenBao, random_hex};
use support::sandbox::{PROGRAM, Run, Sandbox};
use support::{NOWHERE, OUR_NAME, count, server};

/// The variables of the sandbox that a shell of somebody has not.
const NOT_EXPORTED: [&str; 4] = ["VAULT_ADDR", "VTR_DISPLAY_NAME", "VTR_POLICIES", "VAULT_CLIENT_TIMEOUT"];

/// Whose token it is, for the configuration file.
const IDENTITY: &str = "display_name = \"devvm-wizard\"\npolicies = [\"vault-admin\", \"sops-admin\"]\n";

/// Somebody at a shell, who may log in as an administrator.
struct Person<'a> {
    home: Sandbox,
    server: &'a OpenBao,
    password: PathBuf,
}

impl<'a> Person<'a> {
    /// One whose configuration file holds `settings`, and who has this program and, under each of these names, the
    /// official command line.
    fn new(server: &'a OpenBao, settings: &str, command_lines: &[&str]) -> Self {
        let home = Sandbox::new();
        home.write(".config/vault-token-renew/config.toml", settings);
        let password = random_hex();
        Self::administrator(server, "", &password);
        let password = PathBuf::from(home.write("password", password));
        let bin = home.path().join("bin");
        fs::create_dir(&bin).unwrap();
        symlink(PROGRAM, bin.join("vault-token-renew")).unwrap();
        for name in command_lines {
            // `vault` knows nothing of OpenBao's variables; and nobody logs in with OIDC without a browser.
            let forget = if *name == "vault" { "unset BAO_ADDR BAO_NAMESPACE BAO_TOKEN_PATH; " } else { "" };
            let script = format!(
                "#!/bin/sh\n{forget}[ \"$1 $2\" = 'login -method=oidc' ] || exec '{bao}' \"$@\"\nshift 2\n\
                 exec '{bao}' login -method=userpass \"$@\" username=admin password=@'{password}'\n",
                bao = server.binary().display(),
                password = password.display(),
            );
            let path = home.write(&format!("bin/{name}"), script);
            fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
        }
        Self { home, server, password }
    }

    /// Lets somebody called `admin` log in with a password, in a namespace.
    fn administrator(server: &OpenBao, namespace: &str, password: &str) {
        let mount = format!("{namespace}sys/auth/userpass");
        server.request("POST", &mount, Some(server.root_token()), None, Some(json!({ "type": "userpass" })));
        let user = json!({ "password": password, "token_policies": ["vault-admin"] });
        server.as_root("POST", &format!("{namespace}auth/userpass/users/admin"), Some(user));
    }

    /// Types a line into a shell that exports these variables besides.
    fn types(&self, line: &str, exported: &[(&str, &str)]) -> Run {
        let mut shell = self.home.command_of("/bin/sh", NOWHERE);
        for name in NOT_EXPORTED {
            shell.env_remove(name);
        }
        shell.env("PATH", format!("{}:/usr/bin:/bin", self.home.path().join("bin").display()));
        self.home.finish(shell.envs(exported.iter().copied()).args(["-c", line]))
    }

    /// Types what a run printed as the way back, into such a shell; then the token file has to hold a token of ours.
    #[track_caller]
    fn recovers(&self, printed: &str, exported: &[(&str, &str)]) {
        let run = self.types(printed, exported);
        assert_eq!(run.status, 0, "{printed}\n{run:?}");
        assert!(run.stdout.contains("HEALED: "), "{printed}\n{run:?}");
    }

    fn token_is_ours(&self) -> bool {
        let found = self.server.lookup(&self.home.token());
        found.is_some_and(|token| token["display_name"] == OUR_NAME)
    }
}

/// The command that stands behind this word in what a run printed.
#[track_caller]
fn after<'a>(run: &'a Run, word: &str) -> &'a str {
    let line =
        run.stderr.lines().find(|line| line.contains(word)).unwrap_or_else(|| panic!("{word}: {run:?}"));
    line.rsplit_once(word).unwrap().1
}

fn addressed(server: &OpenBao) -> String {
    format!("address = \"{}\"\n{IDENTITY}", server.address())
}

#[test]
fn the_way_back_from_each_kind_of_trouble_works_where_only_the_settings_know_the_server() {
    let server = server();
    let weak = || server.weak_login().token;
    let dead = || {
        let minted = server.mint_ours();
        server.revoke_accessor(&minted.accessor);
        minted.token
    };
    for (held, word) in [
        (Some(weak()), "Manual re-mint: "),
        (Some(dead()), "log in again: "),
        (None, "log in: "),
        (Some("{\"token\": 1}".to_owned()), "then: "),
        (Some("hvs.Xy and more".to_owned()), "then: "),
    ] {
        let person = Person::new(&server, &addressed(&server), &["vault"]);
        if let Some(token) = &held {
            person.home.put(token);
        }
        let run = person.types("vault-token-renew", &[]).expect(1);
        person.recovers(after(&run, word), &[]);
        assert!(person.token_is_ours(), "{word}");
    }
}

#[test]
fn the_way_back_fits_the_shell_it_was_printed_in() {
    let server = server();
    let address = server.address();
    let weak = || server.weak_login().token;
    let flags = format!("vault-token-renew --address {address}");
    let elsewhere = format!("{}token_file = \"~/tokens/work\"\n", addressed(&server));
    for (settings, programs, exported, line) in [
        // The shell knows the server, and the file does not.
        (IDENTITY, &["vault"][..], &[("VAULT_ADDR", address)][..], "vault-token-renew"),
        (IDENTITY, &["vault"], &[("BAO_ADDR", address)], "vault-token-renew"),
        (IDENTITY, &["bao"], &[("BAO_ADDR", address)], "vault-token-renew"),
        // The flag knows it, and the shell knows another one.
        (IDENTITY, &["vault"], &[("VAULT_ADDR", NOWHERE)], flags.as_str()),
        (IDENTITY, &["bao"], &[("VAULT_ADDR", NOWHERE), ("BAO_ADDR", NOWHERE)], flags.as_str()),
        // There is only the other command line.
        (&addressed(&server), &["bao"], &[], "vault-token-renew"),
        // Another token file, which a login would not write to.
        (&elsewhere, &["vault"], &[], "vault-token-renew"),
        (&addressed(&server), &["bao"], &[], "vault-token-renew --token-file \"$HOME/other file\""),
    ] {
        let person = Person::new(&server, settings, programs);
        fs::create_dir(person.home.path().join("tokens")).unwrap();
        for file in ["tokens/work", "other file"] {
            person.home.write(file, weak());
            fs::set_permissions(person.home.path().join(file), fs::Permissions::from_mode(0o600)).unwrap();
        }
        person.home.put(&weak());
        let run = person.types(line, exported).expect(1);
        person.recovers(after(&run, "Manual re-mint: "), exported);
    }
}

#[test]
fn what_a_service_says_works_in_a_shell_that_knows_nothing_or_another_server() {
    let server = server();
    // The shell that the service manager would start it with: the number of the process is that of the service's.
    let as_service = "SYSTEMD_EXEC_PID=$$ exec vault-token-renew";
    for (settings, of_service) in [
        (addressed(&server), vec![]),
        (IDENTITY.to_owned(), vec![("VAULT_ADDR", server.address())]),
        (
            String::new(),
            vec![
                ("VAULT_ADDR", server.address()),
                ("VTR_DISPLAY_NAME", "devvm-wizard"),
                ("VTR_POLICIES", "vault-admin,sops-admin"),
            ],
        ),
    ] {
        for shell in [&[][..], &[("VAULT_ADDR", NOWHERE)], &[("BAO_ADDR", NOWHERE), ("VAULT_ADDR", NOWHERE)]]
        {
            for program in ["vault", "bao"] {
                let person = Person::new(&server, &settings, &[program]);
                person.home.put(&server.weak_login().token);
                let run = person.types(as_service, &of_service).expect(1);
                person.recovers(after(&run, "Manual re-mint: "), shell);
                assert!(person.token_is_ours());
            }
        }
    }
}

#[test]
fn the_login_of_the_site_is_the_one_that_is_printed() {
    let server = server();
    let person = Person::new(&server, &addressed(&server), &["vault"]);
    let login =
        format!("vault login -method=userpass username=admin password=@{}", person.password.display());
    for (command, expected) in
        [(login.as_str(), "vault login -method=userpass -address="), ("site-login", "VAULT_ADDR=")]
    {
        let settings = format!("login_command = \"{command}\"\n{}", addressed(&server));
        person.home.write(".config/vault-token-renew/config.toml", settings);
        let path = person.home.write("bin/site-login", format!("#!/bin/sh\nexec {login}\n"));
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
        person.home.put(&server.weak_login().token);
        let run = person.types("vault-token-renew", &[]).expect(1);
        let printed = after(&run, "Manual re-mint: ");
        assert!(printed.starts_with(expected), "{printed}");
        person.recovers(printed, &[]);
    }
}

#[test]
fn the_way_back_fills_the_file_even_where_a_token_helper_keeps_logins_elsewhere() {
    let server = server();
    for name in [".vault", ".bao"] {
        let person = Person::new(&server, &addressed(&server), &["vault"]);
        let helper = person.home.write("bin/helper", "#!/bin/sh\n[ \"$1\" != store ] || cat > ~/elsewhere\n");
        fs::set_permissions(&helper, fs::Permissions::from_mode(0o755)).unwrap();
        person.home.write(name, format!("token_helper = \"{helper}\"\n"));
        person.home.put(&server.weak_login().token);
        let run = person.types("vault-token-renew", &[]).expect(1);
        let printed = after(&run, "Manual re-mint: ");
        assert!(printed.contains(" -token-only) && printf "), "{printed}");
        person.recovers(printed, &[]);
        assert!(person.token_is_ours());
    }
}

#[test]
fn the_namespace_of_the_settings_is_told_to_a_login() {
    let server = server();
    server.create_namespace("team");
    let settings = format!("namespace = \"team\"\n{}", addressed(&server));
    let person = Person::new(&server, &settings, &["vault"]);
    Person::administrator(&server, "team/", fs::read_to_string(&person.password).unwrap().as_str());
    for policy in ["vault-admin", "sops-admin"] {
        let rules = "path \"*\" { capabilities = [\"create\", \"read\", \"update\", \"list\", \"sudo\"] }";
        let rules = json!({ "policy": rules });
        server.as_root("POST", &format!("team/sys/policies/acl/{policy}"), Some(rules));
    }
    person.home.put("hvs.nobodyknowsme");
    let run = person.types("vault-token-renew", &[]).expect(1);
    person.recovers(after(&run, "log in again: "), &[]);
}

#[test]
fn what_status_advises_works_as_it_stands() {
    let server = server();
    let person = Person::new(&server, &addressed(&server), &["vault"]);
    let weak = || server.weak_login().token;
    let admin = || server.mint(server.root_token(), json!({ "policies": ["vault-admin"] })).token;
    let remedy = |id: &str| -> String {
        let run = person.types("vault-token-renew status --json", &[]);
        let status: Value = serde_json::from_str(&run.stdout).unwrap();
        let problems = status["problems"].as_array().unwrap();
        let problem = problems.iter().find(|problem| problem["id"] == id);
        problem.unwrap_or_else(|| panic!("no {id}: {status}"))["remedy"].as_str().unwrap().to_owned()
    };
    person.home.put(&admin());
    person.types(&remedy("foreign"), &[]).expect(0);
    assert!(person.token_is_ours());
    person.home.put(&weak());
    person.recovers(remedy("foreign").rsplit_once("then: ").unwrap().1, &[]);
    person.home.chmod(0o644);
    person.types(&remedy("loose_mode"), &[]).expect(0);
    assert_eq!(person.home.mode(".vault-token"), 0o600);
    server.mint(
        server.root_token(),
        json!({
            "display_name": "devvm-wizard", "policies": ["vault-admin"], "no_parent": true
        }),
    );
    person.types(&remedy("stale_tokens"), &[]).expect(0);
    assert_eq!(server.named(OUR_NAME).len(), 1);
}

#[test]
fn what_another_user_owns_is_taken_back_by_the_command_that_is_printed() {
    let server = server();
    let person = Person::new(&server, &addressed(&server), &["vault"]);
    let mine = fs::metadata(person.home.path()).unwrap().uid();
    if mine != 0 {
        count("left out: only root can give a file away, to see it taken back");
        return;
    }
    let sudo = person.home.write("bin/sudo", "#!/bin/sh\nexec \"$@\"\n");
    fs::set_permissions(sudo, fs::Permissions::from_mode(0o755)).unwrap();
    person.home.put(&server.mint_ours().token);
    person.types("vault-token-renew", &[]).expect(0);
    let local = person.home.path().join(".local");
    let all = person.home.snapshot().into_keys().filter(|name| name.starts_with(".local"));
    let all: Vec<PathBuf> = all.map(|name| person.home.path().join(name)).collect();
    for (given_away, named) in [
        (all, local),
        (vec![person.home.state_file()], person.home.state_file().parent().unwrap().to_owned()),
        (vec![person.home.token_file()], person.home.token_file()),
    ] {
        for path in &given_away {
            chown(path, Some(65_534), None).unwrap();
        }
        let told = person.types("vault-token-renew", &[]).all();
        let command = told.lines().find_map(|line| line.strip_prefix("hint: sudo chown"));
        let command =
            format!("sudo chown{}", command.unwrap_or_else(|| panic!("{}: {told}", named.display())));
        assert!(command.ends_with(named.to_str().unwrap()), "{command}");
        person.types(&command, &[]).expect(0);
        assert!(given_away.iter().all(|path| fs::metadata(path).unwrap().uid() == mine), "{command}");
        person.types("vault-token-renew", &[]).expect(0).quiet();
    }
    // Root in somebody else's home is not told to take things away from them.
    person.home.put(&server.mint_ours().token);
    for path in [person.home.path().to_owned(), person.home.token_file()] {
        chown(path, Some(65_534), None).unwrap();
    }
    let told = person.types("vault-token-renew", &[]).all();
    assert!(!told.contains("chown") && told.contains("hint: run it as the user whose home is "), "{told}");
    chown(person.home.path(), Some(mine), None).unwrap();
}
