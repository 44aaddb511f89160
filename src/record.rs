//! The one record a request leaves behind.
