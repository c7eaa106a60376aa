//! `/metrics`, `/healthz` and `/readyz` over HTTP/1.1, and the console for those who have the token.
//!
//! Every connection takes one request and is bounded in size and time, and so is their number:
//! whoever reaches the port can neither hold memory nor slow down the relay.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
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
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};

use super::remote::{self, Remote};
use crate::clock::Instant;
use crate::metrics::Metrics;

/// Where the proxy is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Not accepting clients yet.
    Starting,
    /// Accepting clients.
    Accepting,
    /// Accepting clients still, which are to be sent elsewhere.
    Leaving,
    /// Finishing what runs, accepting nobody.
    Draining,
}

impl Phase {
    /// It has been told to end.
    pub fn has_left(self) -> bool {
        matches!(self, Self::Leaving | Self::Draining)
    }
}

/// What the endpoint answers from.
#[derive(Debug, Clone)]
pub struct HttpState {
    /// The metrics.
    pub metrics: Arc<Metrics>,
    /// Brings those up to date that are counted only when they are looked at.
    pub count: Count,
    /// The proxy's phase.
    pub phase: watch::Receiver<Phase>,
    /// What changes go by.
    pub remote: Remote,
}

/// See [`HttpState::count`].
#[derive(Clone)]
pub struct Count(pub Arc<dyn Fn() + Send + Sync>);

impl std::fmt::Debug for Count {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Count")
    }
}

/// Answers until `shutdown` is done; connections still open then are cut.
pub async fn serve(listener: TcpListener, state: HttpState, shutdown: impl Future<Output = ()>) {
    let mut guests = Guests::default();
    tokio::pin!(shutdown);
    loop {
        // Nothing is lost by the arm that does not win: a connection that was not accepted stays in
        // the backlog.
        let stream = tokio::select! {
            stream = accept(&listener) => stream,
            () = &mut shutdown => return,
        };
        tokio::select! {
            () = guests.make_room() => {}
            () = &mut shutdown => return,
        }
        guests.serve(stream, state.clone());
    }
}

