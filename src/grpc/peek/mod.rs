//! A look at the first frame of a response, for the code that follows its head at once.

mod body;
mod layer;

pub use self::{
    body::Peeked,
    layer::{PeekTrailers, PeekTrailersLayer, ResponseFuture},
};
