//! The protocol of Alibaba's log stores (SLS), as far as a reader needs it: which shards there are, where one begins, and what comes
//! after a cursor. Leaves the records of a page to `log_groups`, when to ask to `poll`, signing to `sign::alibaba_sls`, and what a record says to `event`. Tested below.
//!
//! Reading shard by shard is sturdier than searching: a cursor stands in the order of arrival, so that what is written late, with an
//! earlier time, is behind it all the same.
//!
//! Source: SLS's pages `ListShards`, `GetCursor`, `PullLogs`; aliyun-log-python-sdk 0.9.52 `log_logs.proto`.

use super::log_groups::LogGroups;
use super::{AnswerError, Request};
use crate::endpoint::Endpoint;
use crate::sign::encoding::{encode, join};
use serde::Deserialize;

/// Longest page, in bytes before compression: one group of records has at most 10 MB.
pub const PAGE_BYTES_MAX: usize = 16 << 20;
/// Most groups of records in a page where nothing says otherwise: far from the limit with records of usual size.
pub const PAGE_GROUPS: u32 = 100;
/// Most shards of a log store: the vendor has 256 at the most.
const SHARDS_MAX: usize = 1024;
/// Longest cursor that is kept, in bytes; they have 24 and some.
const CURSOR_BYTES_MAX: usize = 1024;

/// One shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shard {
    /// Its number.
    pub id: u32,
    /// Whether more may be written to it; one that was split or merged is only read.
    pub is_open: bool,
}

/// What follows a cursor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// The cursor after it; the same where nothing follows.
    pub next: String,
    /// The records in their order.
    pub groups: LogGroups,
}

/// What an answer says beside its body.
#[derive(Debug, Clone, Copy, Default)]
pub struct PageHeaders<'a> {
    /// `x-log-cursor`.
    pub cursor: Option<&'a str>,
    /// `x-log-compresstype`.
    pub compression: Option<&'a str>,
    /// `x-log-bodyrawsize`.
    pub raw_bytes: Option<&'a str>,
}

/// What tells a log store from others, wherever it is asked: project and region, or the operator's own endpoint, and its name.
pub fn identity(endpoint: &Endpoint, store: &str) -> String {
    let host = endpoint.to_string();
    let place = match endpoint.host().strip_suffix(OF_VENDOR) {
        // The same from within the region as from outside.
        Some(place) => WAYS.iter().find_map(|way| place.strip_suffix(way)).unwrap_or(place),
        None => &host,
    };
    format!("{place}/{store}")
}

const OF_VENDOR: &str = ".log.aliyuncs.com";
const WAYS: [&str; 3] = ["-intranet", "-internal", "-share"];

/// Which shards there are.
pub fn shards(store: &str) -> Request {
    get(format!("/logstores/{}/shards", encode(store)))
}

/// The cursor before what arrived from `seconds` since 1970 on; the shard's beginning where that is earlier.
pub fn cursor(store: &str, shard: u32, seconds: i64) -> Request {
    let query = join(&[("type", "cursor"), ("from", &seconds.max(1).to_string())]);
    get(format!("/logstores/{}/shards/{shard}?{query}", encode(store)))
}

/// What follows `cursor`, of which `query` leaves some out, if there is one.
pub fn page(store: &str, shard: u32, cursor: &str, groups: u32, query: Option<&str>) -> Request {
    let groups = groups.to_string();
    let mut pairs = vec![("type", "log"), ("cursor", cursor), ("count", &groups)];
    if let Some(query) = query {
        pairs.extend([("pullMode", "scan_on_stream"), ("query", query)]);
    }
    get(format!("/logstores/{}/shards/{shard}?{}", encode(store), join(&pairs)))
}

fn get(target: String) -> Request {
    Request { method: "GET", target, body: String::new() }
}

/// The shards in an answer.
///
/// # Errors
/// Where the cloud refuses, or says something that is not documented.
pub fn read_shards(status: u16, body: &[u8]) -> Result<Vec<Shard>, AnswerError> {
    #[derive(Deserialize)]
    struct Typed {
        #[serde(rename = "shardID")]
        id: u32,
        #[serde(default)]
        status: String,
    }
    let typed: Vec<Typed> = read_json(status, body)?;
    if typed.len() > SHARDS_MAX {
        return Err(unreadable(status, format!("it has more than {SHARDS_MAX} shards")));
    }
    Ok(typed.into_iter().map(|shard| Shard { id: shard.id, is_open: shard.status != "readonly" }).collect())
}

