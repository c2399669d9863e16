//! The door a live call passes before anything is sent: canonical, known, free of reserved parameters, in one form, granted.
//! Where a grant selects by what a read shows, it says which reads. Leaves making them, the ledger and the sending to the
//! broker. Tested below; grants are tested by `grant`.

mod confirm;
mod form;

pub use confirm::{Shown, confirm};

use crate::call::{CallError, CallRequest, ErrorKind};
use crate::catalog::{self, Action, Class, Facts, FactsRead, Provider};
use crate::grant::{Grants, Question};
use crate::guardrail::{Protected, protected};
use crate::retry::refusal;
use crate::run::{canonical_params, parse_params};
use crate::time::Timestamp;
use serde_json::Value;

/// Longest natural key of an effect, in bytes: `wit/policy.wit`, `cloud.request`. Room for an event's longest incident or
/// id, and a resource.
pub const ONCE_KEY_BYTES_MAX: usize = 4096;

/// Most resources of one call that are read to see whether a selector holds for them: the longest list that either vendor takes.
pub const SELECTED_MAX: usize = 100;

/// A call that may be made.
#[derive(Debug, Clone)]
pub struct Admitted {
    /// What is known of the action; `None` for one the catalog does not list.
    pub action: Option<&'static Action>,
    /// What repeating it may do.
    pub class: Class,
    /// The resources it names.
    pub resources: Vec<String>,
    /// Further regions that it changes something in.
    pub elsewhere: Vec<String>,
}

impl Admitted {
    /// What is known of a call, whether or not it may be made.
    pub fn of(request: &CallRequest, params: &Value, provider: Provider) -> Self {
        let CallRequest { service, action, .. } = request;
        Self {
            action: catalog::find(provider, service, action),
            class: catalog::class_of(provider, service, action),
            resources: catalog::resources(provider, service, action, params),
            elsewhere: catalog::other_regions(params),
        }
    }
}

/// Brings a request into the form that is compared, recorded, authorised and sent: the account's default region filled in,
/// repeated in the parameters where the action wants it, parameters in one order.
pub fn canonical(
    mut request: CallRequest,
    provider: Provider,
    default_region: Option<&str>,
) -> Result<(CallRequest, Value), CallError> {
    let invalid = |code, message| refusal(ErrorKind::Invalid, code, message);
    form::check_text(&request.params).map_err(|e| invalid(e.code(), e.to_string()))?;
    let mut params =
        parse_params(&request.params).map_err(|e| invalid("opsward.InvalidParams", e.to_string()))?;
    if request.region.is_empty() {
        request.region = default_region.unwrap_or_default().to_owned();
    }
    catalog::place_region(provider, &request.service, &request.action, &request.region, &mut params)
        .map_err(|e| invalid("opsward.RegionConflict", e.to_string()))?;
    request.params = canonical_params(&params);
    Ok((request, Value::Object(params)))
}

/// Finds out what `request`, in canonical form with its parsed `params`, would do; refuses what no policy may ask.
pub fn inspect(request: &CallRequest, params: &Value, provider: Provider) -> Result<Admitted, CallError> {
    let CallRequest { service, action, once, .. } = request;
    if !catalog::is_spoken(provider, service) {
        let message = format!("`{service}` speaks REST, and the host has no client for it yet");
        return Err(refusal(ErrorKind::Invalid, "opsward.ProtocolNotSpoken", message));
    }
    let names = params.as_object().into_iter().flatten().map(|(name, _)| name);
    if let Some(name) = names.into_iter().find(|name| catalog::reserved(provider, name)) {
        let message = format!("parameter `{name}` is the host's: leave it out");
        return Err(refusal(ErrorKind::Invalid, "opsward.ReservedParameter", message));
    }
    if once.as_ref().is_some_and(|key| key.is_empty() || key.len() > ONCE_KEY_BYTES_MAX) {
        let message = format!("a natural key (`once`) has 1 to {ONCE_KEY_BYTES_MAX} bytes");
        return Err(refusal(ErrorKind::Invalid, "opsward.InvalidOnceKey", message));
    }
    if let Some(name) = catalog::odd_name(params) {
        let message = format!("no parameter of a vendor is named `{}`", name.escape_default());
        return Err(refusal(ErrorKind::Invalid, "opsward.InvalidParams", message));
    }
    if catalog::answers_with_credentials(provider, service, action) {
        let message = format!("{service}:{action} answers with credentials, which never enter a policy");
        return Err(refusal(ErrorKind::Denied, "opsward.Credentials", message));
    }
    let admitted = Admitted::of(request, params, provider);
    form::check(request, params, provider, &admitted)
        .map_err(|odd| refusal(ErrorKind::Invalid, odd.code(), odd.to_string()))?;
    if let (Some(action), Some(params)) = (admitted.action, params.as_object()) {
        action
            .check_params(params)
            .map_err(|mismatch| refusal(ErrorKind::Invalid, "opsward.InvalidParams", mismatch.to_string()))?;
    }
    Ok(admitted)
}

