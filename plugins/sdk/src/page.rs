//! Reading all of a list that the cloud hands out in pages, in the two ways the clouds page.

use crate::{Call, CallError, ErrorKind, Response, Run, Value};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::collections::BTreeSet;

impl<C> Run<C> {
    /// Reads a whole list by `MaxResults` and `NextToken`, as Alibaba Cloud pages. `list` is the JSON pointer of the list
    /// in one answer: `/Disks/Disk`. `MaxResults` is 100 unless the call sets it.
    ///
    /// # Errors
    /// The first failing page's error; `opsward.InvalidAnswer` where an item has another shape;
    /// `opsward.EndlessList` where a token comes back a second time or there are more than 100 pages.
    pub fn list_by_token<T: DeserializeOwned>(&self, call: Call, list: &str) -> Result<Vec<T>, CallError> {
        let mut call = with_default(call, "MaxResults", PAGE_ITEMS);
        let mut items = Vec::new();
        let mut tokens = BTreeSet::new();
        for _ in 0..PAGES_MAX {
            let response = self.call(call.clone())?;
            let answer = response.json()?;
            items.append(&mut page_items(&response, &answer, list)?);
            match answer["NextToken"].as_str() {
                None | Some("") => return Ok(items),
                Some(token) if !tokens.insert(token.to_owned()) => break,
                Some(token) => call = call.param("NextToken", token),
            }
        }
        Err(endless(&call))
    }

    /// Reads a whole list by `Offset` and `Limit` up to `TotalCount`, as Tencent Cloud pages. `list` is the JSON pointer
    /// of the list in one answer: `/InstanceSet`. `Limit` is 100 unless the call sets it.
    ///
    /// # Errors
    /// As [`Run::list_by_token`].
    pub fn list_by_offset<T: DeserializeOwned>(&self, call: Call, list: &str) -> Result<Vec<T>, CallError> {
        let mut call = with_default(call, "Limit", PAGE_ITEMS);
        let mut items = Vec::new();
        for _ in 0..PAGES_MAX {
            call = call.param("Offset", items.len());
            let response = self.call(call.clone())?;
            let answer = response.json()?;
            let mut page = page_items(&response, &answer, list)?;
            let is_empty = page.is_empty();
            items.append(&mut page);
            let total = answer["TotalCount"].as_u64().unwrap_or(0);
            if is_empty || items.len() as u64 >= total {
                return Ok(items);
            }
        }
        Err(endless(&call))
    }
}

fn with_default(call: Call, name: &str, value: u32) -> Call {
    if call.params[name].is_null() { call.param(name, value) } else { call }
}

fn page_items<T: DeserializeOwned>(
    response: &Response,
    answer: &Value,
    list: &str,
) -> Result<Vec<T>, CallError> {
    let invalid = |problem: String| CallError {
        request_id: Some(response.request_id.clone()),
        ..CallError::new(ErrorKind::Failed, "opsward.InvalidAnswer", format!("{list}: {problem}"))
    };
    match answer.pointer(list) {
        // Taking an absent list for an empty one would hide a wrong pointer behind "nothing found".
        None => Err(invalid("the answer has no such list".into())),
        Some(Value::Null) => Ok(Vec::new()),
        Some(items) => Vec::deserialize(items).map_err(|error| invalid(error.to_string())),
    }
}

fn endless(call: &Call) -> CallError {
    CallError::new(
        ErrorKind::Failed,
        "opsward.EndlessList",
        format!("{} names the same page twice, or more than {PAGES_MAX} pages", call.name()),
    )
}

/// The most items both clouds give in one page.
const PAGE_ITEMS: u32 = 100;
/// 10,000 items: more than a policy should look at, and within the host's 1,000 calls a run.
const PAGES_MAX: usize = 100;
