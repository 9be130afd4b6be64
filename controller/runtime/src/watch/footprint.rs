//! Estimates how much memory an object takes in a cache.
//!
//! The length of an object's text says little about it: a map with one short entry takes 632 bytes, and the caches keep
//! only some fields of pods and Deployments. So the object itself is measured, by a serializer that writes nothing and
//! adds up what is on the heap. It is no format for people, so that objects which are kept as text are measured as text.

use std::fmt;

use serde::{Serialize, Serializer, ser};

/// What a cache needs for each object besides the object: its key and its entries in the indexes.
const ENTRY: usize = 256;
/// A node of a `BTreeMap` from strings to JSON values.
const MAP_NODE: usize = 632;
/// The number of entries that fit into one node, and the number that each node of a larger map has at least.
const NODE_ENTRIES: usize = 11;
const LEAST_NODE_ENTRIES: usize = 5;
/// One JSON value in a list, or one field of a struct.
const VALUE: usize = 32;
/// The smallest piece of memory that `malloc` returns, the number that all sizes are multiples of, and what `malloc` needs
/// for each piece.
const SMALLEST_PIECE: usize = 32;
const PIECE_MULTIPLE: usize = 16;
const PIECE_HEADER: usize = 8;

/// Returns about how many bytes `object` takes in a cache.
pub(crate) fn footprint<T: Serialize>(object: &T) -> usize {
    let mut heap = Heap(0);
    // The serializer itself never fails. What an object does not want to show is not counted.
    let _ = object.serialize(&mut heap);
    size_of::<T>() + ENTRY + heap.0
}

/// The bytes on the heap.
struct Heap(usize);

/// The part of an object that is being measured.
#[derive(Clone, Copy)]
enum Shape {
    /// A struct or tuple, whose fields are counted by its owner.
    Inline,
    /// A list.
    List,
    /// A map.
    Map,
}

/// The values in a list, a map or a struct.
struct Values<'a> {
    heap: &'a mut Heap,
    shape: Shape,
    count: usize,
}

impl Heap {
    /// Counts one piece of memory.
    fn add(&mut self, bytes: usize) {
        if bytes > 0 {
            self.0 += (bytes + PIECE_HEADER).next_multiple_of(PIECE_MULTIPLE).max(SMALLEST_PIECE);
        }
    }

    fn values(&mut self, shape: Shape) -> Values<'_> {
        Values { heap: self, shape, count: 0 }
    }
}

impl Values<'_> {
    fn value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), fmt::Error> {
        self.count += 1;
        // The size of a field is known. That of an element is not, because lists pass references.
        if let Shape::List = self.shape {
            self.heap.0 += VALUE;
        }
        value.serialize(&mut *self.heap)
    }

    fn finish(self) {
        if let Shape::Map = self.shape {
            let nodes = if self.count <= NODE_ENTRIES { 1 } else { self.count.div_ceil(LEAST_NODE_ENTRIES) };
            self.heap.0 += if self.count == 0 { 0 } else { nodes * MAP_NODE };
        }
    }
}

/// Implements the methods for values that have no content on the heap.
macro_rules! inline {
    ($($method:ident: $type:ty),* $(,)?) => {
        $(fn $method(self, _: $type) -> Result<(), fmt::Error> { Ok(()) })*
    };
}

impl<'a> Serializer for &'a mut Heap {
    type Ok = ();
    type Error = fmt::Error;
    type SerializeSeq = Values<'a>;
    type SerializeTuple = Values<'a>;
    type SerializeTupleStruct = Values<'a>;
    type SerializeTupleVariant = Values<'a>;
    type SerializeMap = Values<'a>;
    type SerializeStruct = Values<'a>;
    type SerializeStructVariant = Values<'a>;

    fn is_human_readable(&self) -> bool {
        false
    }

    inline! {
        serialize_bool: bool, serialize_char: char, serialize_f32: f32, serialize_f64: f64,
        serialize_i8: i8, serialize_i16: i16, serialize_i32: i32, serialize_i64: i64,
        serialize_u8: u8, serialize_u16: u16, serialize_u32: u32, serialize_u64: u64,
        serialize_unit_struct: &'static str,
    }

    fn serialize_str(self, text: &str) -> Result<(), fmt::Error> {
        self.add(text.len());
        Ok(())
    }

    fn serialize_bytes(self, bytes: &[u8]) -> Result<(), fmt::Error> {
        self.add(bytes.len());
        Ok(())
    }

