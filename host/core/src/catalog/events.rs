//! Names of the clouds' own events, for what is set up in a cloud by name. Data in `host/core/catalog`. Tested below.

use std::sync::LazyLock;

/// Every known name of a system event of Alibaba's ECS, in the case that CloudMonitor's rules want.
pub fn ecs_events() -> &'static [&'static str] {
    static NAMES: LazyLock<Vec<&'static str>> = LazyLock::new(|| {
        let text = include_str!("../../catalog/ecs-events.txt");
        text.lines().filter(|line| !line.starts_with('#')).collect()
    });
    &NAMES
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_sorted_and_none_is_empty() {
        assert!(ecs_events().is_sorted());
        assert!(ecs_events().iter().all(|name| name.contains(':') && !name.contains(char::is_whitespace)));
        assert!(ecs_events().contains(&"Instance:SystemFailure.Reboot:Executed"));
    }
}
