//! The man page and the completions: generated from the one definition of the command line, and committed, so that
//! whoever installs the program needs no tool for it. The test compares; `scripts/documents` writes them anew.

use std::fs;
use std::path::{Path, PathBuf};

use clap::Command;
use clap_complete::Shell;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, italic, roman};

use super::CommandLine;

/// What no definition of a command line knows: exit status, environment, files, examples.
const SECTIONS: &str = include_str!("../../docs/man/sections.roff");

/// When the man page was last changed: of the title, which wants a date. To be set with each release.
const DATE: &str = "2026-11-26";

/// Set to anything, the files are written instead of compared.
const WRITE: &str = "VTR_TEST_WRITE_DOCUMENTS";

/// The first line of what a command is about, and the rest.
fn about(command: &Command) -> (String, String) {
    let about = command.get_about().map(ToString::to_string).unwrap_or_default();
    let (first, rest) = about.split_once("\n\n").unwrap_or((&about, ""));
    (first.to_owned(), rest.replace('\n', " "))
}

fn man_page() -> String {
    let command = CommandLine::offered();
    let (name, description) = about(&command);
    let man = Man::new(command.clone().about(name).long_about(description.clone()));
    let version = env!("CARGO_PKG_VERSION");
    let title = format!(".TH VAULT-TOKEN-RENEW 1 {DATE} \"vault-token-renew {version}\" \"User Commands\"\n");
    let mut page = title.into_bytes();
    man.render_name_section(&mut page).unwrap();
    let mut roff = Roff::new();
    roff.control("SH", ["SYNOPSIS"]);
    for (number, usage) in usages(&command).into_iter().enumerate() {
        if number > 0 {
            roff.control("br", []);
        }
        roff.text([bold(usage), roman(" [OPTIONS]")]);
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
    wrapped(&(String::from_utf8(page).unwrap() + SECTIONS))
}

/// The page with lines of text that are no longer than mandoc likes them.
fn wrapped(page: &str) -> String {
    const LONGEST: usize = 80;
    let mut lines = Vec::new();
    for mut line in page.lines() {
        let is_text = !line.starts_with(['.', '\'']);
        while is_text && line.len() > LONGEST {
            // Not at the end of a sentence, after which a line end means more space than a blank; and no line may begin
            // like a request.
            let may_break = |at: &usize| {
                !line[..*at].ends_with(['.', '?', '!', ')']) && !line[at + 1..].starts_with(['.', '\'', ' '])
            };
            let blanks = line.match_indices(' ').map(|(at, _)| at).take_while(|at| *at <= LONGEST);
            let Some(at) = blanks.filter(may_break).last().filter(|at| *at > 0) else { break };
            lines.push(&line[..at]);
            line = &line[at + 1..];
        }
        lines.push(line);
    }
    lines.join("\n") + "\n"
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

/// What clap_complete 4.6 generates, with what it leaves to mend.
fn completion(shell: Shell, mends: &[(&str, &str)]) -> String {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut CommandLine::offered(), "vault-token-renew", &mut script);
    let mut script = String::from_utf8(script).unwrap();
    for (generated, mended) in mends {
        assert!(
            script.contains(generated),
            "{shell} has no {generated:?} any more: is there nothing to mend?"
        );
        script = script.replace(generated, mended);
    }
    script
}

const BASH: [(&str, &str); 5] = [
    // It names the verbs of a program with hyphens in one way and looks them up in another.
    ("vault__subcmd__token__subcmd__renew", "vault__token__renew"),
    // A value after an equals sign is a word of its own to bash.
    (
        "    cmd=\"\"\n",
        "    if [[ \"${cur}\" == \"=\" ]]; then\n        cur=\"\"\n    elif [[ \"${prev}\" == \"=\" ]]; then\n        \
         prev=\"${COMP_WORDS[COMP_CWORD-2]}\"\n    fi\n    cmd=\"\"\n",
    ),
    // No file is an address; nor is one wanted wherever there is nothing else to offer...
    (
        "                --address)\n                    COMPREPLY=($(compgen -f \"${cur}\"))\n",
        "                --address)\n                    COMPREPLY=()\n",
    ),
    (" -o bashdefault -o default vault-token-renew", " vault-token-renew"),
    // ...but where a file is, one that begins with a variable counts, too.
    ("compopt -o filenames\n", "compopt -o filenames -o bashdefault -o default\n"),
];

/// It knows more protocols than a server does.
const ZSH: [(&str, &str); 1] = [(":URL:_urls'", ":URL:'")];

const FISH: [(&str, &str); 2] = [
    // A flag whose value is still missing is an error to argparse, and then nothing is known but files.
    (
        "    argparse -s (__fish_vault_token_renew_global_optspecs) -- $cmd 2>/dev/null\n    or return\n",
        "    if not argparse -s (__fish_vault_token_renew_global_optspecs) -- $cmd 2>/dev/null\n        \
         set -e cmd[-1]\n        argparse -s (__fish_vault_token_renew_global_optspecs) -- $cmd 2>/dev/null\n        \
         or return\n    end\n",
    ),
    // No files, except where a flag takes one.
    (
        "end\n\ncomplete -c vault-token-renew ",
        "end\n\ncomplete -c vault-token-renew -f\ncomplete -c vault-token-renew ",
    ),
];

fn documents() -> [(PathBuf, String); 4] {
    let file = |path: &str| Path::new(env!("CARGO_MANIFEST_DIR")).join("docs").join(path);
    [
        (file("man/vault-token-renew.1"), man_page()),
        (file("completions/vault-token-renew.bash"), completion(Shell::Bash, &BASH)),
        (file("completions/_vault-token-renew"), completion(Shell::Zsh, &ZSH)),
        (file("completions/vault-token-renew.fish"), completion(Shell::Fish, &FISH)),
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
    let command = CommandLine::offered();
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
