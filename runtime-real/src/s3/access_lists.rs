//! Access lists as clients write them: canned lists, grants in headers, grants in XML.
//!
//! Source: AWS, "Access control list (ACL) overview", "Controlling ownership of objects".

use super::access::{denied, from_users};
use super::caller::Caller;
use super::error::coded;
use super::gateway::{Gateway, Outcome};
use super::{habits, names};
use crate::users::{UsersError, shown, stored};
use anvil_core::access;
use anvil_core::state::{Acl, Amendment, BucketRow, BucketSetting, Grantee, Ownership, Permission};
use http::HeaderMap;
use s3s::dto::{self, *};
use s3s::{S3Error, S3ErrorCode, S3Response, S3Result};

const ALL_USERS: &str = "http://acs.amazonaws.com/groups/global/AllUsers";
const AUTHENTICATED_USERS: &str = "http://acs.amazonaws.com/groups/global/AuthenticatedUsers";
const LOG_DELIVERY: &str = "http://acs.amazonaws.com/groups/s3/LogDelivery";

/// The headers that grant, and what.
const GRANT_HEADERS: [(&str, Permission); 5] = [
    ("x-amz-grant-read", Permission::Read),
    ("x-amz-grant-write", Permission::Write),
    ("x-amz-grant-read-acp", Permission::ReadAcp),
    ("x-amz-grant-write-acp", Permission::WriteAcp),
    ("x-amz-grant-full-control", Permission::FullControl),
];

/// Reads an ownership.
pub(super) fn ownership(text: &str) -> S3Result<Ownership> {
    match text {
        ObjectOwnership::BUCKET_OWNER_ENFORCED => Ok(Ownership::BucketOwnerEnforced),
        ObjectOwnership::BUCKET_OWNER_PREFERRED => Ok(Ownership::BucketOwnerPreferred),
        ObjectOwnership::OBJECT_WRITER => Ok(Ownership::ObjectWriter),
        _ => Err(coded(S3ErrorCode::InvalidArgument, "Invalid x-amz-object-ownership header")),
    }
}

/// Writes an ownership.
pub(super) fn ownership_text(ownership: Ownership) -> &'static str {
    match ownership {
        Ownership::BucketOwnerEnforced => ObjectOwnership::BUCKET_OWNER_ENFORCED,
        Ownership::BucketOwnerPreferred => ObjectOwnership::BUCKET_OWNER_PREFERRED,
        Ownership::ObjectWriter => ObjectOwnership::OBJECT_WRITER,
    }
}

fn unsupported() -> S3Error {
    coded(S3ErrorCode::AccessControlListNotSupported, "The bucket does not allow ACLs")
}

/// A canned list; `bucket_owner` is that of the bucket, `owner` of what the list is for.
fn canned(text: &str, owner: &str, bucket_owner: &str) -> S3Result<Acl> {
    let mut acl = Acl::private(owner);
    let user = |id: &str| Grantee::User(id.to_owned());
    match text {
        "private" => {}
        "public-read" => acl.grants.push((Grantee::AllUsers, Permission::Read)),
        "public-read-write" => {
            acl.grants.extend([(Grantee::AllUsers, Permission::Read), (Grantee::AllUsers, Permission::Write)]);
        }
        "authenticated-read" => acl.grants.push((Grantee::AuthenticatedUsers, Permission::Read)),
        "log-delivery-write" => {
            acl.grants.extend([(Grantee::LogDelivery, Permission::Write), (Grantee::LogDelivery, Permission::ReadAcp)]);
        }
        "bucket-owner-read" if owner != bucket_owner => acl.grants.push((user(bucket_owner), Permission::Read)),
        "bucket-owner-full-control" if owner != bucket_owner => {
            acl.grants.push((user(bucket_owner), Permission::FullControl));
        }
        "bucket-owner-read" | "bucket-owner-full-control" | "aws-exec-read" => {}
        _ => return Err(coded(S3ErrorCode::InvalidArgument, format!("The canned ACL {text:?} does not exist."))),
    }
    Ok(acl)
}

fn permission(text: &str) -> Option<Permission> {
    Some(match text {
        dto::Permission::FULL_CONTROL => Permission::FullControl,
        dto::Permission::READ => Permission::Read,
        dto::Permission::WRITE => Permission::Write,
        dto::Permission::READ_ACP => Permission::ReadAcp,
        dto::Permission::WRITE_ACP => Permission::WriteAcp,
        _ => return None,
    })
}

