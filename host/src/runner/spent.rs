//! What a run has had of the host so far, counted in the keeper. The runner counts as well, and ends its guests in time: one
//! that goes over was not ended, so that its runner is not what it was. Pure. Tested below.

use super::Lost;
use super::message::GuestEnd;
use crate::plugin::engine::Limits;
use crate::plugin::imports::{LOG_LINE_BYTES_MAX, LOG_LINE_OVERHEAD_BYTES};
use opsward_core::call::CallRequest;
use opsward_core::run::{HostRequest, StateOp};

pub(super) struct Spent {
    calls_left: u32,
    log_bytes_left: usize,
    transfer_bytes: usize,
}

impl Spent {
    /// Nothing yet.
    pub(super) fn new(limits: &Limits) -> Self {
        // The runner's last line says that all later ones are dropped.
        let last_line = LOG_LINE_BYTES_MAX + LOG_LINE_OVERHEAD_BYTES;
        Self {
            calls_left: limits.calls,
            log_bytes_left: limits.log_bytes + last_line,
            transfer_bytes: limits.transfer_bytes,
        }
    }

    /// Takes a host call from what is left.
    pub(super) fn charge(&mut self, request: &HostRequest) -> Result<(), Lost> {
        let over = |what: &str| Lost::Condemned(format!("a guest was let go over its {what}"));
        if bytes_of(request) > self.transfer_bytes {
            return Err(over("bytes in one call"));
        }
        if let HostRequest::Log { message, .. } = request {
            let left = self.log_bytes_left.checked_sub(message.len() + LOG_LINE_OVERHEAD_BYTES);
            self.log_bytes_left = left.ok_or_else(|| over("log"))?;
            return Ok(());
        }
        let calls = match request {
            HostRequest::CallAll { requests, .. } => requests.len().max(1),
            _ => 1,
        };
        let left = u32::try_from(calls).ok().and_then(|calls| self.calls_left.checked_sub(calls));
        self.calls_left = left.ok_or_else(|| over("calls"))?;
        Ok(())
    }

    /// Whether an end is one that a guest can bring about.
    pub(super) fn check_end(&self, ended: &GuestEnd) -> Result<(), Lost> {
        let bytes = match ended {
            GuestEnd::Done(outcome) => outcome.summary.len() + outcome.details.len(),
            GuestEnd::Failed(failure) => failure.code.len() + failure.message.len() + failure.details.len(),
            GuestEnd::Faulted(fault) => fault.message.len(),
            GuestEnd::Stopped => 0,
        };
        if bytes > self.transfer_bytes {
            return Err(Lost::Condemned("a guest was let go over its bytes in one call".to_owned()));
        }
        Ok(())
    }
}

fn bytes_of(request: &HostRequest) -> usize {
    let of_call = |call: &CallRequest| {
        let CallRequest { service, action, region, params, once } = call;
        let once = once.as_ref().map_or(0, String::len);
        service.len() + action.len() + region.len() + params.len() + once
    };
    match request {
        HostRequest::Call(call) => of_call(call),
        HostRequest::CallAll { requests, .. } => requests.iter().map(of_call).sum(),
        HostRequest::Sleep { .. } => 0,
        HostRequest::State(StateOp::Get { key } | StateOp::Delete { key }) => key.len(),
        HostRequest::State(StateOp::Set { key, value } | StateOp::CompareAndSet { key, value, .. }) => {
            key.len() + value.len()
        }
        HostRequest::Log { message, .. } => message.len(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use opsward_core::run::{LogLevel, Outcome};

    #[test]
    fn a_guest_that_goes_over_a_budget_condemns_its_runner() {
        let limits = Limits { calls: 3, log_bytes: 1000, transfer_bytes: 20_000, ..Limits::default() };
        let call = |bytes| CallRequest {
            service: "ecs".into(),
            action: "A".into(),
            region: String::new(),
            params: "x".repeat(bytes),
            once: None,
        };
        let log = |bytes| HostRequest::Log { level: LogLevel::Info, message: "x".repeat(bytes) };
        let all = |n| HostRequest::CallAll { requests: vec![call(1); n], max_concurrency: 1 };
        for (requests, taken) in [
            (vec![HostRequest::Call(call(1)); 4], 3),
            (vec![all(0), all(2), HostRequest::Sleep { ms: 1 }], 2),
            (vec![all(4)], 0),
            (vec![log(936), log(8192), log(0)], 2),
            (vec![HostRequest::Call(call(19_996)), HostRequest::Call(call(20_000))], 1),
            (vec![HostRequest::State(StateOp::Set { key: "k".into(), value: vec![0; 20_000] })], 0),
        ] {
            let mut spent = Spent::new(&limits);
            let counted = requests.iter().take_while(|request| spent.charge(request).is_ok()).count();
            assert_eq!(counted, taken, "{:.80}", format!("{requests:?}"));
        }
        let end = |bytes| GuestEnd::Done(Outcome { summary: "x".repeat(bytes), details: String::new() });
        assert!(Spent::new(&limits).check_end(&end(20_000)).is_ok());
        assert!(Spent::new(&limits).check_end(&end(20_001)).is_err());
    }
}