/// The question whether a policy was granted this call, asked at `now`.
pub fn question<'a>(
    request: &'a CallRequest,
    admitted: &'a Admitted,
    provider: Provider,
    now: Timestamp,
) -> Question<'a> {
    Question {
        provider,
        service: &request.service,
        action: &request.action,
        region: &request.region,
        elsewhere: &admitted.elsewhere,
        resources: &admitted.resources,
        class: admitted.class,
        now,
    }
}

/// The reads that must be made before `authorize` can tell; mostly none.
pub fn reads_before(
    question: &Question<'_>,
    admitted: &Admitted,
    params: &Value,
    grants: &Grants,
) -> Result<Vec<FactsRead>, CallError> {
    reads_of(&grants.facts_wanted(question), question, admitted, params)
}

/// The reads that must be made before `clear` can tell, beside those that have shown `facts`.
pub fn reads_before_clearing(
    question: &Question<'_>,
    admitted: &Admitted,
    params: &Value,
    protected: &[Protected],
    facts: &Facts,
) -> Result<Vec<FactsRead>, CallError> {
    let mut wanted = protected::facts_wanted(protected, question, params);
    wanted.retain(|id| !facts.contains_key(id));
    reads_of(&wanted, question, admitted, params)
}

fn reads_of(
    wanted: &[String],
    question: &Question<'_>,
    admitted: &Admitted,
    params: &Value,
) -> Result<Vec<FactsRead>, CallError> {
    if wanted.len() > SELECTED_MAX {
        let message = format!(
            "the call names {} resources of which a read must show what they are: at most {SELECTED_MAX} at a time",
            wanted.len()
        );
        return Err(refusal(ErrorKind::Invalid, "opsward.TooManyResources", message));
    }
    let reads = |action: &'static Action| action.facts_reads(params, wanted, question.region);
    Ok(admitted.action.map(reads).unwrap_or_default())
}

/// Decides whether the policy was granted this call. `facts` are what the reads before have shown.
pub fn authorize(question: &Question<'_>, grants: &Grants, facts: &Facts) -> Result<(), CallError> {
    grants.authorize(question, facts).map_err(|denied| refusal(ErrorKind::Denied, denied.code, denied.reason))
}

/// Refuses a call that would change what is protected, whatever was granted.
pub fn clear(
    question: &Question<'_>,
    params: &Value,
    protected: &[Protected],
    facts: &Facts,
) -> Result<(), CallError> {
    protected::check(protected, question, params, facts)
        .map_err(|untouchable| refusal(ErrorKind::Denied, untouchable.code(), untouchable.to_string()))
}

