//! What a `[sources.<name>]` table says of a source that events are posted to: what proves its senders, from where they may come, and
//! how fast. Leaves checking a delivery to `sender`, and which kinds are posted to `sources`. Tested in `super::tests::posted`.

use super::defaults;
use super::finding::ConfigError;
use super::source::{Source, Step, did_you_mean, place};
use super::typed::{BasicAuth, EventSource, SourceSignature};
use crate::endpoint::{Endpoint, is_region};
use crate::secret::SecretRef;
use crate::sender::addresses::{AddressRange, RANGES_MAX};
use crate::sender::{Algorithm, Bus, Encoding, HmacHeader, Proof};

/// A source that events are posted to.
#[derive(Debug, Clone)]
pub struct PostedSettings {
    /// The unguessable part of its path.
    pub token: SecretRef,
    /// What deliveries must bear besides.
    pub proof: Proof<SecretRef>,
    /// From where they may come; from anywhere where there is none.
    pub addresses: Vec<AddressRange>,
    /// Most deliveries a second.
    pub rate: u32,
}

impl PostedSettings {
    /// Everything secret that it refers to, and what it is.
    pub fn secrets(&self) -> Vec<(&'static str, &SecretRef)> {
        let proof = self.proof.secrets().into_iter().map(|reference| ("what proves its senders", reference));
        [("the token", &self.token)].into_iter().chain(proof).collect()
    }
}

/// Most of a rate: more than one machine records.
const RATE_MAX: u32 = 100_000;
/// Longest part of an URL before `/hooks/`, in bytes.
const URL_BYTES_MAX: usize = 1024;
/// Longest header name and prefix, in bytes.
const HEADER_BYTES_MAX: usize = 128;

/// Where in a source's table secrets may stand, the tables that hold them included.
pub(super) const SECRET_PLACES: [&[&str]; 7] = [
    &["token"],
    &["signature"],
    &["signature", "secret"],
    &["signature", "old-secret"],
    &["signature", "token"],
    &["basic-auth"],
    &["basic-auth", "secret"],
];

/// Signature schemes by the names that operators write, with the keys that each knows.
const SCHEMES: [(&str, &[&str]); 3] = [
    ("standard-webhooks", &["secret", "old-secret"]),
    ("hmac", &["secret", "old-secret", "header", "algorithm", "encoding", "prefix"]),
    ("eventbridge", &["url", "region", "token", "certificates"]),
];

pub(super) fn resolve(
    source: &Source<'_>,
    name: &str,
    typed: EventSource,
    region: Option<&str>,
    errors: &mut Vec<ConfigError>,
) -> Option<PostedSettings> {
    let before = errors.len();
    let at = place!["sources", name];
    if typed.token.is_none() {
        errors.push(source.missing(at, "token", "add `token = { env = \"CLOUDMONITOR_TOKEN\" }`"));
    }
    let addresses = ranges(source, &[at, place!["addresses"]].concat(), typed.addresses.as_deref(), errors);
    let rate = rate(source, name, typed.rate.as_deref(), errors);
    let proof = match (typed.signature, typed.basic_auth) {
        (None, None) => Some(Proof::None),
        (Some(signature), None) => signed(source, name, signature, region, errors),
        (None, Some(BasicAuth { user, secret })) => {
            // RFC 7617, section 2: a colon ends the user.
            if user.is_empty() || user.contains(':') {
                let fix = "write the user that stands before `:` in the URL";
                let place = [at, place!["basic-auth", "user"]].concat();
                errors.push(source.error(&place, "not a user of BasicAuth", fix));
            }
            Some(Proof::Basic { user, secret })
        }
        (Some(_), Some(_)) => {
            let message = "a source has `signature` or `basic-auth`";
            let fix = "keep `signature`: it is worth more";
            errors.push(source.key_error(&[at, place!["basic-auth"]].concat(), message, fix));
            None
        }
    };
    let settings = PostedSettings { token: typed.token?, proof: proof?, addresses, rate };
    (errors.len() == before).then_some(settings)
}

