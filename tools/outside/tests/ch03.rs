//! ch03 from outside.
