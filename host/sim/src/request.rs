//! A request as it arrived, and what it asks for: which vendor, product, version, action, with which parameters.
//! Nothing of it is believed before `verify` has looked at it. Tested below.

use crate::answer::{ApiError, Format, object};
use crate::{cbs, cms, cvm, ecs, sts, sts_tencent};
use axum::body::{Body, Bytes, to_bytes};
use axum::http::Request;
use opsward_core::catalog::Provider;
use opsward_core::sign::Received;
use serde_json::value::{RawValue, to_raw_value};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The bytes of a request, with what the signature covers.
pub(crate) struct Inbound {
    pub(crate) method: String,
    path: String,
    query: String,
    headers: Vec<(String, String)>,
    body: Bytes,
}

/// Tencent's limit with TC3, bytes; Alibaba's is lower.
const BODY_BYTES_MAX: usize = 10 << 20;

impl Inbound {
    /// Reads the request to its end; `None` where it is cut off or over the limit.
    pub(crate) async fn read(request: Request<Body>) -> Option<Self> {
        let (parts, body) = request.into_parts();
        let body = to_bytes(body, BODY_BYTES_MAX).await.ok()?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Some(Self {
            method: parts.method.as_str().to_owned(),
            path: parts.uri.path().to_owned(),
            query: parts.uri.query().unwrap_or_default().to_owned(),
            headers: parts.headers.iter().map(|(n, v)| (n.as_str().to_owned(), text(v.as_bytes()))).collect(),
            body,
        })
    }

    /// The request as the signature check sees it.
    pub(crate) fn received(&self) -> Received<'_> {
        Received {
            method: &self.method,
            path: &self.path,
            query: &self.query,
            headers: &self.headers,
            body: &self.body,
        }
    }

    pub(crate) fn path(&self) -> &str {
        &self.path
    }

    pub(crate) fn query(&self) -> &str {
        &self.query
    }

    pub(crate) fn body(&self) -> &[u8] {
        &self.body
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    pub(crate) fn host(&self) -> &str {
        self.header("host").unwrap_or_default()
    }
}

/// The products that are simulated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Product {
    Ecs,
    Sts,
    Cvm,
    Cbs,
    Cms,
    Mns,
    Sls,
}

impl Product {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Ecs => "ecs",
            Self::Sts => "sts",
            Self::Cvm => "cvm",
            Self::Cbs => "cbs",
            Self::Cms => "cms",
            Self::Mns => "mns",
            Self::Sls => "sls",
        }
    }
}

/// An action's parameters in the vendor's form.
pub(crate) enum Arguments {
    Flat(BTreeMap<String, String>),
    Json(Map<String, Value>),
}

/// What a request asks for.
pub(crate) struct Asked {
    pub(crate) provider: Provider,
    pub(crate) product: Result<Product, ApiError>,
    pub(crate) version: String,
    pub(crate) action: String,
    pub(crate) region: Option<String>,
    pub(crate) client_token: Option<String>,
    pub(crate) arguments: Result<Arguments, ApiError>,
    /// The parameters as they are recorded: without what belongs to the signature, passwords blanked.
    pub(crate) recorded: Arc<RawValue>,
    pub(crate) format: Format,
}

impl Asked {
    /// Reads what is asked for. `service` is the one that Tencent's credential scope names.
    pub(crate) fn of(inbound: &Inbound, service: Option<&str>) -> Self {
        match inbound.header("x-tc-action") {
            Some(action) => Self::of_tencent(inbound, action, service),
            None => Self::of_alibaba(inbound),
        }
    }

    /// What is asked of a product that has a path for each thing.
    pub(crate) fn of_resource(product: Product, version: &str, action: &str, params: &Value) -> Self {
        Self {
            provider: Provider::Alibaba,
            product: Ok(product),
            version: version.to_owned(),
            action: action.to_owned(),
            region: None,
            client_token: None,
            arguments: Ok(Arguments::Flat(BTreeMap::new())),
            recorded: recorded(params),
            format: Format::Json,
        }
    }

    fn of_tencent(inbound: &Inbound, action: &str, service: Option<&str>) -> Self {
        let version = inbound.header("x-tc-version").unwrap_or_default();
        let product = match (service, version) {
            (Some("cvm"), cvm::VERSION) => Ok(Product::Cvm),
            (Some("cbs"), cbs::VERSION) => Ok(Product::Cbs),
            // Without a signature there is no scope that would name the service.
            (Some("sts") | None, sts_tencent::VERSION) => Ok(Product::Sts),
            (Some("cvm" | "cbs" | "sts"), _) => Err(ApiError::new(
                200,
                "NoSuchVersion",
                format!("The API version `{version}` does not exist."),
            )),
            _ => Err(ApiError::new(200, "NoSuchProduct", "The product is not simulated.")),
        };
        let arguments = tencent_arguments(inbound);
        let recorded = match &arguments {
            Ok(fields) => recorded(&Value::Object(blanked(fields.clone()))),
            Err(_) => recorded(&json!({})),
        };
        Self {
            provider: Provider::Tencent,
            product,
            version: version.to_owned(),
            action: action.to_owned(),
            region: inbound.header("x-tc-region").filter(|region| !region.is_empty()).map(str::to_owned),
            client_token: None,
            arguments: arguments.map(Arguments::Json),
            recorded,
            format: Format::Json,
        }
    }

