//! `gpu-agent serve`: loads a model and serves it until told to stop.

mod cards;

use std::{fs::File, io, net::SocketAddr, num::NonZeroUsize, path::PathBuf, sync::Arc};

use anyhow::Context as _;
use clap::ValueEnum;
use cocoon_api::{
    agent::GpuFault,
    receipt::{ReceiptSigner, Sha256Digest},
};
use gpu_agent::{
    attempts::Served,
    backend::{
        Backend, Budget,
        arithmetic::ARITHMETIC,
        cpu::{CpuOps, Precision},
        cuda::device::Device,
        ops::Ops,
    },
    cache::{Cache, ROOT},
    engine::{Engine, Options, measure},
    http::{Listeners, Mounted, serve, service::Service},
    model::{
        architectures,
        chat::ChatTemplate,
        decoder::{Loaded, plan::Demand},
        spec::DecoderSpec,
        tokenizer::Tokenizer,
    },
    weights::file::{ModelError, ModelFile},
};
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
};
use tokio_util::sync::CancellationToken;

/// Tokens of one batch: enough to keep every core busy with a prompt, few enough that answers in progress do not stall.
const BATCH_ROWS: usize = 256;
/// Most sequences at once, which bounds the logits of a batch.
const MAX_SEQUENCES: u16 = 256;

/// What computes.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum BackendKind {
    /// The processor's cores.
    Cpu,
    /// The GPUs that `CUDA_VISIBLE_DEVICES` leaves: each with the whole model, or with some of its layers.
    Cuda,
}

impl BackendKind {
    /// As the agent's status names it.
    const fn name(self) -> &'static str {
        match self {
            Self::Cpu => "CPU",
            Self::Cuda => "CUDA",
        }
    }
}

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Model file (GGUF).
    #[arg(long, env = "COCOON_MODEL_FILE")]
    model: PathBuf,
    /// The file is a copy that a download onto this node has verified: it is not verified again where its marker says
    /// so.
    #[arg(long, env = "COCOON_MODEL_IS_COPY")]
    model_is_copy: bool,
    /// Name that jobs call the model by.
    #[arg(long, env = "COCOON_MODEL_NAME")]
    model_name: String,
    /// SHA-256 that the model file must have, in hexadecimal.
    #[arg(long, env = "COCOON_MODEL_SHA256", value_parser = super::parse_digest)]
    model_sha256: [u8; 32],
    /// What computes; there is no fallback.
    #[arg(long, env = "COCOON_BACKEND", value_enum, ignore_case = true)]
    backend: BackendKind,
    /// Address of the protocol, with mutual TLS. `[::]` is every address of both families, and of IPv4 alone where the
    /// kernel knows no IPv6.
    #[arg(long, env = "COCOON_LISTEN", default_value = "[::]:8443")]
    listen: SocketAddr,
    /// Address of probes and metrics, plain.
    #[arg(long, env = "COCOON_PROBE_LISTEN", default_value = "[::]:8080")]
    probe_listen: SocketAddr,
    /// Authority whose clients are let in (PEM); reloaded when it changes.
    #[arg(long, env = "COCOON_CLIENT_CA")]
    client_ca: PathBuf,
    /// Token that is bound to this pod: the operator, and nobody else, is shown it; read anew whenever it is asked for.
    #[arg(long, env = "COCOON_TOKEN")]
    token: PathBuf,
    /// Tokens of context of one request, at most what the model has.
    #[arg(long, env = "COCOON_CONTEXT_LENGTH", default_value_t = 2048, value_parser = clap::value_parser!(u32).range(16..=1_048_576))]
    context_length: u32,
    /// Requests that are computed at once; the cache holds as many full contexts where the memory allows it.
    #[arg(long, env = "COCOON_MAX_SEQUENCES", default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=i64::from(MAX_SEQUENCES)))]
    max_sequences: u16,
    /// Bytes of working memory and cache at most [default: what is left once the weights are loaded]
    #[arg(long, env = "COCOON_CACHE_BYTES")]
    cache_bytes: Option<u64>,
    /// Share what is computed of prompts that begin alike; such tokens are billed as cached ones.
    #[arg(long, env = "COCOON_PREFIX_CACHE")]
    prefix_cache: bool,
    /// Keep activations in 32-bit floats: slow, for comparisons.
    #[arg(long)]
    exact: bool,
    /// Threads that compute [default: all cores]
    #[arg(long, env = "COCOON_THREADS")]
    threads: Option<NonZeroUsize>,
}

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    super::start_logs();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("cannot start the async runtime")?;
    // A copy of the node's is held until the process ends: one that is started again needs it again.
    let (service, _held) = load(arguments)?;
    runtime.block_on(listen(arguments, service))
}

