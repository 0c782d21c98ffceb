//! The watches of several namespaces as one: as if all of them were listed at once, and each change told in its turn.

use std::collections::{BTreeMap, BTreeSet};

use kube::{
    Resource, ResourceExt as _,
    runtime::{reflector::Store, watcher::Event},
};

/// Events of the watches of several namespaces, each with the place of its namespace in the list.
pub(super) enum Merge<K> {
    /// Until each namespace was listed once, nothing is told.
    Filling(Vec<Filling<K>>),
    /// From then on every event is told as a change; names of the listing that is under way, by namespace.
    Told(BTreeMap<usize, BTreeSet<String>>),
}

/// What is known of one namespace before all are.
pub(super) struct Filling<K> {
    objects: Option<BTreeMap<String, K>>,
    listing: BTreeMap<String, K>,
}

impl<K> Default for Filling<K> {
    fn default() -> Self {
        Self {
            objects: None,
            listing: BTreeMap::new(),
        }
    }
}

impl<K: Resource<DynamicType = ()> + Clone + 'static> Merge<K> {
    /// Of so many namespaces.
    pub(super) fn of(namespaces: usize) -> Self {
        Self::Filling((0..namespaces).map(|_| Filling::default()).collect())
    }

    /// Takes an event of the namespace at this place, and answers what is to be told. `store` holds what was told so
    /// far.
    pub(super) fn take(
        &mut self,
        (place, namespace): (usize, &str),
        event: Event<K>,
        store: &Store<K>,
    ) -> Vec<Event<K>> {
        match self {
            Self::Filling(namespaces) => {
                if let Some(filling) = namespaces.get_mut(place) {
                    filling.take(event);
                }
                if namespaces.iter().any(|filling| filling.objects.is_none()) {
                    return Vec::new();
                }
                let filled = std::mem::take(namespaces);
                *self = Self::Told(BTreeMap::new());
                let objects = filled.into_iter().filter_map(|filling| filling.objects);
                let listed = objects.flat_map(BTreeMap::into_values).map(Event::InitApply);
                [Event::Init]
                    .into_iter()
                    .chain(listed)
                    .chain([Event::InitDone])
                    .collect()
            }
            Self::Told(listings) => match event {
                Event::Init => {
                    listings.insert(place, BTreeSet::new());
                    Vec::new()
                }
                Event::InitApply(object) => {
                    listings.entry(place).or_default().insert(object.name_any());
                    vec![Event::Apply(object)]
                }
                Event::InitDone => {
                    let listed = listings.remove(&place).unwrap_or_default();
                    let is_gone = |object: &K| {
                        object.meta().namespace.as_deref() == Some(namespace)
                            && !listed.contains(&object.name_any())
                    };
                    let gone = store.state_filter(is_gone);
                    gone.iter()
                        .map(|object| Event::Delete(K::clone(object)))
                        .collect()
                }
                change @ (Event::Apply(_) | Event::Delete(_)) => vec![change],
            },
        }
    }
}

impl<K: Resource<DynamicType = ()>> Filling<K> {
    fn take(&mut self, event: Event<K>) {
        match event {
            Event::Init => self.listing.clear(),
            Event::InitApply(object) => {
                self.listing.insert(object.name_any(), object);
            }
            Event::InitDone => self.objects = Some(std::mem::take(&mut self.listing)),
            Event::Apply(object) => {
                let objects = self.objects.get_or_insert_default();
                objects.insert(object.name_any(), object);
            }
            Event::Delete(object) => {
                if let Some(objects) = &mut self.objects {
                    objects.remove(&object.name_any());
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::Pod;
    use kube::runtime::reflector::{self, store::Writer};
    use serde_json::json;

    use super::*;

    fn pod(namespace: &str, name: &str) -> Pod {
        serde_json::from_value(json!({"metadata": {"namespace": namespace, "name": name}})).unwrap()
    }

    struct World {
        merge: Merge<Pod>,
        store: Store<Pod>,
        writer: Writer<Pod>,
    }

    impl World {
        fn new() -> Self {
            let (store, writer) = reflector::store();
            Self {
                merge: Merge::of(2),
                store,
                writer,
            }
        }

        /// Tells an event of the first or the second namespace; answers how many events follow.
        fn tell(&mut self, place: usize, event: Event<Pod>) -> usize {
            let namespace = ["a", "b"][place];
            let told = self.merge.take((place, namespace), event, &self.store);
            for event in &told {
                self.writer.apply_watcher_event(event);
            }
            told.len()
        }

        fn known(&self) -> BTreeSet<String> {
            let all = self.store.state();
            all.iter()
                .map(|pod| format!("{}/{}", pod.namespace().unwrap_or_default(), pod.name_any()))
                .collect()
        }
    }

    #[test]
    fn nothing_is_told_before_every_namespace_was_listed_and_what_went_meanwhile_is_not_there() {
        let mut world = World::new();
        for event in [
            Event::Init,
            Event::InitApply(pod("a", "1")),
            Event::InitApply(pod("a", "2")),
            Event::InitDone,
            Event::Delete(pod("a", "1")),
            Event::Apply(pod("a", "3")),
        ] {
            assert_eq!(world.tell(0, event), 0);
        }
        assert_eq!(world.tell(1, Event::Init), 0);
        assert_eq!(world.tell(1, Event::InitDone), 4, "a listing of two");
        assert_eq!(world.known(), ["a/2".to_owned(), "a/3".to_owned()].into());
    }

    #[test]
    fn a_namespace_that_is_listed_again_loses_what_is_gone_and_the_others_nothing() {
        let mut world = World::new();
        for place in [0, 1] {
            let namespace = ["a", "b"][place];
            world.tell(place, Event::Init);
            world.tell(place, Event::InitApply(pod(namespace, "1")));
            world.tell(place, Event::InitApply(pod(namespace, "2")));
            world.tell(place, Event::InitDone);
        }
        world.tell(0, Event::Init);
        world.tell(0, Event::InitApply(pod("a", "2")));
        assert_eq!(world.known().len(), 4, "until the listing is over");
        world.tell(0, Event::InitDone);
        let left: BTreeSet<String> = ["a/2", "b/1", "b/2"].map(str::to_owned).into();
        assert_eq!(world.known(), left);
        world.tell(1, Event::Delete(pod("b", "1")));
        world.tell(1, Event::Apply(pod("b", "3")));
        let left: BTreeSet<String> = ["a/2", "b/2", "b/3"].map(str::to_owned).into();
        assert_eq!(world.known(), left);
    }
}