async fn accept(listener: &TcpListener) -> TcpStream {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => return stream,
            Err(error) => {
                // Out of file descriptors, mostly: at once again would spin.
                tracing::warn!(%error, "cannot accept an HTTP connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// The connections of the moment.
#[derive(Default)]
struct Guests {
    tasks: JoinSet<()>,
    /// Oldest first.
    there: VecDeque<Guest>,
}

struct Guest {
    task: AbortHandle,
    since: Instant,
    /// Its request has been read.
    heard: Arc<AtomicBool>,
}

impl Guests {
    /// Waits until there is room for one more. Who has been there longest without a whole request
    /// gives way, or else who has been there for too long with one: a few connections that say nothing, or do not
    /// read, would shut out those who look after health.
    async fn make_room(&mut self) {
        loop {
            while self.tasks.try_join_next().is_some() {}
            self.there.retain(|guest| !guest.task.is_finished());
            if self.tasks.len() < MAX_CONNECTIONS {
                return;
            }
            let slow = self.there.front().map_or_else(Instant::now, |oldest| oldest.since + GRACE);
            if let Some(guest) = self.who_gives_way(Instant::now()) {
                guest.task.abort();
                self.tasks.join_next().await;
            } else {
                // Either is looked at above.
                let _ = tokio::time::timeout_at(slow.into(), self.tasks.join_next()).await;
            }
        }
    }

    fn who_gives_way(&mut self, now: Instant) -> Option<Guest> {
        let unheard = self.there.iter().position(|guest| !guest.heard.load(Ordering::Relaxed));
        let is_slow = |guest: &Guest| now.saturating_duration_since(guest.since) >= GRACE;
        let at = unheard.or_else(|| self.there.iter().position(is_slow))?;
        self.there.remove(at)
    }

    fn serve(&mut self, stream: TcpStream, state: HttpState) {
        let heard = Arc::<AtomicBool>::default();
        let task = self.tasks.spawn(connection(stream, state, Arc::clone(&heard)));
        self.there.push_back(Guest { task, since: Instant::now(), heard });
    }
}

async fn connection(stream: TcpStream, state: HttpState, heard: Arc<AtomicBool>) {
    let service = service_fn(move |request| {
        heard.store(true, Ordering::Relaxed);
        answer(request, state.clone())
    });
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
    let changes = remote::PATHS.contains(&request.uri().path());
    let allowed = if changes { "POST" } else { "GET, HEAD" };
    let is_allowed = match *request.method() {
        Method::GET | Method::HEAD => !changes,
        Method::POST => changes || !is_page(request.uri().path()),
        _ => false,
    };
    if !is_allowed {
        let mut refusal = plain(StatusCode::METHOD_NOT_ALLOWED, "another method is needed\n");
        refusal.headers_mut().insert(ALLOW, HeaderValue::from_static(allowed));
        return Ok(refusal);
    }
    if changes {
        let (status, body) = remote::answer(request, state.remote).await;
        return Ok(response(status, "application/json", body));
    }
    if request.uri().path().starts_with(remote::TABLES) {
        let (status, body) = remote::show(request, state.remote).await;
        return Ok(response(status, "application/json", body));
    }
    Ok(match request.uri().path() {
        "/metrics" => metrics(state.metrics, state.count).await,
        "/healthz" => plain(StatusCode::OK, "alive\n"),
        "/readyz" => readiness(*state.phase.borrow()),
        _ => plain(
            StatusCode::NOT_FOUND,
            "/metrics, /healthz, /readyz, /show/pools; \
             POST /limits, /resize, /warm, /pause, /resume, /reconnect, /kill, /reload\n",
        ),
    })
}

/// Whether it can be read.
fn is_page(path: &str) -> bool {
    ["/metrics", "/healthz", "/readyz"].contains(&path) || path.starts_with(remote::TABLES)
}

/// Rendered off the workers, which have clients to serve.
async fn metrics(metrics: Arc<Metrics>, count: Count) -> Response<Full<Bytes>> {
    let rendered = tokio::task::spawn_blocking(move || {
        (count.0)();
        metrics.render()
    });
    match rendered.await {
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
        Phase::Leaving => plain(StatusCode::SERVICE_UNAVAILABLE, "leaving\n"),
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

/// Connections at once; for more, the oldest without a whole request gives way, or else the oldest that is slow.
const MAX_CONNECTIONS: usize = 16;

/// Bytes of a request's head; hyper takes no less.
const MAX_HEADER: usize = 8192;

/// How long a request's head may take.
const HEADER_TIME: Duration = Duration::from_secs(5);

/// How long a connection may take altogether, reading the answer included.
const CONNECTION_TIME: Duration = Duration::from_secs(15);

/// How long a connection may take while others wait for its place: answers that are read are read much sooner.
const GRACE: Duration = Duration::from_secs(1);

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
        let config = Arc::new(arc_swap::ArcSwap::from_pointee(config()));
        let remote =
            Remote { config, change: Arc::new(|_| Ok(())), rows: Arc::new(|_| Vec::new()) };
        let (metrics_there, count) = (Arc::clone(&metrics), Count(Arc::new(|| ())));
        let state = HttpState { metrics: metrics_there, count, phase: receiver, remote };
        tokio::spawn(serve(listener, state, std::future::pending()));
        (address, phase, metrics)
    }

    fn config() -> crate::config::Config {
        let source = crate::config::Source::of_text("[databases.app]\nhost = 'db'\n");
        source.load().expect("a configuration").config
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
        for (now, expected) in [
            (Phase::Starting, "503"),
            (Phase::Accepting, "200"),
            (Phase::Leaving, "503"),
            (Phase::Draining, "503"),
        ] {
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
    async fn half_sent_requests_give_way_to_whole_ones() {
        let (address, _phase, _metrics) = endpoint().await;
        let mut stalled = Vec::new();
        for _ in 0..10 * MAX_CONNECTIONS {
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.write_all(b"GET /healthz HT").await.unwrap();
            stalled.push(stream);
        }
        // Waiting for each of them to run out of its time would take far longer.
        let within = 4 * HEADER_TIME;
        let answer = tokio::time::timeout(within, get(address, "/healthz")).await;
        assert!(answer.unwrap().starts_with("HTTP/1.1 200 "));
        let mut oldest = stalled.swap_remove(0);
        assert!(!matches!(oldest.read(&mut [0; 1]).await, Ok(1..)), "the oldest was heard");
    }

    #[tokio::test]
    async fn connections_past_the_bound_give_way_in_the_order_of_their_age() {
        let mut guests = Guests::default();
        let mut never = Vec::new();
        for number in 0..MAX_CONNECTIONS {
            let heard = Arc::new(AtomicBool::new(number == 0));
            let task = guests.tasks.spawn(std::future::pending());
            never.push(task.clone());
            guests.there.push_back(Guest { task, since: Instant::now(), heard });
        }
        guests.make_room().await;
        let ended =
            |never: &[AbortHandle]| never.iter().map(AbortHandle::is_finished).collect::<Vec<_>>();
        // The first has asked, and has its answer.
        assert_eq!(ended(&never)[..3], [false, true, false]);
        guests.make_room().await;
        assert_eq!(guests.tasks.len(), MAX_CONNECTIONS - 1);
    }

    #[tokio::test]
    async fn who_is_slow_to_take_an_answer_gives_way_too() {
        let mut guests = Guests::default();
        let now = Instant::now();
        for number in 0..MAX_CONNECTIONS {
            let since = if number == 3 { now - GRACE } else { now };
            let task = guests.tasks.spawn(std::future::pending());
            guests.there.push_back(Guest { task, since, heard: Arc::new(true.into()) });
        }
        let slow = guests.there[3].task.clone();
        guests.make_room().await;
        assert!(slow.is_finished(), "it has had its time");
        assert_eq!(guests.tasks.len(), MAX_CONNECTIONS - 1);
        // All of the others have theirs.
        guests.tasks.spawn(std::future::pending());
        let first = guests.there[0].task.clone();
        guests.make_room().await;
        assert!(first.is_finished(), "it was waited for");
    }
}
