//! Where a service is reached: computed from provider, service and region by a table, never asked from the network. An
//! account may name one endpoint for everything. Leaves which addresses that may be to `egress`, API versions to `catalog` and
//! connecting to the host. Tested below.
//!
//! Source: the endpoint maps of Alibaba's present SDKs and of tencentcloud-sdk-python-common 3.1.195.

mod table;

use crate::catalog::Provider;
use crate::egress::{Host, Reach, Refused};
use std::fmt;
use table::Service;

/// Longest region name taken, in bytes: one DNS label.
pub const REGION_BYTES_MAX: usize = 63;
/// Most digits of an Alibaba account's number; they have 16.
const OWNER_DIGITS_MAX: usize = 20;
/// Longest name of a log project: the vendor's limit.
const PROJECT_BYTES_MAX: usize = 63;
/// Characters of a configured endpoint that a message repeats.
const SHOWN_CHARS_MAX: usize = 200;

/// Scheme and authority of a service; the path is always `/`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Endpoint {
    is_https: bool,
    authority: String,
    reach: Reach,
}

/// Why there is no endpoint.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EndpointError {
    /// The region would not be a part of a host name.
    #[error("`{0}` is not a region: expected the form `cn-hangzhou`")]
    InvalidRegion(String),
    /// The owner of a queue is not an account's number.
    #[error("`{0}` is not the number of an account: it has up to {OWNER_DIGITS_MAX} digits")]
    InvalidOwner(String),
    /// The project is not a part of a host name.
    #[error("`{0}` is not a log project: it has 3 to {PROJECT_BYTES_MAX} lower-case letters, digits and `-`")]
    InvalidProject(String),
    /// The service needs one.
    #[error("service `{0}` needs a region, and neither the call nor the account names one")]
    NoRegion(String),
    /// Not in the table.
    #[error("service `{service}` of {provider} is not known; known are: {known}")]
    UnknownService {
        /// Whose.
        provider: &'static str,
        /// What was asked for, cut to 40 characters.
        service: String,
        /// What there is.
        known: String,
    },
    /// The configured endpoint is not a plain origin.
    #[error("endpoint `{0}` must be `https://host[:port]`, without path, query or user")]
    NotAnOrigin(String),
    /// The configured endpoint is a machine's metadata service, which hands out credentials.
    #[error("endpoint `{0}` is a metadata service: calls never go there")]
    Metadata(String),
    /// The configured endpoint has an address that no cloud has.
    #[error("endpoint: {0}")]
    Address(Refused),
    /// The configured endpoint would carry credentials in clear over a network.
    #[error("endpoint `{0}` uses plain http, which is allowed for loopback hosts only: use https")]
    PlainHttp(String),
}

impl Endpoint {
    /// Reads an account's `endpoint`.
    ///
    /// # Errors
    /// `NotAnOrigin`, `Metadata`, `Address`, and `PlainHttp` for http to anything but `localhost`, 127.0.0.0/8 and `[::1]`.
    pub fn parse(text: &str) -> Result<Self, EndpointError> {
        let shown = || text.chars().take(SHOWN_CHARS_MAX).collect();
        let not_an_origin = || EndpointError::NotAnOrigin(shown());
        let (scheme, rest) = text.split_once("://").ok_or_else(not_an_origin)?;
        let is_https = match scheme {
            "https" => true,
            "http" => false,
            _ => return Err(not_an_origin()),
        };
        let authority = rest.strip_suffix('/').unwrap_or(rest);
        let (host, port) = split_authority(authority).ok_or_else(not_an_origin)?;
        let host = Host::parse(host).ok_or_else(not_an_origin)?;
        if host.is_metadata() {
            return Err(EndpointError::Metadata(shown()));
        }
        let reach = host.reach().map_err(EndpointError::Address)?;
        if !is_https && reach != Reach::Loopback {
            return Err(EndpointError::PlainHttp(shown()));
        }
        // Clients leave the default port out of the Host header, which is signed.
        let authority = match port.filter(|port| *port != if is_https { 443 } else { 80 }) {
            Some(port) => format!("{host}:{port}"),
            None => host.to_string(),
        };
        Ok(Self { is_https, authority, reach })
    }

