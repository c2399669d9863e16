//! From bytes to a revision: have them compiled, or map what was, and have the plugin describe itself within the bounds of a
//! run. Leaves finding files to `registry`, and what is refused to `judge`. Tested by the hostile guests in `tests/`.

use super::bindings::exports::opsward::policy::handler;
use super::bindings::{Policy, PolicyPre};
use super::engine::{Code, Description, Engine, Mapped, Permission, Revision};
use super::judge::{Interfaces, RefusedPlugin, check_bytes, check_description, check_interfaces};
use super::lane::{Kept, Pace, Paces};
use super::{Ended, GuestCalls, RunContext};
use opsward_core::id::{Digest, PolicyName, RunId};
use opsward_core::run::{FaultKind, HostReply, HostRequest, Mode, Stop};
use opsward_core::time::Timestamp;
use std::collections::HashSet;
use std::io;
use std::path::Path;
use std::sync::Arc;
use wasmtime::component::Component;

/// What is kept of the log of a failed self-test, in lines.
const SELF_TEST_LINES_MAX: usize = 5;

impl Engine {
    /// Makes a revision of a plugin's bytes. Compiles in another process, one plugin at a time.
    pub async fn compile(&self, bytes: Vec<u8>) -> Result<Revision, RefusedPlugin> {
        check_bytes(&bytes, self.limits().plugin_bytes)?;
        let _turn = self.turn_to_compile().await?;
        let engine = self.clone();
        let prepared = tokio::task::spawn_blocking(move || engine.prepare(&bytes)).await;
        let (digest, imports, plugin) = prepared.map_err(|e| host(&e))??;
        let description =
            self.describe(&plugin).await.map_err(|problem| RefusedPlugin::SelfTest { problem })?;
        check_description(&description)?;
        Ok(Revision { digest, description, imports, code: Code::Mapped(plugin) })
    }

    /// The same for a process apart: nothing of the plugin is mapped into this one. `anew` passes over what the cache has.
    pub(crate) async fn compile_apart(
        &self,
        bytes: Arc<[u8]>,
        anew: bool,
    ) -> Result<(Digest, Code), RefusedPlugin> {
        check_bytes(&bytes, self.limits().plugin_bytes)?;
        let _turn = self.turn_to_compile().await?;
        let engine = self.clone();
        tokio::task::spawn_blocking(move || engine.code_of(&bytes, anew)).await.map_err(|e| host(&e))?
    }

    /// What `compile_apart` has put in the cache.
    pub(crate) fn kept_code(&self, digest: &Digest) -> io::Result<Vec<u8>> {
        self.cache().map_err(io::Error::other)?.code(digest)
    }

    /// The revision with that digest as it was kept when it was compiled first; `None` where it was not, or is not
    /// whole.
    pub async fn load_pinned(&self, digest: Digest) -> Result<Option<Revision>, RefusedPlugin> {
        match self.pinned_bytes(digest).await? {
            Some(bytes) => self.compile(bytes).await.map(Some),
            None => Ok(None),
        }
    }

    /// Takes over from the cache at `from` the revision with that digest, for `load_pinned` to find.
    pub fn take_over(&self, from: &Path, digest: &Digest) -> io::Result<()> {
        self.cache().map_err(io::Error::other)?.take_over(from, digest)
    }

    /// The bytes of the plugin with that digest, where they were kept and are whole.
    pub(crate) async fn pinned_bytes(&self, digest: Digest) -> Result<Option<Vec<u8>>, RefusedPlugin> {
        let engine = self.clone();
        let read = move || engine.cache()?.bytes(&digest).map_err(|e| host(&e));
        tokio::task::spawn_blocking(read).await.map_err(|e| host(&e))?
    }

    /// Removes from the cache what belongs to none of `keep`. Gives the number of files removed.
    pub fn prune_cache(&self, keep: &HashSet<Digest>) -> io::Result<usize> {
        self.cache().map_err(io::Error::other)?.prune(keep)
    }

    /// Maps compiled code.
    ///
    /// # Safety
    /// `code` must come from this program's compiler, for this engine's configuration: it is run as it is.
    pub(crate) unsafe fn map(&self, code: &[u8]) -> wasmtime::Result<(Interfaces, Component)> {
        // SAFETY: the caller's; wasmtime itself checks version, settings and processor.
        let component = unsafe { Component::deserialize(self.wasm(), code) }?;
        Ok((self.interfaces(&component), component))
    }

    /// Binds a plugin to what it imports.
    pub(crate) fn bind(&self, component: &Component) -> wasmtime::Result<Mapped> {
        let pre = self.linker().instantiate_pre(component)?;
        Ok(Mapped { pre: PolicyPre::new(pre)?, paces: Paces::default() })
    }

