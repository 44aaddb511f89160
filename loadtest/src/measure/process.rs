//! What a process and its children use, read from the kernel: CPU time to the nanosecond, memory by share.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::time::Duration;

use serde::Serialize;

/// CPU time of a process and of everything below it, at one moment.
#[derive(Clone, Debug, Default)]
pub(crate) struct CpuReading {
    own: Duration,
    children: BTreeMap<u32, Duration>,
}

/// CPU time between two readings.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct CpuUsed {
    pub(crate) own: Duration,
    /// Of a gateway: its plugins.
    pub(crate) children: Duration,
}

impl CpuReading {
    pub(crate) fn take(pid: u32) -> io::Result<Self> {
        let own = cpu_time(pid)?;
        // A child that ended since it was listed has nothing more to tell.
        let children =
            descendants(pid)?.into_iter().filter_map(|pid| Some((pid, cpu_time(pid).ok()?))).collect();
        Ok(Self { own, children })
    }

    /// Without its children, which spares the walk through `/proc`.
    pub(crate) fn take_alone(pid: u32) -> io::Result<Self> {
        Ok(Self { own: cpu_time(pid)?, children: BTreeMap::new() })
    }

    /// A child that started in between counts whole; what one that ended used is lost.
    pub(crate) fn since(&self, earlier: &Self) -> CpuUsed {
        let children = self.children.iter().map(|(pid, now)| {
            let before = earlier.children.get(pid).copied().unwrap_or_default();
            now.saturating_sub(before)
        });
        CpuUsed { own: self.own.saturating_sub(earlier.own), children: children.sum() }
    }
}

/// Unlike the ticks of `/proc/<pid>/stat` (10 ms), the process's CPU clock counts nanoseconds, threads that have
/// ended included. See `clock_getcpuclockid(3)`.
pub(crate) fn cpu_time(pid: u32) -> io::Result<Duration> {
    let pid = libc::pid_t::try_from(pid).map_err(io::Error::other)?;
    let mut clock = 0;
    // SAFETY: the only pointer is to a local that outlives the call.
    let error = unsafe { libc::clock_getcpuclockid(pid, &raw mut clock) };
    if error != 0 {
        return Err(io::Error::from_raw_os_error(error));
    }
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: as above.
    if unsafe { libc::clock_gettime(clock, &raw mut time) } != 0 {
        return Err(io::Error::last_os_error());
    }
    let seconds = u64::try_from(time.tv_sec).map_err(io::Error::other)?;
    let nanos = u32::try_from(time.tv_nsec).map_err(io::Error::other)?;
    Ok(Duration::new(seconds, nanos))
}

/// Every process below this one, in no order.
pub(crate) fn descendants(root: u32) -> io::Result<Vec<u32>> {
    let mut by_parent: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
    for entry in fs::read_dir("/proc")? {
        let Some(pid) = entry?.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        // It may have ended between the listing and this read.
        let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) else { continue };
        if let Some(parent) = parent_of(&stat) {
            by_parent.entry(parent).or_default().push(pid);
        }
    }
    let mut found = Vec::new();
    let mut open = vec![root];
    while let Some(pid) = open.pop() {
        let children = by_parent.remove(&pid).unwrap_or_default();
        found.extend_from_slice(&children);
        open.extend(children);
    }
    Ok(found)
}

/// The parent of a live process. The name before it may hold spaces and brackets, so it is read from the back.
fn parent_of(stat: &str) -> Option<u32> {
    let (_, after_name) = stat.rsplit_once(") ")?;
    let mut fields = after_name.split(' ');
    let is_zombie = fields.next()? == "Z";
    fields.next()?.parse().ok().filter(|_| !is_zombie)
}

/// Memory in KiB. PSS counts a page shared by n processes as 1/n of a page.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Memory {
    pub(crate) own_pss_kib: u64,
    pub(crate) own_rss_kib: u64,
    pub(crate) children_pss_kib: u64,
}

impl Memory {
    pub(crate) fn read(pid: u32) -> io::Result<Self> {
        let own = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
        let children = descendants(pid)?.into_iter().filter_map(|pid| {
            let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
            field(&rollup, "Pss:")
        });
        Ok(Self {
            own_pss_kib: field(&own, "Pss:").unwrap_or(0),
            own_rss_kib: field(&own, "Rss:").unwrap_or(0),
            children_pss_kib: children.sum(),
        })
    }

    /// With the children counted to the process itself.
    pub(crate) fn as_one(self) -> Self {
        Self { own_pss_kib: self.own_pss_kib + self.children_pss_kib, children_pss_kib: 0, ..self }
    }
}

fn field(rollup: &str, name: &str) -> Option<u64> {
    let line = rollup.lines().find_map(|line| line.strip_prefix(name))?;
    line.trim().trim_end_matches("kB").trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn a_name_with_brackets_does_not_hide_the_parent() {
        assert_eq!(parent_of("7 (a) b) (c) S 42 7 7 0"), Some(42));
        assert_eq!(parent_of("7 (gone) Z 42 7 7 0"), None);
    }

    #[test]
    fn a_child_is_found_and_read_below_its_parent() {
        let mut child = Command::new("cat").stdin(Stdio::piped()).spawn().unwrap();
        let own = std::process::id();
        assert!(descendants(own).unwrap().contains(&child.id()));
        let reading = CpuReading::take(own).unwrap();
        assert!(reading.own > Duration::ZERO && reading.children.contains_key(&child.id()));
        assert!(Memory::read(own).unwrap().own_pss_kib > 0);
        drop(child.stdin.take());
        child.wait().unwrap();
    }

    #[test]
    fn a_child_that_is_new_counts_whole_and_one_that_is_gone_not_at_all() {
        let reading = |own: u32, children: &[(u32, u32)]| CpuReading {
            own: own * MS,
            children: children.iter().map(|&(pid, time)| (pid, time * MS)).collect(),
        };
        let (before, after) = (reading(10, &[(1, 5), (2, 50)]), reading(17, &[(1, 8), (3, 4)]));
        assert_eq!(after.since(&before), CpuUsed { own: 7 * MS, children: 7 * MS });
    }

    #[test]
    fn memory_is_read_from_the_kernels_words() {
        let rollup =
            "5580-7fff ---p 00000000 00:00 0 [rollup]\nRss:    1204 kB\nPss:     402 kB\nPss_Dirty: 9 kB\n";
        assert_eq!((field(rollup, "Pss:"), field(rollup, "Rss:")), (Some(402), Some(1204)));
    }
}
