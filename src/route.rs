//! From the model a client asked for to the upstreams that may answer.
