//! The machine a run was made on, because its figures mean nothing without it.

use std::fmt;
use std::fs;

use serde::Serialize;

use crate::measure::cores::Layout;

#[derive(Debug, Serialize)]
pub(crate) struct Machine {
    processor: String,
    cores: usize,
    memory_gib: f64,
    kernel: String,
    /// Of every peer.
    worker_threads: usize,
    layout: String,
}

impl Machine {
    pub(crate) fn read(layout: &Layout, worker_threads: usize) -> anyhow::Result<Self> {
        let processor = fs::read_to_string("/proc/cpuinfo")?;
        let memory = fs::read_to_string("/proc/meminfo")?;
        let memory_kib: f64 = field(&memory, "MemTotal").trim_end_matches(" kB").parse().unwrap_or(0.0);
        Ok(Self {
            processor: field(&processor, "model name").to_owned(),
            cores: processor.lines().filter(|line| line.starts_with("processor")).count(),
            memory_gib: memory_kib / 1024.0 / 1024.0,
            kernel: fs::read_to_string("/proc/sys/kernel/osrelease")?.trim().to_owned(),
            worker_threads,
            layout: layout.to_string(),
        })
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { processor, cores, memory_gib, kernel, worker_threads, layout } = self;
        write!(
            f,
            "{processor}, {cores} cores, {memory_gib:.0} GiB, Linux {kernel}; \
             {worker_threads} worker thread(s) per peer; {layout}"
        )
    }
}

/// The value of the first `name : value` line.
fn field<'a>(text: &'a str, name: &str) -> &'a str {
    let line = text.lines().find(|line| line.starts_with(name));
    line.and_then(|line| line.split_once(':')).map_or("unknown", |(_, value)| value.trim())
}
