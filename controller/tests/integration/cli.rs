//! The program without a cluster: exit codes, and one sentence on standard error for each.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    net::{Ipv4Addr, TcpListener},
    path::{Path, PathBuf},
    process::{Command, Output},
    thread,
};

use serde_json::{Value, json};
use tempfile::TempDir;

const UNKNOWN_API_SERVER: &str = "dask-operator: the API server cannot be asked:";

/// The exit code of the program, and its output besides the log.
#[derive(Debug, PartialEq, Eq)]
struct End {
    code: i32,
    sentences: Vec<String>,
}

fn end(code: i32, sentence: &str) -> End {
    End { code, sentences: vec![sentence.to_owned()] }
}

/// Runs the program with these variables and no others.
fn program(words: &[&str], env: &[(&str, &str)]) -> Output {
    let home = tempfile::tempdir().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_dask-operator"));
    command.args(words).env_clear().env("HOME", home.path()).env("RUST_LOG", "off");
    command.envs(env.iter().copied()).output().unwrap()
}

fn ended(words: &[&str], env: &[(&str, &str)]) -> End {
    let output = program(words, env);
    let sentences = String::from_utf8(output.stderr).unwrap().lines().map(str::to_owned).collect();
    End { code: output.status.code().unwrap(), sentences }
}

/// Runs `run` with probes at a free port and a kubeconfig.
fn run(kubeconfig: &Path, flags: &[&str]) -> End {
    let words = [&["run", "--admin-address", "127.0.0.1:0"], flags].concat();
    ended(&words, &[("KUBECONFIG", kubeconfig.to_str().unwrap())])
}

fn kubeconfig(folder: &TempDir, server: &str, edit: impl Fn(&mut Value)) -> PathBuf {
    let mut config = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "test", "cluster": {"server": server}}],
        "users": [{"name": "nobody", "user": {}}],
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": "nobody"}}],
        "current-context": "test",
    });
    edit(&mut config);
    let path = folder.path().join("kubeconfig");
    std::fs::write(&path, config.to_string()).unwrap();
    path
}

/// Starts a server that answers all requests in this way while the test runs.
fn api_server(code: u16, reason: &'static str) -> String {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let head = BufReader::new(&stream).lines();
            assert!(head.map(Result::unwrap).any(|line| line.is_empty()), "a whole request comes");
            let status = json!({
                "kind": "Status", "apiVersion": "v1", "status": "Failure", "message": reason, "reason": reason, "code": code,
            })
            .to_string();
            let head = format!("HTTP/1.1 {code} {reason}\r\ncontent-type: application/json\r\nconnection: close");
            write!(stream, "{head}\r\ncontent-length: {}\r\n\r\n{status}", status.len()).unwrap();
        }
    });
    format!("http://{address}")
}

