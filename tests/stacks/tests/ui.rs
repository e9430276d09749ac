//! What the compiler says to a user who is one line short, and what compiles without a word.

// What must compile, and does with this file: closures infer, and an error of one's own or a boxed one
// needs no `ErrorLayer`. They are modules and no cases of trybuild's, which would build every
// dependency once more.
#[path = "ui/pass_box_error.rs"]
mod box_error;
#[path = "ui/pass_classifier.rs"]
mod classifier;
#[path = "ui/pass_own_enum.rs"]
mod own_enum;

/// The compiler that wrote `ui/*.stderr`. Its texts move with it, so they are compared there only.
const COMPILER: &str = "rustc 1.95.";

#[test]
fn what_should_compile_runs() {
    box_error::main();
    classifier::main();
    own_enum::main();
}

#[test]
fn messages_are_as_the_errors_page_shows_them() {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let output = std::process::Command::new(rustc).arg("--version").output().expect("a compiler");
    let version = String::from_utf8_lossy(&output.stdout);
    if !version.starts_with(COMPILER) {
        println!("skipped: the texts are those of {COMPILER}x, and this is {}", version.trim());
        return;
    }
    trybuild::TestCases::new().compile_fail("tests/ui/fail_*.rs");
}
