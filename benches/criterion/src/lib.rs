//! Criterion benchmarks of portcullis, in `benches/`: `cargo bench -p benchmarks`.
