//! Versions, tags, locks, access lists, policies and CORS over a socket, for the first user, another one and nobody.

mod support;

use anvil::front::Settings;
use anvil_core::stripe::RootKey;
use support::{Answer, Doors, NS, Signer, bucket, doors, doors_with, ok, refused, send};

async fn versioning(doors: &Doors, status: &str) {
    let xml = format!("<VersioningConfiguration {NS}><Status>{status}</Status></VersioningConfiguration>");
    ok(Signer::new("PUT", "/bucket").query("versioning", "").body(xml.as_bytes()).send(doors.address)).await;
}

async fn put(doors: &Doors, key: &str, body: &[u8]) -> Option<String> {
    let stored = ok(Signer::new("PUT", &format!("/bucket/{key}")).body(body).send(doors.address)).await;
    stored.header("x-amz-version-id").map(str::to_owned)
}

async fn get(doors: &Doors, key: &str, version: Option<&str>) -> Answer {
    let request = Signer::new("GET", &format!("/bucket/{key}"));
    let request = match version {
        Some(version) => request.query("versionId", version),
        None => request,
    };
    request.send(doors.address).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn versions_stay_until_each_is_deleted() {
    let doors = doors().await;
    bucket(&doors).await;
    assert_eq!(put(&doors, "k", b"null").await, None, "a bucket that never kept versions names none");
    versioning(&doors, "Enabled").await;
    let one = put(&doors, "k", b"one").await.expect("a version has a name");
    let two = put(&doors, "k", b"two").await.expect("a version has a name");
    assert_ne!(one, two);
    for (version, body) in [(Some(one.as_str()), "one"), (Some("null"), "null"), (None, "two")] {
        let got = get(&doors, "k", version).await;
        assert_eq!(got.body, body.as_bytes());
        assert_eq!(got.header("x-amz-version-id"), Some(version.unwrap_or(&two)));
    }
    let deleted = ok(Signer::new("DELETE", "/bucket/k").send(doors.address)).await;
    assert_eq!(deleted.header("x-amz-delete-marker"), Some("true"));
    let marker = deleted.header("x-amz-version-id").expect("a marker has a name").to_owned();
    let gone = get(&doors, "k", None).await;
    refused(&gone, 404, "NoSuchKey");
    assert_eq!(gone.header("x-amz-delete-marker"), Some("true"));
    let named = get(&doors, "k", Some(&marker)).await;
    refused(&named, 405, "MethodNotAllowed");
    assert_eq!(named.header("x-amz-delete-marker"), Some("true"));
    refused(&get(&doors, "k", Some(&"0".repeat(48))).await, 404, "NoSuchVersion");
    refused(&get(&doors, "k", Some("abc")).await, 400, "InvalidArgument");

    let list = ok(Signer::new("GET", "/bucket").query("versions", "").send(doors.address)).await;
    let ids = list.elements("VersionId");
    assert_eq!((ids.len(), list.elements("DeleteMarker").len()), (4, 1), "{}", list.text());
    let page = Signer::new("GET", "/bucket").query("versions", "").query("max-keys", "2").send(doors.address).await;
    assert_eq!(page.element("IsTruncated").as_deref(), Some("true"));
    let next = page.element("NextVersionIdMarker").expect("a page that ends inside a key says where");
    let rest = Signer::new("GET", "/bucket").query("versions", "").query("key-marker", "k");
    let rest = ok(rest.query("version-id-marker", &next).send(doors.address)).await;
    assert_eq!(rest.elements("VersionId").len(), 2, "{}", rest.text());
    assert_eq!(Signer::new("GET", "/bucket").send(doors.address).await.elements("Key"), Vec::<String>::new());

    let undone = Signer::new("DELETE", "/bucket/k").query("versionId", &marker);
    let undone = ok(undone.send(doors.address)).await;
    assert_eq!(undone.header("x-amz-delete-marker"), Some("true"));
    assert_eq!(get(&doors, "k", None).await.body, b"two", "without the marker the newest shows again");
    let copy = Signer::new("PUT", "/bucket/copy").header("x-amz-copy-source", &format!("/bucket/k?versionId={one}"));
    let copy = ok(copy.send(doors.address)).await;
    assert_eq!(copy.header("x-amz-copy-source-version-id"), Some(one.as_str()));
    assert_eq!(get(&doors, "copy", None).await.body, b"one");

    versioning(&doors, "Suspended").await;
    assert_eq!(put(&doors, "k", b"again null").await, None, "a write is not told that its version is the null one");
    assert_eq!(get(&doors, "k", Some("null")).await.body, b"again null", "there is one null version");
    let many = format!(
        "<Delete {NS}><Object><Key>k</Key><VersionId>{one}</VersionId></Object><Object><Key>k</Key></Object></Delete>"
    );
    let many = Signer::new("POST", "/bucket").query("delete", "").body(many.as_bytes());
    let many = ok(many.send(doors.address)).await;
    assert_eq!(many.element("DeleteMarkerVersionId").as_deref(), Some("null"), "{}", many.text());
    refused(&get(&doors, "k", Some(&one)).await, 404, "NoSuchVersion");
    assert_eq!(get(&doors, "k", Some(&two)).await.body, b"two");
    refused(&Signer::new("DELETE", "/bucket").send(doors.address).await, 409, "BucketNotEmpty");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tags_come_with_the_object_and_change_by_themselves() {
    let doors = doors().await;
    bucket(&doors).await;
    let tagged = Signer::new("PUT", "/bucket/k").header("x-amz-tagging", "a=1&b=%C3%A4").body(b"x");
    ok(tagged.send(doors.address)).await;
    assert_eq!(get(&doors, "k", None).await.header("x-amz-tagging-count"), Some("2"));
    let tags = |key: &str| Signer::new("GET", &format!("/bucket/{key}")).query("tagging", "");
    let read = ok(tags("k").send(doors.address)).await;
    assert_eq!(
        (read.elements("Key"), read.elements("Value")),
        (vec!["a".into(), "b".into()], vec!["1".into(), "ä".into()])
    );
    for (directive, expected) in [("COPY", "1"), ("REPLACE", "9")] {
        let copy = Signer::new("PUT", "/bucket/copy")
            .header("x-amz-copy-source", "/bucket/k")
            .header("x-amz-tagging-directive", directive)
            .header("x-amz-tagging", "a=9");
        ok(copy.send(doors.address)).await;
        assert_eq!(
            ok(tags("copy").send(doors.address)).await.element("Value").as_deref(),
            Some(expected),
            "{directive}"
        );
    }
    let set = |count: usize| {
        let tags: String = (0..count).map(|at| format!("<Tag><Key>k{at}</Key><Value>v</Value></Tag>")).collect();
        format!("<Tagging {NS}><TagSet>{tags}</TagSet></Tagging>")
    };
    let replace = |xml: String| Signer::new("PUT", "/bucket/k").query("tagging", "").body(xml.as_bytes());
    refused(&replace(set(11)).send(doors.address).await, 400, "BadRequest");
    ok(replace(set(10)).send(doors.address)).await;
    ok(Signer::new("DELETE", "/bucket/k").query("tagging", "").send(doors.address)).await;
    assert!(ok(tags("k").send(doors.address)).await.elements("Key").is_empty());
    refused(&Signer::new("GET", "/bucket").query("tagging", "").send(doors.address).await, 404, "NoSuchTagSet");
    ok(Signer::new("PUT", "/bucket").query("tagging", "").body(set(2).as_bytes()).send(doors.address)).await;
    let read = ok(Signer::new("GET", "/bucket").query("tagging", "").send(doors.address)).await;
    assert_eq!(read.elements("Key"), ["k0", "k1"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_locked_version_stays() {
    let doors = doors().await;
    let made = Signer::new("PUT", "/bucket").header("x-amz-bucket-object-lock-enabled", "true");
    ok(made.send(doors.address)).await;
    let until = time::OffsetDateTime::now_utc() + time::Duration::hours(1);
    let until = until.format(&time::format_description::well_known::Rfc3339).expect("it is a time of this century");
    let locked = Signer::new("PUT", "/bucket/k")
        .header("x-amz-object-lock-mode", "GOVERNANCE")
        .header("x-amz-object-lock-retain-until-date", &until)
        .body(b"kept");
    let stored = ok(locked.send(doors.address)).await;
    let version = stored.header("x-amz-version-id").expect("a lock needs versions").to_owned();
    let delete = || Signer::new("DELETE", "/bucket/k").query("versionId", &version);
    refused(&delete().send(doors.address).await, 403, "AccessDenied");
    let hold = |status: &str| {
        let xml = format!("<LegalHold {NS}><Status>{status}</Status></LegalHold>");
        Signer::new("PUT", "/bucket/k").query("legal-hold", "").body(xml.as_bytes())
    };
    ok(hold("ON").send(doors.address)).await;
    let bypass = || delete().header("x-amz-bypass-governance-retention", "true");
    refused(&bypass().send(doors.address).await, 403, "AccessDenied");
    let suspend = format!("<VersioningConfiguration {NS}><Status>Suspended</Status></VersioningConfiguration>");
    let suspend = Signer::new("PUT", "/bucket").query("versioning", "").body(suspend.as_bytes());
    refused(&suspend.send(doors.address).await, 409, "InvalidBucketState");
    ok(Signer::new("DELETE", "/bucket/k").send(doors.address)).await;
    assert_eq!(get(&doors, "k", Some(&version)).await.body, b"kept", "a delete marker removes nothing");
    let held = get(&doors, "k", Some(&version)).await;
    assert_eq!(held.header("x-amz-object-lock-legal-hold"), Some("ON"));
    let lift = hold("OFF").query("versionId", &version);
    ok(lift.send(doors.address)).await;
    ok(bypass().send(doors.address)).await;
    refused(&get(&doors, "k", Some(&version)).await, 404, "NoSuchVersion");
}

/// Doors with another user, `bob`.
async fn doors_for_two() -> Doors {
    let root_key = Some(RootKey([5; 32]));
    let doors = doors_with(Settings { open_admin: true, root_key, ..Settings::default() }).await;
    let wish =
        br#"{"name":"bob","email":"bob@example.com","access_key_id":"BOBKEY","secret_access_key":"bobs-secret"}"#;
    let made = send(doors.address, "POST", "/-/users", &[], wish).await;
    assert_eq!(made.status, 201, "{}", made.text());
    doors
}

fn bob(method: &str, path: &str) -> Signer {
    let mut signer = Signer::new(method, path);
    signer.access_key = "BOBKEY".to_owned();
    signer.secret = "bobs-secret".to_owned();
    signer
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn users_see_their_own_and_what_is_granted() {
    let doors = doors_for_two().await;
    bucket(&doors).await;
    put(&doors, "k", b"x").await;
    let nobody = |path: &'static str| send(doors.address, "GET", path, &[], b"");
    refused(&bob("GET", "/bucket/k").send(doors.address).await, 403, "AccessDenied");
    refused(&bob("GET", "/bucket/missing").send(doors.address).await, 403, "AccessDenied");
    refused(&bob("PUT", "/bucket").send(doors.address).await, 409, "BucketAlreadyExists");
    refused(&nobody("/bucket/k").await, 403, "AccessDenied");
    refused(&nobody("/").await, 403, "AccessDenied");
    ok(bob("PUT", "/bobs").send(doors.address)).await;
    assert_eq!(bob("GET", "/").send(doors.address).await.elements("Name"), ["bobs"]);
    assert_eq!(Signer::new("GET", "/").send(doors.address).await.elements("Name"), ["bucket"]);
    refused(&Signer::new("GET", "/bobs").send(doors.address).await, 403, "AccessDenied");

    let public = Signer::new("PUT", "/bucket/k").query("acl", "").header("x-amz-acl", "public-read");
    ok(public.send(doors.address)).await;
    assert_eq!(nobody("/bucket/k").await.body, b"x");
    refused(&nobody("/bucket").await, 403, "AccessDenied");
    let granted =
        Signer::new("PUT", "/bucket").query("acl", "").header("x-amz-grant-write", "emailAddress=bob@example.com");
    ok(granted.send(doors.address)).await;
    ok(bob("PUT", "/bucket/from-bob").body(b"y").send(doors.address)).await;
    refused(&get(&doors, "from-bob", None).await, 403, "AccessDenied");
    assert_eq!(bob("GET", "/bucket/from-bob").send(doors.address).await.body, b"y", "who writes owns");
    let enforced = format!(
        "<OwnershipControls {NS}><Rule><ObjectOwnership>BucketOwnerEnforced</ObjectOwnership></Rule></OwnershipControls>"
    );
    let enforced = Signer::new("PUT", "/bucket").query("ownershipControls", "").body(enforced.as_bytes());
    ok(enforced.send(doors.address)).await;
    assert_eq!(get(&doors, "from-bob", None).await.body, b"y", "the owner of the bucket owns everything");
    refused(&nobody("/bucket/k").await, 403, "AccessDenied");
    refused(&bob("PUT", "/bucket/again").body(b"y").send(doors.address).await, 403, "AccessDenied");

    let removed = send(doors.address, "DELETE", "/-/keys/BOBKEY", &[], b"").await;
    assert_eq!(removed.status, 200);
    refused(&bob("GET", "/").send(doors.address).await, 403, "InvalidAccessKeyId");
    let users = send(doors.address, "GET", "/-/users", &[], b"").await;
    assert!(users.text().contains("bob@example.com") && !users.text().contains("bobs-secret"), "{}", users.text());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn policies_open_and_shut() {
    let doors = doors_for_two().await;
    bucket(&doors).await;
    put(&doors, "open/k", b"x").await;
    put(&doors, "shut/k", b"y").await;
    let policy = r#"{"Version":"2012-10-17","Statement":[
        {"Effect":"Allow","Principal":"*","Action":"s3:GetObject","Resource":"arn:aws:s3:::bucket/*"},
        {"Effect":"Allow","Principal":{"AWS":"arn:aws:iam:::user/bob"},"Action":"s3:ListBucket",
         "Resource":"arn:aws:s3:::bucket","Condition":{"StringEquals":{"s3:prefix":"open/"}}},
        {"Effect":"Deny","Principal":"*","Action":"s3:*","Resource":"arn:aws:s3:::bucket/shut/*"}]}"#;
    ok(Signer::new("PUT", "/bucket").query("policy", "").body(policy.as_bytes()).send(doors.address)).await;
    let nobody = |path: &'static str| send(doors.address, "GET", path, &[], b"");
    assert_eq!(nobody("/bucket/open/k").await.body, b"x");
    refused(&nobody("/bucket/shut/k").await, 403, "AccessDenied");
    refused(&get(&doors, "shut/k", None).await, 403, "AccessDenied");
    refused(&nobody("/bucket").await, 403, "AccessDenied");
    refused(&bob("GET", "/bucket").send(doors.address).await, 403, "AccessDenied");
    ok(bob("GET", "/bucket").query("prefix", "open/").send(doors.address)).await;
    let status = ok(Signer::new("GET", "/bucket").query("policyStatus", "").send(doors.address)).await;
    assert_eq!(status.element("IsPublic").as_deref(), Some("true"), "{}", status.text());
    let block = format!(
        "<PublicAccessBlockConfiguration {NS}><RestrictPublicBuckets>true</RestrictPublicBuckets>\
         <BlockPublicPolicy>true</BlockPublicPolicy></PublicAccessBlockConfiguration>"
    );
    ok(Signer::new("PUT", "/bucket").query("publicAccessBlock", "").body(block.as_bytes()).send(doors.address)).await;
    refused(&nobody("/bucket/open/k").await, 403, "AccessDenied");
    let again = Signer::new("PUT", "/bucket").query("policy", "").body(policy.as_bytes()).send(doors.address).await;
    refused(&again, 403, "AccessDenied");
    let broken = Signer::new("PUT", "/bucket").query("policy", "").body(b"{}").send(doors.address).await;
    refused(&broken, 400, "MalformedPolicy");
    ok(Signer::new("DELETE", "/bucket").query("policy", "").send(doors.address)).await;
    assert_eq!(get(&doors, "shut/k", None).await.body, b"y");
}

fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let digit = |group: u32, at: u32| char::from(ALPHABET[(group >> (18 - 6 * at) & 63) as usize]);
    let group = |chunk: &[u8]| {
        let byte = |at: usize| u32::from(chunk.get(at).copied().unwrap_or(0));
        let group = byte(0) << 16 | byte(1) << 8 | byte(2);
        let digits = (0..4).map(|at| if at as usize <= chunk.len() { digit(group, at) } else { '=' });
        digits.collect::<String>()
    };
    bytes.chunks(3).map(group).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn forms_put_what_their_policy_allows() {
    let doors = doors().await;
    bucket(&doors).await;
    let signer = Signer::new("POST", "/bucket");
    let (date, scope) = (signer.date(), signer.scope());
    let expires = time::OffsetDateTime::now_utc() + time::Duration::hours(1);
    let expires = expires.format(&time::format_description::well_known::Rfc3339).expect("it is a time of this century");
    let policy = format!(
        "{{\"expiration\":\"{expires}\",\"conditions\":[{{\"bucket\":\"bucket\"}},[\"starts-with\",\"$key\",\"user/\"],\
         [\"starts-with\",\"$Content-Type\",\"\"],[\"starts-with\",\"$x-amz-object-lock-legal-hold\",\"\"],\
         [\"starts-with\",\"$tagging\",\"\"],[\"starts-with\",\"$success_action_redirect\",\"\"],\
         {{\"x-amz-credential\":\"AKIDTEST/{scope}\"}},\
         {{\"x-amz-algorithm\":\"AWS4-HMAC-SHA256\"}},{{\"x-amz-date\":\"{date}\"}},[\"content-length-range\",1,100]]}}"
    );
    let policy = base64(policy.as_bytes());
    let signature = support::hex(&support::hmac_sha256(&signer.key(), &policy));
    let form = |key: &str, signature: &str, more: &[(&str, &str)]| {
        let credential = format!("AKIDTEST/{scope}");
        let mut fields = vec![
            ("key", key),
            ("Content-Type", "text/plain"),
            ("x-amz-algorithm", "AWS4-HMAC-SHA256"),
            ("x-amz-credential", &credential),
            ("x-amz-date", &date),
            ("policy", &policy),
            ("x-amz-signature", signature),
        ];
        fields.extend(more);
        let field = |(name, value): &(&str, &str)| {
            format!("--xyz\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n")
        };
        let head: String = fields.iter().map(field).collect();
        let file = "--xyz\r\nContent-Disposition: form-data; name=\"file\"; filename=\"f\"\r\n\r\nhello\r\n--xyz--\r\n";
        let body = head + file;
        let headers = vec![("content-type".to_owned(), "multipart/form-data; boundary=xyz".to_owned())];
        let address = doors.address;
        async move { send(address, "POST", "/bucket", &headers, body.as_bytes()).await }
    };
    ok(form("user/k", &signature, &[])).await;
    let got = get(&doors, "user/k", None).await;
    assert_eq!((got.body.as_slice(), got.header("content-type")), (&b"hello"[..], Some("text/plain")));
    ok(form("user/${filename}.txt", &signature, &[])).await;
    assert_eq!(get(&doors, "user/f.txt", None).await.body, b"hello");
    for (key, signature) in [("other/k", signature.as_str()), ("user/j", &"0".repeat(64))] {
        let answer = form(key, signature, &[]).await;
        let code = if key == "other/k" { "AccessDenied" } else { "SignatureDoesNotMatch" };
        refused(&answer, 403, code);
        refused(&get(&doors, key, None).await, 404, "NoSuchKey");
    }
    let tags = "<Tagging><TagSet><Tag><Key>a</Key><Value>b</Value></Tag></TagSet></Tagging>";
    let tagged =
        form("user/t", &signature, &[("tagging", tags), ("success_action_redirect", "http://web.test/done")]).await;
    let location = "http://web.test/done?bucket=bucket&key=user%2Ft&etag=%225d41402abc4b2a76b9719d911017c592%22";
    assert_eq!((tagged.status, tagged.header("location")), (303, Some(location)), "{}", tagged.text());
    assert_eq!(get(&doors, "user/t", None).await.header("x-amz-tagging-count"), Some("1"));
    let undeclared = form("user/u", &signature, &[("acl", "public-read")]).await;
    refused(&undeclared, 403, "AccessDenied");
    let unsigned = "--xyz\r\nContent-Disposition: form-data; name=\"policy\"\r\n\r\ne30=\r\n--xyz\r\nContent-Disposition: \
                    form-data; name=\"file\"; filename=\"f\"\r\n\r\nhello\r\n--xyz--\r\n";
    let headers = [("content-type".to_owned(), "multipart/form-data; boundary=xyz".to_owned())];
    let unsigned = send(doors.address, "POST", "/bucket", &headers, unsigned.as_bytes()).await;
    refused(&unsigned, 400, "InvalidArgument");
    let locked = form("user/l", &signature, &[("x-amz-object-lock-legal-hold", "ON")]).await;
    refused(&locked, 501, "NotImplemented");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn browsers_are_told_what_the_bucket_allows() {
    let doors = doors().await;
    bucket(&doors).await;
    let rule = format!(
        "<CORSConfiguration {NS}><CORSRule><AllowedOrigin>https://*.example.com</AllowedOrigin>\
         <AllowedMethod>GET</AllowedMethod><AllowedHeader>x-amz-*</AllowedHeader><ExposeHeader>ETag</ExposeHeader>\
         <MaxAgeSeconds>60</MaxAgeSeconds></CORSRule></CORSConfiguration>"
    );
    ok(Signer::new("PUT", "/bucket").query("cors", "").body(rule.as_bytes()).send(doors.address)).await;
    let preflight = |origin: &str, method: &str, headers: &str| {
        let headers: Vec<(String, String)> = [
            ("origin", origin),
            ("access-control-request-method", method),
            ("access-control-request-headers", headers),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .to_vec();
        let address = doors.address;
        async move { send(address, "OPTIONS", "/bucket/k", &headers, b"").await }
    };
    let allowed = preflight("https://a.example.com", "GET", "X-Amz-Date").await;
    assert_eq!(allowed.status, 200, "{}", allowed.text());
    assert_eq!(allowed.header("access-control-allow-origin"), Some("https://a.example.com"));
    assert_eq!(allowed.header("access-control-max-age"), Some("60"));
    for (origin, method, headers) in [
        ("https://example.org", "GET", ""),
        ("https://a.example.com", "PUT", ""),
        ("https://a.example.com", "GET", "authorization"),
    ] {
        refused(&preflight(origin, method, headers).await, 403, "AccessForbidden");
    }
    put(&doors, "k", b"x").await;
    let got = Signer::new("GET", "/bucket/k").header("origin", "https://b.example.com").send(doors.address).await;
    assert_eq!(got.header("access-control-expose-headers"), Some("ETag"));
    let got = Signer::new("GET", "/bucket/k").header("origin", "https://example.org").send(doors.address).await;
    assert_eq!((got.status, got.header("access-control-allow-origin")), (200, None));
    ok(Signer::new("DELETE", "/bucket").query("cors", "").send(doors.address)).await;
    refused(&preflight("https://a.example.com", "GET", "").await, 403, "AccessForbidden");
}
