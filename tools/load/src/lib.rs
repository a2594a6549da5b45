//! Fills rooms with WebSockets, has them talk, and measures what comes of it.
//!
//! It speaks the two protocols of the book, and goes to any `ws://` address that
//! speaks one of them: a Worker on your own machine, or another host.
//!
//! Everything is bounded: the sockets, the messages, and the time of each step. Every
//! message must come to every socket of its room once, in the same order for all; if
//! it does not, the step is an error and no figure.

mod crowd;
mod protocol;

pub use crowd::{Crowd, Joined, Load, STEP_LIMIT, Talked};
pub use protocol::{Heard, Protocol};
