//! How a room is spoken to in binary.
