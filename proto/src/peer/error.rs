//! Why bytes are not a message.
//!
//! Whatever a peer sends ends in a message or in one of these: bytes from a peer are never asserted. Parts are named as the
//! `.proto` file names them, or `head` and `body`.

/// Why bytes are not a message of a correct peer of this version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DecodeError {
    /// A part has more bytes than it may have.
    TooLarge {
        /// Which part.
        part: &'static str,
        /// Bytes that came.
        size: usize,
        /// Bytes that may come.
        size_max: usize,
    },
    /// Not protobuf, or not of this schema.
    Malformed(prost::DecodeError),
    /// A part that every message of its kind has is not there.
    Missing(&'static str),
    /// A body came with a message that has none, or was announced by one.
    UnexpectedBody {
        /// Bytes that came.
        size: usize,
    },
    /// The body is not as long as the head says.
    BodySize {
        /// Bytes that the head announces.
        announced: u64,
        /// Bytes that came.
        size: usize,
    },
    /// An entry does not stand right after the one before it. An entry of index 0 always ends here.
    Gap {
        /// The index before; `u64::MAX` has none after it.
        previous: u64,
        /// The entry's index.
        found: u64,
    },
    /// The lists of a membership contradict each other.
    Membership,
    /// A version's id, or what should be a list of them, has this many bytes.
    VersionSize(usize),
    /// The position of a shard in its stripe is a number that no stripe has.
    Position(u32),
    /// A node says too much of itself, or contradicts itself.
    Description,
}

impl core::fmt::Display for DecodeError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            DecodeError::TooLarge { part, size, size_max } => {
                write!(f, "the peer message's {part} has {size} bytes; at most {size_max} are possible")
            }
            DecodeError::Malformed(_) => f.write_str("the bytes are not a peer message"),
            DecodeError::Missing(part) => write!(f, "the peer message lacks {part}"),
            DecodeError::UnexpectedBody { size } => {
                write!(f, "a body of {size} bytes came with a peer message that has none")
            }
            DecodeError::BodySize { announced, size } => {
                write!(f, "the peer message announces a body of {announced} bytes, and {size} came")
            }
            DecodeError::Gap { previous, found } => {
                write!(f, "entry {found} was sent as the one that follows entry {previous}")
            }
            DecodeError::Membership => f.write_str("the lists of a membership contradict each other"),
            DecodeError::VersionSize(size) => write!(f, "{size} bytes are not version ids, which have 16 each"),
            DecodeError::Description => f.write_str("a node's description of itself is none"),
            DecodeError::Position(position) => write!(f, "no stripe has a position {position}"),
        }
    }
}

impl core::error::Error for DecodeError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            DecodeError::Malformed(error) => Some(error),
            DecodeError::TooLarge { .. }
            | DecodeError::Missing(_)
            | DecodeError::UnexpectedBody { .. }
            | DecodeError::BodySize { .. }
            | DecodeError::Gap { .. }
            | DecodeError::Membership
            | DecodeError::VersionSize(_)
            | DecodeError::Position(_)
            | DecodeError::Description => None,
        }
    }
}
