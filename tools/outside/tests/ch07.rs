//! ch07 from outside.
