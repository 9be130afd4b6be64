//! The finalization progress that workers report to the finalizer controller.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use tokio::sync::Notify;

use super::FinalizeState;

/// The finalization progress of all subjects. It is lost when the process ends; plugins are called again after that.
#[derive(Default)]
pub(crate) struct FinalizeProgress {
    /// The states by plugin identity and subject uid.
    marks: Mutex<HashMap<(String, String), FinalizeState>>,
    changed: Notify,
}

impl FinalizeProgress {
    pub(crate) fn get(&self, identity: &str, subject_uid: &str) -> Option<FinalizeState> {
        let marks = self.marks.lock().unwrap_or_else(PoisonError::into_inner);
        marks.get(&(identity.to_owned(), subject_uid.to_owned())).copied()
    }

    pub(crate) fn set(&self, identity: &str, subject_uid: &str, mark: FinalizeState) {
        let key = (identity.to_owned(), subject_uid.to_owned());
        let old = self.marks.lock().unwrap_or_else(PoisonError::into_inner).insert(key, mark);
        if old != Some(mark) && matches!(mark, FinalizeState::Finalized | FinalizeState::NotCalled) {
            self.changed.notify_one();
        }
    }

    /// Removes the progress of a subject that no longer exists.
    pub(crate) fn forget(&self, identity: &str, subject_uid: &str) {
        let key = (identity.to_owned(), subject_uid.to_owned());
        if self.marks.lock().unwrap_or_else(PoisonError::into_inner).remove(&key).is_some() {
            self.changed.notify_one();
        }
    }

    /// Removes the progress of all subjects of a deleted plugin resource.
    pub(crate) fn forget_plugin(&self, identity: &str) {
        self.marks.lock().unwrap_or_else(PoisonError::into_inner).retain(|(other, _), _| other != identity);
        self.changed.notify_one();
    }

    /// Waits until a finalizer may have become unnecessary.
    pub(crate) async fn changed(&self) {
        self.changed.notified().await;
    }
}
