//! A node's `/status` as a table that a person can read.
//!
//! The document may be that of another version of the node: what it lacks is shown as a dash.

use serde_json::Value;
use std::fmt::Write as _;

/// The cluster, its nodes and its groups.
pub(super) fn status(document: &Value) -> String {
    let mut text = String::new();
    let cluster = &document["cluster"];
    // Writing to a string cannot fail.
    let _ = writeln!(
        text,
        "cluster {}, as {} sees it (topology {}, placement {})\n",
        shown(&cluster["id"]),
        shown(&document["name"]),
        shown(&cluster["topology_epoch"]),
        shown(&cluster["placement_epoch"])
    );
    let groups = list(&document["groups"]);
    let mut rows = vec![["NODE", "ADDRESS", "ZONE", "DRIVES", "GIB", "STATE", "LEADS", "ID"].map(str::to_owned)];
    rows.extend(list(&cluster["nodes"]).iter().map(|node| node_row(node, groups)));
    columns(&mut text, &rows);
    text.push('\n');
    let mut rows = vec![["GROUP", "LEADER", "VOTERS", "LEARNERS", "TERM", "COMMIT", "APPLIED"].map(str::to_owned)];
    rows.extend(groups.iter().map(group_row));
    columns(&mut text, &rows);
    let _ = writeln!(
        text,
        "\nshards moved {}, repaired {}; objects cut anew {}; failed {}, waiting {}, stuck {} (by this node, since its start)",
        shown(&cluster["moved"]),
        shown(&cluster["repaired"]),
        shown(&cluster["recoded"]),
        shown(&cluster["failed"]),
        shown(&cluster["waiting"]),
        shown(&cluster["stuck"])
    );
    let scrub = &cluster["scrub"];
    let _ = writeln!(
        text,
        "searched for damage: {} passes, {} shards read, {} found damaged, {} bodies not whole again yet",
        shown(&scrub["passes"]),
        shown(&scrub["shards"]),
        shown(&scrub["damaged"]),
        shown(&scrub["suspects"])
    );
    text
}

fn node_row(node: &Value, groups: &[Value]) -> [String; 8] {
    let drives = list(&node["drives"]);
    let gib: u64 = drives.iter().filter_map(|drive| drive["weight"].as_u64()).sum();
    let state = match (node["reachable"] == false, node["draining"] == true) {
        (false, false) => "up",
        (false, true) => "draining",
        (true, false) => "UNREACHABLE",
        (true, true) => "UNREACHABLE, draining",
    };
    let leads = groups.iter().filter(|group| !node["id"].is_null() && group["leader"]["id"] == node["id"]);
    let leads: Vec<_> = leads.map(|group| shown(&group["name"])).collect();
    [
        shown(&node["name"]),
        shown(&node["address"]),
        shown(&node["zone"]),
        drives.len().to_string(),
        gib.to_string(),
        state.to_owned(),
        if leads.is_empty() { "-".to_owned() } else { leads.join(",") },
        shown(&node["id"]),
    ]
}

fn group_row(group: &Value) -> [String; 7] {
    let names = |nodes: &Value| match list(nodes) {
        [] => "-".to_owned(),
        nodes => nodes.iter().map(|node| shown(&node["name"])).collect::<Vec<_>>().join(","),
    };
    let leader = &group["leader"];
    [
        shown(&group["name"]),
        if leader.is_null() { "nobody".to_owned() } else { shown(&leader["name"]) },
        names(&group["voters"]),
        names(&group["learners"]),
        shown(&group["term"]),
        shown(&group["commit"]),
        shown(&group["applied"]),
    ]
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// A value as text. Control characters, which a name cannot have, would reach a terminal otherwise.
fn shown(value: &Value) -> String {
    let text = match value {
        Value::Null => String::new(),
        Value::String(text) => text.chars().filter(|letter| !letter.is_control()).collect(),
        Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => value.to_string(),
    };
    if text.is_empty() { "-".to_owned() } else { text }
}

/// Each column as wide as its widest cell.
fn columns<const N: usize>(text: &mut String, rows: &[[String; N]]) {
    let width = |at: usize| rows.iter().map(|row| row[at].chars().count()).max().unwrap_or(0);
    let widths: [usize; N] = std::array::from_fn(width);
    for row in rows {
        let cells: Vec<_> = row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        let _ = writeln!(text, "{}", cells.join("  ").trim_end());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_status_is_a_table() {
        let node = |name: &str, reachable: bool, draining: bool| {
            let drives = json!([{ "id": 0, "weight": 100 }, { "id": 1, "weight": 50 }]);
            json!({
                "id": format!("id-{name}"), "name": name, "zone": "", "address": "127.0.0.1:9001",
                "reachable": reachable, "draining": draining, "drives": drives,
            })
        };
        let named = |name: &str| json!({ "id": format!("id-{name}"), "name": name });
        let document = json!({
            "name": "node1",
            "cluster": {
                "id": "c1", "topology_epoch": 3, "placement_epoch": 2, "moved": 1, "repaired": 0, "recoded": 3, "failed": 0,
                "waiting": 9, "stuck": 0,
                "scrub": { "shards": 70, "bytes": 7, "damaged": 2, "passes": 1, "suspects": 0 }, "nodes": [node("node1", true, false), node("node-the-second", false, true)],
            },
            "groups": [{
                "name": "region", "leader": named("node1"), "voters": [named("node1"), named("node-the-second")],
                "learners": [], "term": 4, "commit": 17, "applied": 16,
            }, { "name": "global", "leader": null, "voters": [], "learners": [], "term": 4 }],
        });
        let expected = "\
cluster c1, as node1 sees it (topology 3, placement 2)

NODE             ADDRESS         ZONE  DRIVES  GIB  STATE                  LEADS   ID
node1            127.0.0.1:9001  -     2       150  up                     region  id-node1
node-the-second  127.0.0.1:9001  -     2       150  UNREACHABLE, draining  -       id-node-the-second

GROUP   LEADER  VOTERS                 LEARNERS  TERM  COMMIT  APPLIED
region  node1   node1,node-the-second  -         4     17      16
global  nobody  -                      -         4     -       -

shards moved 1, repaired 0; objects cut anew 3; failed 0, waiting 9, stuck 0 (by this node, since its start)
searched for damage: 1 passes, 70 shards read, 2 found damaged, 0 bodies not whole again yet
";
        assert_eq!(status(&document), expected);
    }

    #[test]
    fn a_document_of_another_kind_is_no_panic() {
        assert!(status(&json!({})).contains("NODE"));
        assert!(status(&json!([1, 2])).contains("GROUP"));
        assert_eq!(shown(&json!("a\u{1b}[2Jb")), "a[2Jb");
    }
}
