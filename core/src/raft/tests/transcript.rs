//! Scenarios that a person can read: each file of `testdata/raft/` is a list of commands, with what each one made the
//! replicas do indented below it. `ANVIL_BLESS=1 cargo test -p anvil-core transcript` rewrites what is indented; lines
//! that begin with `expect` are claims that no blessing changes.
//!
//! ```text
//! nodes 1 2 3 [+4 ...] [batch=BYTES] [window=APPENDS] [busy=BYTES] [patience=MS] [drift=PPM]     a node with a plus waits to be added
//! timeout N            the clock moves to N's deadline and N is woken; nobody else is
//! elapse MS            the clock moves, nobody is woken
//! deliver A->B [COUNT] the oldest messages of the link, or all that are under way
//! drop A->B | drop N   the messages of the link, or all from and to N
//! persist N [COUNT]    the oldest orders to N's disk are done, or all
//! settle N N ...       deliver, persist and work among these nodes until nothing is left (only results are shown)
//! propose N TEXT [BYTES]   read N   checkpoint N   work N   crash N   restart N   fail N
//! change N learn M | change N unlearn M | change N voters M M ...     transfer N M
//! expect N is ROLE TERM | N members M M ... [outgoing M ...] [learners M ...] | N commit I | N applied I | N base P | N log P P ... | N vote N | A->B MESSAGE | A->B nothing
//! expect rR ANSWER     the last answer to the Rth request
//! ```
//! Positions are `index@term`.

extern crate std;

use super::world::{Answer, InFlight, Options, World};
use crate::planted::Planted;
use crate::raft::{AppendOutcome, Change, Effect, Event, ForwardOutcome, InstallOutcome, Message, Refusal};
use crate::types::{Entry, LogPosition, Membership, NodeId, Payload, RequestId};
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use alloc::{format, vec};
use bytes::Bytes;
use core::fmt::Write;
use core::time::Duration;
use std::path::PathBuf;

struct Interpreter {
    world: World,
    planted: Planted,
}

/// Runs a transcript's commands and returns the text as it should be. Panics when an expectation does not hold.
pub(super) fn run(name: &str, text: &str, planted: Planted) -> String {
    let mut interpreter = Interpreter { world: World::new(&[], Options::default()), planted };
    let mut result = String::new();
    for (number, line) in text.lines().enumerate() {
        if line.starts_with("  ") {
            continue;
        }
        writeln!(result, "{line}").expect("a string takes everything");
        let command = line.split('#').next().unwrap_or_default().trim();
        if command.is_empty() {
            continue;
        }
        let words: Vec<&str> = command.split_whitespace().collect();
        let place = format!("{name}:{}: {line}", number + 1);
        for shown in interpreter.execute(&words, &place) {
            writeln!(result, "  {shown}").expect("a string takes everything");
        }
    }
    result
}

pub(super) fn path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("testdata/raft").join(name)
}

pub(super) fn read(name: &str) -> String {
    std::fs::read_to_string(path(name)).expect("the transcript is a readable file")
}

#[test]
fn transcripts_are_as_recorded() {
    let folder = std::fs::read_dir(path("")).expect("the folder of transcripts is readable");
    let mut names: Vec<String> = folder
        .map(|file| file.expect("an entry of the folder").file_name().to_string_lossy().into_owned())
        .filter(|name| name.ends_with(".txt"))
        .collect();
    names.sort();
    assert!(names.len() >= 9, "transcripts are missing: {names:?}");
    let is_blessed = std::env::var("ANVIL_BLESS").is_ok_and(|value| value == "1");
    for name in names {
        let recorded = read(&name);
        let actual = run(&name, &recorded, Planted::default());
        if is_blessed {
            std::fs::write(path(&name), &actual).expect("the transcript is a writable file");
        } else if let Some((number, (recorded, actual))) =
            recorded.lines().zip(actual.lines()).enumerate().find(|(_, (recorded, actual))| recorded != actual)
        {
            panic!("{name}:{}:\n recorded: {recorded}\n actual:   {actual}", number + 1);
        } else {
            assert_eq!(recorded.lines().count(), actual.lines().count(), "{name}: one is longer");
        }
    }
}

