//! Starts the simulator on a listener and takes each request through it: verify, fault, action, record, answer. Leaves
//! each of these to its module. Tested by `tests/tests/it/sim.rs`.

use crate::answer::{self, ApiError, Outcome};
use crate::clock::Clock;
use crate::cloud::{Call, Cloud};
use crate::cut::{CutListener, Knife};
use crate::emit::Subscribers;
use crate::faults::{FaultKind, Faults, Met, Taken};
use crate::ids::Ids;
use crate::keys::{Key, Keyring, Keys};
use crate::lies::{self, LateCall, Later};
use crate::logs::LogStores;
use crate::metadata::Tokens;
use crate::queues::Queues;
use crate::request::{Arguments, Asked, Inbound, Product};
use crate::seed;
use crate::state::{Limits, Settle};
use crate::traffic::{RequestSeen, Traffic, shown};
use crate::verify::{self, Nonces, Verdict, verify};
use crate::{cbs, cms, control, cvm, deliver, ecs, metadata, mns, sls, sts, sts_tencent};
use axum::body::Body;
use axum::extract::{ConnectInfo, State};
use axum::http::{HeaderValue, Request, Response, StatusCode, header};
use opsward_core::catalog::{self, Class, Provider};
use opsward_core::sign::claimed;
use opsward_core::time::Timestamp;
use serde_json::{Map, json};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// How a simulator starts.
#[derive(Debug, Clone, Copy, Default)]
pub struct SimOptions {
    /// Makes ids and keys repeat.
    pub seed: u64,
    /// How long changes take.
    pub settle: Settle,
    /// The vendors' bounds.
    pub limits: Limits,
}

/// A running simulator; stops when dropped.
pub struct Sim {
    /// Where it listens, such as `http://127.0.0.1:40123`.
    pub url: String,
    /// The keys it accepts.
    pub keys: Keys,
    stop: Option<oneshot::Sender<()>>,
    serving: JoinHandle<()>,
}

impl Sim {
    /// Serves on `listener` until dropped or shut down.
    ///
    /// # Errors
    /// Where the listener has no address.
    pub fn start(listener: TcpListener, options: SimOptions) -> io::Result<Self> {
        let url = format!("http://{}", listener.local_addr()?);
        let ids = Ids::new(options.seed);
        let keyring = Keyring::default();
        let keys = keyring.first_keys(&ids);
        let simulator = Arc::new(Simulator {
            clock: Clock::default(),
            ids,
            keyring,
            metadata_tokens: Tokens::default(),
            nonces: Nonces::default(),
            faults: Faults::default(),
            later: Later::default(),
            subscribers: Subscribers::default(),
            queues: Queues::default(),
            logs: LogStores::default(),
            cloud: Mutex::new(Cloud::new(seed::world(options.settle, options.limits))),
            traffic: Mutex::new(Traffic::default()),
        });
        let router = control::routes().merge(metadata::routes()).fallback(cloud_call).with_state(simulator);
        let service = router.into_make_service_with_connect_info::<Knife>();
        let (stop, stopped) = oneshot::channel::<()>();
        let serving = tokio::spawn(async move {
            // Both a signal and a dropped handle end the wait.
            let ended = async move { drop(stopped.await) };
            let served = axum::serve(CutListener(listener), service).with_graceful_shutdown(ended).await;
            if let Err(error) = served {
                tracing::error!(%error, "simulated clouds stopped serving");
            }
        });
        Ok(Self { url, keys, stop: Some(stop), serving })
    }

    /// The line to print when ready: url and keys as one JSON object.
    pub fn ready_line(&self) -> String {
        json!({ "url": self.url, "keys": self.keys }).to_string()
    }

    /// Stops listening, and waits a moment for answers under way.
    pub async fn shutdown(mut self) {
        drop(self.stop.take());
        if tokio::time::timeout(SHUTDOWN_MAX, &mut self.serving).await.is_err() {
            self.serving.abort();
        }
    }
}

/// Longest wait for answers under way: a slow fault may hold one for longer than anybody wants to wait.
const SHUTDOWN_MAX: Duration = Duration::from_secs(1);

/// Everything the handlers share.
pub(crate) struct Simulator {
    pub(crate) clock: Clock,
    pub(crate) ids: Ids,
    pub(crate) faults: Faults,
    pub(crate) later: Later,
    pub(crate) subscribers: Subscribers,
    pub(crate) queues: Queues,
    pub(crate) logs: LogStores,
    pub(crate) keyring: Keyring,
    pub(crate) metadata_tokens: Tokens,
    nonces: Nonces,
    cloud: Mutex<Cloud>,
    traffic: Mutex<Traffic>,
}

