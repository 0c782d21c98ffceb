//! Which objects of a controller are to be reconciled.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use futures::{Stream, stream};
use kube::{Resource, runtime::reflector::ObjectRef};
use tokio::sync::Notify;

/// Objects that are to be reconciled. One that is woken many times before the controller takes it is in it once, so
/// that it holds no more than there are objects.
pub struct Wakes<K: Resource<DynamicType = ()> + 'static> {
    objects: Mutex<HashSet<ObjectRef<K>>>,
    notify: Notify,
}

impl<K: Resource<DynamicType = ()> + 'static> Default for Wakes<K> {
    fn default() -> Self {
        Self {
            objects: Mutex::default(),
            notify: Notify::new(),
        }
    }
}

impl<K: Resource<DynamicType = ()> + 'static> Wakes<K> {
    /// Has it reconciled.
    pub fn wake(&self, object: ObjectRef<K>) {
        self.wake_all([object]);
    }

    /// Has them reconciled.
    pub fn wake_all(&self, objects: impl IntoIterator<Item = ObjectRef<K>>) {
        self.lock().extend(objects);
        self.notify.notify_one();
    }

    /// For the one controller that takes them.
    pub fn stream(self: Arc<Self>) -> impl Stream<Item = ObjectRef<K>> + Send + 'static {
        stream::unfold(self, |wakes| async {
            loop {
                if let Some(object) = wakes.take() {
                    return Some((object, wakes));
                }
                wakes.notify.notified().await;
            }
        })
    }

    fn take(&self) -> Option<ObjectRef<K>> {
        let mut objects = self.lock();
        let object = objects.iter().next().cloned()?;
        objects.take(&object)
    }

    fn lock(&self) -> MutexGuard<'_, HashSet<ObjectRef<K>>> {
        self.objects.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use cocoon_api::crd::InferenceJob;
    use futures::{FutureExt as _, StreamExt as _};

    use super::*;

    #[test]
    fn an_object_that_is_woken_often_is_taken_once() {
        let wakes = Arc::new(Wakes::<InferenceJob>::default());
        let mut taken = Box::pin(wakes.clone().stream());
        assert_eq!(taken.next().now_or_never(), None);
        for _ in 0..3 {
            wakes.wake(ObjectRef::new("j").within("n"));
        }
        let object = taken.next().now_or_never().flatten().unwrap();
        assert_eq!(
            (object.name.as_str(), object.namespace.as_deref()),
            ("j", Some("n"))
        );
        assert_eq!(taken.next().now_or_never(), None);
        wakes.wake(ObjectRef::new("j").within("n"));
        assert!(taken.next().now_or_never().flatten().is_some());
    }
}
