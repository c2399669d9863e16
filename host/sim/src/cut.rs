//! Connections that can be cut: a handler marks its connection, and the answer then reaches the client not at all or
//! only in part. Done below HTTP because a server library always answers. Tested by `tests/tests/it/sim.rs`.

use axum::extract::connect_info::Connected;
use axum::serve::{IncomingStream, Listener};
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};

/// A handler's hold on its connection.
#[derive(Clone)]
pub(crate) struct Knife(Arc<AtomicU8>);

impl Knife {
    /// Closes the connection in place of the answer.
    pub(crate) fn drop_answer(&self) {
        self.0.store(NOTHING, Ordering::Release);
    }

    /// Closes the connection when half of the answer's body is sent.
    pub(crate) fn truncate_answer(&self) {
        self.0.store(HALF, Ordering::Release);
    }
}

const WHOLE: u8 = 0;
const HALF: u8 = 1;
const NOTHING: u8 = 2;

/// A listener whose connections can be cut.
pub(crate) struct CutListener(pub(crate) TcpListener);

impl Listener for CutListener {
    type Io = CutStream;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (CutStream, SocketAddr) {
        let (stream, peer) = Listener::accept(&mut self.0).await;
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "no TCP_NODELAY");
        }
        (CutStream { stream, cut: Arc::new(AtomicU8::new(WHOLE)) }, peer)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }
}

impl Connected<IncomingStream<'_, CutListener>> for Knife {
    fn connect_info(incoming: IncomingStream<'_, CutListener>) -> Self {
        Self(incoming.io().cut.clone())
    }
}

/// A TCP stream that stops writing when told to.
pub(crate) struct CutStream {
    stream: TcpStream,
    cut: Arc<AtomicU8>,
}

impl AsyncRead for CutStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for CutStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let sent = match self.cut.load(Ordering::Acquire) {
            WHOLE => bytes,
            HALF => &bytes[..head_and_half(bytes)],
            _ => return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into())),
        };
        let written = Pin::new(&mut self.stream).poll_write(cx, sent);
        if sent.len() < bytes.len() && matches!(written, Poll::Ready(Ok(_))) {
            self.cut.store(NOTHING, Ordering::Release);
        }
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// The HTTP library hands head and body over in one write, because the stream takes no vectored ones.
fn head_and_half(bytes: &[u8]) -> usize {
    let head = bytes.windows(4).position(|w| w == b"\r\n\r\n").map_or(0, |at| at + 4);
    head + (bytes.len() - head) / 2
}
