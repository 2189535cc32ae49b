//! Placeholder of the skeleton; replaced in the next commits.
