//! A plugin alive: its process, its link, its supervisor.
