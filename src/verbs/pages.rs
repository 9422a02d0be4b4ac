//! The pages that both verbs have that stay.

use crate::service::listener::Allowed;

/// How it stands.
pub(super) const HEALTH: &str = "/health";

/// The same in figures.
pub(super) const METRICS: &str = "/metrics";

/// What is said of a page that is an object.
pub(super) const JSON: &str = "application/json";

/// What may be done at this path, if it is one of them.
pub(super) fn allowed(path: &str) -> Option<Allowed> {
    matches!(path, HEALTH | METRICS).then_some(Allowed::Looking)
}
