//! Nothing that leaves a process holds a byte of a prompt, an answer or a Secret: not logs, Events, metrics, statuses,
//! managed fields or core dumps, whatever goes wrong.

use std::net::SocketAddr;

use anyhow::{Context as _, Result, ensure};
use cocoon_api::{
    crd::{CocoonProvider, InferenceJob, PaymentChannel, Settlement},
    names::AGENT_HEALTH_PORT,
};
use e2e::{
    Kind,
    container::Process,
    farm::{CHANNEL, Farm, MODEL, Offer},
    stack::Stack,
};
use k8s_openapi::api::core::v1::{ConfigMap, Event, Pod, Secret};
use kube::{Api, ResourceExt as _, api::ListParams};
use serde_json::{Value, json};

use super::{on_stack, receipts::Delivered};

/// What nobody but the payer and the agent may say.
const CANARY: &str = "canaryzx81qv7";
/// Port on which the operator answers probes and metrics.
const OPERATOR_PORT: u16 = 8080;
/// Characters of an answer that are searched for: more than any word that is there by chance.
const ANSWER_CHARS: usize = 24;

/// A job whose input is somewhere else, or wrong.
fn job(name: &str, input: &Value) -> Value {
    json!({
        "apiVersion": "cocoon.farm/v1alpha1", "kind": "InferenceJob", "metadata": {"name": name},
        "spec": {"model": MODEL, "endpoint": "/v1/completions", "input": input,
                 "parameters": {"maxTokens": 16, "temperature": 0},
                 "billing": {"mode": "Channel", "channelRef": {"name": CHANNEL}, "maxNano": 100_000_000}},
    })
}

/// Everything that processes said, each with where it was said.
struct Said(Vec<(String, String)>);

impl Said {
    async fn of(farm: &Farm<'_>) -> Result<Self> {
        let mut said = Self(Vec::new());
        let stack = farm.stack;
        let operator = &stack.description.operator_namespace;
        for (namespace, program, port) in [
            (operator, "cocoon-operator", OPERATOR_PORT),
            (&farm.namespace, "gpu-agent", AGENT_HEALTH_PORT),
        ] {
            said.pods(stack, namespace, program, port).await?;
            let events: Api<Event> = Api::namespaced(stack.client.clone(), namespace);
            for event in events.list(&ListParams::default()).await?.items {
                said.add(
                    format!("event {}", event.name_any()),
                    serde_json::to_string(&event)?,
                );
            }
        }
        said.objects::<CocoonProvider>(farm).await?;
        said.objects::<PaymentChannel>(farm).await?;
        said.objects::<Settlement>(farm).await?;
        for job in farm
            .api::<InferenceJob>()
            .list(&ListParams::default())
            .await?
            .items
        {
            let name = job.name_any();
            said.add(
                format!("status of job {name}"),
                serde_json::to_string(&job.status)?,
            );
            let fields = serde_json::to_string(&job.metadata.managed_fields)?;
            said.add(format!("managed fields of job {name}"), fields);
        }
        for secret in farm.api::<Secret>().list(&ListParams::default()).await?.items {
            let metadata = serde_json::to_string(&secret.metadata)?;
            said.add(format!("metadata of Secret {}", secret.name_any()), metadata);
        }
        Ok(said)
    }

    fn add(&mut self, place: String, text: String) {
        self.0.push((place, text));
    }

    /// Logs, metrics and the objects of pods.
    async fn pods(&mut self, stack: &Stack, namespace: &str, program: &str, port: u16) -> Result<()> {
        let pods: Api<Pod> = Api::namespaced(stack.client.clone(), namespace);
        let pods = pods.list(&ListParams::default()).await?.items;
        ensure!(
            !pods.is_empty(),
            "no pods in {namespace}: nothing would be looked at"
        );
        for pod in pods {
            let name = pod.name_any();
            let logs = [
                "--namespace",
                namespace,
                "logs",
                &name,
                "--all-containers",
                "--tail=-1",
            ];
            let logs = stack.kubectl(&logs).await?;
            ensure!(
                !logs.is_empty(),
                "pod {name} logs nothing: nothing would be looked at"
            );
            self.add(format!("log of pod {name}"), logs);
            // From within: where policies are enforced, the API server's proxy does not come there.
            let ip = pod.status.as_ref().and_then(|status| status.pod_ip.as_deref());
            let ip = ip.with_context(|| format!("pod {name} has no address"))?;
            let metrics = Process::of(&pod, program)?.get(SocketAddr::new(ip.parse()?, port), "/metrics")?;
            ensure!(metrics.contains("# HELP"), "pod {name} has no metrics");
            self.add(format!("metrics of pod {name}"), metrics);
            self.add(format!("pod {name}"), serde_json::to_string(&pod)?);
        }
        Ok(())
    }

    async fn objects<K: Kind + serde::Serialize>(&mut self, farm: &Farm<'_>) -> Result<()> {
        for object in farm.api::<K>().list(&ListParams::default()).await?.items {
            let place = format!("{} {}", K::kind(&()), object.name_any());
            self.add(place, serde_json::to_string(&object)?);
        }
        Ok(())
    }

