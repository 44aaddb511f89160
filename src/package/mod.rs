//! A plugin on disk: its folder, its manifest, its digest.
