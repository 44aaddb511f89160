//! The listener side: Pingora sessions in, requests out.
