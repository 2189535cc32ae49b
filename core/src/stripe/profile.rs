//! Which profile suits how many drives, and how large a record gets.
//!
//! Source: the table of DESIGN §6.

use super::Profile;
use super::frame::{FRAME_SIZE, HEADER_SIZE};
use super::keys::TAG_SIZE;

/// Shards of one stripe at most. Far below what the code's field allows (256): a stripe over more drives would make
/// each read depend on more of them without making the object any safer.
pub const SHARDS_MAX: u8 = 32;

/// Why a profile cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProfileError {
    /// `k` is 0.
    NoData,
    /// `k + m` is above [`SHARDS_MAX`]. Carries the sum.
    TooMany(u16),
}

impl core::fmt::Display for ProfileError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            ProfileError::NoData => f.write_str("a profile needs at least one data shard"),
            ProfileError::TooMany(total) => write!(f, "{total} shards per stripe; at most {SHARDS_MAX} are possible"),
        }
    }
}

impl core::error::Error for ProfileError {}

impl Profile {
    /// The profile for `drives` failure domains that are alive (DESIGN §6). None alive counts as one, since the
    /// write that asks will be refused by placement and not by arithmetic.
    #[must_use]
    pub fn for_drives(drives: usize) -> Profile {
        let (data, parity) = match drives {
            0 | 1 => (1, 0),
            2 => (1, 1),
            3 => (2, 1),
            4 => (2, 2),
            5 => (3, 2),
            6.. => (4, 2),
        };
        Profile { data, parity }
    }

    /// Whether stripes can be cut this way. To be called where a profile enters: a bucket's setting, a row, a peer.
    pub fn check(self) -> Result<(), ProfileError> {
        let total = u16::from(self.data) + u16::from(self.parity);
        if self.data == 0 {
            return Err(ProfileError::NoData);
        }
        if total > u16::from(SHARDS_MAX) {
            return Err(ProfileError::TooMany(total));
        }
        Ok(())
    }

    /// Positions of a stripe, `k + m`.
    #[must_use]
    pub fn total(self) -> usize {
        usize::from(self.data) + usize::from(self.parity)
    }

    /// Bytes of one shard of a stripe that holds `length` bytes of plaintext, without framing.
    pub(super) fn shard_size(self, length: u32) -> u64 {
        (u64::from(length) + TAG_SIZE as u64).div_ceil(u64::from(self.data))
    }
}

/// Bytes of each framed record of a stripe that holds `length` bytes of plaintext. `profile` must pass
/// [`Profile::check`]. Saturates at `u32::MAX`, which no stripe reaches.
#[must_use]
pub fn record_size(profile: Profile, length: u32) -> u32 {
    let shard = profile.shard_size(length);
    let framed = HEADER_SIZE as u64 + shard + 4 * shard.div_ceil(FRAME_SIZE as u64);
    u32::try_from(framed).unwrap_or(u32::MAX)
}