/// The cursor in an answer.
///
/// # Errors
/// As `read_shards`.
pub fn read_cursor(status: u16, body: &[u8]) -> Result<String, AnswerError> {
    #[derive(Deserialize)]
    struct Typed {
        cursor: String,
    }
    checked_cursor(status, read_json::<Typed>(status, body)?.cursor)
}

/// The records in an answer.
///
/// # Errors
/// As `read_shards`.
pub fn read_page(status: u16, headers: PageHeaders<'_>, body: &[u8]) -> Result<Page, AnswerError> {
    if status != 200 {
        return Err(refused(status, body));
    }
    let next = headers.cursor.ok_or_else(|| unreadable(status, "there is no `x-log-cursor`".to_owned()))?;
    let next = checked_cursor(status, next.to_owned())?;
    let groups = LogGroups::read(unpacked(status, headers, body)?);
    Ok(Page { next, groups: groups.map_err(|malformed| unreadable(status, malformed.to_string()))? })
}

/// Whether the cloud no longer knows a cursor: what it stood before has been deleted by age.
pub fn is_cursor_lost(error: &AnswerError) -> bool {
    matches!(error, AnswerError::Refused { code, .. } if code == "InvalidCursor")
}

fn checked_cursor(status: u16, cursor: String) -> Result<String, AnswerError> {
    if cursor.is_empty() || cursor.len() > CURSOR_BYTES_MAX {
        return Err(unreadable(status, "a cursor is empty or too long".to_owned()));
    }
    Ok(cursor)
}

fn unreadable(status: u16, problem: String) -> AnswerError {
    AnswerError::Unreadable { status, problem }
}

fn read_json<T: for<'a> Deserialize<'a>>(status: u16, body: &[u8]) -> Result<T, AnswerError> {
    if status != 200 {
        return Err(refused(status, body));
    }
    serde_json::from_slice(body).map_err(|error| unreadable(status, error.to_string()))
}

fn refused(status: u16, body: &[u8]) -> AnswerError {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Typed {
        error_code: String,
        #[serde(default)]
        error_message: String,
    }
    match serde_json::from_slice::<Typed>(body) {
        Ok(Typed { error_code: code, error_message: message }) => {
            AnswerError::Refused { status, code, message }
        }
        Err(error) => unreadable(status, error.to_string()),
    }
}