    /// The endpoint of a vendor's host that no table has, computed like those of the table.
    pub(crate) fn of_vendor(host: &str) -> Self {
        Self { is_https: true, authority: host.to_owned(), reach: Reach::Table }
    }

    /// The endpoint of `service` in `region`; `region` may be empty for a service that is the same everywhere.
    ///
    /// # Errors
    /// `UnknownService`, `InvalidRegion`, `NoRegion`.
    pub fn of(provider: Provider, service: &str, region: &str) -> Result<Self, EndpointError> {
        let entry = find(provider, service)?;
        if !region.is_empty() && !is_region(region) {
            return Err(EndpointError::InvalidRegion(region.chars().take(REGION_BYTES_MAX + 1).collect()));
        }
        let host = match (provider, region) {
            (Provider::Alibaba, "") => {
                entry.central.map(str::to_owned).ok_or_else(|| EndpointError::NoRegion(service.to_owned()))?
            }
            (Provider::Alibaba, _) => {
                match entry.exceptions.iter().find(|(_, regions)| regions.contains(&region)) {
                    Some((host, _)) => (*host).to_owned(),
                    None => format!("{}.{region}.aliyuncs.com", entry.host_label),
                }
            }
            (Provider::Tencent, _) if table::TENCENT_REGIONAL_ONLY.contains(&region) => {
                format!("{}.{region}.tencentcloudapi.com", entry.host_label)
            }
            (Provider::Tencent, _) => format!("{}.tencentcloudapi.com", entry.host_label),
        };
        Ok(Self { is_https: true, authority: host, reach: Reach::Table })
    }

    /// The endpoint of the message queues that `owner`, an account's number, has in `region`.
    ///
    /// # Errors
    /// `InvalidRegion`, `InvalidOwner`.
    pub fn of_queues(owner: &str, region: &str) -> Result<Self, EndpointError> {
        let is_number = (1..=OWNER_DIGITS_MAX).contains(&owner.len());
        if !is_number || !owner.bytes().all(|b| b.is_ascii_digit()) {
            return Err(EndpointError::InvalidOwner(owner.chars().take(OWNER_DIGITS_MAX + 1).collect()));
        }
        Self::at(region, format!("{owner}.mns.{region}.aliyuncs.com"))
    }

    /// The endpoint of the log project `project` in `region`.
    ///
    /// # Errors
    /// `InvalidRegion`, `InvalidProject`.
    pub fn of_logs(project: &str, region: &str) -> Result<Self, EndpointError> {
        if !is_project(project) {
            return Err(EndpointError::InvalidProject(project.chars().take(PROJECT_BYTES_MAX + 1).collect()));
        }
        Self::at(region, format!("{project}.{region}.log.aliyuncs.com"))
    }

    fn at(region: &str, authority: String) -> Result<Self, EndpointError> {
        if !is_region(region) {
            return Err(EndpointError::InvalidRegion(region.chars().take(REGION_BYTES_MAX + 1).collect()));
        }
        Ok(Self { is_https: true, authority, reach: Reach::Table })
    }

    /// Host, with the port where it is not the scheme's default: the value of the Host header.
    pub fn authority(&self) -> &str {
        &self.authority
    }

    /// The host as it stands in a URL.
    pub fn host(&self) -> &str {
        split_authority(&self.authority).map_or("", |(host, _)| host)
    }

    /// Where requests to it may go.
    pub fn reach(&self) -> Reach {
        self.reach
    }

    /// The absolute URL of `path_and_query`, which begins with `/`.
    pub fn url(&self, path_and_query: &str) -> String {
        format!("{self}{path_and_query}")
    }
}

