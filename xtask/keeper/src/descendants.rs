//! Who descends from whom, from `/proc`.

use std::collections::HashMap;
use std::fs;
use std::thread;
use std::time::Instant;

use rustix::process::{Pid, Signal, getpid, kill_process};

use crate::{GRACE, POLL};

/// Has descendants of this process that lose their parent become its children. Elsewhere than on Linux they become
/// init's.
pub(crate) fn adopt_orphans() {
    #[cfg(target_os = "linux")]
    // Kernels before 3.4 refuse: orphans then get away.
    let _ = rustix::process::set_child_subreaper(Some(getpid()));
}

/// Kills all that descend from this process: elsewhere than on Linux the process group of `program`.
pub(crate) fn kill_all(program: Pid) {
    if cfg!(not(target_os = "linux")) {
        // It fails only if all have ended.
        let _ = rustix::process::kill_process_group(program, Signal::KILL);
    }
    kill(&descendants(own_id()));
}

/// Kills all that descend from this process except `spared` and what is below them: what a killed keeper left.
pub(crate) fn end_orphans(spared: &[u32]) {
    // Those that are killed may have left others.
    let deadline = Instant::now() + GRACE;
    while Instant::now() < deadline {
        let orphans = below(&parents(), own_id(), spared);
        if orphans.is_empty() {
            return;
        }
        kill(&orphans);
        thread::sleep(POLL);
    }
}

/// The ids of all processes that descend from the process `pid`, nearest first, those that have ended and await burial
/// left out. None elsewhere than on Linux.
pub fn descendants(pid: u32) -> Vec<u32> {
    below(&parents(), pid, &[])
}

fn own_id() -> u32 {
    getpid().as_raw_nonzero().get().cast_unsigned()
}

fn kill(pids: &[u32]) {
    for pid in pids.iter().filter_map(|pid| Pid::from_raw(pid.cast_signed())) {
        // It fails only if that one has just ended.
        let _ = kill_process(pid, Signal::KILL);
    }
}

fn below(parents: &HashMap<u32, u32>, root: u32, spared: &[u32]) -> Vec<u32> {
    let mut found = Vec::new();
    let mut next = vec![root];
    while let Some(parent) = next.pop() {
        let children = parents.iter().filter(|(pid, of)| **of == parent && !spared.contains(pid));
        let children: Vec<u32> = children.map(|(pid, _)| *pid).collect();
        found.extend(&children);
        next.extend(&children);
    }
    found
}

/// Each process that has not ended, with its parent.
fn parents() -> HashMap<u32, u32> {
    let Ok(entries) = fs::read_dir("/proc") else { return HashMap::new() };
    let ids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
    // A process may end between listing and reading.
    ids.filter_map(|pid| Some((pid, parent(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)?)))
        .collect()
}

/// The parent in what `/proc/PID/stat` says; nothing of a process that has ended. The name, in parentheses, may have
/// any byte in it.
fn parent(stat: &str) -> Option<u32> {
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    let state = fields.next()?;
    (!matches!(state, "Z" | "X")).then(|| fields.next()?.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parent_is_found_behind_any_name() {
        assert_eq!(parent("7 (sh) S 3 7 7 0"), Some(3));
        assert_eq!(parent("7 (a) b ) R 9) S 3 7 7 0"), Some(3));
        assert_eq!(parent("7 (sh) Z 3 7 7 0"), None);
        assert_eq!(parent(""), None);
    }

    #[test]
    fn all_generations_descend_but_those_below_one_that_is_spared() {
        let parents = HashMap::from([(2, 1), (3, 2), (4, 3), (5, 1), (6, 5), (7, 8)]);
        let mut found = below(&parents, 1, &[5]);
        found.sort_unstable();
        assert_eq!(found, [2, 3, 4]);
    }
}
