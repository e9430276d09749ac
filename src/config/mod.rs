//! Configurations as files hold them: what `serde` reads and writes.
//!
//! The fields are those of the code, and so are the defaults: each table begins as the code's own value
//! and takes over what is given. What is read is checked as in code, by the same `validate`. Nothing is
//! derived, for two reasons: an error then names the field by the same words as a
//! [`ConfigError`](crate::ConfigError) does, and no procedural macro is built. That no field is
//! forgotten is seen to by the compiler, since what writes a table takes its value apart by name.
//!
//! [`docs::configuration`](crate::docs::configuration) has the rules for those who write such files.

mod choices;
mod duration;
#[cfg(feature = "http")]
mod http;
mod leaves;
mod tables;

use std::{borrow::Cow, fmt, marker::PhantomData};

use serde::{
    Serialize, Serializer,
    de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Unexpected, Visitor},
};

use crate::error::ConfigError;

/// What stands in a file where an optional value is not to be. TOML has no `null`.
const NONE: &str = "none";

/// How `serde_json` hands out a number where it keeps all of its digits (`arbitrary_precision`).
const NUMBER: &str = "$serde_json::private::Number";

/// One value of a configuration, be it a number or a table.
trait Value: Sized {
    /// Completes "must be …".
    const NEEDS: &'static str;

    /// From a plain value; an error says why not.
    fn of(_: Scalar<'_>) -> Result<Self, Cow<'static, str>> {
        Err(must::<Self>())
    }

    /// From a table.
    fn of_table<'de, A: MapAccess<'de>>(_: Entries<A>, at: Place) -> Result<Self, A::Error> {
        Err(A::Error::invalid_type(Unexpected::Map, &Seed::<Self>::at(at)))
    }

    /// From a list.
    fn of_list<'de, A: SeqAccess<'de>>(_: A, at: Place) -> Result<Self, A::Error> {
        Err(A::Error::invalid_type(Unexpected::Seq, &Seed::<Self>::at(at)))
    }

    /// From a `null`.
    fn absent() -> Option<Self> {
        None
    }

    fn write<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error>;
}

fn must<T: Value>() -> Cow<'static, str> {
    format!("must be {}", T::NEEDS).into()
}

/// A value that is no table, as a format hands it out.
#[derive(Clone, Copy)]
enum Scalar<'a> {
    Bool(bool),
    Unsigned(u64),
    Signed(i64),
    Float(f64),
    Text(&'a str),
}

impl Scalar<'_> {
    /// A number in digits; what no type holds is the nearest that one does.
    fn number(text: &str) -> Option<Self> {
        let whole = text.parse().map(Self::Unsigned).or_else(|_| text.parse().map(Self::Signed));
        whole.ok().or_else(|| text.parse().map(Self::Float).ok())
    }
}

impl fmt::Display for Scalar<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bool(on) => on.fmt(f),
            Self::Unsigned(number) => number.fmt(f),
            Self::Signed(number) => number.fmt(f),
            Self::Float(number) => write!(f, "{number:?}"),
            Self::Text(text) => write!(f, "{text:?}"),
        }
    }
}

/// The field that a value is for, by the words of [`ConfigError`]; empty where only its reader knows.
type Place = &'static str;

/// Reads a `T` for a place.
struct Seed<T> {
    at: Place,
    of: PhantomData<T>,
}

impl<T> Seed<T> {
    fn at(at: Place) -> Self {
        Self { at, of: PhantomData }
    }
}

impl<T: Value> Seed<T> {
    fn take<E: Error>(self, scalar: Scalar<'_>) -> Result<T, E> {
        T::of(scalar).map_err(|why| match self.at {
            "" => E::custom(format_args!("{scalar}: {why}")),
            field => E::custom(ConfigError::new(field, scalar, why)),
        })
    }

    fn nothing<E: Error>(self) -> Result<T, E> {
        T::absent().ok_or_else(|| E::invalid_type(Unexpected::Unit, &self))
    }
}

