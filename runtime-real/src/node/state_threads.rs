//! The threads of the state store: one that writes, a few that answer queries, and one for checkpoints, which take long.

use super::core_loop::Inbox;
use super::pool::Pool;
use crate::mailbox::Sender;
use anvil_core::node::{Event, Fatal, WorkId};
use anvil_core::planted::Planted;
use anvil_core::state::{InstallError, Query};
use anvil_core::types::{Entries, GroupId, Snapshot};
use anvil_state_store::StateStore;
use std::io;
use std::sync::Arc;

/// Threads that answer queries.
const READERS: usize = 2;

/// Queries that one of them takes at a time. Their answers go back together.
const QUERIES_TOGETHER: usize = 32;

/// Work for the writer. Carried out in order.
#[derive(Debug)]
pub(super) enum Write {
    Apply { group: GroupId, entries: Entries },
    TakeSnapshot { group: GroupId },
    Install { group: GroupId, snapshot: Snapshot },
}

/// A query on its way.
#[derive(Debug)]
pub(super) struct Question {
    pub(super) work: WorkId,
    pub(super) group: GroupId,
    pub(super) query: Query,
}

/// The running threads.
#[derive(Debug)]
pub(super) struct StateThreads {
    writer: Pool<Write>,
    checkpoints: Pool<()>,
    readers: Pool<Question>,
    store: Arc<StateStore>,
}

impl StateThreads {
    pub(super) fn start(store: StateStore, inbox: &Sender<Inbox>) -> io::Result<StateThreads> {
        let store = Arc::new(store);
        let writer = Pool::start("anvil-state", 1, || {
            let (store, inbox) = (Arc::clone(&store), inbox.clone());
            move |write| post(&inbox, carry_out(&store, write))
        })?;
        // What a checkpoint is ordered for was applied before: it waits for no other work.
        let checkpoints = Pool::start("anvil-ckpt", 1, || {
            let (store, inbox) = (Arc::clone(&store), inbox.clone());
            move |()| {
                let done = store.checkpoint().map(|()| Event::Checkpointed);
                post(&inbox, done.map_err(|error| error.to_string()));
            }
        })?;
        let readers = Pool::start_batched("anvil-query", READERS, QUERIES_TOGETHER, || {
            let (store, inbox) = (Arc::clone(&store), inbox.clone());
            move |questions: &mut Vec<Question>| {
                let answers = questions.drain(..).map(|question| {
                    let answer = store.query(question.group, &question.query);
                    let event = answer.map(|answer| Event::Queried { work: question.work, answer });
                    message(event.map_err(|error| error.to_string()))
                });
                // Collected first, so that the mailbox is not held while the store is read.
                let answers: Vec<Inbox> = answers.collect();
                // A closed inbox means that the node has stopped: nobody needs the answers.
                let _ = inbox.send_all(answers);
            }
        })?;
        Ok(StateThreads { writer, checkpoints, readers, store })
    }

    pub(super) fn write(&self, write: Write) {
        self.writer.send(write);
    }

    pub(super) fn checkpoint(&self) {
        self.checkpoints.send(());
    }

    pub(super) fn ask(&self, questions: impl IntoIterator<Item = Question>) {
        self.readers.send_all(questions);
    }

    /// Lets the threads end and makes everything applied durable.
    pub(super) fn finish(self) -> Result<(), String> {
        self.writer.finish();
        self.checkpoints.finish();
        self.readers.finish();
        self.store.checkpoint().map_err(|error| error.to_string())
    }
}

fn carry_out(store: &StateStore, write: Write) -> Result<Event, String> {
    let failed = |error: anvil_core::rows::RowsError| error.to_string();
    match write {
        Write::Apply { group, entries } => {
            let (through, answers) = store.apply(group, &entries, Planted::default()).map_err(failed)?;
            Ok(Event::Applied { group, through, answers })
        }
        Write::TakeSnapshot { group } => {
            let snapshot = store.snapshot(group, Planted::default()).map_err(failed)?;
            Ok(Event::SnapshotTaken { group, snapshot })
        }
        Write::Install { group, snapshot } => {
            let position = snapshot.position;
            match store.install(group, &snapshot) {
                Ok(()) => Ok(Event::SnapshotInstalled { group, position }),
                Err(InstallError::Rows(error)) => Err(error.to_string()),
                // It is the sender's doing, and this node is as it was.
                Err(error) => Ok(Event::SnapshotRefused { group, why: error.to_string() }),
            }
        }
    }
}

fn post(inbox: &Sender<Inbox>, outcome: Result<Event, String>) {
    // A closed inbox means that the node has stopped: nobody needs the outcome.
    let _ = inbox.send(message(outcome));
}

fn message(outcome: Result<Event, String>) -> Inbox {
    outcome.map_or_else(|what| Inbox::Fatal(Fatal::State(what)), Inbox::Event)
}
