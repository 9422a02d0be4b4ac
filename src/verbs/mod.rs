//! What a person asks for: a verb each.

mod aside;
pub(crate) mod follow;
pub(crate) mod once;
pub(crate) mod overview;
mod pages;
mod seat;
pub(crate) mod status;
pub(crate) mod surroundings;
mod survived;
pub(crate) mod viewpoint;
pub(crate) mod watch;
