//! From the command line to what is to be done: kopf's flags are read and merged here.

use std::ffi::OsString;

use clap::{ArgMatches, CommandFactory as _, FromArgMatches as _, parser::ValueSource};

use super::{Cli, Command, RunArgs};
use crate::kopf;

/// Why there is nothing to do.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Our own flags are wrong, or help was asked for.
    #[error(transparent)]
    Clap(#[from] clap::Error),
    /// kopf's flags are wrong.
    #[error(transparent)]
    Kopf(#[from] kopf::Error),
    /// Namespaces are named and excluded at the same time.
    #[error(
        "--exclude-namespace {excluded} is for a controller that watches all namespaces, and this one watches \
         {watched} only: use one of the two"
    )]
    Excluded {
        /// The excluded namespaces.
        excluded: String,
        /// The watched namespaces.
        watched: String,
    },
}

/// Reads the command line `args`, the program's name first. Beside sub-commands it may be what
/// dask-kubernetes' image takes: flags of `kopf run` and nothing else.
///
/// # Errors
/// If it cannot be understood, or help is all that it asks for.
pub fn parse(args: impl IntoIterator<Item = OsString>, env: impl Fn(&str) -> Option<String>) -> Result<Cli, Error> {
    let matches = Cli::command().try_get_matches_from(with_command(args.into_iter().collect()))?;
    let mut cli = Cli::from_arg_matches(&matches)?;
    if let Command::ReleaseFinalizers(release) = &cli.command {
        one_of(&release.namespaces, &release.excluded)?;
    }
    if let (Command::Run(run), Some(("run", matches))) = (&mut cli.command, matches.subcommand()) {
        merge(run, matches, env)?;
    }
    Ok(cli)
}

/// Flags without a sub-command are kopf's.
fn with_command(mut args: Vec<OsString>) -> Vec<OsString> {
    let first = args.get(1).and_then(|first| first.to_str()).unwrap_or_default();
    let is_help = matches!(first, "-h" | "--help" | "-V" | "--version");
    if first == "--" {
        args.insert(1, "run".into());
    } else if first.starts_with('-') && !is_help {
        args.insert(1, "--".into());
        args.insert(1, "run".into());
    }
    args
}

/// Checks that namespaces are either named or excluded.
fn one_of(names: &[String], excluded: &[String]) -> Result<(), Error> {
    let list = |names: &[String]| names.iter().filter(|name| !name.is_empty()).cloned().collect::<Vec<_>>().join(", ");
    let (watched, excluded) = (list(names), list(excluded));
    if watched.is_empty() || excluded.is_empty() { Ok(()) } else { Err(Error::Excluded { excluded, watched }) }
}

