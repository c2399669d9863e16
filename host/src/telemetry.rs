//! Logs and metrics: text on a terminal, one JSON object a line otherwise; Prometheus text for the admin listener. Leaves
//! what is logged and counted to the places where it happens.

use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use std::io::IsTerminal as _;
use tracing_subscriber::EnvFilter;

/// What is logged where `OPSWARD_LOG` does not say: our own state changes, others' warnings.
const DEFAULT_FILTER: &str = "warn,opsward=info,opsward_sim=info";

/// Starts logging to standard error. `OPSWARD_LOG` takes `tracing` filter directives, such as `opsward=debug`.
pub fn start_logging() {
    let filter = EnvFilter::try_from_env("OPSWARD_LOG").unwrap_or_else(|_| EnvFilter::new(DEFAULT_FILTER));
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    if std::io::stderr().is_terminal() {
        lines.with_target(false).init();
    } else {
        lines.json().flatten_event(true).init();
    }
}

/// Installs the recorder behind the `metrics` macros.
pub fn start_metrics() -> Result<PrometheusHandle, metrics_exporter_prometheus::BuildError> {
    let handle = PrometheusBuilder::new().install_recorder()?;
    metrics::describe_counter!("opsward_events_total", "Events by source and result");
    metrics::describe_counter!("opsward_runs_total", "Claims of runs that ended, by result");
    metrics::describe_counter!("opsward_run_faults_total", "Tries of runs that the sandbox ended");
    metrics::describe_counter!("opsward_runner_deaths_total", "Deaths of the process that runs plugins");
    metrics::describe_counter!(
        "opsward_cloud_calls_total",
        "Cloud calls sent, by account, action and verdict"
    );
    metrics::describe_counter!(
        "opsward_schedule_decisions_total",
        "Decisions on schedules, by policy and decision"
    );
    metrics::describe_counter!(
        "opsward_store_deleted_total",
        "Events, runs and decisions on schedules deleted because they were kept long enough"
    );
    Ok(handle)
}
