use std::path::Path;

use super::*;

#[test]
fn ptx_is_kept_without_what_means_nothing() {
    let ptx = "// by a compiler\n.version 8.0\n.global .b8 _ZN2nv6targetE = 1;\n\tadd.rn.f32 \t%f1, %f2, %f3; // why\n\n}";
    let expected = "// Written by `cargo xtask kernels`.\n.version 8.0\nadd.rn.f32 %f1, %f2, %f3;\n}\n";
    assert_eq!(rules::tidy(ptx), expected);
}

#[test]
fn operations_that_may_round_otherwise_are_refused() {
    for bad in [
        "fma.rn.f32 %f1, %f2, %f3, %f4;",
        "mul.f32 %f1, %f2, %f3;",
        "@%p1 add.f32 %f1, %f2, %f3;",
        "ex2.approx.f32 %f1, %f2;",
        "add.rn.ftz.f32 %f1, %f2, %f3;",
        "ld.local.u32 %r1, [%rd1];",
    ] {
        assert!(rules::check(bad).is_err(), "{bad}");
    }
    for good in [
        "mul.rn.f32 %f1, %f2, %f3;",
        "max.f32 %f1, %f2, %f3;",
        ".extern .shared .align 16 .b8 dynamic_shared[];",
    ] {
        rules::check(good).unwrap();
    }
}

#[test]
fn changed_missing_and_leftover_files_are_found() {
    let folder = tempfile::tempdir().unwrap();
    let wanted: Compiled = [("same", "a"), ("changed", "b"), ("missing", "c")]
        .map(|(name, text)| (name.into(), text.to_owned()))
        .into();
    for (name, text) in [("same", "a"), ("changed", "x"), ("left", "y")] {
        fs::write(folder.path().join(name), text).unwrap();
    }
    let found = drift(folder.path(), &wanted).unwrap();
    assert_eq!(found, ["changed", "left", "missing"].map(Path::new));
}

#[test]
fn modules_have_different_names() {
    let names: std::collections::BTreeSet<String> = modules::all().iter().map(Module::name).collect();
    assert_eq!(names.len(), modules::all().len());
}