fn permission_text(permission: Permission) -> &'static str {
    match permission {
        Permission::FullControl => dto::Permission::FULL_CONTROL,
        Permission::Read => dto::Permission::READ,
        Permission::Write => dto::Permission::WRITE,
        Permission::ReadAcp => dto::Permission::READ_ACP,
        Permission::WriteAcp => dto::Permission::WRITE_ACP,
    }
}

fn group(uri: &str) -> S3Result<Grantee> {
    match uri {
        ALL_USERS => Ok(Grantee::AllUsers),
        AUTHENTICATED_USERS => Ok(Grantee::AuthenticatedUsers),
        LOG_DELIVERY => Ok(Grantee::LogDelivery),
        _ => Err(coded(S3ErrorCode::InvalidArgument, "Invalid group uri")),
    }
}

impl Gateway {
    async fn user_by_id(&self, id: &str) -> S3Result<Grantee> {
        match self.users.by_id(stored(id)).await {
            Ok(user) => Ok(Grantee::User(user.id)),
            Err(UsersError::Missing) => Err(coded(S3ErrorCode::InvalidArgument, "Invalid id")),
            Err(error) => Err(from_users(error)),
        }
    }

    async fn user_by_email(&self, email: &str) -> S3Result<Grantee> {
        match self.users.by_email(email).await {
            Ok(user) => Ok(Grantee::User(user.id)),
            Err(UsersError::Missing) => {
                let message = "The e-mail address you provided does not match any account on record.";
                Err(coded(S3ErrorCode::UnresolvableGrantByEmailAddress, message))
            }
            Err(error) => Err(from_users(error)),
        }
    }

    /// The grants of the headers `x-amz-grant-*`; none when there is no such header.
    async fn granted(&self, headers: &HeaderMap, owner: &str) -> S3Result<Option<Acl>> {
        let mut grants = Vec::new();
        for (name, permission) in GRANT_HEADERS {
            let Some(text) = headers.get(name).and_then(|value| value.to_str().ok()) else { continue };
            for entry in text.split(',').map(str::trim).filter(|entry| !entry.is_empty()) {
                let invalid = || coded(S3ErrorCode::InvalidArgument, "Argument format not recognized");
                let (kind, value) = entry.split_once('=').ok_or_else(invalid)?;
                let value = value.trim().trim_matches('"');
                let grantee = match kind.trim() {
                    "id" => self.user_by_id(value).await?,
                    "uri" => group(value)?,
                    "emailAddress" => self.user_by_email(value).await?,
                    _ => return Err(invalid()),
                };
                grants.push((grantee, permission));
            }
        }
        Ok((!grants.is_empty()).then(|| Acl { owner: owner.to_owned(), grants }))
    }

    /// The list that a request asks for, by a canned one or by grants; none when it asks for none.
    async fn asked_for(&self, headers: &HeaderMap, owner: &str, bucket_owner: &str) -> S3Result<Option<Acl>> {
        let text = headers.get("x-amz-acl").and_then(|value| value.to_str().ok()).filter(|text| !text.is_empty());
        let granted = self.granted(headers, owner).await?;
        match (text, granted) {
            (Some(_), Some(_)) => {
                let message = "Specifying both Canned ACLs and Header Grants is not allowed";
                Err(coded(S3ErrorCode::InvalidRequest, message))
            }
            (Some(text), None) => canned(text, owner, bucket_owner).map(Some),
            (None, granted) => Ok(granted),
        }
    }

