//! Who may do what to a bucket and its objects: access lists and bucket policies, as pure judgements.
//!
//! The intuition: a policy may deny, allow or say nothing. What it denies is denied; what it allows is allowed; and where it
//! says nothing, the owner may, and whoever an access list grants it to (Amazon S3 user guide, "How Amazon S3 authorizes a
//! request"). Nothing here knows HTTP, XML or JSON: a door says who asks for what, and hands over what the metadata holds.
//!
//! - `ACCESS-1`: a denial wins over every allowance, whatever the order of statements.
//! - `ACCESS-2`: without an allowance there is none: what nobody grants is refused.
//! - `ACCESS-3`: a bucket whose public grants are ignored, or restricted, opens nothing to the public, whatever its lists and
//!   its policy say.
//!
//! Not here: who somebody is (the door's signatures), and what an operation is called.

pub mod policy;

#[cfg(test)]
mod tests;

use crate::state::{Acl, BucketRow, Grantee, Ownership, Permission};
use policy::{Asked, Policy, Verdict};

/// What would allow a request where no policy speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fallback {
    /// To be the owner of the bucket.
    BucketOwner,
    /// A grant of the bucket's access list.
    Bucket(Permission),
    /// A grant of the object's access list.
    Object(Permission),
    /// To own the object.
    ObjectOwner,
}

/// Judges a request. `object` is the access list of the object that it names, if that exists and has one.
#[must_use]
pub fn is_allowed(
    bucket: &BucketRow,
    policy: Option<&Policy>,
    object: Option<&Acl>,
    asked: &Asked<'_>,
    fallback: Fallback,
) -> bool {
    let block = bucket.block.unwrap_or_default();
    let is_owner = asked.user.is_some_and(|user| user.id == bucket.acl.owner);
    if let Some(policy) = policy {
        match policy.judge(asked) {
            Verdict::Denied => return false, // ACCESS-1
            // ACCESS-3
            Verdict::Allowed => return !(block.restrict && policy.is_public()) || is_owner,
            Verdict::Silent => {}
        }
    }
    let enforced = bucket.ownership == Some(Ownership::BucketOwnerEnforced);
    let object = object.filter(|_| !enforced);
    let user = asked.user.map(|user| user.id);
    let ignore_public = block.ignore_acls;
    let owns_object = object.map_or(is_owner, |acl| user.is_some_and(|user| user == acl.owner));
    // ACCESS-2
    match fallback {
        Fallback::BucketOwner => is_owner,
        Fallback::ObjectOwner => owns_object,
        Fallback::Bucket(permission) => is_owner || (!enforced && grants(&bucket.acl, user, permission, ignore_public)),
        Fallback::Object(permission) => {
            owns_object || object.is_some_and(|acl| grants(acl, user, permission, ignore_public))
        }
    }
}

/// Whether an access list grants something to a user, or to whoever did not sign.
#[must_use]
pub fn grants(acl: &Acl, user: Option<&str>, wanted: Permission, ignore_public: bool) -> bool {
    acl.grants.iter().any(|(grantee, granted)| {
        let fits = *granted == wanted || *granted == Permission::FullControl;
        fits && match grantee {
            Grantee::User(id) => user == Some(id),
            Grantee::AllUsers => !ignore_public, // ACCESS-3
            Grantee::AuthenticatedUsers => !ignore_public && user.is_some(),
            Grantee::LogDelivery => false,
        }
    })
}

/// Whether an access list grants anything to the public.
#[must_use]
pub fn is_public(acl: &Acl) -> bool {
    acl.grants.iter().any(|(grantee, _)| matches!(grantee, Grantee::AllUsers | Grantee::AuthenticatedUsers))
}
