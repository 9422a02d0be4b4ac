//! Foreign text made harmless: one event stays one line, and no terminal obeys what a server or a file says.

use std::fmt::{self, Write as _};

/// More characters of a foreign text than this are cut off: a line has to stay readable.
const LONGEST_FOREIGN_TEXT: usize = 256;

/// Text from the server or a file, escaped so that one event stays one line and no terminal obeys it.
pub(super) struct Shown<'a>(pub(super) &'a str);

/// The same, in quotation marks.
pub(super) struct Quoted<'a>(pub(super) &'a str);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        escape(f, self.0, false)
    }
}

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_char('"')?;
        escape(f, self.0, true)?;
        f.write_char('"')
    }
}

/// Text whose words are our own: quotation marks and backslashes stay; what a terminal obeys or turns the direction
/// of writing does not.
pub(super) fn harmless_text(text: &str) -> String {
    let plain = |c: char| matches!(c, '"' | '\'' | '\\') || c.escape_debug().len() == 1;
    text.chars().map(|c| if plain(c) { c.to_string() } else { c.escape_debug().to_string() }).collect()
}

fn escape(f: &mut fmt::Formatter<'_>, text: &str, quotes: bool) -> fmt::Result {
    let mut characters = text.chars();
    for character in characters.by_ref().take(LONGEST_FOREIGN_TEXT) {
        match character {
            '"' | '\'' if !quotes => f.write_char(character)?,
            '\'' => f.write_char(character)?,
            // Rust's own escapes also cover what turns the direction of writing around.
            other => write!(f, "{}", other.escape_debug())?,
        }
    }
    if characters.next().is_some() { f.write_char('…') } else { Ok(()) }
}

/// JSON that means the same, in which nothing is left that a terminal would obey or that turns the direction of
/// writing around. Outside of its strings JSON has no such characters.
pub(super) fn harmless_json(json: &str) -> String {
    let mut text = String::with_capacity(json.len());
    for character in json.chars() {
        if character.is_ascii_graphic() || character == ' ' || character.escape_debug().len() == 1 {
            text.push(character);
        } else {
            for unit in character.encode_utf16(&mut [0; 2]) {
                // Writing to a string does not fail.
                let _ = write!(text, "\\u{unit:04x}");
            }
        }
    }
    text
}
