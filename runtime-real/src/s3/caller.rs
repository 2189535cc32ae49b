//! Who asks, and what is known of the bucket that is asked about: found once, before the operation, and read by it.

use crate::front::Peer;
use crate::users::User;
use anvil_core::state::{BucketRow, LifecycleRule};
use http::Extensions;
use std::sync::Arc;

/// Who asks.
#[derive(Clone, Debug, Default)]
pub(super) struct Caller {
    /// Nobody, when the request is not signed.
    pub(super) user: Option<Arc<User>>,
    /// Where the request came from.
    pub(super) peer: Option<Peer>,
    /// The bucket of the request, if there is one.
    pub(super) bucket: Option<Arc<BucketRow>>,
    /// The lifecycle rules of that bucket.
    pub(super) rules: Arc<[LifecycleRule]>,
}

impl Caller {
    /// Of a request that has passed the check.
    pub(super) fn of(extensions: &Extensions) -> Caller {
        extensions.get::<Caller>().cloned().unwrap_or_default()
    }

    /// Who owns what the caller makes, as it is stored: what nobody signed for belongs to the owner of the bucket.
    pub(super) fn id(&self) -> String {
        let owner = || self.bucket.as_ref().map(|bucket| bucket.acl.owner.clone()).unwrap_or_default();
        self.user.as_ref().map_or_else(owner, |user| user.id.clone())
    }

    /// Whether the caller owns the bucket.
    pub(super) fn owns_bucket(&self) -> bool {
        self.bucket.as_ref().is_some_and(|bucket| self.user.as_ref().is_some_and(|user| user.id == bucket.acl.owner))
    }
}
