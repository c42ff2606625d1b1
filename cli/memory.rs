//! How much memory the process may plan with.

/// Least budget that makes sense, in bytes.
pub const BUDGET_MIN: u64 = 32 << 20;

/// A quarter of what there is, in bytes.
pub fn default_budget() -> u64 {
    (machine().unwrap_or(1 << 30) / 4).max(BUDGET_MIN)
}

/// The machine's memory, or the cgroup's limit where that is lower, in bytes.
pub fn machine() -> Option<u64> {
    let machine = read("/proc/meminfo").and_then(|text| {
        let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
        line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kib| kib << 10)
    });
    let limit = cgroup_limit();
    [machine, limit].into_iter().flatten().min()
}

/// The tightest limit of the process' cgroup and those above it (version 2), or of version 1's memory controller.
fn cgroup_limit() -> Option<u64> {
    let own = read("/proc/self/cgroup")?;
    let path = own.lines().find_map(|line| line.strip_prefix("0::"));
    let mut limits = Vec::new();
    if let Some(path) = path {
        let mut at = path.trim_start_matches('/');
        loop {
            limits.extend(number(&format!("/sys/fs/cgroup/{at}/memory.max")));
            match at.rsplit_once('/') {
                Some((above, _)) => at = above,
                None if at.is_empty() => break,
                None => at = "",
            }
        }
    }
    limits.extend(number("/sys/fs/cgroup/memory/memory.limit_in_bytes"));
    limits.into_iter().min()
}

fn number(path: &str) -> Option<u64> {
    read(path)?.trim().parse().ok()
}

fn read(path: &str) -> Option<String> {
    std::fs::read_to_string(path).ok()
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_default_is_within_the_machine() {
        let budget = super::default_budget();
        assert!((super::BUDGET_MIN..1 << 44).contains(&budget), "{budget}");
    }
}