    /// What a plugin says of itself, unchecked, or how it failed to.
    pub(crate) async fn describe(&self, plugin: &Mapped) -> Result<Description, String> {
        let context = RunContext {
            run: RunId::from_text("describe"),
            policy: "describe".parse::<PolicyName>().map_err(|e| e.to_string())?,
            attempt: 1,
            mode: Mode::DryRun,
            config: "{}".into(),
        };
        let (kept, pre) = (Kept::default(), plugin.pre.clone());
        let mut store = self.store(SelfTest::default(), context, kept.clone());
        let guest = async move {
            let described = async {
                let policy: Policy = pre.instantiate_async(&mut store).await?;
                policy.opsward_policy_handler().call_describe(&mut store).await
            };
            (described.await, store)
        };
        let (described, mut store) = self.in_lane(guest, kept, &Pace::default()).await;
        match described {
            Ok(told) => Ok(description(told)),
            Err(error) => {
                let ended = store.data_mut().name_end(&error, FaultKind::Instantiate);
                let log = store.into_data().into_calls::<SelfTest>().lines;
                Err(explain(&ended, &log))
            }
        }
    }

    fn prepare(&self, bytes: &[u8]) -> Result<(Digest, Vec<String>, Mapped), RefusedPlugin> {
        let digest = Digest::of(bytes);
        let component = match self.cache()?.load(self.wasm(), &digest) {
            Some(component) => component,
            None => {
                let code = self.compile_code(bytes)?;
                let kept = self.cache()?.keep(self.wasm(), &digest, bytes, &code);
                kept.map_err(|e| RefusedPlugin::Malformed { problem: format!("{e:#}") })?
            }
        };
        let interfaces = self.interfaces(&component);
        check_interfaces(&interfaces)?;
        let mismatch = |e: wasmtime::Error| RefusedPlugin::Mismatch { problem: format!("{e:#}") };
        Ok((digest, interfaces.imports, self.bind(&component).map_err(mismatch)?))
    }

    fn code_of(&self, bytes: &[u8], anew: bool) -> Result<(Digest, Code), RefusedPlugin> {
        let (digest, cache) = (Digest::of(bytes), self.cache()?);
        if !anew && cache.has_code(&digest) {
            return Ok((digest, Code::Kept));
        }
        let code = self.compile_code(bytes)?;
        match cache.keep_code(&digest, bytes, &code) {
            Ok(()) => Ok((digest, Code::Kept)),
            Err(problem) => {
                tracing::warn!(%problem, "compiled plugin not kept; the next start compiles again");
                Ok((digest, Code::Held(code.into())))
            }
        }
    }

    fn interfaces(&self, component: &Component) -> Interfaces {
        let ty = component.component_type();
        Interfaces {
            imports: ty.imports(self.wasm()).map(|(name, _)| name.to_owned()).collect(),
            exports: ty.exports(self.wasm()).map(|(name, _)| name.to_owned()).collect(),
        }
    }
}

fn host(problem: &dyn std::error::Error) -> RefusedPlugin {
    RefusedPlugin::Host { problem: problem.to_string() }
}

/// The broker's side of a self-test: `describe` must not depend on any import.
#[derive(Default)]
struct SelfTest {
    lines: Vec<String>,
}

impl GuestCalls for SelfTest {
    async fn perform(&mut self, request: HostRequest) -> Result<HostReply, Stop> {
        match request {
            HostRequest::Log { message, .. } => {
                if self.lines.len() < SELF_TEST_LINES_MAX {
                    self.lines.push(message);
                }
                Ok(HostReply::Unit)
            }
            _ => Err(Stop::Abandoned { reason: "`describe` must not call the host".to_owned() }),
        }
    }

    fn now(&self) -> Timestamp {
        Timestamp::from_ms(0)
    }
}

fn explain(ended: &Ended, log: &[String]) -> String {
    let end = match ended {
        Ended::Faulted(fault) => fault.message.clone(),
        Ended::Stopped(Stop::Abandoned { reason }) => reason.clone(),
        other => format!("{other:?}"),
    };
    let mut parts = vec![end];
    parts.extend_from_slice(log);
    parts.join("; ")
}

fn description(told: handler::Description) -> Description {
    Description {
        name: told.name,
        version: told.version,
        summary: told.summary,
        triggers: told.triggers.into_iter().map(|trigger| trigger.types).collect(),
        permissions: told
            .permissions
            .into_iter()
            .map(|p| Permission { action: p.action, reason: p.reason })
            .collect(),
        config_schema: (!told.config_schema.is_empty()).then_some(told.config_schema),
    }
}
