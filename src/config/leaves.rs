//! Numbers, words, names and durations.

use std::{borrow::Cow, time::Duration};

use serde::{
    Serializer,
    de::{Error, MapAccess, SeqAccess},
};

use super::{Entries, NONE, Place, Scalar, Value, duration, must, public};
#[cfg(feature = "http")]
use super::{Seed, Shown};
use crate::{
    error::intern,
    policy::{bucket::keyed::AtCap, bulkhead::QueueOrder},
};

impl Value for bool {
    const NEEDS: &'static str = "true or false";

    fn of(scalar: Scalar<'_>) -> Result<Self, Cow<'static, str>> {
        match scalar {
            Scalar::Bool(on) => Ok(on),
            _ => Err(must::<Self>()),
        }
    }

    fn write<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bool(*self)
    }
}

macro_rules! whole {
    ($($number:ident, $needs:literal;)+) => {$(
        impl Value for $number {
            const NEEDS: &'static str = $needs;

            fn of(scalar: Scalar<'_>) -> Result<Self, Cow<'static, str>> {
                match scalar {
                    Scalar::Unsigned(number) => Self::try_from(number).map_err(|_| must::<Self>()),
                    _ => Err(must::<Self>()),
                }
            }

            fn write<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_u64(*self as u64)
            }
        }
    )+};
}

whole! {
    u8, "a whole number in 0..=255";
    u32, "a whole number in 0..=4294967295";
    u64, "a whole number, zero or more";
    usize, "a whole number, zero or more";
}

impl Value for f64 {
    const NEEDS: &'static str = "a number";

    fn of(scalar: Scalar<'_>) -> Result<Self, Cow<'static, str>> {
        match scalar {
            Scalar::Float(number) => Ok(number),
            Scalar::Unsigned(number) => Ok(number as Self),
            Scalar::Signed(number) => Ok(number as Self),
            _ => Err(must::<Self>()),
        }
    }

    fn write<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_f64(*self)
    }
}

/// A policy's name.
impl Value for &'static str {
    const NEEDS: &'static str = "a name";

    fn of(scalar: Scalar<'_>) -> Result<Self, Cow<'static, str>> {
        match scalar {
            Scalar::Text(name) => Ok(intern(name)),
            _ => Err(must::<Self>()),
        }
    }

    fn write<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self)
    }
}

impl Value for Duration {
    const NEEDS: &'static str =
        r#"a duration with its unit, such as "250ms", "5s" or "1m 30s", or "forever""#;

    fn of(scalar: Scalar<'_>) -> Result<Self, Cow<'static, str>> {
        match scalar {
            Scalar::Text(text) => duration::parse(text)
                .map_err(|why| format!("{why}; it must be {}", Self::NEEDS).into()),
            _ => Err(must::<Self>()),
        }
    }

    fn write<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&duration::format(*self))
    }
}

/// What can be switched off, which is written `"none"`.
impl<T: Value> Value for Option<T> {
    const NEEDS: &'static str = T::NEEDS;

    fn of(scalar: Scalar<'_>) -> Result<Self, Cow<'static, str>> {
        match scalar {
            Scalar::Text(NONE) => Ok(None),
            _ => match T::of(scalar) {
                Ok(value) => Ok(Some(value)),
                Err(why) => Err(format!("{why}, or \"none\"").into()),
            },
        }
    }

    fn of_table<'de, A: MapAccess<'de>>(table: Entries<A>, at: Place) -> Result<Self, A::Error> {
        T::of_table(table, at).map(Some)
    }

    fn of_list<'de, A: SeqAccess<'de>>(list: A, at: Place) -> Result<Self, A::Error> {
        T::of_list(list, at).map(Some)
    }

    fn absent() -> Option<Self> {
        Some(None)
    }

    fn write<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Some(value) => value.write(serializer),
            None => serializer.serialize_str(NONE),
        }
    }
}

/// What is found by other means where it is not given: it cannot be switched off, and is not written.
pub(super) struct Auto<T>(pub(super) Option<T>);

impl<T: Value> Value for Auto<T> {
    const NEEDS: &'static str = T::NEEDS;

    fn of(scalar: Scalar<'_>) -> Result<Self, Cow<'static, str>> {
        T::of(scalar).map(|value| Self(Some(value)))
    }

    fn of_table<'de, A: MapAccess<'de>>(table: Entries<A>, at: Place) -> Result<Self, A::Error> {
        T::of_table(table, at).map(|value| Self(Some(value)))
    }

    fn of_list<'de, A: SeqAccess<'de>>(list: A, at: Place) -> Result<Self, A::Error> {
        T::of_list(list, at).map(|value| Self(Some(value)))
    }

    fn absent() -> Option<Self> {
        Some(Self(None))
    }

    fn write<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match &self.0 {
            Some(value) => value.write(serializer),
            None => serializer.serialize_none(),
        }
    }
}

#[cfg(feature = "http")]
impl Value for String {
    const NEEDS: &'static str = "a text";

    fn of(scalar: Scalar<'_>) -> Result<Self, Cow<'static, str>> {
        match scalar {
            Scalar::Text(text) => Ok(text.to_owned()),
            _ => Err(must::<Self>()),
        }
    }

    fn write<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self)
    }
}

#[cfg(feature = "http")]
impl<T: Value> Value for Vec<T> {
    const NEEDS: &'static str = "a list";

    fn of_list<'de, A: SeqAccess<'de>>(mut list: A, at: Place) -> Result<Self, A::Error> {
        let mut all = Self::new();
        while let Some(one) = list.next_element_seed(Seed::at(at))? {
            all.push(one);
        }
        Ok(all)
    }

    fn write<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.iter().map(Shown))
    }
}

macro_rules! words {
    ($($name:ident, $needs:literal: $($word:literal $variant:ident)+;)+) => {$(
        impl Value for $name {
            const NEEDS: &'static str = $needs;

            fn of(scalar: Scalar<'_>) -> Result<Self, Cow<'static, str>> {
                match scalar {
                    $(Scalar::Text($word) => Ok(Self::$variant),)+
                    _ => Err(must::<Self>()),
                }
            }

            fn write<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(match self {
                    $(Self::$variant => $word,)+
                })
            }
        }
    )+};
}

words! {
    AtCap, r#""share_overflow", "refuse" or "admit""#:
        "share_overflow" ShareOverflow "refuse" Refuse "admit" Admit;
    QueueOrder, r#""fifo" or "lifo""#: "fifo" Fifo "lifo" Lifo;
}

public! { AtCap QueueOrder }

/// Two ways to write one thing.
pub(super) fn either<T, E: Error>(why: &str) -> Result<T, E> {
    Err(E::custom(why))
}
