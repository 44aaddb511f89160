//! Assembly: what is built in which order, and how it ends.