/// Loads the model and verifies its digest in the same pass over the file. A file whose header can be read and that has
/// another digest is told as that, whatever else is wrong with it, and nothing of it is served.
fn load(arguments: &Arguments) -> anyhow::Result<(Arc<Service>, Option<File>)> {
    if let BackendKind::Cuda = arguments.backend {
        // A driver that is missing is told before the file is read to its end.
        Device::count()?;
    }
    let (file, held) = open(arguments)?;
    let loaded = load_unverified(arguments, &file);
    file.verify(arguments.model_sha256)?;
    Ok((start(arguments, loaded?)?, held))
}

/// The node's copy of the model is not there, though it was waited for before the agent was started first.
#[derive(Debug, thiserror::Error)]
#[error("the node's copy of the model, {}, is gone: it was evicted since the agent started last", path.display())]
pub(crate) struct CopyGone {
    path: PathBuf,
}

/// Opens the model's file. A copy of the node's is not evicted while what is answered beside it is open.
fn open(arguments: &Arguments) -> anyhow::Result<(ModelFile, Option<File>)> {
    let opened = if arguments.model_is_copy && is_verified_copy(arguments) {
        ModelFile::open_copy(&arguments.model, arguments.model_sha256).map(|(file, held)| (file, Some(held)))
    } else {
        ModelFile::open_unverified(&arguments.model).map(|file| (file, None))
    };
    match opened {
        Err(ModelError::Io { path, source })
            if arguments.model_is_copy && source.kind() == io::ErrorKind::NotFound =>
        {
            Err(CopyGone { path }.into())
        }
        opened => Ok(opened?),
    }
}

/// Whether a download has verified the file, and nobody has touched it since.
fn is_verified_copy(arguments: &Arguments) -> bool {
    let folder = arguments.model.parent().unwrap_or(&arguments.model);
    let found = Cache::open(folder, ROOT).and_then(|cache| cache.find(&arguments.model_sha256));
    let is_verified = matches!(&found, Ok(Some(path)) if *path == arguments.model);
    if !is_verified {
        tracing::warn!("no download vouches for the model's file; it is verified again");
    }
    is_verified
}

/// What is read of a model's file.
struct Model {
    backends: Vec<Box<dyn Backend>>,
    /// Why GPUs that the agent was given compute nothing of it.
    left_out: Vec<GpuFault>,
    tokenizer: Arc<Tokenizer>,
    chat: Option<ChatTemplate>,
    context: usize,
}

fn load_unverified(arguments: &Arguments, file: &ModelFile) -> anyhow::Result<Model> {
    let spec = architectures::read(file)?;
    let tokenizer = Arc::new(Tokenizer::read(file)?);
    let chat = ChatTemplate::read(file, &tokenizer)?;
    let context = spec.context.min(arguments.context_length as usize);
    if context < arguments.context_length as usize {
        tracing::warn!(
            asked = arguments.context_length,
            context,
            "the model has a shorter context than was asked for"
        );
    }
    let precision = if arguments.exact {
        Precision::Exact
    } else {
        Precision::Fast
    };
    let cards::Backends { backends, left_out } = match arguments.backend {
        BackendKind::Cpu => {
            let ops = CpuOps::new(precision, super::threads(arguments.threads)?)
                .context("cannot start the compute threads")?;
            cards::Backends {
                backends: vec![reserve(arguments, file, spec, ops)?],
                left_out: Vec::new(),
            }
        }
        BackendKind::Cuda => {
            anyhow::ensure!(
                !arguments.exact,
                "--exact is a mode of the CPU backend: leave it out, or ask for --backend cpu"
            );
            let sequences = usize::from(arguments.max_sequences);
            let asked = cards::Asked {
                demand: Demand {
                    rows: BATCH_ROWS.max(sequences),
                    sequences,
                    context,
                },
                cache_bytes: arguments.cache_bytes,
            };
            cards::load(asked, file, &spec)?
        }
    };
    Ok(Model {
        backends,
        left_out,
        tokenizer,
        chat,
        context,
    })
}

