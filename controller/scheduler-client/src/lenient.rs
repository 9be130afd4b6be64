//! Types that parse any value and keep only the parts that matter.

use std::{collections::BTreeSet, fmt, marker::PhantomData};

use serde::{
    Deserialize,
    de::{Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor},
};

/// The most entries of a map or list. Schedulers serve far fewer workers, and many tiny entries would take far more
/// memory than their bytes.
pub(crate) const MAX_ENTRIES: usize = 100_000;

/// Any value. Only scalars keep their content.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) enum Scalar {
    #[default]
    Nothing,
    Text(String),
    Unsigned(u64),
    Signed(i64),
    Float(f64),
    /// A list, a map, bytes or a Boolean.
    Other,
}

impl Scalar {
    /// Returns the value as Python's `str` would format it.
    pub(crate) fn into_text(self) -> Option<String> {
        match self {
            Self::Text(text) => Some(text),
            Self::Unsigned(number) => Some(number.to_string()),
            Self::Signed(number) => Some(number.to_string()),
            Self::Float(number) => Some(format!("{number:?}")),
            Self::Nothing | Self::Other => None,
        }
    }

    /// Returns the value as a number of items.
    pub(crate) fn count(&self) -> Option<u64> {
        match self {
            Self::Unsigned(number) => Some(*number),
            Self::Signed(number) => Some(u64::try_from(*number).unwrap_or(0)),
            _ => None,
        }
    }

    /// Returns the value as epoch seconds.
    pub(crate) fn seconds(&self) -> Option<f64> {
        match self {
            Self::Float(seconds) => Some(*seconds).filter(|seconds| seconds.is_finite()),
            #[expect(clippy::cast_precision_loss, reason = "for a time, a second more or less is nothing")]
            other => other.count().map(|seconds| seconds as f64),
        }
    }
}

struct ScalarVisitor;

impl<'de> Visitor<'de> for ScalarVisitor {
    type Value = Scalar;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("anything")
    }

    fn visit_str<E>(self, value: &str) -> Result<Scalar, E> {
        Ok(Scalar::Text(value.to_owned()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Scalar, E> {
        Ok(Scalar::Unsigned(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Scalar, E> {
        Ok(u64::try_from(value).map_or(Scalar::Signed(value), Scalar::Unsigned))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Scalar, E> {
        Ok(Scalar::Float(value))
    }

    fn visit_unit<E>(self) -> Result<Scalar, E> {
        Ok(Scalar::Nothing)
    }

    fn visit_none<E>(self) -> Result<Scalar, E> {
        Ok(Scalar::Nothing)
    }

    fn visit_bool<E>(self, _value: bool) -> Result<Scalar, E> {
        Ok(Scalar::Other)
    }

    fn visit_bytes<E>(self, _value: &[u8]) -> Result<Scalar, E> {
        Ok(Scalar::Other)
    }

    fn visit_some<D: Deserializer<'de>>(self, inner: D) -> Result<Scalar, D::Error> {
        Scalar::deserialize(inner)
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, inner: D) -> Result<Scalar, D::Error> {
        IgnoredAny::deserialize(inner).map(|_| Scalar::Other)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<Scalar, A::Error> {
        IgnoredAny.visit_seq(list).map(|_| Scalar::Other)
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Scalar, A::Error> {
        IgnoredAny.visit_map(map).map(|_| Scalar::Other)
    }
}

impl<'de> Deserialize<'de> for Scalar {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ScalarVisitor)
    }
}

/// A map by address, or a list of addresses, with at most [`MAX_ENTRIES`].
#[derive(Debug)]
pub(crate) struct Entries<T>(pub Vec<(String, T)>);

impl<T> Entries<T> {
    pub(crate) fn into_addresses(self) -> BTreeSet<String> {
        self.0.into_iter().map(|(address, _)| address).collect()
    }
}

struct EntriesVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de> + Default> Visitor<'de> for EntriesVisitor<T> {
    type Value = Entries<T>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "at most {MAX_ENTRIES} workers")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Entries<T>, A::Error> {
        let mut entries = Vec::new();
        while let Some(address) = list.next_element()? {
            push(&mut entries, (address, T::default()), &self)?;
        }
        Ok(Entries(entries))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Entries<T>, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = map.next_entry()? {
            push(&mut entries, entry, &self)?;
        }
        Ok(Entries(entries))
    }
}

fn push<'de, T: Deserialize<'de> + Default, E: serde::de::Error>(
    entries: &mut Vec<(String, T)>,
    entry: (String, T),
    expected: &EntriesVisitor<T>,
) -> Result<(), E> {
    if entries.len() == MAX_ENTRIES {
        return Err(E::invalid_length(MAX_ENTRIES + 1, expected));
    }
    entries.push(entry);
    Ok(())
}

impl<'de, T: Deserialize<'de> + Default> Deserialize<'de> for Entries<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(EntriesVisitor(PhantomData))
    }
}
