//! Stacks of places that hold one layer each.

/// For each place of a stack: a look at its layer, how to change it, to put another one there, or none.
/// The first list is the stack's parameters, the second its places, both from the outermost inwards; the
/// lists of a place are the parameters with `New` or `Identity` in its own.
macro_rules! places {
    (
        $stack:ident $layers:tt $fields:tt
        $($place:ident: $own:ident, $map:ident, $with:ident -> $new:tt, $without:ident -> $none:tt;)+
    ) => {
        $($crate::stack::slots::places! {
            @one $stack $layers $fields $place: $own, $map, $with -> $new, $without -> $none
        })+
    };
    (
        @one $stack:ident [$($layer:ident),+] { $($field:ident),+ }
        $place:ident: $own:ident, $map:ident, $with:ident -> [$($new:ident),+],
        $without:ident -> [$($none:ident),+]
    ) => {
        impl<$($layer),+> $stack<$($layer),+> {
            #[doc = concat!("The layer in the place `", stringify!($place), "`, and its handle by it.")]
            pub fn $place(&self) -> &$own {
                &self.$place
            }

            #[doc = concat!("Changes the layer in the place `", stringify!($place), "` and keeps its state:")]
            /// its classifier, for example, or whatever else its own setters take.
            pub fn $map<New>(self, change: impl FnOnce($own) -> New) -> $stack<$($new),+> {
                let Self { $($field),+ } = self;
                let $place = change($place);
                $stack { $($field),+ }
            }

            #[doc = concat!("Puts another layer in the place `", stringify!($place), "`: of another")]
            /// configuration, of another kind, or one that shares the state of a layer elsewhere.
            pub fn $with<New>(self, layer: New) -> $stack<$($new),+> {
                self.$map(|_| layer)
            }

            #[doc = concat!("Leaves the place `", stringify!($place), "` empty.")]
            pub fn $without(self) -> $stack<$($none),+> {
                self.$map(|_| tower_layer::Identity::new())
            }
        }
    };
}
pub(super) use places;
