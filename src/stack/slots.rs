//! Stacks of places that hold one layer each.

/// For one place of a stack: a look at its layer, and how to put another one there, or none. The first
/// list is the stack's parameters, the second its places, both from the outermost inwards; the others are
/// the parameters with `New` or `Identity` in the place's own.
macro_rules! place {
    (
        $stack:ident<$($layer:ident),+> { $($field:ident),+ }
        $place:ident: $own:ident, $with:ident -> [$($new:ident),+], $without:ident -> [$($none:ident),+]
    ) => {
        impl<$($layer),+> $stack<$($layer),+> {
            #[doc = concat!("The layer in the place `", stringify!($place), "`, and its handle by it.")]
            pub fn $place(&self) -> &$own {
                &self.$place
            }

            #[doc = concat!("Puts another layer in the place `", stringify!($place), "`: of another")]
            /// configuration, of another kind, or one that shares the state of a layer elsewhere.
            pub fn $with<New>(self, layer: New) -> $stack<$($new),+> {
                let Self { $($field),+ } = self;
                let _replaced = $place;
                let $place = layer;
                $stack { $($field),+ }
            }

            #[doc = concat!("Leaves the place `", stringify!($place), "` empty.")]
            pub fn $without(self) -> $stack<$($none),+> {
                self.$with(Identity::new())
            }
        }
    };
}
pub(super) use place;
