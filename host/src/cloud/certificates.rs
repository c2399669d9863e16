//! Certificates of senders that sign: fetched from the place that `opsward_core::sender` has judged, kept for a while, and renewed while
//! the old one serves; one fetch at a time of each, so that one that is slow holds no other. Never follows a redirect, so that nobody but the place itself says what the certificate is. Leaves what is done with the key
//! to its caller. Tested below and in `tests/tests/it/senders.rs`.

use super::egress::Clients;
use crate::clock::Clock;
use opsward_core::egress::Reach;
use opsward_core::sender::Certificate;
use opsward_core::sign::rsa_public_key::RsaPublicKey;
use opsward_core::time::Timestamp;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;
use tokio::sync::Semaphore;

/// How long a certificate is used before the next event has it looked at again: a key that was taken back serves until that was done.
const FRESH: Duration = Duration::from_secs(3600);
/// How long it is used where it cannot be looked at again: a day without the vendor's store loses no event.
const USABLE: Duration = Duration::from_secs(24 * 3600);
/// How long nobody asks again for one that could not be had.
const FAILED_PAUSE: Duration = Duration::from_secs(10);
/// How long a fetch may take, and the wait for the turn to fetch as well: senders give up after 5 s.
const FETCH_TIMEOUT: Duration = Duration::from_secs(4);
/// Certificates fetched at a time: more than there are regions that a host has sources in. Whoever knows a source's path may name ones that
/// do not exist, which takes the vendor's place milliseconds to say.
const FLIGHTS_MAX: usize = 32;
/// Longest certificate, in bytes: one with 4096 bits has 2,000.
const CERTIFICATE_BYTES_MAX: usize = 16 << 10;
/// Certificates kept: one for each source, and the old one of each while the vendor changes it.
const KEPT_MAX: usize = 64;

/// Fetches and keeps certificates.
pub struct Certificates {
    clients: Clients,
    clock: Arc<dyn Clock>,
    kept: Mutex<HashMap<String, Kept>>,
    /// Held while the certificate of a URL is fetched; one that nobody holds or waits for is gone.
    flights: Mutex<HashMap<String, Weak<Flight>>>,
    slots: Semaphore,
}

type Flight = tokio::sync::Mutex<()>;

struct Kept {
    key: Option<Arc<RsaPublicKey>>,
    /// Of the key; of the failure where there is none.
    at: Timestamp,
    /// When a later fetch failed.
    failed: Option<Timestamp>,
}

impl Kept {
    fn just_failed(&self, now: Timestamp) -> bool {
        self.failed.is_some_and(|at| now.since(at) < FAILED_PAUSE)
    }
}

/// Why there is no key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CertificateError {
    /// Too many are being fetched, this one takes long, or it just could not be had.
    #[error("the sender's certificate cannot be had now")]
    NotNow,
    /// The place does not answer, or with something else.
    #[error("the sender's certificate cannot be fetched from {url}: {why}")]
    Unreachable {
        /// From where.
        url: String,
        /// What happened.
        why: String,
    },
}

impl Certificates {
    /// Fetches from hosts of these reaches.
    ///
    /// # Errors
    /// Where TLS cannot be set up.
    pub fn new(reaches: impl IntoIterator<Item = Reach>, clock: Arc<dyn Clock>) -> reqwest::Result<Self> {
        super::install_tls();
        let clients = Clients::new(reaches)?;
        let slots = Semaphore::new(FLIGHTS_MAX);
        Ok(Self { clients, clock, kept: Mutex::default(), flights: Mutex::default(), slots })
    }

    /// The key of this certificate.
    ///
    /// # Errors
    /// Where it cannot be had now: the sender is to try again.
    pub async fn key(
        self: &Arc<Self>,
        certificate: &Certificate,
    ) -> Result<Arc<RsaPublicKey>, CertificateError> {
        let flight = self.flight(&certificate.url);
        if let Some(known) = self.known(&certificate.url) {
            self.renew_aside(flight, certificate);
            return known;
        }
        let turn = async { (flight.lock().await, self.slots.acquire().await) };
        let turn = tokio::time::timeout(FETCH_TIMEOUT, turn);
        let _turn = turn.await.map_err(|_| CertificateError::NotNow)?;
        // Whoever had the turn before may have fetched it.
        match self.known(&certificate.url) {
            Some(known) => known,
            None => self.fetched(certificate).await,
        }
    }

    /// Has one that is due fetched while the old one serves, unless somebody does so already.
    fn renew_aside(self: &Arc<Self>, flight: Arc<Flight>, certificate: &Certificate) {
        let Ok(turn) = flight.try_lock_owned() else { return };
        if !self.is_due(&certificate.url) {
            return;
        }
        let (certificates, certificate) = (self.clone(), certificate.clone());
        tokio::spawn(async move {
            let _turn = (turn, certificates.slots.acquire().await);
            // What came of it is kept, and told where it failed.
            drop(certificates.fetched(&certificate).await);
        });
    }

    /// Fetches it, for whoever has the turn.
    async fn fetched(&self, certificate: &Certificate) -> Result<Arc<RsaPublicKey>, CertificateError> {
        let fetched = match tokio::time::timeout(FETCH_TIMEOUT, self.fetch(certificate)).await {
            Ok(fetched) => fetched,
            Err(_) => Err("no answer in time".to_owned()),
        };
        self.keep(&certificate.url, fetched)
    }

    /// That of this certificate, which whoever waits for it shares.
    fn flight(&self, url: &str) -> Arc<Flight> {
        let mut flights = self.flights.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(flight) = flights.get(url).and_then(Weak::upgrade) {
            return flight;
        }
        flights.retain(|_, flight| flight.strong_count() > 0);
        let flight = Arc::<Flight>::default();
        flights.insert(url.to_owned(), Arc::downgrade(&flight));
        flight
    }

