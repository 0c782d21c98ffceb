//! `backend: CUDA`: the agent's image as it is, on software GPUs that a container gets as it would get NVIDIA's.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result, ensure};
use cocoon_api::{
    agent::{GPU_EXIT_STATUS, GpuFault},
    conditions::{self, AgentsAvailable, Reason as _},
    crd::{CocoonProvider, InferenceJob, provider::Backend},
};
use e2e::{
    answers::Answers,
    container::Process,
    farm::{CHANNEL, Farm, MODEL, Offer, PROVIDER},
    gpu::{Memory, Pulled},
    wait::{self, SOFTWARE_GPU_LIMIT},
};
use k8s_openapi::api::core::v1::Pod;
use kube::{
    ResourceExt as _,
    api::{LogParams, PostParams},
};
use serde_json::{Value, json};

use super::{on_stack, receipts::assert_all_paid};

/// So short that a software GPU answers within seconds: it takes about a second of one core for each token.
const SHORT_TOKENS: u32 = 4;
const SHORT_PROMPTS: [&str; 2] = ["Water boils at", "Once upon a time"];
/// So many and so long that some are answered before the GPU is pulled, and some are not: one takes the GPU longer than
/// the status takes to show it.
const LONG_PROMPTS: [&str; 6] = ["One", "Two", "Three", "Four", "Five", "Six"];
const LONG_TOKENS: u32 = 16;
/// MiB of a GPU that holds half of the layers, with their keys and values and working memory; all of them take 150.
const HALF_THE_MODEL_MIB: u64 = 128;

fn on_cuda(farm: &Farm<'_>) -> Offer {
    Offer {
        backend: Backend::CUDA,
        ..Offer::of(farm.stack)
    }
}

/// A job with answers of so many tokens, so many requests at once.
async fn submit(
    farm: &Farm<'_>,
    name: &str,
    prompts: &[&str],
    tokens: u32,
    parallelism: u32,
) -> Result<InferenceJob> {
    let inline: Vec<Value> = prompts.iter().map(|prompt| json!({"prompt": prompt})).collect();
    farm.create(&json!({
        "apiVersion": "cocoon.farm/v1alpha1", "kind": "InferenceJob", "metadata": {"name": name},
        "spec": {
            "model": MODEL,
            "endpoint": "/v1/completions",
            "input": {"inline": inline},
            "parameters": {"maxTokens": tokens, "temperature": 0},
            "parallelism": parallelism,
            "billing": {"mode": "Channel", "channelRef": {"name": CHANNEL}, "maxNano": 200_000_000},
        },
    }))
    .await
}

fn is_on_cuda(agent: &Pod) -> bool {
    let containers = agent.spec.iter().flat_map(|spec| &spec.containers);
    let mut arguments = containers.flat_map(|container| container.args.iter().flatten());
    arguments.any(|argument| argument == "cuda")
}

/// Waits until all agents, so many, compute on GPUs and serve.
async fn agents_on_cuda(farm: &Farm<'_>, wanted: usize) -> Result<Vec<Pod>> {
    let serves = |agent: &Pod| {
        let status = agent.status.as_ref();
        let conditions = status.and_then(|status| status.conditions.as_ref());
        conditions.is_some_and(|conditions| {
            conditions
                .iter()
                .any(|condition| condition.type_ == "Ready" && condition.status == "True")
        })
    };
    wait::within(SOFTWARE_GPU_LIMIT, "the agents serve on CUDA", || async {
        let agents = farm.agents().await?;
        let all = agents.len() == wanted && agents.iter().all(|agent| is_on_cuda(agent) && serves(agent));
        Ok(all.then_some(agents))
    })
    .await
}

#[test]
fn a_job_on_cuda_has_the_answers_and_the_bill_of_the_cpu() -> Result<()> {
    on_stack("cuda", |stack, namespace| async move {
        let farm = Farm::start(&stack, &namespace, &Offer::kept(&stack)).await?;
        farm.open_channel("1", "0.9").await?;
        submit(&farm, "on-cpu", &SHORT_PROMPTS, SHORT_TOKENS, 2).await?;
        let on_cpu = farm.wait_for("on-cpu", "Settled").await?;

        farm.patch::<CocoonProvider>(PROVIDER, &json!({"spec": {"backend": Backend::CUDA}}))
            .await?;
        let agents = agents_on_cuda(&farm, 1).await?;
        submit(&farm, "on-cuda", &SHORT_PROMPTS, SHORT_TOKENS, 2).await?;
        let on_cuda = farm
            .wait_for_within(SOFTWARE_GPU_LIMIT, "on-cuda", "Settled")
            .await?;

        let assignments = on_cuda.status.clone().unwrap_or_default().assignments;
        ensure!(
            assignments.len() == 1 && Some(&assignments[0].pod_uid) == agents[0].uid().as_ref(),
            "the agent on CUDA did the job: {assignments:?}"
        );
        let environment = Process::of(&agents[0], "gpu-agent")?.environment()?;
        let visible = |name: &str| environment.get(name).cloned().unwrap_or_default();
        ensure!(
            visible("CUDA_VISIBLE_DEVICES").starts_with("GPU-")
                && visible("CUDA_VISIBLE_DEVICES") == visible("NVIDIA_VISIBLE_DEVICES"),
            "the driver shows the container what it was given: {environment:?}"
        );
        Answers::of(&farm, &on_cuda)
            .await?
            .ensure_equal(&Answers::of(&farm, &on_cpu).await?)?;
        let requests = SHORT_PROMPTS.len();
        assert_all_paid(&farm, &[(&on_cpu, requests), (&on_cuda, requests)]).await
    })
}

