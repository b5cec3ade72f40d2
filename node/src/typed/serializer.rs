//! From a value to its tree, by serde.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;
use serde::ser::{
    SerializeMap, SerializeSeq, SerializeStruct, SerializeStructVariant, SerializeTuple,
    SerializeTupleStruct, SerializeTupleVariant, Serializer,
};
use serde_json::{Number, Value};

use super::TypedError;
use super::tree::{self, Tree};
use crate::limits::COUNTER_MAX;

/// Makes a [`Tree`] of a value.
#[derive(Clone, Copy)]
pub(super) struct TreeSerializer;

/// Why a value makes no tree.
#[derive(Debug)]
pub(super) struct Refusal {
    /// The names on the way there, the last one first.
    names: Vec<String>,
    reason: Reason,
}

#[derive(Debug)]
enum Reason {
    Key(&'static str),
    OutOfRange(String),
    Other(String),
}

impl Refusal {
    fn new(reason: Reason) -> Self {
        Self {
            names: Vec::new(),
            reason,
        }
    }

    fn out_of_range(number: impl fmt::Display) -> Self {
        Self::new(Reason::OutOfRange(number.to_string()))
    }

    fn inside(mut self, name: impl fmt::Display) -> Self {
        self.names.push(name.to_string());
        self
    }

    pub(super) fn into_error(self, type_name: &'static str) -> TypedError {
        let names = self.names.iter().rev();
        let path = names.fold(String::new(), |path, name| {
            path + "/" + &super::escaped(name)
        });
        match self.reason {
            Reason::Key(found) => TypedError::Key { path, found },
            Reason::OutOfRange(value) => TypedError::OutOfRange { path, value },
            Reason::Other(reason) => TypedError::Serialize {
                path,
                type_name,
                reason,
            },
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.reason)
    }
}

impl std::error::Error for Refusal {}

impl serde::ser::Error for Refusal {
    fn custom<M: fmt::Display>(message: M) -> Self {
        Self::new(Reason::Other(message.to_string()))
    }
}

fn register(value: impl Into<Value>) -> Tree {
    Tree::Register(value.into())
}

/// A field type, from what it holds.
fn field(name: &'static str, held: Tree) -> Result<Tree, Refusal> {
    let exact = |number: &Number| match number.as_i64() {
        Some(value) if (-COUNTER_MAX..=COUNTER_MAX).contains(&value) => Ok(value),
        _ => Err(Refusal::out_of_range(number)),
    };
    match (name, held) {
        (tree::COUNTER, Tree::Register(Value::Number(number))) => exact(&number).map(Tree::Counter),
        (tree::QUANTITY, Tree::Register(Value::Number(number))) => {
            exact(&number).map(Tree::Quantity)
        }
        (tree::TEXT, Tree::Register(Value::String(text))) => Ok(Tree::Text(text)),
        (tree::SET, Tree::List(elements)) => {
            let plain = elements.iter().map(Tree::plain);
            Ok(Tree::Set(
                plain
                    .map(|element| (element.to_string(), element))
                    .collect(),
            ))
        }
        (_, held) => Ok(held),
    }
}

impl Serializer for TreeSerializer {
    type Ok = Tree;
    type Error = Refusal;
    type SerializeSeq = Elements;
    type SerializeTuple = Elements;
    type SerializeTupleStruct = Elements;
    type SerializeTupleVariant = Elements;
    type SerializeMap = Entries;
    type SerializeStruct = Entries;
    type SerializeStructVariant = Entries;

    fn serialize_bool(self, value: bool) -> Result<Tree, Refusal> {
        Ok(register(value))
    }

    fn serialize_i8(self, value: i8) -> Result<Tree, Refusal> {
        Ok(register(value))
    }

    fn serialize_i16(self, value: i16) -> Result<Tree, Refusal> {
        Ok(register(value))
    }

    fn serialize_i32(self, value: i32) -> Result<Tree, Refusal> {
        Ok(register(value))
    }

    fn serialize_i64(self, value: i64) -> Result<Tree, Refusal> {
        Ok(register(value))
    }

    fn serialize_i128(self, value: i128) -> Result<Tree, Refusal> {
        let within = i64::try_from(value).map(register);
        within.map_err(|_| Refusal::out_of_range(value))
    }

    fn serialize_u8(self, value: u8) -> Result<Tree, Refusal> {
        Ok(register(value))
    }

    fn serialize_u16(self, value: u16) -> Result<Tree, Refusal> {
        Ok(register(value))
    }

    fn serialize_u32(self, value: u32) -> Result<Tree, Refusal> {
        Ok(register(value))
    }

    fn serialize_u64(self, value: u64) -> Result<Tree, Refusal> {
        Ok(register(value))
    }

    fn serialize_u128(self, value: u128) -> Result<Tree, Refusal> {
        let within = u64::try_from(value).map(register);
        within.map_err(|_| Refusal::out_of_range(value))
    }

    fn serialize_f32(self, value: f32) -> Result<Tree, Refusal> {
        self.serialize_f64(value.into())
    }

