//! What is made for a provider.

use cocoon_api::agent::StartFault;

use super::*;

#[test]
fn every_child_is_what_kubernetes_knows_and_belongs_to_the_provider() {
    let seen = seen(1);
    let gpus = json!({"minMemory": "8Gi", "minComputeCapability": "7.5", "products": ["A10"]});
    let spec = json!({
        "gpus": gpus, "nodeSelector": {"a": "b"}, "tolerations": [{"key": "nvidia.com/gpu", "operator": "Exists"}],
    });
    let (_, plan) = planned(&spec, &seen);
    assert_is::<Deployment>(&body(&plan, Kind::Deployment));
    assert_is::<PodDisruptionBudget>(&body(&plan, Kind::PodDisruptionBudget));
    assert_is::<NetworkPolicy>(&body(&plan, Kind::NetworkPolicy));
    assert_is::<Secret>(&body(&plan, Kind::Secret));
    for child in &plan.children {
        let metadata = &child.body["metadata"];
        assert_eq!(
            metadata["ownerReferences"][0]["uid"], "provider-uid",
            "{}",
            child.name
        );
        assert_eq!(
            metadata["ownerReferences"][0]["controller"], true,
            "{}",
            child.name
        );
        assert_eq!(
            metadata["labels"]["cocoon.farm/provider"], "farm",
            "{}",
            child.name
        );
        assert_eq!(
            metadata["labels"]["app.kubernetes.io/managed-by"], "cocoon-operator",
            "{}",
            child.name
        );
    }
    let kinds: Vec<Kind> = plan.children.iter().map(|child| child.kind).collect();
    assert_eq!(
        kinds,
        [
            Kind::NetworkPolicy,
            Kind::Secret,
            Kind::PodDisruptionBudget,
            Kind::Deployment
        ]
    );
}

#[test]
fn an_agents_pod_is_locked_down() {
    let pod = pod_spec(&json!({}));
    let container = &pod["containers"][0];
    assert_eq!(pod["automountServiceAccountToken"], false);
    assert_eq!(pod["dnsPolicy"], "Default");
    assert_eq!(pod["enableServiceLinks"], false);
    assert_eq!(pod["securityContext"]["runAsNonRoot"], true);
    assert_eq!(pod["securityContext"]["runAsUser"], 65_532);
    assert_eq!(pod["securityContext"]["seccompProfile"]["type"], "RuntimeDefault");
    assert_eq!(container["securityContext"]["readOnlyRootFilesystem"], true);
    assert_eq!(container["securityContext"]["allowPrivilegeEscalation"], false);
    assert_eq!(
        container["securityContext"]["capabilities"]["drop"],
        json!(["ALL"])
    );
    assert_eq!(container["terminationMessagePolicy"], "FallbackToLogsOnError");
}

#[test]
fn an_agent_gets_its_gpus_its_model_and_a_token_of_its_pod() {
    let pod = pod_spec(&json!({"models": [{"gpusPerReplica": 2, "contextLength": 512}]}));
    let container = &pod["containers"][0];
    let file = format!("/models/{SHA256}.gguf");
    assert_eq!(container["resources"]["limits"], json!({"nvidia.com/gpu": "2"}));
    assert_eq!(
        pod["volumes"][0]["hostPath"],
        json!({"path": "/var/models/m.gguf", "type": "File"})
    );
    assert_eq!(
        container["volumeMounts"][0],
        json!({"name": "model", "mountPath": file, "readOnly": true})
    );
    let sources = &pod["volumes"][1]["projected"]["sources"];
    assert_eq!(
        sources[0]["secret"],
        json!({"name": "farm-agent-tls", "items": [{"key": "ca.crt", "path": "ca.crt"}]})
    );
    assert_eq!(
        sources[1]["serviceAccountToken"],
        json!({"audience": "cocoon.farm/agent", "expirationSeconds": 600, "path": "token"})
    );
    assert_eq!(
        container["volumeMounts"][1],
        json!({"name": "operator", "mountPath": "/operator", "readOnly": true})
    );
    let args: Vec<&str> = container["args"]
        .as_array()
        .unwrap()
        .iter()
        .map(|arg| arg.as_str().unwrap())
        .collect();
    assert_eq!(args[0], "serve");
    for pair in [
        ["--model", &file],
        ["--model-name", "m"],
        ["--backend", "cuda"],
        ["--context-length", "512"],
        ["--client-ca", "/operator/ca.crt"],
        ["--token", "/operator/token"],
    ] {
        assert!(
            args.windows(2).any(|window| window == pair),
            "{pair:?} in {args:?}"
        );
    }
}

