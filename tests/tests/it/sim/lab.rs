//! A simulator, and a client that writes HTTP by hand: signs as `core::sign` does, or wrongly on purpose.

use opsward_core::catalog::{Provider, version_of};
use opsward_core::endpoint::Endpoint;
use opsward_core::secret::{Credential, Secret};
use opsward_core::sign::{OutboundCall, Scheme, prepare};
use opsward_core::time::Timestamp;
use opsward_sim::{Settle, Sim, SimOptions};
use serde_json::{Value, json};
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// A simulator in which nothing settles by itself within a test: a minute for each change.
pub(super) struct Lab {
    sim: Sim,
    calls: AtomicU64,
}

impl Lab {
    pub(super) async fn start() -> Self {
        let minute = 60_000;
        let settle = Settle {
            snapshot_ms: minute,
            reset_ms: minute,
            reboot_ms: minute,
            reinit_ms: minute,
            start_ms: minute,
            stop_ms: minute,
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let sim = Sim::start(listener, SimOptions { settle, ..SimOptions::default() }).expect("an address");
        Self { sim, calls: AtomicU64::new(0) }
    }

    /// A call, rightly signed and not sent.
    pub(super) fn signed(
        &self,
        scheme: Scheme,
        service: &'static str,
        action: &'static str,
        params: Value,
    ) -> Signed {
        let (key_id, secret) = match scheme.provider() {
            Provider::Alibaba => {
                (&self.sim.keys.alibaba.access_key_id, &self.sim.keys.alibaba.access_key_secret)
            }
            Provider::Tencent => (&self.sim.keys.tencent.secret_id, &self.sim.keys.tencent.secret_key),
        };
        let nth = self.calls.fetch_add(1, Ordering::Relaxed);
        Signed {
            scheme,
            service,
            action,
            params,
            key_id: key_id.clone(),
            secret: secret.clone(),
            token: None,
            client_token: None,
            age: Duration::ZERO,
            nonce: format!("nonce-{nth}"),
            replace: None,
        }
    }

    /// The same call by a temporary key.
    pub(super) fn temporary(&self, signed: &Signed) -> Signed {
        let keys = &self.sim.keys;
        let (key_id, secret, token) = match signed.scheme.provider() {
            Provider::Alibaba => (
                &keys.alibaba_sts.access_key_id,
                &keys.alibaba_sts.access_key_secret,
                &keys.alibaba_sts.security_token,
            ),
            Provider::Tencent => {
                (&keys.tencent_sts.secret_id, &keys.tencent_sts.secret_key, &keys.tencent_sts.token)
            }
        };
        Signed {
            key_id: key_id.clone(),
            secret: secret.clone(),
            token: Some(token.clone()),
            params: signed.params.clone(),
            nonce: signed.nonce.clone(),
            ..*signed
        }
    }

    pub(super) async fn call(
        &self,
        scheme: Scheme,
        service: &'static str,
        action: &'static str,
        params: Value,
    ) -> io::Result<Answer> {
        self.send(&self.signed(scheme, service, action, params)).await
    }

    pub(super) async fn send(&self, signed: &Signed) -> io::Result<Answer> {
        self.send_bytes(&signed.bytes(self)).await
    }

    pub(super) async fn send_bytes(&self, bytes: &[u8]) -> io::Result<Answer> {
        Answer::parse(&self.exchange(bytes).await)
    }

    /// Sends and returns all bytes that come back until the other side closes.
    pub(super) async fn exchange(&self, bytes: &[u8]) -> Vec<u8> {
        let mut stream = TcpStream::connect(self.authority()).await.expect("the simulator listens");
        stream.write_all(bytes).await.expect("the simulator reads");
        let mut received = Vec::new();
        // A reset is one of the ways in which a connection ends; what came before it counts.
        if let Err(error) = stream.read_to_end(&mut received).await {
            assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
        }
        received
    }

    pub(super) async fn get(&self, path: &str) -> Value {
        self.control("GET", path, &Value::Null).await
    }

    pub(super) async fn post(&self, path: &str, body: Value) -> Value {
        self.control("POST", path, &body).await
    }

    pub(super) async fn put(&self, path: &str, body: Value) -> Value {
        self.control("PUT", path, &body).await
    }

    async fn control(&self, method: &str, path: &str, body: &Value) -> Value {
        let body = body.to_string();
        let head = format!(
            "{method} /_sim/{path} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
            self.authority(),
            body.len()
        );
        let answer = self.send_bytes((head + &body).as_bytes()).await.expect("an answer");
        assert_eq!(answer.status, 200, "{method} {path}: {}", answer.body);
        answer.body
    }

    /// Where it listens.
    pub(super) fn origin(&self) -> &str {
        &self.sim.url
    }

    /// The key pair of the Alibaba user.
    pub(super) fn alibaba(&self) -> Credential {
        let keys = &self.sim.keys.alibaba;
        let key_secret = Secret::new(keys.access_key_secret.clone());
        Credential { key_id: keys.access_key_id.clone(), key_secret, session_token: None }
    }

    fn authority(&self) -> &str {
        self.sim.url.strip_prefix("http://").expect("plain http")
    }
}

/// A call and how it is signed.
pub(super) struct Signed {
    pub(super) scheme: Scheme,
    pub(super) service: &'static str,
    pub(super) action: &'static str,
    pub(super) params: Value,
    pub(super) key_id: String,
    pub(super) secret: String,
    pub(super) token: Option<String>,
    pub(super) client_token: Option<&'static str>,
    /// How long ago it was signed.
    pub(super) age: Duration,
    pub(super) nonce: String,
    /// Bytes to exchange for others after signing.
    pub(super) replace: Option<(&'static str, &'static str)>,
}

impl Signed {
    /// The request as it goes to the wire.
    pub(super) fn bytes(&self, lab: &Lab) -> Vec<u8> {
        let endpoint = Endpoint::parse(&lab.sim.url).expect("a loopback endpoint");
        let credential = Credential {
            key_id: self.key_id.clone(),
            key_secret: Secret::new(self.secret.clone()),
            session_token: self.token.clone().map(Secret::new),
        };
        let (provider, region) = match self.scheme.provider() {
            Provider::Alibaba => (Provider::Alibaba, "cn-hangzhou"),
            Provider::Tencent => (Provider::Tencent, "ap-shanghai"),
        };
        let mut params = self.params.clone();
        if provider == Provider::Alibaba {
            params["RegionId"] = json!(region);
        }
        let call = OutboundCall {
            service: self.service,
            version: version_of(provider, self.service).expect("a known service"),
            action: self.action,
            region,
            params: &params.to_string(),
            token: self.client_token.map(|token| ("ClientToken", token)),
            dry_run: None,
        };
        let request =
            prepare(self.scheme, &call, &endpoint, &credential, real_time() - self.age, &self.nonce)
                .expect("parameters that can be sent");
        let mut target = request.url.strip_prefix(&lab.sim.url).expect("same origin").to_owned();
        let mut body = String::from_utf8(request.body).expect("text");
        if let Some((from, to)) = self.replace {
            let (before_target, before_body) = (target.clone(), body.clone());
            target = target.replace(from, to);
            body = body.replace(from, to);
            assert!(target != before_target || body != before_body, "nothing to exchange");
        }
        let mut head = format!("{} {target} HTTP/1.1\r\nconnection: close\r\n", request.method);
        for (name, value) in request.headers.iter().filter(|(name, _)| *name != "content-length") {
            head += &format!("{name}: {value}\r\n");
        }
        head += &format!("content-length: {}\r\n\r\n", body.len());
        (head + &body).into_bytes()
    }
}

/// The simulator runs on real time, so requests to it must too.
#[expect(clippy::disallowed_methods, reason = "the other side of the wire reads the real clock")]
pub(crate) fn real_time() -> Timestamp {
    let since_1970 = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970");
    Timestamp::from_ms(i64::try_from(since_1970.as_millis()).expect("before the year 292 million"))
}

/// An answer that came whole.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) body: Value,
}