#[test]
fn the_same_image_without_a_gpu_finds_no_driver() -> Result<()> {
    on_stack("cuda-no-gpu", |stack, namespace| async move {
        let farm = Farm::start(&stack, &namespace, &Offer::of(&stack)).await?;
        let description = &stack.description;
        let digest = &description.model_sha256;
        let pod: Pod = serde_json::from_value(json!({
            "metadata": {"name": "without"},
            "spec": {
                "restartPolicy": "Never",
                "nodeSelector": {"nvidia.com/gpu.present": "true"},
                "tolerations": [{"operator": "Exists"}],
                "containers": [{
                    "name": "agent", "image": description.agent_image, "imagePullPolicy": "IfNotPresent",
                    "args": ["serve", "--backend", "cuda", "--model", "/model.gguf", "--model-sha256", digest,
                             "--model-name", MODEL, "--client-ca", "-", "--token", "-"],
                    "terminationMessagePolicy": "FallbackToLogsOnError",
                    "volumeMounts": [{"name": "model", "mountPath": "/model.gguf", "readOnly": true}],
                }],
                "volumes": [{"name": "model", "hostPath": {"path": description.model_path, "type": "File"}}],
            },
        }))?;
        let pods = farm.api::<Pod>();
        pods.create(&PostParams::default(), &pod).await?;
        let has_ended = |pod: &Pod| ended(pod).is_some();
        let pod = wait::object(&pods, "without", "the agent has ended", has_ended).await?;
        let (status, words) = ended(&pod).context("it has ended")?;
        ensure!(
            status == GPU_EXIT_STATUS && GpuFault::of_last_words(&words) == Some(GpuFault::NoDriver),
            "status {status}: {words}"
        );
        ensure!(
            words.contains("no NVIDIA driver: libcuda.so.1 not found"),
            "{words}"
        );
        Ok(())
    })
}

/// Exit status and last words of a pod's container.
fn ended(pod: &Pod) -> Option<(i32, String)> {
    let container = pod.status.as_ref()?.container_statuses.as_ref()?.first()?;
    let ended = container.state.as_ref()?.terminated.as_ref()?;
    Some((ended.exit_code, ended.message.clone().unwrap_or_default()))
}

#[test]
fn a_model_that_only_two_gpus_hold_together_serves_a_paid_job_with_the_answers_of_the_cpu() -> Result<()> {
    on_stack("cuda-pipeline", |stack, namespace| async move {
        let farm = Farm::start(&stack, &namespace, &Offer::kept(&stack)).await?;
        farm.open_channel("1", "0.9").await?;
        submit(&farm, "on-cpu", &SHORT_PROMPTS, SHORT_TOKENS, 2).await?;
        let on_cpu = farm.wait_for("on-cpu", "Settled").await?;

        let _small = Memory::of_every_gpu(&stack, HALF_THE_MODEL_MIB)?;
        let offer = Offer {
            gpus_per_replica: 2,
            min_replicas: 1,
            ..on_cuda(&farm)
        };
        let spec = &farm.provider(&offer)["spec"];
        farm.patch::<CocoonProvider>(PROVIDER, &json!({"spec": spec}))
            .await?;
        let agents = agents_on_cuda(&farm, 1).await?;
        submit(&farm, "on-two", &SHORT_PROMPTS, SHORT_TOKENS, 2).await?;
        let on_two = farm
            .wait_for_within(SOFTWARE_GPU_LIMIT, "on-two", "Settled")
            .await?;

        let said = farm
            .api::<Pod>()
            .logs(&agents[0].name_any(), &LogParams::default())
            .await
            .context("could not read the agent's log")?;
        for words in ["GPU 0 (", "GPU 1 (", "\"spread\":\"Layers\""] {
            ensure!(said.contains(words), "the layers lie on both GPUs: {said}");
        }
        Answers::of(&farm, &on_two)
            .await?
            .ensure_equal(&Answers::of(&farm, &on_cpu).await?)?;
        let requests = SHORT_PROMPTS.len();
        assert_all_paid(&farm, &[(&on_cpu, requests), (&on_two, requests)]).await
    })
}

