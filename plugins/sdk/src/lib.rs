//! Everything a policy author needs. A policy implements [`Policy`], names itself with [`policy!`], and is built as a
//! WebAssembly component; the host wakes it with an [`Event`] and makes the cloud calls it asks for through [`Run`].
//!
//! ```
//! use opsward_policy::{Call, Description, Event, Failure, Outcome, Policy, Run, json};
//!
//! struct TagNewDisks;
//!
//! #[derive(serde::Deserialize)]
//! #[serde(rename_all = "kebab-case", deny_unknown_fields)]
//! struct Config {
//!     owner: String,
//! }
//!
//! impl Policy for TagNewDisks {
//!     type Config = Config;
//!
//!     fn describe() -> Description {
//!         Description::new("tag-new-disks", env!("CARGO_PKG_VERSION"), "Tags new disks with their owner.")
//!             .on(["Disk:DiskOperationCompleted"])
//!             .asks("ecs:TagResources", "to write the owner's tag")
//!     }
//!
//!     fn handle(event: &Event, run: &Run<Config>) -> Result<Outcome, Failure> {
//!         let Some(disk) = event.first_text(&["/content/diskId"]) else {
//!             return Err(Failure::new("opsward.NoDiskId", "the event names no disk"));
//!         };
//!         let tag = json!([{ "Key": "owner", "Value": run.config().owner }]);
//!         run.call(
//!             Call::new("ecs", "TagResources")
//!                 .region(event.region.as_deref().unwrap_or_default())
//!                 .param("ResourceType", "disk")
//!                 .param("ResourceId", vec![disk.as_str()])
//!                 .param("Tag", tag),
//!         )?;
//!         Ok(Outcome::new(format!("tagged {disk}")))
//!     }
//! }
//!
//! opsward_policy::policy!(TagNewDisks);
//! # // What follows is the test a policy's author would write.
//! # use opsward_policy::testing::{FakeHost, event};
//! # let host = FakeHost::new().config(json!({ "owner": "ops" })).on("ecs:TagResources", |_| json!({}));
//! # let event = event("Disk:DiskOperationCompleted", json!({ "content": { "diskId": "d-1" } }));
//! # assert_eq!(host.handle::<TagNewDisks>(&event).expect("handled").summary, "tagged d-1");
//! # assert_eq!(host.calls()[0].params["Tag"][0]["Value"], "ops");
//! ```
//!
//! A policy must be deterministic: after a crash or a sleep the host starts `handle` again from the top and answers its
//! recorded calls as it did before. Nothing in a plugin can read a clock, a file or the network but through [`Run`].
//! `SystemTime::now`, `Instant::now` and `thread::sleep` panic; use [`Run::now`] and [`Run::sleep`].
//!
//! The interface below this crate is `wit/policy.wit`; its comments give every limit.

#[cfg(all(target_arch = "wasm32", target_os = "unknown", feature = "bump-allocator"))]
mod allocator;
mod call;
mod confirm;
mod description;
mod event;
mod host;
mod outcome;
mod page;
mod run;
mod state;
#[cfg(all(not(target_arch = "wasm32"), feature = "testing"))]
pub mod testing;

pub use call::{Call, CallError, ErrorKind, Response};
pub use confirm::{Confirmed, Unconfirmed};
pub use description::{Description, Permission};
pub use event::Event;
pub use outcome::{Failure, Outcome};
pub use run::{Level, Mode, Run};
pub use serde_json::{Value, json};
pub use state::{Entry, State, StateError};

use serde::de::DeserializeOwned;

/// A policy: who it is and what it does with one event. The type is only a name; nothing of it lives between events.
pub trait Policy {
    /// The operator's `config` for this policy. Use `#[serde(deny_unknown_fields)]`, so that a misspelt key is told.
    /// A policy without settings takes [`NoConfig`].
    type Config: DeserializeOwned;

    /// Who the policy is and what it asks for. Called once when the plugin is loaded; it must not use the host.
    fn describe() -> Description;

    /// Works on one event.
    ///
    /// # Errors
    /// A [`Failure`] ends the run as failed. Answer `Ok` where there is nothing to do, with a summary that says why.
    fn handle(event: &Event, run: &Run<Self::Config>) -> Result<Outcome, Failure>;
}

/// The `config` of a policy that has none: an empty table, so that any key in it is an error.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NoConfig {}

/// Makes a type that implements [`Policy`] the one this component exports. Takes the type's plain name, once a crate.
#[macro_export]
macro_rules! policy {
    ($policy:ident) => {
        #[cfg(target_arch = "wasm32")]
        $crate::__private::export!($policy with_types_in $crate::__private);

        #[cfg(not(target_arch = "wasm32"))]
        const _: () = {
            const fn is_a_policy<P: $crate::Policy>() {}
            is_a_policy::<$policy>()
        };
    };
}

/// For `policy!` only.
#[cfg(target_arch = "wasm32")]
#[doc(hidden)]
pub use host::bindings as __private;

/// Reads the config and hands the event to the policy: the same for the component and the fake host.
#[cfg(any(target_arch = "wasm32", feature = "testing"))]
pub(crate) fn dispatch<P: Policy>(event: &Event, config: &str) -> Result<Outcome, Failure> {
    let config = read_config(config)?;
    P::handle(event, &Run::new(config))
}

#[cfg(any(target_arch = "wasm32", feature = "testing"))]
fn read_config<C: DeserializeOwned>(text: &str) -> Result<C, Failure> {
    let mut deserializer = serde_json::Deserializer::from_str(text);
    serde_path_to_error::deserialize(&mut deserializer).map_err(|error| {
        let problem = error.inner().to_string();
        // The text is the host's rendering of a TOML table: a line and column of it mean nothing to the operator.
        let problem = problem.split(" at line ").next().unwrap_or_default();
        let key = match error.path().to_string() {
            path if path == "." => String::from("config"),
            path => format!("config.{path}"),
        };
        Failure::new("opsward.InvalidConfig", format!("{key}: {problem}"))
    })
}

/// The example in the project's README compiles.
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
struct Readme;
