//! One approval as a page: who must approve, until when, every call with all its parameters, and the command that approves it.
//! Whatever a policy wrote is shown in a form that no terminal obeys. Tested below, letter by letter.

use super::text::span;
use crate::store::RunDetail;
use opsward_core::approval::{Fate, Pending, Placeholders, visible};
use opsward_core::call::CallRequest;
use opsward_core::catalog::{self, Provider};
use opsward_core::id::ApproverName;
use opsward_core::time::Timestamp;
use serde_json::Value;
use std::io::{self, Write};

/// Prints it.
pub(super) fn print(
    run: &RunDetail,
    pending: &Pending<'_>,
    now: Timestamp,
    out: &mut dyn Write,
) -> Result<(), io::Error> {
    let asked = pending.asked;
    let left = span(asked.expires.since(now));
    let effects = asked.plan.effects();
    writeln!(out, "approval {}-{}", run.row.id, asked.nth)?;
    writeln!(
        out,
        "  waits      {} of {} approvals, until {}, {left} from now",
        pending.by.len(),
        asked.minimum,
        asked.expires
    )?;
    writeln!(out, "  policy     {}, plugin {}", run.row.policy, run.row.digest.short())?;
    writeln!(out, "  event      {}, id {}", visible(&run.event.kind), visible(&run.event.id))?;
    writeln!(out, "  approvers  {}", names(&asked.approvers))?;
    if !pending.by.is_empty() {
        writeln!(out, "  approved   {}", names(&pending.by))?;
    }
    if !asked.changed.is_empty() {
        writeln!(out, "  changed    since it asked before: {}", asked.changed)?;
    }
    writeln!(out, "  facts      {}", asked.facts)?;
    writeln!(out, "  hash       {}", asked.hash)?;
    writeln!(out, "\n{effects} {}, in this order:", if effects == 1 { "effect" } else { "effects" })?;
    let placeholders = Placeholders::of(&asked.plan.calls);
    for (at, call) in asked.plan.calls.iter().enumerate() {
        let CallRequest { service, action, region, params, once } = &call.request;
        let fate = match &call.fate {
            Fate::Effect => String::new(),
            Fate::Made => "  made by an earlier try: not sent again".to_owned(),
            Fate::Refused { code } => format!("  refused by the host: {code}"),
        };
        let what = format!("{service}:{action}  {region}  {}", resources(&call.request));
        writeln!(out, "{:>3}  {}{}", at + 1, visible(what.trim_end()), visible(&fate))?;
        writeln!(out, "     {}", visible(&placeholders.named(params)))?;
        if let Some(key) = once {
            writeln!(out, "     once per {}", visible(key))?;
        }
    }
    if !asked.plan.cut.is_empty() {
        writeln!(out, "then: {}", visible(&asked.plan.cut))?;
    }
    writeln!(out, "\nto approve exactly this:")?;
    writeln!(out, "  opsward approval approve {}-{} --hash {}", run.row.id, asked.nth, asked.hash)
}

fn names(names: &[ApproverName]) -> String {
    names.iter().map(ApproverName::as_str).collect::<Vec<_>>().join(", ")
}

/// The resources that a call names, as the catalog knows them.
fn resources(request: &CallRequest) -> String {
    let params: Value = serde_json::from_str(&request.params).unwrap_or_default();
    // The ledger does not say whose cloud it is; no two vendors share an action of the same service and name but in `sts`.
    let vendors = [Provider::Alibaba, Provider::Tencent];
    let named = |vendor| {
        catalog::find(vendor, &request.service, &request.action).map(|action| action.resources(&params))
    };
    vendors.into_iter().find_map(named).unwrap_or_default().join(" ")
}
