//! `gpu-agent selftest` and `gpu-agent info`, on a driver in software.

#[path = "support/machine.rs"]
#[expect(dead_code, reason = "other tests use other parts of this module")]
mod machine;
#[path = "support/tiny.rs"]
mod tiny;

use std::process::{Command, Output};

use gpu_agent::backend::cuda::modules::{self, Dot};
use gpu_agent::backend::cuda::ops::CudaOps;
use gpu_agent::backend::cuda::selftest::{Check, Depth, MatrixShape, Shapes};
use gpu_agent::backend::ops::Activation;
use gpu_agent::weights::quants::TensorType;
use machine::machine;
use serde_json::Value;

/// Runs the agent where this process runs.
fn agent(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_gpu-agent"))
        .args(arguments)
        .output()
        .expect("the agent starts")
}

/// What it printed, where it succeeded.
#[track_caller]
fn json(output: &Output) -> Value {
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    serde_json::from_slice(&output.stdout).expect("one JSON object")
}

/// Kernels of the checks of a report, with their modules; all must have passed.
#[track_caller]
fn passed(report: &Value) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    let checks = report["checks"].as_array().expect("a list");
    checks
        .iter()
        .map(|check| {
            assert!(check["difference"].is_null(), "{check}");
            (text(&check["kernel"]), text(&check["module"]))
        })
        .collect()
}

#[test]
fn a_card_that_computes_as_it_should_passes_with_every_kernel_and_a_generation() {
    machine!("a_card_that_computes_as_it_should_passes_with_every_kernel_and_a_generation").run(|| {
        let folder = tempfile::tempdir().expect("a folder");
        let file = tiny::model(&folder, 0);
        let path = file.path().to_str().expect("a plain path");
        let report = json(&agent(&["selftest", "--model", path, "--json"]));
        let passed = passed(&report);
        for kernel in [
            "product_1",
            "product_2",
            "product_4",
            "product_8",
            "tensor",
            "norm_quantise",
            "norm_add",
            "gate_quantise",
            "rotate_store",
            "attend_chunk_1, attend_combine",
            "attend_rows",
            "sample",
            "embed_FIXED",
        ] {
            assert!(
                passed.iter().any(|(found, _)| found == kernel),
                "{kernel}: {passed:?}"
            );
        }
        for dot in ["dp4a", "dp2a", "mad"] {
            assert!(passed.iter().any(|(_, module)| module.contains(dot)), "{dot}");
        }
        let generation = &report["generation"];
        assert!(
            generation["skipped"].is_null() && generation["difference"].is_null(),
            "{generation}"
        );
        // A driver in software has no speed to speak of.
        assert!(report["speed"].is_null(), "{}", report["speed"]);
    });
}

#[test]
fn the_quick_part_checks_what_the_card_would_compute_with() {
    machine!("the_quick_part_checks_what_the_card_would_compute_with")
        .cards("cmp-50hx")
        .run(|| {
            let report = json(&agent(&["selftest", "--quick", "--json"]));
            let products = passed(&report)
                .into_iter()
                .filter(|(kernel, _)| kernel.starts_with("product"));
            let mut count = 0;
            for (kernel, module) in products {
                assert!(module.ends_with("-dp2a.sm_61"), "{kernel} of {module}");
                count += 1;
            }
            assert!(count >= TensorType::ALL.len(), "{count}");
            let output = agent(&["selftest", "--quick"]);
            let said = String::from_utf8_lossy(&output.stdout);
            assert!(
                said.contains("NVIDIA CMP 50HX") && said.contains("equal"),
                "{said}"
            );
        });
}

/// Shapes whose checks are few.
fn shapes() -> Shapes {
    Shapes {
        width: 64,
        hidden: 64,
        // More than a thread of the sampler's block has in one round of its unrolled loop.
        vocabulary: 5_000,
        matrices: vec![MatrixShape {
            kind: TensorType::Q8_0,
            columns: 64,
            rows: 40,
        }],
        table: TensorType::Q8_0,
        attentions: vec![],
        rotations: vec![],
        activation: Activation::Silu,
        soft_cap: None,
    }
}

/// Checks on a card whose module has this text in place of another.
fn checks_with(module: &str, from: &str, to: &str) -> Vec<Check> {
    let mut card = CudaOps::open(0).expect("a card");
    let text = modules::text(module).expect("a module");
    assert!(text.contains(from), "{module} has no {from}");
    card.device()
        .load_text(module, &text.replacen(from, to, 1))
        .expect("the driver takes it");
    card.selftest(&shapes(), Depth::Quick).expect("the card works")
}

