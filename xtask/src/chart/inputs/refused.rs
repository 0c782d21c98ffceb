//! Values that cannot work, and those that only look alike.

use anyhow::{Context, Result, bail, ensure};

use crate::chart::{Chart, RELEASE};

/// What is refused, and a word that the refusal says.
const REFUSED: [(&str, &str); 52] = [
    ("nosuch=1", "nosuch"),
    ("images.nosuch=1", "nosuch"),
    ("global=1", "global"),
    ("replicas=0", "replicas"),
    ("images.pullPolicy=Sometimes", "pullPolicy"),
    ("images.pullSecrets[0].name=Not_A_Secret", "pullSecrets"),
    ("watchNamespace=Not_A_Namespace", "watchNamespace"),
    ("watchNamespaces[0]=Not_A_Namespace", "watchNamespaces"),
    ("fullnameOverride=Operator", "fullnameOverride"),
    ("fullnameOverride=1operator", "fullnameOverride"),
    ("fullnameOverride=operator-", "fullnameOverride"),
    ("serviceAccount.name=not_a_name", "serviceAccount"),
    ("priorityClassName=High_Priority", "priorityClassName"),
    ("nodeSelector.a b=c", "nodeSelector"),
    ("models.cache.path=models", "path"),
    ("models.cache.path=/var/../etc", "path"),
    ("models.cache.path=/var", "path"),
    ("models.cache.size=many", "size"),
    ("webPage.enabled=maybe", "webPage"),
    ("webPage.address=0.0.0.0", "address"),
    ("podLabels.team=a b", "podLabels"),
    (
        "podLabels.app\\.kubernetes\\.io/name=mine",
        "podLabels: app.kubernetes.io/name collides",
    ),
    (
        "podLabels.app\\.kubernetes\\.io/component=mine",
        "podLabels: app.kubernetes.io/component collides",
    ),
    (
        "podLabels.pod-template-hash=mine",
        "podLabels: pod-template-hash collides",
    ),
    (
        "podAnnotations.checksum/networks=mine",
        "podAnnotations: checksum/networks collides",
    ),
    (
        "metrics.prometheusRule.labels.helm\\.sh/chart=mine",
        "metrics.prometheusRule.labels: helm.sh/chart collides",
    ),
    ("ton.networks[0].name=testnet", "globalId"),
    (
        "ton.networks[0].endpoints[0]=https://a.example/?api_key=k",
        "/endpoints/0'",
    ),
    (
        "ton.networks[0].endpoints[0]=https://user:key@a.example/",
        "/endpoints/0'",
    ),
    (
        "ton.networks[0].endpoints[0]=https//a.example/api/v2",
        "/endpoints/0'",
    ),
    (
        "ton.networks[0].endpoints[0]=htps://a.example/api/v2",
        "/endpoints/0'",
    ),
    ("ton.networks[0].endpoints[0]=a.example/api/v2", "/endpoints/0'"),
    ("ton.networks[0].endpoints[0].apiKey=k", "'apiKey' not allowed"),
    (
        "ton.networks[0].endpoints[0].url=https://a.example/",
        "apiKeySecretRef",
    ),
    (
        "ton.networks[0].endpoints[0].url=http://a.example/",
        "'http://a.example/' does not match",
    ),
    ("ton.networks[0].endpoints[0].apiKeySecretRef.name=s", "'key'"),
    (
        "ton.networks[0].name=mainnet,ton.networks[0].globalId=-3,ton.networks[0].endpoints[0]=https://a.example",
        "value must be -239",
    ),
    (
        "ton.networks[0].name=lab,ton.networks[0].globalId=-5,ton.networks[0].endpoints[0]=http://a.example",
        "'http://a.example' does not match",
    ),
    (
        "ton.networks[0].name=lab,ton.networks[0].globalId=-5,ton.networks[0].endpoints[0]=https://a.example/api/v2,\
         ton.networks[0].endpoints[1]=https://a.example/api/v2",
        "equal",
    ),
    (
        "ton.networks[0].name=lab,ton.networks[0].globalId=-5,ton.networks[0].endpoints[0]=https://a.example/api/v2,\
         ton.networks[0].endpoints[1]=https://A.example/api/v2/",
        "endpoint 1 is named twice",
    ),
    (
        "ton.networks[0].name=lab,ton.networks[0].globalId=-5,ton.networks[0].endpoints[0]=https://a.example,\
         ton.networks[1].name=lab,ton.networks[1].globalId=-6,ton.networks[1].endpoints[0]=https://b.example",
        "lab is named twice",
    ),
    ("networkPolicy.apiServer.ports[0]=70000", "ports"),
    ("metrics.serviceMonitor.interval=30s10m", "interval"),
    (
        "ton.networks[0].name=lab,ton.networks[0].globalId=-5,ton.networks[0].endpoints[0]=https://a.example:70000/",
        "70000 is no port",
    ),
    (
        "ton.networks[0].name=lab,ton.networks[0].globalId=-5,ton.networks[0].endpoints[0]=https://a.example:0/",
        "0 is no port",
    ),
    (
        "ton.networks[0].name=lab,ton.networks[0].globalId=-5,ton.networks[0].endpoints[0]=https://192.0.2.256/",
        "192.0.2.256 is no IP address",
    ),
    (
        "ton.networks[0].name=lab,ton.networks[0].globalId=-5,ton.networks[0].endpoints[0]=https://192.0.2/",
        "192.0.2 is no IP address",
    ),
    (
        "ton.networks[0].name=lab,ton.networks[0].globalId=-5,ton.networks[0].endpoints[0]=https://[2001:db8:1]/",
        "[2001:db8:1] is no IP address",
    ),
    (
        "ton.networks[0].name=lab,ton.networks[0].globalId=-5,ton.networks[0].endpoints[0]=https://a..example/",
        "a..example is no name",
    ),
    (
        "ton.networks[0].name=lab,ton.networks[0].globalId=-5,ton.networks[0].endpoints[0].url=https://a.example:70000/,\
         ton.networks[0].endpoints[0].apiKeySecretRef.name=s,ton.networks[0].endpoints[0].apiKeySecretRef.key=k",
        "70000 is no port",
    ),
    (
        "ton.networks[0].name=lab,ton.networks[0].globalId=-5,ton.networks[0].endpoints[0]=https://a.example/api/v2,\
         ton.networks[0].endpoints[1]=https://a.example:443/api/v2",
        "endpoint 1 is named twice",
    ),
    (
        "ton.networks[0].name=lab,ton.networks[0].globalId=-5,ton.networks[0].endpoints[0]=https://a.example/api/v2,\
         ton.networks[0].endpoints[1]=https://a.example/api/v2/jsonRPC//",
        "endpoint 1 is named twice",
    ),
];

