//! One of each message and of each variant inside: what the golden file holds.

use anvil_core::disk::DiskError;
use anvil_core::node::peer::{PinAsk, ShardOrder, ShardOutcome, ShardTicket};
use anvil_core::node::{Members, PeerMessage};
use anvil_core::raft::{AppendOutcome, Ask, ForwardOutcome, InstallOutcome, Message, SnapshotChunk};
use anvil_core::shards::ShardKey;
use anvil_core::swim::{self, Description, DriveSpace};
use anvil_core::types::{
    DriveId, Entry, GroupId, LogIndex, LogPosition, Membership, NodeId, Payload, Term, VersionId, WallTime,
};
use bytes::Bytes;

pub(super) const VERSION: VersionId = VersionId(0x0011_2233_4455_6677_8899_aabb_ccdd_eeff);

pub(super) const TICKET: ShardTicket = ShardTicket { life: 0x0102_0304_0506_0708, number: 300 };

pub(super) const PIN_ASK: PinAsk = PinAsk { life: 0x0102_0304_0506_0708, number: 300 };

pub(super) const KEY: ShardKey = ShardKey { version: VERSION, stripe: 300, position: 5 };

const ASK: Ask = Ask { life: 0x0102_0304_0506_0708, number: 300 };

pub(super) fn at(index: u64, term: u64) -> LogPosition {
    LogPosition { index: LogIndex(index), term: Term(term) }
}

pub(super) fn noop(index: u64, term: u64) -> Entry {
    Entry { position: at(index, term), payload: Payload::Noop }
}

pub(super) fn command(index: u64, term: u64, bytes: impl Into<Bytes>) -> Entry {
    Entry { position: at(index, term), payload: Payload::Command(bytes.into()) }
}

pub(super) fn raft(message: Message) -> PeerMessage {
    PeerMessage::Raft { group: GroupId(1), message }
}

pub(super) fn append(previous: LogPosition, entries: Vec<Entry>) -> PeerMessage {
    raft(Message::AppendEntries { term: Term(5), previous, entries, commit: LogIndex(300), round: 2 })
}

pub(super) fn forward(command: impl Into<Bytes>) -> PeerMessage {
    raft(Message::Forward { term: Term(5), ask: ASK, command: command.into() })
}

pub(super) fn install(rows: impl Into<Bytes>) -> PeerMessage {
    let chunk = SnapshotChunk { position: at(300, 4), membership: None, size: 1 << 23, offset: 0, rows: rows.into() };
    raft(Message::InstallSnapshot { term: Term(5), chunk })
}

pub(super) fn put(record: impl Into<Bytes>) -> PeerMessage {
    let (drive, expires) = (DriveId(7), WallTime(300));
    PeerMessage::Shard(ShardOrder::Put { ticket: TICKET, drive, key: KEY, expires, record: record.into() })
}

pub(super) fn answer(outcome: ShardOutcome) -> PeerMessage {
    PeerMessage::ShardAnswer { ticket: TICKET, outcome }
}

pub(super) fn loaded(record: impl Into<Bytes>) -> PeerMessage {
    answer(ShardOutcome::Loaded(Some(record.into())))
}

pub(super) fn refused(words: &str) -> PeerMessage {
    answer(ShardOutcome::Refused(DiskError::Io(words.to_owned())))
}

/// Named as in the golden file.
pub(super) fn examples() -> Vec<(&'static str, PeerMessage)> {
    let mut examples = of_replicas();
    examples.extend(of_shards());
    examples.extend(of_gossip());
    examples
}

