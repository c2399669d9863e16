//! How much is worked on at a time: by a source, by the host, and in bytes of bodies. Who finds no room waits a little, in turn, and is
//! then asked to come again: a burst of a cloud's notifications passes, a flood does not, and what one source fills is not another's, nor what
//! strangers fill that of who can prove what it sends.
//! Room is given back when an event is on disk, so that what waits to be written is bounded as well. Tested in `tests`.

use super::refusal::Refusal;
use super::{HookLimits, HookSource};
use opsward_core::event::BODY_BYTES_MAX;
use opsward_core::sender::addresses::network_of;
use opsward_core::sender::{AddressRates, Proof, Rate};
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};

/// What a permit for bodies stands for, in bytes: a semaphore counts no further than 2^29.
const BYTES_UNIT: usize = 1024;

/// The host's room for deliveries.
pub(super) struct Room {
    requests: Arc<Semaphore>,
    bytes: Arc<Semaphore>,
    limits: HookLimits,
    began: Instant,
}

/// One source's share.
pub(super) struct Share {
    requests: Arc<Semaphore>,
    rate: Mutex<Rate>,
    /// Of what is not proved yet; none where nothing is to be proved.
    unproved: Option<Unproved>,
}

struct Unproved {
    rates: Mutex<AddressRates>,
    /// What is under way from an address; of those without any nothing is kept.
    places: Mutex<HashMap<IpAddr, Weak<Semaphore>>>,
}

/// A delivery's place; dropping it gives it back.
pub(super) struct Place {
    _permits: [OwnedSemaphorePermit; 3],
}

impl Room {
    pub(super) fn new(limits: HookLimits) -> Self {
        Self {
            requests: Arc::new(Semaphore::new(limits.requests_max)),
            bytes: Arc::new(Semaphore::new(limits.body_bytes_max / BYTES_UNIT)),
            limits,
            began: Instant::now(),
        }
    }

    pub(super) fn share(&self, source: &HookSource) -> Share {
        let unproved = match source.proof {
            Proof::None => None,
            _ => {
                Some(Unproved { rates: Mutex::new(AddressRates::new(source.rate)), places: Mutex::default() })
            }
        };
        let requests = Arc::new(Semaphore::new(self.limits.source_requests_max));
        Share { requests, rate: Mutex::new(Rate::new(source.rate)), unproved }
    }

    /// Takes a turn of `from` where the source asks for a proof, which costs to be checked: what strangers send must not take the turns
    /// of who can prove it. Elsewhere the token was all that is asked for.
    pub(super) fn turn_before_proof(&self, share: &Share, from: IpAddr) -> Result<(), Refusal> {
        let Some(unproved) = &share.unproved else { return self.turn(share) };
        let mut rates = unproved.rates.lock().unwrap_or_else(PoisonError::into_inner);
        rates.take(from, self.began.elapsed()).map_err(Refusal::TooFast)
    }

    /// A place of `from` until the proof, where the source asks for one: strangers with slow bodies must not have all of the source's.
    pub(super) async fn place_before_proof(
        &self,
        share: &Share,
        from: IpAddr,
    ) -> Result<Option<OwnedSemaphorePermit>, Refusal> {
        let Some(unproved) = &share.unproved else { return Ok(None) };
        let of_address = unproved.places_of(from, self.limits.unproved_per_address);
        let until = Instant::now() + self.limits.turn_timeout;
        permit(&of_address, 1, until).await.map(Some).ok_or(Refusal::TooMany)
    }

    /// Takes a turn of the source's rate where that was not done before the proof.
    pub(super) fn turn_of_proved(&self, share: &Share) -> Result<(), Refusal> {
        share.unproved.as_ref().map_or(Ok(()), |_| self.turn(share))
    }

    fn turn(&self, share: &Share) -> Result<(), Refusal> {
        let mut rate = share.rate.lock().unwrap_or_else(PoisonError::into_inner);
        rate.take(self.began.elapsed()).map_err(Refusal::TooFast)
    }

    /// A place for a delivery whose body is announced to have so many bytes; for the longest where that is not said.
    pub(super) async fn place(&self, share: &Share, announced: Option<usize>) -> Result<Place, Refusal> {
        let until = Instant::now() + self.limits.turn_timeout;
        let bytes = announced.unwrap_or(BODY_BYTES_MAX).min(BODY_BYTES_MAX);
        let units = u32::try_from(bytes.div_ceil(BYTES_UNIT)).unwrap_or(u32::MAX);
        // The source's own bound first: whoever waits for it takes nothing of the others.
        let of_source = permit(&share.requests, 1, until).await.ok_or(Refusal::TooMany)?;
        let of_host = permit(&self.requests, 1, until).await.ok_or(Refusal::Busy)?;
        let of_bytes = permit(&self.bytes, units, until).await.ok_or(Refusal::Busy)?;
        Ok(Place { _permits: [of_source, of_host, of_bytes] })
    }
}

impl Unproved {
    fn places_of(&self, from: IpAddr, most: usize) -> Arc<Semaphore> {
        let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        let from = network_of(from);
        if let Some(of_address) = places.get(&from).and_then(Weak::upgrade) {
            return of_address;
        }
        places.retain(|_, of_address| of_address.strong_count() > 0);
        let of_address = Arc::new(Semaphore::new(most));
        places.insert(from, Arc::downgrade(&of_address));
        of_address
    }
}

/// Permits that are there at once, or in turn until then.
async fn permit(of: &Arc<Semaphore>, count: u32, until: Instant) -> Option<OwnedSemaphorePermit> {
    if let Ok(permit) = of.clone().try_acquire_many_owned(count) {
        return Some(permit);
    }
    timeout_at(until, of.clone().acquire_many_owned(count)).await.ok()?.ok()
}