#[test]
fn versions_are_told_to_people_and_to_programs() {
    let text = String::from_utf8(program(&["version"], &[]).stdout).unwrap();
    let first = format!("dask-operator {}", env!("CARGO_PKG_VERSION"));
    assert_eq!(text.lines().next(), Some(first.as_str()));
    let output = program(&["version", "--output", "json"], &[]);
    let version: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(version["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(version["protocolVersions"], json!(["v1alpha1"]));
    assert!(version["kubernetes"].as_str().unwrap().starts_with("1."), "{version}");
    assert!(version["platform"].as_str().unwrap().starts_with("linux/"), "{version}");
    assert_eq!(String::from_utf8(program(&["--version"], &[]).stdout).unwrap().trim(), first);
}

/// Arguments, variables, and the expected output.
type Call = (&'static [&'static str], &'static [(&'static str, &'static str)], &'static str);

#[test]
fn usage_errors_are_one_sentence_and_end_with_2() {
    let table: [Call; 8] = [
        (&["run", "--", "-A", "-n", "a"], &[], "either --namespace or --all-namespaces can be used, not both"),
        (&["--all-namespaces", "--namespace=a"], &[], "either --namespace or --all-namespaces can be used, not both"),
        (
            &["-n", "team-*", "--liveness=http://0.0.0.0:8080/healthz"],
            &[],
            "--namespace \"team-*\": patterns are not supported; name each namespace",
        ),
        (&["-n"], &[], "kopf's flags: missing argument for option '-n'"),
        (&["run", "--", "--log-format", "xml"], &[], "--log-format \"xml\": it must be plain, full or json"),
        (
            &["-L", "https://0.0.0.0/healthz"],
            &[],
            "--liveness \"https://0.0.0.0/healthz\": it must be a URL that begins with http://",
        ),
        (&["-A"], &[("KOPF_RUN_QUIET", "perhaps")], "KOPF_RUN_QUIET=\"perhaps\": it must be true or false"),
        (
            &["run"],
            &[("RUST_LOG", "dask_operator=loud")],
            "RUST_LOG says \"dask_operator=loud\", which is no filter of log lines: error parsing level filter: \
             expected one of \"off\", \"error\", \"warn\", \"info\", \"debug\", \"trace\", or a number 0-5",
        ),
    ];
    for (words, env, sentence) in table {
        assert_eq!(ended(words, env), end(2, &format!("dask-operator: {sentence}")), "{words:?}");
    }
}

#[test]
fn what_clap_refuses_ends_with_2_too_and_says_what_is_wrong_first() {
    let table: [Call; 4] = [
        (&["walk"], &[], "error: unrecognized subcommand 'walk'"),
        (&["run", "--colour"], &[], "error: unexpected argument '--colour' found"),
        (
            &["run"],
            &[("DASK_KUBERNETES__CONTROLLER__EVENTS__ENABLED", "maybe")],
            "error: invalid value 'maybe' for '--events <EVENTS>': it must be true or false",
        ),
        (
            &["run"],
            &[("DASK_KUBERNETES__CONTROLLER__EVENTS__LEVEL", "LOUD")],
            "error: invalid value 'LOUD' for '--events-level <EVENTS_LEVEL>': it must be DEBUG, INFO, WARNING, ERROR, \
             CRITICAL or a number",
        ),
    ];
    for (words, env, sentence) in table {
        let end = ended(words, env);
        assert_eq!((end.code, end.sentences[0].as_str()), (2, sentence), "{words:?}");
    }
}

#[test]
fn a_kubeconfig_that_cannot_be_used_ends_with_3() {
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("missing");
    let server = "http://127.0.0.1:1";
    let no = "dask-operator: no usable kubeconfig, and no ServiceAccount of a pod:";
    let sentence = format!("{no} failed to read kubeconfig from '{missing:?}': No such file or directory (os error 2)");
    assert_eq!(run(&missing, &[]), end(3, &sentence));
    let path = kubeconfig(&folder, server, |config| config["current-context"] = json!("other"));
    assert_eq!(run(&path, &[]), end(3, &format!("{no} failed to load current context: other")));
    let path = kubeconfig(&folder, server, |config| drop(config.as_object_mut().unwrap().remove("current-context")));
    assert_eq!(run(&path, &[]), end(3, &format!("{no} failed to determine current context")));
}

#[test]
fn an_api_server_that_does_not_answer_ends_with_3_after_the_time_for_the_start() {
    let folder = tempfile::tempdir().unwrap();
    // No process listens there, and the system gives this port to no other process.
    let path = kubeconfig(&folder, "http://127.0.0.1:1", |_| {});
    let refused = format!("{UNKNOWN_API_SERVER} Connection refused (os error 111)");
    for seconds in ["0", "1"] {
        assert_eq!(run(&path, &["--startup-seconds", seconds]), end(3, &refused), "{seconds}");
    }
}

#[test]
fn an_api_server_that_refuses_or_fails_ends_with_3() {
    let folder = tempfile::tempdir().unwrap();
    let table = [
        (401, "Unauthorized", "it does not accept the controller's credentials"),
        (500, "InternalError", "InternalError"),
        (429, "TooManyRequests", "TooManyRequests"),
    ];
    for (code, reason, why) in table {
        let path = kubeconfig(&folder, &api_server(code, reason), |_| {});
        assert_eq!(run(&path, &["--startup-seconds", "0"]), end(3, &format!("{UNKNOWN_API_SERVER} {why}")), "{code}");
    }
}

#[test]
fn kinds_that_are_not_installed_end_with_4_and_say_how_to_install_them() {
    let folder = tempfile::tempdir().unwrap();
    let path = kubeconfig(&folder, &api_server(404, "NotFound"), |_| {});
    let sentence = "dask-operator: not installed: daskclusters, daskworkergroups, daskjobs, daskautoscalers; install \
                    the definitions: dask-operator crd | kubectl apply --server-side -f -";
    assert_eq!(run(&path, &["--startup-seconds", "0"]), end(4, sentence));
}

#[test]
fn an_address_for_probes_that_is_taken_ends_with_1() {
    let folder = tempfile::tempdir().unwrap();
    let path = kubeconfig(&folder, "http://127.0.0.1:1", |_| {});
    let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let words = ["run", "--", &format!("--liveness=http://{address}/healthz")];
    let sentence = format!("dask-operator: cannot listen on {address}: Address already in use (os error 98)");
    assert_eq!(ended(&words, &[("KUBECONFIG", path.to_str().unwrap())]), end(1, &sentence));
}
