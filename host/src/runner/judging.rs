//! New plugins, each in a runner of its own that ends after it: they are looked at, and describe themselves, where they can harm
//! no run, and where no guest has been that could speak in their name. Leaves what is refused to `plugin::judge`.

use super::link::{Link, RunnerError, Said};
use super::message::ToRunner;
use super::{Runner, SILENCE_MAX};
use crate::plugin::engine::{Code, Description, Limits, Revision};
use crate::plugin::judge::{self, RefusedPlugin};
use opsward_core::id::Digest;
use std::io;
use std::path::Path;
use std::sync::Arc;

impl Runner {
    /// Makes a revision of a plugin's bytes.
    pub async fn compile(&self, bytes: Vec<u8>) -> Result<Revision, RefusedPlugin> {
        let bytes: Arc<[u8]> = bytes.into();
        let (digest, code) = self.engine.compile_apart(bytes.clone(), false).await?;
        let host = |e: RunnerError| RefusedPlugin::Host { problem: e.to_string() };
        let mut judged = self.judge(digest, code).await;
        if let Err(Judged::NotLoaded(RunnerError::Refused(problem))) = &judged {
            tracing::warn!(%digest, %problem, "compiled plugin unusable; compiling again");
            let (digest, code) = self.engine.compile_apart(bytes, true).await?;
            judged = self.judge(digest, code).await;
        }
        judged.map_err(|judged| match judged {
            Judged::NotLoaded(problem) => host(problem),
            Judged::Refused(refused) => refused,
        })
    }

    /// The revision with that digest as it was kept when it was compiled first; `None` where it was not.
    pub async fn load_pinned(&self, digest: Digest) -> Result<Option<Revision>, RefusedPlugin> {
        match self.engine.pinned_bytes(digest).await? {
            Some(bytes) => self.compile(bytes).await.map(Some),
            None => Ok(None),
        }
    }

    /// Takes over from the cache at `from` the revision with that digest, for `load_pinned` to find.
    pub(crate) fn take_over(&self, from: &Path, digest: &Digest) -> io::Result<()> {
        self.engine.take_over(from, digest)
    }

    async fn judge(&self, digest: Digest, code: Code) -> Result<Revision, Judged> {
        let _one_at_a_time = self.judging.lock().await;
        let limits = Limits { instances: 1, ..self.limits().clone() };
        let not_loaded = Judged::NotLoaded;
        let link =
            Link::start(&self.program, limits, self.engine.configuration()).await.map_err(not_loaded)?;
        let loaded = link.load(digest, async || self.read(digest, &code).await).await;
        let judged = async {
            let loaded = loaded.map_err(not_loaded)?;
            judge::check_interfaces(&loaded.interfaces)?;
            if let Some(problem) = loaded.mismatch.clone() {
                return Err(RefusedPlugin::Mismatch { problem }.into());
            }
            let self_test = |problem: String| Judged::Refused(RefusedPlugin::SelfTest { problem });
            let told = match describe(&link, digest).await {
                Some(told) => told.map_err(self_test)?,
                None => return Err(self_test(format!("its runner died: {}", link.has_ended().await))),
            };
            judge::check_description(&told)?;
            Ok((told, loaded.interfaces.imports.clone()))
        };
        let judged = judged.await;
        link.condemn("it has done its work".to_owned());
        let (description, imports) = judged?;
        Ok(Revision { digest, description, imports, code })
    }
}

/// Why a plugin is not judged good.
enum Judged {
    /// Its code could not be looked at.
    NotLoaded(RunnerError),
    /// It is not.
    Refused(RefusedPlugin),
}

impl From<RefusedPlugin> for Judged {
    fn from(refused: RefusedPlugin) -> Self {
        Self::Refused(refused)
    }
}

/// Has a plugin describe itself; `None` where the runner died of it.
async fn describe(link: &Arc<Link>, digest: Digest) -> Option<Result<Description, String>> {
    let mut place = link.place()?;
    place.tell(|id| ToRunner::Describe { id, digest }).ok()?;
    match tokio::time::timeout(SILENCE_MAX, place.hear()).await {
        Ok(Some(Said::Described(told))) => Some(told),
        Ok(None) => None,
        Ok(Some(_)) | Err(_) => Some(Err("it did not come to an end".to_owned())),
    }
}
