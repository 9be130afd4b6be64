//! Objects as the API server sends them, readable or not.
//!
//! The API server accepts objects that the controller's types do not: numbers that are too large, JSON that is nested
//! too deeply, more small values than memory can hold as a tree. kube parses a whole page of a list at once, so that
//! one such object would prevent the delivery of all others. [`Received`] parses any object. If an object cannot be
//! read, its name and the reason are kept, and the other objects are delivered.
//!
//! A tree takes up to 80 times the memory of its text, and a page of a list has many objects. [`Unparsed`] keeps the text, so
//! that one object at a time is parsed.

mod fields;

use std::{borrow::Cow, marker::PhantomData};

use json_measure::{Excess, Limits, measure};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{Resource, api::ObjectMeta};
use serde::{Deserialize, Deserializer, Serialize, de::DeserializeOwned};
use serde_json::value::RawValue;

use self::fields::{Fields, conditions, identity, text_of, without_managed_fields};
use crate::rejection::Rejection;

/// The largest object that is read, without its managed fields. Kubernetes stores up to 1.5 MiB.
const LIMITS: Limits = Limits { bytes: 1 << 20, nodes: 50_000, depth: 100 };
/// The length to which the message about an unreadable object is cut. It may quote a string of the object.
const MESSAGE_BYTES: usize = 1 << 10;

/// One object of a list or watch.
#[derive(Clone, Debug)]
pub enum Received<K> {
    /// The object was parsed.
    Readable {
        /// The object. Its `managedFields` contain managers, but no fields.
        object: K,
        /// The length of the text that the object was parsed from.
        bytes: usize,
    },
    /// The object cannot be parsed, or is too large to be parsed.
    Unreadable(Box<Unreadable>),
}

/// One object of a list or watch that has not been parsed yet.
#[derive(Clone, Debug)]
pub struct Unparsed<K> {
    text: Box<RawValue>,
    /// The metadata that identify the object.
    metadata: ObjectMeta,
    kind: PhantomData<fn() -> K>,
}

/// The known parts of an object that cannot be read.
#[derive(Clone, Debug, Default)]
pub struct Unreadable {
    /// The name, namespace, uid, resourceVersion, generation, finalizers and deletion time, as far as they are present.
    pub metadata: ObjectMeta,
    /// Why the object cannot be read, as one word.
    pub reason: &'static str,
    /// Why the object cannot be read, for its author. The text may quote the object, and therefore does not belong in
    /// the log.
    pub message: String,
    /// The conditions in the object's status, as far as they can be read.
    pub conditions: Vec<Condition>,
    /// The length of the object's text.
    pub bytes: usize,
}

impl Unreadable {
    /// Returns the namespace and the name, which are empty if they are missing.
    pub fn key(&self) -> (&str, &str) {
        let ObjectMeta { namespace, name, .. } = &self.metadata;
        (namespace.as_deref().unwrap_or_default(), name.as_deref().unwrap_or_default())
    }

    /// Returns the known parts of an object that is not held although it can be read. `bytes` is the length of its text
    /// unless that is not known any more.
    pub(crate) fn over_budget<K: Serialize>(object: &K, bytes: Option<usize>, rejection: Rejection) -> Self {
        let text = serde_json::to_string(object).unwrap_or_default();
        let fields: Fields<'_> = serde_json::from_str(&text).unwrap_or_default();
        Self::new(&fields, rejection, bytes.unwrap_or(text.len()))
    }

    fn new(fields: &Fields<'_>, rejection: Rejection, bytes: usize) -> Self {
        let Rejection { reason, mut message } = rejection;
        let metadata = fields.get("metadata").map(|metadata| identity(metadata.get())).unwrap_or_default();
        let status = fields.get("status").map(|status| status.get()).unwrap_or_default();
        message.truncate(message.floor_char_boundary(MESSAGE_BYTES));
        message.shrink_to_fit();
        Self { metadata, reason, message, conditions: conditions(status), bytes }
    }
}

impl<'de, K: DeserializeOwned> Deserialize<'de> for Received<K> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self::parse(Box::<RawValue>::deserialize(deserializer)?.get()))
    }
}