#[test]
fn a_model_on_a_volume_is_mounted_read_only_by_its_path() {
    let source = json!({"hostPath": null, "pvc": {"claimName": "models", "path": "llama/m.gguf"}});
    let pod = pod_spec(&json!({"models": [{"source": source}]}));
    assert_eq!(
        pod["volumes"][0]["persistentVolumeClaim"],
        json!({"claimName": "models", "readOnly": true})
    );
    assert_eq!(pod["containers"][0]["volumeMounts"][0]["subPath"], "llama/m.gguf");
}

#[test]
fn gpu_requirements_become_node_affinity() {
    let pod =
        pod_spec(&json!({"gpus": {"products": ["A10"], "minMemory": "8Gi", "minComputeCapability": "7.5"}}));
    let terms = &pod["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"];
    let common = [
        json!({"key": "nvidia.com/gpu.product", "operator": "In", "values": ["A10"]}),
        json!({"key": "nvidia.com/gpu.memory", "operator": "Gt", "values": ["8191"]}),
    ];
    let newer = json!({"key": "nvidia.com/gpu.compute.major", "operator": "Gt", "values": ["7"]});
    let same = json!({"key": "nvidia.com/gpu.compute.major", "operator": "In", "values": ["7"]});
    let minor = json!({"key": "nvidia.com/gpu.compute.minor", "operator": "Gt", "values": ["4"]});
    assert_eq!(
        *terms,
        json!([
            {"matchExpressions": [common[0], common[1], newer]},
            {"matchExpressions": [common[0], common[1], same, minor]},
        ])
    );
}

#[test]
fn an_agent_without_gpus_goes_to_any_node_of_the_offer() {
    let spec = json!({"backend": "CPU", "nodeSelector": {"disk": "fast"}, "gpus": {"minMemory": "8Gi"},
                      "models": [{"gpusPerReplica": 0}]});
    let pod = pod_spec(&spec);
    assert_eq!(pod["containers"][0]["resources"].get("limits"), None);
    assert_eq!(pod.get("affinity"), None);
    assert_eq!(pod["nodeSelector"], json!({"disk": "fast"}));
}

#[test]
fn a_full_node_can_roll_because_no_agent_is_added_first() {
    let deployment = body(&planned(&json!({}), &seen(1)).1, Kind::Deployment);
    assert_eq!(
        deployment["spec"]["strategy"]["rollingUpdate"],
        json!({"maxSurge": 0, "maxUnavailable": 1})
    );
}

#[test]
fn a_new_authority_does_not_roll_the_agents() {
    let deployment = |data: &str| {
        let mut seen = seen(1);
        seen.trusted = trusted(data);
        body(&planned(&json!({}), &seen).1, Kind::Deployment)
    };
    assert_eq!(deployment("old"), deployment("new"));
}

#[test]
fn an_agent_that_refuses_its_file_names_the_offers_own() {
    let words = format!("error: ModelUnreadable: cannot read model file /models/{SHA256}.gguf: canary-7f3a");
    let told = |spec: &Value| {
        let agent = json!({
            "metadata": {"name": "a", "uid": "u", "labels": {
                names::COMPONENT_LABEL: names::AGENT_COMPONENT, names::MODEL_LABEL: "m"}},
            "spec": pod_spec(spec),
            "status": {"containerStatuses": [
                {"name": "agent", "image": "i", "imageID": "", "ready": false, "restartCount": 1,
                 "state": {"terminated": {"exitCode": 78, "message": words}}}]},
        });
        let agent = AgentPod::from_pod(&serde_json::from_value(agent).unwrap(), at(1000)).unwrap();
        let status = summary::status_of(&Seen {
            agents: vec![agent],
            ..seen(1)
        });
        let available = conditions::find(&status.conditions, "AgentsAvailable").unwrap();
        available.message.clone()
    };
    let meaning = |file: &str| {
        let words = StartFault::ModelUnreadable.words();
        format!("m: agent a ends with ModelUnreadable: {words}; the file is {file}")
    };
    assert_eq!(told(&json!({})), meaning("hostPath /var/models/m.gguf"));
    let source = json!({"hostPath": null, "pvc": {"claimName": "models", "path": "llama/m.gguf"}});
    assert_eq!(
        told(&json!({"models": [{"source": source}]})),
        meaning("llama/m.gguf on PersistentVolumeClaim models")
    );
}

