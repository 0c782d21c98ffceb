//! What is said where a card cannot be used, or fails.

use std::process::Command;
use std::sync::Arc;

use cocoon_api::agent::GpuFault;
use gpu_agent::backend::cuda::device::Device;
use gpu_agent::backend::cuda::error::OpenError;
use gpu_agent::backend::cuda::ops::CudaOps;
use gpu_agent::backend::{Backend, DeviceFault, ForwardError, Sampling};
use gpu_agent::engine::{Engine, EngineFault, Event, Failure, GenerationRequest, Health, Options};
use gpu_agent::model::architectures;
use gpu_agent::model::decoder::Loaded;
use gpu_agent::model::tokenizer::Tokenizer;

use crate::machine::machine;
use crate::skip::skip;
use crate::{budget, decoder, generate, model, serve, support, tiny};

#[test]
fn a_card_whose_memory_another_process_holds_says_how_much() {
    machine!("a_card_whose_memory_another_process_holds_says_how_much")
        .cards("rtx-3090:memory=64MiB")
        .run(|| {
            let folder = tempfile::tempdir().expect("a folder");
            let file = tiny::model(&folder, 0);
            let card = Device::open(0).expect("a card");
            let held = card.allocate(62 << 20, "a test").expect("memory");
            let said = serve(&file, &["--context-length", "64", "--max-sequences", "1"]);
            for words in [
                "error: GpuMemoryTaken: the model does not fit the memory",
                "MiB free of 64.0 MiB, since other processes hold 62.0 MiB of it",
            ] {
                assert!(said.contains(words), "{words}: {said}");
            }
            drop(held);
        });
}

#[test]
fn an_agent_whose_card_breaks_while_it_starts_says_how() {
    for (broken, word) in [
        ("ecc-after=9", "DeviceEccError"),
        ("lost-after=9", "DeviceLost"),
        ("cc=5.2", "GpuTooOld"),
    ] {
        machine!("an_agent_whose_card_breaks_while_it_starts_says_how")
            .cards(&format!("p104-100:{broken}"))
            .set("GPU_AGENT_TEST_WORD", word)
            .run(|| {
                let folder = tempfile::tempdir().expect("a folder");
                let said = serve(&tiny::model(&folder, 0), &["--context-length", "64"]);
                let word = std::env::var("GPU_AGENT_TEST_WORD").expect("a word");
                let fault = GpuFault::of_last_words(&said).map(GpuFault::word);
                assert_eq!(fault, Some(word.as_str()), "{said}");
            });
    }
}

#[test]
fn a_card_that_computes_wrongly_serves_nobody_and_its_kernel_is_named() {
    machine!("a_card_that_computes_wrongly_serves_nobody_and_its_kernel_is_named")
        .cards("rtx-3090:skips=norm_add")
        .run(|| {
            let folder = tempfile::tempdir().expect("a folder");
            let said = serve(&tiny::model(&folder, 0), &["--context-length", "64"]);
            let begins =
                "error: KernelWrong: kernel norm_add of rows.sm_61 is wrong on NVIDIA GeForce RTX 3090";
            assert!(said.contains(begins), "{said}");
        });
}

#[test]
fn a_broken_card_leaves_the_others_at_work() {
    machine!("a_broken_card_leaves_the_others_at_work")
        .cards("rtx-3090:lost-after=0, rtx-4090, p104-100:cc=5.2")
        .run(|| {
            let (cards, refused) = CudaOps::open_all().expect("one card");
            let labels: Vec<&str> = cards.iter().map(CudaOps::label).collect();
            assert_eq!(labels, ["GPU 1 (NVIDIA GeForce RTX 4090, 0000:02:00.0)"]);
            let faults: Vec<GpuFault> = refused.iter().map(OpenError::fault).collect();
            assert_eq!(faults, [GpuFault::DeviceLost, GpuFault::GpuTooOld]);
            let folder = tempfile::tempdir().expect("a folder");
            let said = serve(&tiny::model(&folder, 0), &["--context-length", "64"]);
            assert!(said.contains("a GPU is left out"), "{said}");
            assert!(said.contains("model loaded"), "{said}");
        });
}

#[test]
fn a_model_that_the_others_do_not_hold_is_the_broken_cards_fault() {
    machine!("a_model_that_the_others_do_not_hold_is_the_broken_cards_fault")
        .cards("rtx-3090:memory=11MiB, rtx-3090:memory=11MiB:lost-after=0")
        .run(|| {
            let folder = tempfile::tempdir().expect("a folder");
            let file = tiny::model_of(&folder, 0, 24);
            let said = serve(&file, &["--context-length", "64", "--max-sequences", "1"]);
            assert_eq!(
                GpuFault::of_last_words(&said),
                Some(GpuFault::DeviceLost),
                "{said}"
            );
        });
}

