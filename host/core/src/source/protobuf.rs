//! Protocol Buffers, as far as reading a message needs it: its fields one after the other. Leaves what they mean to the caller. Tested by
//! `log_store`, and below for bytes that are no message.

/// Why bytes are no message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no Protocol Buffers message: {0}")]
pub(super) struct Malformed(&'static str);

/// What a field has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Value<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

/// The fields of `message` in order: number and value. Ends at the first fault, which comes last.
pub(super) fn fields(message: &[u8]) -> impl Iterator<Item = Result<(u64, Value<'_>), Malformed>> {
    let mut rest = message;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let field = field(&mut rest);
        if field.is_err() {
            rest = &[];
        }
        Some(field)
    })
}

fn field<'a>(rest: &mut &'a [u8]) -> Result<(u64, Value<'a>), Malformed> {
    let key = varint(rest)?;
    let value = match key & 7 {
        0 => Value::Number(varint(rest)?),
        1 => Value::Bytes(take(rest, 8)?),
        2 => {
            let length = varint(rest)?;
            Value::Bytes(take(
                rest,
                usize::try_from(length).map_err(|_| Malformed("a length is too large"))?,
            )?)
        }
        5 => Value::Bytes(take(rest, 4)?),
        _ => return Err(Malformed("a field has an unknown wire type")),
    };
    Ok((key >> 3, value))
}

/// At most 64 bits, seven a byte.
fn varint(rest: &mut &[u8]) -> Result<u64, Malformed> {
    let mut number = 0_u64;
    for shift in (0..64).step_by(7) {
        let byte = take(rest, 1)?[0];
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(number);
        }
    }
    Err(Malformed("a number is too long"))
}

fn take<'a>(rest: &mut &'a [u8], length: usize) -> Result<&'a [u8], Malformed> {
    let (taken, left) = rest.split_at_checked(length).ok_or(Malformed("it ends within a field"))?;
    *rest = left;
    Ok(taken)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_read_and_other_bytes_are_told() {
        let read = |bytes: &[u8]| {
            fields(bytes)
                .map(|field| field.map(|(n, v)| (n, format!("{v:?}"))))
                .collect::<Result<Vec<_>, _>>()
        };
        let expected = vec![
            (1, "Number(300)".to_owned()),
            (2, "Bytes([97])".to_owned()),
            (4, "Bytes([1, 0, 0, 0])".to_owned()),
        ];
        assert_eq!(read(&[0x08, 0xac, 0x02, 0x12, 1, b'a', 0x25, 1, 0, 0, 0]), Ok(expected));
        for bytes in [
            &[0x08][..],
            &[0x12, 5, b'a'],
            &[0x0b],
            &[0xff; 11],
            &[0x12, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01],
        ] {
            assert!(read(bytes).is_err(), "{bytes:?}");
        }
    }
}
