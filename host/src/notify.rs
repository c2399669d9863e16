//! Tells systemd how the service stands (`sd_notify(3)`): one datagram to the socket it names. Without systemd: nothing.

use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};

/// The service is ready.
pub fn ready() {
    tell("READY=1");
}

/// The service drains.
pub fn stopping() {
    tell("STOPPING=1");
}

fn tell(state: &str) {
    let Some(name) = std::env::var_os("NOTIFY_SOCKET") else { return };
    if let Err(error) = send(&name.to_string_lossy(), state) {
        tracing::warn!(%error, state, "cannot tell systemd");
    }
}

/// A name that begins with `@` is an abstract one.
fn send(name: &str, state: &str) -> std::io::Result<()> {
    let address = match name.strip_prefix('@') {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(name)?,
    };
    UnixDatagram::unbound()?.send_to_addr(state.as_bytes(), &address).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_datagram_reaches_a_socket_by_path_and_by_abstract_name() {
        let dir = tempfile::tempdir().expect("tempdir");
        let path = dir.path().join("notify");
        let by_path = UnixDatagram::bind(&path).expect("bound");
        let name = format!("opsward-test-{}", std::process::id());
        let by_name =
            UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).expect("a name")).expect("bound");
        for (socket, address) in [(by_path, path.display().to_string()), (by_name, format!("@{name}"))] {
            send(&address, "READY=1").expect("sent");
            let mut told = [0; 16];
            let bytes = socket.recv(&mut told).expect("received");
            assert_eq!(&told[..bytes], b"READY=1", "{address}");
        }
    }
}
