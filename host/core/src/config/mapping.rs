//! `map` of a `generic` source, resolved: how the JSON that is posted to it becomes events. Leaves compiling it to `event`. Tested
//! in `super::tests`.

use super::finding::ConfigError;
use super::source::{Source, Step, place};
use crate::event::{Mapping, MappingText, SourceKind};

/// The mapping of the source `name`: one that is `generic` needs it, and no other has it.
pub(super) fn resolve(
    source: &Source<'_>,
    name: &str,
    kind: SourceKind,
    typed: Option<&MappingText>,
    errors: &mut Vec<ConfigError>,
) -> Option<Mapping> {
    match (kind, typed) {
        (SourceKind::Generic, None) => {
            let fix =
                "say where in the JSON things are: `map = { id = \"$.alert.id\", type = \"'disk.full'\" }`";
            errors.push(source.missing(place!["sources", name], "map", fix));
            None
        }
        (SourceKind::Generic, Some(typed)) => match Mapping::compile(typed) {
            Ok(mapping) => Some(mapping),
            Err(error) => {
                let keys: Vec<Step<'_>> = ["sources", name, "map"]
                    .into_iter()
                    .chain(error.key.splitn(2, '.'))
                    .map(Step::from)
                    .collect();
                errors.push(source.error(&keys, error.to_string(), error.fix.clone()));
                None
            }
        },
        (_, Some(_)) => {
            let message = format!("`map` is for the kind `generic`; `{kind}` has a form of its own");
            errors.push(source.key_error(place!["sources", name, "map"], message, "leave it out"));
            None
        }
        (_, None) => None,
    }
}