/// What is taken although it looks alike.
const TAKEN: [&str; 4] = [
    "ton.networks[0].name=lab,ton.networks[0].globalId=-5,ton.networks[0].endpoints[0]=https://a.example/AB,\
     ton.networks[0].endpoints[1]=https://a.example/ab",
    "ton.networks[0].name=lab,ton.networks[0].globalId=-5,ton.networks[0].endpoints[0]=https://a.example/,\
     ton.networks[0].endpoints[1]=https://a.example:8443/",
    "ton.networks[0].name=lab,ton.networks[0].globalId=-5,ton.networks[0].endpoints[0]=https://[2001:db8::1]:8443/x,\
     ton.networks[0].endpoints[1]=https://192.0.2.255/,ton.networks[0].endpoints[2]=https://[::ffff:192.0.2.1]/,\
     ton.networks[0].endpoints[3]=https://1a.b2/",
    "metrics.serviceMonitor.interval=1m30s",
];

/// Each is taken.
pub(super) fn takes_what_works(chart: &Chart) -> Result<()> {
    for right in TAKEN {
        let arguments = [&["template"], &RELEASE[..], &["--set", right]].concat();
        chart
            .helm(&arguments, None)
            .with_context(|| format!("`--set {right}` was refused"))?;
    }
    Ok(())
}

/// Each is refused with the reason.
pub(super) fn refuses_wrong_values(chart: &Chart) -> Result<()> {
    for (wrong, word) in REFUSED {
        let arguments = [&["template"], &RELEASE[..], &["--set", wrong]].concat();
        match chart.helm(&arguments, None) {
            Ok(_) => bail!("`--set {wrong}` was accepted"),
            Err(error) => {
                let message = format!("{error:#}");
                ensure!(
                    message.contains(word),
                    "`--set {wrong}` was refused without saying {word:?}: {message}"
                );
            }
        }
    }
    Ok(())
}
