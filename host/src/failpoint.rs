//! Named places where a test may kill the process, and wrong variants a test may switch on. Both exist only with the
//! features `failpoints` and `wrong-variants`, which no shipped binary has; without them every call here is nothing.

use std::net::SocketAddr;
use std::time::Duration;

/// Kills the process here if `OPSWARD_FAILPOINT` is `<name>:<n>` and this is the n-th time. Names: `docs/architecture.md`.
#[inline]
pub fn hit(name: &'static str) {
    #[cfg(feature = "failpoints")]
    armed::hit(name);
    #[cfg(not(feature = "failpoints"))]
    let _: &str = name;
}

/// Whether `OPSWARD_WRONG` names this wrong variant.
#[inline]
pub fn wrong(name: &'static str) -> bool {
    #[cfg(feature = "wrong-variants")]
    return armed::wrong(name);
    #[cfg(not(feature = "wrong-variants"))]
    {
        let _: &str = name;
        false
    }
}

/// A wait of the host, divided by `OPSWARD_HASTE` where a test sets it: proofs that take minutes are then seconds.
#[inline]
pub fn haste(wait: Duration) -> Duration {
    #[cfg(feature = "failpoints")]
    return armed::haste(wait);
    #[cfg(not(feature = "failpoints"))]
    wait
}

/// The metadata service at `base`, or where `OPSWARD_METADATA` says in a test: no shipped binary can be sent elsewhere.
#[inline]
pub fn metadata_at(base: &'static str) -> String {
    #[cfg(feature = "failpoints")]
    return std::env::var("OPSWARD_METADATA").unwrap_or_else(|_| base.to_owned());
    #[cfg(not(feature = "failpoints"))]
    base.to_owned()
}

/// What `OPSWARD_NAMES` says in a test that a name stands for: addresses between commas. No shipped binary believes it.
#[inline]
pub fn looked_up(host: &str) -> Option<Vec<SocketAddr>> {
    #[cfg(feature = "failpoints")]
    return armed::looked_up(host);
    #[cfg(not(feature = "failpoints"))]
    {
        let _: &str = host;
        None
    }
}

/// How long a time that passed would have been without that haste: what decides by it knows of none.
#[inline]
pub fn unhasted(passed: Duration) -> Duration {
    #[cfg(feature = "failpoints")]
    return armed::unhasted(passed);
    #[cfg(not(feature = "failpoints"))]
    passed
}

#[cfg(any(feature = "failpoints", feature = "wrong-variants"))]
mod armed {
    #[cfg(feature = "failpoints")]
    use std::net::{IpAddr, SocketAddr};
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::time::Duration;

    #[cfg(feature = "failpoints")]
    pub(super) fn haste(wait: Duration) -> Duration {
        wait / divisor()
    }

    #[cfg(feature = "failpoints")]
    pub(super) fn unhasted(passed: Duration) -> Duration {
        passed.saturating_mul(divisor())
    }

    /// `OPSWARD_NAMES` is `<name>=<address>,<address>;...`; the name `*` is any.
    #[cfg(feature = "failpoints")]
    pub(super) fn looked_up(host: &str) -> Option<Vec<SocketAddr>> {
        let names = std::env::var("OPSWARD_NAMES").ok()?;
        let of_host = |entry: &str| -> Option<Vec<SocketAddr>> {
            let (_, addresses) = entry.split_once('=').filter(|(name, _)| [host, "*"].contains(name))?;
            let addresses = addresses.split(',').filter_map(|text| text.parse::<IpAddr>().ok());
            Some(addresses.map(|address| SocketAddr::new(address, 0)).collect())
        };
        names.split(';').find_map(of_host)
    }

    #[cfg(feature = "failpoints")]
    fn divisor() -> u32 {
        static HASTE: OnceLock<u32> = OnceLock::new();
        let told = || std::env::var("OPSWARD_HASTE").ok()?.parse().ok().filter(|by| *by > 0);
        *HASTE.get_or_init(|| told().unwrap_or(1))
    }

    #[cfg(feature = "failpoints")]
    pub(super) fn hit(name: &'static str) {
        static ARMED: OnceLock<Option<(String, u64)>> = OnceLock::new();
        static HITS: AtomicU64 = AtomicU64::new(0);
        let armed = ARMED.get_or_init(|| {
            let text = std::env::var("OPSWARD_FAILPOINT").ok()?;
            let (name, n) = text.rsplit_once(':')?;
            Some((name.to_owned(), n.parse().ok()?))
        });
        let Some((armed, n)) = armed else { return };
        if armed == name && HITS.fetch_add(1, Ordering::SeqCst) + 1 == *n {
            std::process::abort();
        }
    }

    #[cfg(feature = "wrong-variants")]
    pub(super) fn wrong(name: &'static str) -> bool {
        static WRONG: OnceLock<Option<String>> = OnceLock::new();
        WRONG.get_or_init(|| std::env::var("OPSWARD_WRONG").ok()).as_deref() == Some(name)
    }
}
