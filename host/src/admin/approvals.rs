//! Approvals over HTTP: `GET /api/v1/approvals`, `GET /api/v1/approvals/{id}`, `POST /api/v1/approvals/{id}/decision`, and the page
//! behind a signed link, `/approve/{token}`, where looking decides nothing: what scans mails opens links. Leaves who may decide to
//! `opsward_core::approval`, writing to `crate::approve`.

use super::{Admin, Asked, Filter, Refusal, audited, json_answer, told};
use crate::approve::{self, ApprovalId, ApproveError, Said};
use crate::store::RunDetail;
use axum::body::Bytes;
use axum::extract::{Extension, Path, State};
use axum::http::{HeaderMap, HeaderName, StatusCode, header};
use axum::response::{IntoResponse, Response};
use opsward_core::access::Caller;
use opsward_core::approval::{
    DecideApprovalError, Fate, Link, Pending, Placeholders, Then, Verdict, visible,
};
use opsward_core::id::{ApproverName, InvalidName};
use serde_json::{Value, json};
use std::fmt::Write as _;

pub(super) async fn list(State(admin): State<Admin>, query: Asked) -> Result<Response, Refusal> {
    let filter = Filter::parse(query, &["limit"])?;
    let runs = admin.store.list_approvals(filter.limit).await?;
    let approvals: Vec<Value> =
        runs.iter().filter_map(|run| Some(shown(run, &approve::asks(run)?))).collect();
    Ok(json_answer(&json!({ "approvals": approvals })))
}

pub(super) async fn show(State(admin): State<Admin>, Path(id): Path<String>) -> Result<Response, Refusal> {
    let run = approve::find(admin.store.as_ref(), &parsed(&id)?).await?;
    let pending = approve::asks(&run).ok_or(DecideApprovalError::NotWaiting).map_err(ApproveError::from)?;
    Ok(json_answer(&shown(&run, &pending)))
}

/// Takes `{"decision": "approve", "hash": "..."}`, where the decision may be `"deny"`; `hash` is that of what was shown. Who asks at the
/// socket of this machine says for whom: `"by": "alice"`.
pub(super) async fn decide(
    State(admin): State<Admin>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Refusal> {
    let said: Said = told(&headers, &body)?;
    let by = approver(&caller, &said)?;
    let to = approve::decide(admin.store.as_ref(), &parsed(&id)?, by, &said, admin.clock.now()).await?;
    audited(&caller, said.decision.as_str(), &id);
    admin.work.notify_one();
    Ok(json_answer(&json!({ "run": then(to) })))
}

/// Who decides: the one place where a request becomes a person. A token decides for the one it is named after, and nobody else. At
/// the socket asks the service's user or root, who could make links for anybody: what they say is taken.
fn approver(caller: &Caller, said: &Said) -> Result<ApproverName, Refusal> {
    let refuse = |problem: String| Refusal::new(StatusCode::FORBIDDEN, problem);
    match (caller.name.strip_prefix("token:"), &said.by) {
        (None, Some(by)) => Ok(by.clone()),
        (None, None) => Err(refuse("say who decides: `\"by\": \"alice\"`".to_owned())),
        (Some(name), by) if by.as_ref().is_none_or(|by| by.as_str() == name) => {
            name.parse().map_err(|problem: InvalidName| refuse(problem.to_string()))
        }
        (Some(name), _) => Err(refuse(format!("the token of `{name}` decides for nobody else"))),
    }
}

/// The page behind a link: what would be decided, and the button.
pub(super) async fn look(State(admin): State<Admin>, Path(token): Path<String>) -> Result<Response, Refusal> {
    let link = read(&admin, &token)?;
    let id = ApprovalId { run: link.run.to_string(), nth: Some(link.nth) };
    let run = approve::find(admin.store.as_ref(), &id).await?;
    let now = admin.clock.now();
    let standing = approve::asks(&run)
        .filter(|asks| asks.asked.nth == link.nth && asks.asked.hash == link.hash && now < link.expires);
    let Some(pending) = standing else {
        let told = "This link is used up: the run no longer asks this.";
        return Ok(page(StatusCode::GONE, &format!("<p>{told}</p>")));
    };
    Ok(page(StatusCode::OK, &form(&run, &pending, &link)))
}

/// Uses a link.
pub(super) async fn use_link(
    State(admin): State<Admin>,
    Path(token): Path<String>,
) -> Result<Response, Refusal> {
    let link = read(&admin, &token)?;
    let to = approve::decide_by_link(admin.store.as_ref(), &link, admin.clock.now()).await?;
    admin.work.notify_one();
    Ok(page(StatusCode::OK, &format!("<p>Recorded: {}. The run {}.</p>", link.verdict.as_str(), then(to))))
}

fn read(admin: &Admin, token: &str) -> Result<Link, Refusal> {
    Ok(Link::parse(token, admin.approval_key.as_slice()).map_err(ApproveError::from)?)
}

fn parsed(id: &str) -> Result<ApprovalId, Refusal> {
    id.parse().map_err(|problem: String| Refusal::new(StatusCode::BAD_REQUEST, problem))
}

fn then(to: Then) -> &'static str {
    match to {
        Then::Waits(_) => "waits for others to approve",
        Then::GoesOn => "goes on",
        Then::Ends => "has failed, and nothing of it was done",
    }
}