#[test]
fn no_gpu_is_given_twice() -> Result<()> {
    on_stack("cuda-once", |stack, namespace| async move {
        let farm = Farm::start(&stack, &namespace, &Offer::of(&stack)).await?;
        let free = |provider: &CocoonProvider| provider.status.as_ref().map_or(0, |status| status.gpus.free);
        let providers = farm.api::<CocoonProvider>();
        let provider = wait::object(&providers, PROVIDER, "GPUs are free", |provider| {
            free(provider) > 0
        })
        .await?;
        let free = free(&provider);
        // One more than there is room for.
        let offer = Offer {
            min_replicas: free + 1,
            max_replicas: free + 1,
            ..Offer::of(&stack)
        };
        let spec = &farm.provider(&offer)["spec"];
        farm.patch::<CocoonProvider>(PROVIDER, &json!({"spec": spec}))
            .await?;
        let waits = |provider: &CocoonProvider| {
            provider.status.as_ref().is_some_and(|status| {
                let available = conditions::find(&status.conditions, AgentsAvailable::TYPE);
                status.models[0].ready == free
                    && available.is_some_and(|available| available.reason == "InsufficientGPU")
            })
        };
        let what = format!("{free} agents serve and one waits for a GPU");
        wait::object(&providers, PROVIDER, &what, waits).await?;

        let mut given = BTreeSet::new();
        for agent in farm.agents().await? {
            let node = agent.spec.as_ref().and_then(|spec| spec.node_name.clone());
            let Some(node) = node else { continue };
            let process = Process::of(&agent, "gpu-agent")?;
            let visible = process.environment()?.remove("CUDA_VISIBLE_DEVICES");
            let visible = visible.with_context(|| format!("agent {} was given no GPU", agent.name_any()))?;
            ensure!(
                given.insert(visible.clone()) && given.insert(format!("{node} {}", process.gpu_index()?)),
                "{visible} of {node} was given twice"
            );
        }
        ensure!(
            given.len() == 2 * usize::try_from(free)?,
            "{free} GPUs: {given:?}"
        );
        Ok(())
    })
}

#[test]
fn a_gpu_pulled_in_the_middle_of_a_job_leaves_and_the_rest_is_done_elsewhere_and_billed_once() -> Result<()> {
    on_stack("cuda-pulled", |stack, namespace| async move {
        let farm = Farm::start(&stack, &namespace, &Offer::of(&stack)).await?;
        let offer = Offer {
            min_replicas: 2,
            max_replicas: 2,
            ..on_cuda(&farm)
        };
        let spec = &farm.provider(&offer)["spec"];
        farm.patch::<CocoonProvider>(PROVIDER, &json!({"spec": spec}))
            .await?;
        farm.open_channel("1", "0.9").await?;
        let agents = agents_on_cuda(&farm, 2).await?;

        submit(&farm, "interrupted", &LONG_PROMPTS, LONG_TOKENS, 1).await?;
        let job = farm.wait_for_the_middle_of("interrupted").await?;
        let first = job.status.unwrap_or_default().assignments.remove(0);
        let agent = agents
            .iter()
            .find(|agent| agent.uid().as_ref() == Some(&first.pod_uid));
        let agent = agent.context("the agent that works on the job")?;
        let pulled = Pulled::of(&stack, agent).await?;
        pulled.wait_for_allocatable(&stack, pulled.before - 1).await?;

        let job = farm
            .wait_for_within(SOFTWARE_GPU_LIMIT, "interrupted", "Settled")
            .await?;
        let last = job.status.clone().unwrap_or_default().assignments;
        ensure!(
            last.iter().any(|assignment| assignment.pod_uid != first.pod_uid),
            "the rest was done elsewhere: {last:?}"
        );
        assert_all_paid(&farm, &[(&job, LONG_PROMPTS.len())]).await?;

        // The kubelet starts it again, on the same GPU, once its probe has failed for a minute; sooner where it has not
        // done so yet. Then another pod takes its place, on a healthy GPU.
        if let Ok(process) = Process::of(agent, "gpu-agent") {
            process.kill()?;
        }
        let what = "another agent serves in the place of the one that lost its GPU";
        wait::within(SOFTWARE_GPU_LIMIT, what, || async {
            let serving = agents_on_cuda(&farm, 2).await?;
            let is_lost = |agent: &Pod| agent.uid().as_ref() == Some(&first.pod_uid);
            Ok((!serving.iter().any(is_lost)).then_some(()))
        })
        .await?;
        assert_all_paid(&farm, &[(&job, LONG_PROMPTS.len())]).await?;
        pulled.put_back(&stack).await
    })
}
