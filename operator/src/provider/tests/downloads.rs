//! Models that nodes download: the pods of agents and downloads, and what the status says.

use cocoon_api::agent::{FetchFault, FetchProgress, FetchStage};
use cocoon_core::agents::fetch::{Fetch, FetchPod};
use k8s_openapi::api::core::v1::Pod;

use super::{children::Child, *};

const URL: &str = "https://host/m.gguf?signature=canary-7f3a";

fn offer() -> Value {
    json!({"models": [{"source": {"hostPath": null, "url": URL, "headersFrom": {"name": "hub"}}}]})
}

fn waiting() -> AgentPod {
    AgentPod {
        name: "a".into(),
        uid: "u".into(),
        model: "m".into(),
        state: AgentState::AwaitingModel {
            node: "n".into(),
            fetch: Fetch::Downloading,
        },
        address: None,
        displaced: false,
    }
}

fn world() -> Seen {
    Seen {
        agents: vec![waiting()],
        ..seen(1)
    }
}

/// The download that is due in that world.
fn started() -> Child {
    let (_, plan) = planned(&offer(), &world());
    assert_eq!(plan.downloads.start.len(), 1);
    assert_eq!(plan.downloads.start[0].headers.as_deref(), Some("hub"));
    plan.downloads.start[0].child.clone()
}

fn running(name: &str) -> FetchPod {
    FetchPod {
        model: "m".into(),
        node: "n".into(),
        name: name.into(),
        uid: "f".into(),
        address: None,
        state: Fetch::Downloading,
    }
}

#[test]
fn an_address_reaches_the_download_as_it_was_written() {
    let url = "https://host/m.gguf?a=$(POD_NAME)&b=$$c&d=$e";
    let offer = json!({"models": [{"source": {"hostPath": null, "url": url}}]});
    let (_, plan) = planned(&offer, &world());
    let variables = &plan.downloads.start[0].child.body["spec"]["containers"][0]["env"];
    // The kubelet reads `$$` as `$`, and then no `$(NAME)` is left.
    assert_eq!(
        variables[0]["value"],
        "https://host/m.gguf?a=$$(POD_NAME)&b=$$$$c&d=$$e"
    );
}

#[test]
fn what_a_namespace_allows_an_agent_it_allows_the_container_that_waits() {
    let own = json!({"requests": {"cpu": "2", "memory": "4Gi"}, "limits": {"cpu": "2", "memory": "4Gi"}});
    let model =
        json!({"source": {"hostPath": null, "url": URL}, "gpusPerReplica": 1, "pod": {"resources": own}});
    let pod = pod_spec(&json!({"models": [model]}));
    assert_eq!(pod["initContainers"][0]["resources"], own);
    assert_eq!(pod["containers"][0]["resources"]["requests"], own["requests"]);
    assert_eq!(pod["containers"][0]["resources"]["limits"]["nvidia.com/gpu"], "1");
    // Without any, both ask for what agents ask for.
    let pod = pod_spec(&offer());
    assert_eq!(
        pod["initContainers"][0]["resources"],
        json!({"requests": {"cpu": "500m", "memory": "512Mi"}})
    );
}

#[test]
fn a_download_asks_for_what_the_offer_says() {
    let download = |resources: &Value| {
        let source = json!({"hostPath": null, "url": URL, "resources": resources});
        let (_, plan) = planned(&json!({"models": [{"source": source}]}), &world());
        let child = plan.downloads.start[0].child.clone();
        (
            child.name,
            child.body["spec"]["containers"][0]["resources"].clone(),
        )
    };
    let (name, default) = download(&Value::Null);
    assert_eq!(
        default,
        json!({"requests": {"cpu": "10m", "memory": "32Mi"}, "limits": {"cpu": "1", "memory": "256Mi"}})
    );
    for (given, requests, limits) in [
        (
            json!({"requests": {"cpu": "100m", "memory": "64Mi"}}),
            json!({"cpu": "100m", "memory": "64Mi"}),
            json!({"cpu": "1", "memory": "256Mi"}),
        ),
        (
            json!({"requests": {"cpu": "2", "memory": "1Gi"}}),
            json!({"cpu": "2", "memory": "1Gi"}),
            json!({"cpu": "2", "memory": "1Gi"}),
        ),
        (
            json!({"limits": {"cpu": "5m", "memory": "16Mi", "ephemeral-storage": "1Gi"}}),
            json!({"cpu": "5m", "memory": "16Mi"}),
            json!({"cpu": "5m", "memory": "16Mi", "ephemeral-storage": "1Gi"}),
        ),
    ] {
        let (other, resources) = download(&given);
        assert_eq!(resources, json!({"requests": requests, "limits": limits}));
        // A pod that is there keeps what it was made with.
        assert_ne!(other, name);
    }
    assert_eq!(download(&json!({})).0, name);
}

