//! The man page and the completions: generated from the one definition of the command line, and committed, so that
//! whoever installs the program needs no tool for it. The test compares; `scripts/documents` writes them anew.

use std::fs;
use std::path::{Path, PathBuf};

use clap::{Command, CommandFactory as _};
use clap_complete::Shell;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, italic, roman};

use super::CommandLine;

/// What no definition of a command line knows: exit status, environment, files, examples.
const SECTIONS: &str = include_str!("../../docs/man/sections.roff");

/// Set to anything, the files are written instead of compared.
const WRITE: &str = "VTR_TEST_WRITE_DOCUMENTS";

/// The command line, with its global flags handed down to the verbs.
fn command() -> Command {
    let mut command = CommandLine::command();
    command.build();
    command
}

/// The first line of what a command is about, and the rest.
fn about(command: &Command) -> (String, String) {
    let about = command.get_about().map(ToString::to_string).unwrap_or_default();
    let (first, rest) = about.split_once("\n\n").unwrap_or((&about, ""));
    (first.to_owned(), rest.replace('\n', " "))
}

fn man_page() -> String {
    let command = command();
    let (name, description) = about(&command);
    let man = Man::new(command.clone().about(name).long_about(description.clone()));
    // Not the generator's title: it leaves out the date where there is none, and then the words after it shift.
    let title = concat!(
        ".TH VAULT-TOKEN-RENEW 1 \"\" \"vault-token-renew ",
        env!("CARGO_PKG_VERSION"),
        "\" \"User Commands\"\n"
    );
    let mut page = title.as_bytes().to_vec();
    man.render_name_section(&mut page).unwrap();
    let mut roff = Roff::new();
    roff.control("SH", ["SYNOPSIS"]);
    for usage in usages(&command) {
        roff.text([bold(usage), roman(" [OPTIONS]")]);
        roff.control("br", []);
    }
    roff.control("SH", ["DESCRIPTION"]);
    roff.text([roman(description)]);
    page.extend(roff.to_roff().into_bytes());
    man.render_options_section(&mut page).unwrap();
    let mut roff = Roff::new();
    roff.control("SH", ["COMMANDS"]);
    for verb in verbs(&command) {
        roff.control("SS", [verb.get_name()]);
        roff.text([roman(about(verb).0)]);
        for flag in
            verb.get_arguments().filter(|flag| !flag.is_global_set() && flag.get_long() != Some("help"))
        {
            roff.control("TP", []);
            let value = flag.get_value_names().filter(|_| flag.get_action().takes_values());
            let value = value.map(|names| format!(" <{}>", names.join(" "))).unwrap_or_default();
            roff.text([bold(format!("--{}", flag.get_long().unwrap())), italic(value)]);
            roff.text([roman(flag.get_help().unwrap().to_string())]);
        }
    }
    page.extend(roff.to_roff().into_bytes());
    String::from_utf8(page).unwrap() + SECTIONS
}

/// The verbs. What `help` does need not be said.
fn verbs(command: &Command) -> impl Iterator<Item = &Command> {
    command.get_subcommands().filter(|verb| verb.get_name() != "help")
}

/// How the program is called: by itself, and with each of its verbs.
fn usages(command: &Command) -> Vec<String> {
    let name = command.get_name();
    let verbs = verbs(command).map(|verb| format!("{name} {}", verb.get_name()));
    [name.to_owned()].into_iter().chain(verbs).collect()
}

fn completion(shell: Shell) -> String {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut CommandLine::command(), "vault-token-renew", &mut script);
    // clap_complete 4.6.11 names the verbs of a program with hyphens in one way and looks them up in another.
    String::from_utf8(script).unwrap().replace("vault__subcmd__token__subcmd__renew", "vault__token__renew")
}

fn documents() -> [(PathBuf, String); 4] {
    let file = |path: &str| Path::new(env!("CARGO_MANIFEST_DIR")).join("docs").join(path);
    [
        (file("man/vault-token-renew.1"), man_page()),
        (file("completions/vault-token-renew.bash"), completion(Shell::Bash)),
        (file("completions/_vault-token-renew"), completion(Shell::Zsh)),
        (file("completions/vault-token-renew.fish"), completion(Shell::Fish)),
    ]
}

#[test]
#[expect(clippy::disallowed_methods, reason = "a test that is told to may write what it compares with")]
fn man_page_and_completions_are_those_of_the_command_line() {
    for (path, expected) in documents() {
        if std::env::var_os(WRITE).is_some() {
            fs::write(&path, expected).unwrap();
        } else {
            let committed = fs::read_to_string(&path).unwrap_or_default();
            assert!(committed == expected, "{} is out of date; run scripts/documents", path.display());
        }
    }
}

/// What `--help` prints, with the name of the verb in front.
fn helps() -> Vec<(String, String)> {
    use clap::Parser as _;
    let command = command();
    let names = [String::new()].into_iter().chain(verbs(&command).map(|verb| verb.get_name().to_owned()));
    let help = |verb: String| {
        let words = ["vault-token-renew", &verb, "--help"].into_iter().filter(|word| !word.is_empty());
        let help = CommandLine::try_parse_from(words).unwrap_err().to_string();
        (verb, help)
    };
    names.map(help).collect()
}

#[test]
fn help_has_one_line_for_each_flag_and_fits_into_80_columns() {
    let helps = helps();
    assert_eq!(helps.len(), 5);
    for (verb, help) in helps {
        for line in help.lines() {
            assert!(line.chars().count() <= 80, "{verb}: {line}");
        }
        let (options, rest) = help.split_once("Options:\n").unwrap();
        assert!(options.contains("Usage: vault-token-renew"), "{verb}");
        // Flag, words and nothing below: every line of the two lists of flags begins one.
        let flags: Vec<&str> = rest.split("\n\n").filter(|part| part.contains(" --")).take(2).collect();
        let flags: Vec<&str> =
            flags.iter().flat_map(|part| part.lines()).filter(|line| line.starts_with(' ')).collect();
        assert!(flags.len() > 18, "{verb}: {flags:?}");
        for line in flags {
            let flag = line.trim_start();
            let flag =
                flag.split_once(", ").filter(|(short, _)| short.len() == 2).map_or(flag, |(_, long)| long);
            let words = flag.split_once("  ").map(|(_, words)| words.trim());
            assert!(
                flag.starts_with("--") && words.is_some_and(|words| !words.is_empty()),
                "{verb}: {line:?}"
            );
        }
        let (_, example) =
            help.rsplit_once("Example:\n").unwrap_or_else(|| panic!("{verb}: no example at the end"));
        assert!(example.trim().lines().all(|line| line.contains("vault-token-renew")), "{verb}: {example}");
    }
}

#[test]
fn what_is_misspelt_gets_a_suggestion() {
    use clap::Parser as _;
    for (given, meant) in [
        (&["--dry-rnu"][..], "--dry-run"),
        (&["--token-fiel", "x"], "--token-file"),
        (&["--metrics_file", "x"], "--metrics-file"),
        (&["status", "--min-tll", "7d"], "--min-ttl"),
        (&["statsu"], "status"),
        (&["sweeep", "--dry-run"], "sweep"),
    ] {
        let arguments = ["vault-token-renew"].iter().chain(given);
        let error = CommandLine::try_parse_from(arguments).unwrap_err().to_string();
        assert!(error.contains(&format!("'{meant}'")), "{given:?}: {error}");
    }
}
