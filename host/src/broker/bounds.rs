//! What bounds an effect beside its grants, as far as the clock or the cloud must be asked: maintenance windows, and how large the
//! fleets are of which it may change a share. Leaves deciding to `opsward_core::guardrail`, and counting to the store. Tested in
//! `tests/tests/it/guardrails`.

use super::Session;
use crate::failpoint::wrong;
use opsward_core::admit::Admitted;
use opsward_core::call::{CallError, CallRequest, ErrorKind};
use opsward_core::guardrail::Fleet;
use opsward_core::guardrail::maintenance::{self, Open, WAIT_MAX};
use opsward_core::retry::refusal;
use opsward_core::run::Stop;
use serde_json::Value;

impl Session {
    /// Has the run wait for the windows of its policy and account; a refusal where they do not open within days.
    pub(super) fn closed(&self, position: u32, request: &CallRequest) -> Result<Option<CallError>, Stop> {
        let windows = &self.policy.settings.guardrails.windows;
        match maintenance::open(windows, self.broker.clock.now()) {
            _ if wrong("no-windows") => Ok(None),
            Open::Now => Ok(None),
            Open::At(at) => {
                let CallRequest { service, action, .. } = request;
                let why = format!("call {position}, {service}:{action}: waits for its maintenance window");
                Err(Stop::WaitUntil { at, why })
            }
            Open::Never => {
                let shown: Vec<String> = windows.iter().flatten().map(ToString::to_string).collect();
                let message = format!(
                    "the maintenance windows ({}) do not open together within {} days",
                    shown.join("; "),
                    WAIT_MAX.as_secs() / (24 * 3600)
                );
                Ok(Some(refusal(ErrorKind::Denied, "opsward.OutsideWindow", message)))
            }
        }
    }

    /// Whether its effects may be made at this moment.
    pub(super) fn is_open(&self) -> bool {
        let windows = &self.policy.settings.guardrails.windows;
        maintenance::open(windows, self.broker.clock.now()) == Open::Now || wrong("no-windows")
    }

    /// The fleets that the effect's resources are of, counted by a fresh read, where a share of them is bounded; a refusal
    /// where one cannot be counted.
    pub(super) async fn fleets(
        &self,
        request: &CallRequest,
        params: &Value,
        admitted: &Admitted,
    ) -> Result<Result<Vec<Fleet>, CallError>, Stop> {
        let is_bounded = self.policy.settings.guardrails.max_percent.is_some();
        if !is_bounded || admitted.resources.is_empty() {
            return Ok(Ok(Vec::new()));
        }
        let CallRequest { service, action, region, .. } = request;
        let unseen = |id: &str| {
            let message = format!(
                "`max-percent` bounds the share of a fleet, and no read counts that of `{id}`: {service}:{action} needs a \
                 policy without it"
            );
            refusal(ErrorKind::Denied, "opsward.FleetUnseen", message)
        };
        let reads = match admitted.action {
            Some(action) => action.fleet_reads(params, &admitted.resources, region),
            None => Err(admitted.resources[0].clone()),
        };
        let reads = match reads {
            Ok(reads) => reads,
            Err(id) => return Ok(Err(unseen(&id))),
        };
        let mut fleets = Vec::new();
        for read in reads {
            let kind = format!("{}:{}", read.request.service, read.request.action);
            let uncounted = |why: &str| {
                let message = format!("how many there are must be seen by {kind}, which failed: {why}");
                let refused = refusal(ErrorKind::Unavailable, "opsward.FleetUnread", message);
                CallError { retryable: true, ..refused }
            };
            let count = match self.ask(&read.request).await? {
                Ok(response) => read.count(&response.body).ok_or_else(|| uncounted("it says no number")),
                Err(error) => Err(uncounted(&error.to_string())),
            };
            match count {
                Ok(count) => {
                    fleets.push(Fleet { kind, region: region.clone(), count, named: read.named });
                }
                Err(error) => return Ok(Err(error)),
            }
        }
        Ok(Ok(fleets))
    }
}