/// Measures the backends, and starts the engine.
fn start(arguments: &Arguments, model: Model) -> anyhow::Result<Arc<Service>> {
    let Model {
        mut backends,
        left_out,
        tokenizer,
        chat,
        context,
    } = model;
    let max_sequences = usize::from(arguments.max_sequences);
    let machines: Vec<String> = backends.iter().map(|backend| backend.describe()).collect();
    let mut tokens_per_second = f64::INFINITY;
    for backend in &mut backends {
        // Whoever asks for one sequence may get the slowest.
        let measured = measure(&mut **backend).context("cannot measure the backend")?;
        tokens_per_second = tokens_per_second.min(measured);
    }
    tracing::info!(
        model = arguments.model_name,
        machine = machines.join(" | "),
        tokens_per_second,
        context,
        max_sequences,
        "model loaded"
    );
    let options = Options {
        max_sequences: max_sequences.div_ceil(backends.len()),
        prefix_cache: arguments.prefix_cache,
    };
    let engine = Engine::start_all(backends, Arc::clone(&tokenizer), options)
        .context("cannot start the engine's thread")?;
    let model = Served {
        name: arguments.model_name.clone(),
        sha256: Sha256Digest(arguments.model_sha256),
        tokenizer,
        chat,
        context,
        backend: arguments.backend.name().to_owned(),
        arithmetic: (!arguments.exact).then(|| ARITHMETIC.to_string()),
        tokens_per_second,
        left_out,
    };
    let signer = ReceiptSigner::from_seed(rand::random());
    Ok(Service::new(model, engine, signer)?)
}

/// The model on a machine, with its cache.
fn reserve<O: Ops + 'static>(
    arguments: &Arguments,
    file: &ModelFile,
    spec: DecoderSpec,
    ops: O,
) -> anyhow::Result<Box<dyn Backend>> {
    let context = spec.context.min(arguments.context_length as usize);
    let max_sequences = usize::from(arguments.max_sequences);
    let loaded = Loaded::load(file, spec, ops)?;
    let budget = Budget {
        bytes: arguments.cache_bytes.unwrap_or_else(|| loaded.available()),
        rows: BATCH_ROWS.max(max_sequences),
        outputs: max_sequences,
        context,
        cache_tokens: context.next_multiple_of(loaded.block_tokens()) * max_sequences,
    };
    Ok(Box::new(loaded.reserve(budget)?))
}

async fn listen(arguments: &Arguments, service: Arc<Service>) -> anyhow::Result<()> {
    let bind = async |address: SocketAddr| {
        cocoon_api::listen::on(address, TcpListener::bind)
            .await
            .with_context(|| format!("cannot listen on {address}"))
    };
    let listeners = Listeners {
        protocol: bind(arguments.listen).await?,
        probes: bind(arguments.probe_listen).await?,
    };
    let mounted = Mounted {
        client_authority: arguments.client_ca.clone(),
        token: arguments.token.clone(),
    };
    let stop = CancellationToken::new();
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for SIGINT")?;
    let stopper = stop.clone();
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tracing::info!("asked to stop; letting connections end");
        stopper.cancel();
    });
    tracing::info!(agent = ?service.identity().agent, listen = %arguments.listen, probes = %arguments.probe_listen, "serving");
    serve(service, listeners, mounted, stop).await?;
    Ok(())
}
