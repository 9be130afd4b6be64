//! What came of the checks.

use std::{fmt::Write as _, time::Duration};

use quick_junit::{NonSuccessKind, TestCase, TestCaseStatus, TestSuite};
use serde_json::{Value, json};

use crate::{Check, Finding, Trouble};

/// What came of one check.
#[derive(Clone, Debug)]
pub struct Result {
    /// Which one.
    pub check: &'static Check,
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
        self.failed().is_empty()
    }

    /// Names of the checks that failed.
    pub fn failed(&self) -> Vec<&'static str> {
        self.named(|finding| matches!(finding, Some(Finding::Failed(_))))
    }

    /// Names of the checks that did not fail, but found something that the author should know.
    pub fn warned(&self) -> Vec<&'static str> {
        self.named(|finding| matches!(finding, Some(Finding::Warning(_))))
    }

    /// Names of the checks that could not be made.
    pub fn skipped(&self) -> Vec<&'static str> {
        self.named(|finding| matches!(finding, Some(Finding::Skipped(_))))
    }

    fn named(&self, wanted: impl Fn(&Option<Finding>) -> bool) -> Vec<&'static str> {
        self.results.iter().filter(|result| wanted(&result.finding)).map(|result| result.check.id).collect()
    }

    /// One line a check, and for each that found something what was sent, expected and got, and what to do.
    pub fn text(&self) -> String {
        let mut text = String::new();
        for Result { check, finding, .. } in &self.results {
            // A String takes whatever is written to it.
            let _ = match finding {
                None => writeln!(text, "ok       {}", check.id),
                Some(Finding::Skipped(why)) => writeln!(text, "skipped  {}: {why}", check.id),
                Some(Finding::Warning(trouble)) => write!(text, "warning  {}", detailed(check, trouble)),
                Some(Finding::Failed(trouble)) => write!(text, "FAILED   {}", detailed(check, trouble)),
            };
        }
        let (failed, warned, skipped) = (self.failed().len(), self.warned().len(), self.skipped().len());
        let passed = self.results.len() - failed - warned - skipped;
        let warnings = if warned == 0 { String::new() } else { format!("{warned} with a warning, ") };
        let _ = writeln!(text, "\n{passed} passed, {warnings}{failed} failed, {skipped} skipped: {}", self.endpoint);
        text
    }

    /// The same for programs.
    pub fn json(&self) -> String {
        let results: Vec<_> = self.results.iter().map(Result::json).collect();
        format!("{:#}\n", json!({"endpoint": self.endpoint, "passed": self.passed(), "checks": results}))
    }

    /// The same for CI systems.
    ///
    /// # Errors
    /// If it cannot be written as XML.
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
        let detailed = |status: &str, trouble: &Trouble| {
            let (check, Trouble { sent, expected, got }) = (self.check, trouble);
            json!({
                "check": check.id, "status": status, "rule": check.rule, "fix": check.fix,
                "sent": sent, "expected": expected, "got": got,
            })
        };
        match &self.finding {
            None => json!({"check": self.check.id, "status": "ok"}),
            Some(Finding::Skipped(why)) => json!({"check": self.check.id, "status": "skipped", "message": why}),
            Some(Finding::Warning(trouble)) => detailed("warning", trouble),
            Some(Finding::Failed(trouble)) => detailed("failed", trouble),
        }
    }

    fn junit(&self) -> TestCase {
        let status = match &self.finding {
            // JUnit knows no warnings.
            None | Some(Finding::Warning(_)) => TestCaseStatus::success(),
            Some(Finding::Skipped(why)) => {
                let mut status = TestCaseStatus::skipped();
                status.set_message(why.as_str());
                status
            }
            Some(Finding::Failed(trouble)) => {
                let mut status = TestCaseStatus::non_success(NonSuccessKind::Failure);
                status.set_message(self.check.rule);
                status.set_description(detailed(self.check, trouble));
                status
            }
        };
        let mut case = TestCase::new(self.check.id, status);
        if let Some(Finding::Warning(trouble)) = &self.finding {
            case.set_system_out(format!("warning: {}", detailed(self.check, trouble)));
        }
        case.set_time(self.took);
        case
    }
}

fn detailed(check: &Check, Trouble { sent, expected, got }: &Trouble) -> String {
    let (id, rule, fix) = (check.id, check.rule, check.fix);
    let lines = [("sent", sent.as_str()), ("expected", expected), ("got", got), ("to do", fix)];
    let lines = lines.map(|(what, text)| format!("           {what:<8}  {text}\n"));
    format!("{id}: {rule}\n{}", lines.concat())
}
