//! Publishes Events: what a person reads under `kubectl describe`.

use kube::{
    Resource,
    runtime::events::{Event, EventType, Recorder},
};
use tracing::warn;

use crate::{context::Context, error};

/// Publishes an Event about the object. An Event that cannot be written is logged: nothing depends on it.
pub async fn publish<K>(ctx: &Context, object: &K, type_: EventType, reason: &str, action: &str, note: String)
where
    K: Resource<DynamicType = ()>,
{
    let event = Event {
        type_,
        reason: reason.to_owned(),
        note: Some(note),
        action: action.to_owned(),
        secondary: None,
    };
    // A recorder remembers what it published for six minutes, to count what is said again. Ends are said once, and a
    // thousand of them would only be held in memory.
    let recorder = Recorder::new(ctx.client.clone(), ctx.reporter.clone());
    if let Err(error) = recorder.publish(&event, &object.object_ref(&())).await {
        warn!(
            object = error::describe(object),
            error = error::chain(&error),
            "event was not written"
        );
    }
}
