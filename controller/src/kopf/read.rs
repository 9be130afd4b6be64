//! Parses the arguments and variables of `kopf run`.

use std::ffi::OsString;

use dask_operator_api::meta;
use lexopt::{
    Arg::{Long, Short, Value},
    Parser, ValueExt as _,
};

use super::{Error, KopfFlags, liveness};
use crate::telemetry::{LogFormat, Verbosity};

/// The arguments and variables, before validation.
#[derive(Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of its own")]
struct Given {
    everywhere: bool,
    namespaces: Vec<String>,
    verbose: bool,
    debug: bool,
    quiet: bool,
    log_format: Option<String>,
    liveness: Option<String>,
    /// Flags that only concern kopf.
    idle: Vec<&'static str>,
    warnings: Vec<String>,
}

/// Reads the arguments of `kopf run`, and its variables `KOPF_RUN_*` for flags that are not given. Also returns a
/// warning for each flag that has no effect.
///
/// ```text
/// let args = ["-n", "a", "--namespace=b", "--standalone"].map(Into::into);
/// let (flags, warnings) = kopf::read(&args, |_| None)?;
/// assert_eq!(flags.namespaces, ["a", "b"]);
/// assert_eq!(warnings, ["without effect, since they concern kopf alone: --standalone"]);
/// ```
///
/// # Errors
/// Returns a message of one sentence if kopf would not start either, or if the flags ask for something that the
/// controller cannot do.
pub(crate) fn read(args: &[OsString], env: impl Fn(&str) -> Option<String>) -> Result<(KopfFlags, Vec<String>), Error> {
    let mut given = from_args(args)?;
    given.take_env(env)?;
    given.judge()
}

fn from_args(args: &[OsString]) -> Result<Given, Error> {
    let syntax = |error: lexopt::Error| Error::Syntax(error.to_string());
    let mut given = Given::default();
    let mut parser = Parser::from_args(args);
    while let Some(arg) = parser.next().map_err(syntax)? {
        match arg {
            Short('A') | Long("all-namespaces") => given.everywhere = true,
            Short('n') | Long("namespace") => given.namespaces.push(text(&mut parser).map_err(syntax)?),
            Short('v') | Long("verbose") => given.verbose = true,
            Short('d') | Long("debug") => given.debug = true,
            Short('q') | Long("quiet") => given.quiet = true,
            Long("log-format") => given.log_format = Some(text(&mut parser).map_err(syntax)?),
            Short('L') | Long("liveness") => given.liveness = Some(text(&mut parser).map_err(syntax)?),
            Long("standalone") => given.idle.push("--standalone"),
            Long("dev") => given.idle.push("--dev"),
            Long("log-prefix") => given.idle.push("--log-prefix"),
            Long("no-log-prefix") => given.idle.push("--no-log-prefix"),
            Long("log-refkey") => given.idle.push(valued("--log-refkey", &mut parser).map_err(syntax)?),
            Short('P') | Long("peering") => given.idle.push(valued("--peering", &mut parser).map_err(syntax)?),
            Short('p') | Long("priority") => given.idle.push(valued("--priority", &mut parser).map_err(syntax)?),
            Short('m') | Long("module") => given.idle.push(valued("--module", &mut parser).map_err(syntax)?),
            Short(other) => given.unknown(&format!("-{other}"), &mut parser),
            Long(other) => given.unknown(&format!("--{other}"), &mut parser),
            Value(other) => {
                given.warnings.push(format!("ignored the argument {}: no handlers are loaded", other.display()));
            }
        }
    }
    Ok(given)
}

fn text(parser: &mut Parser) -> Result<String, lexopt::Error> {
    parser.value()?.string()
}

