//! Whatever bytes another node or a log entry brings, decoding answers with a message or with an error.
//!
//! The first byte of the input chooses what the rest is taken for: a message of a peer (`PEER-1`, `PEER-2`), or the command
//! of a client. What decodes is encoded again, and decoding that gives the same message: nothing that was understood is
//! lost on the way to the next node. The bytes themselves may differ, since both encodings have more than one form of a
//! number.
#![no_main]

use anvil_core::state::Command;
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
    match anvil_proto::decode(Bytes::copy_from_slice(bytes)) {
        Ok((group, message)) => {
            let encoded = anvil_proto::encode(group, &message);
            assert_eq!(anvil_proto::decode(encoded), Ok((group, message)));
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

fn check_command(bytes: &[u8]) {
    match Command::decode(bytes) {
        Ok(command) => assert_eq!(Command::decode(&command.encode()), Ok(command)),
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}