/// What a run asks, for programs.
pub(crate) fn shown(run: &RunDetail, pending: &Pending<'_>) -> Value {
    let asked = pending.asked;
    let placeholders = Placeholders::of(&asked.plan.calls);
    let calls = asked.plan.calls.iter().map(|call| {
        json!({
            "service": call.request.service,
            "action": call.request.action,
            "region": call.request.region,
            "params": placeholders.named(&call.request.params),
            "once": call.request.once,
            "fate": call.fate,
        })
    });
    json!({
        "id": format!("{}-{}", run.row.id, asked.nth),
        "run": run.row.id,
        "policy": run.row.policy,
        "digest": run.row.digest,
        "hash": asked.hash,
        "facts": asked.facts,
        "calls": calls.collect::<Vec<_>>(),
        "cut": asked.plan.cut,
        "changed": asked.changed,
        "approvers": asked.approvers,
        "minimum": asked.minimum,
        "approved_by": pending.by,
        "asked_at": pending.asked_at,
        "expires": asked.expires,
    })
}

fn form(run: &RunDetail, pending: &Pending<'_>, link: &Link) -> String {
    let asked = pending.asked;
    let placeholders = Placeholders::of(&asked.plan.calls);
    let mut text = String::new();
    let mut say =
        |line: String| writeln!(text, "{}", visible(&line)).expect("writing to a String does not fail");
    say(format!("policy   {}", run.row.policy));
    say(format!("run      {}, asked as the {}.", run.row.id, asked.nth));
    say(format!("hash     {}", asked.hash));
    say(format!("expires  {}", asked.expires));
    if !asked.changed.is_empty() {
        say(format!("changed  {}", asked.changed));
    }
    say(String::new());
    for (at, call) in asked.plan.calls.iter().enumerate() {
        let request = &call.request;
        let fate = match &call.fate {
            Fate::Effect => String::new(),
            Fate::Made => "  (made already)".to_owned(),
            Fate::Refused { code } => format!("  (refused: {code})"),
        };
        say(format!("{}. {}:{} {}{fate}", at + 1, request.service, request.action, request.region));
        say(format!("   {}", placeholders.named(&request.params)));
        if let Some(key) = &request.once {
            say(format!("   once per {}", placeholders.named(key)));
        }
    }
    if !asked.plan.cut.is_empty() {
        say(format!("then: {}", asked.plan.cut));
    }
    let what = match link.verdict {
        Verdict::Approve => "Approve exactly this",
        Verdict::Deny => "Deny this",
    };
    format!(
        "<p>As {}:</p><pre>{}</pre><form method=\"post\"><button>{what}</button></form>",
        escaped(link.by.as_str()),
        escaped(&text)
    )
}

/// Text as it may stand in a page: a policy chooses parts of it.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}

/// A page without script, that is not kept, is in no frame, and tells nobody where it was.
fn page(status: StatusCode, body: &str) -> Response {
    const POLICY: &str = "default-src 'none'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'";
    let headers: [(HeaderName, &str); 5] = [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (header::CACHE_CONTROL, "no-store"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::CONTENT_SECURITY_POLICY, POLICY),
    ];
    let html = format!("<!doctype html><meta charset=\"utf-8\"><title>Opsward: approval</title>{body}\n");
    (status, headers, html).into_response()
}

impl From<ApproveError> for Refusal {
    fn from(error: ApproveError) -> Self {
        let status = match error {
            ApproveError::NotFound => StatusCode::NOT_FOUND,
            ApproveError::Link(_) | ApproveError::Decide(DecideApprovalError::NotAnApprover { .. }) => {
                StatusCode::FORBIDDEN
            }
            ApproveError::Decide(DecideApprovalError::ShortHash) => StatusCode::BAD_REQUEST,
            ApproveError::Ambiguous | ApproveError::Decide(_) => StatusCode::CONFLICT,
            ApproveError::Store(error) => return error.into(),
        };
        Self::new(status, error.to_string())
    }
}