fn of_replicas() -> Vec<(&'static str, PeerMessage)> {
    let global = |message| PeerMessage::Raft { group: GroupId::GLOBAL, message };
    let (term, last_log, index) = (Term(5), at(300, 4), LogIndex(300));
    let joint = Membership::of(&[NodeId(1), NodeId(2)]).begin(&[NodeId(2), NodeId(300)].into());
    let joint = joint.with_learner(NodeId(7)).expect("it is new");
    let rows = Bytes::from_static(b"rows");
    let changed =
        SnapshotChunk { position: last_log, membership: Some(joint.clone()), size: 1 << 23, offset: 1 << 20, rows };
    let received = InstallOutcome::Received { position: last_log, bytes: 1 << 20 };
    let entry = Entry { position: at(302, 5), payload: Payload::Membership(joint) };
    let beat = Message::AppendEntries { term, previous: at(301, 4), entries: Vec::new(), commit: index, round: 2 };
    let appended = |outcome| raft(Message::AppendEntriesResponse { term, outcome, round: 2 });
    let rejected = AppendOutcome::Rejected { rejected: LogIndex(302), hint: at(7, 3) };
    let forwarded = |outcome| raft(Message::ForwardResponse { term, ask: ASK, outcome });
    vec![
        ("pre-vote", raft(Message::PreVote { term, last_log })),
        ("pre-vote-empty-log", global(Message::PreVote { term: Term(1), last_log: at(0, 0) })),
        ("pre-vote-response", raft(Message::PreVoteResponse { term, granted: true })),
        ("request-vote", raft(Message::RequestVote { term, last_log, handover: false })),
        ("request-vote-response", raft(Message::RequestVoteResponse { term, granted: false })),
        ("append-entries", append(at(301, 4), vec![noop(302, 5), command(303, 5, "set")])),
        ("append-entries-empty-command", append(at(301, 4), vec![command(302, 5, "")])),
        ("append-entries-heartbeat", global(beat)),
        ("append-entries-response-matched", appended(AppendOutcome::Matched(LogIndex(0)))),
        ("append-entries-response-rejected", appended(rejected)),
        ("install-snapshot", install("rows")),
        (
            "install-snapshot-response",
            raft(Message::InstallSnapshotResponse { term, outcome: InstallOutcome::Installed(index) }),
        ),
        ("request-vote-handover", raft(Message::RequestVote { term, last_log, handover: true })),
        ("append-entries-membership", append(at(301, 4), vec![entry])),
        ("install-snapshot-membership", raft(Message::InstallSnapshot { term, chunk: changed })),
        ("install-snapshot-received", raft(Message::InstallSnapshotResponse { term, outcome: received })),
        ("timeout-now", raft(Message::TimeoutNow { term })),
        ("forward", forward("set")),
        ("forward-response-proposed", forwarded(ForwardOutcome::Proposed(index))),
        ("forward-response-busy", forwarded(ForwardOutcome::Busy)),
        ("read-index", raft(Message::ReadIndex { term, ask: ASK })),
        ("read-index-response", raft(Message::ReadIndexResponse { term, ask: ASK, index })),
        ("recover-log", raft(Message::RecoverLog { term, ask: ASK, last: index })),
        ("recover-log-response", raft(Message::RecoverLogResponse { term, ask: ASK, last: index })),
    ]
}

fn of_shards() -> Vec<(&'static str, PeerMessage)> {
    let drive = DriveId(7);
    let versions = vec![VERSION, VersionId(1)];
    vec![
        ("shard-put", put("record")),
        ("shard-put-empty", put("")),
        ("shard-get", PeerMessage::Shard(ShardOrder::Get { ticket: TICKET, drive, key: KEY })),
        ("shard-delete", PeerMessage::Shard(ShardOrder::Delete { ticket: TICKET, drive, version: VERSION })),
        ("shard-commit", PeerMessage::Shard(ShardOrder::Commit { drive, version: VERSION })),
        ("shard-answer-done", answer(ShardOutcome::Done)),
        ("shard-answer-loaded", loaded("record")),
        ("shard-answer-loaded-empty", loaded("")),
        ("shard-answer-absent", answer(ShardOutcome::Loaded(None))),
        ("shard-answer-full", answer(ShardOutcome::Refused(DiskError::Full))),
        ("shard-answer-missing", answer(ShardOutcome::Refused(DiskError::Missing))),
        ("shard-answer-io", refused("EIO")),
        ("pins", PeerMessage::Pins { ask: PIN_ASK, versions: versions.clone() }),
        ("pinned", PeerMessage::Pinned { ask: PIN_ASK, versions }),
        ("pinned-none", PeerMessage::Pinned { ask: PIN_ASK, versions: Vec::new() }),
    ]
}

fn of_gossip() -> Vec<(&'static str, PeerMessage)> {
    let probe = swim::ProbeId(9);
    let space = DriveSpace { drive: DriveId(7), free_bytes: 1, total_bytes: 300 };
    let description = Description::new(500, vec![space], vec!["gpu".to_owned()]).expect("it keeps the limits");
    let claim = |claim| swim::Update { node: NodeId(2), incarnation: swim::Incarnation(300), claim };
    let updates = vec![
        claim(swim::Claim::Alive(description)),
        claim(swim::Claim::Suspect(vec![NodeId(3)])),
        claim(swim::Claim::Dead),
        claim(swim::Claim::Left),
    ];
    let message = |kind, heard, updates| PeerMessage::Swim(swim::Message { kind, heard, updates });
    let heard = Some(swim::Incarnation(0));
    vec![
        ("swim-ping", message(swim::Kind::Ping { probe }, None, updates)),
        ("swim-ping-request", message(swim::Kind::PingRequest { probe, target: NodeId(4) }, heard, Vec::new())),
        ("swim-ack", message(swim::Kind::Ack { probe }, heard, Vec::new())),
        (
            "members",
            PeerMessage::Members(Members { epoch: 300, nodes: vec![(NodeId(2), "n".to_owned(), "a:1".to_owned())] }),
        ),
        ("swim-nack", message(swim::Kind::Nack { probe }, None, Vec::new())),
    ]
}
