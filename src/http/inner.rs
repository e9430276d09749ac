//! The service inside of a layer's own.

/// The three ways to the service inside, with what one goes around by using it.
macro_rules! inner {
    ($service:ident<$inner:ident $(, $other:ident)*>, $around:literal, $without:literal) => {
        impl<$inner $(, $other)*> $service<$inner $(, $other)*> {
            /// The service inside.
            pub fn get_ref(&self) -> &$inner {
                &self.inner
            }

            #[doc = concat!("The service inside; ", $around, ".")]
            pub fn get_mut(&mut self) -> &mut $inner {
                &mut self.inner
            }

            #[doc = concat!("The service inside, ", $without, ".")]
            pub fn into_inner(self) -> $inner {
                self.inner
            }
        }
    };
}
pub(crate) use inner;
