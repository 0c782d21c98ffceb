//! Offers software GPUs to a kubelet as `nvidia.com/gpu`, so that pods take the production path to a GPU: extended
//! resource, limits, allocation, driver, device nodes, and the node labels of GPU feature discovery.
//!
//! There is no hardware behind it, and every GPU is named as software in the product label. A container that gets GPUs
//! finds the driver in software, where one is given, as it would find NVIDIA's: see [`driver`].
//!
//! ```text
//! failures file ──▶ gpus ──▶ service ◀── kubelet (ListAndWatch, Allocate)
//!                    │         ▲  ▲
//!                    └─▶ driver┘  └─session ──▶ kubelet (Register)      labels ──▶ node ──▶ API server
//! ```

pub mod driver;
pub mod failures;
pub mod gpus;
pub mod labels;
pub mod node;
pub mod service;
pub mod session;
mod watch;

/// Messages, clients and servers generated from `proto/deviceplugin.proto`.
pub mod api {
    #![expect(
        missing_docs,
        unused_qualifications,
        clippy::allow_attributes,
        clippy::allow_attributes_without_reason,
        clippy::pedantic,
        reason = "generated; the definition carries the documentation"
    )]
    tonic::include_proto!("v1beta1");
}

/// The extended resource that the GPUs are offered as.
pub const RESOURCE: &str = "nvidia.com/gpu";
