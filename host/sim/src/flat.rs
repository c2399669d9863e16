//! Reads the flat text parameters of Alibaba's RPC style: required ones, numbers, JSON lists in a text, `Tag.N`, and the
//! two ways of paging. Refuses with the gateway's codes (`MissingDiskId`, `InvalidPageSize`). Tested below.

use crate::answer::ApiError;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::ops::RangeInclusive;

/// An action's parameters, without those that belong to the signature.
pub(crate) type Params = BTreeMap<String, String>;

/// A parameter that must be there and not empty.
pub(crate) fn required<'a>(params: &'a Params, name: &str) -> Result<&'a str, ApiError> {
    optional(params, name).ok_or_else(|| {
        ApiError::new(400, format!("Missing{name}"), format!("{name} is mandatory for this action."))
    })
}

/// A parameter; an empty one counts as absent.
pub(crate) fn optional<'a>(params: &'a Params, name: &str) -> Option<&'a str> {
    params.get(name).map(String::as_str).filter(|value| !value.is_empty())
}

/// A number within `range`.
pub(crate) fn number(
    params: &Params,
    name: &str,
    range: RangeInclusive<u64>,
) -> Result<Option<u64>, ApiError> {
    optional(params, name)
        .map(|text| text.parse().ok().filter(|n| range.contains(n)).ok_or_else(|| invalid(name)))
        .transpose()
}

/// A flag, in any case: the older SDK sends `True`.
pub(crate) fn flag(params: &Params, name: &str) -> Result<bool, ApiError> {
    match optional(params, name).map(str::to_ascii_lowercase).as_deref() {
        None | Some("false") => Ok(false),
        Some("true") => Ok(true),
        Some(_) => Err(invalid(name)),
    }
}

/// A JSON list of up to 100 texts. An empty list filters to nothing; an absent one does not filter.
pub(crate) fn id_list(params: &Params, name: &str) -> Result<Option<Vec<String>>, ApiError> {
    let Some(text) = optional(params, name) else { return Ok(None) };
    let malformed = |_| ApiError::new(400, format!("Invalid{name}.Malformed"), malformed_text(name));
    let ids: Vec<String> = serde_json::from_str(text).map_err(malformed)?;
    if ids.len() > IDS_MAX {
        return Err(ApiError::new(400, format!("Invalid{name}.Malformed"), malformed_text(name)));
    }
    Ok(Some(ids))
}

/// `Tag.N.Key` with `Tag.N.Value`, N from 1.
pub(crate) fn tags(params: &Params) -> BTreeMap<String, String> {
    let pair = |nth: usize| {
        let key = optional(params, &format!("Tag.{nth}.Key"))?;
        let value = params.get(&format!("Tag.{nth}.Value")).cloned().unwrap_or_default();
        Some((key.to_owned(), value))
    };
    (1..=TAGS_MAX).map_while(pair).collect()
}

/// A refusal of a parameter's value by the gateway.
pub(crate) fn invalid(name: &str) -> ApiError {
    ApiError::new(400, format!("Invalid{name}"), format!("Specified parameter {name} is not valid."))
}

fn malformed_text(name: &str) -> String {
    format!("The specified parameter {name} is not valid: a JSON list of at most {IDS_MAX} ids.")
}

/// Ids in one list.
const IDS_MAX: usize = 100;
/// Tags of one request.
const TAGS_MAX: usize = 20;

/// Which part of a list is asked for.
pub(crate) enum Page {
    /// By number, from 1.
    Numbered { number: u64, size: u64 },
    /// What follows a place in the list.
    After { start: u64, size: u64 },
}

/// Bounds of paging by token, which differ by action.
pub(crate) struct TokenPage {
    /// `MaxResults` may be this.
    pub(crate) sizes: RangeInclusive<u64>,
}

/// Reads the paging parameters: by token where `MaxResults` or `NextToken` is given, else by number.
pub(crate) fn page(params: &Params, by_token: &TokenPage) -> Result<Page, ApiError> {
    let size = number(params, "MaxResults", by_token.sizes.clone())?;
    let token = optional(params, "NextToken");
    if size.is_some() || token.is_some() {
        let start = token.map_or(Ok(0), |token| decode_token(token).ok_or_else(|| invalid("NextToken")))?;
        return Ok(Page::After { start, size: size.unwrap_or(*by_token.sizes.start()) });
    }
    Ok(Page::Numbered {
        number: number(params, "PageNumber", 1..=u64::MAX)?.unwrap_or(1),
        size: number(params, "PageSize", 1..=PAGE_SIZE_MAX)?.unwrap_or(PAGE_SIZE_DEFAULT),
    })
}

