//! The real runtime of Anvil: tokio, disks, S3, and the command line.
pub mod client;
pub mod front;
pub mod s3;
