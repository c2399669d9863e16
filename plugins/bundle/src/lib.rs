//! The workspace's policies as WebAssembly components, embedded. The build script builds every folder of `plugins` but
//! the SDK and this one, so that adding a policy is adding a folder. Leaves loading them to the host.

/// One policy's component.
#[derive(Clone, Copy)]
pub struct Plugin {
    /// The package's name, which is the plugin's: `snapshot-on-reboot`.
    pub name: &'static str,
    /// The component.
    pub bytes: &'static [u8],
}

/// Every policy of the workspace, sorted by name.
pub const PLUGINS: &[Plugin] = include!(concat!(env!("OUT_DIR"), "/plugins.rs"));

/// The component of the policy of that name.
pub fn plugin(name: &str) -> Option<Plugin> {
    PLUGINS.iter().copied().find(|plugin| plugin.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_policy_is_a_component_without_any_wasi_import() {
        assert!(!PLUGINS.is_empty());
        for plugin in PLUGINS {
            // Magic, then version 13 of layer 1: a component, not a core module.
            assert_eq!(plugin.bytes[..8], *b"\0asm\x0d\0\x01\0", "{}", plugin.name);
            let mentions_wasi = plugin.bytes.windows(5).any(|window| window == b"wasi:");
            assert!(!mentions_wasi, "{} imports WASI", plugin.name);
        }
    }
}
