//! The life of a request, phase by phase.