/// Has kopf's flags say what our own flags and variables do not.
fn merge(run: &mut RunArgs, matches: &ArgMatches, env: impl Fn(&str) -> Option<String>) -> Result<(), Error> {
    let is_default = |id| matches!(matches.value_source(id), None | Some(ValueSource::DefaultValue));
    let (flags, mut warnings) = kopf::read(&run.kopf, env)?;
    // A variable that is set to nothing says nothing.
    run.namespaces.retain(|namespace| !namespace.is_empty());
    if run.namespaces.is_empty() {
        run.namespaces = flags.namespaces;
    } else if !flags.namespaces.is_empty() && flags.namespaces != run.namespaces {
        warnings.push(format!(
            "kopf's namespaces {} are not watched: our own flag or WATCH_NAMESPACE says {}",
            flags.namespaces.join(", "),
            run.namespaces.join(", ")
        ));
    }
    one_of(&run.namespaces, &run.excluded)?;
    if let Some(format) = flags.log_format.filter(|_| is_default("log_format")) {
        run.log_format = format;
    }
    if let Some(address) = flags.liveness.filter(|_| is_default("admin_address")) {
        run.admin_address = address;
    }
    run.verbosity = flags.verbosity;
    run.warnings = warnings;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::LogFormat;

    fn run(words: &str) -> RunArgs {
        let args = std::iter::once("dask-operator").chain(words.split_whitespace()).map(OsString::from);
        match parse(args, |_| None).unwrap().command {
            Command::Run(run) => *run,
            other => panic!("{words}: {other:?}"),
        }
    }

    fn usage(words: &str) -> String {
        let args = std::iter::once("dask-operator").chain(words.split_whitespace()).map(OsString::from);
        parse(args, |_| None).unwrap_err().to_string()
    }

    /// What dask-kubernetes' image and chart say.
    #[test]
    fn kopf_s_flags_may_stand_without_a_sub_command() {
        for words in [
            "--liveness=http://0.0.0.0:9090/healthz --all-namespaces",
            "-A --liveness=http://0.0.0.0:9090/healthz",
            "-- --liveness=http://0.0.0.0:9090/healthz -A",
            "run -- --liveness=http://0.0.0.0:9090/healthz",
        ] {
            let run = run(words);
            assert_eq!(run.admin_address.to_string(), "0.0.0.0:9090", "{words}");
            assert!(run.namespaces.is_empty() && run.warnings.is_empty(), "{words}: {:?}", run.warnings);
        }
    }

    #[test]
    fn our_own_flags_win_over_kopf_s() {
        let run = run("run --namespace a --log-format text --admin-address 127.0.0.1:1 -- -n b --log-format=json \
             -L http://0.0.0.0:2/healthz");
        assert_eq!((run.namespaces.join(","), run.log_format), ("a".to_owned(), LogFormat::Text));
        assert_eq!(run.admin_address.to_string(), "127.0.0.1:1");
        assert_eq!(run.warnings, ["kopf's namespaces b are not watched: our own flag or WATCH_NAMESPACE says a"]);
    }

    #[test]
    fn kopf_s_flags_say_what_our_own_do_not() {
        let run = run("run --cluster-domain x -- -n a -n b --log-format=json -L http://0.0.0.0:2/healthz");
        assert_eq!((run.namespaces.join(","), run.log_format), ("a,b".to_owned(), LogFormat::Json));
        assert_eq!((run.admin_address.to_string(), run.cluster_domain), ("0.0.0.0:2".to_owned(), "x".to_owned()));
    }

    #[test]
    fn namespaces_are_named_or_excluded_and_not_both() {
        for words in ["run --exclude-namespace a --exclude-namespace b", "run --exclude-namespace=b,,a -- -A"] {
            assert_eq!(run(words).scope().to_string(), "all namespaces except a, b", "{words}");
        }
        assert_eq!(run("run --namespace a --exclude-namespace=").scope().to_string(), "the namespace a");
        for words in [
            "run --namespace a --exclude-namespace b",
            "run --exclude-namespace b -- -n a",
            "release-finalizers --namespace a --exclude-namespace b",
        ] {
            let expected = "--exclude-namespace b is for a controller that watches all namespaces, and this one \
                            watches a only: use one of the two";
            assert_eq!(usage(words), expected, "{words}");
        }
        assert!(usage("run --exclude-namespace team-*").contains("no name of a namespace"));
    }

    #[test]
    fn namespaces_may_be_repeated_or_separated_by_commas() {
        for words in ["run --namespace a --namespace b", "run --namespace a,b", "run --namespace=a,,b"] {
            assert_eq!(run(words).namespaces, ["a", "b"], "{words}");
        }
    }

    #[test]
    fn help_and_version_stay_what_they_are() {
        for words in ["--help", "-h", "--version", "-V", "run --help"] {
            let error = usage(words);
            assert!(!error.contains("kopf's flags:"), "{words}: {error}");
        }
        assert!(usage("--version").starts_with("dask-operator "));
        assert!(usage("walk").contains("unrecognized subcommand 'walk'"));
        assert_eq!(usage("-A -n a"), "either --namespace or --all-namespaces can be used, not both");
    }
}