/// Skips the value of `flag`.
fn valued(flag: &'static str, parser: &mut Parser) -> Result<&'static str, lexopt::Error> {
    parser.value()?;
    Ok(flag)
}

impl Given {
    fn unknown(&mut self, flag: &str, parser: &mut Parser) {
        parser.optional_value();
        self.warnings.push(format!("ignored the unknown flag {flag}"));
    }

    /// Sets the values that the arguments do not set. The variables are named after kopf's parameters or its flags.
    fn take_env(&mut self, env: impl Fn(&str) -> Option<String>) -> Result<(), Error> {
        let value = |name: &str| env(name).filter(|value| !value.is_empty());
        let either = |one: &str, other: &str| value(one).or_else(|| value(other));
        if self.namespaces.is_empty() {
            let names = either("KOPF_RUN_NAMESPACES", "KOPF_RUN_NAMESPACE").unwrap_or_default();
            self.namespaces = names.split_whitespace().map(str::to_owned).collect();
        }
        let on = |name: &'static str| value(name).map_or(Ok(false), |value| is_on(name, value));
        self.everywhere |= on("KOPF_RUN_ALL_NAMESPACES")? || on("KOPF_RUN_CLUSTERWIDE")?;
        self.verbose |= on("KOPF_RUN_VERBOSE")?;
        self.debug |= on("KOPF_RUN_DEBUG")?;
        self.quiet |= on("KOPF_RUN_QUIET")?;
        self.log_format = self.log_format.take().or_else(|| value("KOPF_RUN_LOG_FORMAT"));
        let liveness = || either("KOPF_RUN_LIVENESS_ENDPOINT", "KOPF_RUN_LIVENESS");
        self.liveness = self.liveness.take().or_else(liveness);
        Ok(())
    }

    fn judge(mut self) -> Result<(KopfFlags, Vec<String>), Error> {
        if self.everywhere && !self.namespaces.is_empty() {
            return Err(Error::Contradiction);
        }
        let liveness = self.liveness.as_deref().map(liveness::address).transpose()?;
        let (liveness, path) = liveness.map_or((None, None), |(address, warning)| (Some(address), warning));
        self.warnings.extend(path);
        if !self.idle.is_empty() {
            self.warnings.push(format!("without effect, since they concern kopf alone: {}", self.idle.join(", ")));
        }
        let flags = KopfFlags {
            namespaces: names(&self.namespaces)?,
            log_format: self.log_format.as_deref().map(log_format).transpose()?,
            verbosity: match (self.debug, self.verbose, self.quiet) {
                (true, ..) => Verbosity::Debug,
                (_, true, _) => Verbosity::Verbose,
                (.., true) => Verbosity::Quiet,
                _ => Verbosity::Normal,
            },
            liveness,
        };
        Ok((flags, self.warnings))
    }
}

/// Returns the namespaces in kopf's patterns. Each pattern may be a comma-separated list.
fn names(patterns: &[String]) -> Result<Vec<String>, Error> {
    let mut names: Vec<String> = Vec::new();
    for pattern in patterns {
        for name in pattern.split(',').map(str::trim) {
            if name.contains(['*', '?', '!', '[', ']']) {
                return Err(Error::Pattern(pattern.clone()));
            }
            if !meta::is_dns_label(name) {
                return Err(Error::Name(name.to_owned()));
            }
            if !names.iter().any(|known| known == name) {
                names.push(name.to_owned());
            }
        }
    }
    Ok(names)
}

fn log_format(name: &str) -> Result<LogFormat, Error> {
    match name.to_lowercase().as_str() {
        "plain" | "full" => Ok(LogFormat::Text),
        "json" => Ok(LogFormat::Json),
        _ => Err(Error::LogFormat(name.to_owned())),
    }
}

fn is_on(name: &'static str, value: String) -> Result<bool, Error> {
    match value.to_lowercase().as_str() {
        "1" | "true" | "t" | "yes" | "y" | "on" => Ok(true),
        "0" | "false" | "f" | "no" | "n" | "off" => Ok(false),
        _ => Err(Error::Switch { name, value }),
    }
}

#[cfg(test)]
mod tests;
