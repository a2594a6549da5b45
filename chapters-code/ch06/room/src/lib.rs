//! What a message does to a room: inputs in, effects out. It needs nothing.