impl Answer {
    fn parse(bytes: &[u8]) -> io::Result<Self> {
        let text = String::from_utf8_lossy(bytes);
        let (head, body) = text.split_once("\r\n\r\n").ok_or(io::ErrorKind::UnexpectedEof)?;
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
        let length =
            head.lines().find_map(|line| line.to_lowercase().strip_prefix("content-length: ")?.parse().ok());
        if length != Some(body.len()) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let body = serde_json::from_str(body).unwrap_or_else(|_| json!(body));
        Ok(Self { status: status.ok_or(io::ErrorKind::InvalidData)?, body })
    }

    /// The vendor's fields, without Tencent's envelope.
    pub(super) fn fields(&self) -> Value {
        self.body.get("Response").unwrap_or(&self.body).clone()
    }

    /// The vendor's error code.
    pub(super) fn code(&self) -> Option<String> {
        let fields = self.fields();
        let code = fields.get("Error").and_then(|error| error.get("Code")).or_else(|| fields.get("Code"));
        let in_xml = || {
            let (_, rest) = self.body.as_str()?.split_once("<Code>")?;
            rest.split_once("</Code>").map(|(code, _)| code.to_owned())
        };
        code.and_then(|code| code.as_str().map(str::to_owned)).or_else(in_xml)
    }
}

/// A receiver of notifications that answers with the given statuses, one after the other, and then ends.
pub(super) struct Hook {
    pub(super) url: String,
    serving: JoinHandle<Vec<Value>>,
}

impl Hook {
    pub(super) async fn start(statuses: &'static [u16]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}/hook", listener.local_addr().expect("bound"));
        let serving = tokio::spawn(async move {
            let mut received = Vec::new();
            for status in statuses {
                let (mut stream, _) = listener.accept().await.expect("a connection");
                received.push(read_request(&mut stream).await);
                let answer = format!("HTTP/1.1 {status} X\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
                stream.write_all(answer.as_bytes()).await.expect("the other side reads");
            }
            received
        });
        Self { url, serving }
    }

    /// Everything received, when all statuses are answered.
    pub(super) async fn received(self) -> Vec<Value> {
        tokio::time::timeout(Duration::from_secs(10), self.serving).await.expect("in time").expect("no panic")
    }
}

async fn read_request(stream: &mut TcpStream) -> Value {
    let mut bytes = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
            if length.is_some_and(|length: usize| body.len() >= length) {
                return serde_json::from_str(body).expect("JSON");
            }
        }
        assert_ne!(stream.read_buf(&mut bytes).await.expect("readable"), 0, "the request is whole");
    }
}
