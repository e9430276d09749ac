//! Nothing to import: this package's tests put the library under real axum, reqwest and tonic.

/// The page on frameworks, whose examples need what this package has.
#[cfg(doctest)]
#[doc = include_str!("../../../src/docs/frameworks.md")]
struct Frameworks;
