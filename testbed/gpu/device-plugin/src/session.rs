//! Serving the plugin's socket and registering it, once per life of a kubelet.
//!
//! A starting kubelet empties its plugin folder, this plugin's socket included, and then creates its own socket. So
//! every creation of `kubelet.sock` begins a new session: a new socket, served, then registered.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use hyper_util::rt::TokioIo;
use inotify::WatchMask;
use tokio::net::{UnixListener, UnixStream};
use tokio::task::JoinHandle;
use tokio_stream::wrappers::UnixListenerStream;
use tokio_util::sync::CancellationToken;
use tonic::transport::{Channel, Endpoint, Server};
use tonic::{Code, Status};
use tower::service_fn;

use crate::RESOURCE;
use crate::api::RegisterRequest;
use crate::api::device_plugin_server::DevicePluginServer;
use crate::api::registration_client::RegistrationClient;
use crate::driver::Driver;
use crate::gpus::Gpus;
use crate::service::{self, Service};
use crate::watch::FileWatch;

/// The kubelet's socket, in its plugin folder.
pub const KUBELET_SOCKET: &str = "kubelet.sock";
/// This plugin's socket, in the same folder and named as NVIDIA's.
pub const PLUGIN_SOCKET: &str = "nvidia-gpu.sock";

/// The API version to register with.
const VERSION: &str = "v1beta1";

/// How often to try to reach a kubelet whose socket exists. The socket appears when the kubelet binds it, a moment
/// before it listens; 25 times [`CONNECT_PAUSE`] is 5 s, far beyond that moment. A kubelet that died long ago also
/// leaves its socket, and then the next session begins when a new one creates its own.
const CONNECT_ATTEMPTS: usize = 25;
const CONNECT_PAUSE: Duration = Duration::from_millis(200);

/// How long registration may take: the kubelet connects to the plugin meanwhile, for which it allows itself 10 s.
const REGISTER_TIMEOUT: Duration = Duration::from_secs(20);

/// Why the plugin cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The plugin folder cannot be watched.
    #[error("watch the kubelet's plugin folder {0}")]
    Watch(PathBuf, #[source] io::Error),
    /// The plugin's socket cannot be made.
    #[error("listen on {0}")]
    Listen(PathBuf, #[source] io::Error),
    /// The plugin's socket cannot be removed.
    #[error("remove the socket {0}")]
    Remove(PathBuf, #[source] io::Error),
    /// Serving the plugin's socket failed.
    #[error("serve the plugin's socket")]
    Serve(#[source] tonic::transport::Error),
    /// The task that served the plugin's socket panicked.
    #[error("serve the plugin's socket")]
    Task(#[source] tokio::task::JoinError),
    /// The kubelet answered, with a refusal.
    #[error("register {RESOURCE} with the kubelet at {0}")]
    Refused(PathBuf, #[source] Box<Status>),
}

/// Keeps `gpus` registered with whatever kubelet uses the plugin folder `folder`, until `stop`.
pub async fn run(
    folder: &Path,
    gpus: &Gpus,
    driver: Option<&Driver>,
    stop: &CancellationToken,
) -> Result<(), Error> {
    let watch_failed = |error| Error::Watch(folder.to_owned(), error);
    // A kubelet that starts later makes the folder too, but there must be one to watch.
    std::fs::create_dir_all(folder).map_err(watch_failed)?;
    let created = WatchMask::CREATE | WatchMask::MOVED_TO;
    // Watching comes before registering, so that no kubelet that starts in between is missed.
    let mut kubelet = FileWatch::new(folder, KUBELET_SOCKET, created).map_err(watch_failed)?;
    while !stop.is_cancelled() {
        let session = Session::start(folder, gpus, driver)?;
        let registered = tokio::select! {
            () = stop.cancelled() => Ok(()),
            registered = register(folder) => registered,
        };
        let next = match registered {
            Ok(()) => tokio::select! {
                () = stop.cancelled() => Ok(()),
                created = kubelet.changed() => created.map_err(watch_failed),
            },
            Err(error) => Err(error),
        };
        session.end().await?;
        next?;
    }
    Ok(())
}

/// One served socket.
struct Session {
    path: PathBuf,
    stop: CancellationToken,
    server: JoinHandle<Result<(), tonic::transport::Error>>,
}

impl Session {
    fn start(folder: &Path, gpus: &Gpus, driver: Option<&Driver>) -> Result<Self, Error> {
        let path = folder.join(PLUGIN_SOCKET);
        remove(&path)?;
        let listener = UnixListener::bind(&path).map_err(|error| Error::Listen(path.clone(), error))?;
        let stop = CancellationToken::new();
        let service = DevicePluginServer::new(Service::new(gpus.clone(), driver.cloned(), stop.clone()));
        let server = Server::builder()
            .add_service(service)
            .serve_with_incoming_shutdown(UnixListenerStream::new(listener), stop.clone().cancelled_owned());
        Ok(Self {
            path,
            stop,
            server: tokio::spawn(server),
        })
    }

    async fn end(self) -> Result<(), Error> {
        self.stop.cancel();
        self.server.await.map_err(Error::Task)?.map_err(Error::Serve)?;
        remove(&self.path)
    }
}

/// Removes a socket, or nothing if there is none.
fn remove(path: &Path) -> Result<(), Error> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(Error::Remove(path.to_owned(), error)),
        _ => Ok(()),
    }
}

/// Registers with the kubelet if one can be reached; one that starts later is noticed by its socket.
async fn register(folder: &Path) -> Result<(), Error> {
    let socket = folder.join(KUBELET_SOCKET);
    let channel = match connect(&socket).await {
        Ok(channel) => channel,
        Err(error) => {
            tracing::info!(socket = %socket.display(), %error, "no kubelet yet; waiting for its socket");
            return Ok(());
        }
    };
    let request = RegisterRequest {
        version: VERSION.to_owned(),
        endpoint: PLUGIN_SOCKET.to_owned(),
        resource_name: RESOURCE.to_owned(),
        options: Some(service::options()),
    };
    match RegistrationClient::new(channel).register(request).await {
        Ok(_) => {
            tracing::info!(socket = %socket.display(), "registered {RESOURCE}");
            Ok(())
        }
        // The kubelet went away during the call; its successor creates a new socket.
        Err(status) if status.code() == Code::Unavailable => {
            tracing::warn!(socket = %socket.display(), %status, "lost the kubelet; waiting for the next");
            Ok(())
        }
        Err(status) => Err(Error::Refused(socket, Box::new(status))),
    }
}

async fn connect(socket: &Path) -> Result<Channel, tonic::transport::Error> {
    // The address is the one that Go's gRPC uses for Unix sockets; the connector decides where it leads.
    let endpoint = Endpoint::from_static("http://localhost").timeout(REGISTER_TIMEOUT);
    let mut attempt = 1;
    loop {
        let path = socket.to_owned();
        let connector = service_fn(move |_| {
            let path = path.clone();
            async move { UnixStream::connect(path).await.map(TokioIo::new) }
        });
        match endpoint.connect_with_connector(connector).await {
            Err(_) if attempt < CONNECT_ATTEMPTS && socket.exists() => {
                attempt += 1;
                tokio::time::sleep(CONNECT_PAUSE).await;
            }
            result => return result,
        }
    }
}