    fn serialize_none(self) -> Result<(), fmt::Error> {
        Ok(())
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), fmt::Error> {
        value.serialize(self)
    }

    fn serialize_unit(self) -> Result<(), fmt::Error> {
        Ok(())
    }

    fn serialize_unit_variant(self, _: &'static str, _: u32, _: &'static str) -> Result<(), fmt::Error> {
        Ok(())
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, _: &'static str, value: &T) -> Result<(), fmt::Error> {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        value: &T,
    ) -> Result<(), fmt::Error> {
        value.serialize(self)
    }

    fn serialize_seq(self, _: Option<usize>) -> Result<Values<'a>, fmt::Error> {
        Ok(self.values(Shape::List))
    }

    fn serialize_tuple(self, _: usize) -> Result<Values<'a>, fmt::Error> {
        Ok(self.values(Shape::Inline))
    }

    fn serialize_tuple_struct(self, _: &'static str, _: usize) -> Result<Values<'a>, fmt::Error> {
        Ok(self.values(Shape::Inline))
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Values<'a>, fmt::Error> {
        Ok(self.values(Shape::Inline))
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Values<'a>, fmt::Error> {
        Ok(self.values(Shape::Map))
    }

    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Values<'a>, fmt::Error> {
        Ok(self.values(Shape::Inline))
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Values<'a>, fmt::Error> {
        Ok(self.values(Shape::Inline))
    }
}

/// Implements a trait whose values have no names.
macro_rules! unnamed {
    ($($trait:ident::$method:ident),* $(,)?) => {
        $(impl ser::$trait for Values<'_> {
            type Ok = ();
            type Error = fmt::Error;

            fn $method<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), fmt::Error> {
                self.value(value)
            }

            fn end(self) -> Result<(), fmt::Error> {
                self.finish();
                Ok(())
            }
        })*
    };
}

unnamed! {
    SerializeSeq::serialize_element, SerializeTuple::serialize_element, SerializeTupleStruct::serialize_field,
    SerializeTupleVariant::serialize_field,
}

/// Implements a trait whose values have constant names.
macro_rules! named {
    ($($trait:ident),*) => {
        $(impl ser::$trait for Values<'_> {
            type Ok = ();
            type Error = fmt::Error;

            fn serialize_field<T: Serialize + ?Sized>(&mut self, _: &'static str, value: &T) -> Result<(), fmt::Error> {
                self.value(value)
            }

            fn end(self) -> Result<(), fmt::Error> {
                self.finish();
                Ok(())
            }
        })*
    };
}

named! { SerializeStruct, SerializeStructVariant }

impl ser::SerializeMap for Values<'_> {
    type Ok = ();
    type Error = fmt::Error;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), fmt::Error> {
        key.serialize(&mut *self.heap)
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), fmt::Error> {
        self.value(value)
    }

    fn end(self) -> Result<(), fmt::Error> {
        self.finish();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn heap(value: &Value) -> usize {
        footprint(value) - footprint(&Value::Null)
    }

    #[test]
    fn small_maps_count_with_the_memory_that_they_take() {
        let maps = |count: usize| Value::Array(vec![json!({"a": 0}); count]);
        let of_one = heap(&maps(1001)) - heap(&maps(1000));
        assert!((632..800).contains(&of_one), "{of_one}");
        let large = |count: usize| (0..count).map(|number| (number.to_string(), json!(0))).collect::<Value>();
        let of_one = (heap(&large(10_000)) - heap(&large(1_000))) / 9_000;
        assert!((60..200).contains(&of_one), "{of_one}");
    }

    #[test]
    fn objects_that_are_kept_as_text_count_as_text() {
        struct Text(Value);

        impl Serialize for Text {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                if serializer.is_human_readable() {
                    self.0.serialize(serializer)
                } else {
                    serializer.collect_str(&self.0)
                }
            }
        }

        let maps = Value::Array(vec![json!({"a": 0}); 1_000]);
        let (text, length) = (footprint(&Text(maps.clone())), maps.to_string().len());
        assert!((length..length + 1_000).contains(&text), "{text}");
    }

    #[test]
    fn long_strings_count_with_their_length_and_short_ones_with_the_smallest_piece() {
        assert!((1 << 20..(1 << 20) + 100).contains(&heap(&json!("a".repeat(1 << 20)))));
        assert_eq!(heap(&json!("a")), 32);
        assert_eq!(heap(&json!([null, 1, true])), 96);
        assert_eq!((heap(&json!("")), heap(&json!({}))), (0, 0));
    }
}