/// The ranges of addresses in the list at `place`.
pub(super) fn ranges(
    source: &Source<'_>,
    place: &[Step<'_>],
    typed: Option<&[String]>,
    errors: &mut Vec<ConfigError>,
) -> Vec<AddressRange> {
    let Some(typed) = typed else { return Vec::new() };
    if typed.is_empty() || typed.len() > RANGES_MAX {
        let message = format!("a list of 1 to {RANGES_MAX} ranges of addresses is wanted");
        errors.push(source.error(place, message, "leave it out, or write `[\"47.74.206.0/26\"]`"));
    }
    let mut ranges = Vec::new();
    for (nth, text) in typed.iter().enumerate() {
        match text.parse::<AddressRange>() {
            Ok(range) => ranges.push(range),
            Err(error) => {
                errors.push(source.error(&[place, &[Step::At(nth)]].concat(), error.to_string(), ""))
            }
        }
    }
    ranges
}

fn rate(source: &Source<'_>, name: &str, typed: Option<&str>, errors: &mut Vec<ConfigError>) -> u32 {
    let Some(text) = typed else { return defaults::SOURCE_RATE };
    let number = text.strip_suffix("/s").and_then(|number| number.parse().ok());
    let rate = number.filter(|rate| (1..=RATE_MAX).contains(rate));
    if rate.is_none() {
        let fix = format!("write deliveries a second from `1/s` to `{RATE_MAX}/s`, such as `100/s`");
        let message = format!("`{text}` is not a rate");
        errors.push(source.error(place!["sources", name, "rate"], message, fix));
    }
    rate.unwrap_or(defaults::SOURCE_RATE)
}

fn signed(
    source: &Source<'_>,
    name: &str,
    typed: SourceSignature,
    region: Option<&str>,
    errors: &mut Vec<ConfigError>,
) -> Option<Proof<SecretRef>> {
    let at = place!["sources", name, "signature"];
    let Some((scheme, known)) = SCHEMES.iter().find(|(scheme, _)| *scheme == typed.scheme) else {
        let schemes = SCHEMES.map(|(scheme, _)| scheme);
        let message = format!("unknown signature scheme `{}`", typed.scheme);
        let fix = did_you_mean(&typed.scheme, &schemes, "known schemes");
        errors.push(source.error(&[at, place!["scheme"]].concat(), message, fix));
        return None;
    };
    for key in source.keys(at) {
        if key != "scheme" && !known.contains(&key) {
            let message = format!("`{key}` has no use with `{scheme}`");
            let fix = format!("leave it out; keys of this scheme: {}", known.join(", "));
            errors.push(source.key_error(&[at, place![key]].concat(), message, fix));
        }
    }
    if *scheme == "eventbridge" {
        return bus(source, at, typed, region, errors).map(Proof::EventBridge);
    }
    let Some(secret) = typed.secret.clone() else {
        let fix = "add `secret = { env = \"WEBHOOK_SECRET\" }`";
        errors.push(source.missing(at, "secret", fix));
        return None;
    };
    let secrets = [Some(secret), typed.old_secret.clone()].into_iter().flatten().collect();
    match *scheme {
        "hmac" => Some(Proof::Hmac(hmac_header(source, at, typed, errors)?, secrets)),
        _ => Some(Proof::Webhook(secrets)),
    }
}

fn hmac_header(
    source: &Source<'_>,
    at: &[Step<'_>],
    typed: SourceSignature,
    errors: &mut Vec<ConfigError>,
) -> Option<HmacHeader> {
    let before = errors.len();
    let Some(name) = typed.header.map(|name| name.to_ascii_lowercase()) else {
        errors.push(source.missing(at, "header", "add `header = \"x-hub-signature-256\"`"));
        return None;
    };
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
    if name.is_empty() || name.len() > HEADER_BYTES_MAX || !name.bytes().all(is_name) {
        let fix = "write it as in `x-hub-signature-256`";
        errors.push(source.error(&[at, place!["header"]].concat(), "not the name of a header", fix));
    }
    let prefix = typed.prefix.unwrap_or_default();
    if prefix.len() > HEADER_BYTES_MAX {
        let message = format!("longer than {HEADER_BYTES_MAX} bytes");
        errors.push(source.error(&[at, place!["prefix"]].concat(), message, "write it as in `sha256=`"));
    }
    let algorithm = typed.algorithm.as_deref().map_or(Some(Algorithm::Sha256), Algorithm::of);
    if algorithm.is_none() {
        let place = [at, place!["algorithm"]].concat();
        errors.push(source.error(&place, "not a hash that is known", "write `sha256` or `sha1`"));
    }
    let encoding = typed.encoding.as_deref().map_or(Some(Encoding::Hex), Encoding::of);
    if encoding.is_none() {
        let place = [at, place!["encoding"]].concat();
        errors.push(source.error(&place, "not a text form that is known", "write `hex` or `base64`"));
    }
    let header = HmacHeader { name, algorithm: algorithm?, encoding: encoding?, prefix };
    (errors.len() == before).then_some(header)
}

fn bus(
    source: &Source<'_>,
    at: &[Step<'_>],
    typed: SourceSignature,
    region: Option<&str>,
    errors: &mut Vec<ConfigError>,
) -> Option<Bus<SecretRef>> {
    let before = errors.len();
    let url = typed.url.as_deref().map(|url| url.strip_suffix('/').unwrap_or(url).to_owned());
    match &url {
        None => {
            let fix = "it is signed: add `url = \"https://<this host, as the sender knows it>\"`";
            errors.push(source.missing(at, "url", fix));
        }
        Some(url) if !is_base(url) => {
            let fix = "write what stands before `/hooks/` in the URL that the sender was given";
            errors.push(source.error(
                &[at, place!["url"]].concat(),
                "not the beginning of a webhook's URL",
                fix,
            ));
        }
        Some(_) => {}
    }
    let region = typed.region.as_deref().or(region).map(str::to_owned);
    match &region {
        None => {
            let fix = "whose bus it is: add `region = \"cn-hangzhou\"`, or give the source an account with a region";
            errors.push(source.missing(at, "region", fix));
        }
        Some(region) if !is_region(region) => {
            let message = format!("`{region}` is not a region");
            errors.push(source.error(
                &[at, place!["region"]].concat(),
                message,
                "write it as in `cn-hangzhou`",
            ));
        }
        Some(_) => {}
    }
    let certificates = typed.certificates.as_deref().map(Endpoint::parse).transpose();
    if let Err(error) = &certificates {
        errors.push(source.error(&[at, place!["certificates"]].concat(), error.to_string(), ""));
    }
    let bus = Bus { url: url?, region: region?, token: typed.token, certificates: certificates.ok()? };
    (errors.len() == before).then_some(bus)
}

/// Whether paths can be put behind it.
fn is_base(url: &str) -> bool {
    let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"));
    let is_plain = |byte: u8| byte.is_ascii_graphic() && !b"?#@\\\"<>".contains(&byte);
    rest.is_some_and(|rest| !rest.is_empty() && !rest.starts_with('/') && rest.bytes().all(is_plain))
        && url.len() <= URL_BYTES_MAX
        && !url.contains("/hooks/")
}