#[test]
#[should_panic(expected = "expected leader 1, got follower 0")]
fn a_wrong_expectation_fails() {
    run("inline", "nodes 1 2 3\nexpect 1 is leader 1\n", Planted::default());
}

impl Interpreter {
    fn execute(&mut self, words: &[&str], place: &str) -> Vec<String> {
        self.world.seen.clear();
        match words {
            ["nodes", rest @ ..] => self.start(rest, place),
            ["timeout", id] => self.world.time_out(node(id, place)),
            ["elapse", ms] => {
                self.world.now = self.world.now.after(Duration::from_millis(number(ms, place)));
            }
            ["deliver", link] => self.deliver(link, usize::MAX, place),
            ["deliver", link, count] => self.deliver(link, size(count, place), place),
            ["drop", link] => self.drop(link, place),
            ["persist", id] => self.world.persist(node(id, place), usize::MAX),
            ["persist", id, count] => self.world.persist(node(id, place), size(count, place)),
            ["settle", ids @ ..] => {
                let ids: Vec<NodeId> = ids.iter().map(|id| node(id, place)).collect();
                self.world.settle(&ids);
                return self.world.seen.iter().filter_map(|(id, effect)| show_result(*id, effect)).collect();
            }
            ["propose", id, text] => {
                self.world.propose(node(id, place), Bytes::from(text.as_bytes().to_vec()));
            }
            ["propose", id, text, bytes] => {
                let mut command = vec![b' '; size(bytes, place)];
                command[..text.len()].copy_from_slice(text.as_bytes());
                self.world.propose(node(id, place), Bytes::from(command));
            }
            ["read", id] => {
                self.world.read(node(id, place));
            }
            ["change", id, rest @ ..] => {
                let change = match rest {
                    ["learn", other] => Change::AddLearner(node(other, place)),
                    ["unlearn", other] => Change::RemoveLearner(node(other, place)),
                    ["voters", ids @ ..] => Change::SetVoters(ids.iter().map(|id| node(id, place)).collect()),
                    _ => panic!("{place}: no such change"),
                };
                self.world.change(node(id, place), change);
            }
            ["transfer", id, to] => {
                self.world.transfer(node(id, place), node(to, place));
            }
            ["checkpoint", id] => self.world.checkpoint(node(id, place)),
            ["work", id] => self.world.work(node(id, place)),
            ["fail", id] => self.world.step(node(id, place), Event::DiskFailed),
            ["crash", id] => self.world.crash(node(id, place), 0, false),
            ["crash", id, "installed"] => self.world.crash(node(id, place), 0, true),
            ["lose-log", id] => self.world.lose_log(node(id, place)),
            ["restart", id] => self.world.restart(node(id, place)),
            ["expect", claim @ ..] => self.expect(claim, place),
            _ => panic!("{place}: no such command"),
        }
        self.world.seen.iter().map(|(id, effect)| show(*id, effect)).collect()
    }

    fn start(&mut self, words: &[&str], place: &str) {
        let mut options = Options { planted: self.planted, ..Options::default() };
        let (mut ids, mut spares) = (Vec::new(), Vec::new());
        for word in words {
            match word.split_once('=') {
                None if word.starts_with('+') => spares.push(number(&word[1..], place)),
                None => ids.push(number(word, place)),
                Some(("batch", bytes)) => options.append_bytes_max = size(bytes, place),
                Some(("chunk", bytes)) => options.snapshot_chunk_bytes = size(bytes, place),
                Some(("window", count)) => options.appends_in_flight_max = size(count, place),
                Some(("drift", ppm)) => {
                    options.clock_drift_ppm_max = Some(u32::try_from(number(ppm, place)).expect("a small number"));
                }
                Some(("patience", ms)) => options.forward_patience = Duration::from_millis(number(ms, place)),
                Some(("busy", bytes)) => options.uncommitted_bytes_max = size(bytes, place),
                Some(_) => panic!("{place}: no such option"),
            }
        }
        self.world = World::with_spares(&ids, &spares, options);
    }

