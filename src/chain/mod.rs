//! The published chain: generations, and running a hook over its members.