#[test]
fn an_agent_waits_for_its_nodes_copy_and_reads_it_alone() {
    let pod = pod_spec(&offer());
    let init = &pod["initContainers"][0];
    assert_eq!(
        init["args"],
        json!(["await", "--cache", "/models", "--sha256", SHA256])
    );
    let security = &init["securityContext"];
    assert_eq!(
        (&security["runAsUser"], &security["capabilities"]["drop"]),
        (&json!(0), &json!(["ALL"]))
    );
    assert_eq!(security["readOnlyRootFilesystem"], true);
    assert_eq!(
        pod["volumes"][0],
        json!({"name": "model", "hostPath": {"path": "/var/lib/cocoon/models", "type": "DirectoryOrCreate"}})
    );
    let container = &pod["containers"][0];
    assert_eq!(
        container["volumeMounts"][0],
        json!({"name": "model", "mountPath": "/models", "readOnly": true})
    );
    let args = container["args"].as_array().unwrap();
    assert_eq!((&args[0], &args[1]), (&json!("serve"), &json!("--model-is-copy")));
    assert!(
        args.contains(&json!(format!("/models/{SHA256}.gguf"))),
        "{args:?}"
    );
    assert_eq!(
        pod["securityContext"]["runAsNonRoot"], true,
        "the agent itself is nobody"
    );
    assert_eq!(pod_spec(&json!({})).get("initContainers"), None);
    assert!(!pod.to_string().contains("canary"), "agents know no address");
}

#[test]
fn a_download_is_a_pod_of_the_node_on_which_an_agent_waits() {
    let child = started();
    assert_is::<Pod>(&child.body);
    assert!(child.name.starts_with("farm-m-download-"), "{}", child.name);
    let (metadata, spec) = (&child.body["metadata"], &child.body["spec"]);
    assert_eq!(
        metadata["labels"][names::COMPONENT_LABEL],
        names::DOWNLOAD_COMPONENT
    );
    assert_eq!(metadata["ownerReferences"][0]["uid"], "provider-uid");
    assert_eq!(
        (&spec["nodeName"], &spec["restartPolicy"]),
        (&json!("n"), &json!("OnFailure"))
    );
    assert_eq!(spec["automountServiceAccountToken"], false);
    let container = &spec["containers"][0];
    assert_eq!(
        container["securityContext"]["capabilities"]["drop"],
        json!(["ALL"])
    );
    assert_eq!(container["securityContext"]["readOnlyRootFilesystem"], true);
    assert_eq!(
        container["env"],
        json!([{"name": "COCOON_FETCH_URL", "value": URL}])
    );
    let args = container["args"].as_array().unwrap();
    for pair in [
        ["--sha256", SHA256],
        ["--limit", "214748364800"],
        ["--headers", "/headers"],
    ] {
        assert!(
            args.windows(2).any(|window| window == pair),
            "{pair:?} in {args:?}"
        );
    }
    assert_eq!(spec["volumes"][2]["secret"]["secretName"], "hub");
    assert_eq!(container["volumeMounts"][2]["readOnly"], true);
}

#[test]
fn what_runs_is_not_begun_again_and_what_the_offer_does_not_name_goes() {
    let with = |name: &str, offer: &Value| {
        let seen = Seen {
            downloads: vec![running(name)],
            ..world()
        };
        let downloads = planned(offer, &seen).1.downloads;
        (downloads.start.len(), downloads.remove.len())
    };
    let name = started().name;
    assert_eq!(with(&name, &offer()), (0, 0));
    let mut corrected = offer();
    corrected["models"][0]["source"]["url"] = json!("https://mirror/m.gguf");
    assert_eq!(
        with(&name, &corrected),
        (1, 1),
        "another address is another download"
    );
    assert_eq!(with(&name, &json!({})), (0, 1), "the model lies on the nodes");
}

