//! Facts that the cloud itself has told. What an event says is its sender's claim; where nobody knows who sent it, the host lets an effect
//! act only on what an answer in the same run has shown (`docs/senders.md`).

use crate::{Call, CallError, Outcome, Run, json};
use serde::de::DeserializeOwned;
use std::ops::Deref;

/// Something that a read of this run has shown. Nothing but [`Run::confirm_by_token`] and [`Run::confirm_by_offset`] makes one: a function
/// that takes it cannot be handed what an event claims.
///
/// ```
/// # use opsward_policy::{Call, Confirmed, Failure, Outcome, Run, json};
/// #[derive(serde::Deserialize)]
/// #[serde(rename_all = "PascalCase")]
/// struct Machine {
///     instance_id: String,
///     status: String,
/// }
///
/// fn start_stopped<C>(claimed: &str, run: &Run<C>) -> Result<Outcome, Failure> {
///     let read = Call::new("ecs", "DescribeInstances").param("InstanceIds", json!([claimed]).to_string());
///     let is_it = |machine: &Machine| machine.instance_id == claimed && machine.status == "Stopped";
///     match run.confirm_by_token(&format!("stopped instance {claimed}"), read, "/Instances/Instance", is_it)? {
///         Ok(machines) => start(&machines[0], run),
///         Err(unconfirmed) => Ok(unconfirmed.into()),
///     }
/// }
///
/// fn start<C>(machine: &Confirmed<Machine>, run: &Run<C>) -> Result<Outcome, Failure> {
///     run.call(Call::new("ecs", "StartInstance").param("InstanceId", machine.instance_id.as_str()))?;
///     Ok(Outcome::new(format!("started {}", machine.instance_id)))
/// }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Confirmed<T>(T);

impl<T> Confirmed<T> {
    /// The fact by itself.
    pub fn into_inner(self) -> T {
        self.0
    }
}

impl<T> Deref for Confirmed<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

/// The cloud does not show what an event claims: there is nothing to act on. As an [`Outcome`] it says so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unconfirmed {
    /// What was looked for.
    pub what: String,
    /// How much else the cloud has shown, which is not it.
    pub others: usize,
}

impl From<Unconfirmed> for Outcome {
    fn from(Unconfirmed { what, others }: Unconfirmed) -> Self {
        let but = if others > 0 { format!(", but {others} that are not it") } else { String::new() };
        Self::new(format!("nothing to do: the cloud shows no {what}{but}"))
            .details(&json!({ "unconfirmed": what, "others": others }))
    }
}

impl<C> Run<C> {
    /// Reads a whole list as [`Run::list_by_token`] does, and keeps what `is_it`: at least one, or [`Unconfirmed`], which calls it `what`.
    /// A cloud that ignores a filter answers with everything, so that `is_it` has to look at what tells it from others.
    ///
    /// # Errors
    /// As [`Run::list_by_token`].
    pub fn confirm_by_token<T: DeserializeOwned>(
        &self,
        what: &str,
        read: Call,
        list: &str,
        is_it: impl Fn(&T) -> bool,
    ) -> Result<Result<Vec<Confirmed<T>>, Unconfirmed>, CallError> {
        self.list_by_token(read, list).map(|listed| self.kept(what, listed, is_it))
    }

    /// Reads a whole list as [`Run::list_by_offset`] does, and keeps what `is_it`, like [`Run::confirm_by_token`].
    ///
    /// # Errors
    /// As [`Run::list_by_token`].
    pub fn confirm_by_offset<T: DeserializeOwned>(
        &self,
        what: &str,
        read: Call,
        list: &str,
        is_it: impl Fn(&T) -> bool,
    ) -> Result<Result<Vec<Confirmed<T>>, Unconfirmed>, CallError> {
        self.list_by_offset(read, list).map(|listed| self.kept(what, listed, is_it))
    }

    fn kept<T>(
        &self,
        what: &str,
        listed: Vec<T>,
        is_it: impl Fn(&T) -> bool,
    ) -> Result<Vec<Confirmed<T>>, Unconfirmed> {
        let shown = listed.len();
        let kept: Vec<Confirmed<T>> = listed.into_iter().filter(is_it).map(Confirmed).collect();
        let others = shown - kept.len();
        if kept.is_empty() {
            return Err(Unconfirmed { what: what.to_owned(), others });
        }
        if others > 0 {
            self.warn(format!("left out {others} that the cloud listed, but that are no {what}"));
        }
        Ok(kept)
    }
}