    fn deliver(&mut self, link: &str, count: usize, place: &str) {
        let (from, to) = ends(link, place);
        let is_on_link = |flight: &InFlight| flight.from == from && flight.to == to;
        let under_way = self.world.network.iter().filter(|flight| is_on_link(flight)).count();
        assert!(under_way > 0, "{place}: nothing is under way");
        for _ in 0..count.min(under_way) {
            let nth = self.world.network.iter().position(is_on_link).expect("it was counted");
            self.world.deliver(nth);
        }
    }

    fn drop(&mut self, link: &str, place: &str) {
        if link.contains("->") {
            let (from, to) = ends(link, place);
            self.world.network.retain(|flight| flight.from != from || flight.to != to);
        } else {
            let id = node(link, place);
            self.world.network.retain(|flight| flight.from != id && flight.to != id);
        }
    }

    fn expect(&mut self, claim: &[&str], place: &str) {
        let (expected, actual) = match claim {
            [id, "is", role, term] => {
                let raft = self.world.raft(node(id, place));
                let actual = format!("{:?} {}", raft.role(), raft.term()).to_lowercase();
                (format!("{role} {term}"), actual)
            }
            [id, "members", members @ ..] => {
                (members.join(" "), show_membership(self.world.raft(node(id, place)).membership()))
            }
            [id, "commit", index] => (index.to_string(), self.world.raft(node(id, place)).commit().to_string()),
            [id, "applied", index] => {
                (index.to_string(), self.world.node(node(id, place)).machine.position.index.to_string())
            }
            [id, "base", base] => (base.to_string(), show_position(self.world.raft(node(id, place)).base())),
            [id, "vote", vote] => {
                let hard_state = self.world.raft(node(id, place)).hard_state();
                (vote.to_string(), hard_state.vote.map_or("nobody".to_string(), |vote| vote.to_string()))
            }
            [id, "log", positions @ ..] => {
                let raft = self.world.raft(node(id, place));
                let log: Vec<String> = raft.entries_in_memory().map(|entry| show_position(entry.position)).collect();
                (positions.join(" "), log.join(" "))
            }
            [link, message @ ..] if link.contains("->") => {
                let (from, to) = ends(link, place);
                let first = self.world.network.iter().find(|flight| flight.from == from && flight.to == to);
                (message.join(" "), first.map_or("nothing".to_string(), |flight| show_message(&flight.message)))
            }
            [request, answer @ ..] => {
                let id = RequestId(number(request.trim_start_matches('r'), place));
                let answers = self.world.answers.get(&id).expect("the request was made");
                (answer.join(" "), answers.last().map_or("pending".to_string(), show_answer))
            }
            [] => panic!("{place}: nothing is expected"),
        };
        assert!(expected == actual, "{place}: expected {expected}, got {actual}");
    }
}

fn number(word: &str, place: &str) -> u64 {
    word.parse().unwrap_or_else(|_| panic!("{place}: {word} is not a number"))
}

fn size(word: &str, place: &str) -> usize {
    usize::try_from(number(word, place)).expect("a small number")
}

fn node(word: &str, place: &str) -> NodeId {
    NodeId(number(word, place))
}

fn ends(link: &str, place: &str) -> (NodeId, NodeId) {
    let (from, to) = link.split_once("->").unwrap_or_else(|| panic!("{place}: {link} is not a link"));
    (node(from, place), node(to, place))
}

fn show_position(position: LogPosition) -> String {
    format!("{}@{}", position.index, position.term)
}

