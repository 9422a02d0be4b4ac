//! The KV store: where a secret is, and what is in it. What the servers answer was measured, see docs/follow.md,
//! "What the server answers".

use serde_json::Value;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::{Call, Client, Error, NO_BODY, in_path};
use crate::secret::{Followed, Token};
use crate::vault::wire::Envelope;
use crate::version::Version;

/// Where a secret is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct KvPlace {
    /// The mount, without slashes around it.
    pub(crate) mount: String,
    /// Its path below the mount.
    pub(crate) path: String,
    /// How the store is spoken to.
    pub(crate) kind: KvKind,
}

/// The two kinds of KV store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum KvKind {
    /// Without versions.
    One,
    /// With versions.
    Two,
}

/// What is there.
#[derive(Debug)]
pub(crate) enum KvAnswer {
    /// The field, and which version it is, if there are versions.
    Found(Followed, Option<Version>),
    /// No such secret.
    Absent,
    /// There was one.
    Deleted {
        /// Whether nobody can bring it back.
        destroyed: bool,
    },
    /// No such mount any more, or one of the other kind.
    NoMount,
    /// The secret is there, and the field is not what it should be.
    Field(FieldTrouble),
}

/// What is wrong with a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FieldTrouble {
    /// There is none of that name.
    Missing,
    /// Nothing is in it.
    Empty,
    /// It is a number, a list, an object, or nothing at all.
    NoString,
}

impl Client<'_> {
    /// In which mount the secret at `path` (mount and path, as somebody wrote them) is, and of which kind that is. Who
    /// may read the secret may ask this. Where the word `data` stands between the two it belongs to neither, if it
    /// `may_hold_data` and the store has versions: in one without, an agent that wrote it there wrote it into the path.
    /// None if that mount is no KV store.
    pub(crate) fn kv_place(
        &self,
        token: &Token,
        path: &str,
        may_hold_data: bool,
    ) -> Result<Option<KvPlace>, Error> {
        let call = Call::Mount;
        let url = format!("{}{}", call.route().1, in_path(path));
        let answer = self.ask_at(call, &url, token, NO_BODY)?;
        let envelope: Envelope<Value, serde::de::IgnoredAny> = self.read(call, &answer)?;
        let data = envelope.data.ok_or_else(|| self.shape(call, &answer, "no data"))?;
        let mount = data.get("path").and_then(Value::as_str).map(|mount| mount.trim_matches('/'));
        let mount = mount.ok_or_else(|| self.shape(call, &answer, "no path"))?;
        // `generic` is what a KV store was called before there were versions.
        let kind = match (data.get("type").and_then(Value::as_str), data.pointer("/options/version")) {
            (Some("kv"), Some(version)) if version == "2" => KvKind::Two,
            (Some("kv" | "generic"), _) => KvKind::One,
            (_, _) => return Ok(None),
        };
        let below = path.strip_prefix(mount).and_then(|below| below.strip_prefix('/'));
        let below = below.filter(|below| !below.is_empty());
        let below = below.ok_or_else(|| self.shape(call, &answer, "another mount than that of the path"))?;
        let below = match below.strip_prefix("data/") {
            Some(rest) if may_hold_data && kind == KvKind::Two => rest,
            Some(_) | None => below,
        };
        Ok(Some(KvPlace { mount: mount.to_owned(), path: below.to_owned(), kind }))
    }

    /// The field of the secret at that place.
    pub(crate) fn kv_read(&self, token: &Token, place: &KvPlace, field: &str) -> Result<KvAnswer, Error> {
        let call = Call::Secret;
        let between = match place.kind {
            KvKind::One => "",
            KvKind::Two => "data/",
        };
        let url = format!("{}/{between}{}", in_path(&place.mount), in_path(&place.path));
        let answer = self.ask_at(call, &url, token, NO_BODY)?;
        let body: Value = self.read(call, &answer)?;
        if answer.status == 404 {
            return Ok(absence(&body));
        }
        let data = body.get("data").filter(|data| data.is_object());
        let data = data.ok_or_else(|| self.shape(call, &answer, "no data"))?;
        match place.kind {
            KvKind::One => Ok(taken(within(data, field), None)),
            KvKind::Two => {
                let (Some(fields), Some(metadata)) = (data.get("data"), data.get("metadata")) else {
                    return Err(self.shape(call, &answer, "no versioned secret"));
                };
                if fields.is_null() {
                    return Ok(absence(&body));
                }
                let version = version(metadata).ok_or_else(|| self.shape(call, &answer, "no version"))?;
                Ok(taken(fields.get(field), Some(version)))
            }
        }
    }
}

