//! The driver in software, as containers that get GPUs find it.
//!
//! NVIDIA's container toolkit mounts the node's `libcuda.so.1` into a container's own folder of libraries, where its
//! loader looks without being told, and gives it the device nodes of its GPUs. Here a device plugin's response does the
//! same: the image stays as it is, and a container of the same image without GPUs finds nothing. What the driver in
//! software is told of the container's GPUs, and of no others, are the variables that `testbed/gpu/libcuda` documents.

use std::collections::HashMap;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use tokio_util::sync::CancellationToken;

use crate::api::{ContainerAllocateResponse, DeviceSpec, Mount};
use crate::gpus::Gpus;
use crate::labels::Model;

/// Where a container's processes share what is taken of their GPUs' memory, and see which of them are lost.
const STATE: &str = "/run/testbed-cuda";
/// Folder of [`STATE`] in which a file with a GPU's id says that the GPU has fallen off its bus.
const LOST: &str = "lost";
/// Every user writes there, as every user may use NVIDIA's device nodes. Nobody removes another's files.
const STATE_MODE: u32 = 0o1777;
/// Preset of the driver in software; name, memory and compute capability are those of the node's labels.
const PRESET: &str = "rtx-3090";
/// What stands in for each of NVIDIA's device nodes: the driver in software opens none, but that a node is passed
/// through shows.
const DEVICE: &str = "/dev/null";
/// Device nodes that all GPUs share.
const COMMON_DEVICES: [&str; 2] = ["/dev/nvidiactl", "/dev/nvidia-uvm"];

/// A GPU that a container gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Granted {
    /// Its place on the node.
    pub index: usize,
    /// `GPU-<uuid>`.
    pub id: String,
}

/// Why the driver cannot be offered.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The library is not there.
    #[error("find the driver in software at {0}; `cargo build -p testbed-libcuda` builds it")]
    Library(PathBuf, #[source] io::Error),
    /// The folder that containers share cannot be made or written.
    #[error("write the driver's state in {0}")]
    State(PathBuf, #[source] io::Error),
}

/// The driver of one node; clones are the same.
#[derive(Clone, Debug)]
pub struct Driver {
    library: PathBuf,
    state: PathBuf,
    card: String,
    memory: Memory,
}

/// How much memory the driver in software gives each GPU.
#[derive(Clone, Debug)]
pub struct Memory {
    /// MiB, as the labels have it.
    pub mib: u64,
    /// A file with other MiB, for containers that are given GPUs while it is there: the node's labels stay as they are,
    /// as they do on a node where something else holds a card's memory.
    pub instead: Option<PathBuf>,
}

impl Memory {
    /// MiB of each GPU of a container that is given its GPUs at this moment. A file that makes no sense changes
    /// nothing.
    fn now(&self) -> u64 {
        let text = self
            .instead
            .as_ref()
            .and_then(|path| std::fs::read_to_string(path).ok());
        let Some(text) = text else { return self.mib };
        text.trim().parse().unwrap_or_else(|error| {
            tracing::warn!(%error, "ignored the file with another size of memory");
            self.mib
        })
    }
}

impl Driver {
    /// Offers the driver `library`, whose processes share the folder `state`, for GPUs as `model` says; `memory` is a
    /// file as [`Memory::instead`] has it.
    pub fn new(library: &Path, state: &Path, model: &Model, memory: Option<PathBuf>) -> Result<Self, Error> {
        let library = library
            .canonicalize()
            .map_err(|error| Error::Library(library.to_owned(), error))?;
        let failed = |error| Error::State(state.to_owned(), error);
        std::fs::create_dir_all(state.join(LOST)).map_err(failed)?;
        std::fs::set_permissions(state, std::fs::Permissions::from_mode(STATE_MODE)).map_err(failed)?;
        let Model {
            product,
            memory_mib,
            compute,
        } = model;
        Ok(Self {
            library,
            state: state.canonicalize().map_err(failed)?,
            card: format!("{PRESET}:name={product}:cc={compute}"),
            memory: Memory {
                mib: *memory_mib,
                instead: memory,
            },
        })
    }

    /// What a container with these GPUs gets.
    pub fn response(&self, gpus: &[Granted]) -> ContainerAllocateResponse {
        let ids: Vec<&str> = gpus.iter().map(|gpu| gpu.id.as_str()).collect();
        let memory = self.memory.now();
        let cards: Vec<String> = ids
            .iter()
            .map(|id| {
                format!(
                    "{}:memory={memory}MiB:uuid={id}:lost-when={STATE}/{LOST}/{id}",
                    self.card
                )
            })
            .collect();
        let envs = HashMap::from([
            ("CUDA_VISIBLE_DEVICES".to_owned(), ids.join(",")),
            ("TESTBED_CUDA_DEVICES".to_owned(), cards.join(",")),
            ("TESTBED_CUDA_RUNTIME_DIR".to_owned(), STATE.to_owned()),
        ]);
        let mounts = vec![
            mount(&self.library, &library_path(), true),
            mount(&self.state, STATE, false),
        ];
        let own = gpus.iter().map(|gpu| format!("/dev/nvidia{}", gpu.index));
        let devices = COMMON_DEVICES
            .iter()
            .map(|path| (*path).to_owned())
            .chain(own)
            .map(device)
            .collect();
        ContainerAllocateResponse {
            envs,
            mounts,
            devices,
        }
    }

    /// Has the driver lose the GPUs that have failed, and find those again that have not, until `stop`. A process that
    /// lost its GPU does not find it again.
    pub async fn follow(&self, gpus: &Gpus, stop: &CancellationToken) -> Result<(), Error> {
        let mut lists = gpus.subscribe();
        loop {
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                changed = lists.changed() => if changed.is_err() { return Ok(()) },
            }
            let list = lists.borrow_and_update().clone();
            for gpu in list {
                self.lose(&gpu.id, !gpu.healthy)?;
            }
        }
    }

    fn lose(&self, id: &str, lost: bool) -> Result<(), Error> {
        let path = self.state.join(LOST).join(id);
        let done = if lost {
            std::fs::write(&path, "")
        } else {
            match std::fs::remove_file(&path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
                removed => removed,
            }
        };
        done.map_err(|error| Error::State(path, error))
    }
}

/// The folder of Debian's loader for this machine's architecture, where NVIDIA's toolkit puts the library in Debian's
/// images.
fn library_path() -> String {
    format!("/usr/lib/{}-linux-gnu/libcuda.so.1", std::env::consts::ARCH)
}

fn mount(host: &Path, container: &str, read_only: bool) -> Mount {
    Mount {
        container_path: container.to_owned(),
        host_path: host.display().to_string(),
        read_only,
    }
}

fn device(container_path: String) -> DeviceSpec {
    DeviceSpec {
        container_path,
        host_path: DEVICE.to_owned(),
        permissions: "rw".to_owned(),
    }
}
