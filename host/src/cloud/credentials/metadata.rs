//! The metadata services of the machines, which hand out the credential of a machine's role. The only part that talks to their
//! addresses: without proxy, redirect or repetition, in little time, and for little data. Leaves when to ask to `held`.
//! Tested below and by `tests/tests/it/credentials.rs`.
//!
//! Source: FACTS 9 and 10. Alibaba's is asked in its hardened mode alone: the vendor's library falls back to asking without a
//! token on any failure, which gives up what the mode is for. Tencent's has no such mode.

use super::FetchError;
use crate::cloud::egress::Checked;
use crate::failpoint::metadata_at;
use opsward_core::catalog::Provider;
use opsward_core::credential::Issued;
use opsward_core::credential::sts::read_issued;
use opsward_core::egress::Reach;
use reqwest::{Client, RequestBuilder};
use std::time::Duration;
use zeroize::Zeroizing;

const ALIBABA: &str = "http://100.100.100.200";
const ALIBABA_ROLES: &str = "/latest/meta-data/ram/security-credentials/";
const ALIBABA_TOKEN: &str = "X-aliyun-ecs-metadata-token";
const ALIBABA_TOKEN_LIFE: &str = "X-aliyun-ecs-metadata-token-ttl-seconds";
/// Life of the token that hardens the asking, in seconds: it serves two requests.
const TOKEN_SECONDS: &str = "60";
const TENCENT: &str = "http://metadata.tencentyun.com";
const TENCENT_ROLES: &str = "/latest/meta-data/cam/security-credentials/";
/// How long one request may take. The service is on the same machine; elsewhere nobody answers.
const TIMEOUT: Duration = Duration::from_secs(2);
/// How long a connection may take, as in the vendors' libraries.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// Longest answer, in bytes: a credential with its token has 2,000.
const ANSWER_BYTES_MAX: usize = 16 << 10;
/// Longest name of a role, in bytes; both vendors allow 64.
const ROLE_BYTES_MAX: usize = 64;

/// A client of the metadata services.
pub(in crate::cloud) struct Metadata(Client);

impl Metadata {
    pub(in crate::cloud) fn new() -> reqwest::Result<Self> {
        let client = Client::builder()
            .no_proxy()
            .dns_resolver(Checked(Reach::Metadata))
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(TIMEOUT)
            .pool_max_idle_per_host(0)
            .referer(false)
            // Plain http: reading the machine's certificates would be for nothing.
            .tls_certs_only([])
            .build()?;
        Ok(Self(client))
    }

    /// The credential of the machine's role; of its only role where no name is given.
    pub(super) async fn issued(&self, provider: Provider, role: Option<&str>) -> Result<Issued, FetchError> {
        let (base, roles, token) = match provider {
            Provider::Alibaba => {
                let base = metadata_at(ALIBABA);
                let asked = self.0.put(format!("{base}/latest/api/token"));
                let token = self.ask(asked.header(ALIBABA_TOKEN_LIFE, TOKEN_SECONDS)).await?;
                (base, ALIBABA_ROLES, Some(text_of(token)?))
            }
            Provider::Tencent => (metadata_at(TENCENT), TENCENT_ROLES, None),
        };
        let get = |path: &str| {
            let asked = self.0.get(format!("{base}{roles}{path}"));
            match &token {
                Some(token) => asked.header(ALIBABA_TOKEN, token.as_str()),
                None => asked,
            }
        };
        let found;
        let role = match role {
            Some(role) => role,
            None => {
                found = text_of(self.ask(get("")).await?)?;
                found.trim()
            }
        };
        if !is_role(role) {
            return Err(FetchError::Metadata("no role is attached to this machine: attach one".to_owned()));
        }
        let body = self.ask(get(role)).await.map_err(|error| match error {
            FetchError::NoSuchRole => FetchError::Metadata(format!(
                "the role `{role}` is not attached to this machine: attach it, or name the one that is"
            )),
            other => other,
        })?;
        Ok(read_issued(&body)?)
    }

    async fn ask(&self, request: RequestBuilder) -> Result<Zeroizing<Vec<u8>>, FetchError> {
        // The error's own text would name the address and no more.
        let unreachable = |error: reqwest::Error| {
            let why = if error.is_timeout() { "gives no answer in time" } else { "cannot be reached" };
            FetchError::Metadata(format!("the metadata service {why}: is this a machine of that cloud?"))
        };
        let mut response = request.send().await.map_err(unreachable)?;
        match response.status().as_u16() {
            200 => {}
            404 => return Err(FetchError::NoSuchRole),
            status => {
                return Err(FetchError::Metadata(format!(
                    "the metadata service answers with status {status}"
                )));
            }
        }
        // With room for all of it from the start, so that growing leaves no copies behind.
        let mut body = Zeroizing::new(Vec::with_capacity(ANSWER_BYTES_MAX));
        while let Some(chunk) = response.chunk().await.map_err(unreachable)? {
            if body.len() + chunk.len() > ANSWER_BYTES_MAX {
                return Err(FetchError::Metadata("the metadata service's answer is too long".to_owned()));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    }
}

fn text_of(mut body: Zeroizing<Vec<u8>>) -> Result<Zeroizing<String>, FetchError> {
    String::from_utf8(std::mem::take(&mut *body))
        .map(Zeroizing::new)
        .map_err(|_| FetchError::Metadata("the metadata service's answer is not text".to_owned()))
}

/// A name goes into a path.
fn is_role(name: &str) -> bool {
    let is_usual = |c: char| c.is_ascii_alphanumeric() || ".@-_".contains(c);
    (1..=ROLE_BYTES_MAX).contains(&name.len()) && name.chars().all(is_usual) && !name.starts_with('.')
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    /// What is made of this answer.
    async fn asked(answer: String) -> Result<usize, String> {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
        let address = listener.local_addr().expect("address");
        let serving = tokio::spawn(async move {
            let (mut connection, _) = listener.accept().await.expect("a connection");
            let mut request = [0; 1024];
            let read = connection.read(&mut request).await.expect("a request");
            assert!(read > 0);
            // The client hangs up on an answer that is too long.
            drop(connection.write_all(answer.as_bytes()).await);
        });
        let metadata = Metadata::new().expect("a client");
        let got = metadata.ask(metadata.0.get(format!("http://{address}/"))).await;
        serving.await.expect("served");
        got.map(|body| body.len()).map_err(|error| error.to_string())
    }

    fn answer(head: &str, body_bytes: usize) -> String {
        format!("HTTP/1.1 {head}\r\ncontent-length: {body_bytes}\r\n\r\n{}", "x".repeat(body_bytes))
    }

    #[tokio::test]
    async fn an_answer_is_taken_as_it_is_or_not_at_all() {
        let refused = |text: &str| Err(text.to_owned());
        let table = [
            (answer("200 OK", ANSWER_BYTES_MAX), Ok(ANSWER_BYTES_MAX)),
            (answer("200 OK", ANSWER_BYTES_MAX + 1), refused("the metadata service's answer is too long")),
            (
                answer("302 Found\r\nlocation: http://127.0.0.1:1/", 0),
                refused("the metadata service answers with status 302"),
            ),
            (
                answer("404 Not Found", 0),
                refused("the metadata service knows of no role of this machine: attach one"),
            ),
        ];
        for (answer, expected) in table {
            assert_eq!(asked(answer).await, expected);
        }
    }

    #[test]
    fn a_role_is_a_name_and_no_path() {
        for (name, expected) in
            [("ops-host.1", true), ("", false), ("../x", false), ("a/b", false), ("a?b", false)]
        {
            assert_eq!(is_role(name), expected, "{name}");
        }
    }
}
