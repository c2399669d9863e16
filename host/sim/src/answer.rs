//! Answers as the vendors shape them: Alibaba in JSON or XML with an HTTP status, Tencent always 200 with `Response`.
//! Leaves what to answer to the products. Tested below and by the vendors' SDKs in `tests/peers`.

use crate::faults::FaultKind;
use axum::body::Body;
use axum::http::{HeaderValue, Response, StatusCode, header};
use opsward_core::catalog::Provider;
use serde_json::{Map, Value, json};
use std::borrow::Cow;

/// A refusal with the vendor's code. Tencent's are sent with HTTP 200 whatever `status` says.
#[derive(Debug, Clone)]
pub(crate) struct ApiError {
    pub(crate) status: u16,
    pub(crate) code: Cow<'static, str>,
    pub(crate) message: String,
}

impl ApiError {
    pub(crate) fn new(status: u16, code: impl Into<Cow<'static, str>>, message: impl Into<String>) -> Self {
        Self { status, code: code.into(), message: message.into() }
    }
}

/// What a product answers: the vendor's fields without the request id.
pub(crate) type Outcome = Result<Map<String, Value>, ApiError>;

/// The two body formats of Alibaba.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    Json,
    Xml,
}

/// An answer of Alibaba's gateway.
pub(crate) fn alibaba(
    action: &str,
    product: &str,
    host: &str,
    request_id: &str,
    format: Format,
    outcome: Outcome,
) -> Response<Body> {
    let (status, root, fields) = match outcome {
        Ok(mut fields) => {
            fields.insert("RequestId".into(), request_id.into());
            (200, format!("{action}Response"), fields)
        }
        Err(error) => {
            let recommend = format!(
                "https://api.aliyun.com/troubleshoot?q={}&product={}",
                error.code,
                title_case(product)
            );
            let fields = object(json!({
                "RequestId": request_id, "HostId": host, "Code": error.code, "Message": error.message,
                "Recommend": recommend,
            }));
            (error.status, "Error".to_owned(), fields)
        }
    };
    let (content_type, body) = match format {
        Format::Json => ("application/json;charset=utf-8", Value::Object(fields).to_string()),
        Format::Xml => ("text/xml;charset=utf-8", xml_document(&root, &fields)),
    };
    let mut response = respond(status, content_type, body);
    if let Ok(value) = HeaderValue::from_str(request_id) {
        response.headers_mut().insert("x-acs-request-id", value);
    }
    response
}

/// An answer of Tencent's gateway.
pub(crate) fn tencent(request_id: &str, outcome: Outcome) -> Response<Body> {
    let mut fields = match outcome {
        Ok(fields) => fields,
        Err(error) => object(json!({ "Error": { "Code": error.code, "Message": error.message } })),
    };
    fields.insert("RequestId".into(), request_id.into());
    respond(200, "application/json", json!({ "Response": fields }).to_string())
}

/// What a session whose policy leaves the action out is told.
pub(crate) fn not_allowed(provider: Provider, action: &str) -> ApiError {
    match provider {
        Provider::Alibaba => {
            ApiError::new(403, "Forbidden.RAM", "User not authorized to operate on the specified resource.")
        }
        Provider::Tencent => ApiError::new(
            200,
            "UnauthorizedOperation",
            format!("you are not authorized to perform operation ({action})"),
        ),
    }
}

/// The refusal that takes the place of an answer that meets a fault, where one does.
pub(crate) fn refusal(fault: FaultKind, provider: Provider) -> Option<ApiError> {
    Some(match (fault, provider) {
        (FaultKind::Throttle, Provider::Alibaba) => {
            ApiError::new(400, "Throttling.User", "Request was denied due to user flow control.")
        }
        (FaultKind::Throttle, Provider::Tencent) => ApiError::new(
            200,
            "RequestLimitExceeded",
            "Your current request times equals to `11` in a second, which exceeds the frequency limit `10` \
             for a second. Please reduce the frequency of calls.",
        ),
        (FaultKind::Error500Before | FaultKind::Error500After, Provider::Alibaba) => ApiError::new(
            500,
            "InternalError",
            "The request processing has failed due to some unknown error.",
        ),
        (FaultKind::Error500Before | FaultKind::Error500After, Provider::Tencent) => {
            ApiError::new(200, "InternalError", "An internal error has occurred.")
        }
        (FaultKind::NonceUsed, _) => {
            ApiError::new(400, "SignatureNonceUsed", "Specified signature nonce was used already.")
        }
        _ => return None,
    })
}

/// The fields of a `json!` object.
pub(crate) fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(fields) => fields,
        other => Map::from_iter([("Value".to_owned(), other)]),
    }
}

pub(crate) fn respond(status: u16, content_type: &'static str, body: String) -> Response<Body> {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

fn title_case(product: &str) -> String {
    let mut letters = product.chars();
    letters.next().map_or_else(String::new, |first| first.to_ascii_uppercase().to_string() + letters.as_str())
}

fn xml_document(root: &str, fields: &Map<String, Value>) -> String {
    let mut out = String::from("<?xml version='1.0' encoding='UTF-8'?>");
    xml_element(&mut out, root, &Value::Object(fields.clone()));
    out
}

/// A list becomes its element repeated, which is why Alibaba's JSON has lists under a doubled key.
fn xml_element(out: &mut String, name: &str, value: &Value) {
    if let Value::Array(items) = value {
        items.iter().for_each(|item| xml_element(out, name, item));
        return;
    }
    out.push_str(&format!("<{name}>"));
    match value {
        Value::Object(fields) => fields.iter().for_each(|(name, value)| xml_element(out, name, value)),
        Value::String(text) => xml_text(out, text),
        Value::Null => {}
        scalar => out.push_str(&scalar.to_string()),
    }
    out.push_str(&format!("</{name}>"));
}

pub(crate) fn xml_text(out: &mut String, text: &str) {
    for c in text.chars() {
        match c {
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            c => out.push(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_in_xml_is_its_element_repeated() {
        let fields = object(json!({ "Disks": { "Disk": [{ "DiskId": "d-1" }, { "DiskId": "a<b" }] } }));
        assert_eq!(
            xml_document("DescribeDisksResponse", &fields),
            "<?xml version='1.0' encoding='UTF-8'?><DescribeDisksResponse><Disks><Disk><DiskId>d-1</DiskId></Disk>\
             <Disk><DiskId>a&lt;b</DiskId></Disk></Disks></DescribeDisksResponse>"
        );
    }
}
