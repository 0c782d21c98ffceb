//! The plugin against the kubelet's side of the device plugin API, over real sockets.

use std::path::{Path, PathBuf};

use hyper_util::rt::TokioIo;
use tempfile::TempDir;
use testbed_device_plugin::api::device_plugin_client::DevicePluginClient;
use testbed_device_plugin::api::registration_server::{Registration, RegistrationServer};
use testbed_device_plugin::api::{
    AllocateRequest, ContainerAllocateRequest, ContainerPreferredAllocationRequest, Device, Empty,
    ListAndWatchResponse, PreferredAllocationRequest, RegisterRequest,
};
use testbed_device_plugin::driver::Driver;
use testbed_device_plugin::gpus::Gpus;
use testbed_device_plugin::labels::Model;
use testbed_device_plugin::session::{self, Error, KUBELET_SOCKET};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_stream::wrappers::UnixListenerStream;
use tokio_util::sync::CancellationToken;
use tonic::transport::{Channel, Endpoint, Server};
use tonic::{Code, Request, Response, Status, Streaming};
use tower::service_fn;

/// The registration half of a kubelet: accepts or refuses, and says who came.
struct Kubelet {
    folder: PathBuf,
    registered: mpsc::UnboundedReceiver<RegisterRequest>,
    stop: CancellationToken,
    server: JoinHandle<Result<(), tonic::transport::Error>>,
}

struct Registry {
    came: mpsc::UnboundedSender<RegisterRequest>,
    refuse: bool,
}

#[tonic::async_trait]
impl Registration for Registry {
    async fn register(&self, request: Request<RegisterRequest>) -> Result<Response<Empty>, Status> {
        if self.refuse {
            return Err(Status::unknown(
                "requested API version is not supported by kubelet",
            ));
        }
        self.came
            .send(request.into_inner())
            .map_err(|_| Status::internal("the test is over"))?;
        Ok(Response::new(Empty {}))
    }
}

impl Kubelet {
    /// Starts as a kubelet does: empties the folder, then listens.
    fn start(folder: &Path, refuse: bool) -> Self {
        std::fs::create_dir_all(folder).unwrap();
        for entry in std::fs::read_dir(folder).unwrap() {
            std::fs::remove_file(entry.unwrap().path()).unwrap();
        }
        let listener = UnixListener::bind(folder.join(KUBELET_SOCKET)).unwrap();
        let (came, registered) = mpsc::unbounded_channel();
        let stop = CancellationToken::new();
        let server = Server::builder()
            .add_service(RegistrationServer::new(Registry { came, refuse }))
            .serve_with_incoming_shutdown(UnixListenerStream::new(listener), stop.clone().cancelled_owned());
        Self {
            folder: folder.to_owned(),
            registered,
            stop,
            server: tokio::spawn(server),
        }
    }

    /// Waits for a plugin to register, then connects to it.
    async fn plugin(&mut self) -> DevicePluginClient<Channel> {
        let request = self.registered.recv().await.unwrap();
        assert_eq!(
            (request.version.as_str(), request.resource_name.as_str()),
            ("v1beta1", "nvidia.com/gpu")
        );
        assert!(request.options.unwrap().get_preferred_allocation_available);
        let socket = self.folder.join(request.endpoint);
        let connector = service_fn(move |_| {
            let socket = socket.clone();
            async move { UnixStream::connect(socket).await.map(TokioIo::new) }
        });
        let channel = Endpoint::from_static("http://localhost")
            .connect_with_connector(connector)
            .await;
        DevicePluginClient::new(channel.unwrap())
    }

    async fn end(self) {
        self.stop.cancel();
        self.server.await.unwrap().unwrap();
    }
}

/// A plugin that offers two GPUs with or without a driver, running in the background.
struct Plugin {
    gpus: Gpus,
    stop: CancellationToken,
    task: JoinHandle<Result<(), Error>>,
}

impl Plugin {
    fn start(folder: &Path) -> Self {
        Self::start_with(folder, None)
    }