const PAGE_SIZE_MAX: u64 = 100;
/// The trap of the real service: a caller who does not page sees ten.
const PAGE_SIZE_DEFAULT: u64 = 10;

/// Cuts the page out of `all` and answers with it under the doubled key, such as `Disks.Disk`.
pub(crate) fn paged<T>(
    page: &Page,
    all: &[T],
    (outer, inner): (&str, &str),
    show: impl Fn(&T) -> Value,
) -> Map<String, Value> {
    let total = all.len() as u64;
    let (start, size) = match *page {
        Page::Numbered { number, size } => ((number - 1).saturating_mul(size).min(total), size),
        Page::After { start, size } => (start.min(total), size),
    };
    let end = start.saturating_add(size).min(total);
    let index = |at: u64| usize::try_from(at).unwrap_or(usize::MAX);
    let items: Vec<Value> = all[index(start)..index(end)].iter().map(show).collect();
    let mut answer = Map::new();
    answer.insert("TotalCount".into(), total.into());
    answer.insert(outer.into(), json!({ inner: items }));
    match *page {
        Page::Numbered { number, size } => {
            answer.insert("PageNumber".into(), number.into());
            answer.insert("PageSize".into(), size.into());
        }
        Page::After { .. } => {
            let next = if end < total { encode_token(end) } else { String::new() };
            answer.insert("NextToken".into(), next.into());
        }
    }
    answer
}

/// Tokens are opaque to callers; the prefix keeps a caller from passing a number.
const TOKEN_PREFIX: &str = "caeba0bbb2be03f84eb48b699f0a4883";

fn encode_token(start: u64) -> String {
    format!("{TOKEN_PREFIX}{start:08x}")
}

fn decode_token(token: &str) -> Option<u64> {
    u64::from_str_radix(token.strip_prefix(TOKEN_PREFIX)?, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn params(pairs: &[(&str, &str)]) -> Params {
        pairs.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect()
    }

    #[test]
    fn a_caller_who_does_not_page_sees_ten_and_tokens_lead_through_all() {
        let all: Vec<u64> = (0..25).collect();
        let show = |params: &Params| {
            let page = page(params, &TokenPage { sizes: 10..=500 }).expect("valid");
            paged(&page, &all, ("Disks", "Disk"), |n| json!(n))
        };
        let first = show(&params(&[]));
        assert_eq!(first["Disks"]["Disk"].as_array().map(Vec::len), Some(10));
        assert_eq!((&first["TotalCount"], &first["PageSize"]), (&json!(25), &json!(10)));
        let mut seen = Vec::new();
        let mut asked = params(&[("MaxResults", "10")]);
        loop {
            let answer = show(&asked);
            seen.extend(answer["Disks"]["Disk"].as_array().expect("list").iter().filter_map(Value::as_u64));
            let token = answer["NextToken"].as_str().expect("token").to_owned();
            if token.is_empty() {
                break;
            }
            asked.insert("NextToken".into(), token);
        }
        assert_eq!(seen, all);
    }

    #[test]
    fn refusals_name_the_parameter() {
        let given = params(&[("PageSize", "101"), ("DiskIds", "d-1"), ("DryRun", "True"), ("Empty", "")]);
        assert_eq!(required(&given, "Empty").map_err(|e| e.code).err().as_deref(), Some("MissingEmpty"));
        let page = page(&given, &TokenPage { sizes: 10..=100 });
        assert_eq!(page.map(|_| ()).map_err(|e| e.code).err().as_deref(), Some("InvalidPageSize"));
        let ids = id_list(&given, "DiskIds");
        assert_eq!(ids.map_err(|e| e.code).err().as_deref(), Some("InvalidDiskIds.Malformed"));
        assert!(flag(&given, "DryRun").expect("a flag"));
        let tagged = params(&[("Tag.1.Key", "a"), ("Tag.1.Value", "1"), ("Tag.2.Key", "b")]);
        assert_eq!(tags(&tagged).len(), 2);
    }
}
