//! Request and response bodies, as they stand on the wire.

use std::collections::BTreeMap;

use serde::de::IgnoredAny;
use serde::{Deserialize, Deserializer, Serialize};
use zeroize::Zeroizing;

use crate::secret::Token;
use crate::token::{Accessor, TokenInfo};

/// What a mint asks for, in the fields `vault token create -orphan` sends.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct MintOrder<'a> {
    /// Never empty: Vault would let the new token inherit the policies of the minting one.
    pub(crate) policies: &'a [String],
    /// Seconds.
    pub(crate) period: u64,
    /// As asked for; Vault puts `token-` in front.
    pub(crate) display_name: &'a str,
    /// Orphan: it outlives the token that minted it.
    pub(crate) no_parent: bool,
    /// Always true.
    pub(crate) renewable: bool,
    /// Always `service`.
    pub(crate) r#type: &'a str,
    /// Who minted it, and where; none where a policy allows no notes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) meta: Option<Meta<'a>>,
}

/// The notes a mint leaves on the token.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct Meta<'a> {
    /// This tool.
    pub(crate) managed_by: &'a str,
    /// The machine by its id, where it has one; a sweep elsewhere leaves the token alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) machine: Option<&'a str>,
    /// The machine by its name, for people, and where there is no id.
    pub(crate) host: &'a str,
    /// The user.
    pub(crate) user: &'a str,
    /// Something that no earlier mint had, so that no cache answers with an earlier token.
    pub(crate) run: &'a str,
}

/// A body with nothing in it: `{}`.
#[derive(Serialize)]
pub(super) struct Empty {}

/// A body that names an accessor.
#[derive(Serialize)]
pub(super) struct ByAccessor<'a> {
    pub(super) accessor: &'a str,
}

/// A body that names paths.
#[derive(Serialize)]
pub(super) struct ByPaths<'a> {
    pub(super) paths: &'a [&'a str],
}

/// The errors of a refusal.
#[derive(Deserialize)]
pub(super) struct Errors {
    pub(super) errors: Vec<String>,
}

/// The frame around every answer; what a call does not need is [`serde::de::IgnoredAny`]. Unknown fields
/// are passed over.
#[derive(Deserialize)]
pub(super) struct Envelope<Data, Auth> {
    pub(super) data: Option<Data>,
    pub(super) auth: Option<Auth>,
    pub(super) warnings: Option<Vec<String>>,
    /// Where to fetch the answer, if it was put aside.
    pub(super) wrap_info: Option<IgnoredAny>,
}

/// A lookup's `data`, in which even a field the documentation promises may be `null`.
#[derive(Deserialize)]
pub(super) struct LookupData {
    #[serde(default, deserialize_with = "secret_or_nothing")]
    pub(super) id: Option<Zeroizing<String>>,
    accessor: Option<String>,
    display_name: String,
    policies: Option<Vec<String>>,
    /// Below zero for a token that has ended and is not yet cleared away.
    ttl: i64,
    identity_policies: Option<Vec<String>>,
    period: Option<u64>,
    explicit_max_ttl: Option<u64>,
    creation_time: Option<u64>,
    creation_ttl: Option<u64>,
    renewable: Option<bool>,
    orphan: Option<bool>,
    r#type: Option<String>,
    path: Option<String>,
    meta: Option<BTreeMap<String, serde_json::Value>>,
    num_uses: Option<i64>,
    namespace_path: Option<String>,
    role: Option<String>,
    /// A point in time; null for a token that never ends.
    expire_time: Option<String>,
}

impl LookupData {
    /// The type it names.
    pub(super) fn kind(&self) -> Option<&str> {
        self.r#type.as_deref()
    }

    /// Whether it names an accessor at all.
    pub(super) fn names_accessor(&self) -> bool {
        self.accessor.as_ref().is_some_and(|accessor| !accessor.is_empty())
    }
}

impl From<LookupData> for TokenInfo {
    fn from(data: LookupData) -> Self {
        let note = |name: &str| {
            let note = data.meta.as_ref().and_then(|meta| meta.get(name));
            note.and_then(serde_json::Value::as_str).map(str::to_owned)
        };
        let (meta_machine, meta_host, meta_user) = (note("machine"), note("host"), note("user"));
        Self {
            accessor: data.accessor.and_then(Accessor::new),
            display_name: data.display_name,
            policies: data.policies.unwrap_or_default(),
            ttl: u64::try_from(data.ttl).unwrap_or(0),
            identity_policies: data.identity_policies.unwrap_or_default(),
            period: data.period,
            explicit_max_ttl: data.explicit_max_ttl.unwrap_or(0),
            creation_time: data.creation_time,
            creation_ttl: data.creation_ttl,
            renewable: data.renewable,
            orphan: data.orphan,
            kind: data.r#type,
            path: data.path,
            meta_machine,
            meta_host,
            meta_user,
            role: data.role,
            // Go's zero time is what some servers say where there is none.
            has_expiry: data.ttl < 0
                || data.expire_time.is_some_and(|time| !time.is_empty() && !time.starts_with("0001-")),
            namespace: data.namespace_path.map(|path| path.trim_matches('/').to_owned()),
            num_uses: data.num_uses.unwrap_or(0),
        }
    }
}

/// The `id` of a lookup: absent, null and empty (as in a lookup by accessor) all mean "not said".
fn secret_or_nothing<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Zeroizing<String>>, D::Error> {
    let text = Option::<String>::deserialize(deserializer)?.map(Zeroizing::new);
    Ok(text.filter(|text| !text.is_empty()))
}

/// The `auth` of a mint.
#[derive(Deserialize)]
pub(super) struct MintAuth {
    pub(super) client_token: Token,
    pub(super) accessor: Option<String>,
    /// Seconds.
    pub(super) lease_duration: Option<u64>,
}

/// The `auth` of a renewal.
#[derive(Deserialize)]
pub(super) struct RenewAuth {
    /// Seconds.
    pub(super) lease_duration: u64,
    pub(super) renewable: Option<bool>,
    #[serde(default, deserialize_with = "secret_or_nothing")]
    pub(super) client_token: Option<Zeroizing<String>>,
    pub(super) accessor: Option<String>,
}

/// The `data` of a listing.
#[derive(Deserialize)]
pub(super) struct Keys {
    pub(super) keys: Vec<Accessor>,
}
