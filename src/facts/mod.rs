//! What a run finds and comes to: plain data, its stable names for programs, and what follows from it alone.
//! No word for people, no input or output.

pub(crate) mod authority;
pub(crate) mod failure;
pub(crate) mod followed;
pub(crate) mod forecast;
pub(crate) mod outcome;
pub(crate) mod sequel;
pub(crate) mod swept;
pub(crate) mod view;
pub(crate) mod warning;

#[cfg(test)]
mod tests;

/// `EX_TEMPFAIL` of sysexits: try again later.
const TEMPORARY: u8 = 75;