/// A field of a secret without versions: as it is, or below `data`, where a client puts it that takes the store for one
/// with versions.
fn within<'a>(data: &'a Value, field: &str) -> Option<&'a Value> {
    data.get(field).or_else(|| data.get("data").filter(|data| data.is_object())?.get(field))
}

fn taken(field: Option<&Value>, version: Option<Version>) -> KvAnswer {
    match field {
        None => KvAnswer::Field(FieldTrouble::Missing),
        Some(Value::String(text)) if text.is_empty() => KvAnswer::Field(FieldTrouble::Empty),
        Some(Value::String(text)) => KvAnswer::Found(Followed::new(text.as_bytes()), version),
        Some(Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_)) => {
            KvAnswer::Field(FieldTrouble::NoString)
        }
    }
}

/// What a 404 means: the words decide, since the number is the same for all of it.
fn absence(body: &Value) -> KvAnswer {
    if let Some(metadata) = body.pointer("/data/metadata") {
        return KvAnswer::Deleted { destroyed: metadata.get("destroyed") == Some(&Value::Bool(true)) };
    }
    let said = |key: &str| body.get(key).and_then(Value::as_array).is_some_and(|words| !words.is_empty());
    // "no handler for route", or a warning that this store has versions and is not spoken to as one that has.
    if said("errors") || said("warnings") { KvAnswer::NoMount } else { KvAnswer::Absent }
}

fn version(metadata: &Value) -> Option<Version> {
    let created = metadata.get("created_time").and_then(Value::as_str)?;
    let created = OffsetDateTime::parse(created, &Rfc3339).ok()?;
    Some(Version {
        number: metadata.get("version").and_then(Value::as_u64)?,
        created: created.unix_timestamp_nanos(),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn one_number_says_many_things() {
        let deleted = json!({ "data": { "data": null, "metadata": { "destroyed": false, "version": 1 } } });
        let destroyed = json!({ "data": { "data": null, "metadata": { "destroyed": true, "version": 1 } } });
        for (body, meant) in [
            (json!({ "errors": [] }), "Absent"),
            (deleted, "Deleted { destroyed: false }"),
            (destroyed, "Deleted { destroyed: true }"),
            (json!({ "errors": ["no handler for route \"x\". route entry not found."] }), "NoMount"),
            (
                json!({ "data": null, "warnings": ["Invalid path for a versioned K/V secrets engine."] }),
                "NoMount",
            ),
        ] {
            assert_eq!(format!("{:?}", absence(&body)), meant, "{body}");
        }
    }

    #[test]
    fn a_field_is_a_string_with_something_in_it() {
        let data =
            json!({ "token": "abc", "empty": "", "number": 5, "null": null, "data": { "old": "def" } });
        for (field, meant) in [
            ("token", "Found(Followed(redacted), None)"),
            ("old", "Found(Followed(redacted), None)"),
            ("empty", "Field(Empty)"),
            ("number", "Field(NoString)"),
            ("null", "Field(NoString)"),
            ("data", "Field(NoString)"),
            ("none", "Field(Missing)"),
        ] {
            assert_eq!(format!("{:?}", taken(within(&data, field), None)), meant, "{field}");
        }
    }

    #[test]
    fn a_version_is_known_to_the_nanosecond() {
        let metadata = json!({ "version": 7, "created_time": "2026-11-26T19:31:43.341056371Z" });
        let version = version(&metadata).unwrap();
        assert_eq!((version.number, version.created), (7, 1_795_721_503_341_056_371));
        assert_eq!(version.created_at(), 1_795_721_503);
        for odd in
            [json!({ "version": 7 }), json!({ "version": "7", "created_time": "2026-11-26T19:31:43Z" })]
        {
            assert!(super::version(&odd).is_none(), "{odd}");
        }
    }
}