    /// The list of a new version; none for that of the bucket's owner.
    pub(super) async fn new_object_acl(&self, headers: &HeaderMap, caller: &Caller) -> S3Result<Option<Acl>> {
        let Some(bucket) = &caller.bucket else { return Ok(None) };
        let bucket_owner = &bucket.acl.owner;
        let text = headers.get("x-amz-acl").and_then(|value| value.to_str().ok()).unwrap_or("");
        if bucket.ownership == Some(Ownership::BucketOwnerEnforced) {
            let grants = self.granted(headers, bucket_owner).await?.is_some_and(|acl| {
                acl.grants.iter().any(|(grantee, _)| *grantee != Grantee::User(bucket_owner.clone()))
            });
            let is_plain = matches!(text, "" | "private" | "bucket-owner-full-control") && !grants;
            return if is_plain { Ok(None) } else { Err(unsupported()) };
        }
        let preferred = bucket.ownership == Some(Ownership::BucketOwnerPreferred);
        let owner = if preferred && text == "bucket-owner-full-control" { bucket_owner.clone() } else { caller.id() };
        let acl = self.asked_for(headers, &owner, bucket_owner).await?;
        check_public(bucket, acl.as_ref())?;
        Ok(acl.or_else(|| (owner != *bucket_owner).then(|| Acl::private(&owner))))
    }

    /// The list of a new bucket.
    pub(super) async fn new_bucket_acl(
        &self,
        headers: &HeaderMap,
        caller: &Caller,
        ownership: Option<Ownership>,
    ) -> S3Result<Acl> {
        let owner = caller.id();
        let asked = self.asked_for(headers, &owner, &owner).await?;
        let enforced = ownership == Some(Ownership::BucketOwnerEnforced);
        if enforced && asked.as_ref().is_some_and(|acl| *acl != Acl::private(&owner)) {
            let message = "Bucket cannot have ACLs set with ObjectOwnership's BucketOwnerEnforced setting";
            return Err(coded(S3ErrorCode::InvalidBucketAclWithObjectOwnership, message));
        }
        Ok(asked.unwrap_or_else(|| Acl::private(&owner)))
    }

    async fn replaced(
        &self,
        headers: &HeaderMap,
        given: Option<AccessControlPolicy>,
        held: &Acl,
        bucket: &BucketRow,
    ) -> S3Result<Acl> {
        let asked = self.asked_for(headers, &held.owner, &bucket.acl.owner).await?;
        let acl = match (asked, given) {
            (Some(_), Some(_)) => {
                let message = "This request does not support content";
                return Err(coded(S3ErrorCode::UnexpectedContent, message));
            }
            (Some(acl), None) => acl,
            (None, Some(policy)) => self.of_document(policy, held).await?,
            (None, None) => {
                let message = "Your request was missing a required header: x-amz-acl";
                return Err(coded(S3ErrorCode::MissingSecurityHeader, message));
            }
        };
        if bucket.ownership == Some(Ownership::BucketOwnerEnforced) && acl != Acl::private(&held.owner) {
            return Err(unsupported());
        }
        check_public(bucket, Some(&acl))?;
        Ok(acl)
    }

    async fn of_document(&self, policy: AccessControlPolicy, held: &Acl) -> S3Result<Acl> {
        let malformed = || {
            let message = "The XML you provided was not well-formed or did not validate against our published schema";
            coded(S3ErrorCode::MalformedACLError, message)
        };
        let owner = policy.owner.and_then(|owner| owner.id).ok_or_else(malformed)?;
        if stored(&owner) != held.owner {
            return Err(denied());
        }
        let mut grants = Vec::new();
        for grant in policy.grants.unwrap_or_default() {
            let wanted =
                grant.permission.as_ref().and_then(|wanted| permission(wanted.as_str())).ok_or_else(malformed)?;
            let grantee = grant.grantee.ok_or_else(malformed)?;
            let grantee = match (grantee.id, grantee.uri, grantee.email_address) {
                (Some(id), None, _) => self.user_by_id(&id).await?,
                (None, Some(uri), _) => group(&uri)?,
                (None, None, Some(email)) => self.user_by_email(&email).await?,
                (None, None, None) | (Some(_), Some(_), _) => return Err(malformed()),
            };
            grants.push((grantee, wanted));
        }
        Ok(Acl { owner: held.owner.clone(), grants })
    }

    async fn shown_owner(&self, id: &str) -> Owner {
        // A user that was removed still owns things, without a name.
        let name = self.users.by_id(id).await.ok().map(|user| user.name);
        Owner { display_name: name, id: Some(shown(id).to_owned()) }
    }

