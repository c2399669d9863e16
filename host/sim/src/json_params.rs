//! Reads the JSON parameters of Tencent's API: known names, types, lists, `Filters`, `Offset` and `Limit`. Refuses with
//! the gateway's codes (`UnknownParameter`, `MissingParameter`, `InvalidParameter`). Tested below.

use crate::answer::ApiError;
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// An action's parameters.
pub(crate) type Params = Map<String, Value>;

/// Refuses names the action does not have.
pub(crate) fn known(params: &Params, names: &[&str]) -> Result<(), ApiError> {
    match params.keys().find(|name| !names.contains(&name.as_str())) {
        Some(name) => {
            Err(ApiError::new(200, "UnknownParameter", format!("The parameter `{name}` is not recognized.")))
        }
        None => Ok(()),
    }
}

/// A text.
pub(crate) fn text<'a>(params: &'a Params, name: &str) -> Result<Option<&'a str>, ApiError> {
    present(params, name).map(|value| value.as_str().ok_or_else(|| wrong_type(name, "string"))).transpose()
}

/// A text that must be there and not empty.
pub(crate) fn required_text<'a>(params: &'a Params, name: &str) -> Result<&'a str, ApiError> {
    text(params, name)?.filter(|value| !value.is_empty()).ok_or_else(|| missing(name))
}

/// A list of texts.
pub(crate) fn texts(params: &Params, name: &str) -> Result<Option<Vec<String>>, ApiError> {
    let Some(value) = present(params, name) else { return Ok(None) };
    let items = value.as_array().ok_or_else(|| wrong_type(name, "list"))?;
    let item =
        |item: &Value| item.as_str().map(str::to_owned).ok_or_else(|| wrong_type(name, "list of string"));
    items.iter().map(item).collect::<Result<_, _>>().map(Some)
}

/// An object.
pub(crate) fn inner<'a>(params: &'a Params, name: &str) -> Result<Option<&'a Params>, ApiError> {
    present(params, name).map(|value| value.as_object().ok_or_else(|| wrong_type(name, "object"))).transpose()
}

/// `Tags`: a list of `Key` and `Value`.
pub(crate) fn tags(params: &Params) -> Result<BTreeMap<String, String>, ApiError> {
    let Some(value) = present(params, "Tags") else { return Ok(BTreeMap::new()) };
    let items = value.as_array().ok_or_else(|| wrong_type("Tags", "list"))?;
    items
        .iter()
        .map(|item| {
            let item = item.as_object().ok_or_else(|| wrong_type("Tags", "list of object"))?;
            Ok((required_text(item, "Key")?.to_owned(), text(item, "Value")?.unwrap_or_default().to_owned()))
        })
        .collect()
}

/// One of `Filters`: matches where any value does.
pub(crate) struct Filter {
    pub(crate) name: String,
    pub(crate) values: Vec<String>,
}

/// `Filters`, at most 10 with 5 values each.
pub(crate) fn filters(params: &Params) -> Result<Vec<Filter>, ApiError> {
    let Some(value) = present(params, "Filters") else { return Ok(Vec::new()) };
    let items = value.as_array().ok_or_else(|| wrong_type("Filters", "list"))?;
    if items.len() > FILTERS_MAX {
        return Err(ApiError::new(200, "InvalidParameterValue.LimitExceeded", "More than 10 `Filters`."));
    }
    let filter = |item: &Value| {
        let item = item.as_object().ok_or_else(|| wrong_type("Filters", "list of object"))?;
        let name = required_text(item, "Name")?.to_owned();
        let values = texts(item, "Values")?.ok_or_else(|| missing("Values"))?;
        if values.len() > FILTER_VALUES_MAX {
            let message = format!("More than {FILTER_VALUES_MAX} `Values` in filter `{name}`.");
            return Err(ApiError::new(200, "InvalidFilterValue.LimitExceeded", message));
        }
        Ok(Filter { name, values })
    };
    items.iter().map(filter).collect()
}

const FILTERS_MAX: usize = 10;
const FILTER_VALUES_MAX: usize = 5;

/// Cuts `Offset` and `Limit` (20 where absent, at most 100) out of `all`.
pub(crate) fn paged<T>(
    params: &Params,
    all: &[T],
    set: &str,
    show: impl Fn(&T) -> Value,
) -> Result<Params, ApiError> {
    let offset = number(params, "Offset")?.unwrap_or(0);
    let limit = number(params, "Limit")?.unwrap_or(LIMIT_DEFAULT);
    if limit == 0 || limit > LIMIT_MAX {
        let message = format!("The value of parameter `Limit` is {limit}: it must be 1 to {LIMIT_MAX}.");
        return Err(ApiError::new(200, "InvalidParameterValue.LimitExceeded", message));
    }
    let items: Vec<Value> = all.iter().skip(offset).take(limit).map(show).collect();
    Ok(Map::from_iter([("TotalCount".into(), all.len().into()), (set.to_owned(), items.into())]))
}

const LIMIT_DEFAULT: usize = 20;
const LIMIT_MAX: usize = 100;

fn number(params: &Params, name: &str) -> Result<Option<usize>, ApiError> {
    let whole = |value: &Value| value.as_u64().and_then(|n| usize::try_from(n).ok());
    present(params, name).map(|value| whole(value).ok_or_else(|| wrong_type(name, "uint64"))).transpose()
}

/// `null` counts as absent.
fn present<'a>(params: &'a Params, name: &str) -> Option<&'a Value> {
    params.get(name).filter(|value| !value.is_null())
}

/// A refusal of a missing parameter.
pub(crate) fn missing(name: &str) -> ApiError {
    ApiError::new(200, "MissingParameter", format!("The request is missing a required parameter `{name}`."))
}

fn wrong_type(name: &str, expected: &str) -> ApiError {
    ApiError::new(
        200,
        "InvalidParameter",
        format!("The value type of parameter `{name}` is not valid: {expected}."),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::answer::object;
    use serde_json::json;

    #[test]
    fn refusals_have_the_gateways_codes() {
        let params = object(json!({ "InstanceId": 7, "Limit": 101, "Colour": "red", "Offset": null }));
        let code = |e: ApiError| e.code;
        assert_eq!(
            known(&params, &["InstanceId", "Limit", "Offset"]).map_err(code).err().as_deref(),
            Some("UnknownParameter")
        );
        assert_eq!(
            required_text(&params, "InstanceId").map_err(code).err().as_deref(),
            Some("InvalidParameter")
        );
        assert_eq!(
            required_text(&params, "ImageId").map_err(code).err().as_deref(),
            Some("MissingParameter")
        );
        let paged = paged(&params, &[1], "DiskSet", |n| json!(n));
        assert_eq!(paged.map_err(code).err().as_deref(), Some("InvalidParameterValue.LimitExceeded"));
    }

    #[test]
    fn a_page_is_cut_by_offset_and_limit_and_counts_all() {
        let all: Vec<u64> = (0..25).collect();
        let answer = paged(&object(json!({ "Offset": 20 })), &all, "DiskSet", |n| json!(n)).expect("valid");
        assert_eq!(Value::Object(answer), json!({ "TotalCount": 25, "DiskSet": [20, 21, 22, 23, 24] }));
    }
}
