//! What the service finds where a shell finds what it exports: the environment of its user manager, what its unit and
//! its drop-ins set, and what stands in its files.
//!
//! As far as `systemctl show` tells, that is: what a unit takes back with `UnsetEnvironment=` is not known.

use std::path::Path;

use super::environment::Environment;
use crate::bounded;
use crate::local::timer::Launch;

/// A file with variables is smaller.
const LARGEST_FILE: usize = 1024 * 1024;

/// Variables that a user manager has even where it does not say so.
const EVERYBODYS: [&str; 4] = ["HOME", "USER", "LOGNAME", "PATH"];

impl Environment {
    /// That of a process which the user manager starts like this. `own` is the environment of this process.
    pub(crate) fn of_launch(launch: &Launch, own: &Self) -> Self {
        let everybodys = EVERYBODYS.iter().filter_map(|name| own.get(name).ok().flatten());
        let mut environment: Self = everybodys.map(|variable| (variable.name, variable.value)).collect();
        environment.extend(launch.manager.iter().chain(&launch.unit).cloned());
        for file in &launch.files {
            environment.extend(variables_in(file));
        }
        environment
    }
}

/// The variables in a file that a unit names with `EnvironmentFile=`. One that cannot be read is empty here; the
/// service would say so itself.
fn variables_in(file: &Path) -> Vec<(String, String)> {
    assignments(&bounded::read_text(file, LARGEST_FILE).unwrap_or_default())
}

/// The assignments in the text of such a file.
///
/// Source: systemd.exec(5), `EnvironmentFile=`: one on a line, `#` and `;` begin a comment, a backslash at the end
/// continues a line, and a value may stand in quotation marks.
fn assignments(text: &str) -> Vec<(String, String)> {
    let joined = text.replace("\\\n", " ");
    let lines = joined.lines().map(str::trim).filter(|line| !line.starts_with(['#', ';']));
    lines
        .filter_map(|line| line.split_once('='))
        .map(|(name, value)| (name.trim().to_owned(), unquoted(value.trim())))
        .collect()
}

/// A value without the quotation marks around it. Between single ones everything stands for itself; elsewhere a
/// backslash takes the next character as it is.
fn unquoted(value: &str) -> String {
    if let Some(inner) = value.strip_prefix('\'').and_then(|rest| rest.strip_suffix('\'')) {
        return inner.to_owned();
    }
    let inner = value.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(value);
    let mut plain = String::with_capacity(inner.len());
    let mut characters = inner.chars();
    while let Some(character) = characters.next() {
        plain.extend(if character == '\\' { characters.next() } else { Some(character) });
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_file_of_a_unit_is_read_as_systemd_reads_it() {
        let text = "# VAULT_ADDR=x\n; VAULT_ADDR=y\n\n VAULT_ADDR = \"https://v:8200\" \nA='b \\c'\nB=\"c\\\"d\"\n\
                    VTR_POLICIES=a,\\\nb\nC=d=e\nnonsense\nD=\n";
        let set = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(
            assignments(text),
            [
                set("VAULT_ADDR", "https://v:8200"),
                set("A", "b \\c"),
                set("B", "c\"d"),
                set("VTR_POLICIES", "a, b"),
                set("C", "d=e"),
                set("D", ""),
            ]
        );
    }

    #[test]
    fn what_comes_later_counts() {
        let set = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let file = tempfile::NamedTempFile::new().unwrap();
        std::io::Write::write_all(&mut file.as_file(), b"B=file\n").unwrap();
        let launch = Launch {
            arguments: Vec::new(),
            manager: vec![set("A", "manager"), set("B", "manager"), set("C", "manager")],
            unit: vec![set("A", "unit"), set("B", "unit")],
            files: vec![file.path().to_owned(), "/nowhere".into()],
            hides_root: false,
        };
        let own = Environment::from(&[("HOME", "/home/wizard"), ("VAULT_ADDR", "https://shell")][..]);
        let environment = Environment::of_launch(&launch, &own);
        let value = |name: &str| environment.get(name).unwrap().map(|variable| variable.value);
        let expected = [Some("unit"), Some("file"), Some("manager"), Some("/home/wizard"), None];
        let found = ["A", "B", "C", "HOME", "VAULT_ADDR"].map(value);
        assert_eq!(found.each_ref().map(Option::as_deref), expected);
    }

    proptest! {
        #[test]
        fn any_text_is_assignments_or_nothing(text in crate::hostile::text(&["A=b\n", "A=\"b\\\"c\" \\\nd\n", "'"])) {
            let _ = assignments(&text);
        }
    }
}
