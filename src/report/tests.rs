use std::os::unix::process::ExitStatusExt as _;
use std::process::ExitStatus;
use std::sync::LazyLock;
use std::time::Duration;

use super::escape::harmless_json;
use super::lines::outcome_text;
use super::problem::Problem;
use super::remedies::{error_remedy, failure_remedy};
use super::warnings::warning_text;
use super::*;
use crate::config::{Hint, Login};
use crate::facts::failure::{Failure, Refusal, RefusedMint};
use crate::facts::outcome::HealedFrom;
use crate::facts::swept::{CutCause, SweepEnd, Swept};
use crate::identity::{Contradiction, Dying};
use crate::local::hook::HookFailure;
use crate::local::token_file::{LooseMode, ReadError, ReplaceError, ReplaceStep};
use crate::token::Accessor;
use crate::vault::{
    Call, Error, ErrorKind, Interrupted, Named, Oddity, RedirectRefusal, Said, SaidBy, TlsTrouble,
    Unreachable,
};

static LOGIN: LazyLock<Login> = LazyLock::new(|| Login {
    command: "vault login -method=oidc".to_owned(),
    is_official: true,
    hints: Vec::new(),
    own_variables: Vec::new(),
});

fn names() -> Names<'static> {
    Names {
        home: Path::new("/home/wizard"),
        token_file: Path::new("/home/wizard/.vault-token"),
        token_file_said_by: None,
        named_config: None,
        config_file: Path::new("/home/wizard/.config/vault-token-renew/config.toml"),
        named_token_file: None,
        named_flags: &[],
        login: &LOGIN,
        has_token_helper: false,
        named_runtime: None,
        profile: None,
    }
}

fn accessor(text: &str) -> Accessor {
    Accessor::new(text.to_owned()).unwrap()
}

fn swept(count: usize) -> Swept {
    let stale = (0..count).map(|number| accessor(&format!("accessor-{number}"))).collect();
    Swept { stale, ..Swept::default() }
}

fn ended(end: SweepEnd) -> Swept {
    Swept { end, ..Swept::default() }
}

fn failed(kind: ErrorKind) -> Error {
    let url = "https://vault.example.org/v1/auth/token/lookup-self".to_owned();
    Error { call: Call::LookupSelf, url, redirected_by: None, kind, named: Box::default() }
}

fn denied() -> RefusedMint {
    RefusedMint { status: 403, message: "permission denied".to_owned() }
}

fn line(outcome: &Outcome) -> String {
    outcome_text(outcome, &names())
}

fn healed(from: HealedFrom, name: &str, swept: Swept) -> Outcome {
    Outcome::Healed { from, display_name: name.to_owned(), lives_on: None, swept }
}

fn drift(name: &str) -> Outcome {
    let refusal = Refusal { create: denied(), create_orphan: denied() };
    Outcome::Drift { display_name: name.to_owned(), refusal: Some(refusal) }
}

#[test]
fn the_lines_of_the_contract_stand_word_for_word() {
    let renewed =
        Outcome::Renewed { display_name: "token-devvm-wizard".to_owned(), ttl: 2_764_800, resumed: None };
    assert_eq!(line(&renewed), "OK renewed (dn=token-devvm-wizard ttl=2764800s)");
    assert_eq!(
        line(&healed(HealedFrom::Foreign, "oidc-vbarzin", swept(2))),
        "HEALED: re-minted periodic token from foreign dn=\"oidc-vbarzin\" (revoked 2 stale periodic \
         token(s))"
    );
    assert_eq!(
        line(&healed(HealedFrom::Foreign, "oidc-vbarzin", ended(SweepEnd::ListDenied))),
        "HEALED: re-minted periodic token from foreign dn=\"oidc-vbarzin\" (accessor sweep skipped (list \
         denied))"
    );
    assert_eq!(
        line(&healed(HealedFrom::Dying, "token-devvm-wizard", swept(1))),
        "HEALED: re-minted periodic token from dying dn=\"token-devvm-wizard\" (revoked 1 stale periodic \
         token(s))"
    );
    assert_eq!(
        line(&drift("kubernetes-woodpecker-default")),
        "DRIFT: ~/.vault-token is dn=\"kubernetes-woodpecker-default\" — heal denied, foreign token lacks \
         create authority (403: permission denied); investigate what wrote it. Manual re-mint: vault login \
         -method=oidc && vault-token-renew"
    );
    assert_eq!(
        line(&Outcome::Failed(Failure::Vault(failed(ErrorKind::Unreachable(Unreachable::Refused))))),
        "FAIL: token lookup: https://vault.example.org: connection refused"
    );
}