/// The body before compression, of the size it says and no larger.
fn unpacked(status: u16, headers: PageHeaders<'_>, body: &[u8]) -> Result<Vec<u8>, AnswerError> {
    match headers.compression {
        None | Some("") => Ok(body.to_vec()),
        Some(kind) if kind.eq_ignore_ascii_case("lz4") => {
            let size = headers.raw_bytes.and_then(|text| text.parse::<usize>().ok());
            let size = size.ok_or_else(|| unreadable(status, "its size is not told".to_owned()))?;
            match size {
                0 => Ok(Vec::new()),
                1..=PAGE_BYTES_MAX => lz4_flex::block::decompress(body, size)
                    .map_err(|error| unreadable(status, format!("LZ4: {error}"))),
                _ => Err(AnswerError::TooLarge { bytes_max: PAGE_BYTES_MAX }),
            }
        }
        Some(kind) => {
            Err(unreadable(status, format!("it is compressed as `{kind}`, which was not asked for")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sign::keyed_hash::from_base64;
    use serde_json::json;

    /// Two records in one group with a tag, then an empty group, as the vendor's SDK writes them, plain and in LZ4.
    const PLAIN: &str = "CpEBClQIkbbn2AUSLgoEbmFtZRImSW5zdGFuY2U6U3lzdGVtRmFpbHVyZS5SZWJvb3Q6RXhlY3V0ZWQSHAoHY29udGVudBIReyJldmVu\
                         dElkIjoiZS0xIn0KFQiStufYBRIICgFrEgPlgLwlBQAAABoBdCIIMTAuMC4wLjEyFQoMX19ob3N0bmFtZV9fEgV3ZWItMQoA";
    const PACKED: &str = "8IcKkQEKVAiRtufYBRIuCgRuYW1lEiZJbnN0YW5jZTpTeXN0ZW1GYWlsdXJlLlJlYm9vdDpFeGVjdXRlZBIcCgdjb250ZW50EhF7ImV2\
                          ZW50SWQiOiJlLTEifQoVCJK259gFEggKAWsSA+WAvCUFAAAAGgF0IggxMC4wLjAuMTIVCgxfX2hvc3RuYW1lX18SBXdlYi0xCgA=";
    const HEADERS: PageHeaders<'_> = PageHeaders { cursor: Some("MTY="), compression: None, raw_bytes: None };

    #[test]
    fn a_page_is_read_plain_and_packed() {
        let plain = read_page(200, HEADERS, &from_base64(PLAIN).expect("base64")).expect("readable");
        let records: Vec<String> = plain.groups.records().collect();
        assert_eq!((plain.next.as_str(), records.len()), ("MTY=", 2));
        let first: serde_json::Value = serde_json::from_str(&records[0]).expect("JSON");
        assert_eq!(
            first,
            json!({ "__time__": 1_528_421_137, "__topic__": "t", "__source__": "10.0.0.1", "__tag__:__hostname__": "web-1",
                "name": "Instance:SystemFailure.Reboot:Executed", "content": "{\"eventId\":\"e-1\"}" })
        );
        let headers = PageHeaders { compression: Some("lz4"), raw_bytes: Some("150"), ..HEADERS };
        assert_eq!(read_page(200, headers, &from_base64(PACKED).expect("base64")), Ok(plain));
        let nothing = PageHeaders { raw_bytes: Some("0"), ..headers };
        assert_eq!(read_page(200, nothing, b"").map(|page| page.groups.records().count()), Ok(0));
    }

    #[test]
    fn what_is_not_documented_is_told_and_never_taken_for_an_empty_page() {
        let packed = from_base64(PACKED).expect("base64");
        let lz4 = |size| PageHeaders { compression: Some("lz4"), raw_bytes: Some(size), ..HEADERS };
        for (headers, body, problem) in [
            (PageHeaders { cursor: None, ..HEADERS }, &b""[..], "there is no `x-log-cursor`"),
            (lz4("99999999999"), &packed, "longer than 16777216 bytes"),
            (PageHeaders { compression: Some("lz4"), ..HEADERS }, &packed, "its size is not told"),
            (lz4("10"), &packed, "LZ4"),
            (lz4("150"), &packed[..40], "LZ4"),
            (PageHeaders { compression: Some("zstd"), ..HEADERS }, b"", "not asked for"),
            (HEADERS, b"<html>", "no Protocol Buffers message"),
        ] {
            let error = read_page(200, headers, body).expect_err(problem).to_string();
            assert!(error.contains(problem), "{problem}: {error}");
        }
        let refusal = br#"{"errorCode":"InvalidCursor","errorMessage":"gone"}"#;
        let error = read_page(400, HEADERS, refusal).expect_err("refused");
        assert!(is_cursor_lost(&error), "{error}");
        assert!(read_shards(200, b"{}").is_err() && read_cursor(502, b"<html>").is_err());
    }

    #[test]
    fn a_log_store_is_the_same_from_within_its_region() {
        let of = |endpoint: &str| identity(&Endpoint::parse(endpoint).expect("an endpoint"), "events");
        let outside = of("https://my-project.cn-hangzhou.log.aliyuncs.com");
        assert_eq!(outside, "my-project.cn-hangzhou/events");
        assert_eq!(of("https://my-project.cn-hangzhou-intranet.log.aliyuncs.com"), outside);
        assert_ne!(of("https://other.cn-hangzhou.log.aliyuncs.com"), outside);
        assert_eq!(of("http://127.0.0.1:81"), "http://127.0.0.1:81/events");
    }

    #[test]
    fn shards_and_cursors_are_read_and_asked_for() {
        let shards_read =
            read_shards(200, br#"[{"shardID":0,"status":"readonly"},{"shardID":2,"status":"readwrite"}]"#);
        assert_eq!(shards_read, Ok(vec![Shard { id: 0, is_open: false }, Shard { id: 2, is_open: true }]));
        assert_eq!(read_cursor(200, br#"{"cursor":"MTY="}"#).as_deref(), Ok("MTY="));
        assert!(read_cursor(200, br#"{"cursor":""}"#).is_err());
        assert_eq!(shards("events").target, "/logstores/events/shards");
        assert_eq!(cursor("events", 2, -5).target, "/logstores/events/shards/2?type=cursor&from=1");
        let filtered = page("events", 2, "MTY=", 100, Some("* | where a = 'b'"));
        assert_eq!(
            filtered.target,
            "/logstores/events/shards/2?type=log&cursor=MTY%3D&count=100&pullMode=scan_on_stream&\
             query=%2A%20%7C%20where%20a%20%3D%20%27b%27"
        );
    }
}
