//! Tests of kopf's command line.

use super::*;

fn read_words(words: &str, env: &[(&str, &str)]) -> Result<(KopfFlags, Vec<String>), Error> {
    let args: Vec<OsString> = words.split_whitespace().map(OsString::from).collect();
    let find = |name: &str| env.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
    read(&args, find)
}

#[track_caller]
fn flags(words: &str, env: &[(&str, &str)]) -> KopfFlags {
    let (flags, warnings) = read_words(words, env).unwrap();
    assert_eq!(warnings, [""; 0], "{words}");
    flags
}

fn in_namespaces(names: &[&str]) -> KopfFlags {
    KopfFlags { namespaces: names.iter().map(|name| (*name).to_owned()).collect(), ..KopfFlags::default() }
}

fn answering(address: &str) -> KopfFlags {
    KopfFlags { liveness: Some(address.parse().unwrap()), ..KopfFlags::default() }
}

fn logging(verbosity: Verbosity, log_format: Option<LogFormat>) -> KopfFlags {
    KopfFlags { log_format, verbosity, ..KopfFlags::default() }
}

#[test]
fn flags_are_read_in_all_forms_that_people_write() {
    let probes = || answering("0.0.0.0:8080");
    let table = [
        ("", KopfFlags::default()),
        ("-A", KopfFlags::default()),
        ("--all-namespaces", KopfFlags::default()),
        ("-n a -n b", in_namespaces(&["a", "b"])),
        ("-n a -n a", in_namespaces(&["a"])),
        ("-n a,b", in_namespaces(&["a", "b"])),
        ("--namespace=a", in_namespaces(&["a"])),
        ("--namespace a --namespace=b", in_namespaces(&["a", "b"])),
        ("-na", in_namespaces(&["a"])),
        ("-n=a", in_namespaces(&["a"])),
        ("-vna", KopfFlags { verbosity: Verbosity::Verbose, ..in_namespaces(&["a"]) }),
        ("--liveness http://0.0.0.0:8080/healthz", probes()),
        ("--liveness=http://0.0.0.0:8080/healthz", probes()),
        ("-L http://0.0.0.0:8080/healthz", probes()),
        ("-L=http://0.0.0.0:8080/healthz", probes()),
        ("-Lhttp://0.0.0.0:8080/healthz", probes()),
        ("--log-format=json", logging(Verbosity::Normal, Some(LogFormat::Json))),
        ("--log-format plain", logging(Verbosity::Normal, Some(LogFormat::Text))),
        ("--log-format FULL", logging(Verbosity::Normal, Some(LogFormat::Text))),
        ("-v", logging(Verbosity::Verbose, None)),
        ("-q", logging(Verbosity::Quiet, None)),
        ("-v -d -q", logging(Verbosity::Debug, None)),
        ("-vq", logging(Verbosity::Verbose, None)),
        ("--verbose", logging(Verbosity::Verbose, None)),
        ("--debug --quiet", logging(Verbosity::Debug, None)),
        (
            "--liveness=http://0.0.0.0:8080/healthz --verbose --all-namespaces",
            KopfFlags { verbosity: Verbosity::Verbose, ..probes() },
        ),
    ];
    for (words, expected) in table {
        assert_eq!(flags(words, &[]), expected, "{words}");
    }
}

#[test]
fn variables_say_what_flags_do_not() {
    let table = [
        ("", [("KOPF_RUN_NAMESPACES", "a b")], in_namespaces(&["a", "b"])),
        ("", [("KOPF_RUN_NAMESPACE", "a")], in_namespaces(&["a"])),
        ("-n b", [("KOPF_RUN_NAMESPACE", "a")], in_namespaces(&["b"])),
        ("", [("KOPF_RUN_NAMESPACE", "")], KopfFlags::default()),
        ("", [("KOPF_RUN_CLUSTERWIDE", "true")], KopfFlags::default()),
        ("", [("KOPF_RUN_DEBUG", "1")], logging(Verbosity::Debug, None)),
        ("", [("KOPF_RUN_VERBOSE", "no")], KopfFlags::default()),
        ("", [("KOPF_RUN_LOG_FORMAT", "json")], logging(Verbosity::Normal, Some(LogFormat::Json))),
        ("--log-format full", [("KOPF_RUN_LOG_FORMAT", "json")], logging(Verbosity::Normal, Some(LogFormat::Text))),
        ("", [("KOPF_RUN_LIVENESS_ENDPOINT", "http://0.0.0.0:1/healthz")], answering("0.0.0.0:1")),
        ("", [("KOPF_RUN_LIVENESS", "http://0.0.0.0:1/healthz")], answering("0.0.0.0:1")),
    ];
    for (words, env, expected) in table {
        assert_eq!(flags(words, &env), expected, "{words} {env:?}");
    }
}

#[test]
fn ignored_flags_are_reported() {
    let idle = "without effect, since they concern kopf alone:";
    let table = [
        (
            "--standalone --dev -P x -p 5 -m mod --log-refkey k --no-log-prefix -n a",
            vec![format!("{idle} --standalone, --dev, --peering, --priority, --module, --log-refkey, --no-log-prefix")],
        ),
        (
            "-n a --colour=red -x handlers.py",
            vec![
                "ignored the unknown flag --colour".to_owned(),
                "ignored the unknown flag -x".to_owned(),
                "ignored the argument handlers.py: no handlers are loaded".to_owned(),
            ],
        ),
        (
            "-n a --liveness=http://0.0.0.0:8080/alive",
            vec![
                "--liveness \"http://0.0.0.0:8080/alive\": probes are answered at /healthz, /livez and /readyz, not at \
                 /alive"
                    .to_owned(),
            ],
        ),
    ];
    for (words, expected) in table {
        let (flags, warnings) = read_words(words, &[]).unwrap();
        assert_eq!((flags.namespaces, warnings), (vec!["a".to_owned()], expected), "{words}");
    }
}

#[test]
fn what_cannot_be_done_is_an_error_in_one_sentence() {
    let both = "either --namespace or --all-namespaces can be used, not both";
    let table = [
        ("-A -n a", both),
        ("-n a --all-namespaces", both),
        ("-n team-*", "--namespace \"team-*\": patterns are not supported; name each namespace"),
        ("-n a,!b", "--namespace \"a,!b\": patterns are not supported; name each namespace"),
        ("-n a?", "--namespace \"a?\": patterns are not supported; name each namespace"),
        ("-n Team_A", "--namespace \"Team_A\": this is no name of a namespace"),
        ("-n a,", "--namespace \"\": this is no name of a namespace"),
        ("--log-format xml", "--log-format \"xml\": it must be plain, full or json"),
        ("-L 8080", "--liveness \"8080\": it must be a URL that begins with http://"),
        ("-n", "kopf's flags: missing argument for option '-n'"),
        ("--verbose=3", "kopf's flags: unexpected argument for option '--verbose': \"3\""),
    ];
    for (words, expected) in table {
        assert_eq!(read_words(words, &[]).unwrap_err().to_string(), expected, "{words}");
    }
    let env = [("KOPF_RUN_ALL_NAMESPACES", "1")];
    assert_eq!(read_words("-n a", &env), Err(Error::Contradiction));
    let error = read_words("", &[("KOPF_RUN_QUIET", "perhaps")]).unwrap_err();
    assert_eq!(error.to_string(), "KOPF_RUN_QUIET=\"perhaps\": it must be true or false");
}