impl<'de, K> Deserialize<'de> for Unparsed<K> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Object<'a> {
            #[serde(borrow)]
            metadata: &'a RawValue,
        }
        let text = Box::<RawValue>::deserialize(deserializer)?;
        let object = serde_json::from_str::<Object<'_>>(text.get());
        let metadata = object.map(|object| identity(object.metadata.get())).unwrap_or_default();
        Ok(Self { text, metadata, kind: PhantomData })
    }
}

impl<K: DeserializeOwned> Unparsed<K> {
    /// Parses the object.
    pub fn read(&self) -> Received<K> {
        Received::parse(self.text.get())
    }
}

impl<K: DeserializeOwned> Received<K> {
    /// Reads the JSON text of one object. If only the status cannot be read, the object is read without it: the
    /// controller writes the status itself.
    pub fn parse(text: &str) -> Self {
        let mut fields: Fields<'_> = match serde_json::from_str(text) {
            Ok(fields) => fields,
            Err(error) => {
                return Self::unreadable(&Fields::new(), Rejection::new("Unreadable", error.to_string()), text.len());
            }
        };
        let metadata = fields.get("metadata").and_then(|metadata| without_managed_fields(metadata.get()));
        if let Some(metadata) = &metadata {
            fields.insert("metadata".to_owned(), metadata);
        }
        let slim = match &metadata {
            Some(_) => Cow::Owned(text_of(&fields)),
            None => Cow::Borrowed(text),
        };
        if let Err(excess) = measure(slim.as_bytes()).check(&LIMITS) {
            let reason = match excess {
                Excess::Bytes { .. } => "TooLarge",
                Excess::Nodes { .. } => "TooManyValues",
                Excess::Depth { .. } => "TooDeep",
            };
            return Self::unreadable(
                &fields,
                Rejection::new(reason, format!("the object cannot be read: {excess}")),
                text.len(),
            );
        }
        if let Ok(object) = serde_json::from_str(&slim) {
            return Self::Readable { object, bytes: slim.len() };
        }
        let status = fields.remove("status");
        let slim = text_of(&fields);
        match serde_path_to_error::deserialize(&mut serde_json::Deserializer::from_str(&slim)) {
            Ok(object) => Self::Readable { object, bytes: slim.len() },
            Err(error) => {
                let message = format!("{}: {}", error.path(), error.inner());
                fields.extend(status.map(|status| ("status".to_owned(), status)));
                Self::unreadable(&fields, Rejection::new("InvalidField", message), text.len())
            }
        }
    }

    fn unreadable(fields: &Fields<'_>, rejection: Rejection, bytes: usize) -> Self {
        Self::Unreadable(Box::new(Unreadable::new(fields, rejection, bytes)))
    }
}

/// Implements the functions of [`Resource`] that are those of the kind itself.
macro_rules! same_kind {
    ($kind:ident) => {
        type DynamicType = $kind::DynamicType;
        type Scope = $kind::Scope;

        fn kind(dynamic_type: &Self::DynamicType) -> Cow<'_, str> {
            $kind::kind(dynamic_type)
        }

        fn group(dynamic_type: &Self::DynamicType) -> Cow<'_, str> {
            $kind::group(dynamic_type)
        }

        fn version(dynamic_type: &Self::DynamicType) -> Cow<'_, str> {
            $kind::version(dynamic_type)
        }

        fn api_version(dynamic_type: &Self::DynamicType) -> Cow<'_, str> {
            $kind::api_version(dynamic_type)
        }

        fn plural(dynamic_type: &Self::DynamicType) -> Cow<'_, str> {
            $kind::plural(dynamic_type)
        }
    };
}

impl<K: Resource> Resource for Unparsed<K> {
    same_kind!(K);

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

impl<K: Resource> Resource for Received<K> {
    same_kind!(K);

    fn meta(&self) -> &ObjectMeta {
        match self {
            Self::Readable { object, .. } => object.meta(),
            Self::Unreadable(unreadable) => &unreadable.metadata,
        }
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        match self {
            Self::Readable { object, .. } => object.meta_mut(),
            Self::Unreadable(unreadable) => &mut unreadable.metadata,
        }
    }
}

#[cfg(test)]
mod tests;
