//! The one actor that changes what is published.
