//! Criterion benchmarks of portcullis; see `benches/`.