impl Simulator {
    pub(crate) fn cloud(&self) -> MutexGuard<'_, Cloud> {
        self.cloud.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn traffic(&self) -> MutexGuard<'_, Traffic> {
        self.traffic.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Everything about a request except sending the answer.
    fn work(self: &Arc<Self>, inbound: &Inbound) -> Worked {
        let now = self.clock.now();
        let claimed = claimed(&inbound.received());
        let asked = Asked::of(inbound, claimed.as_ref().ok().and_then(verify::service));
        let product = asked.product.as_ref().map_or("unknown", |product| product.name());
        let met = Met {
            provider: asked.provider,
            product,
            action: &asked.action,
            params: asked.recorded.get(),
            is_read: catalog::class_of(asked.provider, product, &asked.action) == Class::Read,
            since_change: &|| self.cloud().past.since_change(asked.recorded.get(), now),
        };
        let skew = self.faults.take_skew(&met);
        let verdict = verify(inbound, claimed, &self.keyring, &self.nonces, now + skew);
        let request_id = match asked.provider {
            Provider::Alibaba => self.ids.request_id_upper(),
            Provider::Tencent => self.ids.request_id_lower(),
        };
        let mut taken = Taken::default();
        let outcome = match &verdict.outcome {
            Ok(key) => {
                taken = self.faults.take(&met);
                let outcome = self.carry_out(&asked, key, &request_id, now, &taken);
                deliver::send_test_events(self);
                outcome
            }
            Err(refusal) => Err(refusal.clone()),
        };
        let is_skewed = (!skew.is_zero()).then(|| FaultKind::ClockSkew.as_str().to_owned());
        let shown = taken.shown().or(is_skewed);
        self.record(inbound, &verdict, &asked, &request_id, now, &outcome, shown);
        let mut response = match asked.provider {
            Provider::Alibaba => {
                let product = asked.product.as_ref().map_or("ecs", |product| product.name());
                answer::alibaba(&asked.action, product, inbound.host(), &request_id, asked.format, outcome)
            }
            Provider::Tencent => answer::tencent(&request_id, outcome),
        };
        // The clock that was moved is the one that answers show.
        if !skew.is_zero() || self.clock.is_moved() {
            self.show_date(&mut response, skew);
        }
        if let (Some((FaultKind::Late, delay_ms)), Ok(key)) = (taken.fault, verdict.outcome) {
            let signed_at = verdict.claimed.and_then(|claimed| claimed.timestamp).unwrap_or(now);
            let delay = Duration::from_millis(delay_ms);
            lies::carry_out_later(self, LateCall { asked, key, request_id, signed_at, delay });
        }
        Worked { response, fault: taken.fault }
    }

    /// Says what time it is here, `skew` ahead.
    pub(crate) fn show_date(&self, response: &mut Response<Body>, skew: Duration) {
        if let Ok(date) = HeaderValue::from_str(&(self.clock.now() + skew).to_http_date()) {
            response.headers_mut().insert(header::DATE, date);
        }
    }

