//! Why bytes are not a message.

/// Why bytes are not a message of a correct peer of this version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DecodeError {
    /// More bytes than a message of its kind may have.
    TooLarge {
        /// Bytes that came.
        size: usize,
        /// Bytes that may come.
        size_max: usize,
    },
    /// Not protobuf, or not of this schema.
    Malformed(prost::DecodeError),
    /// A part that every message of its kind has is not there. Names it as the `.proto` file does.
    Missing(&'static str),
    /// An entry does not stand right after the one before it. An entry of index 0 always ends here.
    Gap {
        /// The index before; `u64::MAX` has none after it.
        previous: u64,
        /// The entry's index.
        found: u64,
    },
    /// The lists of a membership contradict each other.
    Membership,
    /// A command has more bytes than [`COMMAND_SIZE_MAX`](super::COMMAND_SIZE_MAX).
    CommandTooLarge {
        /// The entry's index.
        index: u64,
        /// The command's bytes.
        size: usize,
    },
}

impl core::fmt::Display for DecodeError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            DecodeError::TooLarge { size, size_max } => {
                write!(f, "a peer message of {size} bytes; at most {size_max} are possible")
            }
            DecodeError::Malformed(_) => f.write_str("the bytes are not a peer message"),
            DecodeError::Missing(part) => write!(f, "the peer message lacks {part}"),
            DecodeError::Gap { previous, found } => {
                write!(f, "entry {found} was sent as the one that follows entry {previous}")
            }
            DecodeError::Membership => f.write_str("the lists of a membership contradict each other"),
            DecodeError::CommandTooLarge { index, size } => {
                write!(
                    f,
                    "the command of entry {index} has {size} bytes; at most {} are possible",
                    super::COMMAND_SIZE_MAX
                )
            }
        }
    }
}

impl core::error::Error for DecodeError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            DecodeError::Malformed(error) => Some(error),
            DecodeError::TooLarge { .. }
            | DecodeError::Missing(_)
            | DecodeError::Gap { .. }
            | DecodeError::Membership
            | DecodeError::CommandTooLarge { .. } => None,
        }
    }
}