    /// What is known without asking; `None` where it is to be fetched.
    fn known(&self, url: &str) -> Option<Result<Arc<RsaPublicKey>, CertificateError>> {
        let now = self.clock.now();
        let kept = self.kept();
        let found = kept.get(url)?;
        match &found.key {
            Some(key) if now.since(found.at) < USABLE => Some(Ok(key.clone())),
            _ => found.just_failed(now).then_some(Err(CertificateError::NotNow)),
        }
    }

    /// Whether there is a key that is to be fetched anew.
    fn is_due(&self, url: &str) -> bool {
        let now = self.clock.now();
        let is_due =
            |kept: &Kept| kept.key.is_some() && now.since(kept.at) >= FRESH && !kept.just_failed(now);
        self.kept().get(url).is_some_and(is_due)
    }

    fn keep(
        &self,
        url: &str,
        fetched: Result<RsaPublicKey, String>,
    ) -> Result<Arc<RsaPublicKey>, CertificateError> {
        let now = self.clock.now();
        let mut kept = self.kept();
        let old = kept.remove(url).filter(|old| old.key.is_some() && now.since(old.at) < USABLE);
        make_room(&mut kept);
        match (fetched, old) {
            (Ok(key), _) => {
                let key = Arc::new(key);
                kept.insert(url.to_owned(), Kept { key: Some(key.clone()), at: now, failed: None });
                Ok(key)
            }
            (Err(why), Some(Kept { key: Some(key), at, .. })) => {
                tracing::warn!(url, why, "the certificate of a sender is not renewed; the old one is used");
                kept.insert(url.to_owned(), Kept { key: Some(key.clone()), at, failed: Some(now) });
                Ok(key)
            }
            (Err(why), _) => {
                kept.insert(url.to_owned(), Kept { key: None, at: now, failed: Some(now) });
                Err(CertificateError::Unreachable { url: url.to_owned(), why })
            }
        }
    }

    async fn fetch(&self, certificate: &Certificate) -> Result<RsaPublicKey, String> {
        let (client, url) = self
            .clients
            .to(&certificate.endpoint, &certificate.url)
            .ok_or_else(|| "not a place to ask".to_owned())?;
        // The error's own text would repeat the URL.
        let failed = |error: reqwest::Error| match super::egress::refused(&error) {
            Some(refused) => refused.to_string(),
            None => error.without_url().to_string(),
        };
        let mut response = client.get(url).send().await.map_err(failed)?;
        match response.status().as_u16() {
            200 => {}
            status @ 300..400 => return Err(format!("status {status}: a redirect is not followed")),
            status => return Err(format!("status {status}")),
        }
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(failed)? {
            if body.len() + chunk.len() > CERTIFICATE_BYTES_MAX {
                return Err(format!("longer than {CERTIFICATE_BYTES_MAX} bytes"));
            }
            body.extend_from_slice(&chunk);
        }
        let pem = String::from_utf8(body).map_err(|_| "not text".to_owned())?;
        RsaPublicKey::from_pem(&pem).map_err(|error| error.to_string())
    }

    fn kept(&self) -> MutexGuard<'_, HashMap<String, Kept>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whoever knows a source's path may name certificates that do not exist: their failures go first.
fn make_room(kept: &mut HashMap<String, Kept>) {
    if kept.len() < KEPT_MAX {
        return;
    }
    let oldest =
        kept.iter().min_by_key(|(_, kept)| (kept.key.is_some(), kept.at)).map(|(url, _)| url.clone());
    if let Some(url) = oldest {
        kept.remove(&url);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;
    use opsward_core::endpoint::Endpoint;
    use std::time::Instant;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    const PEM: &str = include_str!("../../../tests/keys/bridge.pem");

    /// A server that gives the certificate once and is silent then, and how often it was asked.
    async fn once() -> (Certificate, Arc<Mutex<usize>>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let asked = Arc::new(Mutex::new(0));
        let count = asked.clone();
        tokio::spawn(async move {
            let mut silent = Vec::new();
            while let Ok((mut stream, _)) = listener.accept().await {
                drop(stream.read(&mut [0; 4096]).await);
                *count.lock().expect("whole") += 1;
                if silent.is_empty() {
                    let head = format!(
                        "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
                        PEM.len()
                    );
                    stream.write_all((head + PEM).as_bytes()).await.expect("sent");
                }
                silent.push(stream);
            }
        });
        let url = format!("http://{address}");
        (Certificate { endpoint: Endpoint::parse(&url).expect("loopback"), url: url + "/x509.pem" }, asked)
    }

    #[tokio::test]
    async fn an_old_key_serves_while_it_is_renewed_aside() {
        let (certificate, asked) = once().await;
        let began = Timestamp::from_seconds(1_700_000_000);
        let clock = Arc::new(ManualClock::at(began));
        let certificates = Certificates::new([certificate.endpoint.reach()], clock.clone()).expect("TLS");
        let certificates = Arc::new(certificates);
        certificates.key(&certificate).await.expect("fetched");
        clock.set(began + FRESH);
        let asking = Instant::now();
        for _ in 0..9 {
            certificates.key(&certificate).await.expect("the old one");
        }
        assert!(asking.elapsed() < FETCH_TIMEOUT, "nobody waits for the silent server");
        while *asked.lock().expect("whole") < 2 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        certificates.key(&certificate).await.expect("the old one");
        assert_eq!(*asked.lock().expect("whole"), 2, "one asks for all");
        clock.set(began + USABLE);
        assert_eq!(certificates.key(&certificate).await, Err(CertificateError::NotNow), "one is under way");
    }
}