    /// None of it holds this.
    fn holds_no(&self, word: &str) -> Result<()> {
        for (place, text) in &self.0 {
            ensure!(!text.contains(word), "{place} holds {word:?}");
        }
        Ok(())
    }
}

/// Inputs that cannot be read, each with the canary in it.
async fn submit_unreadable(farm: &Farm<'_>) -> Result<()> {
    let broken = format!("{{\"body\":{{\"prompt\":\"x\"}}}}\n{{\"{CANARY}\": 1}}\n");
    let map = json!({"metadata": {"name": "broken"}, "data": {"jobs": broken}});
    farm.create::<ConfigMap>(&map).await?;
    farm.create::<InferenceJob>(&job(
        "broken",
        &json!({"configMapRef": {"name": "broken", "key": "jobs"}}),
    ))
    .await?;
    // A key like a wallet's: whoever may make jobs must not read it by way of an error.
    for (name, labels) in [
        ("unmarked", json!({})),
        ("marked", json!({"cocoon.farm/input": "true"})),
    ] {
        // The job's results take the job's own name.
        let of_secret = format!("{name}-key");
        let secret =
            json!({"metadata": {"name": of_secret, "labels": labels}, "stringData": {"key": CANARY}});
        farm.create::<Secret>(&secret).await?;
        farm.create::<InferenceJob>(&job(
            name,
            &json!({"secretRef": {"name": of_secret, "key": "key"}}),
        ))
        .await?;
    }
    Ok(())
}

#[test]
fn no_message_holds_a_byte_of_a_prompt_an_answer_or_a_secret() -> Result<()> {
    on_stack("privacy", |stack, namespace| async move {
        let farm = Farm::start(&stack, &namespace, &Offer::kept(&stack)).await?;
        farm.open_channel("1", "0.5").await?;
        submit_unreadable(&farm).await?;
        let prompt = format!("Once upon a time {CANARY} said");
        farm.submit("answered", &[&prompt], 100_000_000).await?;
        // What the agent refuses, it names to the payer: a field, here with the canary as its name.
        let unknown = json!({"inline": [{"prompt": prompt, CANARY: 1}, {"prompt": 7, "user": CANARY}]});
        farm.create::<InferenceJob>(&job("refused", &unknown)).await?;
        let run = [
            "run",
            "--namespace",
            &namespace,
            "--model",
            MODEL,
            "--channel",
            CHANNEL,
            "--max",
            "0.1",
        ];
        // An answer that is the same each time, and long enough to be searched for.
        let sampling = [
            "--max-tokens",
            "32",
            "--temperature",
            "0",
            "--name",
            "typed",
            &prompt,
        ];
        let run = [&run[..], &sampling].concat();
        stack.plugin(&run, &farm.payer_key).await?;

        farm.wait_for("answered", "Complete").await?;
        farm.wait_for("typed", "Complete").await?;
        farm.wait_for("refused", "Failed").await?;
        farm.wait_for("broken", "Failed").await?;
        farm.wait_for("marked", "Failed").await?;
        let message = farm
            .wait_for_reason("unmarked", "Accepted", "InvalidInput")
            .await?;
        ensure!(message.contains("cocoon.farm/input=true"), "{message}");

        let typed = farm.api::<InferenceJob>().get("typed").await?;
        let spec = serde_json::to_string(&typed.spec)?;
        ensure!(
            !spec.contains(CANARY),
            "`kubectl cocoon run` put a prompt into the job: {spec}"
        );

        let said = Said::of(&farm).await?;
        said.holds_no(CANARY)?;
        for job in ["answered", "typed"] {
            for answer in Delivered::of(&farm, job).await?.answers()?.values() {
                let text = &answer.choices.first().context("an answer has a choice")?.text;
                let part: String = text.trim().chars().take(ANSWER_CHARS).collect();
                ensure!(
                    part.chars().count() == ANSWER_CHARS,
                    "the answer is too short to search for: {part:?}"
                );
                said.holds_no(&part)?;
            }
        }
        farm.wait_for("answered", "Settled").await?;
        for job in ["answered", "typed", "refused", "broken", "marked", "unmarked"] {
            stack
                .kubectl(&["--namespace", &namespace, "delete", "inferencejob", job])
                .await?;
        }
        Said::of(&farm).await?.holds_no(CANARY)?;
        leaves_no_memory(&farm).await
    })
}

/// The kernel writes no core dump of agent and operator, in which all of this would be. Neither can be made to end by a
/// fault from outside: it is the first process of its container, which takes no signal that it does not handle
/// (`pid_namespaces(7)`).
async fn leaves_no_memory(farm: &Farm<'_>) -> Result<()> {
    let operator = &farm.stack.description.operator_namespace;
    for (namespace, program) in [(&farm.namespace, "gpu-agent"), (operator, "cocoon-operator")] {
        let pods: Api<Pod> = Api::namespaced(farm.stack.client.clone(), namespace);
        let pods = pods.list(&ListParams::default()).await?.items;
        let pod = pods.first().with_context(|| format!("a pod in {namespace}"))?;
        ensure!(
            !Process::of(pod, program)?.may_be_dumped()?,
            "the kernel may write the memory of {program}"
        );
    }
    Ok(())
}
