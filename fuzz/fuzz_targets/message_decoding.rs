//! Whatever bytes another node or a log entry brings, decoding answers with a message or with an error.
//!
//! The first byte of the input chooses what the rest is taken for: a message of a peer (`PEER-1`, `PEER-2`, `PEER-6`), whose
//! head is as long as the next two bytes say and whose body is what remains, or the command of a client. What decodes is
//! encoded again, and decoding that gives the same message: nothing that was understood is lost on the way to the next
//! node. The bytes themselves may differ, since both encodings have more than one form of a number.
#![no_main]

use anvil_core::state::Command;
use anvil_proto::Framed;
use bytes::Bytes;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    match input.split_first() {
        None => {}
        Some((0..128, bytes)) => check_peer_message(bytes),
        Some((128.., bytes)) => check_command(bytes),
    }
});

fn check_peer_message(bytes: &[u8]) {
    let Some((head_size, bytes)) = bytes.split_first_chunk() else { return };
    let head_size = usize::from(u16::from_le_bytes(*head_size)).min(bytes.len());
    let (head, body) = bytes.split_at(head_size);
    let framed = Framed { head: Bytes::copy_from_slice(head), body: Bytes::copy_from_slice(body) };
    match anvil_proto::decode(framed) {
        Ok(message) => assert_eq!(anvil_proto::decode(anvil_proto::encode(&message)), Ok(message)),
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

fn check_command(bytes: &[u8]) {
    match Command::decode(bytes) {
        Ok(command) => assert_eq!(Command::decode(&command.encode()), Ok(command)),
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}
