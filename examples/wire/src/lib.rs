//! What these examples share; each is in the folder of its name beside this one.

pub mod claims;
pub mod stock;
pub mod told;
