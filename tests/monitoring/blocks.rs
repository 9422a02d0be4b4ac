//! The blocks of code in the documents, as somebody copies them: those of docs/monitoring.md, unless it says otherwise.

use std::fs;

/// One of them.
#[derive(Debug)]
pub(crate) struct Block {
    /// What stands behind the fence: `ini`, `sh`, nothing.
    pub(crate) language: String,
    /// What is between the fences, without the indentation of a list.
    pub(crate) text: String,
}

/// All of them, in their order.
pub(crate) fn blocks() -> Vec<Block> {
    blocks_of(&super::documentation())
}

fn blocks_of(documentation: &str) -> Vec<Block> {
    let (mut blocks, mut open) = (Vec::new(), None::<(usize, Block)>);
    for line in documentation.lines() {
        let fence = line.trim_start().strip_prefix("```");
        match (&mut open, fence) {
            (None, Some(language)) => {
                let indentation = line.len() - line.trim_start().len();
                open = Some((indentation, Block { language: language.to_owned(), text: String::new() }));
            }
            (Some(_), Some(_)) => blocks.extend(open.take().map(|(_, block)| block)),
            (Some((indentation, block)), None) => {
                block.text += line.get(*indentation..).unwrap_or_default();
                block.text.push('\n');
            }
            (None, None) => {}
        }
    }
    assert!(open.is_none(), "a block without an end: {open:?}");
    blocks
}

/// The text of the one block of this language that has this in it.
#[track_caller]
pub(crate) fn block(language: &str, part: &str) -> String {
    let mut found: Vec<_> = blocks()
        .into_iter()
        .filter(|block| block.language == language && block.text.contains(part))
        .collect();
    assert_eq!(found.len(), 1, "blocks of {language:?} with {part:?} in docs/monitoring.md: {found:?}");
    found.remove(0).text
}

/// The files below the home that the documentation tells people to write, with their contents: those blocks of this
/// language that begin with a comment that is a path.
pub(crate) fn files(language: &str) -> Vec<(String, String)> {
    files_of(&super::documentation(), language)
}

/// The same of another document.
pub(crate) fn files_of(documentation: &str, language: &str) -> Vec<(String, String)> {
    let named = |block: Block| {
        let mut lines = block.text.lines().filter(|line| !line.starts_with("#!"));
        let path = lines.next()?.strip_prefix("# ~/")?.to_owned();
        (block.language == language).then_some((path, block.text))
    };
    blocks_of(documentation).into_iter().filter_map(named).collect()
}

/// One of these files.
#[track_caller]
pub(crate) fn file(language: &str, path: &str) -> String {
    let found = files(language).into_iter().find(|(name, _)| name == path);
    found.unwrap_or_else(|| panic!("docs/monitoring.md has no {language} block for ~/{path}")).1
}

/// The one value of a key in a unit.
#[track_caller]
pub(crate) fn value_of(unit: &str, key: &str) -> String {
    let values: Vec<_> = unit.lines().filter_map(|line| line.strip_prefix(key)?.strip_prefix('=')).collect();
    assert_eq!(values.len(), 1, "{key}= in:\n{unit}");
    values[0].to_owned()
}

/// Writes a file, with the folders it needs.
#[track_caller]
pub(crate) fn write(path: &std::path::Path, contents: &str) {
    fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
    fs::write(path, contents).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
}