#[test]
fn downloads_reach_the_web_and_agents_still_reach_nobody() {
    let policies = |spec: &Value| -> Vec<Value> {
        let (_, plan) = planned(spec, &world());
        let policies = plan
            .children
            .into_iter()
            .filter(|child| child.kind == Kind::NetworkPolicy);
        policies.map(|child| child.body).collect()
    };
    let of_url = policies(&offer());
    assert_eq!(of_url[0], policies(&json!({}))[0]);
    assert_eq!((of_url.len(), policies(&json!({})).len()), (2, 1));
    assert_is::<NetworkPolicy>(&of_url[1]);
    let spec = &of_url[1]["spec"];
    assert_eq!(
        spec["podSelector"]["matchLabels"],
        json!({"app.kubernetes.io/component": "model-download", "cocoon.farm/provider": "farm"})
    );
    assert_eq!(
        spec["egress"][1]["to"][0]["ipBlock"]["except"],
        json!(["169.254.0.0/16"])
    );
    // A cloud gives credentials out over IPv6 as well, at addresses that are not link-local.
    assert_eq!(
        spec["egress"][1]["to"][1]["ipBlock"],
        json!({"cidr": "::/0", "except": ["fe80::/10", "fd00:ec2::254/128", "fd20:ce::254/128"]})
    );
    assert_eq!(
        spec["ingress"][0]["ports"],
        json!([{"protocol": "TCP", "port": 8080}])
    );
}

#[test]
fn the_status_says_how_far_a_download_is_and_which_nodes_have_a_copy() {
    let mut provider = provider(&offer());
    let valid = validate::validate(&provider).unwrap();
    let derive = |provider: &CocoonProvider, seen: &Seen| {
        let plan = plan::plan(&valid, seen, &config());
        status::derive(provider, &valid, &plan, seen, &payments(), applied())
    };
    let progress = FetchProgress {
        stage: FetchStage::Downloading,
        bytes: 250,
        total: Some(1000),
        bytes_per_second: 50,
    };
    let under_way = Seen {
        downloads: vec![running("f")],
        progress: [("f".to_owned(), progress)].into(),
        ..world()
    };
    let shown = derive(&provider, &under_way);
    let download = &shown.models[0].downloads[0];
    assert_eq!(
        (
            download.node.as_str(),
            download.bytes,
            download.total_bytes,
            download.seconds_left
        ),
        ("n", 250, Some(1000), Some(15))
    );
    assert_eq!(
        (shown.models[0].phase, shown.models[0].cached_nodes.len()),
        (ModelPhase::Starting, 0)
    );
    let available = conditions::find(&shown.conditions, "AgentsAvailable").unwrap();
    assert_eq!(available.reason, "ModelNotCached");

    let failed = Seen {
        downloads: vec![FetchPod {
            state: Fetch::Failed(FetchFault::HttpStatus(404)),
            ..running("f")
        }],
        ..world()
    };
    let failure = derive(&provider, &failed).models[0].downloads[0].failure.clone();
    assert!(failure.is_some_and(|words| words.contains("HTTP 404")));

    let there = Seen {
        copies: [("m".to_owned(), "n".to_owned())].into(),
        ..seen(0)
    };
    provider.status = Some(derive(&provider, &there));
    let cached =
        |seen: &Seen, provider: &CocoonProvider| derive(provider, seen).models[0].cached_nodes.clone();
    assert_eq!(cached(&there, &provider), ["n"]);
    assert_eq!(cached(&seen(0), &provider), ["n"], "it stays when the agents go");
    assert_eq!(
        cached(&world(), &provider),
        [""; 0],
        "it was evicted: an agent waits there"
    );
    let gone = Seen {
        nodes: Vec::new(),
        ..seen(0)
    };
    assert_eq!(cached(&gone, &provider), [""; 0], "the node is gone");
    provider.status.as_mut().unwrap().models[0].cached_sha256 = Some("of another file".into());
    assert_eq!(cached(&seen(0), &provider), [""; 0], "copies of another file");
}

#[test]
fn the_same_progress_gives_the_same_status() {
    let shown = || {
        let seen = Seen {
            downloads: vec![running("f")],
            ..world()
        };
        let provider = provider(&offer());
        let (valid, plan) = planned(&offer(), &seen);
        status::derive(&provider, &valid, &plan, &seen, &payments(), applied())
    };
    assert_eq!(shown(), shown());
}
