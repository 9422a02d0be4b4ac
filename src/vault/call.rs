//! The calls this program makes: method, path, and whether a call may be repeated.

use ureq::http::Method;

/// The calls this program makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Call {
    /// `GET auth/token/lookup-self`; not POST, which the `default` policy forbids.
    LookupSelf,
    /// `POST auth/token/renew-self`
    RenewSelf,
    /// `POST auth/token/create`
    Create,
    /// `POST auth/token/create-orphan`
    CreateOrphan,
    /// `GET auth/token/accessors?list=true`: the same as `LIST`, and passed by every proxy.
    Accessors,
    /// `POST auth/token/lookup-accessor`
    LookupAccessor,
    /// `POST auth/token/revoke-accessor`
    RevokeAccessor,
    /// `POST auth/token/revoke-self`
    RevokeSelf,
    /// `POST sys/capabilities-self`
    Capabilities,
    /// `GET sys/policies/acl/NAME`
    Policy,
    /// `GET sys/internal/ui/mounts/PATH`
    Mount,
    /// `GET MOUNT/data/PATH`, or `GET MOUNT/PATH` where there are no versions.
    Secret,
}

impl Call {
    /// The method and the path below `/v1/`.
    pub(super) fn route(self) -> (Method, &'static str) {
        match self {
            Self::LookupSelf => (Method::GET, "auth/token/lookup-self"),
            Self::RenewSelf => (Method::POST, "auth/token/renew-self"),
            Self::Create => (Method::POST, CREATE_PATH),
            Self::CreateOrphan => (Method::POST, CREATE_ORPHAN_PATH),
            // The trailing slash is what the access rules are checked against.
            Self::Accessors => (Method::GET, "auth/token/accessors/?list=true"),
            Self::LookupAccessor => (Method::POST, "auth/token/lookup-accessor"),
            Self::RevokeAccessor => (Method::POST, "auth/token/revoke-accessor"),
            Self::RevokeSelf => (Method::POST, "auth/token/revoke-self"),
            Self::Capabilities => (Method::POST, "sys/capabilities-self"),
            // The name follows, see `Client::policy_exists`.
            Self::Policy => (Method::GET, "sys/policies/acl/"),
            // The path of a secret follows, see `kv.rs`.
            Self::Mount => (Method::GET, "sys/internal/ui/mounts/"),
            Self::Secret => (Method::GET, ""),
        }
    }

    /// Whether it is one of the many of a walk over the accessors.
    pub(crate) fn is_of_walk(self) -> bool {
        matches!(self, Self::LookupAccessor | Self::RevokeAccessor)
    }

    /// Whether sending it twice does no more than sending it once. A second mint makes a second token. See
    /// docs/design.md, "A mint is never repeated blindly".
    pub(super) fn is_repeatable(self) -> bool {
        match self {
            Self::Create | Self::CreateOrphan => false,
            Self::LookupSelf
            | Self::RenewSelf
            | Self::Accessors
            | Self::LookupAccessor
            | Self::RevokeAccessor
            | Self::RevokeSelf
            | Self::Capabilities
            | Self::Policy
            | Self::Mount
            | Self::Secret => true,
        }
    }
}

/// The path of [`Call::Create`], for [`Client::capabilities`](super::Client::capabilities).
pub(crate) const CREATE_PATH: &str = "auth/token/create";
/// The path of [`Call::CreateOrphan`], for [`Client::capabilities`](super::Client::capabilities).
pub(crate) const CREATE_ORPHAN_PATH: &str = "auth/token/create-orphan";
/// Where the token that asks is renewed.
pub(crate) const RENEW_SELF_PATH: &str = "auth/token/renew-self";
/// Where another token is revoked by its accessor.
pub(crate) const REVOKE_ACCESSOR_PATH: &str = "auth/token/revoke-accessor";
