//! ch06 from outside.
