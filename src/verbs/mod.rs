//! What a person asks for besides the pass itself.

pub(crate) mod status;
