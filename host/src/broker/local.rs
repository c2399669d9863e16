//! What a guest asks of this host alone: to sleep, and for its policy's state. Leaves cloud calls to `broker`.

use super::{Session, stop};
use opsward_core::run::{Entry, HostReply, Next, Record, StateOp, Stop};
use std::time::Duration;

impl Session {
    /// After a simulated effect the guest waits for what is shown already: its time moves on, and nobody waits.
    pub(super) fn sleep(&mut self, ms: u64) -> Result<HostReply, Stop> {
        let now = self.broker.clock.now();
        match self.replay.sleep(ms) {
            Next::Recorded(until) if until <= now || self.simulation.has_shown() => Ok(HostReply::Unit),
            Next::Live(_) if self.looks_ahead() => {
                self.replay.advance(self.replay.now() + Duration::from_millis(ms));
                Ok(HostReply::Unit)
            }
            Next::Live(position) if self.simulation.has_shown() => {
                let until = now.max(self.replay.now()) + Duration::from_millis(ms);
                self.append_later(Entry::Slept { position, ms, until })?;
                self.replay.advance(until);
                Ok(HostReply::Unit)
            }
            Next::Recorded(until) => Err(Stop::SleepUntil(until)),
            Next::Live(position) => {
                let until = now + Duration::from_millis(ms);
                self.last_records.push(Record::new(now, Entry::Slept { position, ms, until }));
                Err(Stop::SleepUntil(until))
            }
            Next::Diverged(message) => Err(Stop::Diverged { message }),
            Next::Open(position, _) | Next::Made(position, _) => {
                Err(Stop::Diverged { message: format!("call {position} was an effect, not a sleep") })
            }
        }
    }

    pub(super) async fn state(&mut self, op: StateOp) -> Result<HostReply, Stop> {
        match self.replay.state(&op) {
            Next::Recorded(reply) => Ok(HostReply::State(reply)),
            Next::Live(_) if self.looks_ahead() => self.state_ahead(op).await,
            Next::Live(position) => {
                let at = self.broker.clock.now();
                let store = &self.broker.store;
                let reply = store.state(&self.claim, &self.policy.settings.name, position, op, at).await;
                self.replay.advance(at);
                reply.map(HostReply::State).map_err(stop)
            }
            Next::Diverged(message) => Err(Stop::Diverged { message }),
            Next::Open(position, _) | Next::Made(position, _) => {
                Err(Stop::Diverged { message: format!("call {position} was an effect, not a state access") })
            }
        }
    }
}
