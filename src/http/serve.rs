//! Connections: accept, serve HTTP/1.1, close so that the last answer arrives, drain on stop.
//!
//! A client that is refused in the middle of its upload must see the refusal. Closing at once would
//! let the kernel answer the bytes still under way with a reset, which destroys the answer; so the
//! service closes only its writing side and reads on for a while (RFC 9112, section 9.6). Slow
//! clients meet deadlines: [`Settings::header_timeout`] here, silence in a body in [`super::form`].
//!
//! TLS and HTTP/2 are left to a reverse proxy.

use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use bytes::Bytes;
use http_body::{Frame, SizeHint};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt;

/// The address at the other end of a request's connection: an extension of the request.
#[derive(Debug, Clone, Copy)]
pub struct Peer(pub SocketAddr);

/// Cancelled once the service is to stop: an extension of the request, for answers that have no end of their own.
#[derive(Debug, Clone)]
pub struct Stopping(pub CancellationToken);

/// After an answer, how many bytes are still read from a client that keeps sending.
const LINGER_BYTES: usize = 64 * 1024 * 1024;
/// And for how long.
const LINGER_TIME: Duration = Duration::from_secs(10);
/// How long a client may take nothing of what it is sent (`TCP_USER_TIMEOUT`): then the connection is
/// cut, so that readers who do not read hold no place.
const WRITE_PATIENCE: Duration = Duration::from_secs(60);
/// Most bytes read from a connection at once.
const READ_BUFFER: usize = 64 * 1024;
/// How long accepting pauses when the system has no more descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Limits of the connections.
#[derive(Debug, Clone)]
pub struct Settings {
    /// How long a request's head may take to arrive.
    pub header_timeout: Duration,
    /// How many connections may be open at once; more wait to be accepted.
    pub max_connections: usize,
    /// How long requests in flight may go on once the service was asked to stop.
    pub drain: Duration,
}

/// Serves until `stop`, then lets what is in flight finish.
pub async fn serve(listener: TcpListener, router: Router, settings: Settings, stop: CancellationToken) {
    let places = Arc::new(Semaphore::new(settings.max_connections));
    let connections = TaskTracker::new();
    let cut = CancellationToken::new();
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            accepted = accept(&listener, &places) => accepted,
        };
        let Some((stream, peer, place)) = accepted else { continue };
        let connection =
            serve_connection(stream, peer, router.clone(), settings.header_timeout, stop.clone());
        let cut = cut.clone();
        connections.spawn(async move {
            tokio::select! {
                () = connection => {}
                () = cut.cancelled() => {}
            }
            drop(place);
        });
    }
    drop(listener);
    connections.close();
    if tokio::time::timeout(settings.drain, connections.wait()).await.is_err() {
        tracing::warn!(open = connections.len(), "connections are cut: they did not finish in time");
        cut.cancel();
        connections.wait().await;
    }
}

type Accepted = (TcpStream, SocketAddr, tokio::sync::OwnedSemaphorePermit);

async fn accept(listener: &TcpListener, places: &Arc<Semaphore>) -> Option<Accepted> {
    let place = Arc::clone(places).acquire_owned().await.ok()?;
    match listener.accept().await {
        Ok((stream, peer)) => Some((stream, peer, place)),
        Err(error) => {
            tracing::warn!(%error, "a connection could not be accepted");
            tokio::time::sleep(ACCEPT_PAUSE).await;
            None
        }
    }
}

async fn serve_connection(
    stream: TcpStream,
    peer: SocketAddr,
    router: Router,
    header_timeout: Duration,
    stop: CancellationToken,
) {
    let prepared = stream.set_nodelay(true).and_then(|()| {
        let patience = u32::try_from(WRITE_PATIENCE.as_millis()).unwrap_or(u32::MAX);
        Ok(rustix::net::sockopt::set_tcp_user_timeout(&stream, patience)?)
    });
    if let Err(error) = prepared {
        tracing::debug!(%error, "a connection was gone before it was served");
        return;
    }
    let state = Arc::new(ConnectionState::default());
    let watched = Arc::clone(&state);
    let stopping = Stopping(stop.clone());
    let service = service_fn(move |mut request: Request<Incoming>| {
        watched.used.store(true, Ordering::Relaxed);
        request.extensions_mut().insert(Peer(peer));
        request.extensions_mut().insert(stopping.clone());
        let state = Arc::clone(&watched);
        answer(router.clone(), request.map(|body| Body::new(Watched { body, ended: false, state })))
    });
    let mut connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(header_timeout)
        .max_buf_size(READ_BUFFER)
        .serve_connection(TokioIo::new(stream), service);
    let mut stopping = false;
    let served = loop {
        tokio::select! {
            served = poll_fn(|cx| connection.poll_without_shutdown(cx)) => break served,
            () = stop.cancelled(), if !stopping => {
                stopping = true;
                if !state.used.load(Ordering::Relaxed) {
                    return;
                }
                Pin::new(&mut connection).graceful_shutdown();
            }
        }
    };
    if let Err(error) = served {
        tracing::debug!(%error, "a connection ended in an error");
        if error.is_timeout() {
            // Nothing was answered, so there is nothing to wait for, and the place is wanted.
            return;
        }
    }
    let stream = connection.into_parts().io.into_inner();
    if state.cut.load(Ordering::Relaxed) {
        linger(stream).await;
    }
}

/// What is known of a connection.
#[derive(Debug, Default)]
struct ConnectionState {
    /// A request came.
    used: AtomicBool,
    /// A request was answered without its body having been read to the end.
    cut: AtomicBool,
}

/// A request's body that tells when it was not read to its end.
struct Watched {
    body: Incoming,
    ended: bool,
    state: Arc<ConnectionState>,
}

impl http_body::Body for Watched {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        if matches!(polled, Poll::Ready(None)) {
            self.ended = true;
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        if !self.ended && !http_body::Body::is_end_stream(&self.body) {
            self.state.cut.store(true, Ordering::Relaxed);
        }
    }
}

type Answer = Pin<Box<dyn Future<Output = Result<Response, Infallible>> + Send>>;

fn answer(router: Router, request: Request) -> Answer {
    Box::pin(router.oneshot(request))
}

/// Closes the writing side and reads what the client still sends, within bounds.
async fn linger(mut stream: TcpStream) {
    if stream.shutdown().await.is_err() {
        return;
    }
    let drain = async {
        let mut buffer = vec![0; 16 * 1024];
        let mut left = LINGER_BYTES;
        while left > 0 {
            match stream.read(&mut buffer).await {
                Ok(0) | Err(_) => break,
                Ok(read) => left = left.saturating_sub(read),
            }
        }
    };
    let _ = tokio::time::timeout(LINGER_TIME, drain).await;
}