#[test]
fn cards_that_stay_idle_are_named() {
    machine!("cards_that_stay_idle_are_named")
        .cards("rtx-3090, rtx-3090:memory=1MiB")
        .set("CUDA_VISIBLE_DEVICES", "0,1,7")
        .run(|| {
            let folder = tempfile::tempdir().expect("a folder");
            let said = serve(&tiny::model(&folder, 0), &["--context-length", "64"]);
            assert!(said.contains("names more GPUs than are visible"), "{said}");
            assert!(said.contains("model loaded"), "{said}");
            // Either it has no room for a measurement, or none for the model.
            let named = said.contains("a GPU is left out") || said.contains("a GPU is left idle");
            assert!(named, "{said}");
        });
}

#[test]
fn a_card_that_is_lost_while_idle_is_noticed() {
    let folder = tempfile::tempdir().expect("a folder");
    let mark = folder.path().join("lost");
    machine!("a_card_that_is_lost_while_idle_is_noticed")
        .cards(&format!("rtx-3090:lost-when={}", mark.display()))
        .set("GPU_AGENT_TEST_MARK", mark.to_str().expect("a plain path"))
        .run(|| {
            let mut backend = decoder(&model(0), CudaOps::open(0).expect("a card"));
            backend.check().expect("a card at work");
            let mark = std::env::var("GPU_AGENT_TEST_MARK").expect("a path");
            std::fs::write(mark, "").expect("writable");
            let error = backend.check().expect_err("a lost card");
            assert_eq!(error.fault, DeviceFault::Lost);
            let said = error.to_string();
            assert!(
                said.starts_with("GPU 0 (NVIDIA GeForce RTX 3090, 0000:01:00.0): "),
                "{said}"
            );
        });
}

#[test]
fn a_bound_of_the_cache_that_holds_no_context_is_told_before_anything_is_loaded() {
    machine!("a_bound_of_the_cache_that_holds_no_context_is_told_before_anything_is_loaded").run(|| {
        let folder = tempfile::tempdir().expect("a folder");
        let file = tiny::model(&folder, 0);
        let said = serve(&file, &["--context-length", "64", "--cache-bytes", "1000"]);
        for words in [
            "at most 1000 bytes of working memory and cache",
            "allow more with --cache-bytes",
        ] {
            assert!(said.contains(words), "{words}: {said}");
        }
        assert!(!said.contains("loading weights"), "{said}");
    });
}

#[test]
fn a_card_that_is_lost_hands_its_requests_back_and_the_other_goes_on() {
    machine!("a_card_that_is_lost_hands_its_requests_back_and_the_other_goes_on")
        .cards("rtx-3090, p104-100:lost-after=250")
        .run(|| {
            let file = model(0);
            let spec = architectures::read(&file).expect("a supported architecture");
            let cards = CudaOps::open_all().expect("two cards").0;
            let loaded = Loaded::load_replicas(&file, &spec, cards).expect("the model loads");
            let backends = loaded
                .into_iter()
                .map(|loaded| Box::new(loaded.reserve(budget()).expect("memory")) as Box<dyn Backend>)
                .collect();
            let tokenizer = Arc::new(Tokenizer::read(&file).expect("a tokenizer"));
            let options = Options {
                max_sequences: 2,
                prefix_cache: false,
            };
            let engine = Engine::start_all(backends, tokenizer, options).expect("threads start");
            let runtime = tokio::runtime::Builder::new_current_thread()
                .build()
                .expect("a runtime");
            let ends = runtime.block_on(async {
                let mut requests = Vec::new();
                for _ in 0..4 {
                    requests.push(engine.submit(request()).await.expect("the engine runs"));
                }
                let mut ends = Vec::new();
                for mut events in requests {
                    ends.push(last(&mut events).await);
                }
                let mut after = engine.submit(request()).await.expect("one card is left");
                assert!(matches!(last(&mut after).await, Event::Finished { .. }));
                ends
            });
            let lost = Event::Failed(Failure::Engine(EngineFault::Device(DeviceFault::Lost)));
            let handed_back = ends.iter().filter(|end| **end == lost).count();
            let finished = ends.iter().filter(|end| matches!(end, Event::Finished { .. }));
            assert_eq!((handed_back, finished.count()), (2, 2), "{ends:?}");
            assert_eq!(engine.health(), Health::Serving);
            let fault = Health::Failed(EngineFault::Device(DeviceFault::Lost));
            assert_eq!(engine.backends().collect::<Vec<_>>(), [Health::Serving, fault]);
        });
}

pub(crate) fn request() -> GenerationRequest {
    GenerationRequest {
        prompt: vec![1, 2, 3],
        max_tokens: 20,
        sampling: Sampling::GREEDY,
        stop: Vec::new(),
        ignore_eos: true,
    }
}

pub(crate) async fn last(events: &mut tokio::sync::mpsc::UnboundedReceiver<Event>) -> Event {
    let mut last = None;
    while let Some(event) = events.recv().await {
        last = Some(event);
    }
    last.expect("an event")
}

