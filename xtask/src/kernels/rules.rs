//! What the PTX must not hold, and how much of the compiler's text is kept.

use anyhow::{Result, ensure};

/// Parts of instructions that break a promise of docs/arithmetic.md or cost memory traffic, and why.
const FORBIDDEN: [(&str, &str); 8] = [
    (
        "fma.",
        "a fused multiply-add rounds once where the arithmetic rounds twice",
    ),
    (".approx", "an approximate operation differs from card to card"),
    (".ftz", "small numbers must not become zero"),
    (".full.f32", "an approximate division"),
    (".f64", "many cards compute doubles at a 64th of the rate"),
    (
        ".local",
        "registers spill to memory, or an array is indexed by a variable",
    ),
    (".extern .func", "a function that nothing defines"),
    ("trap", "a kernel has no way to say why it ends"),
];

/// Float operations that are exact or rounded to nearest only if they say so: without `.rn` the driver's compiler may
/// fuse them (PTX ISA, "Floating Point Instructions: mul").
const NEED_ROUNDING: [&str; 5] = ["add.f32", "sub.f32", "mul.f32", "div.f32", "sqrt.f32"];

/// The compiler's text without comments, indentation and the constants of a header that nothing here uses.
pub(super) fn tidy(ptx: &str) -> String {
    let mut tidy = String::from("// Written by `cargo xtask kernels`.\n");
    for line in ptx.lines() {
        let code = line.split_once("//").map_or(line, |(code, _)| code);
        let words: Vec<&str> = code.split_whitespace().collect();
        if words.is_empty() || words.iter().any(|word| word.contains("nv6target")) {
            continue;
        }
        tidy.push_str(&words.join(" "));
        tidy.push('\n');
    }
    tidy
}

/// Refuses PTX that breaks a rule.
pub(super) fn check(ptx: &str) -> Result<()> {
    // `.extern .shared` is dynamic shared memory.
    for line in ptx.lines() {
        for (part, why) in FORBIDDEN {
            ensure!(!line.contains(part), "`{line}`: {why}");
        }
        for operation in NEED_ROUNDING {
            ensure!(
                !line.split(' ').any(|word| word == operation),
                "`{line}`: an operation that the driver may fuse with its neighbour"
            );
        }
    }
    Ok(())
}