    /// What the action answers, having done what it does, as far as `taken` lets it.
    pub(crate) fn carry_out(
        &self,
        asked: &Asked,
        key: &Key,
        request_id: &str,
        now: Timestamp,
        taken: &Taken,
    ) -> Outcome {
        let product = *asked.product.as_ref().map_err(Clone::clone)?;
        let arguments = asked.arguments.as_ref().map_err(Clone::clone)?;
        // Any session may ask who it is.
        let action = format!("{}:{}", product.name(), asked.action);
        if !matches!(product, Product::Sts) && !key.may(&action) {
            return Err(answer::not_allowed(asked.provider, &action));
        }
        let call = Call {
            provider: asked.provider,
            product: product.name(),
            action: &asked.action,
            region: asked.region.as_deref(),
            now,
            ids: &self.ids,
            caller: &key.caller,
            request_id,
            client_token: asked.client_token.as_deref(),
            recorded: &asked.recorded,
        };
        let mut cloud = self.cloud();
        if taken.operator {
            cloud.keeping_past(&call, |cloud| lies::operate(cloud, &call));
        }
        let refusal = taken.kind().and_then(|kind| answer::refusal(kind, asked.provider));
        if taken.kind().is_some_and(|kind| !kind.lets_change_happen()) {
            return refusal.map_or_else(|| Ok(Map::new()), Err);
        }
        let ask = |cloud: &mut Cloud| match (product, arguments) {
            (Product::Ecs, Arguments::Flat(params)) => ecs::answer(cloud, &call, params),
            (Product::Cms, Arguments::Flat(params)) => cms::answer(cloud, &call, params),
            (Product::Sts, Arguments::Flat(params)) => sts::answer(cloud, &self.keyring, &call, params),
            (Product::Sts, Arguments::Json(params)) => {
                sts_tencent::answer(cloud, &self.keyring, &call, params)
            }
            (Product::Cvm, Arguments::Json(params)) => cvm::answer(cloud, &call, params),
            (Product::Cbs, Arguments::Json(params)) => cbs::answer(cloud, &call, params),
            _ => None,
        };
        let answered = match taken.kind() {
            Some(FaultKind::Stale) => cloud.as_before(asked.recorded.get(), ask),
            _ => cloud.keeping_past(&call, ask),
        };
        drop(cloud);
        let outcome = answered.unwrap_or_else(|| Err(unknown_action(asked)));
        refusal.map_or(outcome, Err)
    }

    #[expect(clippy::too_many_arguments, reason = "a record of everything that is known of a request")]
    pub(crate) fn record(
        &self,
        inbound: &Inbound,
        verdict: &Verdict,
        asked: &Asked,
        request_id: &str,
        now: Timestamp,
        outcome: &Outcome,
        fault: Option<String>,
    ) {
        let claimed = verdict.claimed.as_ref();
        let seen = RequestSeen {
            seq: 0,
            time: shown(now),
            provider: asked.provider,
            product: asked.product.as_ref().map_or("unknown", |product| product.name()).to_owned(),
            version: asked.version.clone(),
            action: asked.action.clone(),
            method: inbound.method.clone(),
            region: asked.region.clone(),
            params: asked.recorded.clone(),
            scheme: verdict.scheme(),
            signature: verdict.outcome.as_ref().map_or_else(|e| e.code.clone().into_owned(), |_| "ok".into()),
            access_key_id: claimed.map(|claimed| claimed.key_id.clone()),
            session_token: claimed.is_some_and(|claimed| claimed.session_token.is_some()),
            nonce: claimed.and_then(|claimed| claimed.nonce.clone()),
            client_token: asked.client_token.clone(),
            request_id: request_id.to_owned(),
            code: outcome.as_ref().err().map(|error| error.code.clone().into_owned()),
            fault,
        };
        self.traffic().record(seen);
    }
}

/// An answer, and what is to happen to it on its way.
pub(crate) struct Worked {
    pub(crate) response: Response<Body>,
    pub(crate) fault: Option<(FaultKind, u64)>,
}

async fn cloud_call(
    State(simulator): State<Arc<Simulator>>,
    ConnectInfo(knife): ConnectInfo<Knife>,
    request: Request<Body>,
) -> Response<Body> {
    let Some(inbound) = Inbound::read(request).await else {
        let mut refused = Response::new(Body::empty());
        *refused.status_mut() = StatusCode::PAYLOAD_TOO_LARGE;
        return refused;
    };
    let Worked { response, fault } = match &inbound {
        message if mns::is_for(message) => mns::work(&simulator, message).await,
        log if sls::is_for(log) => sls::work(&simulator, log),
        call => simulator.work(call),
    };
    let Some((kind, delay_ms)) = fault else { return response };
    if delay_ms > 0 && kind.delays_answer() {
        tokio::time::sleep(Duration::from_millis(delay_ms)).await;
    }
    match kind {
        FaultKind::Truncated => knife.truncate_answer(),
        FaultKind::Garbage => return lies::proxy_page(),
        kind if kind.drops_answer() => knife.drop_answer(),
        _ => {}
    }
    response
}

fn unknown_action(asked: &Asked) -> ApiError {
    match asked.provider {
        Provider::Alibaba => ApiError::new(
            404,
            "InvalidAction.NotFound",
            "Specified api is not found, please check your url and method.",
        ),
        Provider::Tencent => ApiError::new(
            200,
            "InvalidAction",
            format!(
                "The request action=`{}` is invalid or not found for this product/version.",
                asked.action
            ),
        ),
    }
}
