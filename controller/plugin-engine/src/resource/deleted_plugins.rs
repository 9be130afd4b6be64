//! The plugins that were deleted while this process was a standby.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Mutex, MutexGuard, PoisonError},
};

use tokio_util::sync::CancellationToken;

use crate::model::key::PluginKey;

/// How many deleted plugins of one namespace a standby remembers. More deletions in such a short time happen only if a
/// user intends it.
const MAX_REMEMBERED: usize = 64;

/// The plugins that were deleted while this process was a standby, by namespace with the latest one last. They are kept
/// until the process leads or forgets them.
#[derive(Default)]
pub(crate) struct DeletedPlugins(Mutex<HashMap<String, VecDeque<Gone>>>);

/// The name of a deleted plugin, and the token that is cancelled when no cleanup is needed any more.
struct Gone {
    name: String,
    token: CancellationToken,
}

impl DeletedPlugins {
    /// Remembers that the plugin was deleted. The token is cancelled when a plugin of the same name is created, which
    /// then owns the children, or when too many plugins of the namespace have been deleted since.
    pub(crate) fn note(&self, key: &PluginKey) -> CancellationToken {
        self.came_back(key);
        let token = CancellationToken::new();
        let mut deleted_plugins = self.lock();
        let of_namespace = deleted_plugins.entry(key.namespace.clone()).or_default();
        of_namespace.push_back(Gone { name: key.name.clone(), token: token.clone() });
        if of_namespace.len() > MAX_REMEMBERED
            && let Some(oldest) = of_namespace.pop_front()
        {
            oldest.token.cancel();
        }
        token
    }

    /// Forgets the plugin, because a plugin of this name exists.
    pub(crate) fn came_back(&self, key: &PluginKey) {
        let mut deleted_plugins = self.lock();
        let Some(of_namespace) = deleted_plugins.get_mut(&key.namespace) else { return };
        let position = of_namespace.iter().position(|gone| gone.name == key.name);
        if let Some(gone) = position.and_then(|position| of_namespace.remove(position)) {
            gone.token.cancel();
        }
        if of_namespace.is_empty() {
            deleted_plugins.remove(&key.namespace);
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, VecDeque<Gone>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Otherwise the children of the second plugin would be deleted although it should keep them.
    #[test]
    fn a_plugin_that_comes_back_has_nothing_done_for_the_one_before() {
        let (deleted_plugins, name) = (DeletedPlugins::default(), |name: &str| name.to_owned());
        let [echo, other] = ["echo", "other"].map(|plugin| PluginKey { namespace: name("ns"), name: name(plugin) });
        let (first, others) = (deleted_plugins.note(&echo), deleted_plugins.note(&other));
        deleted_plugins.came_back(&echo);
        assert!(first.is_cancelled() && !others.is_cancelled());
        let second = deleted_plugins.note(&echo);
        let third = deleted_plugins.note(&echo);
        assert!(second.is_cancelled() && !third.is_cancelled(), "the last one is what counts");
    }

    #[test]
    fn a_standby_remembers_a_bounded_number_of_plugins_of_a_namespace() {
        let deleted_plugins = DeletedPlugins::default();
        let note = |namespace: &str, number: usize| {
            deleted_plugins.note(&PluginKey { namespace: namespace.to_owned(), name: number.to_string() })
        };
        let other = note("calm", 0);
        let tokens: Vec<CancellationToken> = (0..MAX_REMEMBERED + 10).map(|number| note("flood", number)).collect();
        let forgotten = tokens.iter().filter(|token| token.is_cancelled()).count();
        assert!(forgotten == 10 && tokens[0].is_cancelled() && !other.is_cancelled());
    }
}
