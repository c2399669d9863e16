//! Reads a bounded body. Leaves its deadline to the caller. Tested in `tests`.

use super::refusal::Refusal;
use axum::body::Body;
use axum::http::HeaderMap;
use axum::http::header::{CONTENT_LENGTH, EXPECT};
use futures::StreamExt as _;
use opsward_core::event::BODY_BYTES_MAX;

/// How much of a body that is too large is read and thrown away, so that the sender gets to read the answer instead of a reset
/// connection.
const DISCARDED_BYTES_MAX: usize = 4 * 1024 * 1024;

/// How long the body is to be; `None` where the sender does not say.
pub(super) fn announced(headers: &HeaderMap) -> Option<usize> {
    headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok())
}

pub(super) async fn read(headers: &HeaderMap, body: Body) -> Result<Vec<u8>, Refusal> {
    let announced = announced(headers).unwrap_or(0);
    // A sender that asks first has sent nothing yet.
    if announced > BODY_BYTES_MAX && headers.contains_key(EXPECT) {
        return Err(Refusal::TooLarge);
    }
    let mut bytes = Vec::with_capacity(announced.min(BODY_BYTES_MAX));
    let mut seen = 0_usize;
    let mut chunks = body.into_data_stream();
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.map_err(|e| Refusal::Unreadable(format!("the body broke off: {e}")))?;
        seen = seen.saturating_add(chunk.len());
        if seen > DISCARDED_BYTES_MAX {
            break;
        }
        if seen <= BODY_BYTES_MAX {
            bytes.extend_from_slice(&chunk);
        }
    }
    if seen > BODY_BYTES_MAX { Err(Refusal::TooLarge) } else { Ok(bytes) }
}
