//! Golden vectors: signatures that the vendors' own SDKs made, every file of `tests/vectors` and of the folder that
//! `OPSWARD_EXTRA_VECTORS` names. Each vector is checked from the client's side (inputs to signature) and from the
//! server's (the finished request alone). A file of an unknown kind, or with nothing in it, fails. Cron cases are
//! `cron.rs`'s.

use base64::Engine as _;
use opsward_core::endpoint::Endpoint;
use opsward_core::secret::{Credential, Secret};
use opsward_core::sign::alibaba_eventbridge::{self, Push};
use opsward_core::sign::alibaba_roa_v1::{self, EmptyValue};
use opsward_core::sign::encoding::canonical_query;
use opsward_core::sign::rsa_public_key::RsaPublicKey;
use opsward_core::sign::{
    Claimed, Received, Signature, SignatureKind, SignedRequest, alibaba_acs3, alibaba_mns, alibaba_rpc_v1,
    alibaba_sls, aws_sigv4, claimed, recompute, tencent_tc3, tencent_v1, verify,
};
use opsward_core::source::Request;
use opsward_core::time::Timestamp;
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

#[test]
fn every_golden_vector_is_reproduced_and_verifies() {
    let mut folders = vec![PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/vectors"))];
    folders.extend(std::env::var_os("OPSWARD_EXTRA_VECTORS").map(PathBuf::from));
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for folder in folders {
        let entries = std::fs::read_dir(&folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
        let mut files: Vec<PathBuf> = entries.map(|entry| entry.expect("entry").path()).collect();
        files.retain(|path| path.extension().is_some_and(|extension| extension == "json"));
        files.sort();
        assert!(!files.is_empty(), "{} holds no vectors", folder.display());
        for path in files {
            let text = std::fs::read_to_string(&path).expect("readable");
            let file: Value =
                serde_json::from_str(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
            let (kind, count) = run_file(&path, &file);
            println!("{}: {count} {kind}", path.display());
            *counts.entry(kind).or_default() += count;
        }
    }
    println!("{counts:?}");
}

/// Runs a file's vectors; its kind and their number.
fn run_file(path: &Path, file: &Value) -> (&'static str, usize) {
    if file.get("cases").is_some() {
        return ("cron cases, run elsewhere", 0);
    }
    let vectors = file["vectors"].as_array().map(Vec::as_slice).unwrap_or_default();
    assert!(!vectors.is_empty(), "{} holds no vectors", path.display());
    let algorithm = file["algorithm"].as_str().unwrap_or_default();
    let is_about = |lead: &str| algorithm.starts_with(lead);
    let (kind, check): (_, fn(&Vector<'_>)) = match () {
        () if is_about("Alibaba Cloud RPC signature v1") => ("rpc-v1", check_rpc_v1),
        () if is_about("ACS3-HMAC-SHA256") => ("acs3", check_acs3),
        () if is_about("Alibaba ROA signature v1") => ("roa-v1", check_roa_v1),
        () if is_about("MNS") => ("mns", check_mns),
        () if is_about("SLS") => ("sls", check_sls),
        () if is_about("TC3-HMAC-SHA256") => ("tc3 and tencent-v1", check_tencent),
        () if is_about("AWS4-HMAC-SHA256") => ("sigv4", check_sigv4),
        () if file.get("public_key_pem").is_some() => {
            check_eventbridge(file);
            return ("eventbridge", vectors.len());
        }
        () => panic!("{}: vectors of an unknown kind `{algorithm}`", path.display()),
    };
    for value in vectors {
        check(&Vector::read(value, path));
    }
    (kind, vectors.len())
}

/// One vector, with its finished request taken apart.
struct Vector<'a> {
    name: String,
    value: &'a Value,
    inputs: &'a Value,
    host: String,
    path: String,
    query: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl<'a> Vector<'a> {
    fn read(value: &'a Value, file: &Path) -> Self {
        let name = format!("{} of {}", text(&value["name"]), file.display());
        let (request, inputs) = (&value["request"], &value["inputs"]);
        let (_, rest) = text(&request["url"]).split_once("://").unwrap_or_else(|| panic!("{name}: no URL"));
        let (host, target) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let mut headers = pairs_of(&request["headers"]);
        if !headers.iter().any(|(header, _)| header.eq_ignore_ascii_case("host")) {
            headers.push(("host".into(), host.into()));
        }
        let in_base64 = [&request["body_b64"], &inputs["body_b64"]].into_iter().find_map(Value::as_str);
        let body = match (request["body"].as_str(), in_base64) {
            (_, Some(encoded)) => base64::engine::general_purpose::STANDARD.decode(encoded).expect("base64"),
            (plain, None) => plain.or(inputs["body"].as_str()).unwrap_or_default().as_bytes().to_vec(),
        };
        Self { name, value, inputs, host: host.into(), path: path.into(), query: query.into(), headers, body }
    }

    fn received(&self) -> Received<'_> {
        Received {
            method: text(&self.value["request"]["method"]),
            path: if self.path.is_empty() { "/" } else { &self.path },
            query: &self.query,
            headers: &self.headers,
            body: &self.body,
        }
    }

    fn secret(&self) -> &'a str {
        let names = ["access_key_secret", "secret_key", "secret_access_key"];
        names.iter().find_map(|name| self.inputs[*name].as_str()).expect("a secret")
    }

    fn key_id(&self) -> &'a str {
        ["access_key_id", "secret_id"].iter().find_map(|name| self.inputs[*name].as_str()).expect("a key id")
    }

    /// Compares with every recorded part.
    fn expect(&self, found: &Signature) {
        if let Some(canonical) = self.value["canonical_request"].as_str() {
            assert_eq!(found.canonical_request.as_deref(), Some(canonical), "{}", self.name);
        }
        assert_eq!(found.string_to_sign, text(&self.value["string_to_sign"]), "{}", self.name);
        assert_eq!(found.value, text(&self.value["signature"]), "{}", self.name);
    }

    /// Compares with the recorded Authorization header, in the vector and in its request.
    fn expect_authorization(&self, found: &str) {
        if let Some(recorded) = self.value["authorization"].as_str() {
            assert_eq!(found, recorded, "{}", self.name);
        }
        assert_eq!(Some(found), self.received().header("authorization"), "{}", self.name);
    }

    /// Checks the finished request as a server would: recognised, genuine with the right secret only, and no longer once
    /// a signed part is changed.
    fn expect_verifies(&self, kind: SignatureKind) -> Claimed {
        let request = self.received();
        let claims = claimed(&request).unwrap_or_else(|e| panic!("{}: {e}", self.name));
        assert_eq!(claims.kind, kind, "{}", self.name);
        assert_eq!(claims.key_id, self.key_id(), "{}", self.name);
        self.expect(
            &recompute(&request, &claims, self.secret()).unwrap_or_else(|e| panic!("{}: {e}", self.name)),
        );
        assert_eq!(verify(&request, &claims, self.secret()), Ok(true), "{}", self.name);
        assert_eq!(verify(&request, &claims, "another secret"), Ok(false), "{}", self.name);
        let other_method = Received { method: "PATCH", ..request };
        assert_eq!(verify(&other_method, &claims, self.secret()), Ok(false), "{}", self.name);
        claims
    }
}

fn check_rpc_v1(vector: &Vector<'_>) {
    let recorded = vector.value["signed_params"].as_object().expect("signed_params");
    let pairs: Vec<(String, String)> =
        recorded.iter().map(|(name, value)| (name.clone(), text(value).to_owned())).collect();
    vector.expect(&alibaba_rpc_v1::sign(text(&vector.inputs["method"]), &pairs, vector.secret()));
    let claims = vector.expect_verifies(SignatureKind::AlibabaRpcV1);
    assert_eq!(claims.nonce.as_deref(), vector.inputs["signature_nonce"].as_str(), "{}", vector.name);
    assert_eq!(claims.session_token.as_deref(), vector.inputs["security_token"].as_str(), "{}", vector.name);
    assert_eq!(
        claims.timestamp,
        Timestamp::parse_rfc3339(text(&vector.inputs["timestamp"])),
        "{}",
        vector.name
    );
}

fn check_acs3(vector: &Vector<'_>) {
    let mut headers: Vec<(String, String)> = strings_of(&vector.inputs["signed_headers_in"]);
    let signed = text(&vector.value["canonical_request"]).rsplit('\n').nth(1).expect("signed names");
    // The SDK adds what temporary credentials need while it signs.
    for name in signed.split(';').filter(|name| !headers.iter().any(|(h, _)| h == name)).collect::<Vec<_>>() {
        let value = match name {
            "x-acs-accesskey-id" => vector.key_id(),
            "x-acs-security-token" => text(&vector.inputs["security_token"]),
            other => panic!("{}: header {other} is in no input", vector.name),
        };
        headers.push((name.to_owned(), value.to_owned()));
    }
    headers.sort();
    let query = canonical_query(&strings_of(&vector.inputs["query"]));
    let body_hash = opsward_core::sign::keyed_hash::sha256_hex(&vector.body);
    let (method, path) = (text(&vector.inputs["method"]), text(&vector.inputs["pathname"]));
    let signature = alibaba_acs3::sign(method, path, &query, &headers, &body_hash, vector.secret());
    vector.expect(&signature);
    let authorization = alibaba_acs3::authorization(vector.key_id(), &headers, &signature.value);
    vector.expect_authorization(&authorization);
    let claims = vector.expect_verifies(SignatureKind::AlibabaAcs3);
    assert_eq!(claims.nonce.as_deref(), vector.inputs["signature_nonce"].as_str(), "{}", vector.name);
    assert_eq!(claims.session_token.as_deref(), vector.inputs["security_token"].as_str(), "{}", vector.name);
}

fn check_roa_v1(vector: &Vector<'_>) {
    // The newer SDK signs an empty query value as its name alone, the older one with `=`.
    let is_new = vector.value["sdk"].as_str().is_some_and(|sdk| sdk.contains("tea"));
    let empty = if is_new { EmptyValue::Name } else { EmptyValue::NameEquals };
    let signature = alibaba_roa_v1::sign(&vector.received(), empty, vector.secret());
    let signature = signature.unwrap_or_else(|e| panic!("{}: {e}", vector.name));
    vector.expect(&signature);
    vector.expect_authorization(&format!("acs {}:{}", vector.key_id(), signature.value));
    let claims = claimed(&vector.received()).unwrap_or_else(|e| panic!("{}: {e}", vector.name));
    assert_eq!(
        (claims.kind, claims.key_id.as_str()),
        (SignatureKind::AlibabaRoaV1, vector.key_id()),
        "{}",
        vector.name
    );
    if is_new || !vector.query.split('&').any(|part| part.ends_with('=')) {
        vector.expect_verifies(SignatureKind::AlibabaRoaV1);
    }
}

fn check_mns(vector: &Vector<'_>) {
    let resource = text(&vector.inputs["resource"]);
    let (path, query) = resource.split_once('?').unwrap_or((resource, ""));
    let method = text(&vector.inputs["method"]);
    let signature =
        alibaba_mns::sign(&Received { method, path, query, ..vector.received() }, vector.secret());
    vector.expect(&signature);
    vector.expect_authorization(&alibaba_mns::authorization(vector.key_id(), &signature.value));
    if vector.body.is_empty() {
        check_mns_as_sent(vector, resource);
    }
    let claims = vector.expect_verifies(SignatureKind::AlibabaMns);
    assert_eq!(claims.session_token.as_deref(), vector.inputs["security_token"].as_str(), "{}", vector.name);
}

fn check_mns_as_sent(vector: &Vector<'_>, target: &str) {
    let endpoint = Endpoint::of_queues("1234567890123456", "cn-hangzhou").expect("an endpoint");
    check_as_sent(vector, target, endpoint, alibaba_mns::prepare);
}

fn check_sls(vector: &Vector<'_>) {
    let signature = alibaba_sls::sign(&vector.received(), vector.secret()).expect("UTF-8");
    vector.expect(&signature);
    vector.expect_authorization(&alibaba_sls::authorization(vector.key_id(), &signature.value));
    let claims = vector.expect_verifies(SignatureKind::AlibabaSls);
    assert_eq!(claims.session_token.as_deref(), vector.inputs["security_token"].as_str(), "{}", vector.name);
    // The SDK gives some requests a content type, which they do not need.
    if vector.received().header("accept").is_some() {
        let endpoint = Endpoint::of_logs("my-project", "cn-hangzhou").expect("an endpoint");
        let target = format!("{}?{}", vector.path, vector.query);
        check_as_sent(vector, &target, endpoint, alibaba_sls::prepare);
    }
}

/// What the host would send is what the SDK sent, but for headers that are not signed.
fn check_as_sent(
    vector: &Vector<'_>,
    target: &str,
    endpoint: Endpoint,
    prepare: fn(&Request, &Endpoint, &Credential, Timestamp) -> SignedRequest,
) {
    let method = if text(&vector.inputs["method"]) == "GET" { "GET" } else { "DELETE" };
    let request = Request { method, target: target.to_owned(), body: String::new() };
    let credential = Credential {
        key_id: vector.key_id().to_owned(),
        key_secret: Secret::new(vector.secret().to_owned()),
        session_token: vector.inputs["security_token"].as_str().map(|token| Secret::new(token.to_owned())),
    };
    let now = Timestamp::parse_http_date(text(&vector.inputs["date"])).expect("a date");
    let made = prepare(&request, &endpoint, &credential, now);
    assert_eq!(made.url, format!("https://{}{target}", vector.host), "{}", vector.name);
    for (name, value) in &made.headers {
        assert_eq!(vector.received().header(name), Some(value.as_str()), "{}: {name}", vector.name);
    }
}

fn check_tencent(vector: &Vector<'_>) {
    let algorithm = text(&vector.inputs["algorithm"]);
    let (method, host) = (text(&vector.inputs["method"]), text(&vector.inputs["host"]));
    assert_eq!(host, vector.host, "{}", vector.name);
    if algorithm != "TC3-HMAC-SHA256" {
        let pairs = vector.received().pairs().expect("UTF-8");
        vector.expect(&tencent_v1::sign(method, host, "/", &pairs, vector.secret()));
        vector.expect_verifies(SignatureKind::TencentV1);
        return;
    }
    let timestamp = Timestamp::from_seconds(vector.inputs["timestamp"].as_i64().expect("seconds"));
    assert_eq!(timestamp.to_utc_date(), text(&vector.inputs["utc_date"]), "{}", vector.name);
    let content_type = vector.received().header("content-type").expect("a content type");
    let is_unsigned = vector.received().header("x-tc-content-sha256").is_some();
    let parts = tencent_tc3::Parts {
        method,
        path: "/",
        query: &vector.query,
        headers: &[("content-type", content_type), ("host", host)],
        payload: if is_unsigned { b"UNSIGNED-PAYLOAD" } else { &vector.body },
        timestamp,
        service: text(&vector.inputs["service"]),
    };
    let signature = tencent_tc3::sign(&parts, vector.secret());
    vector.expect(&signature);
    vector.expect_authorization(&tencent_tc3::authorization(vector.key_id(), &parts, &signature.value));
    let claims = vector.expect_verifies(SignatureKind::TencentTc3);
    assert_eq!(claims.timestamp, Some(timestamp), "{}", vector.name);
    assert_eq!(claims.session_token.as_deref(), vector.inputs["token"].as_str(), "{}", vector.name);
}

fn check_sigv4(vector: &Vector<'_>) {
    let date = text(&vector.inputs["amz_date"]);
    let scope = format!(
        "{}/{}/{}/aws4_request",
        &date[..8],
        text(&vector.inputs["region"]),
        text(&vector.inputs["service"])
    );
    let claims = vector.expect_verifies(SignatureKind::AwsSigV4);
    assert_eq!(claims.scope.as_deref(), Some(scope.as_str()), "{}", vector.name);
    let signed = &claims.signed_headers;
    let signature =
        aws_sigv4::sign(&vector.received(), signed, &scope, date, vector.secret()).expect("complete");
    vector.expect(&signature);
}

fn check_eventbridge(file: &Value) {
    let keys = ["public_key_pem", "certificate_pem"]
        .map(|name| RsaPublicKey::from_pem(text(&file[name])).unwrap_or_else(|e| panic!("{name}: {e}")));
    assert_eq!(keys[0], keys[1], "the certificate holds the same key");
    for value in file["vectors"].as_array().expect("vectors") {
        let name = text(&value["name"]);
        let headers = pairs_of(&value["headers"]);
        let body = text(&value["body"]).as_bytes();
        let push = Push { url: text(&value["url"]), headers: &headers, body };
        let signed = match text(&value["version"]) {
            "v1" => alibaba_eventbridge::string_to_sign_v1(&push),
            "v2" => alibaba_eventbridge::string_to_sign_v2(&push),
            other => panic!("{name}: unknown version {other}"),
        };
        let signed = String::from_utf8(signed.expect("complete")).expect("UTF-8");
        assert_eq!(signed, text(&value["string_to_sign"]), "{name}");
        let header = |lead: &str| headers.iter().find(|(n, _)| n == lead).map(|(_, v)| v.as_str());
        let at = header("x-eventbridge-signature-timestamp").and_then(|ms| ms.parse().ok()).expect("a time");
        let token =
            header("x-eventbridge-signature-token").map(|t| opsward_core::secret::Secret::new(t.into()));
        let judge = |push: &Push<'_>, at| alibaba_eventbridge::verify(push, &keys[0], token.as_ref(), at);
        assert_eq!(judge(&push, Timestamp::from_ms(at)), Ok(()), "{name}");
        let altered = [body, b" "].concat();
        let wrong = Err(alibaba_eventbridge::PushError::WrongSignature);
        assert_eq!(judge(&Push { body: &altered, ..push }, Timestamp::from_ms(at)), wrong, "{name}");
        let late = Err(alibaba_eventbridge::PushError::Stale);
        assert_eq!(judge(&push, Timestamp::from_ms(at + 60_001)), late, "{name}");
        let other = opsward_core::secret::Secret::new("other".into());
        let wrong_token = alibaba_eventbridge::verify(&push, &keys[0], Some(&other), Timestamp::from_ms(at));
        assert_eq!(wrong_token, Err(alibaba_eventbridge::PushError::WrongToken), "{name}");
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("expected text, found {value}"))
}

/// A list of two-element lists.
fn pairs_of(value: &Value) -> Vec<(String, String)> {
    let items = value.as_array().map(Vec::as_slice).unwrap_or_default();
    items.iter().map(|pair| (text(&pair[0]).to_owned(), text(&pair[1]).to_owned())).collect()
}

/// An object's members, numbers and flags in their JSON form.
fn strings_of(value: &Value) -> Vec<(String, String)> {
    let members = value.as_object().expect("an object");
    members
        .iter()
        .map(|(name, v)| (name.clone(), v.as_str().map_or_else(|| v.to_string(), str::to_owned)))
        .collect()
}
