//! Runs the program `kubectl-dask`, which `make live` and `make e2e` build beside the tests.

use std::{path::PathBuf, process::Stdio};

use serde_json::Value;
use tokio::process::{Child, Command};

use super::TestContext;

/// What a run of the program printed, and how it ended.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Said {
    /// Returns the first line of standard output.
    pub(crate) fn first_line(&self) -> &str {
        self.stdout.lines().next().unwrap_or_default()
    }

    /// Returns standard output, which is JSON.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

/// Runs the program on the namespace of the test.
pub(crate) async fn kubectl_dask(context: &TestContext, arguments: &[&str]) -> Said {
    let output = command(context, arguments).output().await.unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Said { code: output.status.code().unwrap(), stdout: text(output.stdout), stderr: text(output.stderr) }
}

/// Starts the program and returns while it runs. It ends with the value.
pub(crate) fn start_kubectl_dask(context: &TestContext, arguments: &[&str]) -> Child {
    command(context, arguments).stdout(Stdio::piped()).spawn().unwrap()
}

fn command(context: &TestContext, arguments: &[&str]) -> Command {
    let mut command = Command::new(program());
    command.args(["--namespace", &context.namespace]).args(arguments).stdin(Stdio::null()).kill_on_drop(true);
    command
}

/// Returns the path of the program: the directory of the tests is below its own.
fn program() -> PathBuf {
    let tests = std::env::current_exe().unwrap();
    let program = tests.parent().and_then(|deps| deps.parent()).unwrap().join("kubectl-dask");
    assert!(program.exists(), "{} is missing: cargo build -p kubectl-dask", program.display());
    program
}