fn show_entries(entries: &[Entry]) -> String {
    let shown: Vec<String> = entries
        .iter()
        .map(|entry| match &entry.payload {
            Payload::Noop => format!("{}:noop", show_position(entry.position)),
            Payload::Command(bytes) if bytes.len() > 16 => {
                let text = String::from_utf8_lossy(&bytes[..16]);
                format!("{}:{}..{}", show_position(entry.position), text.trim(), bytes.len())
            }
            Payload::Membership(membership) => {
                format!("{}:({})", show_position(entry.position), show_membership(membership))
            }
            Payload::Command(bytes) => {
                format!("{}:{}", show_position(entry.position), String::from_utf8_lossy(bytes))
            }
        })
        .collect();
    format!("[{}]", shown.join(" "))
}

fn show_membership(membership: &Membership) -> String {
    let list = |name: &str, nodes: &[NodeId]| {
        let nodes: String = nodes.iter().map(|node| format!(" {node}")).collect();
        if nodes.is_empty() { nodes } else { format!("{name}{nodes}") }
    };
    let lists = [
        list("", membership.voters()),
        list(" outgoing", membership.outgoing()),
        list(" learners", membership.learners()),
    ];
    lists.concat().trim().to_string()
}

fn show_message(message: &Message) -> String {
    match message {
        Message::PreVote { term, last_log } => format!("PreVote t{term} last {}", show_position(*last_log)),
        Message::PreVoteResponse { term, granted } => format!("PreVoteResponse t{term} {}", yes_or_no(*granted)),
        Message::RequestVote { term, last_log, handover } => {
            let handover = if *handover { " handover" } else { "" };
            format!("RequestVote t{term} last {}{handover}", show_position(*last_log))
        }
        Message::TimeoutNow { term } => format!("TimeoutNow t{term}"),
        Message::Forward { term, ask, command } => {
            format!("Forward t{term} #{} {}", ask.number, String::from_utf8_lossy(command))
        }
        Message::ForwardResponse { term, ask, outcome } => match outcome {
            ForwardOutcome::Proposed(index) => format!("ForwardResponse t{term} #{} at {index}", ask.number),
            ForwardOutcome::Busy => format!("ForwardResponse t{term} #{} busy", ask.number),
        },
        Message::ReadIndex { term, ask } => format!("ReadIndex t{term} #{}", ask.number),
        Message::ReadIndexResponse { term, ask, index } => {
            format!("ReadIndexResponse t{term} #{} at {index}", ask.number)
        }
        Message::RecoverLog { term, ask, last } => format!("RecoverLog t{term} #{} has {last}", ask.number),
        Message::RecoverLogResponse { term, ask, last } => {
            format!("RecoverLogResponse t{term} #{} last {last}", ask.number)
        }
        Message::RequestVoteResponse { term, granted } => {
            format!("RequestVoteResponse t{term} {}", yes_or_no(*granted))
        }
        Message::AppendEntries { term, previous, entries, commit, round } => format!(
            "AppendEntries t{term} after {} {} commit {commit} round {round}",
            show_position(*previous),
            show_entries(entries)
        ),
        Message::AppendEntriesResponse { term, outcome: AppendOutcome::Matched(matched), round } => {
            format!("AppendEntriesResponse t{term} matched {matched} round {round}")
        }
        Message::AppendEntriesResponse { term, outcome: AppendOutcome::Rejected { rejected, hint }, round } => {
            format!("AppendEntriesResponse t{term} rejected {rejected} hint {} round {round}", show_position(*hint))
        }
        Message::InstallSnapshot { term, chunk } => {
            let membership = chunk.membership.as_ref().map(|membership| format!(" ({})", show_membership(membership)));
            let (position, end) = (show_position(chunk.position), chunk.offset + chunk.rows.len() as u64);
            let membership = membership.unwrap_or_default();
            format!("InstallSnapshot t{term} at {position}{membership} {}..{end} of {}", chunk.offset, chunk.size)
        }
        Message::InstallSnapshotResponse { term, outcome: InstallOutcome::Installed(matched) } => {
            format!("InstallSnapshotResponse t{term} installed {matched}")
        }
        Message::InstallSnapshotResponse { term, outcome: InstallOutcome::Received { position, bytes } } => {
            format!("InstallSnapshotResponse t{term} received {bytes} of {}", show_position(*position))
        }
    }
}

