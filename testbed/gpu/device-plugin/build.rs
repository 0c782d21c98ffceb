//! Compiles the device plugin API's protobuf definition, without needing protoc on the machine.

use anyhow::Context as _;

fn main() -> anyhow::Result<()> {
    let definition = "proto/deviceplugin.proto";
    println!("cargo::rerun-if-changed={definition}");
    let descriptors =
        protox::compile([definition], ["proto"]).with_context(|| format!("compile {definition}"))?;
    tonic_prost_build::configure()
        .compile_fds(descriptors)
        .with_context(|| format!("generate code for {definition}"))
}
