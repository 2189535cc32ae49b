//! Lifecycle rules on a real node, with days of a second.

mod support;

use anvil::node::StartOptions;
use std::time::{Duration, Instant};
use support::{Answer, NS, RealNode, Signer, ok};

const DAY: Duration = Duration::from_secs(1);
/// Days in which everything that is due has gone, also on a machine that is busy.
const PATIENCE: Duration = Duration::from_secs(60);

struct Door<'n>(&'n RealNode);

impl Door<'_> {
    fn request(&self, method: &str, path: &str) -> Signer {
        Signer::new(method, path)
    }

    async fn send(&self, request: Signer) -> Answer {
        ok(request.send(self.0.address)).await
    }

    async fn put(&self, path: &str, tags: &str, body: &[u8]) -> Answer {
        let request = self.request("PUT", path);
        let request = if tags.is_empty() { request } else { request.header("x-amz-tagging", tags) };
        self.send(request.body(body)).await
    }

    async fn rules(&self, bucket: &str, rules: &str) {
        let xml = format!("<LifecycleConfiguration {NS}>{rules}</LifecycleConfiguration>");
        let request = self.request("PUT", bucket).query("lifecycle", "");
        self.send(request.body(xml.as_bytes())).await;
    }

    /// Keys of all versions, with an asterisk at delete markers, then those of uploads.
    async fn content(&self, bucket: &str) -> Vec<String> {
        let list = self.send(self.request("GET", bucket).query("versions", "")).await.text().to_string();
        let keys = |element: &str, sign: &str| {
            let begin = format!("<{element}>");
            let parts = list.split(&begin).skip(1);
            let key =
                |part: &str| part.split("<Key>").nth(1).and_then(|rest| rest.split('<').next().map(str::to_owned));
            parts.filter_map(key).map(|key| format!("{key}{sign}")).collect::<Vec<String>>()
        };
        let mut content = keys("Version", "");
        content.extend(keys("DeleteMarker", "*"));
        let uploads = self.send(self.request("GET", bucket).query("uploads", "")).await;
        content.extend(uploads.elements("Key").into_iter().map(|key| format!("{key}+")));
        content.sort();
        content
    }

    async fn becomes(&self, bucket: &str, wanted: &[&str]) {
        let began = Instant::now();
        loop {
            let content = self.content(bucket).await;
            if content == wanted {
                return;
            }
            assert!(began.elapsed() < PATIENCE, "{bucket} has {content:?} and not {wanted:?}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

fn rule(id: &str, filter: &str, action: &str) -> String {
    format!("<Rule><ID>{id}</ID><Status>Enabled</Status><Filter>{filter}</Filter>{action}</Rule>")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rules_are_carried_out() {
    let directory = tempfile::tempdir().expect("a directory for the test");
    let options =
        StartOptions { lifecycle_day: DAY, sweep_interval: Duration::from_millis(100), ..StartOptions::default() };
    let node = RealNode::start_with(&[directory.path().to_path_buf()], options).await;
    let door = Door(&node);

    // A bucket that keeps no versions: by prefix and tag and size, and uploads.
    door.send(door.request("PUT", "/plain")).await;
    let tag = "<Tag><Key>t</Key><Value>v</Value></Tag>";
    let and = format!("<And><Prefix>log/</Prefix>{tag}<ObjectSizeGreaterThan>2</ObjectSizeGreaterThan></And>");
    let abort = "<AbortIncompleteMultipartUpload><DaysAfterInitiation>1</DaysAfterInitiation>\
                 </AbortIncompleteMultipartUpload>";
    let days = "<Expiration><Days>1</Days></Expiration>";
    let never = "<Expiration><Date>2999-01-01T00:00:00Z</Date></Expiration>";
    let set = [rule("some", &and, days), rule("parts", "<Prefix>log/</Prefix>", abort), rule("far off", tag, never)];
    door.rules("/plain", &set.concat()).await;
    door.send(door.request("POST", "/plain/log/upload").query("uploads", "")).await;
    door.send(door.request("POST", "/plain/other").query("uploads", "")).await;
    for (path, tags, body) in [
        ("/plain/log/goes", "t=v&u=w", "abc"),
        ("/plain/log/small", "t=v", "ab"),
        ("/plain/log/untagged", "", "abc"),
        ("/plain/other", "t=v", "abc"),
    ] {
        door.put(path, tags, body.as_bytes()).await;
    }
    door.becomes("/plain", &["log/small", "log/untagged", "other", "other+"]).await;
    let large = vec![7; 3 << 20];
    let stored = door.put("/plain/log/large", "t=v", &large).await;
    let said = stored.header("x-amz-expiration").expect("a rule applies").to_owned();
    assert!(said.ends_with("GMT\", rule-id=\"some\""), "{said}");
    let head = door.send(door.request("HEAD", "/plain/other")).await;
    let want = "expiry-date=\"Tue, 01 Jan 2999 00:00:00 GMT\", rule-id=\"far%20off\"";
    assert_eq!(head.header("x-amz-expiration"), Some(want));
    let got = door.send(door.request("GET", "/plain/other")).await;
    assert_eq!(got.header("x-amz-expiration"), Some(want));
    let got = door.send(door.request("GET", "/plain/log/untagged")).await;
    assert_eq!(got.header("x-amz-expiration"), None);
    door.becomes("/plain", &["log/small", "log/untagged", "other", "other+"]).await;

    // A bucket that keeps versions: one noncurrent version of each key stays, and a marker goes when it is alone.
    door.send(door.request("PUT", "/kept")).await;
    let xml = format!("<VersioningConfiguration {NS}><Status>Enabled</Status></VersioningConfiguration>");
    door.send(door.request("PUT", "/kept").query("versioning", "").body(xml.as_bytes())).await;
    for key in ["/kept/k", "/kept/k", "/kept/k", "/kept/alone"] {
        door.put(key, "", b"x").await;
    }
    let noncurrent = |kept: &str| {
        let keep = format!("<NewerNoncurrentVersions>{kept}</NewerNoncurrentVersions>");
        let keep = if kept.is_empty() { String::new() } else { keep };
        format!("<NoncurrentVersionExpiration><NoncurrentDays>1</NoncurrentDays>{keep}</NoncurrentVersionExpiration>")
    };
    door.rules("/kept", &rule("few", "", &noncurrent("1"))).await;
    door.becomes("/kept", &["alone", "k", "k"]).await;
    door.send(door.request("DELETE", "/kept/alone")).await;
    let marker = "<Expiration><ExpiredObjectDeleteMarker>true</ExpiredObjectDeleteMarker></Expiration>";
    door.rules("/kept", &rule("none", "", &(noncurrent("") + marker))).await;
    door.becomes("/kept", &["k"]).await;
    door.rules("/kept", &rule("old", "", days)).await;
    door.becomes("/kept", &["k", "k*"]).await;

    node.stop().await;
}
