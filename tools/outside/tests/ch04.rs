//! ch04 from outside.
