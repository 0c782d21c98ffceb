//! The calls that the kubelet makes on a device plugin.

use std::collections::{BTreeMap, BTreeSet};
use std::pin::Pin;

use futures::{Stream, StreamExt as _};
use tokio_stream::wrappers::WatchStream;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};

use crate::api::device_plugin_server::DevicePlugin;
use crate::api::{
    AllocateRequest, AllocateResponse, ContainerAllocateResponse, ContainerPreferredAllocationRequest,
    ContainerPreferredAllocationResponse, Device, DevicePluginOptions, Empty, ListAndWatchResponse,
    PreStartContainerRequest, PreStartContainerResponse, PreferredAllocationRequest,
    PreferredAllocationResponse,
};
use crate::driver::{Driver, Granted};
use crate::gpus::{Gpu, Gpus};

/// The variable through which NVIDIA's plugin tells the container runtime, and the program, which GPUs are its own.
const VISIBLE_DEVICES: &str = "NVIDIA_VISIBLE_DEVICES";

/// Serves the GPUs of one node.
#[derive(Debug)]
pub struct Service {
    gpus: Gpus,
    driver: Option<Driver>,
    stop: CancellationToken,
}

impl Service {
    /// Serves `gpus` until `stop`, which ends the kubelet's watches. Containers that get GPUs find `driver`.
    pub fn new(gpus: Gpus, driver: Option<Driver>, stop: CancellationToken) -> Self {
        Self { gpus, driver, stop }
    }

    fn granted(&self, gpus: &[Granted]) -> ContainerAllocateResponse {
        let ids: Vec<&str> = gpus.iter().map(|gpu| gpu.id.as_str()).collect();
        let visible = ids.join(",");
        tracing::info!(gpus = visible, "allocated");
        let mut response = match &self.driver {
            Some(driver) => driver.response(gpus),
            None => ContainerAllocateResponse::default(),
        };
        response.envs.insert(VISIBLE_DEVICES.to_owned(), visible);
        response
    }
}

/// What the plugin asks of the kubelet: to be consulted on which GPUs to take, but not before each container start.
pub(crate) fn options() -> DevicePluginOptions {
    DevicePluginOptions {
        pre_start_required: false,
        get_preferred_allocation_available: true,
    }
}

type DeviceLists = Pin<Box<dyn Stream<Item = Result<ListAndWatchResponse, Status>> + Send>>;

#[tonic::async_trait]
impl DevicePlugin for Service {
    type ListAndWatchStream = DeviceLists;

    async fn get_device_plugin_options(
        &self,
        _: Request<Empty>,
    ) -> Result<Response<DevicePluginOptions>, Status> {
        Ok(Response::new(options()))
    }

    async fn list_and_watch(&self, _: Request<Empty>) -> Result<Response<DeviceLists>, Status> {
        let lists = WatchStream::new(self.gpus.subscribe())
            .map(|gpus| {
                Ok(ListAndWatchResponse {
                    devices: gpus.into_iter().map(device).collect(),
                })
            })
            .take_until(self.stop.clone().cancelled_owned());
        Ok(Response::new(Box::pin(lists)))
    }

    async fn get_preferred_allocation(
        &self,
        request: Request<PreferredAllocationRequest>,
    ) -> Result<Response<PreferredAllocationResponse>, Status> {
        let order = self.gpus.list();
        let container_responses = request
            .into_inner()
            .container_requests
            .into_iter()
            .map(|request| ContainerPreferredAllocationResponse {
                device_ids: preferred(&order, request),
            })
            .collect();
        Ok(Response::new(PreferredAllocationResponse { container_responses }))
    }

    async fn allocate(
        &self,
        request: Request<AllocateRequest>,
    ) -> Result<Response<AllocateResponse>, Status> {
        let known: BTreeMap<String, usize> =
            self.gpus.list().into_iter().map(|gpu| gpu.id).zip(0..).collect();
        let mut container_responses = Vec::new();
        for container in request.into_inner().container_requests {
            let mut gpus = Vec::new();
            for id in container.devices_ids {
                let Some(&index) = known.get(&id) else {
                    return Err(Status::invalid_argument(format!(
                        "cannot allocate {id}: this node has no such GPU"
                    )));
                };
                gpus.push(Granted { index, id });
            }
            container_responses.push(self.granted(&gpus));
        }
        Ok(Response::new(AllocateResponse { container_responses }))
    }

    async fn pre_start_container(
        &self,
        _: Request<PreStartContainerRequest>,
    ) -> Result<Response<PreStartContainerResponse>, Status> {
        Ok(Response::new(PreStartContainerResponse {}))
    }
}

fn device(gpu: Gpu) -> Device {
    let health = if gpu.healthy { "Healthy" } else { "Unhealthy" };
    Device {
        id: gpu.id,
        health: health.to_owned(),
    }
}

/// Those that must be included, then the available ones of lowest index, up to the size asked for.
fn preferred(order: &[Gpu], request: ContainerPreferredAllocationRequest) -> Vec<String> {
    let available: BTreeSet<String> = request.available_device_ids.into_iter().collect();
    let mut chosen = request.must_include_device_ids;
    let size = usize::try_from(request.allocation_size).unwrap_or(0);
    for gpu in order {
        if chosen.len() >= size {
            break;
        }
        if available.contains(&gpu.id) && !chosen.contains(&gpu.id) {
            chosen.push(gpu.id.clone());
        }
    }
    chosen
}
