use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

/// What stands in the way of which job, as it was told last. A DaskJob has no conditions to remember it by:
/// clients compare the keys of its status. So an Event may come once more after a restart.
pub(super) struct Told(Mutex<BTreeMap<String, &'static str>>);

impl Told {
    pub(super) const fn new() -> Self {
        Self(Mutex::new(BTreeMap::new()))
    }

    /// Whether `reason` is news about the job with `uid`. What is remembered of jobs that do not exist any
    /// more is dropped then.
    pub(super) fn is_news(&self, uid: &str, reason: &'static str, exists: impl Fn(&str) -> bool) -> bool {
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if told.get(uid) == Some(&reason) {
            return false;
        }
        told.retain(|uid, _| exists(uid));
        told.insert(uid.to_owned(), reason);
        true
    }

    /// Nothing stands in the way of the job any more.
    pub(super) fn forget(&self, uid: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(uid);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_reason_is_news_once_until_it_is_forgotten() {
        let told = Told::new();
        let all_exist = |_: &str| true;
        assert!(told.is_news("a", "Forbidden", all_exist));
        assert!(!told.is_news("a", "Forbidden", all_exist));
        assert!(told.is_news("b", "Forbidden", all_exist), "another job");
        assert!(told.is_news("a", "NameTaken", all_exist), "another reason");
        told.forget("a");
        assert!(told.is_news("a", "NameTaken", all_exist));
    }

    #[test]
    fn nothing_is_remembered_of_jobs_that_are_gone() {
        let told = Told::new();
        assert!(told.is_news("gone", "Forbidden", |_| true));
        assert!(told.is_news("a", "Forbidden", |uid| uid != "gone"));
        assert_eq!(told.0.lock().unwrap().len(), 1);
    }
}
