//! What Prometheus sees: names, help, labels and buckets, each in one place.