/// The refusal of a call whose reads before it failed: nobody knows whether it may be made.
pub fn facts_unread(read: &FactsRead, error: &CallError) -> CallError {
    let CallRequest { service, action, .. } = &read.request;
    let message =
        format!("whether the call may be made must be seen by {service}:{action}, which failed: {error}");
    CallError { retryable: true, ..refusal(error.kind, "opsward.FactsUnread", message) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(action: &str, region: &str, params: &str) -> CallRequest {
        let (service, action) = action.split_once(':').expect("service:Action");
        CallRequest {
            service: service.into(),
            action: action.into(),
            region: region.into(),
            params: params.into(),
            once: None,
        }
    }

    #[test]
    fn a_canonical_request_has_its_region_filled_in_and_repeated_where_the_action_wants_it() {
        let asked = request("ecs:DescribeDisks", "", r#"{"InstanceId": "i-1"}"#);
        let (canonical, _) = canonical(asked, Provider::Alibaba, Some("cn-hangzhou")).expect("valid");
        assert_eq!(canonical.region, "cn-hangzhou");
        assert_eq!(canonical.params, r#"{"InstanceId":"i-1","RegionId":"cn-hangzhou"}"#);
    }

    #[test]
    fn parameters_that_name_another_region_than_the_call_are_refused() {
        let asked = request("ecs:DescribeDisks", "cn-hangzhou", r#"{"RegionId": "cn-beijing"}"#);
        let error = canonical(asked, Provider::Alibaba, None).expect_err("conflict");
        assert_eq!(error.code, "opsward.RegionConflict");
    }

    #[test]
    fn what_no_policy_may_ask_is_refused_whatever_was_granted() {
        let table = [
            ("ecs:CreateSnapshot", r#"{"DiskId":"d-1","ClientToken":"mine"}"#, "opsward.ReservedParameter"),
            ("ecs:CreateSnapshot", r#"{"Action":"DeleteDisk"}"#, "opsward.ReservedParameter"),
            ("ecs:CreateSnapshot", r#"{"DiskId":"d-1","Di\u017fkId":"d-2"}"#, "opsward.InvalidParams"),
            ("sts:AssumeRole", r#"{"RoleArn":"x"}"#, "opsward.Credentials"),
            ("ecs:DescribeInstanceVncPasswd", r#"{"InstanceId":"i-1"}"#, "opsward.Credentials"),
            ("mns:SendMessage", r#"{"QueueName":"q"}"#, "opsward.ProtocolNotSpoken"),
            ("mns:GetQueueAttributes", r#"{"QueueName":"q"}"#, "opsward.ProtocolNotSpoken"),
            ("mns:GetSomethingNew", "{}", "opsward.ProtocolNotSpoken"),
        ];
        for (action, params, code) in table {
            let asked = request(action, "cn-hangzhou", params);
            let (asked, params) = canonical(asked, Provider::Alibaba, None).expect("canonical");
            let error = inspect(&asked, &params, Provider::Alibaba).expect_err(action);
            assert_eq!(error.code, code, "{action}");
        }
    }

    #[test]
    fn a_natural_key_is_neither_empty_nor_endless() {
        let longest = "k".repeat(ONCE_KEY_BYTES_MAX);
        for (key, good) in
            [("e-1/d-1", true), (&longest, true), ("", false), (&(longest.clone() + "k"), false)]
        {
            let mut asked = request("ecs:CreateSnapshot", "cn-hangzhou", r#"{"DiskId":"d-1"}"#);
            asked.once = Some(key.to_owned());
            let (asked, params) = canonical(asked, Provider::Alibaba, None).expect("canonical");
            let refused = inspect(&asked, &params, Provider::Alibaba).err().map(|error| error.code);
            assert_eq!(
                refused.as_deref(),
                (!good).then_some("opsward.InvalidOnceKey"),
                "{} bytes",
                key.len()
            );
        }
    }

    #[test]
    fn a_call_has_no_more_resources_read_than_a_vendor_takes() {
        let allow = "action = 'cvm:StopInstances'\nresource = ['ins-0', { name = 'lab' }]";
        let entry = toml::from_str(allow).expect("well-formed");
        let (grants, _) = Grants::compile(&[entry], Provider::Tencent).expect("compiles");
        let reads = |count: usize| {
            let ids: Vec<String> = (0..count).map(|nth| format!("ins-{nth}")).collect();
            let params = serde_json::json!({ "InstanceIds": ids }).to_string();
            let asked = request("cvm:StopInstances", "ap-shanghai", &params);
            let (asked, params) = canonical(asked, Provider::Tencent, None).expect("canonical");
            let admitted = inspect(&asked, &params, Provider::Tencent).expect("in one form");
            let question = question(&asked, &admitted, Provider::Tencent, Timestamp::from_seconds(0));
            let reads = reads_before(&question, &admitted, &params, &grants);
            reads.map(|reads| reads.len()).map_err(|error| error.code)
        };
        assert_eq!(reads(1), Ok(0), "granted by its id");
        assert_eq!(reads(SELECTED_MAX + 1), Ok(10));
        assert_eq!(reads(SELECTED_MAX + 2), Err("opsward.TooManyResources".to_owned()));
        assert!(reads(300_000).is_err(), "and is soon refused");
    }

    #[test]
    fn an_action_the_catalog_does_not_know_is_once_unless_it_is_named_like_a_read() {
        let class = |action: &str| {
            let (asked, params) =
                canonical(request(action, "ap-shanghai", "{}"), Provider::Tencent, None).expect("canonical");
            inspect(&asked, &params, Provider::Tencent).expect("inspected").class
        };
        assert_eq!(class("cvm:SomethingNew"), Class::Once);
        assert_eq!(class("cvm:DescribeSomethingNew"), Class::Read);
    }
}