#[test]
fn an_agents_pod_is_scheduled_and_labelled_as_its_model_says() {
    let pod = json!({
        "labels": {"team": "farm"}, "annotations": {"example.org/note": "x"}, "nodeSelector": {"card": "big"},
        "tolerations": [{"key": "card", "operator": "Exists"}], "priorityClassName": "low", "runtimeClassName": "nvidia",
        "imagePullSecrets": ["pull"],
    });
    let spec = json!({
        "nodeSelector": {"a": "b"}, "tolerations": [{"key": "gpu", "operator": "Exists"}], "models": [{"pod": pod}],
    });
    let (_, plan) = planned(&spec, &seen(1));
    let template = body(&plan, Kind::Deployment)["spec"]["template"].clone();
    assert_is::<Deployment>(&body(&plan, Kind::Deployment));
    let metadata = &template["metadata"];
    assert_eq!(metadata["labels"]["team"], "farm");
    assert_eq!(metadata["labels"]["app.kubernetes.io/component"], "gpu-agent");
    assert_eq!(metadata["annotations"], json!({"example.org/note": "x"}));
    let selector = &body(&plan, Kind::Deployment)["spec"]["selector"]["matchLabels"];
    assert_eq!(selector.get("team"), None, "a selector never changes");
    let spec = &template["spec"];
    assert_eq!(spec["nodeSelector"], json!({"a": "b", "card": "big"}));
    assert_eq!(spec["tolerations"].as_array().map(Vec::len), Some(2));
    assert_eq!(spec["priorityClassName"], "low");
    assert_eq!(spec["runtimeClassName"], "nvidia");
    assert_eq!(spec["imagePullSecrets"], json!([{"name": "pull"}]));
}

#[test]
fn an_agents_pod_asks_for_what_its_model_says_and_never_for_more_than_its_limit() {
    let resources = |given: &Value| {
        pod_spec(&json!({"models": [{"pod": {"resources": given}}]}))["containers"][0]["resources"].clone()
    };
    let gpu = json!({"nvidia.com/gpu": "1"});
    assert_eq!(
        resources(&json!({})),
        json!({"requests": {"cpu": "500m", "memory": "512Mi"}, "limits": gpu})
    );
    assert_eq!(
        resources(&json!({"requests": {"memory": "8Gi"}, "limits": {"cpu": "250m", "memory": "16Gi"}})),
        json!({
            "requests": {"cpu": "250m", "memory": "8Gi"},
            "limits": {"cpu": "250m", "memory": "16Gi", "nvidia.com/gpu": "1"},
        })
    );
    assert_eq!(
        resources(&json!({"limits": {"memory": "256Mi", "ephemeral-storage": "1Gi"}}))["requests"],
        json!({"cpu": "500m", "memory": "256Mi"})
    );
}

#[test]
fn memory_follows_from_what_the_model_takes_and_the_offers_own_word_goes_before_it() {
    let footprint = json!({"weightsBytes": 104_857_600, "cacheBytesPerToken": 1024});
    let memory = |backend: &str, given: &Value| {
        let gpus = u32::from(backend == "CUDA");
        let pod = pod_spec(&json!({"backend": backend, "models": [{
            "contextLength": 1000, "maxInFlight": 4, "gpusPerReplica": gpus, "footprint": footprint, "pod": {"resources": given},
        }]}));
        let resources = &pod["containers"][0]["resources"];
        [&resources["requests"]["memory"], &resources["limits"]["memory"]].map(Clone::clone)
    };
    // 100 MiB, 4 times 1024 tokens of 1 KiB, and 512 MiB; the limit is 25 MiB and 768 MiB more.
    let mib = |amount: u64| json!((amount << 20).to_string());
    assert_eq!(memory("CPU", &json!({})), [mib(616), mib(1409)]);
    assert_eq!(memory("CUDA", &json!({})), [mib(1024), mib(2304)]);
    let given = json!({"requests": {"memory": "1Gi"}, "limits": {"memory": "3Gi"}});
    assert_eq!(memory("CPU", &given), [json!("1Gi"), json!("3Gi")]);
    let low = json!({"limits": {"memory": "300Mi"}});
    assert_eq!(memory("CPU", &low), [json!("300Mi"), json!("300Mi")]);
    let high = json!({"requests": {"memory": "2Gi"}});
    assert_eq!(memory("CPU", &high), [json!("2Gi"), mib(2048)]);
}

