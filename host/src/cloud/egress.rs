//! The one maker of HTTP clients that send calls. A name is looked up here and nowhere else: what may not be asked is taken
//! out, and what is left is what the connection is made to. No proxy, redirect, repetition or decompression. Leaves who may
//! be asked to `opsward_core::egress`, and metadata services to `credentials::metadata`. Tested by `tests/tests/it/egress.rs`.

use crate::failpoint::{looked_up, wrong};
use opsward_core::egress::{Reach, Refused, admissible};
use opsward_core::endpoint::Endpoint;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::{Client, ClientBuilder, Url};
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::SocketAddr;
use std::time::Duration;

/// How long a connection may take, name resolution and TLS included: then nothing was sent, and trying again is safe.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long an idle connection is kept: well below the servers' own patience, since a request written into a connection
/// that the server is closing is lost in an unclear state.
const POOL_IDLE: Duration = Duration::from_secs(15);
/// Idle connections kept per host: as many as runs are in a guest at a time. With fewer, a burst of events closes
/// connections and makes new ones, which costs more than the calls do, and each takes a TLS handshake.
const POOL_IDLE_MAX: usize = 128;
/// Most header fields of an answer; the vendors send about ten. Their bytes are bounded by hyper, at some 400 KiB.
const ANSWER_HEADERS_MAX: usize = 64;

/// A client for each reach: a connection made for one is never used for another.
pub(super) struct Clients(HashMap<Reach, Client>);

impl Clients {
    /// Those for `reaches`. Each reads the machine's certificates, which takes a while.
    pub(super) fn new(reaches: impl IntoIterator<Item = Reach>) -> reqwest::Result<Self> {
        Self(HashMap::new()).and(reaches)
    }

    /// The same with those for `reaches`.
    pub(super) fn and(mut self, reaches: impl IntoIterator<Item = Reach>) -> reqwest::Result<Self> {
        for reach in reaches {
            if let Entry::Vacant(vacant) = self.0.entry(reach) {
                vacant.insert(client(reach)?);
            }
        }
        Ok(self)
    }

    /// The client and the URL for a request to `endpoint`; `None` where the URL would be read as another host's, or nobody
    /// has named the endpoint.
    pub(super) fn to(&self, endpoint: &Endpoint, url: &str) -> Option<(&Client, Url)> {
        let url = Url::parse(url).ok()?;
        let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
        let origin = format!("{}://{}{port}", url.scheme(), url.host_str()?);
        let is_same = origin == endpoint.to_string() && url.username().is_empty() && url.password().is_none();
        let client = self.0.get(&endpoint.reach())?;
        is_same.then_some((client, url))
    }
}

/// For the commands: to listeners of this machine.
pub(crate) fn to_own_host() -> ClientBuilder {
    checked(Reach::Loopback)
}

fn client(reach: Reach) -> reqwest::Result<Client> {
    let builder = || {
        checked(reach)
            .connect_timeout(CONNECT_TIMEOUT)
            .pool_idle_timeout(POOL_IDLE)
            .pool_max_idle_per_host(POOL_IDLE_MAX)
            .http1_max_headers(ANSWER_HEADERS_MAX)
    };
    builder().build().or_else(|cause| {
        tracing::warn!(%cause, "no CA certificates found, so https calls will fail: install `ca-certificates`");
        builder().tls_certs_only([]).build()
    })
}

fn checked(reach: Reach) -> ClientBuilder {
    Client::builder()
        .user_agent(concat!("opsward/", env!("CARGO_PKG_VERSION")))
        .dns_resolver(Checked(reach))
        // It would look names up itself.
        .no_proxy()
        // A redirected request would bear a signature for another host; a repeated one could take effect twice.
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .referer(false)
        // A small answer could become a large one after its size was looked at. Off by default, and to stay so.
        .no_gzip()
        .no_brotli()
        .no_zstd()
        .no_deflate()
}

/// Looks names up, and gives the addresses that may be asked.
pub(super) struct Checked(pub(super) Reach);

impl Resolve for Checked {
    fn resolve(&self, name: Name) -> Resolving {
        let reach = self.0;
        Box::pin(async move {
            let host = name.as_str();
            tracing::debug!(host, "looking up");
            let found: Vec<SocketAddr> = match looked_up(host) {
                Some(told) => told,
                None => tokio::net::lookup_host((host, 0)).await?.collect(),
            };
            let addresses = if wrong("any-address") { found } else { admissible(host, found, reach)? };
            Ok(Box::new(addresses.into_iter()) as Addrs)
        })
    }
}

/// Why no connection was made, where it is because nobody may ask there.
pub(super) fn refused(error: &reqwest::Error) -> Option<&Refused> {
    let mut cause: &dyn std::error::Error = error;
    loop {
        match cause.downcast_ref() {
            Some(refused) => return Some(refused),
            None => cause = cause.source()?,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_goes_to_the_host_that_was_judged_or_nowhere() {
        let clients = Clients::new([Reach::Loopback, Reach::Loopback]).expect("clients");
        let sim = Endpoint::parse("http://127.0.0.1:9000").expect("an endpoint");
        assert!(clients.to(&sim, &sim.url("/?A=%20b@c#d")).is_some());
        for url in [
            "http://127.0.0.1:9001/",
            "http://127.0.0.1/",
            "https://127.0.0.1:9000/",
            "http://127.0.0.1:9000@127.0.0.2/",
            "http://127.0.0.2:9000/",
            "http://u@127.0.0.1:9000/",
            "http://u:w@127.0.0.1:9000/",
            "127.0.0.1:9000/",
            "//127.0.0.1:9000/",
            "",
        ] {
            assert!(clients.to(&sim, url).is_none(), "{url}");
        }
        let named = Endpoint::parse("https://10.0.0.1").expect("an endpoint");
        assert!(clients.to(&named, &named.url("/")).is_none(), "nobody has named it");
    }

    #[test]
    fn what_is_taken_for_an_endpoint_is_read_alike_by_the_client() {
        for text in [
            "https://ECS-vpc.cn-hangzhou.aliyuncs.com:443",
            "https://cvm.internal.tencentcloudapi.com/",
            "https://a_b.example:08443",
            "https://xn--fiqs8s.example",
            "https://1.example",
            "https://10.1.2.3:65535",
            "https://[2001:4860:0:0:1::1]:1",
            "https://[fd00::1]",
            "https://[64:ff9b::8.8.8.8]",
            "http://[::1]:9000",
            "http://localhost",
            "http://127.1.2.3:80",
        ] {
            let endpoint = Endpoint::parse(text).expect(text);
            let clients = Clients([(endpoint.reach(), Client::new())].into());
            assert!(clients.to(&endpoint, &endpoint.url("/?a=b")).is_some(), "{text} is {endpoint}");
        }
    }
}
