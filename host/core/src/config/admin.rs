//! `[admin]`: where operators and programs ask. Commands on this machine always have a socket; an address is for what cannot use
//! one, and asks for tokens. Leaves binding to the host. Tested in `super::tests`.

use super::finding::ConfigError;
use super::source::{Source, place};
use super::typed::Admin;
use std::net::SocketAddr;
use std::path::PathBuf;

/// How the path of a socket is told from an address.
const SOCKET: &str = "unix:";

/// `[admin]`, resolved.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AdminSettings {
    /// The socket; beside the store where absent.
    pub socket: Option<PathBuf>,
    /// Where else requests are answered, with a token; nowhere where absent.
    pub listen: Option<SocketAddr>,
    /// Names by which a proxy in front is asked.
    pub hosts: Vec<String>,
    /// Whether metrics are shown there to everybody.
    pub open_metrics: bool,
}

pub(super) fn resolve(source: &Source<'_>, typed: Admin, errors: &mut Vec<ConfigError>) -> AdminSettings {
    let Admin { listen, hosts, open_metrics, tls_in_front } = typed;
    let mut settings = AdminSettings { hosts, open_metrics, ..AdminSettings::default() };
    let at = place!["admin", "listen"];
    match listen.as_deref().map(|text| (text, text.strip_prefix(SOCKET))) {
        None => {}
        Some((_, Some(""))) => {
            errors.push(source.error(
                at,
                "`unix:` without a path",
                "write `\"unix:/run/opsward/admin.sock\"`",
            ));
        }
        Some((_, Some(path))) => settings.socket = Some(path.into()),
        Some((text, None)) => match text.parse::<SocketAddr>() {
            Ok(address) if !address.ip().is_loopback() && !tls_in_front => {
                let message = format!(
                    "{address} can be reached from other machines, and tokens would pass there in the clear"
                );
                let fix = "listen on 127.0.0.1 behind a proxy that ends TLS, or say `tls-in-front = true` where one stands before this address";
                errors.push(source.error(at, message, fix));
            }
            Ok(address) => settings.listen = Some(address),
            Err(_) => {
                let message = format!("`{text}` is neither a socket nor an address and port");
                let fix = "leave `listen` out for a socket beside the store, or write `\"127.0.0.1:7071\"`";
                errors.push(source.error(at, message, fix));
            }
        },
    }
    for (at, host) in settings.hosts.iter().enumerate() {
        if host.is_empty() || host.contains(|c: char| !c.is_ascii_alphanumeric() && !"-.".contains(c)) {
            let fix = "write it without scheme and port, as in `opsward.example.com`";
            errors.push(source.error(
                place!["admin", "hosts", at],
                format!("`{host}` is not a host's name"),
                fix,
            ));
        }
    }
    settings
}