    fn start_with(folder: &Path, driver: Option<Driver>) -> Self {
        let gpus = Gpus::new("node1", 2);
        let stop = CancellationToken::new();
        let task = tokio::spawn({
            let (folder, gpus, stop) = (folder.to_owned(), gpus.clone(), stop.clone());
            async move { session::run(&folder, &gpus, driver.as_ref(), &stop).await }
        });
        Self { gpus, stop, task }
    }

    async fn end(self) {
        self.stop.cancel();
        self.task.await.unwrap().unwrap();
    }

    fn ids(&self) -> Vec<String> {
        self.gpus.list().into_iter().map(|gpu| gpu.id).collect()
    }
}

fn folder() -> (TempDir, PathBuf) {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join("device-plugins");
    (root, folder)
}

async fn next(lists: &mut Streaming<ListAndWatchResponse>) -> Vec<Device> {
    lists.message().await.unwrap().unwrap().devices
}

fn allocation(ids: &[String]) -> AllocateRequest {
    AllocateRequest {
        container_requests: vec![ContainerAllocateRequest {
            devices_ids: ids.to_vec(),
        }],
    }
}

#[tokio::test]
async fn it_registers_lists_its_gpus_and_allocates_them() {
    let (_root, folder) = folder();
    let mut kubelet = Kubelet::start(&folder, false);
    let plugin = Plugin::start(&folder);
    let mut client = kubelet.plugin().await;

    let mut lists = client.list_and_watch(Empty {}).await.unwrap().into_inner();
    let devices = next(&mut lists).await;
    assert_eq!(
        devices.iter().map(|device| &device.id).collect::<Vec<_>>(),
        plugin.ids().iter().collect::<Vec<_>>()
    );
    assert!(
        devices
            .iter()
            .all(|device| device.health == "Healthy" && device.id.starts_with("GPU-"))
    );

    let ids = plugin.ids();
    let response = client.allocate(allocation(&ids)).await.unwrap().into_inner();
    assert_eq!(
        response.container_responses[0].envs["NVIDIA_VISIBLE_DEVICES"],
        ids.join(",")
    );

    // There is no driver to find.
    assert!(response.container_responses[0].mounts.is_empty());

    let error = client
        .allocate(allocation(&["GPU-other".to_owned()]))
        .await
        .unwrap_err();
    assert_eq!(error.code(), Code::InvalidArgument);
    assert!(error.message().contains("GPU-other"), "{error}");
    plugin.end().await;
    kubelet.end().await;
}

#[tokio::test]
async fn it_prefers_what_must_be_included_and_then_the_lowest_index() {
    let (_root, folder) = folder();
    let mut kubelet = Kubelet::start(&folder, false);
    let plugin = Plugin::start(&folder);
    let mut client = kubelet.plugin().await;
    let ids = plugin.ids();
    let mut prefer = async |must: &[String], size| {
        let request = ContainerPreferredAllocationRequest {
            available_device_ids: ids.iter().rev().cloned().collect(),
            must_include_device_ids: must.to_vec(),
            allocation_size: size,
        };
        let request = PreferredAllocationRequest {
            container_requests: vec![request],
        };
        let response = client
            .get_preferred_allocation(request)
            .await
            .unwrap()
            .into_inner();
        response.container_responses[0].device_ids.clone()
    };
    assert_eq!(prefer(&[], 1).await, [ids[0].clone()]);
    assert_eq!(prefer(&ids[1..], 1).await, [ids[1].clone()]);
    assert_eq!(prefer(&ids[1..], 2).await, [ids[1].clone(), ids[0].clone()]);
    plugin.end().await;
    kubelet.end().await;
}

#[tokio::test]
async fn a_failed_gpu_is_reported_unhealthy_and_healthy_again() {
    let (_root, folder) = folder();
    let mut kubelet = Kubelet::start(&folder, false);
    let plugin = Plugin::start(&folder);
    let mut client = kubelet.plugin().await;
    let mut lists = client.list_and_watch(Empty {}).await.unwrap().into_inner();
    let healths = |devices: Vec<Device>| {
        devices
            .into_iter()
            .map(|device| device.health)
            .collect::<Vec<_>>()
    };

    assert_eq!(healths(next(&mut lists).await), ["Healthy", "Healthy"]);
    plugin.gpus.set_failed(&[1].into());
    assert_eq!(healths(next(&mut lists).await), ["Healthy", "Unhealthy"]);
    plugin.gpus.set_failed(&[].into());
    assert_eq!(healths(next(&mut lists).await), ["Healthy", "Healthy"]);
    plugin.end().await;
    kubelet.end().await;
}