    async fn shown_grants(&self, acl: &Acl) -> Grants {
        let mut grants = Vec::new();
        // Groups come first, as clients that compare lists expect it.
        let (users, groups): (Vec<_>, Vec<_>) =
            acl.grants.iter().partition(|(grantee, _)| matches!(grantee, Grantee::User(_)));
        for (grantee, permission) in groups.into_iter().chain(users) {
            let of_group = |uri: &str| dto::Grantee {
                display_name: None,
                email_address: None,
                id: None,
                type_: Type::from_static(Type::GROUP),
                uri: Some(uri.to_owned()),
            };
            let grantee = match grantee {
                Grantee::AllUsers => of_group(ALL_USERS),
                Grantee::AuthenticatedUsers => of_group(AUTHENTICATED_USERS),
                Grantee::LogDelivery => of_group(LOG_DELIVERY),
                Grantee::User(id) => {
                    let owner = self.shown_owner(id).await;
                    dto::Grantee {
                        display_name: owner.display_name,
                        email_address: None,
                        id: owner.id,
                        type_: Type::from_static(Type::CANONICAL_USER),
                        uri: None,
                    }
                }
            };
            let permission = Some(dto::Permission::from_static(permission_text(*permission)));
            grants.push(Grant { grantee: Some(grantee), permission });
        }
        grants
    }

    pub(super) async fn bucket_acl_get(&self, input: GetBucketAclInput) -> Outcome<GetBucketAclOutput> {
        let row = self.require_bucket(input.bucket).await?;
        let acl = row.acl;
        Ok(S3Response::new(GetBucketAclOutput {
            grants: Some(self.shown_grants(&acl).await),
            owner: Some(self.shown_owner(&acl.owner).await),
        }))
    }

    pub(super) async fn bucket_acl_put(
        &self,
        input: PutBucketAclInput,
        headers: &HeaderMap,
    ) -> Outcome<PutBucketAclOutput> {
        let row = self.require_bucket(input.bucket.clone()).await?;
        let acl = self.replaced(headers, input.access_control_policy, &row.acl, &row).await?;
        self.configure(input.bucket, BucketSetting::Acl(acl)).await?;
        Ok(S3Response::new(PutBucketAclOutput {}))
    }

    pub(super) async fn object_acl_get(&self, input: GetObjectAclInput, caller: Caller) -> Outcome<GetObjectAclOutput> {
        let object = self.require_object(input.bucket, input.key, input.version_id.as_deref()).await?;
        let acl = acl_of(object.attributes.acl, &caller);
        Ok(S3Response::new(GetObjectAclOutput {
            grants: Some(self.shown_grants(&acl).await),
            owner: Some(self.shown_owner(&acl.owner).await),
            request_charged: None,
        }))
    }

    pub(super) async fn object_acl_put(
        &self,
        input: PutObjectAclInput,
        headers: &HeaderMap,
        caller: Caller,
    ) -> Outcome<PutObjectAclOutput> {
        let version = input.version_id.as_deref();
        let object = self.require_object(input.bucket.clone(), input.key.clone(), version).await?;
        let held = acl_of(object.attributes.acl, &caller);
        let row = caller.bucket.ok_or_else(denied)?;
        let acl = self.replaced(headers, input.access_control_policy, &held, &row).await?;
        // The version that was judged, should another one come meanwhile.
        let name = object.name.map(names::version_text);
        self.amend(input.bucket, input.key, name.as_deref().or(version), Amendment::Acl(acl)).await?;
        Ok(S3Response::new(PutObjectAclOutput::default()))
    }
}

fn check_public(bucket: &BucketRow, acl: Option<&Acl>) -> S3Result<()> {
    let blocked = bucket.block.unwrap_or_default().block_acls;
    if blocked && acl.is_some_and(access::is_public) { Err(denied()) } else { Ok(()) }
}

fn acl_of(acl: Option<Acl>, caller: &Caller) -> Acl {
    let owner = caller.bucket.as_ref().map(|bucket| bucket.acl.owner.clone()).unwrap_or_default();
    match (acl, caller.bucket.as_ref().and_then(|bucket| bucket.ownership)) {
        (Some(acl), None | Some(Ownership::ObjectWriter | Ownership::BucketOwnerPreferred)) => acl,
        (Some(_), Some(Ownership::BucketOwnerEnforced)) | (None, _) => Acl::private(&owner),
    }
}

/// Who owns what a listing shows.
pub(super) fn listed_owner(owner: Option<String>, bucket_owner: &str) -> Owner {
    habits::owner(owner.as_deref().unwrap_or(bucket_owner))
}
