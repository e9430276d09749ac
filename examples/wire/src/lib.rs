//! What more than one of these examples needs. What an example is about stands in its own folder.

pub mod claims;
mod paint;
mod scrape;
mod serve;
pub mod stock;
pub mod told;

pub use self::{
    claims::{Claims, run},
    paint::{Ink, Paint},
    scrape::Scrape,
    serve::{is_own, serve},
};
