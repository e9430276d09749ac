//! Nothing to import: this package's tests put the library under real axum, reqwest and tonic.