    fn serialize_f64(self, value: f64) -> Result<Tree, Refusal> {
        // JSON has no infinity; and an integer is the same number in either form.
        const EXACT: f64 = 9_007_199_254_740_992.0;
        if value.fract() == 0.0 && value.abs() <= EXACT {
            #[expect(
                clippy::cast_possible_truncation,
                reason = "an integer of up to 53 bits"
            )]
            return Ok(register(value as i64));
        }
        let number = Number::from_f64(value);
        number
            .map(register)
            .ok_or_else(|| Refusal::out_of_range(value))
    }

    fn serialize_char(self, value: char) -> Result<Tree, Refusal> {
        Ok(register(value.to_string()))
    }

    fn serialize_str(self, value: &str) -> Result<Tree, Refusal> {
        Ok(register(value))
    }

    fn serialize_bytes(self, value: &[u8]) -> Result<Tree, Refusal> {
        Ok(Tree::List(
            value.iter().map(|byte| register(*byte)).collect(),
        ))
    }

    fn serialize_none(self) -> Result<Tree, Refusal> {
        Ok(register(Value::Null))
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<Tree, Refusal> {
        value.serialize(self)
    }

    fn serialize_unit(self) -> Result<Tree, Refusal> {
        Ok(register(Value::Null))
    }

    fn serialize_unit_struct(self, _: &'static str) -> Result<Tree, Refusal> {
        self.serialize_unit()
    }

    fn serialize_unit_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
    ) -> Result<Tree, Refusal> {
        self.serialize_str(variant)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        name: &'static str,
        value: &T,
    ) -> Result<Tree, Refusal> {
        field(name, value.serialize(self)?)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<Tree, Refusal> {
        let mut entries = Entries::default();
        entries.entry(variant.to_owned(), value)?;
        entries.finish()
    }

    fn serialize_seq(self, _: Option<usize>) -> Result<Elements, Refusal> {
        Ok(Elements::default())
    }

    fn serialize_tuple(self, _: usize) -> Result<Elements, Refusal> {
        Ok(Elements::default())
    }

    fn serialize_tuple_struct(self, _: &'static str, _: usize) -> Result<Elements, Refusal> {
        Ok(Elements::default())
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        _: usize,
    ) -> Result<Elements, Refusal> {
        Ok(Elements {
            variant: Some(variant),
            ..Elements::default()
        })
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Entries, Refusal> {
        Ok(Entries::default())
    }

    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Entries, Refusal> {
        Ok(Entries::default())
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        _: usize,
    ) -> Result<Entries, Refusal> {
        Ok(Entries {
            variant: Some(variant),
            ..Entries::default()
        })
    }
}

fn in_variant(variant: Option<&'static str>, tree: Tree) -> Tree {
    match variant {
        Some(variant) => Tree::Map(BTreeMap::from([(variant.to_owned(), tree)])),
        None => tree,
    }
}

/// A list in the making.
#[derive(Default)]
pub(super) struct Elements {
    variant: Option<&'static str>,
    elements: Vec<Tree>,
}

impl Elements {
    fn element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Refusal> {
        let element = value.serialize(TreeSerializer);
        let element = element.map_err(|refusal| refusal.inside(self.elements.len()))?;
        self.elements.push(element.into_element());
        Ok(())
    }

    #[expect(
        clippy::unnecessary_wraps,
        reason = "the form that serde's traits ask for"
    )]
    fn finish(self) -> Result<Tree, Refusal> {
        Ok(in_variant(self.variant, Tree::List(self.elements)))
    }
}

/// A map in the making.
#[derive(Default)]
pub(super) struct Entries {
    variant: Option<&'static str>,
    name: String,
    entries: BTreeMap<String, Tree>,
}

impl Entries {
    fn entry<T: Serialize + ?Sized>(&mut self, name: String, value: &T) -> Result<(), Refusal> {
        match value.serialize(TreeSerializer) {
            Ok(entry) => {
                self.entries.insert(name, entry);
                Ok(())
            }
            Err(refusal) => Err(refusal.inside(name)),
        }
    }

    #[expect(
        clippy::unnecessary_wraps,
        reason = "the form that serde's traits ask for"
    )]
    fn finish(self) -> Result<Tree, Refusal> {
        Ok(in_variant(self.variant, Tree::Map(self.entries)))
    }
}

/// Elements come by several of serde's traits, which differ in the name of the method.
macro_rules! by_element {
    ($($interface:ident $method:ident),*) => {$(
        impl $interface for Elements {
            type Ok = Tree;
            type Error = Refusal;

            fn $method<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Refusal> {
                self.element(value)
            }

            fn end(self) -> Result<Tree, Refusal> {
                self.finish()
            }
        }
    )*};
}

by_element!(
    SerializeSeq serialize_element,
    SerializeTuple serialize_element,
    SerializeTupleStruct serialize_field,
    SerializeTupleVariant serialize_field
);

/// And so do named fields.
macro_rules! by_field {
    ($($interface:ident),*) => {$(
        impl $interface for Entries {
            type Ok = Tree;
            type Error = Refusal;

            fn serialize_field<T: Serialize + ?Sized>(
                &mut self,
                name: &'static str,
                value: &T,
            ) -> Result<(), Refusal> {
                self.entry(name.to_owned(), value)
            }

            fn end(self) -> Result<Tree, Refusal> {
                self.finish()
            }
        }
    )*};
}

by_field!(SerializeStruct, SerializeStructVariant);

impl SerializeMap for Entries {
    type Ok = Tree;
    type Error = Refusal;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), Refusal> {
        self.name = match key.serialize(TreeSerializer)? {
            Tree::Register(Value::String(name)) => name,
            Tree::Register(Value::Bool(name)) => name.to_string(),
            Tree::Register(Value::Number(name)) if !name.is_f64() => name.to_string(),
            other => return Err(Refusal::new(Reason::Key(other.kind()))),
        };
        Ok(())
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Refusal> {
        let name = std::mem::take(&mut self.name);
        self.entry(name, value)
    }

    fn end(self) -> Result<Tree, Refusal> {
        self.finish()
    }
}