#[tokio::test]
async fn it_registers_again_with_each_kubelet_that_starts() {
    let (_root, folder) = folder();
    let mut kubelet = Kubelet::start(&folder, false);
    let plugin = Plugin::start(&folder);
    let mut client = kubelet.plugin().await;
    let mut lists = client.list_and_watch(Empty {}).await.unwrap().into_inner();
    let before = next(&mut lists).await;
    kubelet.end().await;

    for _ in 0..2 {
        let mut kubelet = Kubelet::start(&folder, false);
        let mut client = kubelet.plugin().await;
        let mut lists = client.list_and_watch(Empty {}).await.unwrap().into_inner();
        assert_eq!(next(&mut lists).await, before);
        kubelet.end().await;
    }
    // The first session's watch ended with it, instead of feeding a kubelet that is gone.
    assert!(lists.message().await.unwrap().is_none());
    plugin.end().await;
}

#[tokio::test]
async fn it_waits_for_a_kubelet_that_starts_later() {
    let (_root, folder) = folder();
    let plugin = Plugin::start(&folder);
    // A kubelet that died leaves a socket on which nobody listens.
    std::fs::create_dir_all(&folder).unwrap();
    drop(UnixListener::bind(folder.join(KUBELET_SOCKET)).unwrap());
    let mut kubelet = Kubelet::start(&folder, false);
    let mut client = kubelet.plugin().await;
    client.get_device_plugin_options(Empty {}).await.unwrap();
    plugin.end().await;
    kubelet.end().await;
}

#[tokio::test]
async fn it_ends_with_the_kubelets_reason_when_refused() {
    let (_root, folder) = folder();
    let kubelet = Kubelet::start(&folder, true);
    let plugin = Plugin::start(&folder);
    match plugin.task.await.unwrap() {
        Err(Error::Refused(socket, status)) => {
            assert_eq!(socket, folder.join(KUBELET_SOCKET));
            assert!(status.message().contains("not supported"), "{status}");
        }
        other => panic!("expected a refusal, got {other:?}"),
    }
    kubelet.end().await;
}

#[tokio::test]
async fn ending_leaves_no_socket_behind() {
    let (_root, folder) = folder();
    let mut kubelet = Kubelet::start(&folder, false);
    let plugin = Plugin::start(&folder);
    let mut client = kubelet.plugin().await;
    client.get_device_plugin_options(Empty {}).await.unwrap();
    plugin.end().await;
    assert!(!folder.join(session::PLUGIN_SOCKET).exists());
    kubelet.end().await;
}

#[tokio::test]
async fn gpus_follow_the_failures_file() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("failures");
    let gpus = Gpus::new("node1", 2);
    let mut states = gpus.subscribe();
    states.mark_unchanged();
    let stop = CancellationToken::new();
    std::fs::write(&path, "0").unwrap();
    let task = tokio::spawn({
        let (path, gpus, stop) = (path.clone(), gpus.clone(), stop.clone());
        async move { testbed_device_plugin::failures::follow(&path, &gpus, &stop).await }
    });
    states
        .wait_for(|gpus| !gpus[0].healthy && gpus[1].healthy)
        .await
        .unwrap();
    std::fs::write(&path, "nonsense").unwrap();
    std::fs::write(&path, "1\n").unwrap();
    states
        .wait_for(|gpus| gpus[0].healthy && !gpus[1].healthy)
        .await
        .unwrap();
    std::fs::remove_file(&path).unwrap();
    states
        .wait_for(|gpus| gpus.iter().all(|gpu| gpu.healthy))
        .await
        .unwrap();
    stop.cancel();
    task.await.unwrap().unwrap();
}

/// A driver for GPUs as the defaults have them, whose library and state lie in `root`.
fn driver(root: &Path) -> Driver {
    let library = root.join("libcuda.so");
    std::fs::write(&library, "").unwrap();
    let model = Model {
        product: "Software-RTX-3090".parse().unwrap(),
        memory_mib: 24_576,
        compute: "8.6".parse().unwrap(),
    };
    Driver::new(&library, &root.join("state"), &model, Some(root.join("memory"))).unwrap()
}