    fn of_alibaba(inbound: &Inbound) -> Self {
        let mut params = BTreeMap::new();
        for (name, value) in inbound.received().pairs().unwrap_or_default() {
            params.entry(name).or_insert(value);
        }
        let is_acs3 = inbound.header("authorization").is_some_and(|value| value.starts_with("ACS3-"));
        let system = |params: &mut BTreeMap<String, String>, name: &str, header: &str| {
            let (param, header) = (params.remove(name), inbound.header(header).map(str::to_owned));
            if is_acs3 { header.or(param) } else { param.or(header) }.unwrap_or_default()
        };
        let action = system(&mut params, "Action", "x-acs-action");
        let version = system(&mut params, "Version", "x-acs-version");
        let format = match params.remove("Format").map(|format| format.to_ascii_lowercase()).as_deref() {
            Some("json") => Format::Json,
            Some("xml") => Format::Xml,
            _ if is_acs3 => Format::Json,
            _ => Format::Xml,
        };
        SIGNATURE_PARAMS.iter().for_each(|name| drop(params.remove(*name)));
        let product = match version.as_str() {
            ecs::VERSION => Ok(Product::Ecs),
            sts::VERSION => Ok(Product::Sts),
            cms::VERSION => Ok(Product::Cms),
            "" => Err(ApiError::new(400, "MissingVersion", "Version is mandatory for this action.")),
            _ => Err(ApiError::new(400, "InvalidVersion", "Specified parameter Version is not valid.")),
        };
        let filled = |name: &str| params.get(name).filter(|value| !value.is_empty()).cloned();
        Self {
            provider: Provider::Alibaba,
            product,
            version,
            action,
            region: filled("RegionId"),
            client_token: filled("ClientToken"),
            recorded: recorded(&Value::Object(blanked(object(json!(params))))),
            arguments: Ok(Arguments::Flat(params)),
            format,
        }
    }
}

const SIGNATURE_PARAMS: [&str; 8] = [
    "AccessKeyId",
    "SecurityToken",
    "Signature",
    "SignatureMethod",
    "SignatureNonce",
    "SignatureType",
    "SignatureVersion",
    "Timestamp",
];

fn tencent_arguments(inbound: &Inbound) -> Result<Map<String, Value>, ApiError> {
    let refuse = |message: String| ApiError::new(200, "InvalidParameter", message);
    if inbound.method == "GET" {
        let pairs = inbound.received().pairs().map_err(|error| refuse(error.to_string()))?;
        return Ok(object(nested(pairs)));
    }
    if inbound.body.is_empty() {
        return Ok(Map::new());
    }
    serde_json::from_slice(&inbound.body)
        .map_err(|error| refuse(format!("The body is not a JSON object: {error}.")))
}

/// Builds `Filters.0.Values.0` up into lists and objects. Numbers stay numbers where they read as such.
fn nested(pairs: Vec<(String, String)>) -> Value {
    let mut root = json!({});
    for (name, value) in pairs {
        let value = value.parse::<u64>().map_or_else(|_| json!(value), |number| json!(number));
        put(&mut root, name.split('.').take(NAME_STEPS_MAX), value);
    }
    root
}

/// Deepest parameter name: none of the simulated actions goes beyond four.
const NAME_STEPS_MAX: usize = 16;

fn put<'a>(place: &mut Value, mut steps: impl Iterator<Item = &'a str> + 'a, value: Value) {
    let Some(step) = steps.next() else {
        *place = value;
        return;
    };
    let index = step.parse::<usize>().ok();
    if place.is_null() {
        *place = if index.is_some() { json!([]) } else { json!({}) };
    }
    let inner = match (place, index) {
        (Value::Array(items), Some(at)) => {
            if at == items.len() {
                items.push(Value::Null);
            }
            items.get_mut(at)
        }
        (Value::Object(fields), _) => Some(fields.entry(step).or_insert(Value::Null)),
        _ => None,
    };
    if let Some(inner) = inner {
        put(inner, steps, value);
    }
}

/// Blanks what must not be recorded.
fn blanked(mut params: Map<String, Value>) -> Map<String, Value> {
    if let Some(password) = params.get_mut("LoginSettings").and_then(|settings| settings.get_mut("Password"))
    {
        *password = json!("***");
    }
    for token in ["OIDCToken", "WebIdentityToken"] {
        if let Some(token) = params.get_mut(token) {
            *token = json!("***");
        }
    }
    params
}

fn recorded(params: &Value) -> Arc<RawValue> {
    Arc::from(to_raw_value(params).expect("a JSON value can be written"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flattened_names_become_lists_and_objects() {
        let pairs = [
            ("Filters.0.Name", "zone"),
            ("Filters.0.Values.0", "ap-1"),
            ("Filters.0.Values.1", "ap-2"),
            ("Limit", "5"),
        ];
        let pairs = pairs.map(|(n, v)| (n.to_owned(), v.to_owned())).to_vec();
        assert_eq!(
            nested(pairs),
            json!({ "Filters": [{ "Name": "zone", "Values": ["ap-1", "ap-2"] }], "Limit": 5 })
        );
        nested(vec![("a.7.b".into(), "x".into()), ("a".into(), "1".into()), ("a.b".into(), "1".into())]);
    }

    #[test]
    fn a_password_is_not_recorded() {
        let params = object(json!({ "LoginSettings": { "Password": "hunter2" } }));
        assert_eq!(blanked(params)["LoginSettings"]["Password"], "***");
    }
}