#[test]
fn kernels_that_are_wrong_on_a_card_are_named_and_no_others() {
    machine!("kernels_that_are_wrong_on_a_card_are_named_and_no_others").run(|| {
        let product = Dot::Dp4a.module(gpu_agent::backend::cuda::layout::Format::Q8_0);
        for (module, from, to, kernel) in [
            (product.as_str(), "add.rn.f32", "sub.rn.f32", "product_"),
            (modules::ROWS, "sqrt.rn.f32", "abs.f32", "norm_"),
            // The mass of some tokens is half of what it is: right tokens with wrong log-probabilities.
            (modules::SAMPLING, "0f53800000", "0f53000000", "sample"),
        ] {
            let checks = checks_with(module, from, to);
            let wrong: Vec<&Check> = checks.iter().filter(|check| check.difference.is_some()).collect();
            assert!(!wrong.is_empty(), "{module}");
            for check in wrong {
                assert!(
                    check.module == module && check.kernel.starts_with(kernel),
                    "{check:?}"
                );
            }
        }
    });
}

#[test]
fn info_says_what_the_driver_says_and_what_was_measured() {
    machine!("info_says_what_the_driver_says_and_what_was_measured")
        .cards("rtx-3090:pcie=3x1, cmp-90hx, p104-100:cc=5.2")
        .run(|| {
            let report = json(&agent(&["info", "--json"]));
            let cards = report["cards"].as_array().expect("a list");
            assert_eq!(cards.len(), 2, "{report}");
            let (whole, mining) = (&cards[0], &cards[1]);
            assert_eq!(whole["name"], "NVIDIA GeForce RTX 3090");
            assert_eq!(whole["computeCapability"], "8.6");
            assert_eq!(whole["driverCuda"], "12.2");
            assert_eq!(whole["bus"], "0000:01:00.0");
            assert_eq!(whole["memoryBytes"], 24_u64 << 30);
            let rate = |card: &Value, name: &str| card["measured"][name].as_f64().expect("a rate");
            assert!((rate(whole, "link") / 0.985e9 - 1.0).abs() < 0.02, "{whole}");
            // The same capability, and other rates.
            assert_eq!(mining["computeCapability"], "8.6");
            assert!(rate(mining, "dp4a") < rate(whole, "dp4a") / 20.0, "{mining}");
            assert!(rate(mining, "mad") > rate(mining, "dp4a"), "{mining}");
            let speed = |card: &Value| {
                card["serves"][0]["tokensPerSecondOf8Billions"]
                    .as_f64()
                    .expect("it fits")
            };
            assert_eq!(whole["serves"][0]["bound"], "memory");
            assert!(speed(mining) < speed(whole), "{report}");
            assert!(
                whole["serves"]
                    .as_array()
                    .expect("a list")
                    .iter()
                    .all(|of| of["isEstimate"] == true)
            );
            let refused = report["refused"].as_array().expect("a list");
            assert!(refused[0].as_str().expect("a text").contains("5.2"), "{report}");
            let output = agent(&["info"]);
            let said = String::from_utf8_lossy(&output.stdout);
            assert!(
                said.contains("as an estimate") && said.contains("driver's CUDA"),
                "{said}"
            );
        });
}

#[test]
fn info_tells_of_healthy_cards_beside_a_broken_one() {
    machine!("info_tells_of_healthy_cards_beside_a_broken_one")
        .cards("rtx-3090:lost-after=0, p104-100")
        .run(|| {
            let report = json(&agent(&["info", "--json"]));
            let names: Vec<_> = report["cards"]
                .as_array()
                .expect("a list")
                .iter()
                .map(|card| &card["name"])
                .collect();
            assert_eq!(names, ["NVIDIA P104-100"]);
            let refused = report["refused"][0].as_str().expect("a text");
            assert!(
                refused.contains("GPU 0") && refused.contains("CUDA_ERROR_UNKNOWN"),
                "{refused}"
            );
        });
}

#[test]
fn without_a_driver_info_and_selftest_say_so_and_exit_with_a_status_of_their_own() {
    for command in ["info", "selftest"] {
        let output = Command::new(env!("CARGO_BIN_EXE_gpu-agent"))
            .arg(command)
            .env("CUDA_VISIBLE_DEVICES", "")
            .output()
            .expect("the agent starts");
        let said = String::from_utf8_lossy(&output.stderr);
        // Without a driver it is missing; with one, no card is visible.
        assert!(
            said.contains("no NVIDIA driver: libcuda.so.1 not found") || said.contains("there is no GPU 0"),
            "{said}"
        );
        assert_eq!(output.status.code(), Some(69), "{said}");
    }
}
