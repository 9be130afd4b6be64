//! The results of the checks, as text, JSON and `JUnit` XML.

use std::{fmt::Write as _, time::Duration};

use quick_junit::{NonSuccessKind, TestCase, TestCaseStatus, TestSuite};
use serde_json::{Value, json};

use crate::{Check, Finding, Mismatch};

/// The result of a check.
#[derive(Clone, Debug)]
pub struct Result {
    /// The check.
    pub check: &'static Check,
    /// The finding, if the check did not pass.
    pub finding: Option<Finding>,
    /// The duration of the check.
    pub duration: Duration,
}

/// The results of all checks.
#[derive(Clone, Debug)]
pub struct Report {
    /// The endpoint of the plugin.
    pub endpoint: String,
    /// The results in the order of the checks.
    pub results: Vec<Result>,
}

impl Report {
    /// Returns whether no check failed.
    pub fn passed(&self) -> bool {
        self.failed().is_empty()
    }

    /// Returns the names of the checks that failed.
    pub fn failed(&self) -> Vec<&'static str> {
        self.names(|finding| matches!(finding, Some(Finding::Failed(_))))
    }

    /// Returns the names of the checks that passed with a warning.
    pub fn warned(&self) -> Vec<&'static str> {
        self.names(|finding| matches!(finding, Some(Finding::Warning(_))))
    }

    /// Returns the names of the checks that could not be run.
    pub fn skipped(&self) -> Vec<&'static str> {
        self.names(|finding| matches!(finding, Some(Finding::Skipped(_))))
    }

    fn names(&self, matches: impl Fn(&Option<Finding>) -> bool) -> Vec<&'static str> {
        self.results.iter().filter(|result| matches(&result.finding)).map(|result| result.check.id).collect()
    }

    /// Returns one line for each check. A check with a finding also has the request, the expected and the actual response,
    /// and a proposed fix.
    pub fn text(&self) -> String {
        let mut text = String::new();
        for Result { check, finding, .. } in &self.results {
            // Writing to a String does not fail.
            let _ = match finding {
                None => writeln!(text, "ok       {}", check.id),
                Some(Finding::Skipped(why)) => writeln!(text, "skipped  {}: {why}", check.id),
                Some(Finding::Warning(mismatch)) => write!(text, "warning  {}", describe(check, mismatch)),
                Some(Finding::Failed(mismatch)) => write!(text, "FAILED   {}", describe(check, mismatch)),
            };
        }
        let (failed, warned, skipped) = (self.failed().len(), self.warned().len(), self.skipped().len());
        let passed = self.results.len() - failed - warned - skipped;
        let warnings = if warned == 0 { String::new() } else { format!("{warned} with a warning, ") };
        let _ = writeln!(text, "\n{passed} passed, {warnings}{failed} failed, {skipped} skipped: {}", self.endpoint);
        text
    }

    /// Returns the report as JSON.
    pub fn json(&self) -> String {
        let results: Vec<_> = self.results.iter().map(Result::json).collect();
        format!("{:#}\n", json!({"endpoint": self.endpoint, "passed": self.passed(), "checks": results}))
    }

    /// Returns the report as `JUnit` XML for CI systems.
    ///
    /// # Errors
    /// Fails if the report cannot be written as XML.
    pub fn junit(&self) -> std::result::Result<String, quick_junit::SerializeError> {
        let mut suite = TestSuite::new("dask-plugin-sanity");
        suite.add_test_cases(self.results.iter().map(Result::junit));
        let mut report = quick_junit::Report::new("dask-plugin-sanity");
        report.add_test_suite(suite);
        report.to_string()
    }
}

impl Result {
    fn json(&self) -> Value {
        let describe = |status: &str, mismatch: &Mismatch| {
            let (check, Mismatch { sent, expected, got }) = (self.check, mismatch);
            json!({
                "check": check.id, "status": status, "rule": check.rule, "fix": check.fix,
                "sent": sent, "expected": expected, "got": got,
            })
        };
        match &self.finding {
            None => json!({"check": self.check.id, "status": "ok"}),
            Some(Finding::Skipped(why)) => json!({"check": self.check.id, "status": "skipped", "message": why}),
            Some(Finding::Warning(mismatch)) => describe("warning", mismatch),
            Some(Finding::Failed(mismatch)) => describe("failed", mismatch),
        }
    }

    fn junit(&self) -> TestCase {
        let status = match &self.finding {
            // JUnit has no warnings.
            None | Some(Finding::Warning(_)) => TestCaseStatus::success(),
            Some(Finding::Skipped(why)) => {
                let mut status = TestCaseStatus::skipped();
                status.set_message(why.as_str());
                status
            }
            Some(Finding::Failed(mismatch)) => {
                let mut status = TestCaseStatus::non_success(NonSuccessKind::Failure);
                status.set_message(self.check.rule);
                status.set_description(describe(self.check, mismatch));
                status
            }
        };
        let mut case = TestCase::new(self.check.id, status);
        if let Some(Finding::Warning(mismatch)) = &self.finding {
            case.set_system_out(format!("warning: {}", describe(self.check, mismatch)));
        }
        case.set_time(self.duration);
        case
    }
}

fn describe(check: &Check, Mismatch { sent, expected, got }: &Mismatch) -> String {
    let (id, rule, fix) = (check.id, check.rule, check.fix);
    let lines = [("sent", sent.as_str()), ("expected", expected), ("got", got), ("fix", fix)];
    let lines = lines.map(|(what, text)| format!("           {what:<8}  {text}\n"));
    format!("{id}: {rule}\n{}", lines.concat())
}
