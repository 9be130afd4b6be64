//! What came of the checks.

use std::{fmt::Write as _, time::Duration};

use quick_junit::{NonSuccessKind, TestCase, TestCaseStatus, TestSuite};
use serde_json::json;

use crate::Finding;

/// What came of one check.
#[derive(Clone, Debug)]
pub struct Result {
    /// Its name.
    pub id: &'static str,
    /// What it asks of a plugin.
    pub rule: &'static str,
    /// What was found, unless all is well.
    pub finding: Option<Finding>,
    /// How long it took.
    pub took: Duration,
}

/// What came of all checks.
#[derive(Clone, Debug)]
pub struct Report {
    /// The plugin's.
    pub endpoint: String,
    /// In the order in which they ran.
    pub results: Vec<Result>,
}

impl Report {
    /// Whether no check failed.
    pub fn passed(&self) -> bool {
        self.failed().next().is_none()
    }

    /// The checks that failed.
    pub fn failed(&self) -> impl Iterator<Item = &Result> {
        self.results.iter().filter(|result| matches!(result.finding, Some(Finding::Failed { .. })))
    }

    /// One line a check, and for each that failed what was sent, expected and got.
    pub fn text(&self) -> String {
        let mut text = String::new();
        for Result { id, rule, finding, .. } in &self.results {
            // A String takes whatever is written to it.
            let _ = match finding {
                None => writeln!(text, "ok       {id}"),
                Some(Finding::Skipped(why)) => writeln!(text, "skipped  {id}: {why}"),
                Some(Finding::Failed { sent, expected, got }) => writeln!(
                    text,
                    "FAILED   {id}: {rule}\n           sent      {sent}\n           expected  {expected}\n           got       {got}"
                ),
            };
        }
        let failed = self.failed().count();
        let skipped = self.results.iter().filter(|result| matches!(result.finding, Some(Finding::Skipped(_)))).count();
        let passed = self.results.len() - failed - skipped;
        let _ = writeln!(text, "\n{passed} passed, {failed} failed, {skipped} skipped: {}", self.endpoint);
        text
    }

    /// The same for programs.
    pub fn json(&self) -> String {
        let results: Vec<_> = self
            .results
            .iter()
            .map(|result| match &result.finding {
                None => json!({"check": result.id, "status": "ok"}),
                Some(Finding::Skipped(why)) => json!({"check": result.id, "status": "skipped", "message": why}),
                Some(Finding::Failed { sent, expected, got }) => json!({
                    "check": result.id, "status": "failed", "rule": result.rule,
                    "sent": sent, "expected": expected, "got": got,
                }),
            })
            .collect();
        format!("{:#}\n", json!({"endpoint": self.endpoint, "passed": self.passed(), "checks": results}))
    }

    /// The same for CI systems.
    ///
    /// # Errors
    /// If it cannot be written as XML.
    pub fn junit(&self) -> std::result::Result<String, quick_junit::SerializeError> {
        let mut suite = TestSuite::new("dask-plugin-sanity");
        for result in &self.results {
            let status = match &result.finding {
                None => TestCaseStatus::success(),
                Some(Finding::Skipped(why)) => {
                    let mut status = TestCaseStatus::skipped();
                    status.set_message(why.as_str());
                    status
                }
                Some(Finding::Failed { sent, expected, got }) => {
                    let mut status = TestCaseStatus::non_success(NonSuccessKind::Failure);
                    status.set_message(result.rule);
                    status.set_description(format!("sent: {sent}\nexpected: {expected}\ngot: {got}"));
                    status
                }
            };
            let mut case = TestCase::new(result.id, status);
            case.set_time(result.took);
            suite.add_test_case(case);
        }
        let mut report = quick_junit::Report::new("dask-plugin-sanity");
        report.add_test_suite(suite);
        report.to_string()
    }
}
