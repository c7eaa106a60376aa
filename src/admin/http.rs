//! `/metrics`, `/healthz` and `/readyz` over HTTP/1.1.
//!
//! Every connection takes one request and is bounded in size and time, and so is their number:
//! whoever reaches the port can neither hold memory nor slow down the relay.

use std::convert::Infallible;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;

use crate::metrics::Metrics;

/// Where the proxy is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Not accepting clients yet.
    Starting,
    /// Accepting clients.
    Accepting,
    /// Finishing what runs, accepting nobody.
    Draining,
}

/// What the endpoint answers from.
#[derive(Debug, Clone)]
pub struct HttpState {
    /// The metrics.
    pub metrics: Arc<Metrics>,
    /// The proxy's phase.
    pub phase: watch::Receiver<Phase>,
}

/// Answers until `shutdown` is done; connections still open then are cut.
pub async fn serve(listener: TcpListener, state: HttpState, shutdown: impl Future<Output = ()>) {
    let room = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let mut connections = JoinSet::new();
    tokio::pin!(shutdown);
    loop {
        // Both arms lose nothing when the other wins: a permit is given back, a connection that
        // was not accepted stays in the backlog.
        let (stream, permit) = tokio::select! {
            accepted = accept(&listener, &room) => accepted,
            () = &mut shutdown => return,
        };
        connections.spawn(connection(stream, state.clone(), permit));
        while connections.try_join_next().is_some() {}
    }
}

async fn accept(
    listener: &TcpListener,
    room: &Arc<Semaphore>,
) -> (TcpStream, Option<OwnedSemaphorePermit>) {
    // The semaphore is never closed.
    let permit = Arc::clone(room).acquire_owned().await.ok();
    loop {
        match listener.accept().await {
            Ok((stream, _)) => return (stream, permit),
            Err(error) => {
                // Out of file descriptors, mostly: at once again would spin.
                tracing::warn!(%error, "cannot accept an HTTP connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn connection(stream: TcpStream, state: HttpState, _permit: Option<OwnedSemaphorePermit>) {
    let service = service_fn(move |request| answer(request, state.clone()));
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIME)
        .max_buf_size(MAX_HEADER)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service);
    match tokio::time::timeout(CONNECTION_TIME, serving).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, "HTTP connection failed"),
        Err(_) => tracing::debug!("HTTP connection took too long"),
    }
}

async fn answer(
    request: Request<Incoming>,
    state: HttpState,
) -> Result<Response<Full<Bytes>>, Infallible> {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let mut refusal = plain(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD\n");
        refusal.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return Ok(refusal);
    }
    Ok(match request.uri().path() {
        "/metrics" => metrics(state.metrics).await,
        "/healthz" => plain(StatusCode::OK, "alive\n"),
        "/readyz" => readiness(*state.phase.borrow()),
        _ => plain(StatusCode::NOT_FOUND, "/metrics, /healthz, /readyz\n"),
    })
}

/// Rendered off the workers, which have clients to serve.
async fn metrics(metrics: Arc<Metrics>) -> Response<Full<Bytes>> {
    match tokio::task::spawn_blocking(move || metrics.render()).await {
        Ok(text) => response(StatusCode::OK, PROMETHEUS_TEXT, text.into()),
        Err(error) => {
            tracing::error!(%error, "cannot render the metrics");
            plain(StatusCode::INTERNAL_SERVER_ERROR, "cannot render the metrics\n")
        }
    }
}

fn readiness(phase: Phase) -> Response<Full<Bytes>> {
    match phase {
        Phase::Starting => plain(StatusCode::SERVICE_UNAVAILABLE, "starting\n"),
        Phase::Accepting => plain(StatusCode::OK, "ready\n"),
        Phase::Draining => plain(StatusCode::SERVICE_UNAVAILABLE, "draining\n"),
    }
}

