//! What this process wrote and the watch has not shown yet: until it does, memory is older than what was decided.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use kube::{
    Resource, ResourceExt as _,
    runtime::{
        reflector::{ObjectRef, Store},
        watcher::Event,
    },
};

/// Objects as this process wrote them last, by UID; one goes as soon as the watch shows it or what came after it.
#[derive(Debug)]
pub(super) struct Latest<K>(Mutex<HashMap<String, Arc<K>>>);

impl<K> Default for Latest<K> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K: Resource<DynamicType = ()> + Clone> Latest<K> {
    /// The object as it was written last, where memory is older.
    pub(super) fn of(&self, object: &Arc<K>) -> Arc<K> {
        let uid = object.meta().uid.as_ref();
        let known = uid.and_then(|uid| self.lock().get(uid).cloned());
        known.unwrap_or_else(|| object.clone())
    }

    /// Notes an object that was written, unless the watch was faster.
    pub(super) fn note(&self, object: &K, store: &Store<K>) {
        let Some(uid) = object.uid() else { return };
        let mut objects = self.lock();
        let stored = store.get(&ObjectRef::from_obj(object));
        if stored.is_some_and(|stored| is_older(&*stored, object)) {
            objects.insert(uid, Arc::new(object.clone()));
        } else {
            objects.remove(&uid);
        }
    }

    /// The watch tells this.
    pub(super) fn hear(&self, event: &Event<K>) {
        match event {
            Event::Apply(object) | Event::InitApply(object) => {
                let Some(uid) = &object.meta().uid else { return };
                let mut objects = self.lock();
                if objects.get(uid).is_some_and(|known| !is_older(object, known)) {
                    objects.remove(uid);
                }
            }
            Event::Delete(object) => {
                if let Some(uid) = &object.meta().uid {
                    self.lock().remove(uid);
                }
            }
            // What is known by then is as new as the listing, and what went meanwhile is not told.
            Event::InitDone => self.lock().clear(),
            Event::Init => {}
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Arc<K>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether an object was read before it was written so. Versions of objects of one kind are numbers that grow
/// (Kubernetes API concepts, "Resource versions"); one that is none is taken for newer.
fn is_older<K: Resource>(object: &K, written: &K) -> bool {
    let version = |object: &K| object.meta().resource_version.as_ref()?.parse::<u64>().ok();
    let is_same = object.meta().uid == written.meta().uid;
    is_same
        && version(object)
            .zip(version(written))
            .is_some_and(|(known, written)| known < written)
}

#[cfg(test)]
mod tests {
    use cocoon_api::crd::InferenceJob;
    use kube::runtime::reflector;
    use serde_json::json;

    use super::*;

    fn job(version: u64) -> InferenceJob {
        serde_json::from_value(json!({
            "apiVersion": "cocoon.farm/v1alpha1", "kind": "InferenceJob",
            "metadata": {"name": "j", "namespace": "n", "uid": "u", "resourceVersion": version.to_string()},
            "spec": {"model": "m", "input": {"inline": [{}]}, "billing": {"mode": "Free"}},
        }))
        .unwrap()
    }

    #[test]
    fn what_was_written_counts_until_the_watch_shows_it() {
        let (store, mut writer) = reflector::store();
        writer.apply_watcher_event(&Event::Apply(job(7)));
        let latest = Latest::default();
        let version =
            |latest: &Latest<InferenceJob>| latest.of(&Arc::new(job(7))).resource_version().unwrap();
        latest.note(&job(9), &store);
        assert_eq!(version(&latest), "9");
        latest.hear(&Event::Apply(job(8)));
        assert_eq!(version(&latest), "9", "that came before");
        latest.hear(&Event::Apply(job(9)));
        assert_eq!(version(&latest), "7");
        // The watch was faster than the answer to the write.
        writer.apply_watcher_event(&Event::Apply(job(12)));
        latest.note(&job(11), &store);
        assert!(latest.lock().is_empty());
    }
}
