use super::*;

const CARGO: &str = "
     Running unittests src/lib.rs (target/debug/deps/a-1)

running 3 tests
test units::a_price_is_exact ... ok
test units::money_never_wraps ... FAILED
test slow ... ignored, needs a GPU

failures:

---- units::money_never_wraps stdout ----
panicked: it wrapped

failures:
    units::money_never_wraps

test result: FAILED. 1 passed; 1 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.01s

   Doc-tests a
test result: ok. 2 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s
";

#[test]
fn tests_of_cargo_count_one_by_one() {
    let outcome = Outcome::from_cargo_test("rust", false, CARGO.to_owned());
    assert_eq!(outcome.passed, 3);
    assert_eq!(outcome.failed, ["units::money_never_wraps"]);
    assert_eq!(
        outcome.output.trim(),
        "---- units::money_never_wraps stdout ----\npanicked: it wrapped"
    );
    assert_eq!(outcome.skipped, [("slow".to_owned(), "needs a GPU".to_owned())]);
}

#[test]
fn a_test_that_checked_nothing_is_skipped_and_has_not_passed() {
    let mut outcome = Outcome::from_cargo_test("rust", false, CARGO.to_owned());
    outcome.skip("needs_a_card\tno card\nno tab\n");
    assert_eq!(outcome.passed, 2);
    assert_eq!(
        outcome.skipped[1],
        ("needs_a_card".to_owned(), "no card".to_owned())
    );
    // The tests know the same variable.
    let tests = crate::workspace::root().join("gpu-agent/tests/support/skip.rs");
    let text = std::fs::read_to_string(tests).expect("a file of the tests");
    assert!(text.contains(&format!("\"{}\"", super::super::steps::SKIPPED)));
}

#[test]
fn a_test_binary_that_crashes_has_failed() {
    let crash = "Running unittests src/main.rs (target/b)\nrunning 1 test\nRunning tests/c.rs (target/c)\n\
                 test result: ok. 1 passed; 0 failed; 0 ignored\n";
    let outcome = Outcome::from_cargo_test("rust", false, crash.to_owned());
    assert_eq!(
        outcome.failed,
        ["unittests src/main.rs (target/b) ended without a result"]
    );
    assert_eq!(outcome.passed, 1);
}

#[test]
fn a_build_that_fails_has_failed_as_a_whole() {
    let outcome = Outcome::from_cargo_test("rust", false, "error[E0308]: mismatched types".to_owned());
    assert_eq!(outcome.failed, ["rust"]);
}

#[test]
fn a_run_without_tests_proves_nothing() {
    assert_eq!(
        Outcome::from_cargo_test("rust", true, String::new()).failed,
        ["rust"]
    );
    assert_eq!(
        Outcome::from_go_test("go", true, "no test files".to_owned()).failed,
        ["go"]
    );
}

#[test]
fn tests_of_go_count_one_by_one() {
    let text = "=== RUN   TestA\n    --- PASS: TestA/one (0.00s)\n--- PASS: TestA (0.00s)\n--- FAIL: TestB (0.10s)\n\
                --- SKIP: TestC (0.00s)\nFAIL\n";
    let outcome = Outcome::from_go_test("go", false, text.to_owned());
    assert_eq!((outcome.passed, outcome.failed), (1, vec!["TestB".to_owned()]));
    assert_eq!(outcome.skipped.len(), 1);
}
