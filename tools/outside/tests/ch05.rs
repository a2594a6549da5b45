//! ch05 from outside.