/// The origin: `https://host`.
impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", if self.is_https { "https" } else { "http" }, self.authority)
    }
}

/// Whether `text` has a region's form, `^[a-z]{2}(-[a-z0-9]+)+$`. Regions come from events and enter host names.
pub fn is_region(text: &str) -> bool {
    let mut labels = text.split('-');
    let country = labels.next().unwrap_or_default();
    let mut rest = labels.peekable();
    let is_label = |label: &str| {
        !label.is_empty() && label.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
    };
    text.len() <= REGION_BYTES_MAX
        && country.len() == 2
        && country.bytes().all(|b| b.is_ascii_lowercase())
        && rest.peek().is_some()
        && rest.all(is_label)
}

fn is_project(text: &str) -> bool {
    let is_label = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    (3..=PROJECT_BYTES_MAX).contains(&text.len())
        && text.bytes().all(is_label)
        && !text.starts_with('-')
        && !text.ends_with('-')
}

fn find(provider: Provider, service: &str) -> Result<&'static Service, EndpointError> {
    let (name, services) = match provider {
        Provider::Alibaba => ("Alibaba", table::ALIBABA),
        Provider::Tencent => ("Tencent", table::TENCENT),
    };
    services.iter().find(|entry| entry.name == service).ok_or_else(|| EndpointError::UnknownService {
        provider: name,
        service: service.chars().take(40).collect(),
        known: services.iter().map(|entry| entry.name).collect::<Vec<_>>().join(", "),
    })
}

