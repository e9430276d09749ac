//! What these examples share; each is in the folder of its name beside this one.

pub mod claims;
mod paint;
pub mod stock;
pub mod told;

pub use self::paint::{Ink, Paint};
