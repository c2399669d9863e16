//! Starts the simulator on a listener and takes each request through it: verify, fault, action, record, answer. Leaves
//! each of these to its module. Tested by `tests/tests/it/sim.rs`.

use crate::answer::{self, ApiError, Outcome};
use crate::clock::Clock;
use crate::cloud::{Call, Cloud};
use crate::cut::{CutListener, Knife};
use crate::emit::Subscribers;
use crate::faults::{FaultKind, Faults};
use crate::ids::Ids;
use crate::keys::{Key, Keyring, Keys};
use crate::request::{Arguments, Asked, Inbound, Product};
use crate::seed;
use crate::state::{Limits, Settle};
use crate::traffic::{RequestSeen, Traffic, shown};
use crate::verify::{Nonces, Verdict, verify};
use crate::{cbs, control, cvm, ecs, sts};
use axum::body::Body;
use axum::extract::{ConnectInfo, State};
use axum::http::{Request, Response, StatusCode};
use opsward_core::catalog::Provider;
use opsward_core::time::Timestamp;
use serde_json::json;
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
            nonces: Nonces::default(),
            faults: Faults::default(),
            subscribers: Subscribers::default(),
            cloud: Mutex::new(Cloud::new(seed::world(options.settle, options.limits))),
            traffic: Mutex::new(Traffic::default()),
        });
        let router = control::routes().fallback(cloud_call).with_state(simulator);
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
    pub(crate) subscribers: Subscribers,
    keyring: Keyring,
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
    fn work(&self, inbound: &Inbound) -> Worked {
        let now = self.clock.now();
        let verdict = verify(inbound, &self.keyring, &self.nonces, now);
        let asked = Asked::of(inbound, verdict.service());
        let request_id = match asked.provider {
            Provider::Alibaba => self.ids.request_id_upper(),
            Provider::Tencent => self.ids.request_id_lower(),
        };
        let mut fault = None;
        let outcome = match &verdict.outcome {
            Ok(key) => {
                let product = asked.product.as_ref().map_or("unknown", |product| product.name());
                fault = self.faults.take(product, &asked.action);
                self.carry_out(&asked, key, &request_id, now, fault.map(|(kind, _)| kind))
            }
            Err(refusal) => Err(refusal.clone()),
        };
        self.record(inbound, &verdict, &asked, &request_id, now, &outcome, fault.map(|(kind, _)| kind));
        let response = match asked.provider {
            Provider::Alibaba => {
                let product = asked.product.as_ref().map_or("ecs", |product| product.name());
                answer::alibaba(&asked.action, product, inbound.host(), &request_id, asked.format, outcome)
            }
            Provider::Tencent => answer::tencent(&request_id, outcome),
        };
        Worked { response, fault }
    }

    fn carry_out(
        &self,
        asked: &Asked,
        key: &Key,
        request_id: &str,
        now: Timestamp,
        fault: Option<FaultKind>,
    ) -> Outcome {
        let refusal = fault.and_then(|kind| kind.refusal(asked.provider));
        if fault.is_some_and(|kind| !kind.lets_change_happen()) {
            return Err(refusal.unwrap_or_else(|| unknown_action(asked)));
        }
        let product = *asked.product.as_ref().map_err(Clone::clone)?;
        let arguments = asked.arguments.as_ref().map_err(Clone::clone)?;
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
        let answered = match (product, arguments) {
            (Product::Ecs, Arguments::Flat(params)) => ecs::answer(&mut cloud, &call, params),
            (Product::Sts, Arguments::Flat(params)) => sts::answer(&cloud, &self.keyring, &call, params),
            (Product::Cvm, Arguments::Json(params)) => cvm::answer(&mut cloud, &call, params),
            (Product::Cbs, Arguments::Json(params)) => cbs::answer(&mut cloud, &call, params),
            _ => None,
        };
        drop(cloud);
        let outcome = answered.unwrap_or_else(|| Err(unknown_action(asked)));
        refusal.map_or(outcome, Err)
    }

    #[expect(clippy::too_many_arguments, reason = "a record of everything that is known of a request")]
    fn record(
        &self,
        inbound: &Inbound,
        verdict: &Verdict,
        asked: &Asked,
        request_id: &str,
        now: Timestamp,
        outcome: &Outcome,
        fault: Option<FaultKind>,
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
            fault: fault.map(FaultKind::as_str),
        };
        self.traffic().record(seen);
    }
}

/// An answer, and what is to happen to it on its way.
struct Worked {
    response: Response<Body>,
    fault: Option<(FaultKind, u64)>,
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
    let Worked { response, fault } = simulator.work(&inbound);
    let Some((kind, delay_ms)) = fault else { return response };
    if delay_ms > 0 {
        tokio::time::sleep(Duration::from_millis(delay_ms)).await;
    }
    match kind {
        FaultKind::DropBefore | FaultKind::DropAfter => knife.drop_answer(),
        FaultKind::Truncated => knife.truncate_answer(),
        FaultKind::Throttle | FaultKind::Error500Before | FaultKind::Error500After | FaultKind::Slow => {}
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