/// Host (an IPv6 address in its brackets) and port.
fn split_authority(authority: &str) -> Option<(&str, Option<u16>)> {
    let host_end = if authority.starts_with('[') {
        authority.find(']')? + 1
    } else {
        authority.find(':').unwrap_or(authority.len())
    };
    let (host, port) = authority.split_at(host_end);
    match port.strip_prefix(':') {
        None if port.is_empty() => Some((host, None)),
        None => None,
        Some(digits) if digits.bytes().all(|b| b.is_ascii_digit()) => {
            Some((host, Some(digits.parse().ok()?)))
        }
        Some(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog;
    use Provider::{Alibaba, Tencent};

    #[test]
    fn hosts_follow_service_and_region() {
        for (provider, service, region, host) in [
            (Alibaba, "ecs", "cn-hangzhou", "ecs-cn-hangzhou.aliyuncs.com"),
            (Alibaba, "ecs", "cn-beijing", "ecs.cn-beijing.aliyuncs.com"),
            (Alibaba, "ecs", "cn-north-2-gov-1", "ecs.aliyuncs.com"),
            (Alibaba, "ecs", "cn-shenzhen-finance-1", "ecs-cn-hangzhou.aliyuncs.com"),
            (Alibaba, "ecs", "eu-west-1-oxs", "ecs.cn-shenzhen-cloudstone.aliyuncs.com"),
            (Alibaba, "sts", "cn-hangzhou", "sts.cn-hangzhou.aliyuncs.com"),
            (Alibaba, "sts", "", "sts.aliyuncs.com"),
            (Alibaba, "sts", "ap-south-1", "sts.aliyuncs.com"),
            (Alibaba, "cms", "cn-shanghai", "metrics.cn-shanghai.aliyuncs.com"),
            (Alibaba, "ess", "cn-shanghai", "ess.aliyuncs.com"),
            (Alibaba, "ess", "eu-west-1", "ess.eu-west-1.aliyuncs.com"),
            (Tencent, "cvm", "ap-shanghai", "cvm.tencentcloudapi.com"),
            (Tencent, "cvm", "", "cvm.tencentcloudapi.com"),
            (Tencent, "cbs", "ap-shanghai-fsi", "cbs.ap-shanghai-fsi.tencentcloudapi.com"),
        ] {
            let endpoint = Endpoint::of(provider, service, region);
            assert_eq!(endpoint.map(|e| e.to_string()), Ok(format!("https://{host}")), "{service} {region}");
        }
        for provider in [Alibaba, Tencent] {
            for service in catalog::services(provider).filter(|service| catalog::is_spoken(provider, service))
            {
                assert!(Endpoint::of(provider, service, "ap-southeast-1").is_ok(), "{service}");
            }
        }
        let queues =
            Endpoint::of_queues("1234567890123456", "cn-hangzhou").map(|endpoint| endpoint.to_string());
        assert_eq!(queues, Ok("https://1234567890123456.mns.cn-hangzhou.aliyuncs.com".into()));
        let logs = Endpoint::of_logs("my-project", "cn-hangzhou").map(|endpoint| endpoint.to_string());
        assert_eq!(logs, Ok("https://my-project.cn-hangzhou.log.aliyuncs.com".into()));
        for project in ["", "ab", "a.b", "My-project", "-abc", "abc-", "a/b"] {
            let refused = Endpoint::of_logs(project, "cn-hangzhou");
            assert!(matches!(refused, Err(EndpointError::InvalidProject(_))), "{project}");
        }
        for owner in ["", "12a", "1.evil.example/", "123456789012345678901"] {
            let refused = Endpoint::of_queues(owner, "cn-hangzhou");
            assert!(matches!(refused, Err(EndpointError::InvalidOwner(_))), "{owner}");
        }
        assert_eq!(Endpoint::of(Alibaba, "ecs", ""), Err(EndpointError::NoRegion("ecs".into())));
        assert!(matches!(Endpoint::of(Tencent, "ecs", ""), Err(EndpointError::UnknownService { .. })));
    }

    #[test]
    fn a_region_that_would_change_the_host_is_refused() {
        let long = format!("cn-{}", "x".repeat(REGION_BYTES_MAX));
        for bad in [
            "cn",
            "cn-",
            "-a",
            "c-a",
            "CN-a",
            "cn-a.evil.example",
            "cn-a/b",
            "cn-a@b",
            "cn--a",
            "cn-ä",
            &long,
        ] {
            assert!(!is_region(bad), "{bad}");
            assert!(
                matches!(Endpoint::of(Alibaba, "ecs", bad), Err(EndpointError::InvalidRegion(_))),
                "{bad}"
            );
        }
        assert!(is_region("cn-hangzhou") && is_region("ap-southeast-1") && is_region("cn-north-2-gov-1"));
    }

    #[test]
    fn a_configured_endpoint_is_an_origin_and_plain_http_stays_on_this_machine() {
        for (text, origin) in [
            ("http://127.0.0.1:9000", "http://127.0.0.1:9000"),
            ("http://localhost:9000/", "http://localhost:9000"),
            ("http://[::1]:9000", "http://[::1]:9000"),
            ("https://ECS-vpc.cn-hangzhou.aliyuncs.com:443", "https://ecs-vpc.cn-hangzhou.aliyuncs.com"),
        ] {
            assert_eq!(Endpoint::parse(text).map(|e| e.to_string()), Ok(origin.to_owned()));
        }
        for text in ["http://10.0.0.1", "http://localhost.evil.example", "http://ecs.aliyuncs.com"] {
            assert_eq!(Endpoint::parse(text), Err(EndpointError::PlainHttp(text.into())), "{text}");
        }
        for text in ["https://100.100.100.200", "https://169.254.0.23:8443", "http://Metadata.TencentYun.com"]
        {
            assert_eq!(Endpoint::parse(text), Err(EndpointError::Metadata(text.into())), "{text}");
        }
        for text in [
            "",
            "ecs.aliyuncs.com",
            "ftp://a",
            "https://",
            "https://a/b",
            "https://u@a",
            "https://a?b",
            "https://a:x",
            "https://a:99999",
            "https://[::1",
            "http://[::1]x",
        ] {
            assert_eq!(Endpoint::parse(text), Err(EndpointError::NotAnOrigin(text.into())), "{text}");
        }
    }
}