/// What the pod security standard `restricted` asks of a pod, but for volumes: a host path is the farm's choice.
#[test]
fn an_agents_pod_satisfies_restricted_pod_security() {
    let source = json!({"hostPath": null, "pvc": {"claimName": "models", "path": "m.gguf"}});
    let pod = pod_spec(&json!({"models": [{"source": source, "pod": {"labels": {"a": "b"}}}]}));
    assert_eq!(pod["securityContext"]["runAsNonRoot"], true);
    assert_eq!(pod["securityContext"]["seccompProfile"]["type"], "RuntimeDefault");
    for forbidden in [
        "hostNetwork",
        "hostPID",
        "hostIPC",
        "initContainers",
        "ephemeralContainers",
    ] {
        assert_eq!(pod.get(forbidden), None, "{forbidden}");
    }
    for container in pod["containers"].as_array().unwrap() {
        let context = &container["securityContext"];
        assert_eq!(context["allowPrivilegeEscalation"], false);
        assert_eq!(context["capabilities"], json!({"drop": ["ALL"]}));
        for forbidden in ["privileged", "procMount", "runAsUser", "seLinuxOptions"] {
            assert_eq!(context.get(forbidden), None, "{forbidden}");
        }
        assert!(
            container["ports"]
                .as_array()
                .unwrap()
                .iter()
                .all(|port| port.get("hostPort").is_none())
        );
    }
    for volume in pod["volumes"].as_array().unwrap() {
        let kinds: Vec<&String> = volume
            .as_object()
            .unwrap()
            .keys()
            .filter(|key| *key != "name")
            .collect();
        assert!(
            kinds == ["persistentVolumeClaim"] || kinds == ["projected"],
            "{kinds:?}"
        );
    }
}

#[test]
fn agents_listen_on_both_families_of_addresses() {
    let pod = pod_spec(&json!({}));
    let args = pod["containers"][0]["args"].as_array().unwrap();
    for pair in [["--listen", "[::]:8443"], ["--probe-listen", "[::]:8080"]] {
        assert!(
            args.windows(2).any(|window| window == pair),
            "{pair:?} in {args:?}"
        );
    }
    for probe in ["startupProbe", "readinessProbe", "livenessProbe"] {
        let get = &pod["containers"][0][probe]["httpGet"];
        assert_eq!(
            get.get("host"),
            None,
            "the kubelet asks the pod's own address, of whichever family"
        );
    }
}

#[test]
fn settings_of_pods_that_cannot_be_met_are_named_with_their_field() {
    for (spec, field, words) in [
        (
            json!({"nodeSelector": {"a": "b"}, "models": [{"pod": {"nodeSelector": {"a": "c"}}}]}),
            "spec.models[m].pod.nodeSelector",
            "no node has both",
        ),
        (
            json!({"models": [{"pod": {"resources": {"requests": {"memory": "2Gi"}, "limits": {"memory": "1Gi"}}}}]}),
            "spec.models[m].pod.resources",
            "memory must not exceed its limit",
        ),
        (
            json!({"models": [{"source": {"hostPath": null, "url": "https://host/m", "resources": {
                "requests": {"cpu": "2"}, "limits": {"cpu": "1"}}}}]}),
            "spec.models[m].source.resources",
            "cpu must not exceed its limit",
        ),
        (
            json!({"models": [{"pod": {"resources": {"limits": {"cpu": "two"}}}}]}),
            "spec.models[m].pod.resources.limits",
            "no Kubernetes quantity",
        ),
        (
            json!({"models": [{"pod": {"labels": {"a b": "c"}}}]}),
            "spec.models[m].pod.labels",
            "no key of a label",
        ),
        (
            json!({"models": [{"pod": {"labels": {"team": "a b"}}}]}),
            "spec.models[m].pod.labels",
            "no value of a label",
        ),
        (
            json!({"models": [{"pod": {"annotations": {"/": "c"}}}]}),
            "spec.models[m].pod.annotations",
            "no key of an annotation",
        ),
    ] {
        let error = validate::validate(&provider(&spec)).unwrap_err();
        assert_eq!(error.field, field);
        assert!(error.problem.contains(words), "{}", error.problem);
    }
}
