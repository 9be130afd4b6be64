use futures::channel::mpsc::{UnboundedReceiver, UnboundedSender, unbounded};
use kube::{
    Resource,
    runtime::{controller::ReconcileRequest, reflector::ObjectRef},
};

/// The sending end of a reconciler's queue. Sending never blocks; equal requests are merged by the
/// scheduler behind it, so its length is bounded by the number of objects.
pub struct Queue<K: Resource>(UnboundedSender<ReconcileRequest<K>>);

impl<K: Resource> Clone for Queue<K> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

/// A queue and its receiving end.
pub fn queue<K: Resource>() -> (Queue<K>, UnboundedReceiver<ReconcileRequest<K>>)
where
    K::DynamicType: Default,
{
    let (sender, receiver) = unbounded();
    (Queue(sender), receiver)
}

impl<K: Resource<DynamicType = ()>> Queue<K> {
    /// Asks for another look at `name`.
    pub fn push(&self, namespace: &str, name: &str) {
        // An error means that the reconciler has ended, which ends the process too.
        let _ = self.0.unbounded_send(ObjectRef::<K>::new(name).within(namespace).into());
    }
}