#[test]
fn a_sweep_that_did_not_do_everything_says_how_far_it_got() {
    let cut =
        |examined, total, cause| Swept { end: SweepEnd::CutShort { examined, total, cause }, ..swept(2) };
    let words = |report| line(&healed(HealedFrom::Foreign, "x", report));
    let sealed = CutCause::Error(Box::new(failed(ErrorKind::Sealed)));
    assert!(words(cut(120, 5000, sealed)).ends_with(
        "(revoked 2 stale periodic token(s); accessor sweep cut short after 120 of 5000 accessors: \
         token lookup: https://vault.example.org: 503: Vault is sealed)"
    ));
    assert!(
        words(cut(9, 10, CutCause::TimeIsUp)).ends_with("cut short after 9 of 10 accessors: time is up)")
    );
    assert!(words(ended(SweepEnd::Off)).ends_with("(accessor sweep off)"));
    for end in [SweepEnd::LookupDenied, SweepEnd::MostlyDenied] {
        assert!(words(ended(end)).ends_with("(accessor sweep skipped (lookup denied))"));
    }
    assert!(
        words(Swept { end: SweepEnd::ListDenied, ..swept(1) })
            .ends_with("(accessor sweep skipped (list denied); revoked 1 stale periodic token(s))")
    );
    let kept = Swept {
        irrevocable: vec![accessor("a")],
        irrevocable_because: Some("permission denied".to_owned()),
        ..swept(1)
    };
    assert!(
        words(kept)
            .ends_with("(revoked 1 stale periodic token(s); 1 may not be revoked (403: permission denied))")
    );
    let resumed = Outcome::Renewed { display_name: "t".to_owned(), ttl: 1, resumed: Some(swept(3)) };
    assert_eq!(
        line(&resumed),
        "OK renewed (dn=t ttl=1s); resumed an earlier sweep (revoked 3 stale periodic token(s))"
    );
}

#[test]
fn the_verb_sweep_names_the_accessors_it_revoked() {
    assert_eq!(line(&Outcome::Swept(swept(2))), "OK revoked 2 stale periodic token(s): accessor…, accessor…");
    assert_eq!(line(&Outcome::Swept(swept(0))), "OK revoked 0 stale periodic token(s)");
    assert_eq!(
        line(&Outcome::Swept(ended(SweepEnd::ListDenied))),
        "FAIL: sweep: accessor sweep skipped (list denied)"
    );
}

#[test]
fn two_different_refusals_are_both_told() {
    let create = RefusedMint { status: 400, message: "child policies must be subset of parent".to_owned() };
    let refusal = Refusal { create, create_orphan: denied() };
    let text = line(&Outcome::Drift { display_name: "x".to_owned(), refusal: Some(refusal) });
    assert!(
        text.contains(
            "(400: child policies must be subset of parent; on create-orphan 403: permission denied)"
        )
    );
}

