//! `opsward token new|ls|revoke`: who else may ask at the admin listener's address. The host that runs takes a change at the next
//! request. Leaves the file to `admin::tokens`. Tested in `tests/tests/it/admin.rs`.

use super::runs::Output;
use super::text::{Align, aligned};
use super::{Config, store_path};
use crate::admin::tokens;
use crate::clock::{Clock as _, SystemClock};
use anyhow::{Context as _, bail};
use opsward_core::access::{Scope, Token, token_text};
use opsward_core::id::{Digest, TokenName};
use opsward_core::time::Timestamp;
use ring::rand::SecureRandom as _;
use serde_json::{Value, json};
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

/// Longest life of a token, in days: ten years.
const DAYS_MAX: u32 = 3650;
/// A day in UTC.
const DAY: Duration = Duration::from_secs(24 * 3600);

/// What to do with tokens.
#[derive(clap::Subcommand, Debug)]
pub enum Command {
    /// Make one, and print it: it is shown this once, and kept nowhere
    New {
        /// Whose it is; recorded with what its holder changes
        #[arg(long, value_name = "NAME")]
        name: TokenName,
        /// What its holder may do: read, operate, approve
        #[arg(long = "scope", value_name = "SCOPES", value_delimiter = ',', required = true)]
        scopes: Vec<Scope>,
        /// In how many days it expires, such as `90d`; never where left out
        #[arg(long, value_name = "DAYS", value_parser = days)]
        expires: Option<Duration>,
        /// Which host, and how to print
        #[command(flatten)]
        common: Common,
    },
    /// List them
    Ls {
        /// Which host, and how to print
        #[command(flatten)]
        common: Common,
    },
    /// End one: from the next request on it is not known
    Revoke {
        /// Its name, as `ls` lists it
        name: TokenName,
        /// Which host, and how to print
        #[command(flatten)]
        common: Common,
    },
}

/// What every one of them is told.
#[derive(clap::Args, Debug)]
pub struct Common {
    #[command(flatten)]
    config: Config,
    /// How to print the answer
    #[arg(short, long, value_enum, default_value_t)]
    output: Output,
}

/// Does it.
pub fn run(command: Command, out: &mut impl Write) -> anyhow::Result<ExitCode> {
    let (Command::New { common, .. } | Command::Ls { common } | Command::Revoke { common, .. }) = &command;
    let settings = crate::service::read_settings(&common.config.config)?;
    let file = tokens::path_of(&store_path(&common.config.config)?);
    let output = common.output;
    match command {
        Command::New { name, scopes, expires, .. } => {
            if settings.admin.listen.is_none() {
                let hint = "no address asks for tokens yet: `[admin]` has no `listen = \"127.0.0.1:7071\"`";
                writeln!(std::io::stderr(), "opsward: {hint}")?;
            }
            new(&file, name, scopes, expires, output, out)?;
        }
        Command::Ls { .. } => list(&file, output, out)?,
        Command::Revoke { name, .. } => {
            tokens::change(&file, |tokens| tokens.revoke(&name))?;
            match output {
                Output::Table => writeln!(out, "token {name} is known no more")?,
                Output::Json => writeln!(out, "{}", json!({ "revoked": name }))?,
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn new(
    file: &Path,
    name: TokenName,
    scopes: Vec<Scope>,
    expires: Option<Duration>,
    output: Output,
    out: &mut impl Write,
) -> anyhow::Result<()> {
    let mut random = [0; 32];
    let filled = ring::rand::SystemRandom::new().fill(&mut random);
    filled.ok().context("the system gives no random bytes")?;
    let text = token_text(&random);
    let made_at = SystemClock.now();
    let token = Token {
        name,
        sha256: Digest::of(text.expose().as_bytes()),
        scopes: scopes.into_iter().collect(),
        made_at,
        expires_at: expires.map(|life| made_at + life),
    };
    tokens::change(file, |tokens| tokens.add(token.clone()))?;
    if let Output::Json = output {
        let mut shown = row(&token);
        shown["token"] = json!(text.expose());
        writeln!(out, "{shown}")?;
        return Ok(());
    }
    writeln!(out, "{}", text.expose())?;
    let until = token.expires_at.map(|at| format!(" until {at}")).unwrap_or_default();
    writeln!(
        std::io::stderr(),
        "opsward: the token of {}, for {}{until}; it is shown this once. `{}` has its hash.",
        token.name,
        scope_names(&token).join(", "),
        file.display()
    )?;
    Ok(())
}

fn list(file: &Path, output: Output, out: &mut impl Write) -> anyhow::Result<()> {
    let tokens = tokens::read(file)?;
    if let Output::Json = output {
        writeln!(out, "{}", json!({ "tokens": tokens.all().iter().map(row).collect::<Vec<_>>() }))?;
        return Ok(());
    }
    if tokens.all().is_empty() {
        writeln!(out, "there are no tokens")?;
        return Ok(());
    }
    let now = SystemClock.now();
    let line = |token: &Token| {
        let expires = match token.expires_at {
            Some(at) if at <= now => format!("{at}, expired"),
            Some(at) => at.to_string(),
            None => "never".to_owned(),
        };
        [token.name.to_string(), scope_names(token).join(", "), token.made_at.to_string(), expires]
    };
    let head = ["NAME", "SCOPES", "MADE", "EXPIRES"].map(str::to_owned);
    let rows: Vec<_> = std::iter::once(head).chain(tokens.all().iter().map(line)).collect();
    for line in aligned(&rows, [Align::Left; 4]) {
        writeln!(out, "{line}")?;
    }
    Ok(())
}

/// A token for programs; the hash is of no use to them.
fn row(token: &Token) -> Value {
    let at = |time: Timestamp| time.to_iso_seconds();
    json!({
        "name": token.name,
        "scopes": scope_names(token),
        "made": at(token.made_at),
        "expires": token.expires_at.map(at),
    })
}

fn scope_names(token: &Token) -> Vec<&'static str> {
    token.scopes.iter().map(|scope| scope.as_str()).collect()
}

fn days(text: &str) -> anyhow::Result<Duration> {
    match text.strip_suffix('d').and_then(|digits| digits.parse::<u32>().ok()) {
        Some(days @ 1..=DAYS_MAX) => Ok(DAY * days),
        _ => bail!("write days from `1d` to `{DAYS_MAX}d`, such as `90d`"),
    }
}
