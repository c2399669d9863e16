//! Serves a router on a socket with what `axum::serve` does not offer: deadlines for request heads and for who reads no answer,
//! a bound on heads' size, and bounds on connections. Leaves the routes to its caller. Tested with them.

use super::HookLimits;
use super::impatient::Impatient;
use super::per_address::PerAddress;
use axum::Router;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use opsward_core::sender::addresses::AddressRange;
use std::future::Future;
use std::net::IpAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;

/// Most bytes of a request's head: room for every CloudEvents attribute at its longest, percent-encoded.
const HEAD_BYTES_MAX: usize = 64 * 1024;
/// How long to wait when the process is out of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves each connection with the `router_for` where it comes from until `shutdown` resolves; then takes no connection more,
/// finishes the requests begun, and returns. Dropping the future cuts all connections. Connections from `uncounted` addresses are
/// bounded together with all others only.
pub async fn serve(
    listener: TcpListener,
    router_for: impl Fn(IpAddr) -> Router,
    limits: HookLimits,
    uncounted: Vec<AddressRange>,
    shutdown: impl Future<Output = ()>,
) {
    let slots = Arc::new(Semaphore::new(limits.connections_max));
    let per_address = PerAddress::new(limits.connections_per_address, uncounted);
    let graceful = GracefulShutdown::new();
    let mut connections = JoinSet::new();
    let mut shutdown = pin!(shutdown);
    loop {
        let (stream, from, slot) = tokio::select! {
            () = &mut shutdown => break,
            next = next_connection(&listener, &slots) => next,
            // Only frees what ended.
            Some(_) = connections.join_next() => continue,
        };
        let Some(counted) = per_address.count(from) else {
            // Closed rather than left to wait: it would keep others waiting behind it.
            tracing::debug!(%from, "connection closed: too many from there");
            metrics::counter!("opsward_connections_refused_total").increment(1);
            continue;
        };
        let service = TowerToHyperService::new(router_for(from));
        let stream = Impatient::new(stream, limits.write_timeout);
        let connection = hyper::server::conn::http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(limits.read_timeout)
            .max_buf_size(HEAD_BYTES_MAX)
            .serve_connection(TokioIo::new(stream), service);
        let connection = graceful.watch(connection);
        connections.spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "connection ended early");
            }
            drop((slot, counted));
        });
    }
    drop(listener);
    graceful.shutdown().await;
    while connections.join_next().await.is_some() {}
}

async fn next_connection(
    listener: &TcpListener,
    slots: &Arc<Semaphore>,
) -> (TcpStream, IpAddr, OwnedSemaphorePermit) {
    let slot = slots.clone().acquire_owned().await.expect("the semaphore is never closed");
    loop {
        match listener.accept().await {
            Ok((stream, from)) => {
                // Answers are small: waiting to fill a packet would only delay them.
                if let Err(error) = stream.set_nodelay(true) {
                    tracing::debug!(%error, "connection stays with Nagle's algorithm");
                }
                return (stream, from.ip(), slot);
            }
            Err(error) => {
                tracing::warn!(%error, "connection not accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}
