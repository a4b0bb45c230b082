//! The structure of JSON: one document, or values one after another (JSON Lines).
//!
//! Values are counted while they are read and never held. A single string longer than
//! [`STRING_LIMIT`] or nesting deeper than 128 levels stops the reading.

use std::collections::HashMap;
use std::fmt;
use std::io::{self, BufReader};
use std::path::Path;

use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};

use super::source::{self, Encoding, Meter};

/// Bytes of one string or number; the reading stops at a longer one.
pub const STRING_LIMIT: usize = 8 * 1024 * 1024;

/// Names of members that are kept; further ones are only counted as there.
pub const KEY_LIMIT: usize = 100;

/// Bytes of a member's name that are kept.
const KEY_BYTES: usize = 200;

/// The types of JSON, in the sequence of [`JsonFacts::counts`].
pub const TYPES: [&str; 6] = ["object", "array", "string", "number", "boolean", "null"];

/// What was counted in a JSON file.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct JsonFacts {
    /// Values at the top level: 1 for a document.
    pub values: u64,
    /// The first of them.
    pub first: Option<Shape>,
    /// Levels of nesting: 1 for a bare string, 2 for an array of numbers.
    pub depth: u32,
    /// Values of each of [`TYPES`], on all levels.
    pub counts: [u64; 6],
    /// Objects whose members are in `keys`: those at the top level and those directly in a top-level
    /// array.
    pub records: u64,
    /// The members of these objects, in order of appearance.
    pub keys: Vec<Key>,
    /// Whether there are more names than [`KEY_LIMIT`].
    pub more_keys: bool,
    places: HashMap<String, usize>,
}

/// The type of a value and how many members or elements it has, or characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// The place of the type in [`TYPES`].
    pub type_index: usize,
    /// The number of members, elements or characters; 0 for other types.
    pub length: u64,
}

/// A member that objects have.
#[derive(Debug, PartialEq, Eq)]
pub struct Key {
    /// Its name.
    pub name: String,
    /// How many objects have it.
    pub count: u64,
    /// How many of its values are of each of [`TYPES`].
    pub counts: [u64; 6],
    /// The smallest and the greatest length of its values that are objects, arrays or strings.
    pub lengths: Option<(u64, u64)>,
}

/// Reads the file at `path`; the facts, and why the reading stopped before the end, if it did.
///
/// # Errors
///
/// The file cannot be opened.
pub fn read(path: &Path, encoding: Encoding) -> io::Result<(JsonFacts, Option<String>)> {
    let (meter, source) =
        Meter::around(source::open_decoded(path, encoding)?, STRING_LIMIT, "a string is longer than 8 MiB");
    let mut facts = JsonFacts::default();
    let mut values = serde_json::Deserializer::from_reader(BufReader::with_capacity(source::CHUNK, source));
    loop {
        let walk = Walk { facts: &mut facts, meter: &meter, level: 1, is_record: true };
        match walk.deserialize(&mut values) {
            Ok(shape) => {
                facts.values += 1;
                facts.first.get_or_insert(shape);
            }
            Err(error) => return Ok((facts, Some(error.to_string()))),
        }
        meter.reset();
        if values.end().is_ok() {
            return Ok((facts, None));
        }
    }
}

impl Shape {
    /// The name of the type.
    pub fn type_name(&self) -> &'static str {
        TYPES[self.type_index]
    }
}

impl JsonFacts {
    fn note(&mut self, name: &str, shape: Shape) {
        let name = &name[..name.floor_char_boundary(KEY_BYTES)];
        let place = match self.places.get(name) {
            Some(place) => *place,
            None if self.keys.len() == KEY_LIMIT => {
                self.more_keys = true;
                return;
            }
            None => {
                self.places.insert(name.to_owned(), self.keys.len());
                self.keys.push(Key { name: name.to_owned(), count: 0, counts: [0; 6], lengths: None });
                self.keys.len() - 1
            }
        };
        let key = &mut self.keys[place];
        key.count += 1;
        key.counts[shape.type_index] += 1;
        if matches!(shape.type_name(), "object" | "array" | "string") {
            let (least, most) = key.lengths.unwrap_or((shape.length, shape.length));
            key.lengths = Some((least.min(shape.length), most.max(shape.length)));
        }
    }
}

/// Counts one value and everything in it.
struct Walk<'a> {
    facts: &'a mut JsonFacts,
    meter: &'a Meter,
    level: u32,
    /// Whether the members of this value are noted, should it be an object.
    is_record: bool,
}

impl Walk<'_> {
    fn count(&mut self, type_index: usize, length: u64) -> Shape {
        self.meter.reset();
        self.facts.counts[type_index] += 1;
        self.facts.depth = self.facts.depth.max(self.level);
        Shape { type_index, length }
    }

    fn inner(&mut self, is_record: bool) -> Walk<'_> {
        Walk { facts: self.facts, meter: self.meter, level: self.level + 1, is_record }
    }
}

impl<'de> DeserializeSeed<'de> for Walk<'_> {
    type Value = Shape;

    fn deserialize<D: Deserializer<'de>>(self, source: D) -> Result<Shape, D::Error> {
        source.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Walk<'_> {
    type Value = Shape;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("a JSON value")
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut members: A) -> Result<Shape, A::Error> {
        let mut shape = self.count(0, 0);
        self.facts.records += u64::from(self.is_record);
        while let Some(name) = members.next_key::<String>()? {
            self.meter.reset();
            let member = members.next_value_seed(self.inner(false))?;
            if self.is_record {
                self.facts.note(&name, member);
            }
            shape.length += 1;
        }
        Ok(shape)
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut elements: A) -> Result<Shape, A::Error> {
        let mut shape = self.count(1, 0);
        let holds_records = self.level == 1;
        while elements.next_element_seed(self.inner(holds_records))?.is_some() {
            shape.length += 1;
        }
        Ok(shape)
    }

    fn visit_str<E>(mut self, text: &str) -> Result<Shape, E> {
        Ok(self.count(2, text.chars().count() as u64))
    }

    fn visit_i64<E>(mut self, _: i64) -> Result<Shape, E> {
        Ok(self.count(3, 0))
    }

    fn visit_u64<E>(mut self, _: u64) -> Result<Shape, E> {
        Ok(self.count(3, 0))
    }

    fn visit_f64<E>(mut self, _: f64) -> Result<Shape, E> {
        Ok(self.count(3, 0))
    }

    fn visit_bool<E>(mut self, _: bool) -> Result<Shape, E> {
        Ok(self.count(4, 0))
    }

    fn visit_unit<E>(mut self) -> Result<Shape, E> {
        Ok(self.count(5, 0))
    }
}
