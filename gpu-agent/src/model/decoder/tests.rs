use super::*;
use crate::{
    backend::{Backend, Batch, Budget, ForwardError, ReserveError, SampleSpec, cpu::CpuOps},
    model::{architectures, tiny},
};

fn load(architecture: &str, change: tiny::Change) -> Loaded<CpuOps> {
    let file = tiny::file(architecture, change);
    let spec = architectures::read(&file).expect("a shape");
    Loaded::load(&file, spec, tiny::ops()).expect("weights")
}

/// Logits of the last of some tokens.
fn logits(backend: &mut dyn Backend, tokens: &[u32]) -> Vec<f32> {
    let mut batch = Batch::new(backend.limits().block_tokens);
    let row = batch.push(tokens, 0, &[1, 0, 2]);
    batch.want(row + tokens.len() - 1);
    backend.logits(&batch).expect("finite").row(0).to_vec()
}

const TOKENS: [u32; 20] = [
    5, 9, 1, 44, 23, 7, 7, 8, 2, 31, 0, 19, 54, 3, 60, 11, 12, 13, 40, 41,
];

#[test]
fn layers_on_three_devices_compute_what_they_do_on_one() {
    for architecture in ["llama", "qwen2", "qwen3"] {
        let file = tiny::file(architecture, |_, _| {});
        let spec = architectures::read(&file).expect("a shape");
        let whole = Loaded::load(&file, spec.clone(), tiny::ops()).expect("weights");
        let devices = vec![(tiny::ops(), 1), (tiny::ops(), 0), (tiny::ops(), 2)];
        let split = Loaded::load_split(&file, spec, devices).expect("weights");
        let [mut whole, mut split] =
            [whole, split].map(|loaded| loaded.reserve(tiny::budget(32, 4)).expect("memory"));
        assert_eq!(
            logits(&mut whole, &TOKENS),
            logits(&mut split, &TOKENS),
            "{architecture}"
        );
        assert_eq!(split.describe().matches("1 threads").count(), 3);
    }
}

#[test]
fn a_tied_output_on_another_device_than_the_embedding_has_its_own_copy() {
    let (mut whole, mut split) = {
        let file = tiny::file_without("output.weight");
        let spec = architectures::read(&file).expect("a shape");
        let whole = Loaded::load(&file, spec.clone(), tiny::ops()).expect("weights");
        let devices = vec![(tiny::ops(), 2), (tiny::ops(), 1)];
        let split = Loaded::load_split(&file, spec, devices).expect("weights");
        (
            whole.reserve(tiny::budget(32, 4)).expect("memory"),
            split.reserve(tiny::budget(32, 4)).expect("memory"),
        )
    };
    assert_eq!(logits(&mut whole, &TOKENS), logits(&mut split, &TOKENS));
}

#[test]
fn biases_and_norms_of_heads_are_part_of_what_is_computed() {
    let shifted: tiny::Change = |name, values| {
        if name.contains("attn_q.bias") || name.contains("attn_q_norm") {
            for value in values {
                *value += 0.5;
            }
        }
    };
    for architecture in ["qwen2", "qwen3"] {
        let [plain, shifted] = [|_: &str, _: &mut [f32]| {}, shifted].map(|change| {
            let mut backend = load(architecture, change)
                .reserve(tiny::budget(32, 4))
                .expect("memory");
            logits(&mut backend, &TOKENS)
        });
        assert_ne!(plain, shifted, "{architecture}");
    }
}

#[test]
fn weights_that_are_no_numbers_are_refused_by_name() {
    let changes: [tiny::Change; 2] = [
        |name, values| {
            if name == "blk.1.ffn_up.weight" {
                values[70] = f32::NAN;
            }
        },
        |name, values| {
            if name == "blk.1.ffn_norm.weight" {
                values[3] = f32::NEG_INFINITY;
            }
        },
    ];
    for (change, tensor) in changes
        .into_iter()
        .zip(["blk.1.ffn_up.weight", "blk.1.ffn_norm.weight"])
    {
        let file = tiny::file("llama", change);
        let spec = architectures::read(&file).expect("a shape");
        let error = Loaded::load(&file, spec, tiny::ops())
            .err()
            .expect("must be refused");
        let LoadError::Model(error) = error else {
            panic!("{error}")
        };
        let cause = std::error::Error::source(&error).expect("a cause").to_string();
        assert!(cause.contains(tensor) && cause.contains("not finite"), "{cause}");
    }
}

#[test]
fn rows_beyond_finite_numbers_are_named_and_no_others() {
    let mut backend = load("llama", tiny::overflow)
        .reserve(tiny::budget(32, 4))
        .expect("memory");
    let mut batch = Batch::new(16);
    batch.push(&[1, 2], 0, &[0]);
    batch.push(&[3, tiny::OVERFLOWING, 4], 0, &[1]);
    let row = batch.push(&[5], 0, &[2]);
    batch.want(row);
    let error = backend
        .step(&batch, &[SampleSpec::GREEDY])
        .expect_err("squares overflow");
    let ForwardError::Numbers(error) = error else {
        panic!("{error}")
    };
    assert!(
        error.rows.contains(&3) && error.rows.iter().all(|row| (2..5).contains(row)),
        "{error:?}"
    );
    batch.clear();
    let row = batch.push(&[5], 0, &[2]);
    batch.want(row);
    backend
        .step(&batch, &[SampleSpec::GREEDY])
        .expect("the device goes on");
}

#[test]
fn one_specification_is_asked_for_every_output() {
    let mut backend = load("llama", |_, _| {})
        .reserve(tiny::budget(32, 4))
        .expect("memory");
    let mut batch = Batch::new(16);
    let row = batch.push(&[1], 0, &[0]);
    batch.want(row);
    assert!(matches!(backend.step(&batch, &[]), Err(ForwardError::Batch(_))));
    batch.slots[0] = 3;
    let refused = backend.step(&batch, &[SampleSpec::GREEDY]);
    assert!(matches!(refused, Err(ForwardError::Batch(_))));
}

#[test]
fn a_budget_gives_what_fits_and_says_what_would() {
    let reserve = |bytes: u64, context: usize| {
        let budget = Budget {
            bytes,
            context,
            ..tiny::budget(32, 40)
        };
        load("llama", |_, _| {}).reserve(budget)
    };
    let ample = reserve(u64::MAX, 96).expect("memory");
    assert_eq!((ample.limits().blocks, ample.limits().context), (40, 96));
    let ReserveError::Budget {
        needed,
        smallest,
        fitting_context,
        ..
    } = reserve(0, 96).err().expect("nothing fits")
    else {
        panic!("another error")
    };
    assert_eq!(fitting_context, 0);
    let exact = reserve(needed, 96).expect("what was asked for");
    assert_eq!(exact.limits().blocks, 6);
    let error = reserve(needed - 1, 96).err().expect("one byte is missing");
    let ReserveError::Budget { fitting_context, .. } = error else {
        panic!("{error}")
    };
    assert_eq!(fitting_context, 80);
    assert_eq!(
        reserve(needed - 1, 80)
            .expect("what the error said")
            .limits()
            .context,
        80
    );
    assert_eq!(reserve(smallest, 16).expect("the smallest").limits().blocks, 1);
    assert!(reserve(smallest - 1, 16).is_err());
}
