//! Carries out the faults that need more than an answer: changes that come late, another operator's, and the page of a
//! proxy. Leaves which call meets which to `faults`. Tested by `tests/tests/it/sim/lies.rs`.

use crate::answer::Outcome;
use crate::cloud::{Call, Cloud};
use crate::faults::Taken;
use crate::keys::{Caller, Key};
use crate::request::Asked;
use crate::server::Simulator;
use crate::state::World;
use crate::verify::skew_max;
use crate::{cvm, deliver, ecs};
use axum::body::Body;
use axum::http::{HeaderValue, Response, StatusCode, header};
use opsward_core::catalog::Provider;
use opsward_core::time::Timestamp;
use serde_json::value::{RawValue, to_raw_value};
use serde_json::{Map, json};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::task::JoinHandle;

/// Changes that are still to come, with their parameters.
#[derive(Default)]
pub(crate) struct Later(Mutex<Vec<(Arc<RawValue>, JoinHandle<()>)>>);

impl Later {
    /// The parameters of those that are still to come.
    pub(crate) fn pending(&self) -> Vec<Arc<RawValue>> {
        let mut tasks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        tasks.retain(|(_, task)| !task.is_finished());
        tasks.iter().map(|(params, _)| params.clone()).collect()
    }

    fn add(&self, params: Arc<RawValue>, task: JoinHandle<()>) {
        let mut tasks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        tasks.retain(|(_, task)| !task.is_finished());
        tasks.push((params, task));
    }
}

/// A verified request whose change comes late.
pub(crate) struct LateCall {
    pub(crate) asked: Asked,
    pub(crate) key: Arc<Key>,
    pub(crate) request_id: String,
    pub(crate) signed_at: Timestamp,
    pub(crate) delay: Duration,
}

/// Has the change take place when its time has come on the simulator's clock, if the signature is still believed then.
pub(crate) fn carry_out_later(simulator: &Arc<Simulator>, call: LateCall) {
    let LateCall { asked, key, request_id, signed_at, delay } = call;
    // A simulator that is dropped does not go on.
    let weak = Arc::downgrade(simulator);
    let due = simulator.clock.now() + delay;
    let params = asked.recorded.clone();
    let task = async move {
        loop {
            let Some(simulator) = weak.upgrade() else { return };
            let now = simulator.clock.now();
            if now >= due {
                if now.since(signed_at) <= skew_max(asked.provider) {
                    let late = simulator.carry_out(&asked, &key, &request_id, now, &Taken::default());
                    deliver::send_test_events(&simulator);
                    tracing::debug!(request_id, code = ?late.err().map(|e| e.code), "a late change");
                }
                return;
            }
            drop(simulator);
            // The clock may be turned meanwhile.
            tokio::time::sleep(due.since(now).min(LOOK_AGAIN)).await;
        }
    };
    simulator.later.add(params, tokio::spawn(task));
}

/// Between two looks at a clock that can be turned.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// Another operator restarts the instance that `call` names, or whose disk it names. Nothing happens where that is refused.
pub(crate) fn operate(cloud: &mut Cloud, call: &Call<'_>) {
    let Some(instance) = instance_of(&cloud.world, call) else { return };
    let request_id = call.ids.request_id_lower();
    let caller = Caller::User { name: OPERATOR.into(), user_id: "200000000000000001".into() };
    let operate = |cloud: &mut Cloud, action: &str, params: serde_json::Value, answer: Answer<'_>| {
        let recorded = Arc::from(to_raw_value(&params).expect("a JSON value can be written"));
        let call = Call {
            action,
            product: if call.provider == Provider::Alibaba { "ecs" } else { "cvm" },
            caller: &caller,
            request_id: &request_id,
            client_token: None,
            recorded: &recorded,
            ..*call
        };
        answer(cloud, &call)
    };
    let answered = match call.provider {
        Provider::Alibaba => {
            let params = BTreeMap::from([("InstanceId".to_owned(), instance.clone())]);
            operate(cloud, "RebootInstance", json!(params), &|cloud, call| ecs::answer(cloud, call, &params))
        }
        Provider::Tencent => {
            let params = Map::from_iter([("InstanceIds".to_owned(), json!([instance]))]);
            operate(cloud, "RebootInstances", json!(params), &|cloud, call| cvm::answer(cloud, call, &params))
        }
    };
    tracing::debug!(instance, refused = ?answered.and_then(Result::err).map(|e| e.code), "an operator was there");
}

type Answer<'a> = &'a dyn Fn(&mut Cloud, &Call<'_>) -> Option<Outcome>;

/// As effects name the other operator.
const OPERATOR: &str = "operator";

fn instance_of(world: &World, call: &Call<'_>) -> Option<String> {
    let params = call.recorded.get();
    let is_named = |id: &&String| params.contains(id.as_str());
    match call.provider {
        Provider::Alibaba => {
            let disks = || world.alibaba.disks.iter().filter(|(id, _)| params.contains(id.as_str()));
            let named = world.alibaba.instances.keys().find(is_named).cloned();
            named.or_else(|| disks().find_map(|(_, disk)| disk.instance_id.clone()))
        }
        Provider::Tencent => {
            let disks = || world.tencent.disks.iter().filter(|(id, _)| params.contains(id.as_str()));
            let named = world.tencent.instances.keys().find(is_named).cloned();
            named.or_else(|| disks().find_map(|(_, disk)| disk.instance_id.clone()))
        }
    }
}

/// What a proxy says in the cloud's place.
pub(crate) fn proxy_page() -> Response<Body> {
    const PAGE: &str = "<html>\r\n<head><title>502 Bad Gateway</title></head>\r\n<body>\r\n\
        <center><h1>502 Bad Gateway</h1></center>\r\n<hr><center>nginx</center>\r\n</body>\r\n</html>\r\n";
    let mut response = Response::new(Body::from(PAGE));
    *response.status_mut() = StatusCode::BAD_GATEWAY;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/html"));
    response
}