#[tokio::test]
async fn a_container_finds_the_driver_its_own_gpus_and_no_others() {
    let (root, folder) = folder();
    let root = root.path().canonicalize().unwrap();
    let mut kubelet = Kubelet::start(&folder, false);
    let plugin = Plugin::start_with(&folder, Some(driver(&root)));
    let mut client = kubelet.plugin().await;
    let second = plugin.ids()[1].clone();
    let response = client
        .allocate(allocation(std::slice::from_ref(&second)))
        .await
        .unwrap()
        .into_inner();
    let given = &response.container_responses[0];

    for variable in ["NVIDIA_VISIBLE_DEVICES", "CUDA_VISIBLE_DEVICES"] {
        assert_eq!(given.envs[variable], second, "{variable}");
    }
    let state = &given.envs["TESTBED_CUDA_RUNTIME_DIR"];
    assert_eq!(
        given.envs["TESTBED_CUDA_DEVICES"],
        format!(
            "rtx-3090:name=Software-RTX-3090:cc=8.6:memory=24576MiB:uuid={second}:lost-when={state}/lost/{second}"
        )
    );
    let mounts: Vec<(&str, &Path, bool)> = given
        .mounts
        .iter()
        .map(|mount| {
            (
                mount.container_path.as_str(),
                Path::new(&mount.host_path),
                mount.read_only,
            )
        })
        .collect();
    let library = format!("/usr/lib/{}-linux-gnu/libcuda.so.1", std::env::consts::ARCH);
    assert_eq!(
        mounts,
        [
            (library.as_str(), root.join("libcuda.so").as_path(), true),
            (state.as_str(), root.join("state").as_path(), false),
        ]
    );
    let devices: Vec<&str> = given
        .devices
        .iter()
        .map(|device| device.container_path.as_str())
        .collect();
    assert_eq!(devices, ["/dev/nvidiactl", "/dev/nvidia-uvm", "/dev/nvidia1"]);

    // Containers that start while the file is there are given GPUs of another size.
    for (text, memory) in [("128\n", "memory=128MiB"), ("much", "memory=24576MiB")] {
        std::fs::write(root.join("memory"), text).unwrap();
        let request = allocation(std::slice::from_ref(&second));
        let response = client.allocate(request).await.unwrap().into_inner();
        let cards = &response.container_responses[0].envs["TESTBED_CUDA_DEVICES"];
        assert!(cards.contains(memory), "{cards}");
    }
    plugin.end().await;
    kubelet.end().await;
}

#[tokio::test]
async fn the_driver_loses_a_gpu_that_has_failed_and_finds_it_again() {
    let root = tempfile::tempdir().unwrap();
    let driver = driver(root.path());
    let gpus = Gpus::new("node1", 2);
    let stop = CancellationToken::new();
    let follower = tokio::spawn({
        let (gpus, stop) = (gpus.clone(), stop.clone());
        async move { driver.follow(&gpus, &stop).await }
    });
    let lost = |index: usize| root.path().join("state/lost").join(&gpus.list()[index].id);
    let becomes = async |index: usize, is_lost: bool| {
        while lost(index).exists() != is_lost {
            tokio::task::yield_now().await;
        }
    };
    gpus.set_failed(&[1].into());
    becomes(1, true).await;
    assert!(!lost(0).exists());
    gpus.set_failed(&[0].into());
    becomes(0, true).await;
    becomes(1, false).await;
    stop.cancel();
    follower.await.unwrap().unwrap();
}

#[test]
fn a_driver_that_is_not_there_is_named_with_what_builds_it() {
    let root = tempfile::tempdir().unwrap();
    let model = Model {
        product: "Software-RTX-3090".parse().unwrap(),
        memory_mib: 24_576,
        compute: "8.6".parse().unwrap(),
    };
    let error = Driver::new(&root.path().join("libcuda.so"), root.path(), &model, None).unwrap_err();
    assert!(
        error.to_string().contains("cargo build -p testbed-libcuda"),
        "{error}"
    );
}