#[test]
fn a_machine_without_a_driver_says_so() {
    machine!("a_machine_without_a_driver_says_so")
        .without_driver()
        .run(|| {
            let Err(error) = CudaOps::open(0) else {
                // A real driver stands where the loader finds it without being told.
                skip("a_machine_without_a_driver_says_so", "this machine has a driver");
                return;
            };
            assert_eq!(error.to_string(), "no NVIDIA driver: libcuda.so.1 not found");
        });
}

/// What an agent says that finds these bytes as its driver.
fn serve_on_driver(driver: &[u8]) -> (String, std::path::PathBuf) {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("libcuda.so.1");
    std::fs::write(&file, driver).expect("writable");
    let output = Command::new(env!("CARGO_BIN_EXE_gpu-agent"))
        .args([
            "serve",
            "--backend",
            "CUDA",
            "--model-name",
            "demo",
            "--model",
            "-",
        ])
        .args([
            "--model-sha256",
            &"00".repeat(32),
            "--client-ca",
            "-",
            "--token",
            "-",
        ])
        .env("LD_LIBRARY_PATH", folder.path())
        .output()
        .expect("the agent starts");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(69), "{said}");
    (said, file)
}

#[test]
fn a_driver_that_is_there_and_cannot_be_loaded_is_not_missing() {
    let executable = std::fs::read(env!("CARGO_BIN_EXE_gpu-agent")).expect("readable");
    let mut foreign = executable[..4096].to_vec();
    // e_machine: RISC-V.
    foreign[18] = 243;
    for (driver, why) in [
        (
            &b"a text, which is longer than the header of a library: no driver at all"[..],
            "invalid ELF header",
        ),
        (&executable[..40], "file too short"),
        (&foreign, "it is for another architecture"),
    ] {
        let (said, file) = serve_on_driver(driver);
        if said.contains("error: NoVisibleGpu") || said.contains("cannot read model file") {
            // The loader goes on to a real driver behind it.
            skip(
                "a_driver_that_is_there_and_cannot_be_loaded_is_not_missing",
                "this machine has a driver",
            );
            return;
        }
        let begins = format!(
            "error: DriverFailed: the NVIDIA driver was found and could not be loaded: {}: ",
            file.display()
        );
        assert!(said.contains(&begins) && said.contains(why), "{why}: {said}");
    }
}

#[test]
fn an_agent_that_is_to_serve_on_a_card_says_why_it_cannot_and_exits_with_a_status_of_its_own() {
    let digest = support::golden().file_sha256;
    let output = Command::new(env!("CARGO_BIN_EXE_gpu-agent"))
        .args(["serve", "--backend", "CUDA", "--model-name", "demo", "--model"])
        .arg(support::model_path())
        .args(["--model-sha256", &digest, "--client-ca", "-", "--token", "-"])
        .env("CUDA_VISIBLE_DEVICES", "")
        .output()
        .expect("the agent starts");
    let said = String::from_utf8_lossy(&output.stderr);
    // Without a driver it is missing; with one, no card is visible.
    assert!(
        said.contains("error: NoDriver: no NVIDIA driver: libcuda.so.1 not found")
            || said.contains("error: NoVisibleGpu: there is no GPU 0"),
        "{said}"
    );
    assert_eq!(output.status.code(), Some(69), "{said}");
}

#[test]
fn a_card_that_is_not_visible_is_named() {
    // None, the one that there is, one beyond it, and no number.
    for visible in ["", "0", "7", "first"] {
        machine!("a_card_that_is_not_visible_is_named")
            .set("CUDA_VISIBLE_DEVICES", visible)
            .run(|| {
                let visible = std::env::var("CUDA_VISIBLE_DEVICES").expect("it is set");
                let first_hidden = usize::from(visible == "0");
                let error = CudaOps::open(first_hidden).err().expect("no such card");
                assert!(matches!(error, OpenError::NoDevice { .. }), "{error}");
                let named = if visible.is_empty() {
                    "CUDA_VISIBLE_DEVICES is empty"
                } else {
                    &*visible
                };
                assert!(error.to_string().contains(named), "{error}");
            });
    }
}

#[test]
fn a_card_that_is_too_old_is_named() {
    machine!("a_card_that_is_too_old_is_named")
        .cards("p104-100:cc=5.2")
        .run(|| {
            let error = CudaOps::open(0).err().expect("too old");
            assert!(
                error
                    .to_string()
                    .contains("compute capability 5.2, and 6.1 is needed"),
                "{error}"
            );
        });
}

#[test]
fn a_card_that_falls_off_its_bus_is_lost() {
    machine!("a_card_that_falls_off_its_bus_is_lost")
        .cards("rtx-3090:lost-after=40")
        .run(|| {
            let file = model(0);
            let mut backend = decoder(&file, CudaOps::open(0).expect("a card"));
            let error = loop {
                if let Err(error) = generate(&mut backend) {
                    break error;
                }
            };
            let ForwardError::Device(error) = error else {
                panic!("{error}");
            };
            assert_eq!(error.fault, DeviceFault::Lost, "{error}");
        });
}
