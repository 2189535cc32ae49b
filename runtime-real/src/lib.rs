//! The real runtime of Anvil: threads, disks, S3 and the command line around `anvil-core`.

pub mod admin;
pub mod bench;
pub mod cli;
pub mod client;
pub mod cluster;
mod endpoint;
pub mod front;
mod leave;
pub mod mailbox;
pub mod node;
pub mod peers;
pub mod s3;
pub mod serve;
pub mod users;