#[test]
fn one_event_is_one_line_whatever_the_display_name_holds() {
    let long = "😀".repeat(2_500);
    for name in [
        "quo\"te",
        "line\nbreak",
        "carriage\rreturn",
        "\u{1b}[31mred\u{1b}[0m",
        "nul\0",
        "tab\t",
        "\u{202e}turned",
        "\u{2028}separator",
        "back\\slash",
        "",
        &long,
    ] {
        for outcome in [drift(name), healed(HealedFrom::Foreign, name, swept(0))] {
            let text = line(&outcome);
            assert!(!text.contains(|c: char| c.is_control() || "\u{2028}\u{202e}".contains(c)), "{text:?}");
            assert!(text.chars().count() < 700, "{}", text.len());
            let (_, rest) = text.split_once("dn=\"").unwrap();
            let end = rest.replace("\\\\", "--").replace("\\\"", "--").find('"').unwrap();
            assert!(rest[end..].starts_with("\" — heal") || rest[end..].starts_with("\" (revoked"), "{text}");
        }
    }
    assert!(line(&drift("quo\"te\n")).contains(r#"dn="quo\"te\n""#));
}

#[test]
fn the_recovery_names_a_configuration_file_that_is_not_the_default() {
    let with = |config: &'static str| {
        let names = Names { named_config: Some(Path::new(config)), ..names() };
        outcome_text(&drift("x"), &names)
    };
    let elsewhere = Names {
        token_file: Path::new("/home/wizard/.vault-token-work"),
        named_token_file: Some(Path::new("/home/wizard/.vault-token-work")),
        ..names()
    };
    assert!(outcome_text(&drift("x"), &elsewhere).ends_with(
        "Manual re-mint: (umask 077; t=$(vault login -method=oidc -token-only) && printf %s \"$t\" > \
         /home/wizard/.vault-token-work) && vault-token-renew --token-file /home/wizard/.vault-token-work"
    ));
    assert!(with("/etc/work.toml").ends_with("&& vault-token-renew --config /etc/work.toml"));
    assert!(with("/a b/it's.toml").ends_with(r"&& vault-token-renew --config '/a b/it'\''s.toml'"));
}

#[test]
fn a_login_tells_the_shell_what_it_lacks() {
    let hint =
        |flag, name: &str, value: &str| Hint { flag, variable: name.to_owned(), value: value.to_owned() };
    let login = Login {
        hints: vec![
            hint("-address", "VAULT_ADDR", "https://v:8200"),
            hint("-namespace", "VAULT_NAMESPACE", "a b"),
        ],
        own_variables: vec![("VAULT_CACERT".to_owned(), "/ca.pem".to_owned())],
        ..LOGIN.clone()
    };
    let simple = Names { login: &login, ..names() };
    assert_eq!(
        simple.recovery_command(),
        "vault login -method=oidc -address=https://v:8200 -namespace='a b' && VAULT_CACERT=/ca.pem \
         vault-token-renew"
    );
    let elsewhere = Names { token_file: Path::new("/t"), ..simple };
    assert!(elsewhere.recovery_command().starts_with(
        "(umask 077; t=$(vault login -method=oidc -address=https://v:8200 -namespace='a b' -token-only) && "
    ));
    let password = Login { command: "A=b vault login -method=ldap username=emo".to_owned(), ..login.clone() };
    assert!(Names { login: &password, ..elsewhere }.recovery_command().starts_with(
        "(umask 077; t=$(A=b vault login -method=ldap -address=https://v:8200 -namespace='a b' -token-only \
         username=emo) && "
    ));
    let own = |command: &str, login: &Login| {
        let login = Login { command: command.to_owned(), is_official: false, ..login.clone() };
        Names { login: &login, ..elsewhere }.recovery_command()
    };
    assert_eq!(own("kinit; corp-login", &LOGIN), "(kinit; corp-login) && vault-token-renew");
    assert_eq!(own("corp-login", &LOGIN), "corp-login && vault-token-renew");
    assert!(
        own("kinit; corp-login", &login)
            .starts_with("(export VAULT_ADDR=https://v:8200 VAULT_NAMESPACE='a b'; kinit; corp-login) && ")
    );
}

#[test]
fn a_shell_of_su_is_told_where_the_user_manager_listens() {
    let command = |names: Names<'_>| names.systemctl("enable --now", "vault-token-renew@my work.timer");
    assert_eq!(command(names()), "systemctl --user enable --now 'vault-token-renew@my work.timer'");
    let of_su = Names { named_runtime: Some(Path::new("/run/user/1000")), ..names() };
    assert!(command(of_su).starts_with("XDG_RUNTIME_DIR=/run/user/1000 systemctl --user enable --now "));
}

#[test]
fn no_line_prints_the_recipe_that_empties_the_file() {
    for outcome in [drift("x"), Outcome::Failed(Failure::Dead { url: String::new(), message: String::new() })]
    {
        assert!(!line(&outcome).contains("> ~/.vault-token"));
        assert!(line(&outcome).contains("vault login -method=oidc && vault-token-renew"));
    }
}

#[test]
fn failures_say_what_on_which_object_and_why() {
    let table = [
        (Failure::TokenFile(ReadError::Missing), "FAIL: token file: ~/.vault-token: no such file"),
        (Failure::TokenFile(ReadError::Empty), "FAIL: token file: ~/.vault-token: empty"),
        (Failure::TokenFile(ReadError::NotAFile), "FAIL: token file: ~/.vault-token: not a regular file"),
        (
            Failure::TokenFile(ReadError::Owner(1001)),
            "FAIL: token file: ~/.vault-token: it belongs to another user (uid 1001)",
        ),
        (
            Failure::Dead {
                url: "https://h/v1/auth/token/lookup-self".to_owned(),
                message: "permission denied".to_owned(),
            },
            "FAIL: token lookup: https://h/v1/auth/token/lookup-self: the token in ~/.vault-token is dead \
             or blocked (403: permission denied), or of another server; log in again: vault login -method=oidc && \
             vault-token-renew",
        ),
        (
            Failure::Dying {
                display_name: "token-devvm-wizard".to_owned(),
                dying: Dying::NotRenewable,
                seconds_left: 3599,
                refusal: Some(Refusal { create: denied(), create_orphan: denied() }),
            },
            "FAIL: renewal: our token dn=\"token-devvm-wizard\" is dying (it is not renewable) and may not \
             mint its successor (403: permission denied); 3599s left; replace it before then: vault \
             login -method=oidc && vault-token-renew",
        ),
        (
            Failure::Dying {
                display_name: "token-devvm-wizard".to_owned(),
                dying: Dying::UseLimited,
                seconds_left: 3599,
                refusal: None,
            },
            "FAIL: renewal: our token dn=\"token-devvm-wizard\" is dying (its number of uses is \
             limited) and may not mint its successor (tokens with a limited number of uses cannot mint); \
             3599s left; replace it before then: vault login -method=oidc && vault-token-renew",
        ),
        (
            Failure::Spent,
            "FAIL: token lookup: the token in ~/.vault-token is dead: its last use is \
             spent; log in again: vault login -method=oidc && vault-token-renew",
        ),
        (
            Failure::Contradiction(Contradiction::Period(60)),
            "FAIL: check of the minted token: its period is 60s; it was not put into ~/.vault-token",
        ),
        (
            Failure::Replace(ReplaceError {
                step: ReplaceStep::Rename,
                error: io::Error::from_raw_os_error(16),
            }),
            "FAIL: token file: ~/.vault-token: cannot replace it: device or resource busy; it is as it was",
        ),
        (
            Failure::Unsettled(ReplaceError {
                step: ReplaceStep::Rename,
                error: io::Error::from_raw_os_error(5),
            }),
            "FAIL: token file: ~/.vault-token: replacing it failed, and reading it too: input/output \
             error; it holds the old token or the new one, and both live",
        ),
        (
            Failure::Internal { place: "src/x.rs:1:2".to_owned() },
            "FAIL: internal error at src/x.rs:1:2; the token file is whole",
        ),
        (
            Failure::NotOurs { display_name: "oidc-x".to_owned() },
            "FAIL: sweep: ~/.vault-token is dn=\"oidc-x\", not our token; without ours to keep nothing is \
             revoked",
        ),
    ];
    for (failure, expected) in table {
        assert_eq!(line(&Outcome::Failed(failure)), expected);
    }
}

#[test]
fn a_hint_names_what_is_set_and_asks_to_set_only_what_is_not() {
    let name = |name: &str| Some(SaidBy::Name(name.to_owned()));
    let refused = || ErrorKind::Unreachable(Unreachable::Refused);
    let elsewhere = || ErrorKind::Elsewhere { message: String::new() };
    let unfound = || ErrorKind::NotFound { message: String::new() };
    let empty = || ErrorKind::NotVault { status: 200, oddity: Oddity::Empty };
    let say_where = "write the address of the server to ~/.config/vault-token-renew/config.toml: address = \
                     \"https://…\"";
    let table = [
        (refused(), None, None, say_where),
        (refused(), name("BAO_ADDR"), None, "check that the server is up and that BAO_ADDR is right"),
        (
            refused(),
            Some(SaidBy::File),
            None,
            "check that the server is up and that `address` in ~/.config/vault-token-renew/config.toml is right",
        ),
        (empty(), None, None, say_where),
        (
            empty(),
            name("--address"),
            None,
            "check that --address names a Vault server, without /v1 and without a login page in front",
        ),
        (
            unfound(),
            name("VAULT_ADDR"),
            None,
            "check VAULT_ADDR (without /v1), and whether it needs a namespace (--namespace)",
        ),
        (
            unfound(),
            name("VAULT_ADDR"),
            name("VAULT_NAMESPACE"),
            "check VAULT_ADDR (without /v1), and VAULT_NAMESPACE",
        ),
        (
            elsewhere(),
            name("VAULT_ADDR"),
            None,
            "name the namespace of the token (--namespace, VAULT_NAMESPACE)",
        ),
        (
            elsewhere(),
            name("VAULT_ADDR"),
            name("BAO_NAMESPACE"),
            "check BAO_NAMESPACE: it is not the namespace of the token",
        ),
        // An agent's address beats the server's, so that VAULT_ADDR would not help.
        (
            ErrorKind::AnotherToken,
            name("VAULT_AGENT_ADDR"),
            None,
            "an agent substitutes its own token; set VAULT_AGENT_ADDR to the server itself",
        ),
        (
            ErrorKind::Cached,
            name("VAULT_ADDR"),
            None,
            "set VAULT_ADDR to the server itself, or switch off `cache` in the agent or proxy",
        ),
    ];
    for (kind, address, namespace, expected) in table {
        let named = Box::new(Named { address, namespace, ..Named::default() });
        let remedy = error_remedy(&Error { named, ..failed(kind) }, &names());
        assert_eq!(remedy.as_deref(), Some(expected));
    }
    let said_by = SaidBy::Name("VAULT_TOKEN_PATH".to_owned());
    let named = Names { token_file_said_by: Some(&said_by), ..names() };
    let remedy = |names| failure_remedy(&Failure::TokenFile(ReadError::NotAFile), &names).unwrap();
    assert_eq!(remedy(named), "name the right file: VAULT_TOKEN_PATH");
    assert!(remedy(names()).contains("with --token-file, VAULT_TOKEN_PATH or"));
    let unverified = |authorities| {
        let problem = Problem::VerificationOff { switch: "VAULT_SKIP_VERIFY".to_owned(), authorities };
        problem.remedy(&names()).unwrap()
    };
    assert!(unverified(None).contains("VAULT_CACERT"));
    let checked = "unset VAULT_SKIP_VERIFY: the certificate is checked with what BAO_CACERT names then";
    assert_eq!(unverified(Some("BAO_CACERT".to_owned())), checked);
}

#[test]
fn answers_that_are_none_name_url_status_and_what_was_wrong() {
    let url = "https://vault.example.org/v1/auth/token/lookup-self";
    let html =
        || Oddity::NotJson { content_type: "text/html".to_owned(), start: "<html>\n\"Sign in\"".to_owned() };
    let table = [
        (
            ErrorKind::NotVault { status: 200, oddity: html() },
            format!(r#"{url}: 200: not an answer of Vault (text/html, "<html>\n\"Sign in\"")"#),
        ),
        (
            ErrorKind::Server { status: 502, said: Said::Foreign(html()) },
            format!(r#"{url}: 502: not an answer of Vault (text/html, "<html>\n\"Sign in\"")"#),
        ),
        (
            ErrorKind::NotVault { status: 200, oddity: Oddity::Shape("no data".to_owned()) },
            format!("{url}: 200: not an answer of Vault (no data)"),
        ),
        (
            ErrorKind::NotVault { status: 200, oddity: Oddity::Empty },
            format!("{url}: 200: not an answer of Vault (empty body)"),
        ),
        (
            ErrorKind::Redirect { status: 307, reason: RedirectRefusal::Downgrade("h".to_owned()) },
            format!("{url}: 307: a redirect from https to http (h) is not followed"),
        ),
        (
            ErrorKind::Throttled { said: Said::Errors("quota exceeded".to_owned()) },
            format!("{url}: 429: quota exceeded"),
        ),
        (
            ErrorKind::Interrupted(Interrupted::TimedOut),
            "https://vault.example.org: no answer in time".to_owned(),
        ),
        (ErrorKind::Sealed, "https://vault.example.org: 503: Vault is sealed".to_owned()),
        (
            ErrorKind::Unreachable(Unreachable::Tls(TlsTrouble::UnknownIssuer)),
            "https://vault.example.org: TLS: the certificate is signed by an unknown authority".to_owned(),
        ),
    ];
    for (kind, expected) in table {
        let text = line(&Outcome::Failed(Failure::Vault(failed(kind))));
        assert_eq!(text, format!("FAIL: token lookup: {expected}"));
    }
}

#[test]
fn a_mint_whose_answer_was_lost_says_what_may_be_left() {
    let lost = Error { call: Call::Create, ..failed(ErrorKind::Interrupted(Interrupted::Closed)) };
    assert!(line(&Outcome::Failed(Failure::Vault(lost))).contains("the server may have minted a token"));
    for kind in [ErrorKind::Unreachable(Unreachable::Refused), ErrorKind::Sealed] {
        let kept = Error { call: Call::Create, ..failed(kind) };
        assert!(!line(&Outcome::Failed(Failure::Vault(kept))).contains("may have minted"));
    }
}

#[test]
fn warnings_are_one_line() {
    let table = [
        (
            Warning::LooseMode(LooseMode { mode: 0o644, tightened: true }),
            "~/.vault-token had mode 0644, so other users could read the token; it is 0600 now",
        ),
        (
            Warning::Server("period of \"1000h\"\nexceeded".to_owned()),
            r#"the server warns: "period of \"1000h\"\nexceeded""#,
        ),
        (
            Warning::Dying {
                display_name: "token-devvm-wizard".to_owned(),
                dying: Dying::NoPeriod,
                seconds_left: 60,
            },
            "our token dn=\"token-devvm-wizard\" is dying: it has no period (60s left); minting its successor",
        ),
        (
            Warning::NoState {
                path: PathBuf::from("/home/wizard/.local/state/vault-token-renew"),
                error: io::Error::from_raw_os_error(30),
            },
            "~/.local/state/vault-token-renew: read-only file system; continuing without lock and state",
        ),
        (
            Warning::Hook(HookFailure::TimedOut(Duration::from_millis(1_500))),
            "the deploy hook was killed, because it took longer than 1.5s (see --hook-timeout)",
        ),
        (
            Warning::Hook(HookFailure::Status(ExitStatus::from_raw(3 << 8))),
            "the deploy hook ended with exit status 3",
        ),
        (
            Warning::Hook(HookFailure::Status(ExitStatus::from_raw(9))),
            "the deploy hook was killed by signal 9",
        ),
    ];
    for (warning, expected) in table {
        assert_eq!(warning_text(&warning, &names()), expected);
    }
}

#[test]
fn json_holds_nothing_that_a_terminal_obeys_and_means_the_same() {
    let texts = [
        "plain",
        "ünï €",
        "\u{1b}[2J",
        "\u{7f}\u{9b}31m",
        "\u{202e}gnp",
        "\u{2066}\u{2028}\u{feff}",
        "\u{e0001}",
        "\"\\\n",
    ];
    for text in texts {
        let json = harmless_json(&serde_json::to_string(text).unwrap());
        assert_eq!(serde_json::from_str::<String>(&json).unwrap(), text);
        let odd = |c: char| c.is_control() || "\u{202e}\u{2066}\u{2028}\u{feff}\u{e0001}".contains(c);
        assert!(!json.contains(odd), "{json:?}");
    }
    assert_eq!(harmless_json(&serde_json::to_string("ünï €").unwrap()), "\"ünï €\"");
}

#[test]
fn the_error_of_a_setting_is_harmless_to_a_terminal_too() {
    let error = anyhow::anyhow!("\"a\\b\" \u{202e}\u{1b}").context("--period");
    assert_eq!(errors::chain_text(&error), "--period: \"a\\b\" \\u{202e}\\u{1b}");
}
