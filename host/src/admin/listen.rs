//! Where the admin listener is reached: a socket of commands on this machine, and an address where one is configured. Leaves who
//! may ask what to `gate`. Tested in `admin/tests/access.rs`.

use super::{Admin, router};
use crate::trigger::http::{self, HookLimits};
use anyhow::{Context as _, bail};
use axum::extract::connect_info::Connected;
use axum::extract::{ConnectInfo, Extension};
use axum::serve::IncomingStream;
use opsward_core::config::AdminSettings;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use tokio::net::{TcpListener, UnixListener, UnixStream};
use tokio::sync::watch;

/// For the service's user and root alone. Others who got as far are told apart by their user id.
const SOCKET_MODE: u32 = 0o600;

/// Open connections at the address; over it the kernel's backlog waits. Monitoring and a few programs need a handful; whoever reaches
/// the address can take the rest.
const CONNECTIONS_MAX: usize = 128;

/// Who is at the other end of a connection.
#[derive(Debug, Clone, Copy)]
pub(super) enum Peer {
    /// A process of this machine, by the user that the kernel names; nobody where it names none.
    Socket {
        /// The user.
        uid: Option<u32>,
    },
    /// Whoever reaches that address.
    Tcp {
        /// Where they ask from.
        from: IpAddr,
    },
}

impl Connected<IncomingStream<'_, UnixListener>> for Peer {
    fn connect_info(stream: IncomingStream<'_, UnixListener>) -> Self {
        Self::Socket { uid: stream.io().peer_cred().ok().map(|peer| peer.uid()) }
    }
}

/// The bound listeners.
pub struct Listeners {
    socket: UnixListener,
    path: PathBuf,
    tcp: Option<TcpListener>,
}

impl Listeners {
    /// Binds what `settings` name for the host whose store is at `store`; `base` is where relative paths begin.
    pub async fn bind(settings: &AdminSettings, base: &Path, store: &Path) -> anyhow::Result<Self> {
        let path = settings.socket.as_ref().map_or_else(|| beside(store), |path| base.join(path));
        let path = std::path::absolute(&path).with_context(|| format!("cannot find `{}`", path.display()))?;
        let socket = bind_socket(&path).await?;
        let tcp = match settings.listen {
            Some(address) => {
                let bound = TcpListener::bind(address).await;
                Some(bound.with_context(|| format!("cannot listen on {address}"))?)
            }
            None => None,
        };
        Ok(Self { socket, path, tcp })
    }

    /// The socket's path, absolute.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The address, where there is one.
    pub fn address(&self) -> Option<SocketAddr> {
        self.tcp.as_ref().and_then(|tcp| tcp.local_addr().ok())
    }

    /// Answers requests until `stopping` turns true; requests under way are finished. The socket's file is then removed.
    pub async fn serve(self, admin: Admin, stopping: watch::Receiver<bool>) -> io::Result<()> {
        let Self { socket, path, tcp } = self;
        let router = router(admin);
        let of_socket = router.clone().into_make_service_with_connect_info::<Peer>();
        let at_socket = axum::serve(socket, of_socket).with_graceful_shutdown(stopped(stopping.clone()));
        let at_address = async {
            if let Some(tcp) = tcp {
                let limits = HookLimits { connections_max: CONNECTIONS_MAX, ..HookLimits::default() };
                let router_for = |from| router.clone().layer(Extension(ConnectInfo(Peer::Tcp { from })));
                http::serve(tcp, router_for, limits, Vec::new(), stopped(stopping)).await;
            }
        };
        let (served, ()) = tokio::join!(at_socket.into_future(), at_address);
        // Whoever comes next would take it away as well.
        if let Err(error) = std::fs::remove_file(&path) {
            tracing::debug!(path = %path.display(), %error, "the admin socket stays");
        }
        served
    }
}

async fn stopped(mut stopping: watch::Receiver<bool>) {
    // A sender that is gone has nothing more to serve either.
    drop(stopping.wait_for(|stop| *stop).await);
}

/// `<store>.sock`.
fn beside(store: &Path) -> PathBuf {
    let mut path = store.as_os_str().to_owned();
    path.push(".sock");
    path.into()
}

/// Takes the place of a socket that a host has left there which was killed, but of nothing else.
async fn bind_socket(path: &Path) -> anyhow::Result<UnixListener> {
    let shown = path.display();
    match std::fs::symlink_metadata(path) {
        Ok(there) if !there.file_type().is_socket() => {
            bail!(
                "`{shown}` is there and no socket: name another with `listen = \"unix:/...\"` under `[admin]`"
            )
        }
        Ok(_) if UnixStream::connect(path).await.is_ok() => {
            bail!(
                "another process listens at `{shown}`: stop it, or name another with `listen = \"unix:/...\"` under `[admin]`"
            )
        }
        Ok(_) => {
            std::fs::remove_file(path).with_context(|| format!("cannot remove the old socket `{shown}`"))?
        }
        Err(_) => {}
    }
    let bound = UnixListener::bind(path).with_context(|| {
        format!("cannot make the socket `{shown}` (its directory must be there, and its path no longer than 107 bytes): name another with `listen = \"unix:/...\"` under `[admin]`")
    })?;
    let mode = std::fs::Permissions::from_mode(SOCKET_MODE);
    std::fs::set_permissions(path, mode).with_context(|| format!("cannot close `{shown}` to others"))?;
    Ok(bound)
}
