//! Logs and metrics.
//!
//! Logs go to standard error: one line an event, a message that can be read alone, fields for
//! searching. Keys, prompts, bodies and file names are never logged. Metrics are Prometheus text on
//! a listener of their own.

use std::sync::Arc;
use std::time::Instant;

use axum::extract::{MatchedPath, Request, State};
use axum::http::{Method, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;
use tracing_subscriber::EnvFilter;

/// Starts logging. A filter that cannot be read is an error.
pub fn start_logging(filter: &str) -> anyhow::Result<()> {
    use std::io::IsTerminal;
    let filter = EnvFilter::try_new(filter)
        .map_err(|e| anyhow::anyhow!("`log = \"{filter}\"` is no filter ({e}); `info` is one"))?;
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false)
        // A log that cannot be written must not break what it tells of.
        .log_internal_errors(false)
        .init();
    Ok(())
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    method: &'static str,
    route: String,
    status: u16,
}

/// What the service counts of its requests, and the registry of everything counted.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    requests: Family<RequestLabels, Counter>,
    duration: Histogram,
    in_flight: Gauge,
}

impl Metrics {
    /// An empty registry with the metrics of requests; `register` adds those of the rooms.
    pub fn new(register: impl FnOnce(&mut Registry)) -> Arc<Self> {
        let mut registry = Registry::with_prefix("satchel");
        let requests = Family::default();
        let duration = Histogram::new(exponential_buckets(0.0005, 4.0, 10));
        let in_flight = Gauge::default();
        registry.register("http_requests", "Requests answered", requests.clone());
        registry.register(
            "http_request_duration_seconds",
            "Seconds from a request's head to its answer's head",
            duration.clone(),
        );
        registry.register("http_requests_in_flight", "Requests not yet answered", in_flight.clone());
        register(&mut registry);
        Arc::new(Self { registry, requests, duration, in_flight })
    }

    /// Router of the metrics listener: `/metrics`.
    pub fn router(self: &Arc<Self>) -> axum::Router {
        axum::Router::new().route("/metrics", get(text)).with_state(Arc::clone(self))
    }
}

async fn text(State(metrics): State<Arc<Metrics>>) -> Response {
    let mut body = String::new();
    match encode(&mut body, &metrics.registry) {
        Ok(()) => {
            let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
            ([(header::CONTENT_TYPE, kind)], body).into_response()
        }
        Err(_) => axum::http::StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

/// Counts and logs each request, under its route and not its path: paths hold file names.
pub async fn observe(State(metrics): State<Arc<Metrics>>, request: Request, next: Next) -> Response {
    let method = method_label(request.method());
    let route = request.extensions().get::<MatchedPath>().map_or("none", MatchedPath::as_str).to_owned();
    let begun = Instant::now();
    let flight = InFlight::new(metrics.in_flight.clone());
    let response = next.run(request).await;
    drop(flight);
    let (status, took) = (response.status().as_u16(), begun.elapsed());
    metrics.duration.observe(took.as_secs_f64());
    tracing::debug!(method, route, status, duration_ms = took.as_secs_f64() * 1000.0, "request answered");
    metrics.requests.get_or_create(&RequestLabels { method, route, status }).inc();
    response
}

/// A method's name; one for all that clients make up, since every label stays in memory.
fn method_label(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        _ => "other",
    }
}

/// Counts down even where the request is dropped half-way.
struct InFlight(Gauge);

impl InFlight {
    fn new(gauge: Gauge) -> Self {
        gauge.inc();
        Self(gauge)
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.dec();
    }
}