fn plain(status: StatusCode, text: &'static str) -> Response<Full<Bytes>> {
    response(status, "text/plain; charset=utf-8", Bytes::from_static(text.as_bytes()))
}

fn response(status: StatusCode, kind: &'static str, body: Bytes) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

/// Prometheus' text exposition format.
const PROMETHEUS_TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Connections at once; more wait in the backlog.
const MAX_CONNECTIONS: usize = 16;

/// Bytes of a request's head; hyper takes no less.
const MAX_HEADER: usize = 8192;

/// How long a request's head may take.
const HEADER_TIME: Duration = Duration::from_secs(5);

/// How long a connection may take altogether, reading the answer included.
const CONNECTION_TIME: Duration = Duration::from_secs(15);

/// Pause after a failed accept.
const ACCEPT_PAUSE: Duration = Duration::from_millis(500);

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    async fn endpoint() -> (SocketAddr, watch::Sender<Phase>, Arc<Metrics>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (phase, receiver) = watch::channel(Phase::Starting);
        let metrics = Arc::new(Metrics::new());
        let state = HttpState { metrics: Arc::clone(&metrics), phase: receiver };
        tokio::spawn(serve(listener, state, std::future::pending()));
        (address, phase, metrics)
    }

    async fn ask(address: SocketAddr, request: &[u8]) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(request).await.unwrap();
        let mut answer = Vec::new();
        // A reset is an end as well: what was refused is not read to its end.
        let _ = stream.read_to_end(&mut answer).await;
        String::from_utf8(answer).unwrap()
    }

    async fn get(address: SocketAddr, path: &str) -> String {
        ask(address, format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes()).await
    }

    #[tokio::test]
    async fn ready_only_while_accepting() {
        let (address, phase, _metrics) = endpoint().await;
        for (now, expected) in
            [(Phase::Starting, "503"), (Phase::Accepting, "200"), (Phase::Draining, "503")]
        {
            phase.send_replace(now);
            assert!(get(address, "/readyz").await.starts_with(&format!("HTTP/1.1 {expected} ")));
            assert!(get(address, "/healthz").await.starts_with("HTTP/1.1 200 "));
        }
    }

    #[tokio::test]
    async fn metrics_are_served_as_text() {
        let (address, _phase, metrics) = endpoint().await;
        metrics.pool("shop", "app").tally.queries.increment(3);
        let answer = get(address, "/metrics?x=1").await;
        assert!(answer.contains("content-type: text/plain; version=0.0.4"));
        assert!(answer.contains("pgweir_queries_total{database=\"shop\",user=\"app\"} 3"));
    }

    #[tokio::test]
    async fn anything_else_is_refused() {
        let (address, _phase, _metrics) = endpoint().await;
        let long = format!("GET /healthz HTTP/1.1\r\nX: {}\r\n\r\n", "y".repeat(2 * MAX_HEADER));
        for (request, expected) in [
            ("GET /secrets HTTP/1.1\r\n\r\n", "404"),
            ("POST /metrics HTTP/1.1\r\nContent-Length: 0\r\n\r\n", "405"),
            (&long, "431"),
            ("\0\0\0\x08\x04\x02\x16\x2f", "400"),
        ] {
            let answer = ask(address, request.as_bytes()).await;
            assert!(answer.starts_with(&format!("HTTP/1.1 {expected} ")), "{expected}: {answer}");
        }
    }

    #[tokio::test]
    async fn connections_past_the_bound_wait_for_room() {
        let (address, _phase, _metrics) = endpoint().await;
        let mut stalled = Vec::new();
        for _ in 0..MAX_CONNECTIONS {
            stalled.push(TcpStream::connect(address).await.unwrap());
        }
        let mut late = tokio::spawn(async move { get(address, "/healthz").await });
        assert!(tokio::time::timeout(Duration::from_millis(100), &mut late).await.is_err());
        drop(stalled);
        assert!(late.await.unwrap().starts_with("HTTP/1.1 200 "));
    }
}