fn yes_or_no(granted: bool) -> &'static str {
    if granted { "yes" } else { "no" }
}

fn show_refusal(reason: Refusal) -> String {
    match reason {
        Refusal::NotLeader { leader: Some(leader) } => format!("refused, {leader} leads"),
        Refusal::NotLeader { leader: None } => "refused, nobody leads".to_string(),
        Refusal::Busy => "refused, busy".to_string(),
        Refusal::LostLead => "refused, lost the lead".to_string(),
        Refusal::Change(why) => format!("refused, {why}"),
    }
}

fn show_answer(answer: &Answer) -> String {
    match answer {
        Answer::Proposed(position) => format!("proposed {}", show_position(*position)),
        Answer::ReadReady(index) => format!("ready {index}"),
        Answer::TransferBegun => "handing over".to_string(),
        Answer::Refused(reason) => show_refusal(*reason),
    }
}

fn show(node: NodeId, effect: &Effect) -> String {
    match effect {
        Effect::Send { to, message } => format!("{node}->{to} {}", show_message(message)),
        Effect::Persist { id, hard_state, entries } => {
            let hard_state = hard_state.map_or(String::new(), |hard_state| {
                let vote = hard_state.vote.map_or("nobody".to_string(), |vote| vote.to_string());
                let impaired = if hard_state.impaired { " impaired" } else { "" };
                format!(" t{} vote {vote}{impaired}", hard_state.term)
            });
            let entries = if entries.is_empty() { String::new() } else { format!(" {}", show_entries(entries)) };
            format!("{node} persist #{}{hard_state}{entries}", id.0)
        }
        Effect::Commit { entries } => format!("{node} commit {}", show_entries(entries)),
        Effect::Cut { base } => format!("{node} cut {}", show_position(*base)),
        Effect::Reset { id, base } => format!("{node} reset #{} {}", id.0, show_position(*base)),
        Effect::Proposed { id, position } => format!("{node} r{id} proposed {}", show_position(*position)),
        Effect::ReadReady { id, index } => format!("{node} r{id} ready {index}"),
        Effect::Refused { id, reason } => format!("{node} r{id} {}", show_refusal(*reason)),
        Effect::TransferBegun { id } => format!("{node} r{id} handing over"),
        Effect::TakeSnapshot => format!("{node} take a snapshot"),
        Effect::InstallSnapshot { snapshot } => {
            format!("{node} install the snapshot at {}", show_position(snapshot.position))
        }
        Effect::GaveWay { heir } => {
            let heir = heir.map_or("nobody".to_string(), |heir| heir.to_string());
            format!("{node} gives way, to {heir}")
        }
        Effect::Repaired { through } => format!("{node} is whole again, up to {through}"),
        Effect::Became { role, term, leader } => {
            let leader = leader.map_or("nobody".to_string(), |leader| leader.to_string());
            format!("{node} became {} t{term}, {leader} leads", format!("{role:?}").to_lowercase())
        }
    }
}

/// What a settled group did, without the talk.
fn show_result(node: NodeId, effect: &Effect) -> Option<String> {
    match effect {
        Effect::Send { .. } | Effect::Persist { .. } => None,
        Effect::Commit { .. }
        | Effect::Cut { .. }
        | Effect::Reset { .. }
        | Effect::Proposed { .. }
        | Effect::ReadReady { .. }
        | Effect::Refused { .. }
        | Effect::TransferBegun { .. }
        | Effect::TakeSnapshot
        | Effect::InstallSnapshot { .. }
        | Effect::GaveWay { .. }
        | Effect::Repaired { .. }
        | Effect::Became { .. } => Some(show(node, effect)),
    }
}

/// The text of a transcript's run with a planted bug; panics where the world or an expectation notices it.
#[cfg(debug_assertions)]
pub(super) fn run_planted(name: &str, bug: crate::planted::Bug) -> String {
    run(name, &read(name), Planted::arm(bug))
}