impl<'de, T: Value> DeserializeSeed<'de> for Seed<T> {
    type Value = T;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<T, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de, T: Value> Visitor<'de> for Seed<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.at {
            "" => f.write_str(T::NEEDS),
            field => write!(f, "`{field}` to be {}", T::NEEDS),
        }
    }

    fn visit_bool<E: Error>(self, on: bool) -> Result<T, E> {
        self.take(Scalar::Bool(on))
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<T, E> {
        self.take(Scalar::Unsigned(number))
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<T, E> {
        self.take(u64::try_from(number).map_or(Scalar::Signed(number), Scalar::Unsigned))
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<T, E> {
        self.take(Scalar::Float(number))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
        self.take(Scalar::Text(text))
    }

    fn visit_none<E: Error>(self) -> Result<T, E> {
        self.nothing()
    }

    fn visit_unit<E: Error>(self) -> Result<T, E> {
        self.nothing()
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<T, D::Error> {
        deserializer.deserialize_any(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<T, A::Error> {
        T::of_list(list, self.at)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<T, A::Error> {
        let first = map.next_key::<String>()?;
        if first.as_deref() == Some(NUMBER) {
            let digits = map.next_value::<String>()?;
            let number = Scalar::number(&digits).unwrap_or(Scalar::Text(&digits));
            return self.take(number);
        }
        T::of_table(Entries { first, map }, self.at)
    }
}

/// What is left to read of a table.
struct Entries<A> {
    first: Option<String>,
    map: A,
}

impl<'de, A: MapAccess<'de>> Entries<A> {
    fn key(&mut self) -> Result<Option<String>, A::Error> {
        match self.first.take() {
            Some(key) => Ok(Some(key)),
            None => self.map.next_key(),
        }
    }

    fn value<T: Value>(&mut self, at: Place) -> Result<T, A::Error> {
        self.map.next_value_seed(Seed::at(at))
    }
}

/// What must be given.
fn needed<T, E: Error>(value: Option<T>, at: Place) -> Result<T, E> {
    value.ok_or_else(|| E::missing_field(at))
}

/// A value on its way out.
struct Shown<'a, T>(&'a T);

impl<T: Value> Serialize for Shown<'_, T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.write(serializer)
    }
}

/// Reads a table into one variable per field, `None` where it is not there.
macro_rules! read_table {
    ($entries:ident, $prefix:literal, $($field:ident)+) => {
        $(let mut $field = None;)+
        while let Some(key) = $entries.key()? {
            match key.as_str() {
                $(stringify!($field) => {
                    let at = concat!($prefix, stringify!($field));
                    if $field.is_some() {
                        return Err(serde::de::Error::duplicate_field(at));
                    }
                    $field = Some($entries.value(at)?);
                })+
                _ => {
                    let unknown = format!(concat!($prefix, "{}"), key);
                    let known = &[$(stringify!($field)),+];
                    return Err(serde::de::Error::unknown_field(&unknown, known));
                }
            }
        }
    };
}

/// Writes fields in their order.
macro_rules! write_table {
    ($serializer:ident, $name:literal, $($field:ident)+) => {
        write_table!($serializer, $name, $($field)+; maybe)
    };
    ($serializer:ident, $name:literal, $($field:ident)*; maybe $($maybe:ident)*) => {{
        use serde::ser::SerializeStruct;
        let fields = 0 $(+ { let _ = $field; 1 })* $(+ usize::from($maybe.is_some()))*;
        let mut table = $serializer.serialize_struct($name, fields)?;
        $(table.serialize_field(stringify!($field), &crate::config::Shown($field))?;)*
        $(match $maybe {
            Some(given) => {
                table.serialize_field(stringify!($maybe), &crate::config::Shown(given))?;
            }
            None => table.skip_field(stringify!($maybe))?,
        })*
        table.end()
    }};
}

/// `Deserialize` and `Serialize` by what [`Value`] says.
macro_rules! public {
    ($($name:ident)+) => {$(
        #[cfg_attr(docsrs, doc(cfg(feature = "serde")))]
        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                serde::de::DeserializeSeed::deserialize(crate::config::Seed::<Self>::at(""), from)
            }
        }

        #[cfg_attr(docsrs, doc(cfg(feature = "serde")))]
        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                crate::config::Value::write(self, to)
            }
        }
    )+};
}

use {public, read_table, write_table};
